//! The head of an answer, before a front has encoded it.

use crate::config::HeaderEdits;
use crate::http1::{FieldLine, Framing, Known, ResponseHead, write_decimal};
use crate::list::parts;

/// What the client is told, free of framing and connection fields.
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    /// The backend's fields and the bytes they point into.
    pub(crate) backend: Option<(&'a ResponseHead, &'a [u8])>,
    /// When an answer of our own was made (RFC 9110 §6.6.1); a backend states its own.
    pub(crate) date: &'a [u8],
    /// Fields of our own, names in lower case.
    pub(crate) own: &'a [(&'a str, &'a [u8])],
    /// The route's edits.
    pub(crate) edits: Option<&'a HeaderEdits>,
    /// Our line of `Via`; empty for an answer of our own.
    pub(crate) via: &'a [u8],
    /// Echoed as `X-Request-Id`.
    pub(crate) request_id: &'a [u8],
    /// Of the body that follows.
    pub(crate) framing: Framing,
    /// `Content-Length` of an answer of our own; a backend's is among its fields.
    pub(crate) own_length: Option<u64>,
    /// The connection must not be used on.
    pub(crate) close: bool,
    /// The protocol that a 101 changes to.
    pub(crate) upgrade: Option<&'a [u8]>,
}

impl Answer<'_> {
    /// 1xx but not 101: more heads follow.
    pub(crate) fn is_interim(&self) -> bool {
        (100..200).contains(&self.status) && self.status != 101
    }

    /// An interim answer as HTTP/1.1, without fields of ours.
    pub(crate) fn write_interim(&self, out: &mut Vec<u8>) {
        write_status_line(self.status, out);
        self.write_fields(out);
        out.extend_from_slice(b"\r\n");
    }

    /// A final answer (or 101) as HTTP/1.1.
    pub(crate) fn write_head(
        &self,
        framing: Framing,
        keep_alive: bool,
        http10: bool,
        out: &mut Vec<u8>,
    ) {
        write_status_line(self.status, out);
        self.write_fields(out);
        if !self.via.is_empty() && !self.is_edited(b"via") {
            out.extend_from_slice(self.via);
        }
        if !self.is_edited(b"x-request-id") {
            push_field(out, b"x-request-id", self.request_id);
        }
        if !self.date.is_empty() && !self.is_edited(b"date") {
            push_field(out, b"date", self.date);
        }
        if let Some(length) = self.own_length {
            out.extend_from_slice(b"content-length: ");
            push_decimal(out, length);
            out.extend_from_slice(b"\r\n");
        }
        if framing == Framing::Chunked {
            out.extend_from_slice(b"transfer-encoding: chunked\r\n");
        }
        if let Some(protocol) = self.upgrade {
            out.extend_from_slice(b"connection: upgrade\r\n");
            push_field(out, b"upgrade", protocol);
        } else if !keep_alive {
            out.extend_from_slice(b"connection: close\r\n");
        } else if http10 {
            out.extend_from_slice(b"connection: keep-alive\r\n");
        }
        if self.status == 426 {
            self.write_offer(out);
        }
        out.extend_from_slice(b"\r\n");
    }

    /// What a 426 says that the client has to change to, which it must say (RFC 9110 §15.5.22). Not
    /// HTTP/2 without TLS: who asked for that would be refused.
    #[cold]
    fn write_offer(&self, out: &mut Vec<u8>) {
        let Some((head, bytes)) = self.backend else { return };
        let lines = head.fields.iter().filter(|line| line.known == Known::Upgrade);
        let offers = lines.flat_map(|line| parts(line.value.of(bytes), b','));
        let offers =
            offers.filter(|offer| !offer.is_empty() && !offer.eq_ignore_ascii_case(b"h2c"));
        for (number, offer) in offers.enumerate() {
            if number == 0 {
                out.extend_from_slice(b"connection: upgrade\r\n");
            }
            push_field(out, b"upgrade", offer);
        }
    }

    fn is_edited(&self, name: &[u8]) -> bool {
        self.edits.is_some_and(|edits| edits.replaces(name))
    }

    fn write_fields(&self, out: &mut Vec<u8>) {
        let edits = self.edits.filter(|edits| !edits.is_empty());
        // RFC 9110 §8.6: no Content-Length in 1xx and 204.
        let bodiless = self.status < 200 || self.status == 204;
        if let Some((head, bytes)) = self.backend {
            copy_lines(bytes, &head.fields, out, |line| {
                line.hop
                    || line.known == Known::XRequestId
                    || (bodiless && line.known == Known::ContentLength)
                    || edits.is_some_and(|edits| edits.replaces(line.name.of(bytes)))
            });
            if head.has_padded_length && !bodiless {
                write_length(head, bytes, out);
            }
        }
        for (name, value) in self.own {
            if !edits.is_some_and(|edits| edits.replaces(name.as_bytes())) {
                push_field(out, name.as_bytes(), value);
            }
        }
        if let Some(edits) = edits {
            edits.write(out);
        }
    }
}

impl HeaderEdits {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }

    /// Whether lines of that name do not pass.
    pub(crate) fn replaces(&self, name: &[u8]) -> bool {
        let same = |edit: &str| name.eq_ignore_ascii_case(edit.as_bytes());
        self.remove.iter().any(|edit| same(edit)) || self.set.iter().any(|(edit, _)| same(edit))
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        for (name, value) in self.set.iter().chain(&self.add) {
            push_field(out, name.as_bytes(), value.as_bytes());
        }
    }
}

/// Copies the field lines that are not `dropped`, runs of them at once and as they came. The
/// codec has made sure that each is one line that can be read in one way.
pub(crate) fn copy_lines(
    bytes: &[u8],
    lines: &[FieldLine],
    out: &mut Vec<u8>,
    mut dropped: impl FnMut(&FieldLine) -> bool,
) {
    let mut run: Option<(usize, usize)> = None;
    for line in lines {
        if dropped(line) {
            if let Some((start, end)) = run.take() {
                out.extend_from_slice(&bytes[start..end]);
            }
            continue;
        }
        // White space behind the value, then CRLF: all that can stand before the next line.
        let value_end = line.value.end as usize;
        let end = match bytes[value_end..].first_chunk() {
            Some(b"\r\n") => value_end + 2,
            _ => value_end + memchr::memchr(b'\n', &bytes[value_end..]).map_or(0, |at| at + 1),
        };
        run = Some((run.map_or(line.name.start as usize, |(start, _)| start), end));
    }
    if let Some((start, end)) = run {
        out.extend_from_slice(&bytes[start..end]);
    }
}

/// A number in decimal.
pub(crate) fn push_decimal(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0; 20];
    let length = write_decimal(number, &mut digits);
    out.extend_from_slice(&digits[..length]);
}

/// One field line.
pub(crate) fn push_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// The number that everybody reads in `Content-Length: 010`: ten.
#[inline(never)]
fn write_length(head: &ResponseHead, bytes: &[u8], out: &mut Vec<u8>) {
    let line = head.fields.iter().find(|line| line.known == Known::ContentLength);
    let Some(value) = line.map(|line| line.value.of(bytes)) else { return };
    let zeros = value.iter().take_while(|byte| **byte == b'0').count();
    // One of nothing but zeros keeps the last.
    push_field(out, b"content-length", &value[zeros.min(value.len() - 1)..]);
}

fn write_status_line(status: u16, out: &mut Vec<u8>) {
    if status == 200 {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        return;
    }
    out.extend_from_slice(b"HTTP/1.1 ");
    push_decimal(out, u64::from(status));
    out.push(b' ');
    out.extend_from_slice(reason(status).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// The reason phrase of the registry of status codes (RFC 9110 §16.2.1); empty for others, which is
/// what RFC 9112 §4 allows.
pub(crate) fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        102 => "Processing",
        103 => "Early Hints",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        207 => "Multi-Status",
        208 => "Already Reported",
        226 => "IM Used",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        305 => "Use Proxy",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        423 => "Locked",
        424 => "Failed Dependency",
        425 => "Too Early",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        506 => "Variant Also Negotiates",
        507 => "Insufficient Storage",
        508 => "Loop Detected",
        511 => "Network Authentication Required",
        _ => "",
    }
}
