//! As much HTTP/1.1 as the kit needs: where a head ends, and what one field says.

/// Position just after the blank line that ends a message head.
pub(crate) fn head_end(bytes: &[u8]) -> Option<usize> {
    // Most lines are long, so their ends are found quicker than the blank line itself.
    let mut ends = memchr::memchr_iter(b'\n', bytes).map(|end| end + 1);
    ends.find(|&end| bytes[..end].ends_with(b"\r\n\r\n"))
}

/// The value of a field in a raw head, its name compared without regard to case.
pub(crate) fn field<'a>(head: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let name = name.as_bytes();
    let mut at = 0;
    memchr::memchr_iter(b'\n', head).find_map(|end| {
        let line = &head[at..end];
        at = end + 1;
        let is_it =
            line.get(name.len()) == Some(&b':') && line[..name.len()].eq_ignore_ascii_case(name);
        is_it.then(|| line[name.len() + 1..].trim_ascii())
    })
}

/// The decimal number at the start of `bytes`, 0 if there is none.
pub(crate) fn number(bytes: &[u8]) -> u64 {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0u64, |sum, digit| sum.wrapping_mul(10).wrapping_add(u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\n\r\n";

    #[test]
    fn the_first_of_two_heads_ends_first() {
        assert_eq!(head_end(TWO), Some(27));
        assert_eq!(head_end(&TWO[27..]), Some(TWO.len() - 27));
        assert_eq!(head_end(&TWO[..26]), None);
    }

    #[test]
    fn a_field_is_found_whatever_its_case() {
        let head = b"HTTP/1.1 200 OK\r\nX-Content-Length: 1\r\ncontent-LENGTH:  42 \r\n\r\n";
        assert_eq!(field(head, "Content-Length"), Some(&b"42"[..]));
        assert_eq!(field(head, "Content-Type"), None);
    }

    #[test]
    fn a_number_stops_at_the_first_other_byte() {
        assert_eq!(number(b"1048576\r\n"), 1_048_576);
        assert_eq!(number(b"x"), 0);
    }
}
