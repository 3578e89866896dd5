//! The head of a request (RFC 9112 §3, §5, §6).
use crate::http1::facts::{Facts, Side};
use crate::http1::head::{Framing, Limits, Method, RequestHead, Span, TargetForm, Version};
use crate::http1::malformed::Malformed;
use crate::http1::{fields, scan, target};

/// Parses the head at the front of `bytes`. `Ok(Some(n))`: it is whole, `n` bytes long, and what
/// it says is in `head`. `Ok(None)`: more bytes are needed, and no limit is passed yet; `head`
/// holds nothing of use.
///
/// At most two empty lines before the request line are skipped (RFC 9112 §2.2); all spans count
/// from the start of `bytes`. Parsing begins anew at each call, so a head that comes in many
/// pieces costs its length times their number: `max_head` bounds it.
///
/// # Errors
/// What is wrong. It is the same however the bytes were split between calls. Where the next
/// request would begin is then unknown, so the connection must be closed.
pub fn parse_request(
    bytes: &[u8],
    limits: &Limits,
    head: &mut RequestHead,
) -> Result<Option<usize>, Malformed> {
    head.clear();
    let max_head = limits.max_head.min(Limits::LARGEST_HEAD);
    let window = &bytes[..bytes.len().min(max_head)];
    match parse(window, limits, head)? {
        None if bytes.len() >= max_head => Err(Malformed::HeadTooLarge),
        len => Ok(len),
    }
}

fn parse(
    bytes: &[u8],
    limits: &Limits,
    head: &mut RequestHead,
) -> Result<Option<usize>, Malformed> {
    let Some(at) = request_line(bytes, limits, head)? else { return Ok(None) };
    let mut facts = Facts::new(Side::Request);
    let fields = &mut head.fields;
    let note = |known, value, has_tab| facts.note(bytes, known, value, has_tab);
    let Some(end) = fields::read_all(bytes, at, limits.max_fields, fields, note)? else {
        return Ok(None);
    };
    conclude(bytes, &facts, head)?;
    head.len = Span::new(0, end).end;
    Ok(Some(end))
}

/// The request line; the offset after it.
fn request_line(
    bytes: &[u8],
    limits: &Limits,
    head: &mut RequestHead,
) -> Result<Option<usize>, Malformed> {
    let start = match bytes.first() {
        Some(b'\r' | b'\n') => match skip_empty_lines(bytes)? {
            Some(start) => start,
            None => return Ok(None),
        },
        _ => 0,
    };
    let Some(space) = method(bytes, start, head)? else { return Ok(None) };
    let begin = space + 1;
    let path_end = scan::path_end(bytes, begin);
    let end = match bytes.get(path_end) {
        Some(b'?') => scan::target_end(bytes, path_end + 1),
        _ => path_end,
    };
    if end - begin > limits.max_target {
        return Err(Malformed::TargetTooLong);
    }
    match bytes.get(end) {
        None => return Ok(None),
        Some(b' ') if end > begin => {}
        Some(b' ' | b'\r' | b'\n') => return Err(Malformed::RequestLine),
        Some(_) => return Err(Malformed::Target),
    }
    let Some(version) = version(&bytes[end + 1..])? else { return Ok(None) };
    head.version = version;
    head.target = Span::new(begin, end);
    if bytes[begin] == b'/' && head.method != Method::Connect {
        head.path = Span::new(begin, path_end);
        head.query = (path_end < end).then(|| Span::new(path_end + 1, end));
    } else {
        target::split(bytes, head)?;
    }
    Ok(Some(end + " HTTP/1.1\r\n".len()))
}

/// Some old clients send an empty line after a body; two are borne with.
fn skip_empty_lines(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    let mut at = 0;
    while at < 4 && matches!(bytes.get(at), Some(b'\r' | b'\n')) {
        if !fields::has_crlf(&bytes[at..])? {
            return Ok(None);
        }
        at += 2;
    }
    Ok(Some(at))
}

/// The method; the offset of the space after it.
#[inline]
fn method(bytes: &[u8], at: usize, head: &mut RequestHead) -> Result<Option<usize>, Malformed> {
    let rest = &bytes[at..];
    let (method, len) = match rest.first_chunk::<4>() {
        Some(b"GET ") => (Method::Get, 3),
        Some(b"POST") if rest.get(4) == Some(&b' ') => (Method::Post, 4),
        _ => match rare_method(rest)? {
            Some(found) => found,
            None => return Ok(None),
        },
    };
    head.method = method;
    head.method_span = Span::new(at, at + len);
    Ok(Some(at + len))
}

#[inline(never)]
fn rare_method(rest: &[u8]) -> Result<Option<(Method, usize)>, Malformed> {
    const LONGEST: usize = 32;
    let len = rest.iter().take(LONGEST + 1).position(|byte| !scan::is_token(*byte));
    let Some(len) = len else {
        return if rest.len() > LONGEST { Err(Malformed::MethodTooLong) } else { Ok(None) };
    };
    match rest[len] {
        b' ' if len > 0 => {}
        b' ' | b'\r' | b'\n' => return Err(Malformed::RequestLine),
        _ => return Err(Malformed::Method),
    }
    let name = &rest[..len];
    let known = METHODS.iter().find(|(text, _)| name.eq_ignore_ascii_case(text));
    match known {
        // `head` is another method than `HEAD`, but not to everybody, and then the two disagree
        // on whether the answer has a body.
        Some((text, _)) if name != *text => Err(Malformed::Method),
        Some((_, method)) => Ok(Some((*method, len))),
        None => Ok(Some((Method::Other, len))),
    }
}

const METHODS: [(&[u8], Method); 9] = [
    (b"GET", Method::Get),
    (b"HEAD", Method::Head),
    (b"POST", Method::Post),
    (b"PUT", Method::Put),
    (b"DELETE", Method::Delete),
    (b"OPTIONS", Method::Options),
    (b"PATCH", Method::Patch),
    (b"TRACE", Method::Trace),
    (b"CONNECT", Method::Connect),
];

/// The version, at the end of its line; `None` if either has not come yet.
#[inline]
fn version(rest: &[u8]) -> Result<Option<Version>, Malformed> {
    let Some(version) = read_version(rest)? else { return Ok(None) };
    match fields::has_crlf(&rest[8..]) {
        Ok(whole) => Ok(whole.then_some(version)),
        Err(Malformed::Control) => Err(Malformed::Version),
        Err(error) => Err(error),
    }
}

/// `HTTP/1.0` or `HTTP/1.1` at the front; `None` if it has not come yet.
#[inline]
pub(super) fn read_version(rest: &[u8]) -> Result<Option<Version>, Malformed> {
    const HTTP10: u64 = u64::from_le_bytes(*b"HTTP/1.0");
    const HTTP11: u64 = u64::from_le_bytes(*b"HTTP/1.1");
    match rest.first_chunk::<8>().map(|version| u64::from_le_bytes(*version)) {
        Some(HTTP11) => Ok(Some(Version::Http11)),
        Some(HTTP10) => Ok(Some(Version::Http10)),
        _ => refused_version(rest),
    }
}

#[inline(never)]
fn refused_version(rest: &[u8]) -> Result<Option<Version>, Malformed> {
    let digit = |at: usize| rest.get(at).is_none_or(u8::is_ascii_digit);
    let dot = rest.get(6).is_none_or(|byte| *byte == b'.');
    let name = rest.iter().zip(b"HTTP/").all(|(found, wanted)| found == wanted);
    if !(name && digit(5) && dot && digit(7)) {
        return Err(Malformed::Version);
    }
    // One byte more tells `HTTP/2.0` from `HTTP/2.00`.
    match rest.get(8) {
        None => Ok(None),
        Some(b'\r' | b'\n') => Err(Malformed::VersionUnsupported),
        Some(_) => Err(Malformed::Version),
    }
}

/// What can be said only when all fields are known.
#[inline]
fn conclude(bytes: &[u8], facts: &Facts, head: &mut RequestHead) -> Result<(), Malformed> {
    let is_http11 = head.version == Version::Http11;
    head.host = facts.host;
    head.te_trailers = facts.te_trailers;
    head.has_via = facts.has_via;
    match (head.host, head.authority) {
        (None, _) if is_http11 => return Err(Malformed::HostMissing),
        (Some(host), Some(authority)) => same_host(bytes, host, authority, head)?,
        _ => {}
    }
    head.framing = match facts.length {
        _ if facts.chunked && !is_http11 => return Err(Malformed::TransferEncodingVersion),
        _ if facts.chunked => Framing::Chunked,
        Some(length) => Framing::Length(length),
        None => Framing::None,
    };
    if facts.expects_other && is_http11 {
        return Err(Malformed::Expectation);
    }
    // RFC 9110 §10.1.1: void in HTTP/1.0; without a body there is nothing to wait with.
    let has_body = !matches!(head.framing, Framing::None | Framing::Length(0));
    head.expect_continue = facts.expect_continue && is_http11 && has_body;
    head.keep_alive = !facts.close && (is_http11 || facts.keep_alive);
    // RFC 9110 §7.8: nobody may change before the whole request is there, and a client that keeps
    // back its body must not make a backend look as if it had.
    head.upgrade = if is_http11 { facts.upgrade(bytes)?.filter(|_| !has_body) } else { None };
    facts.mark_named(bytes, &mut head.fields);
    Ok(())
}

fn same_host(
    bytes: &[u8],
    host: Span,
    authority: Span,
    head: &RequestHead,
) -> Result<(), Malformed> {
    let default_port = match head.form {
        TargetForm::Absolute => target::default_port(head.target.of(bytes)),
        _ => b"443",
    };
    if target::agree(authority.of(bytes), host.of(bytes), default_port) {
        Ok(())
    } else {
        Err(Malformed::HostMismatch)
    }
}

#[cfg(test)]
mod accepted;
#[cfg(test)]
mod refused;
