//! The field lines of a head: where each name and value is, and that neither can be read in two
//! ways. What a field means is in `facts.rs`.
use crate::http1::head::{FieldLine, Span};
use crate::http1::malformed::Malformed;
use crate::http1::name::{Known, is_x_forwarded};
use crate::http1::scan;

/// Reads all lines from `start` to the empty one; the offset after it, or `None` if it has not
/// come yet. `note` is told field and value of each line, and whether a tab is in the value or
/// beside it.
///
/// An error in a part of a line is the error in the whole line, and nothing that comes later can
/// change it: the verdict does not depend on how much has come.
#[inline]
pub(super) fn read_all(
    bytes: &[u8],
    start: usize,
    max_fields: usize,
    fields: &mut Vec<FieldLine>,
    mut note: impl FnMut(Known, Span, bool) -> Result<(), Malformed>,
) -> Result<Option<usize>, Malformed> {
    let mut at = start;
    loop {
        let line = &bytes[at..];
        let (name_len, known, is_impostor) = match Known::at_a_glance(line) {
            Some((len, known)) => (len, known, false),
            None if line.starts_with(b"\r\n") => return Ok(Some(at + 2)),
            None => match line_begin(line)? {
                Some(Begin { len, known, is_impostor }) => (len, known, is_impostor),
                None => return Ok(None),
            },
        };
        let colon = at + name_len;
        let Some((end, has_tab)) = text_end(bytes, colon + 1)? else { return Ok(None) };
        if fields.len() >= max_fields {
            return Err(Malformed::TooManyFields);
        }
        let name = Span::new(at, colon);
        let value = trimmed(bytes, colon + 1, end);
        fields.push(FieldLine { name, value, known, hop: is_impostor || known.is_hop() });
        note(known, value, has_tab)?;
        at = end + 2;
    }
}

/// The end of the text at `from`, where a CRLF follows, and whether there is an HTAB in it;
/// `None` if the CRLF has not come yet. Any other control is an error.
#[inline]
pub(super) fn text_end(bytes: &[u8], from: usize) -> Result<Option<(usize, bool)>, Malformed> {
    let end = scan::control(bytes, from);
    if bytes[end..].starts_with(b"\r\n") {
        return Ok(Some((end, false)));
    }
    text_end_after_tabs(bytes, end)
}

#[inline(never)]
fn text_end_after_tabs(bytes: &[u8], mut end: usize) -> Result<Option<(usize, bool)>, Malformed> {
    let mut has_tab = false;
    while bytes.get(end) == Some(&b'\t') {
        has_tab = true;
        end = scan::control(bytes, end + 1);
    }
    Ok(has_crlf(&bytes[end..])?.then_some((end, has_tab)))
}

/// Whether CRLF is here, or may come yet. Anything else is an error.
#[inline]
pub(super) fn has_crlf(rest: &[u8]) -> Result<bool, Malformed> {
    if rest.starts_with(b"\r\n") { Ok(true) } else { no_crlf(rest) }
}

#[inline(never)]
fn no_crlf(rest: &[u8]) -> Result<bool, Malformed> {
    match rest {
        [] | [b'\r'] => Ok(false),
        [b'\r', ..] => Err(Malformed::BareCr),
        [b'\n', ..] => Err(Malformed::BareLf),
        [_, ..] => Err(Malformed::Control),
    }
}

/// What a field line begins with: a name, and a colon after `len` bytes.
struct Begin {
    len: usize,
    known: Known,
    is_impostor: bool,
}

/// The beginning of a line, byte by byte: a long or unknown name, or what is none. `None`: it
/// cannot be said yet.
#[inline(never)]
fn line_begin(line: &[u8]) -> Result<Option<Begin>, Malformed> {
    let Some(len) = line.iter().position(|byte| !scan::is_token(*byte)) else { return Ok(None) };
    match line[len] {
        b':' if len > 0 => {
            let name = &line[..len];
            let (known, is_impostor) = match Known::of(name) {
                Known::Other if is_x_forwarded(name) => (Known::XForwardedOther, false),
                Known::Other => (Known::Other, is_impostor(name)?),
                known => (known, false),
            };
            Ok(Some(Begin { len, known, is_impostor }))
        }
        b'\r' | b'\n' if len == 0 => no_crlf(line).map(|_| None),
        b' ' | b'\t' if len == 0 => Err(Malformed::Folded),
        b' ' | b'\t' => Err(Malformed::SpaceInName),
        b'\r' | b'\n' => Err(Malformed::NoColon),
        _ => Err(Malformed::FieldName),
    }
}

/// Whether a field must not be forwarded because it would pass for a known one at a gateway that
/// maps `_` and `-` alike (CGI, WSGI): `X_Forwarded_For` beside ours.
///
/// # Errors
/// If it would pass for one that frames the message.
fn is_impostor(name: &[u8]) -> Result<bool, Malformed> {
    if !name.iter().fold(false, |any, byte| any | (*byte == b'_')) {
        return Ok(false);
    }
    let mut plain = [0; 32];
    for (to, from) in plain.iter_mut().zip(name) {
        *to = if *from == b'_' { b'-' } else { *from };
    }
    // Of a name that is longer than all known ones, its beginning still counts.
    let Some(plain) = plain.get(..name.len()) else { return Ok(is_x_forwarded(&plain)) };
    match Known::of(plain) {
        Known::Other => Ok(is_x_forwarded(plain)),
        Known::ContentLength | Known::TransferEncoding => Err(Malformed::Disguised),
        _ => Ok(true),
    }
}

/// The value without the white space around it, which most often is the one space before it.
#[inline]
fn trimmed(bytes: &[u8], start: usize, end: usize) -> Span {
    match bytes.get(start..end) {
        Some([b' ', first, .., last]) if *first > b' ' && *last > b' ' => Span::new(start + 1, end),
        _ => slowly_trimmed(bytes, start, end),
    }
}

#[inline(never)]
fn slowly_trimmed(bytes: &[u8], mut start: usize, mut end: usize) -> Span {
    while start < end && scan::is_space(bytes[start]) {
        start += 1;
    }
    while start < end && scan::is_space(bytes[end - 1]) {
        end -= 1;
    }
    Span::new(start, end)
}
