//! The fields after the last chunk (RFC 9112 §7.1.2): as strict as those of a head, and without
//! those that must be known before the body or that only a head can carry.
use super::BadChunk;
use crate::http1::fields;
use crate::http1::malformed::Malformed;
use crate::http1::name::Known;

/// Gathers lines until the empty one. Without any, there is no memory on the heap.
#[derive(Debug, Default)]
pub(super) struct Trailers {
    /// What came; at the end, only what may be forwarded, each line `name: value\r\n`.
    text: Vec<u8>,
    /// Where the current line begins in `text`.
    line: usize,
    /// The first byte of all was CR, which is not in `text`.
    has_cr: bool,
}

const MAX_BYTES: usize = 8 << 10;
const MAX_LINES: usize = 64;

impl Trailers {
    /// Takes the next byte; says whether it was the last of the empty line.
    pub(super) fn take(&mut self, byte: u8) -> Result<bool, BadChunk> {
        match (self.has_cr, byte) {
            (true, b'\n') => return Ok(true),
            (true, _) => return Err(BadChunk::Trailer),
            (false, b'\r') if self.text.is_empty() => {
                self.has_cr = true;
                return Ok(false);
            }
            (false, _) => {}
        }
        if self.text.len() == MAX_BYTES {
            return Err(BadChunk::TrailersTooLarge);
        }
        self.text.push(byte);
        if byte != b'\n' {
            return Ok(false);
        }
        if matches!(&self.text[self.line..], b"\r\n" | b"\n") {
            self.text = forwardable(&self.text)?;
            return Ok(true);
        }
        self.line = self.text.len();
        Ok(false)
    }

    /// Bytes on the heap.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.text.capacity()
    }

    /// The lines that may be forwarded, once the empty one has come.
    pub(super) fn lines(&self) -> &[u8] {
        &self.text
    }
}

/// Checks the whole section, and writes anew what may go on.
fn forwardable(text: &[u8]) -> Result<Vec<u8>, BadChunk> {
    let mut fields = Vec::new();
    match fields::read_all(text, 0, MAX_LINES, &mut fields, |_, _, _| Ok(())) {
        Ok(Some(_)) => {}
        Err(Malformed::TooManyFields) => return Err(BadChunk::TrailersTooLarge),
        Ok(None) | Err(_) => return Err(BadChunk::Trailer),
    }
    let mut lines = Vec::new();
    for line in fields.iter().filter(|line| !line.hop && may_trail(line.known)) {
        for part in [line.name.of(text), b": ", line.value.of(text), b"\r\n"] {
            lines.extend_from_slice(part);
        }
    }
    Ok(lines)
}

/// RFC 9110 §6.5.1: nothing that frames, routes, controls, authenticates or says how to read the
/// content, nor what the door writes itself. Those are all among the fields that we know by name;
/// of which two describe the content as sent, and may come after it.
fn may_trail(known: Known) -> bool {
    matches!(known, Known::Other | Known::Etag | Known::LastModified)
}
