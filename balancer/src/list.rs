//! Values that are lists with quoted text in them (RFC 9110 §5.6): where a part ends.

/// The parts between `separator`s that stand outside of quoted text, without the white space around
/// them. Quoted text that does not end goes on to the end of the value.
pub(crate) fn parts(value: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(value);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = end_of_part(text, separator);
        rest = text.get(end + 1..);
        Some(text[..end].trim_ascii())
    })
}

fn end_of_part(text: &[u8], separator: u8) -> usize {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let end = text.iter().position(|&byte| {
        if is_escaped {
            is_escaped = false;
            return false;
        }
        is_escaped = is_quoted && byte == b'\\';
        is_quoted ^= byte == b'"';
        !is_quoted && byte == separator
    });
    end.unwrap_or(text.len())
}

/// The text between quotes, as it stands; `None` if it is not one quoted text and nothing else. What is
/// escaped in it keeps its backslash.
pub(crate) fn unquoted(text: &[u8]) -> Option<&[u8]> {
    let inner = text.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let mut is_escaped = false;
    let is_one = inner.iter().all(|&byte| {
        let is_plain = is_escaped || byte != b'"';
        is_escaped = !is_escaped && byte == b'\\';
        is_plain
    });
    (is_one && !is_escaped).then_some(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: &str, expected: &[&str]) {
        let got: Vec<_> = parts(value.as_bytes(), b',').collect();
        let expected: Vec<_> = expected.iter().map(|part| part.as_bytes()).collect();
        assert_eq!(got, expected, "{value}");
    }

    #[test]
    fn a_separator_in_quotes_separates_nothing() {
        check("", &[""]);
        check("a, b\t,,c ", &["a", "b", "", "c"]);
        check(r#"a="b,c", d"#, &[r#"a="b,c""#, "d"]);
        check(r#""a\",b\\",c"#, &[r#""a\",b\\""#, "c"]);
        check(r#"a", b, c"#, &[r#"a", b, c"#]);
        check(r"a\,b", &[r"a\", "b"]);
    }

    #[test]
    fn quoted_text_is_between_two_quotes_and_has_none_in_it() {
        for (text, expected) in [
            (r#""""#, Some("")),
            (r#""a b""#, Some("a b")),
            (r#""a\"b""#, Some(r#"a\"b"#)),
            (r#"""#, None),
            (r#""a"b""#, None),
            (r#""a\""#, None),
            (r#"a"#, None),
            (r#""a" "#, None),
        ] {
            assert_eq!(unquoted(text.as_bytes()), expected.map(str::as_bytes), "{text}");
        }
    }
}
