//! A strict HTTP/1.1 reader for both ends of the harness.
//!
//! It refuses what two readers could take differently (bare LF, folded lines, both framings,
//! odd lengths): when the door emits such a thing, the test that watches must fail. It keeps
//! every head byte for byte.
//!
//! It is slow and simple on purpose, and shares no line with `balancer`.

use std::sync::LazyLock;

use tokio::io::{AsyncRead, AsyncReadExt};

/// Bodies up to this many bytes are kept whole.
pub const KEPT: usize = 1 << 20;

/// Heads and trailer sections beyond this are malformed.
const LONGEST_HEAD: usize = 1 << 20;

/// Bytes asked from the socket at once.
const READ: usize = 64 << 10;

/// Why a message could not be read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The other side closed in an orderly way, but too early.
    Closed,
    /// The other side reset the connection.
    Reset,
    /// It is not strict HTTP/1.1; says what is wrong.
    Malformed(String),
}

/// How the end of a body is found (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// `Content-Length`, or none.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// Everything until the connection is closed; answers only.
    UntilClose,
}

/// One head as it came: start line, fields, and all its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Every byte, including the empty line.
    pub bytes: Vec<u8>,
    /// The first line without CRLF.
    pub start: String,
    /// Names as written and values without the space around them.
    pub fields: Vec<(String, String)>,
}

impl Head {
    /// Reads a head that ends with an empty line.
    pub fn parse(bytes: &[u8]) -> Result<Head, Fault> {
        let text = bytes.strip_suffix(b"\r\n\r\n").ok_or_else(|| bad("no empty line", bytes))?;
        if text.contains(&0) {
            return Err(bad("a NUL", bytes));
        }
        let mut lines = split_crlf(text)?.into_iter();
        let start = lossy(lines.next().unwrap_or_default());
        let fields = lines.map(parse_field).collect::<Result<_, _>>()?;
        Ok(Head { bytes: bytes.to_vec(), start, fields })
    }

    /// The head as text, for comparing it whole.
    pub fn text(&self) -> String {
        lossy(&self.bytes)
    }

    /// The value of the only field of that name; panics when there are several.
    #[track_caller]
    pub fn field(&self, name: &str) -> Option<String> {
        let mut all = self.all(name);
        assert!(all.len() <= 1, "`{name}` comes {} times in\n{}", all.len(), self.text());
        all.pop()
    }

    /// The values of all fields of that name, in their order.
    pub fn all(&self, name: &str) -> Vec<String> {
        let named = self.fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.clone()).collect()
    }

    /// Whether a comma-separated field of that name contains the token.
    pub fn lists(&self, name: &str, token: &str) -> bool {
        let values = self.all(name);
        values.iter().flat_map(|v| v.split(',')).any(|t| t.trim().eq_ignore_ascii_case(token))
    }

    /// The framing that the fields declare; `None` when they declare none.
    pub fn framing(&self) -> Result<Option<Framing>, Fault> {
        let codings = self.all("transfer-encoding");
        let lengths = self.all("content-length");
        match (codings.as_slice(), lengths.as_slice()) {
            ([], []) => Ok(None),
            ([coding], []) if coding.eq_ignore_ascii_case("chunked") => Ok(Some(Framing::Chunked)),
            ([], [length]) if !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit()) => {
                let length = length.parse().map_err(|_| bad("a huge length", &self.bytes))?;
                Ok(Some(Framing::Length(length)))
            }
            _ => Err(bad("framing that can be read in two ways", &self.bytes)),
        }
    }
}

fn bad(what: &str, bytes: &[u8]) -> Fault {
    let shown = &bytes[..bytes.len().min(400)];
    Fault::Malformed(format!("{what} in `{}`", shown.escape_ascii()))
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Lines between CRLFs; a CR or LF elsewhere is refused.
fn split_crlf(mut text: &[u8]) -> Result<Vec<&[u8]>, Fault> {
    let mut lines = Vec::new();
    while let Some(end) = find(text, b"\r\n") {
        lines.push(&text[..end]);
        text = &text[end + 2..];
    }
    lines.push(text);
    match lines.iter().find(|line| line.contains(&b'\r') || line.contains(&b'\n')) {
        Some(line) => Err(bad("a bare CR or LF", line)),
        None => Ok(lines),
    }
}

fn parse_field(line: &[u8]) -> Result<(String, String), Fault> {
    let colon = line.iter().position(|&b| b == b':').ok_or_else(|| bad("no colon", line))?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    let is_token = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
    if name.is_empty() || !name.iter().all(is_token) {
        return Err(bad("a field name that is no token", line));
    }
    let value = lossy(value);
    Ok((lossy(name), value.trim_matches([' ', '\t']).to_owned()))
}

/// Length after which [`pattern`] repeats; prime, so that a block that is lost, doubled or moved
/// does not go unseen.
const PERIOD: usize = 65_521;

/// Two periods of the pattern, so that a run of one period can be compared from any place.
static PATTERN: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mixed = (0..PERIOD).map(|i| (i * 31 + (i >> 8) * 17).to_le_bytes()[0]);
    mixed.cycle().take(2 * PERIOD).collect()
});

/// At most `len` bytes (and at most one period) that tell where they belong: the body of
/// `Answer::big` and `TestClient::send_pattern` from place `at`.
pub fn pattern(at: u64, len: u64) -> &'static [u8] {
    let from = usize::try_from(at % PERIOD as u64).expect("below the period");
    let len = usize::try_from(len).unwrap_or(PERIOD).min(PERIOD);
    &PATTERN[from..from + len]
}

/// A decoded body: all of it while it is small, its length and its agreement with [`pattern`]
/// always.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// Decoded bytes that came.
    pub len: u64,
    /// Whether every byte was the one of [`pattern`].
    pub is_pattern: bool,
    /// Sizes of the chunks, as they were cut on the wire.
    pub chunks: Vec<u64>,
    /// The lines after the last chunk.
    pub trailers: Vec<(String, String)>,
    kept: Vec<u8>,
}

impl Default for Body {
    fn default() -> Body {
        Body {
            len: 0,
            is_pattern: true,
            chunks: Vec::new(),
            trailers: Vec::new(),
            kept: Vec::new(),
        }
    }
}

impl Body {
    /// The body; panics when it was too large to keep.
    #[track_caller]
    pub fn bytes(&self) -> &[u8] {
        assert_eq!(self.len, self.kept.len() as u64, "a body beyond {KEPT} bytes is not kept");
        &self.kept
    }

    /// The body as text.
    #[track_caller]
    pub fn text(&self) -> String {
        lossy(self.bytes())
    }

    fn push(&mut self, bytes: &[u8]) {
        if self.kept.len() + bytes.len() <= KEPT {
            self.kept.extend_from_slice(bytes);
        }
        for run in bytes.chunks(PERIOD) {
            self.is_pattern &= pattern(self.len, run.len() as u64) == run;
            self.len += run.len() as u64;
        }
    }
}

/// A stream with what was read from it and not yet taken.
#[derive(Debug)]
pub struct Wire<S> {
    /// The stream; write to it, but read through the wire.
    pub stream: S,
    buffer: Vec<u8>,
    taken: usize,
}

impl<S: AsyncRead + Unpin> Wire<S> {
    /// Nothing read yet.
    pub fn new(stream: S) -> Wire<S> {
        Wire { stream, buffer: Vec::new(), taken: 0 }
    }

    /// What was read and not taken.
    pub fn pending(&self) -> &[u8] {
        &self.buffer[self.taken..]
    }

    /// The next head; `None` when the other side closed between messages.
    pub async fn head(&mut self) -> Result<Option<Head>, Fault> {
        loop {
            if let Some(end) = find(self.pending(), b"\r\n\r\n") {
                let head = Head::parse(&self.pending()[..end + 4]);
                self.taken += end + 4;
                return head.map(Some);
            }
            if self.pending().len() > LONGEST_HEAD {
                return Err(bad("a head without end", self.pending()));
            }
            match self.fill().await {
                Err(Fault::Closed) if self.pending().is_empty() => return Ok(None),
                filled => filled?,
            }
        }
    }

    /// Adds a body to `body`, which holds what came also when it ends in a fault.
    pub async fn body(&mut self, framing: Framing, body: &mut Body) -> Result<(), Fault> {
        match framing {
            Framing::Length(length) => self.run(length, body).await,
            Framing::Chunked => self.chunked(body).await,
            Framing::UntilClose => match self.run(u64::MAX, body).await {
                Err(Fault::Closed) => Ok(()),
                ended => ended,
            },
        }
    }

    /// Whatever comes until the other side closes.
    pub async fn rest(&mut self) -> Result<Vec<u8>, Fault> {
        loop {
            match self.fill().await {
                Err(Fault::Closed) => return Ok(self.buffer.split_off(self.taken)),
                filled => filled?,
            }
        }
    }

    /// Exactly `count` bytes.
    pub async fn exact(&mut self, count: usize) -> Result<Vec<u8>, Fault> {
        while self.pending().len() < count {
            self.fill().await?;
        }
        let bytes = self.pending()[..count].to_vec();
        self.taken += count;
        Ok(bytes)
    }

    async fn chunked(&mut self, body: &mut Body) -> Result<(), Fault> {
        loop {
            let line = self.line().await?;
            let size = line.split(';').next().unwrap_or_default();
            let is_hex = !size.is_empty() && size.bytes().all(|b| b.is_ascii_hexdigit());
            let parsed = u64::from_str_radix(size, 16).ok().filter(|_| is_hex);
            let size = parsed.ok_or_else(|| bad("a chunk size", line.as_bytes()))?;
            if size == 0 {
                break;
            }
            body.chunks.push(size);
            self.run(size, body).await?;
            if self.exact(2).await? != b"\r\n" {
                return Err(bad("no CRLF after a chunk", self.pending()));
            }
        }
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Ok(());
            }
            body.trailers.push(parse_field(line.as_bytes())?);
        }
    }

    async fn run(&mut self, length: u64, body: &mut Body) -> Result<(), Fault> {
        let mut left = length;
        while left > 0 {
            if self.pending().is_empty() {
                self.fill().await?;
            }
            let here = usize::try_from(left).unwrap_or(usize::MAX).min(self.pending().len());
            body.push(&self.buffer[self.taken..self.taken + here]);
            self.taken += here;
            left -= here as u64;
        }
        Ok(())
    }

    async fn line(&mut self) -> Result<String, Fault> {
        loop {
            if let Some(end) = find(self.pending(), b"\n") {
                let line = self.exact(end + 1).await?;
                let text = line.strip_suffix(b"\r\n").ok_or_else(|| bad("a bare LF", &line))?;
                return Ok(lossy(text));
            }
            if self.pending().len() > LONGEST_HEAD {
                return Err(bad("a line without end", self.pending()));
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> Result<(), Fault> {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        self.buffer.reserve(READ);
        match self.stream.read_buf(&mut self.buffer).await {
            Ok(0) => Err(Fault::Closed),
            Ok(_) => Ok(()),
            Err(_) => Err(Fault::Reset),
        }
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests;
