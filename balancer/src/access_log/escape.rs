//! Bytes of strangers inside a line.
//!
//! What could end the line, the string, or talk to the terminal of whoever reads the log becomes
//! an escape. JSON keeps text that is valid UTF-8 (a Korean path stays readable); bytes that are
//! not become `\u00XX`. The other formats have no notion of characters and keep ASCII only.

use crate::words::{HIGHS, delete, equal, less_than};

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Bytes that stand for themselves in both formats.
const PLAIN: [bool; 256] = plain();

const fn plain() -> [bool; 256] {
    let mut plain = [false; 256];
    let mut byte = 0x20;
    while byte < 0x7F {
        plain[byte] = byte != b'"' as usize && byte != b'\\' as usize;
        byte += 1;
    }
    plain
}

/// `text` as the inside of a JSON string.
#[inline]
pub(super) fn json(text: &[u8], out: &mut Vec<u8>) {
    if is_plain(text) { out.extend_from_slice(text) } else { json_slowly(text, out) }
}

/// `text` as the inside of a quoted string of the combined format, as Apache and nginx write it.
#[inline]
pub(super) fn quoted(text: &[u8], out: &mut Vec<u8>) {
    if is_plain(text) {
        return out.extend_from_slice(text);
    }
    for &byte in text {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            _ if PLAIN[usize::from(byte)] => out.push(byte),
            _ => out.extend_from_slice(&[b'\\', b'x', high(byte), low(byte)]),
        }
    }
}

#[inline]
fn is_plain(text: &[u8]) -> bool {
    // Without an early end: nearly every text is plain.
    let (words, rest) = text.as_chunks::<8>();
    let all = words.iter().fold(0, |found, word| found | not_plain(u64::from_le_bytes(*word)));
    let last = match text.last_chunk::<8>() {
        _ if rest.is_empty() => 0,
        // Bytes that were looked at already are looked at again.
        Some(last) => not_plain(u64::from_le_bytes(*last)),
        None => not_plain(rest.iter().fold(PADDING, |word, byte| word << 8 | u64::from(*byte))),
    };
    (all | last) & HIGHS == 0
}

/// Plain bytes, in front of a text that is shorter than a word.
const PADDING: u64 = u64::from_le_bytes([b' '; 8]);

#[inline]
fn not_plain(word: u64) -> u64 {
    word | less_than(word, 0x20) | delete(word) | equal(word, b'"') | equal(word, b'\\')
}

#[cold]
fn json_slowly(text: &[u8], out: &mut Vec<u8>) {
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                c if is_misleading(c) => code(u32::from(c), out),
                c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        for &byte in chunk.invalid() {
            code(byte.into(), out);
        }
    }
}

/// Control characters of both ranges, separators that some readers take for a line's end, and
/// those that turn the direction of text, by which a line can be made to look like another.
fn is_misleading(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61C}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}')
}

/// `\uXXXX`; all that come here are below U+10000.
fn code(code: u32, out: &mut Vec<u8>) {
    let [_, _, upper, lower] = code.to_be_bytes();
    out.extend_from_slice(&[b'\\', b'u', high(upper), low(upper), high(lower), low(lower)]);
}

fn high(byte: u8) -> u8 {
    HEX[usize::from(byte >> 4)]
}

fn low(byte: u8) -> u8 {
    HEX[usize::from(byte & 0xF)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(write: fn(&[u8], &mut Vec<u8>), bytes: &[u8]) -> String {
        let mut out = Vec::new();
        write(bytes, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[track_caller]
    fn check(bytes: &[u8], in_json: &str, in_quotes: &str) {
        assert_eq!(text(json, bytes), in_json);
        assert_eq!(text(quoted, bytes), in_quotes);
    }

    #[test]
    fn what_would_end_a_line_or_a_string_does_not() {
        check(b"plain text /a?b=c", "plain text /a?b=c", "plain text /a?b=c");
        check(b"a\nb\r\n", r"a\u000ab\u000d\u000a", r"a\x0ab\x0d\x0a");
        check(b"\"}, {\"x\": \"", r#"\"}, {\"x\": \""#, r#"\"}, {\"x\": \""#);
        check(br"\", r"\\", r"\\");
        check(b"\0\x1b[2J\x7f", r"\u0000\u001b[2J\u007f", r"\x00\x1b[2J\x7f");
    }

    #[test]
    fn other_alphabets_stay_readable_in_json() {
        check(
            "/경기/한국시리즈".as_bytes(),
            "/경기/한국시리즈",
            &"/경기/한국시리즈"
                .bytes()
                .map(
                    |b| {
                        if b.is_ascii() { char::from(b).to_string() } else { format!("\\x{b:02x}") }
                    },
                )
                .collect::<String>(),
        );
    }

    #[test]
    fn bytes_that_are_no_text_show_as_what_they_are() {
        check(b"a\xff\xc0\xaf", r"a\u00ff\u00c0\u00af", r"a\xff\xc0\xaf");
        check(b"\xed\xa0\x80", r"\u00ed\u00a0\u0080", r"\xed\xa0\x80");
        check(b"\xb0\xa1", r"\u00b0\u00a1", r"\xb0\xa1"); // EUC-KR 가
    }

    #[test]
    fn characters_that_mislead_the_eye_or_the_terminal_are_named() {
        check("\u{9b}2J".as_bytes(), r"\u009b2J", r"\xc2\x9b2J");
        check(
            "a\u{202e}gpj.exe\u{2028}".as_bytes(),
            r"a\u202egpj.exe\u2028",
            r"a\xe2\x80\xaegpj.exe\xe2\x80\xa8",
        );
    }

    proptest! {
        #[test]
        fn any_bytes_make_one_json_string_of_one_line(bytes: Vec<u8>) {
            let inside = text(json, &bytes);
            prop_assert!(!inside.chars().any(|c| c.is_control()));
            let back: String = serde_json::from_str(&format!("\"{inside}\"")).unwrap();
            if let Ok(valid) = std::str::from_utf8(&bytes) {
                prop_assert_eq!(back, valid);
            }
        }

        #[test]
        fn any_bytes_can_be_read_back_from_quotes(bytes: Vec<u8>) {
            let inside = text(quoted, &bytes);
            prop_assert!(inside.bytes().all(|b| (0x20..0x7F).contains(&b)));
            prop_assert_eq!(unquote(&inside), bytes);
        }
    }

    fn unquote(inside: &str) -> Vec<u8> {
        let mut bytes = inside.bytes();
        let mut out = Vec::new();
        while let Some(byte) = bytes.next() {
            out.push(match byte {
                b'"' => panic!("a bare quote in {inside}"),
                b'\\' => match bytes.next().unwrap() {
                    b'x' => {
                        let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                        u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
                    }
                    other => other,
                },
                other => other,
            });
        }
        out
    }
}
