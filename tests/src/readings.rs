//! How different readers take the same bytes.
//!
//! A request is smuggled where two parsers see two things. So what the door sends to a backend
//! is read here by `httparse`, which refuses much, and by readers that each have one of the bad
//! habits that servers have had; and all of them must see the same requests.

/// A request as a reader takes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    /// The first word.
    pub method: String,
    /// The second.
    pub target: String,
    /// The values of Host, and of whatever passes for it.
    pub hosts: Vec<String>,
    /// The decoded body.
    pub body: Vec<u8>,
    /// Whether it came to its end.
    pub is_whole: bool,
}

/// What a reader does that it should not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Habit {
    /// Nothing: this one refuses nothing, but reads by the book.
    None,
    /// A lone LF ends a line.
    LoneLf,
    /// A lone CR ends a line.
    LoneCr,
    /// NUL ends a line.
    Nul,
    /// A line that begins with white space goes on with the one before.
    Folds,
    /// White space before the colon is no part of the name.
    SpaceBeforeColon,
    /// `_` in a name is `-`.
    Underscores,
    /// Of several lengths the last counts; by the book it is the first.
    LastLength,
    /// A length is preferred to chunks.
    LengthFirst,
    /// A length that begins with 0 is octal, and signs and text behind it do not matter.
    LooseNumbers,
    /// Any Transfer-Encoding in which `chunked` occurs is that.
    LooseCoding,
}

impl Habit {
    /// All of them.
    pub const ALL: [Habit; 11] = [
        Habit::None,
        Habit::LoneLf,
        Habit::LoneCr,
        Habit::Nul,
        Habit::Folds,
        Habit::SpaceBeforeColon,
        Habit::Underscores,
        Habit::LastLength,
        Habit::LengthFirst,
        Habit::LooseNumbers,
        Habit::LooseCoding,
    ];
}

/// The requests that all readers see in the bytes of a connection.
///
/// # Errors
/// What they disagree on.
pub fn agreed(bytes: &[u8]) -> Result<Vec<Reading>, String> {
    let plain = read(bytes, Habit::None);
    for habit in Habit::ALL {
        let other = read(bytes, habit);
        if other != plain {
            return Err(format!("{habit:?} reads {other:?}, by the book it is {plain:?}"));
        }
    }
    strictly(bytes, &plain)?;
    Ok(plain)
}

/// Everything a reader with this habit sees, to the end of the bytes.
pub fn read(bytes: &[u8], habit: Habit) -> Vec<Reading> {
    let mut all = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (reading, used) = one(rest, habit);
        let is_whole = reading.is_whole;
        all.push(reading);
        if !is_whole {
            break;
        }
        rest = &rest[used..];
    }
    all
}

/// Everything is what a parser that is written to refuse takes, with the same heads.
fn strictly(bytes: &[u8], expected: &[Reading]) -> Result<(), String> {
    let mut rest = bytes;
    for reading in expected {
        while let Some(after) = rest.strip_prefix(b"\r\n") {
            rest = after;
        }
        let Some(end) = find(rest, b"\r\n\r\n") else { return Ok(()) };
        let mut fields = [httparse::EMPTY_HEADER; 256];
        let mut request = httparse::Request::new(&mut fields);
        let parsed = request.parse(rest).map_err(|error| format!("httparse: {error}"))?;
        if parsed != httparse::Status::Complete(end + 4)
            || request.method != Some(&reading.method)
            || request.path != Some(&reading.target)
            || reading.hosts.len() > 1
            || (reading.hosts.is_empty() && request.version != Some(0))
        {
            return Err(format!("httparse reads {request:?} where others read {reading:?}"));
        }
        let (_, used) = one(rest, Habit::None);
        rest = &rest[used..];
    }
    Ok(())
}

/// One request, and how many bytes it is.
fn one(bytes: &[u8], habit: Habit) -> (Reading, usize) {
    let mut reading = Reading::default();
    let mut lines = Vec::new();
    let mut at = 0;
    loop {
        let Some((line, used)) = line(&bytes[at..], habit) else { return (reading, bytes.len()) };
        at += used;
        match line {
            // Empty lines before a request are skipped, by nearly everybody.
            [] if lines.is_empty() => {}
            [] => break,
            line => lines.push(line),
        }
    }
    let start = String::from_utf8_lossy(lines[0]).into_owned();
    let mut words = start.split(' ').map(str::to_owned);
    reading.method = words.next().unwrap_or_default();
    reading.target = words.next().unwrap_or_default();
    let fields = fields(&lines[1..], habit);
    let values = |wanted: &str| {
        let named = fields.iter().filter(|(name, _)| name == wanted);
        named.map(|(_, value)| value.clone()).collect::<Vec<_>>()
    };
    reading.hosts = values("host");
    let (lengths, codings) = (values("content-length"), values("transfer-encoding"));
    let length = match habit {
        Habit::LastLength => lengths.last(),
        _ => lengths.first(),
    };
    let is_chunked = codings.iter().any(|coding| match habit {
        Habit::LooseCoding => coding.to_ascii_lowercase().contains("chunked"),
        _ => coding.eq_ignore_ascii_case("chunked"),
    });
    let prefers_length = habit == Habit::LengthFirst && length.is_some();
    let used = if is_chunked && !prefers_length {
        chunks(&bytes[at..], habit, &mut reading)
    } else {
        let length = length.map_or(0, |length| number(length, habit));
        let here = length.min(bytes.len() - at);
        reading.body = bytes[at..at + here].to_vec();
        reading.is_whole = here == length;
        here
    };
    (reading, at + used)
}

/// The next line without its end, and the bytes of both.
fn line(bytes: &[u8], habit: Habit) -> Option<(&[u8], usize)> {
    for at in 0..bytes.len() {
        let rest = &bytes[at..];
        let end = match rest[0] {
            b'\r' if rest.starts_with(b"\r\n") => 2,
            b'\r' if habit == Habit::LoneCr && rest.len() > 1 => 1,
            b'\n' if habit == Habit::LoneLf => 1,
            0 if habit == Habit::Nul => 1,
            _ => continue,
        };
        return Some((&bytes[..at], at + end));
    }
    None
}

fn fields(lines: &[&[u8]], habit: Habit) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    for line in lines {
        let text = String::from_utf8_lossy(line).into_owned();
        if habit == Habit::Folds
            && text.starts_with([' ', '\t'])
            && let Some((_, value)) = all.last_mut()
        {
            *value += &text;
            continue;
        }
        let (name, value) = text.split_once(':').unwrap_or((&text, ""));
        let mut name = name.to_ascii_lowercase();
        match habit {
            Habit::SpaceBeforeColon => name = name.trim().to_owned(),
            Habit::Underscores => name = name.replace('_', "-"),
            _ => {}
        }
        all.push((name, value.trim_matches([' ', '\t']).to_owned()));
    }
    all
}

/// Length or size, however it is written; what is none is none.
fn number(text: &str, habit: Habit) -> usize {
    if habit != Habit::LooseNumbers {
        return text.parse().unwrap_or(0);
    }
    let digits = text.trim_start_matches(['+', ' ']);
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    let radix = if digits.len() > 1 && digits.starts_with('0') { 8 } else { 10 };
    usize::from_str_radix(&digits[..end], radix).unwrap_or(0)
}

/// A chunked body; how many bytes it is.
fn chunks(bytes: &[u8], habit: Habit, reading: &mut Reading) -> usize {
    let mut at = 0;
    while let Some((size, used)) = line(&bytes[at..], habit) {
        at += used;
        let size = String::from_utf8_lossy(size).into_owned();
        let size = size.split(';').next().unwrap_or_default();
        let size = match habit {
            Habit::LooseNumbers => size.trim().trim_start_matches("0x"),
            _ => size,
        };
        let Ok(size) = usize::from_str_radix(size, 16) else { return bytes.len() };
        if size == 0 {
            return at + trailers(&bytes[at..], habit, reading);
        }
        let here = size.min(bytes.len() - at);
        reading.body.extend_from_slice(&bytes[at..at + here]);
        at += here;
        let Some((rest, used)) = line(&bytes[at..], habit) else { break };
        // A size that is too small: some go on where the line ends.
        at += used;
        if !rest.is_empty() {
            return bytes.len();
        }
    }
    bytes.len()
}

fn trailers(bytes: &[u8], habit: Habit, reading: &mut Reading) -> usize {
    let mut at = 0;
    while let Some((text, used)) = line(&bytes[at..], habit) {
        at += used;
        if text.is_empty() {
            reading.is_whole = true;
            break;
        }
    }
    at
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_clean_has_one_reading() {
        let bytes = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n\
            POST /b HTTP/1.1\r\nHost: b\r\nContent-Length: 10\r\n\r\n0123456789\
            PUT /c HTTP/1.1\r\nHost: c\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n\
            POST /d HTTP/1.1\r\nHost: d\r\nContent-Length: 5\r\n\r\nab";
        let readings = agreed(bytes).unwrap();
        let seen: Vec<_> =
            readings.iter().map(|one| (&one.target[..], &one.body[..], one.is_whole)).collect();
        let (ten, abc) = (&b"0123456789"[..], &b"abc"[..]);
        assert_eq!(
            seen,
            [("/a", &b""[..], true), ("/b", ten, true), ("/c", abc, true), ("/d", b"ab", false)]
        );
    }

    #[test]
    fn every_old_trick_is_seen() {
        for lines in [
            "X: y\nContent-Length: 5",
            "X: y\rContent-Length: 5",
            "X: y\0Content-Length: 5",
            "Transfer-Encoding:\r\n chunked",
            "Content-Length : 5",
            "Content_Length: 5",
            "Content-Length: 5\r\nContent-Length: 4",
            "Content-Length: 4\r\nTransfer-Encoding: chunked",
            "Content-Length: 010",
            "Content-Length: +5",
            "Transfer-Encoding: xchunked",
            "Host: b",
        ] {
            let bytes = format!(
                "POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n5\r\nabcde\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n"
            );
            assert!(agreed(bytes.as_bytes()).is_err(), "{lines:?}");
        }
    }
}
