//! The head of an answer (RFC 9112 §4, §5, §6).
use crate::http1::facts::{Facts, Side};
use crate::http1::head::{Framing, Limits, Method, ResponseHead, Span, Version};
use crate::http1::malformed::Malformed;
use crate::http1::name::Known;
use crate::http1::{fields, request};

/// Parses the head of the answer to a request of method `to` at the front of `bytes`; the method
/// decides whether a body follows. Otherwise as [`parse_request`](crate::http1::parse_request),
/// but that no empty line may come before it.
///
/// A `Content-Length` where none may be (1xx, 204, 2xx to CONNECT) is marked as not to be
/// forwarded; if it claims a body, or Transfer-Encoding does, the connection is not kept, since
/// the two sides disagree on where the answer ends.
///
/// # Errors
/// What is wrong. It is the same however the bytes were split between calls. The connection to
/// the backend must be closed.
pub fn parse_response(
    bytes: &[u8],
    to: Method,
    limits: &Limits,
    head: &mut ResponseHead,
) -> Result<Option<usize>, Malformed> {
    head.clear();
    let max_head = limits.max_head.min(Limits::LARGEST_HEAD);
    let window = &bytes[..bytes.len().min(max_head)];
    match parse(window, to, limits, head)? {
        None if bytes.len() >= max_head => Err(Malformed::HeadTooLarge),
        len => Ok(len),
    }
}

fn parse(
    bytes: &[u8],
    to: Method,
    limits: &Limits,
    head: &mut ResponseHead,
) -> Result<Option<usize>, Malformed> {
    let Some(at) = status_line(bytes, head)? else { return Ok(None) };
    let mut facts = Facts::new(Side::Response);
    let fields = &mut head.fields;
    let note = |known, value, has_tab| facts.note(bytes, known, value, has_tab);
    let Some(end) = fields::read_all(bytes, at, limits.max_fields, fields, note)? else {
        return Ok(None);
    };
    conclude(bytes, to, &facts, head)?;
    head.len = Span::new(0, end).end;
    Ok(Some(end))
}

/// The status line; the offset after it. The reason may be missing, with its space or without.
#[inline]
fn status_line(bytes: &[u8], head: &mut ResponseHead) -> Result<Option<usize>, Malformed> {
    let version = request::read_version(bytes).map_err(|_| Malformed::StatusLine)?;
    let Some(version) = version else { return Ok(None) };
    head.version = version;
    let Some(status) = status(bytes)? else { return Ok(None) };
    head.status = status;
    let start = match bytes.get(12) {
        None => return Ok(None),
        Some(b' ') => 13,
        Some(b'\r' | b'\n') => 12,
        Some(_) => return Err(Malformed::StatusLine),
    };
    let Some((end, _)) = fields::text_end(bytes, start)? else { return Ok(None) };
    head.reason = Span::new(start, end);
    Ok(Some(end + 2))
}

/// The three digits, with the space before them.
#[inline]
fn status(bytes: &[u8]) -> Result<Option<u16>, Malformed> {
    let rest = &bytes[8..];
    if let Some([b' ', hundreds @ b'1'..=b'5', tens @ b'0'..=b'9', ones @ b'0'..=b'9']) =
        rest.first_chunk::<4>()
    {
        let digit = |byte: &u8| u16::from(byte - b'0');
        return Ok(Some(digit(hundreds) * 100 + digit(tens) * 10 + digit(ones)));
    }
    match rest {
        [] | [b' '] | [b' ', b'1'..=b'5'] | [b' ', b'1'..=b'5', b'0'..=b'9'] => Ok(None),
        _ => Err(Malformed::StatusLine),
    }
}

/// RFC 9112 §6.3.
#[inline]
fn conclude(
    bytes: &[u8],
    to: Method,
    facts: &Facts,
    head: &mut ResponseHead,
) -> Result<(), Malformed> {
    let is_http11 = head.version == Version::Http11;
    if facts.chunked && !is_http11 {
        return Err(Malformed::TransferEncodingVersion);
    }
    head.keep_alive_timeout = facts.keep_alive_timeout;
    head.keep_alive = !facts.close && (is_http11 || facts.keep_alive);
    let is_tunnel = to == Method::Connect && (200..300).contains(&head.status);
    head.framing = if head.status < 200 || head.status == 204 || is_tunnel {
        without_length(facts, head);
        Framing::None
    } else if to == Method::Head || head.status == 304 {
        Framing::None
    } else if facts.chunked {
        Framing::Chunked
    } else if let Some(length) = facts.length {
        Framing::Length(length)
    } else {
        head.keep_alive = false;
        Framing::UntilClose
    };
    if head.status == 101 {
        head.upgrade = facts.upgrade(bytes)?;
        if head.upgrade.is_none() || !is_http11 {
            return Err(Malformed::UpgradeMissing);
        }
    }
    facts.mark_named(bytes, &mut head.fields);
    if facts.is_padded {
        head.has_padded_length = true;
        drop_length(head);
    }
    Ok(())
}

/// RFC 9110 §8.6: none of these answers has a Content-Length, so it goes no further.
fn without_length(facts: &Facts, head: &mut ResponseHead) {
    drop_length(head);
    if facts.chunked || facts.length.is_some_and(|length| length > 0) {
        head.keep_alive = false;
    }
}

fn drop_length(head: &mut ResponseHead) {
    for line in &mut head.fields {
        line.hop |= line.known == Known::ContentLength;
    }
}

#[cfg(test)]
mod accepted;
#[cfg(test)]
mod refused;
