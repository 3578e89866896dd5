//! Chunk extensions (RFC 9112 §7.1.1): `;name`, `;name=token` or `;name="text"`, as often as there
//! are any. Nobody needs them, so they are checked and dropped.
//!
//! White space beside `;` and `=` is let pass as the RFC asks (`BWS`), but not before the first `;`
//! nor at the end of the line, where others have read another size or another line. Bytes beyond
//! ASCII are refused in quotes too.
use super::BadChunk;
use crate::http1::scan::is_token;

/// How far the extensions of one line have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extension {
    /// Behind `;`.
    Start,
    Name,
    /// White space behind a name.
    Named,
    /// Behind `=`.
    Equals,
    Value,
    Quoted,
    /// Behind a backslash.
    Escaped,
    /// Behind the closing quote.
    Closed,
    /// White space behind a value.
    Ended,
}

impl Extension {
    /// Whether the line may end here.
    pub(super) fn may_end(self) -> bool {
        matches!(self, Extension::Name | Extension::Value | Extension::Closed)
    }

    /// With one byte more, which is no CR or LF.
    pub(super) fn take(self, byte: u8) -> Result<Extension, BadChunk> {
        use Extension::*;
        let is_space = matches!(byte, b' ' | b'\t');
        Ok(match (self, byte) {
            (Quoted, b'"') => Closed,
            (Quoted, b'\\') => Escaped,
            (Quoted | Escaped, b'\t' | b' '..=b'~') => Quoted,
            (Start | Equals, _) if is_space => self,
            (Name | Named, _) if is_space => Named,
            (Value | Closed | Ended, _) if is_space => Ended,
            (Start | Name, _) if is_token(byte) => Name,
            (Equals | Value, _) if is_token(byte) => Value,
            (Equals, b'"') => Quoted,
            (Name | Named, b'=') => Equals,
            (Name | Named | Value | Closed | Ended, b';') => Start,
            _ => return Err(BadChunk::Extension),
        })
    }
}
