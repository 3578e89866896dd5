//! How a request ended, in one word: the same word in the access log, in the label `outcome` of
//! `tidegate_request_outcomes_total` and in `docs/operations.md`.

/// The closed set of endings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Outcome {
    /// The backend's answer went to the client whole, whatever its status.
    Ok,
    /// Answered here by a route: redirect or fixed response.
    Answered,
    /// 400 or 501: the request can be read in two ways, or in none.
    BadRequest,
    /// 403: `allow` or `deny`.
    Forbidden,
    /// 404: no route matches.
    NoRoute,
    /// 405: a method that is not passed on (CONNECT, TRACE).
    MethodRefused,
    /// 408: the head did not come in time.
    RequestTimeout,
    /// 413: the body is larger than `max_body`.
    BodyTooLarge,
    /// 414: the target is longer than `max_uri`.
    UriTooLong,
    /// 417: an expectation other than `100-continue`.
    ExpectationFailed,
    /// 431: the head is larger than `max_header_size` or has more fields than `max_fields`.
    HeadTooLarge,
    /// 505: not HTTP/1.0 or 1.1.
    VersionRefused,
    /// 508: it has been here too often; a backend leads back to us.
    Loop,
    /// 503: `maintenance` is on.
    Maintenance,
    /// 503: the listener's `max_connections` (or per address) is reached.
    TooManyConnections,
    /// 503: no backend of the pool is eligible.
    NoHealthyBackend,
    /// 503: every eligible backend is at its `max_concurrency`, and the pool has no queue.
    Full,
    /// 503: they are, and as many requests wait as may; or a more important one took the place.
    QueueFull,
    /// 503: no backend had a place within `queue.time`.
    QueueTimeout,
    /// 502: no connection to a backend came about.
    ConnectFailed,
    /// 502: the backend closed or reset before its answer's head was whole.
    BackendReset,
    /// 502: the backend's answer is malformed or can be read in two ways.
    BadResponse,
    /// 504: `timeouts.connect` fired on the last attempt.
    ConnectTimeout,
    /// 504: `timeouts.attempt` fired on the last attempt.
    AttemptTimeout,
    /// 504: `timeouts.first_byte` fired.
    FirstByteTimeout,
    /// 504, or an answer cut short: `timeouts.total` fired.
    TotalTimeout,
    /// `timeouts.idle_stream` fired while bodies were under way.
    StreamIdle,
    /// The backend ended in the middle of its answer; the client's copy is cut, visibly.
    AnswerCut,
    /// The client went away before the end.
    ClientGone,
    /// The client's body was malformed or ended early.
    ClientBodyBroken,
    /// The door was told to stop at once.
    Stopped,
    /// The backend drained, and was waited for long enough.
    Drained,
}

/// How well a request has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The client has all that it asked for, or left.
    Served,
    /// It does not, because of what it sent or because that is how the door is set: nothing is
    /// broken here.
    Refused,
    /// It does not, and should.
    Failed,
}

impl Outcome {
    /// All of them, in the order of the discriminants.
    pub const ALL: [Outcome; 32] = [
        Outcome::Ok,
        Outcome::Answered,
        Outcome::BadRequest,
        Outcome::Forbidden,
        Outcome::NoRoute,
        Outcome::MethodRefused,
        Outcome::RequestTimeout,
        Outcome::BodyTooLarge,
        Outcome::UriTooLong,
        Outcome::ExpectationFailed,
        Outcome::HeadTooLarge,
        Outcome::VersionRefused,
        Outcome::Loop,
        Outcome::Maintenance,
        Outcome::TooManyConnections,
        Outcome::NoHealthyBackend,
        Outcome::Full,
        Outcome::QueueFull,
        Outcome::QueueTimeout,
        Outcome::ConnectFailed,
        Outcome::BackendReset,
        Outcome::BadResponse,
        Outcome::ConnectTimeout,
        Outcome::AttemptTimeout,
        Outcome::FirstByteTimeout,
        Outcome::TotalTimeout,
        Outcome::StreamIdle,
        Outcome::AnswerCut,
        Outcome::ClientGone,
        Outcome::ClientBodyBroken,
        Outcome::Stopped,
        Outcome::Drained,
    ];

    /// What it says of the request as a whole.
    pub fn ending(self) -> Ending {
        match self {
            Outcome::Ok | Outcome::Answered | Outcome::ClientGone => Ending::Served,
            Outcome::BadRequest
            | Outcome::Forbidden
            | Outcome::NoRoute
            | Outcome::MethodRefused
            | Outcome::RequestTimeout
            | Outcome::BodyTooLarge
            | Outcome::UriTooLong
            | Outcome::ExpectationFailed
            | Outcome::HeadTooLarge
            | Outcome::VersionRefused
            | Outcome::ClientBodyBroken
            | Outcome::Maintenance
            | Outcome::Drained => Ending::Refused,
            _ => Ending::Failed,
        }
    }

    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Answered => "answered",
            Outcome::BadRequest => "bad_request",
            Outcome::Forbidden => "forbidden",
            Outcome::NoRoute => "no_route",
            Outcome::MethodRefused => "method_refused",
            Outcome::RequestTimeout => "request_timeout",
            Outcome::BodyTooLarge => "body_too_large",
            Outcome::UriTooLong => "uri_too_long",
            Outcome::ExpectationFailed => "expectation_failed",
            Outcome::HeadTooLarge => "head_too_large",
            Outcome::VersionRefused => "version_refused",
            Outcome::Loop => "loop",
            Outcome::Maintenance => "maintenance",
            Outcome::TooManyConnections => "too_many_connections",
            Outcome::NoHealthyBackend => "no_healthy_backend",
            Outcome::Full => "full",
            Outcome::QueueFull => "queue_full",
            Outcome::QueueTimeout => "queue_timeout",
            Outcome::ConnectFailed => "connect_failed",
            Outcome::BackendReset => "backend_reset",
            Outcome::BadResponse => "bad_response",
            Outcome::ConnectTimeout => "connect_timeout",
            Outcome::AttemptTimeout => "attempt_timeout",
            Outcome::FirstByteTimeout => "first_byte_timeout",
            Outcome::TotalTimeout => "total_timeout",
            Outcome::StreamIdle => "stream_idle",
            Outcome::AnswerCut => "answer_cut",
            Outcome::ClientGone => "client_gone",
            Outcome::ClientBodyBroken => "client_body_broken",
            Outcome::Stopped => "stopped",
            Outcome::Drained => "drained",
        }
    }
}
