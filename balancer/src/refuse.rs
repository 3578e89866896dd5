//! The fixed answers that the door gives itself.

use crate::accept::prefers_json;
use crate::answer::reason;
use crate::exchange::Exchange;
use crate::http1::Known;
use crate::http1::Method;
use crate::outcome::Outcome;

impl Outcome {
    /// The status of the answer, for endings that have one of ours.
    pub fn status(self) -> u16 {
        match self {
            Outcome::BadRequest | Outcome::ClientBodyBroken => 400,
            Outcome::Forbidden => 403,
            Outcome::NoRoute => 404,
            Outcome::MethodRefused => 405,
            Outcome::RequestTimeout => 408,
            Outcome::BodyTooLarge => 413,
            Outcome::UriTooLong => 414,
            Outcome::ExpectationFailed => 417,
            Outcome::HeadTooLarge => 431,
            Outcome::ConnectFailed | Outcome::BackendReset => 502,
            Outcome::BadResponse | Outcome::AnswerCut => 502,
            Outcome::TooManyConnections | Outcome::NoHealthyBackend | Outcome::Full => 503,
            Outcome::QueueFull | Outcome::QueueTimeout => 503,
            Outcome::Maintenance | Outcome::Stopped | Outcome::Drained => 503,
            Outcome::ConnectTimeout | Outcome::AttemptTimeout => 504,
            Outcome::FirstByteTimeout | Outcome::TotalTimeout | Outcome::StreamIdle => 504,
            Outcome::VersionRefused => 505,
            Outcome::Loop => 508,
            Outcome::Ok | Outcome::Answered | Outcome::ClientGone => 500,
        }
    }

    /// Whether the connection cannot be used on: where the next request begins is not known, or
    /// nobody will read the body of this one.
    pub(crate) fn closes(self) -> bool {
        matches!(
            self,
            Outcome::BadRequest
                // A client that is sure of its tunnel may have sent into it what others wrote.
                | Outcome::MethodRefused
                | Outcome::RequestTimeout
                | Outcome::UriTooLong
                | Outcome::ExpectationFailed
                | Outcome::HeadTooLarge
                | Outcome::VersionRefused
                | Outcome::TooManyConnections
                | Outcome::BodyTooLarge
                | Outcome::ClientBodyBroken
                | Outcome::Stopped
                | Outcome::Drained
        )
    }

    /// The outcome that goes with a malformed head's status.
    pub(crate) fn of_malformed(status: u16) -> Outcome {
        match status {
            414 => Outcome::UriTooLong,
            417 => Outcome::ExpectationFailed,
            431 => Outcome::HeadTooLarge,
            505 => Outcome::VersionRefused,
            _ => Outcome::BadRequest,
        }
    }
}

/// An answer of the door itself.
pub(crate) struct Refusal {
    pub(crate) content_type: &'static str,
    pub(crate) body: String,
}

impl Refusal {
    /// HTML, or JSON (RFC 9457) for a client that asks for it.
    pub(crate) fn new(outcome: Outcome, status: u16, exchange: &Exchange) -> Refusal {
        let id = std::str::from_utf8(exchange.id()).unwrap_or_default();
        let (title, word) = (reason(status), outcome.word());
        if wants_json(exchange) {
            let body = format!(
                "{{\"title\":\"{title}\",\"status\":{status},\"outcome\":\"{word}\",\"request_id\":\"{id}\"}}\n"
            );
            return Refusal { content_type: "application/problem+json", body };
        }
        let body = format!(
            "<!doctype html><html lang=en><meta charset=utf-8><title>{status} {title}</title>\
             <h1>{status} {title}</h1><p>{word}<p>Request {id}</html>\n"
        );
        Refusal { content_type: "text/html; charset=utf-8", body }
    }
}

fn wants_json(exchange: &Exchange) -> bool {
    prefers_json(exchange.values(Known::Accept))
}

/// Value of `Allow` in a 405.
pub(crate) const ALLOW: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// Methods that are never passed on: a tunnel to anywhere, and an echo of what proxies added.
pub(crate) fn is_refused(method: Method) -> bool {
    matches!(method, Method::Connect | Method::Trace)
}
