//! The one normal form of a host and a path.
//!
//! The door matches what this module returns and sends the very same bytes to the backend, so
//! that no request has two readings. What cannot be brought into one form is refused, not
//! repaired: a path that climbs above the root, an encoded slash, a dot segment in disguise.
//!
//! Bytes above 0x7F stay encoded and are not interpreted: sites use EUC-KR as well as UTF-8, and
//! an "overlong" `%C0%AF` is a syllable in the former. It never becomes a slash here.

mod host;

pub use host::{HostError, host};

/// What a listener allows in a path beyond the strict default. All `false` but `merge_slashes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathRules {
    /// `//` becomes `/`.
    pub merge_slashes: bool,
    /// Let `%2F` through as it is (never decoded).
    pub allow_encoded_slash: bool,
    /// Let `%5C` and `\` through as they are.
    pub allow_backslash: bool,
}

impl Default for PathRules {
    fn default() -> PathRules {
        PathRules { merge_slashes: true, allow_encoded_slash: false, allow_backslash: false }
    }
}

/// Where the normal form is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Normal {
    /// It is the text that came in; `out` was not touched.
    Same,
    /// It is all that is in `out`.
    Changed,
}

/// Why a path has no normal form. The answer is 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Neither `/…` nor `*`.
    #[error("path does not begin with `/`; send an absolute path")]
    NotAbsolute,
    /// Control, space, `#`, `?`, DEL or a byte above 0x7F.
    #[error("path has the byte `0x{0:02X}`; send it as `%{0:02X}`")]
    BadByte(u8),
    /// `%` without two hex digits.
    #[error("path has a `%` without two hex digits; send `%25` for the percent sign itself")]
    BadCode,
    /// `%00`.
    #[error("path has `%00`; backends end the path there, leave it out")]
    EncodedNul,
    /// `%2F`, and the listener does not allow it.
    #[error("path has `%2F`; send `/`, or allow encoded slashes at the listener")]
    EncodedSlash,
    /// `\` or `%5C`, and the listener does not allow it.
    #[error("path has a backslash; send `/`, or allow backslashes at the listener")]
    Backslash,
    /// More `..` than segments before them.
    #[error("path climbs above the root by `..`; leave the surplus out")]
    AboveRoot,
    /// `..;`, `..%2F` and the like: a dot segment to some backends, a name to others.
    #[error("path has `.` or `..` beside a `;`, `%2F` or backslash; leave it out")]
    HiddenDots,
}

impl PathError {
    /// One word for logs.
    pub fn word(self) -> &'static str {
        match self {
            PathError::NotAbsolute => "path_not_absolute",
            PathError::BadByte(_) => "path_byte",
            PathError::BadCode => "path_code",
            PathError::EncodedNul => "path_nul",
            PathError::EncodedSlash => "path_encoded_slash",
            PathError::Backslash => "path_backslash",
            PathError::AboveRoot => "path_above_root",
            PathError::HiddenDots => "path_hidden_dots",
        }
    }
}

/// Brings the path of a request target (without the query) into normal form: unreserved %-codes
/// decoded (RFC 3986 §6.2.2.2), other codes in upper case (§6.2.2.1), then dot segments resolved
/// (§5.2.4), empty segments dropped if `rules` say so (before `..` is applied: `/a//../b` is
/// `/b`). Each code is decoded once: `%252e` stays. The normal form of a normal form is itself.
///
/// Decoding comes first because `%2e%2e` is `..` to every backend that decodes at all. A path in
/// normal form, which is nearly every path, costs one pass and no copy.
///
/// # Errors
/// What is wrong first; `out` then holds nothing of use.
pub fn path(raw: &[u8], rules: PathRules, out: &mut Vec<u8>) -> Result<Normal, PathError> {
    if is_normal(raw, rules) {
        return Ok(Normal::Same);
    }
    if raw.first() != Some(&b'/') {
        return Err(PathError::NotAbsolute);
    }
    out.clear();
    rewrite(&raw[1..], rules, out)?;
    debug_assert!(out != raw, "is_normal() missed a normal path");
    Ok(Normal::Changed)
}

/// Exact: `false` means that `rewrite` will change something or refuse.
fn is_normal(raw: &[u8], rules: PathRules) -> bool {
    if raw.first() != Some(&b'/') {
        return raw == b"*";
    }
    let mut at = 0;
    while at < raw.len() {
        let rest = &raw[at + 1..];
        match CLASS[usize::from(raw[at])] {
            Class::Plain => {}
            Class::Slash => {
                let is_empty = rest.first() == Some(&b'/');
                if (is_empty && rules.merge_slashes) || begins_with_dots(rest) {
                    return false;
                }
            }
            Class::Backslash => {
                if !rules.allow_backslash || begins_with_dots(rest) {
                    return false;
                }
            }
            Class::Percent => {
                if !is_normal_code(rest, rules) {
                    return false;
                }
                at += 2;
            }
            Class::Bad => return false,
        }
        at += 1;
    }
    true
}

/// Whether the code whose `%` is before `rest` stays as it is written.
fn is_normal_code(rest: &[u8], rules: PathRules) -> bool {
    let &[high, low, ..] = rest else { return false };
    if high.is_ascii_lowercase() || low.is_ascii_lowercase() {
        return false;
    }
    match hex_byte(high, low) {
        None | Some(0) => false,
        Some(b'/') => rules.allow_encoded_slash && !begins_with_dots(&rest[2..]),
        Some(b'\\') => rules.allow_backslash && !begins_with_dots(&rest[2..]),
        Some(byte) => !is_unreserved(byte),
    }
}

/// Segment by segment; `out` ends with the slash before the segment at the start of each round.
fn rewrite(raw: &[u8], rules: PathRules, out: &mut Vec<u8>) -> Result<(), PathError> {
    out.push(b'/');
    let mut segments = raw.split(|&b| b == b'/').peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        let start = out.len();
        decode(segment, rules, out)?;
        match &out[start..] {
            b"." => out.truncate(start),
            b".." => {
                let parent = out[..start - 1].iter().rposition(|&b| b == b'/');
                out.truncate(parent.ok_or(PathError::AboveRoot)? + 1);
            }
            b"" if is_last || rules.merge_slashes => {}
            segment if hides_dots(segment) => return Err(PathError::HiddenDots),
            _ if is_last => {}
            _ => out.push(b'/'),
        }
    }
    Ok(())
}

/// Appends `segment` with its codes in normal form.
fn decode(segment: &[u8], rules: PathRules, out: &mut Vec<u8>) -> Result<(), PathError> {
    let mut rest = segment;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match CLASS[usize::from(byte)] {
            Class::Plain | Class::Slash => out.push(byte),
            Class::Backslash if rules.allow_backslash => out.push(byte),
            Class::Backslash => return Err(PathError::Backslash),
            Class::Bad => return Err(PathError::BadByte(byte)),
            Class::Percent => {
                let &[high, low, ref after @ ..] = rest else { return Err(PathError::BadCode) };
                rest = after;
                match hex_byte(high, low).ok_or(PathError::BadCode)? {
                    0 => return Err(PathError::EncodedNul),
                    b'/' if !rules.allow_encoded_slash => return Err(PathError::EncodedSlash),
                    b'\\' if !rules.allow_backslash => return Err(PathError::Backslash),
                    byte if is_unreserved(byte) => out.push(byte),
                    _ => out.extend([b'%', high.to_ascii_uppercase(), low.to_ascii_uppercase()]),
                }
            }
        }
    }
    Ok(())
}

/// Whether a segment that is not a dot segment to us is one to a backend that drops `;…`
/// (Tomcat) or takes `%2F`, `%5C` or `\` for slashes.
fn hides_dots(segment: &[u8]) -> bool {
    (0..segment.len()).any(|at| {
        let rest = &segment[at..];
        let skip = if at == 0 && begins_with_dots(rest) {
            return true;
        } else if rest[0] == b'\\' {
            1
        } else if rest.starts_with(b"%2F") || rest.starts_with(b"%5C") {
            3
        } else {
            return false;
        };
        begins_with_dots(&rest[skip..])
    })
}

/// `.` or `..`, then the end or something that a backend may take for the end of a segment.
fn begins_with_dots(rest: &[u8]) -> bool {
    let Some(rest) = rest.strip_prefix(b".") else { return false };
    match rest.strip_prefix(b".").unwrap_or(rest) {
        [] | [b'/' | b'\\' | b';', ..] => true,
        [b'%', high, low, ..] => matches!(hex_byte(*high, *low), Some(b'/' | b'\\' | b';')),
        _ => false,
    }
}

/// RFC 3986 §2.3
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// The byte that two hex digits stand for.
pub(crate) fn hex_byte(high: u8, low: u8) -> Option<u8> {
    let digit = |b: u8| match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'a'..=b'f' => Some(b - b'a' + 10),
        b'A'..=b'F' => Some(b - b'A' + 10),
        _ => None,
    };
    Some(digit(high)? << 4 | digit(low)?)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Plain,
    Slash,
    Backslash,
    Percent,
    Bad,
}

/// Plain is more than RFC 3986 `pchar`: browsers send `[ ] | ^ { } " < >` and the backtick raw,
/// and no two parsers disagree about them.
const CLASS: [Class; 256] = {
    let mut table = [Class::Plain; 256];
    let mut byte = 0;
    while byte < 256 {
        if byte <= 0x20 || byte >= 0x7F {
            table[byte] = Class::Bad;
        }
        byte += 1;
    }
    table[b'#' as usize] = Class::Bad;
    table[b'?' as usize] = Class::Bad;
    table[b'/' as usize] = Class::Slash;
    table[b'\\' as usize] = Class::Backslash;
    table[b'%' as usize] = Class::Percent;
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_with(rules: PathRules, raw: &str, wanted: Result<&str, PathError>) {
        let mut out = b"before".to_vec();
        let got = path(raw.as_bytes(), rules, &mut out).map(|normal| match normal {
            Normal::Same => {
                assert_eq!(out, b"before", "`Same` touched out");
                raw.to_string()
            }
            Normal::Changed => {
                assert_ne!(out, raw.as_bytes(), "`Changed` changed nothing");
                String::from_utf8(out).unwrap()
            }
        });
        assert_eq!(got.as_deref(), wanted.as_ref().map(|&text| text), "for {raw}");
    }

    #[track_caller]
    fn check(raw: &str, wanted: Result<&str, PathError>) {
        check_with(PathRules::default(), raw, wanted);
    }

    #[test]
    fn leaves_a_normal_path_alone() {
        let korean = "/%EA%B2%BD%EA%B8%B0/%C0%AF";
        for raw in ["/", "*", "/a", "/a/", "/a/b.c", "/.well-known/x", "/...", "/a../b", korean] {
            check(raw, Ok(raw));
        }
        check("/a;v=1/b:c@d,e+f!$&'()*=~-_", Ok("/a;v=1/b:c@d,e+f!$&'()*=~-_"));
        check("/a|b[c]{d}^`\"<>", Ok("/a|b[c]{d}^`\"<>"));
        check("/a%20b%3Fc%23d%25e", Ok("/a%20b%3Fc%23d%25e"));
        check("/..%EA%B2%BD/.%20", Ok("/..%EA%B2%BD/.%20"));
    }

    #[test]
    fn resolves_dot_segments() {
        check("/a/b/c/./../../g", Ok("/a/g")); // RFC 3986 §5.2.4
        check("/a/b/..", Ok("/a/"));
        check("/a/.", Ok("/a/"));
        check("/./a/.", Ok("/a/"));
        check("/a/..", Ok("/"));
        check("/a/../../b", Err(PathError::AboveRoot));
        check("/..", Err(PathError::AboveRoot));
        check("/a//../b", Ok("/b"));
    }

    #[test]
    fn decodes_what_needs_no_code_once() {
        check("/%7euser/%41%2d%5F", Ok("/~user/A-_"));
        check("/%ea%b2%bd", Ok("/%EA%B2%BD"));
        check("/%252e%252E", Ok("/%252e%252E"));
        check("/%25%32%65", Ok("/%252e"));
    }

    #[test]
    fn sees_through_encoded_dots() {
        check("/a/%2e%2e/b", Ok("/b"));
        check("/a/%2E/b", Ok("/a/b"));
        check("/a/.%2e", Ok("/"));
        check("/%2e%2e/etc/passwd", Err(PathError::AboveRoot));
    }

    #[test]
    fn refuses_dots_that_only_some_backends_see() {
        for raw in ["/a/..;/b", "/a/.;/b", "/..;x=1", "/a/%2e%2e;/b", "/a/..%3B/b", "/a/..%3b"] {
            check(raw, Err(PathError::HiddenDots));
        }
        check("/a;../b", Ok("/a;../b"));
    }

    #[test]
    fn refuses_what_two_parsers_read_differently() {
        check("/a%2Fb", Err(PathError::EncodedSlash));
        check("/a%2fb", Err(PathError::EncodedSlash));
        check("/a%5cb", Err(PathError::Backslash));
        check("/a\\b", Err(PathError::Backslash));
        check("/a%00", Err(PathError::EncodedNul));
        for raw in ["/%", "/%4", "/%4/", "/%zz", "/%u002e", "/a%2"] {
            check(raw, Err(PathError::BadCode));
        }
        for byte in [0, 1, b'\t', b'\r', b'\n', b' ', b'#', b'?', 0x7F] {
            check(&format!("/a{}", char::from(byte)), Err(PathError::BadByte(byte)));
        }
        check("/\u{e9}", Err(PathError::BadByte(0xC3)));
        for raw in ["", "a", "**", "*/", "http://a/"] {
            check(raw, Err(PathError::NotAbsolute));
        }
    }

    #[test]
    fn merges_slashes_only_if_told() {
        check("//a///b//", Ok("/a/b/"));
        let rules = PathRules { merge_slashes: false, ..PathRules::default() };
        check_with(rules, "//a///b//", Ok("//a///b//"));
        check_with(rules, "/a//../b", Ok("/a/b"));
        check_with(rules, "//..", Ok("/"));
        check_with(rules, "/..", Err(PathError::AboveRoot));
    }

    #[test]
    fn lets_separators_through_where_allowed_but_no_dots_beside_them() {
        let slash = PathRules { allow_encoded_slash: true, ..PathRules::default() };
        check_with(slash, "/a%2Fb", Ok("/a%2Fb"));
        check_with(slash, "/a%2fb", Ok("/a%2Fb"));
        check_with(slash, "/a%5Cb", Err(PathError::Backslash));
        let hidden =
            ["/a%2F..", "/a%2F../b", "/..%2fb", "/a%2F..%2Fb", "/a%2f%2e%2e;x", "/a%2F%2E"];
        for raw in hidden {
            check_with(slash, raw, Err(PathError::HiddenDots));
        }
        check_with(slash, "/a%2F..b", Ok("/a%2F..b"));
        let back = PathRules { allow_backslash: true, ..PathRules::default() };
        check_with(back, "/a\\b%5Cc", Ok("/a\\b%5Cc"));
        for raw in ["/a\\..\\b", "/a%5c..", "/..\\b"] {
            check_with(back, raw, Err(PathError::HiddenDots));
        }
    }
}
