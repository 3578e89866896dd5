//! The parameters of a query, compared while they are decoded.
//!
//! Parameters end at `&`; the first `=` ends the name. `+` is a space and a %-code its byte, as
//! in `application/x-www-form-urlencoded`; a `%` without two hex digits stands for itself. What
//! the backend receives is the query as sent.

use super::ValuePattern;
use super::normal::hex_byte;

/// Values that have codes are decoded on the stack up to this length, beyond it on the heap.
const STACK: usize = 512;

/// Whether any parameter called `name` has such a value.
pub(super) fn any(query: &[u8], name: &str, pattern: &ValuePattern) -> bool {
    query.split(|&b| b == b'&').any(|parameter| {
        let end = memchr::memchr(b'=', parameter).unwrap_or(parameter.len());
        let value = parameter.get(end + 1..).unwrap_or_default();
        is_same(&parameter[..end], name) && holds(value, pattern) && !parameter.is_empty()
    })
}

/// The decoded values of the parameters called `name`, for explanations.
pub(super) fn values(query: Option<&[u8]>, name: &str) -> Vec<Vec<u8>> {
    let mut values = Vec::new();
    for parameter in query.unwrap_or_default().split(|&b| b == b'&') {
        let end = memchr::memchr(b'=', parameter).unwrap_or(parameter.len());
        if !parameter.is_empty() && is_same(&parameter[..end], name) {
            values.push(decoded(parameter.get(end + 1..).unwrap_or_default()).collect());
        }
    }
    values
}

fn holds(value: &[u8], pattern: &ValuePattern) -> bool {
    match pattern {
        ValuePattern::Present => true,
        ValuePattern::Exact(wanted) => is_same(value, wanted),
        ValuePattern::Regex(regex) if memchr::memchr2(b'%', b'+', value).is_none() => {
            regex.is_match(value)
        }
        ValuePattern::Regex(regex) if value.len() <= STACK => {
            let mut buffer = [0; STACK];
            let length = buffer.iter_mut().zip(decoded(value)).fold(0, |length, (to, byte)| {
                *to = byte;
                length + 1
            });
            regex.is_match(&buffer[..length])
        }
        ValuePattern::Regex(regex) => regex.is_match(&decoded(value).collect::<Vec<u8>>()),
    }
}

fn is_same(raw: &[u8], wanted: &str) -> bool {
    decoded(raw).eq(wanted.bytes())
}

/// The bytes that `raw` stands for.
pub(super) fn decoded(raw: &[u8]) -> impl Iterator<Item = u8> {
    let mut rest = raw;
    std::iter::from_fn(move || {
        let (&first, after) = rest.split_first()?;
        rest = after;
        match (first, after) {
            (b'+', _) => Some(b' '),
            (b'%', [high, low, behind @ ..]) => Some(match hex_byte(*high, *low) {
                Some(byte) => {
                    rest = behind;
                    byte
                }
                None => b'%',
            }),
            _ => Some(first),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(query: &str, name: &str, pattern: &ValuePattern, wanted: bool) {
        assert_eq!(any(query.as_bytes(), name, pattern), wanted, "{query} for {name} {pattern:?}");
    }

    fn exact(text: &str) -> ValuePattern {
        ValuePattern::Exact(text.into())
    }

    fn regex(text: &str) -> ValuePattern {
        ValuePattern::Regex(regex::bytes::Regex::new(text).unwrap())
    }

    #[test]
    fn finds_a_parameter_wherever_it_is() {
        check("a=1&v=2&b", "v", &exact("2"), true);
        check("v=1&v=2", "v", &exact("2"), true);
        check("a=v&vv=2", "v", &ValuePattern::Present, false);
        check("b", "b", &ValuePattern::Present, true);
        check("b", "b", &exact(""), true);
        check("b=c=d", "b", &exact("c=d"), true);
        check("", "", &ValuePattern::Present, false);
        check("a=1;v=2", "v", &ValuePattern::Present, false);
    }

    #[test]
    fn undoes_codes_in_names_and_values() {
        check("%76=%61+b%2Bc%26", "v", &exact("a b+c&"), true);
        check("v=%zz%4", "v", &exact("%zz%4"), true);
        check("v=%2561", "v", &exact("%61"), true);
        check("v=a%00", "v", &exact("a"), false);
    }

    #[test]
    fn a_regex_sees_the_decoded_value_however_long() {
        check("v=%61dmin", "v", &regex("^admin$"), true);
        check("v=admin", "v", &regex("^admin$"), true);
        for padding in [STACK - 4, STACK - 3, STACK, 4 * STACK] {
            let query = format!("v=%61{}b", "x".repeat(padding));
            check(&query, "v", &regex("^ax+b$"), true);
            check(&query, "v", &regex("^ax+$"), false);
        }
    }
}
