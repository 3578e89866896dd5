//! The chunked coding (RFC 9112 §7.1), decoded in place. Split at any byte, it gives the same.
mod extension;
#[cfg(test)]
mod tests;
mod trailers;

use extension::Extension;
use trailers::Trailers;

/// Why a chunked body was refused. Where the next message begins is then unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum BadChunk {
    /// Not 1 to 16 hexadecimal digits, followed by `;` or CRLF.
    #[error("a chunk size is not 1 to 16 hexadecimal digits")]
    Size,
    /// Not `;name`, `;name=token` or `;name="text"` (RFC 9112 §7.1.1), or not in ASCII.
    #[error("a chunk extension is not `;name`, `;name=token` or `;name=\"text\"`")]
    Extension,
    /// CR without LF, or LF without CR.
    #[error("a line of a chunked body does not end with CRLF")]
    LineEnd,
    /// The data is longer than the size said.
    #[error("chunk data is not followed by CRLF")]
    DataEnd,
    /// A line above 4 KiB, or 16 KiB of lines more than the data warrants (CVE-2023-39326).
    #[error("chunk sizes and extensions outweigh the data")]
    Overhead,
    /// A trailer line that would not do in a head.
    #[error("a trailer field is malformed")]
    Trailer,
    /// Above 8 KiB or 64 lines.
    #[error("the trailers are larger than 8 KiB or 64 lines")]
    TrailersTooLarge,
}

impl BadChunk {
    /// The word for the log.
    pub fn word(self) -> &'static str {
        match self {
            BadChunk::Size => "chunk_size",
            BadChunk::Extension => "chunk_extension",
            BadChunk::LineEnd => "chunk_line_end",
            BadChunk::DataEnd => "chunk_data_end",
            BadChunk::Overhead => "chunk_overhead",
            BadChunk::Trailer => "trailer",
            BadChunk::TrailersTooLarge => "trailers_too_large",
        }
    }
}

/// What a call of [`ChunkDecoder::decode`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decoded {
    /// Bytes of the input that belong to this body: all of them until `done`; what follows is
    /// the next message, and is left where it was.
    pub consumed: usize,
    /// Bytes of data, now at the front of the buffer.
    pub data: usize,
    /// Whether the body is over.
    pub done: bool,
}

/// Takes a chunked body apart. Extensions are checked and dropped.
#[derive(Debug, Default)]
pub struct ChunkDecoder {
    state: State,
    /// Bytes of the current chunk: said so far while the size is read, then left to come.
    left: u64,
    /// Bytes of the current size line.
    line: usize,
    /// Bytes of size lines beyond what the data so far excuses.
    overhead: u64,
    trailers: Trailers,
}

/// What the next byte belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Size,
    Extension(Extension),
    SizeLf,
    Data,
    DataCr,
    DataLf,
    Trailers,
    Done,
}

const MAX_SIZE_DIGITS: usize = 16;
const MAX_LINE: usize = 4 << 10;
const MAX_OVERHEAD: u64 = 16 << 10;
/// A size line of so many bytes is nobody's fault.
const FREE_OVERHEAD: u64 = 16;

impl ChunkDecoder {
    /// At the beginning of a body.
    pub fn new() -> ChunkDecoder {
        ChunkDecoder::default()
    }

    /// Decodes what is in `buf`, in place: the data is moved to its front.
    ///
    /// # Errors
    /// What is wrong; the content of `buf` is then of no use, and so is the decoder.
    pub fn decode(&mut self, buf: &mut [u8]) -> Result<Decoded, BadChunk> {
        let (mut at, mut data) = (0, 0);
        while at < buf.len() && self.state != State::Done {
            if self.state == State::Data {
                let len = usize::try_from(self.left).unwrap_or(usize::MAX).min(buf.len() - at);
                buf.copy_within(at..at + len, data);
                (at, data) = (at + len, data + len);
                self.left -= len as u64;
                if self.left == 0 {
                    self.state = State::DataCr;
                }
            } else {
                self.state = self.step(buf[at])?;
                at += 1;
            }
        }
        Ok(Decoded { consumed: at, data, done: self.state == State::Done })
    }

    /// The trailers once the body is over: field lines `name: value\r\n` one after another,
    /// without those that may not be merged into a head (RFC 9110 §6.5.1).
    pub fn trailers(&self) -> &[u8] {
        if self.state == State::Done { self.trailers.lines() } else { &[] }
    }

    /// One byte of anything but data.
    fn step(&mut self, byte: u8) -> Result<State, BadChunk> {
        match self.state {
            State::Size | State::Extension(_) | State::SizeLf => self.size_line(byte),
            State::DataCr if byte == b'\r' => Ok(State::DataLf),
            State::DataLf if byte == b'\n' => Ok(self.next_chunk()),
            State::DataCr | State::DataLf => Err(BadChunk::DataEnd),
            State::Trailers if self.trailers.take(byte)? => Ok(State::Done),
            State::Trailers => Ok(State::Trailers),
            State::Data | State::Done => Ok(self.state),
        }
    }

    fn next_chunk(&mut self) -> State {
        (self.left, self.line) = (0, 0);
        State::Size
    }

    fn size_line(&mut self, byte: u8) -> Result<State, BadChunk> {
        self.line += 1;
        if self.line > MAX_LINE {
            return Err(BadChunk::Overhead);
        }
        match (self.state, byte) {
            (State::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => self.digit(byte),
            (State::Size, b'\r' | b';') if self.line == 1 => Err(BadChunk::Size),
            (State::Size, b'\r') => Ok(State::SizeLf),
            (State::Size, b';') => Ok(State::Extension(Extension::Start)),
            (State::SizeLf, b'\n') => self.size_known(),
            (State::SizeLf, _) | (State::Size | State::Extension(_), b'\n') => {
                Err(BadChunk::LineEnd)
            }
            (State::Extension(extension), b'\r') if extension.may_end() => Ok(State::SizeLf),
            (State::Extension(extension), _) => extension.take(byte).map(State::Extension),
            _ => Err(BadChunk::Size),
        }
    }

    fn digit(&mut self, byte: u8) -> Result<State, BadChunk> {
        if self.line > MAX_SIZE_DIGITS {
            return Err(BadChunk::Size);
        }
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            _ => (byte | 0x20) - b'a' + 10,
        };
        self.left = self.left << 4 | u64::from(digit);
        Ok(State::Size)
    }

    fn size_known(&mut self) -> Result<State, BadChunk> {
        let excused = self.left.saturating_mul(2).saturating_add(FREE_OVERHEAD);
        self.overhead = (self.overhead + self.line as u64).saturating_sub(excused);
        if self.overhead > MAX_OVERHEAD {
            return Err(BadChunk::Overhead);
        }
        Ok(if self.left == 0 { State::Trailers } else { State::Data })
    }
}
