//! Finding the next byte of a kind, eight bytes at a step and without `unsafe`: the inner loop of
//! the codec. (`memchr` finds line ends, but the controls between them need a second pass; one
//! pass that stops at any control does both.)

use crate::words::{HIGHS, delete, equal, less_than};

/// Where the first control character at or after `from` is (0x00 to 0x1F and 0x7F, *with* HTAB),
/// or the length if there is none.
#[inline]
pub(super) fn control(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(block) = bytes[at..].first_chunk::<16>() {
        // No early end, so that the compiler makes one vector comparison of it.
        if block.iter().fold(false, |any, byte| any | byte.is_ascii_control()) {
            return at + first_in_block(block, controls);
        }
        at += 16;
    }
    first(bytes, at, controls)
}

/// Where the path of a target ends that begins at `from`: at `?` or where the target ends.
#[inline]
pub(super) fn path_end(bytes: &[u8], from: usize) -> usize {
    first(bytes, from, |word| not_target(word) | equal(word, b'?'))
}

/// Where the first byte at or after `from` is that a request target cannot have (all but visible
/// ASCII, and `#`), or the length if there is none.
#[inline]
pub(super) fn target_end(bytes: &[u8], from: usize) -> usize {
    first(bytes, from, not_target)
}

/// The number of bytes of `word`, in memory order, before the first colon; 8 if there is none.
#[inline]
pub(super) fn before_colon(word: u64) -> usize {
    place(equal(word, b':'))
}

/// `hits` sets the high bit of the first byte looked for, and none of those before it; what it
/// does to the other bits and to later bytes does not matter. It must take a zero byte for a hit.
#[inline]
fn first(bytes: &[u8], from: usize, hits: impl Fn(u64) -> u64) -> usize {
    let mut at = from;
    while let Some(word) = bytes[at..].first_chunk::<8>() {
        let found = hits(u64::from_le_bytes(*word)) & HIGHS;
        if found != 0 {
            return at + place(found);
        }
        at += 8;
    }
    at + place(hits(rest(bytes, at)))
}

#[inline]
fn first_in_block(block: &[u8; 16], hits: impl Fn(u64) -> u64) -> usize {
    let block = u128::from_le_bytes(*block);
    #[expect(clippy::cast_possible_truncation, reason = "the two halves, on purpose")]
    match hits(block as u64) & HIGHS {
        0 => 8 + place(hits((block >> 64) as u64)),
        found => place(found),
    }
}

/// The place of the first hit, 8 if there is none.
#[inline]
fn place(found: u64) -> usize {
    (found & HIGHS).trailing_zeros() as usize / 8
}

/// The last bytes, from `at`, less than eight of them and then zeros. They are read together
/// with those before them, which are shifted out.
#[inline]
fn rest(bytes: &[u8], at: usize) -> u64 {
    let len = bytes.len() - at;
    match bytes.last_chunk::<8>() {
        _ if len == 0 => 0,
        Some(last) => u64::from_le_bytes(*last) >> (64 - 8 * len),
        None => bytes[at..].iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    }
}

#[inline]
fn controls(word: u64) -> u64 {
    less_than(word, 0x20) | delete(word)
}

#[inline]
fn not_target(word: u64) -> u64 {
    less_than(word, 0x21) | word | delete(word) | equal(word, b'#')
}

/// A byte of a token (RFC 9110 §5.6.2).
#[inline]
pub(super) fn is_token(byte: u8) -> bool {
    CLASS[byte as usize] & TOKEN != 0
}

/// Whether these are all bytes of `host [":" port]` (RFC 3986 §3.2.2) without the comma, by which
/// lists of hosts are joined.
pub(super) fn all_host(bytes: &[u8]) -> bool {
    bytes.iter().fold(HOST, |class, byte| class & CLASS[*byte as usize]) == HOST
}

/// Optional white space (RFC 9110 §5.6.3).
#[inline]
pub(super) fn is_space(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// Without the optional white space at both ends.
pub(super) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = bytes
        && is_space(*first)
    {
        bytes = rest;
    }
    while let [rest @ .., last] = bytes
        && is_space(*last)
    {
        bytes = rest;
    }
    bytes
}

const TOKEN: u8 = 1;
const HOST: u8 = 2;
static CLASS: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 128 {
        if matches!(byte, 0x30..=0x39 | 0x41..=0x5a | 0x61..=0x7a) {
            classes[byte] = TOKEN | HOST;
        }
        byte += 1;
    }
    classes = add(classes, b"!#$%&'*+-.^_`|~", TOKEN);
    add(classes, b"-._~!$&'()*+;=%:[]", HOST)
}

const fn add(mut classes: [u8; 256], bytes: &[u8], class: u8) -> [u8; 256] {
    let mut at = 0;
    while at < bytes.len() {
        classes[bytes[at] as usize] |= class;
        at += 1;
    }
    classes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every byte at every place of every length around the step of eight, among neighbours that
    /// could borrow into it.
    fn check(find: impl Fn(&[u8], usize) -> usize, is_hit: impl Fn(u8) -> bool) {
        for filler in [b'a', 0x21, 0x7e, 0x80, 0xff].into_iter().filter(|b| !is_hit(*b)) {
            for len in 0..26 {
                for place in 0..len {
                    for byte in 0..=255 {
                        let mut bytes = vec![filler; len];
                        bytes[place] = byte;
                        for from in [0, 1, 7, place, len].into_iter().filter(|from| *from <= len) {
                            let tail = bytes[from..].iter().position(|b| is_hit(*b));
                            let expected = tail.map_or(len, |n| from + n);
                            assert_eq!(find(&bytes, from), expected, "{bytes:?} from {from}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn the_first_control_is_found_at_every_place() {
        check(control, |byte| byte.is_ascii_control());
    }

    #[test]
    fn the_end_of_a_target_is_found_at_every_place() {
        check(target_end, |byte| !byte.is_ascii_graphic() || byte == b'#');
    }

    #[test]
    fn the_end_of_a_path_is_found_at_every_place() {
        check(path_end, |byte| !byte.is_ascii_graphic() || byte == b'#' || byte == b'?');
    }

    #[test]
    fn the_first_colon_is_found() {
        for (word, expected) in [(b":bcdefgh", 0), (b"abc:e:gh", 3), (b"abcdefg:", 7)] {
            assert_eq!(before_colon(u64::from_le_bytes(*word)), expected);
        }
        assert_eq!(before_colon(u64::from_le_bytes(*b"abcd;fgh")), 8);
        assert_eq!(before_colon(u64::from_le_bytes([0xba; 8])), 8);
    }

    #[test]
    fn classes_are_those_of_the_rfc() {
        let tokens: Vec<u8> = (0..=255).filter(|b| is_token(*b)).collect();
        assert_eq!(tokens.len(), 62 + 15);
        assert!(!b"\"(),/:;<=>?@[\\]{} \t\x7f\x80".iter().any(|b| is_token(*b)));
        assert!(!b"\"<>@/\\?#,^`{}| \t\x7f\x80".iter().any(|b| all_host(&[*b])));
        assert!(all_host(b"[fe80::1%25eth0]:8080_~"));
    }
}
