//! What a parsed head is made of: ranges into the buffer it was read from, and what they mean.
//! How they are found is in `request.rs` and `response.rs`.
use crate::http1::name::Known;

/// A range of bytes in the buffer that was parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte, at least `start`.
    pub end: u32,
}

impl Span {
    /// The range `start..end`. Both are offsets into a head and so below [`Limits::LARGEST_HEAD`].
    #[expect(clippy::cast_possible_truncation, reason = "offsets are below LARGEST_HEAD")]
    pub(super) fn new(start: usize, end: usize) -> Span {
        debug_assert!(start <= end && end <= Limits::LARGEST_HEAD);
        Span { start: start as u32, end: end as u32 }
    }

    /// The bytes it stands for; none if `bytes` is not the buffer that was parsed.
    pub fn of(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.start as usize..self.end as usize).unwrap_or_default()
    }

    /// Number of bytes.
    pub fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    /// Whether there is no byte in it.
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// One field line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldLine {
    /// A token, in the case in which it was sent.
    pub name: Span,
    /// Without the white space around it.
    pub value: Span,
    /// Which field it is, if it is one that we know.
    pub known: Known,
    /// Must not be forwarded: it concerns this connection only (RFC 9110 §7.6.1), passes for
    /// another field at some backends (`X_Forwarded_For`), or is a Content-Length where none may
    /// be (a 204, say).
    pub hop: bool,
}

/// The request method. Methods are case-sensitive (RFC 9110 §9.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Method {
    /// GET
    #[default]
    Get,
    /// HEAD
    Head,
    /// POST
    Post,
    /// PUT
    Put,
    /// DELETE
    Delete,
    /// OPTIONS
    Options,
    /// PATCH
    Patch,
    /// TRACE
    Trace,
    /// CONNECT
    Connect,
    /// Any other token; its text is in [`RequestHead::method_span`].
    Other,
}

impl Method {
    /// Whether asking twice has the effect of asking once (RFC 9110 §9.2.2). An unknown method
    /// is taken to be not.
    pub fn is_idempotent(self) -> bool {
        self.is_safe() || matches!(self, Method::Put | Method::Delete)
    }

    /// Whether it asks for no change at all (RFC 9110 §9.2.1).
    pub fn is_safe(self) -> bool {
        matches!(self, Method::Get | Method::Head | Method::Options | Method::Trace)
    }
}

/// The protocol version; every other one is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    #[default]
    Http11,
}

/// How the end of the body is found (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Framing {
    /// There is no body.
    #[default]
    None,
    /// So many bytes; 0 was said to be 0.
    Length(u64),
    /// In chunks.
    Chunked,
    /// To the end of the connection; answers only.
    UntilClose,
}

/// The form of the request target (RFC 9112 §3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TargetForm {
    /// `/path?query`
    #[default]
    Origin,
    /// `http://authority/path?query`
    Absolute,
    /// `*`, for OPTIONS only.
    Asterisk,
    /// `host:port`, for CONNECT only.
    Authority,
}

/// The head of a request.
#[derive(Debug, Default)]
pub struct RequestHead {
    /// What is asked for.
    pub method: Method,
    /// The method as written.
    pub method_span: Span,
    /// The form of the target.
    pub form: TargetForm,
    /// The whole target.
    pub target: Span,
    /// The part before `?`, without scheme and authority: empty in the forms that have none, and
    /// in `http://host`, where it stands for `/` (or, of OPTIONS, for `*`).
    pub path: Span,
    /// The part after the first `?`.
    pub query: Option<Span>,
    /// Host and port in the target, in the absolute and the authority form.
    pub authority: Option<Span>,
    /// The client's version.
    pub version: Version,
    /// All field lines, in the order in which they came.
    pub fields: Vec<FieldLine>,
    /// The value of Host; only HTTP/1.0 may come without.
    pub host: Option<Span>,
    /// How the body ends: never [`Framing::UntilClose`].
    pub framing: Framing,
    /// Whether the client wants the connection to last.
    pub keep_alive: bool,
    /// Whether the client waits for a 100 before it sends the body.
    pub expect_continue: bool,
    /// The protocol to change to, if Connection says `upgrade` as well and there is no body; never
    /// `h2c`, which is refused.
    pub upgrade: Option<Span>,
    /// Whether the client takes trailers (`TE: trailers`).
    pub te_trailers: bool,
    /// Whether other proxies have passed it on (`Via`).
    pub has_via: bool,
    /// Bytes of the head, with the empty line and what came before the request line.
    pub len: u32,
}

impl RequestHead {
    /// An empty head with room for an ordinary number of fields; meant to be reused.
    pub fn new() -> RequestHead {
        RequestHead { fields: Vec::with_capacity(ORDINARY_FIELDS), ..RequestHead::default() }
    }

    /// Forgets what was parsed, keeps the memory.
    pub fn clear(&mut self) {
        let mut fields = std::mem::take(&mut self.fields);
        fields.clear();
        *self = RequestHead { fields, ..RequestHead::default() };
    }
}

/// The head of an answer.
#[derive(Debug, Default)]
pub struct ResponseHead {
    /// The backend's version.
    pub version: Version,
    /// 100 to 599.
    pub status: u16,
    /// May be empty.
    pub reason: Span,
    /// All field lines, in the order in which they came.
    pub fields: Vec<FieldLine>,
    /// How the body ends.
    pub framing: Framing,
    /// Whether the connection may carry another request once this answer is over.
    pub keep_alive: bool,
    /// Seconds after which the backend closes an idle connection, from `Keep-Alive: timeout=`.
    pub keep_alive_timeout: Option<u32>,
    /// Whether Content-Length begins with zeros that say nothing. Its line is marked as not to be
    /// forwarded as it is.
    pub has_padded_length: bool,
    /// The protocol that a 101 changes to; a 101 always has one, no other answer has.
    pub upgrade: Option<Span>,
    /// Bytes of the head, with the empty line.
    pub len: u32,
}

impl ResponseHead {
    /// An empty head with room for an ordinary number of fields; meant to be reused.
    pub fn new() -> ResponseHead {
        ResponseHead { fields: Vec::with_capacity(ORDINARY_FIELDS), ..ResponseHead::default() }
    }

    /// Forgets what was parsed, keeps the memory.
    pub fn clear(&mut self) {
        let mut fields = std::mem::take(&mut self.fields);
        fields.clear();
        *self = ResponseHead { fields, ..ResponseHead::default() };
    }
}

/// What a browser sends fits twice; a longer head grows the list once.
const ORDINARY_FIELDS: usize = 32;

/// How much a head may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the whole head; more is 431. Taken as [`Limits::LARGEST_HEAD`] if above it.
    pub max_head: usize,
    /// Field lines; more is 431.
    pub max_fields: usize,
    /// Bytes of the request target; more is 414.
    pub max_target: usize,
}

impl Limits {
    /// No head may be larger than 16 MiB, whatever the configuration says, so that a [`Span`]
    /// holds in two `u32`.
    pub const LARGEST_HEAD: usize = 16 << 20;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_of_another_buffer_is_empty_and_no_panic() {
        let span = Span { start: 2, end: 5 };
        assert_eq!(span.of(b"abcdefg"), b"cde");
        assert_eq!(span.of(b"abc"), b"");
        assert_eq!((span.len(), span.is_empty()), (3, false));
    }

    #[test]
    fn a_cleared_head_keeps_its_memory() {
        let mut head = RequestHead::new();
        let line = FieldLine {
            name: Span::default(),
            value: Span::default(),
            known: Known::Other,
            hop: true,
        };
        head.fields.resize(100, line);
        head.keep_alive = true;
        head.clear();
        assert!(head.fields.capacity() >= 100 && head.fields.is_empty() && !head.keep_alive);
    }

    #[test]
    fn safe_and_idempotent_methods_are_those_of_rfc_9110() {
        use Method::*;
        let all = [Get, Head, Post, Put, Delete, Options, Patch, Trace, Connect, Other];
        let safe: Vec<_> = all.into_iter().filter(|m| m.is_safe()).collect();
        let idempotent: Vec<_> = all.into_iter().filter(|m| m.is_idempotent()).collect();
        assert_eq!(safe, [Get, Head, Options, Trace]);
        assert_eq!(idempotent, [Get, Head, Put, Delete, Options, Trace]);
    }
}
