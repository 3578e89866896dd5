//! Which of two kinds of page a client would rather have: the field `Accept` (RFC 9110 §12.5.1).

use crate::list::parts;

/// How much a kind is wanted: its quality in thousandths, and how exactly it is named.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Wish {
    quality: u16,
    /// 0 not at all, 1 by `*/*`, 2 by `type/*`, 3 by name.
    exactness: u8,
}

/// Whether JSON is wanted more than HTML by the values of `Accept`. Of equals the one that is named more
/// exactly, then the one that is named first, then HTML.
pub(crate) fn prefers_json<'a>(values: impl Iterator<Item = &'a [u8]>) -> bool {
    let (mut json, mut html) = (Wish::default(), Wish::default());
    let mut is_json_first = false;
    for range in values.flat_map(|value| parts(value, b',')) {
        let mut parameters = parts(range, b';');
        let name = parameters.next().unwrap_or_default();
        let Some(quality) = quality(parameters) else { continue };
        is_json_first |= html.exactness < 3 && is_json(name) == 3;
        json.hear(is_json(name), quality);
        html.hear(is_html(name), quality);
    }
    let is_equal_and_first = json == html && json.exactness == 3 && is_json_first;
    json.quality > 0 && (json > html || is_equal_and_first)
}

impl Wish {
    /// The most exact range that names a kind decides (RFC 9110 §12.5.1).
    fn hear(&mut self, exactness: u8, quality: u16) {
        if exactness > self.exactness {
            *self = Wish { quality, exactness };
        } else if exactness == self.exactness && exactness > 0 {
            self.quality = self.quality.max(quality);
        }
    }
}

/// How exactly a range names the JSON that we send, or any that its readers take.
fn is_json(name: &[u8]) -> u8 {
    let Some(subtype) = strip(name, b"application/") else { return u8::from(name == b"*/*") };
    let is_suffixed =
        subtype.len() > 5 && subtype[subtype.len() - 5..].eq_ignore_ascii_case(b"+json");
    match subtype {
        b"*" => 2,
        _ if is_suffixed || subtype.eq_ignore_ascii_case(b"json") => 3,
        _ => 0,
    }
}

fn is_html(name: &[u8]) -> u8 {
    match strip(name, b"text/") {
        Some(b"*") => 2,
        Some(subtype) if subtype.eq_ignore_ascii_case(b"html") => 3,
        _ if name.eq_ignore_ascii_case(b"application/xhtml+xml") => 3,
        _ => u8::from(name == b"*/*"),
    }
}

fn strip<'a>(name: &'a [u8], begin: &[u8]) -> Option<&'a [u8]> {
    let (found, rest) = name.split_at_checked(begin.len())?;
    found.eq_ignore_ascii_case(begin).then_some(rest)
}

/// The weight among the parameters in thousandths, 1,000 if there is none; `None` if it is malformed,
/// and then the range counts for nothing (RFC 9110 §12.4.2).
fn quality<'a>(mut parameters: impl Iterator<Item = &'a [u8]>) -> Option<u16> {
    let Some(weight) = parameters.find_map(|parameter| strip(parameter, b"q=")) else {
        return Some(1_000);
    };
    let (whole, fraction) = match weight {
        [whole] => (whole, b"".as_slice()),
        [whole, b'.', fraction @ ..] => (whole, fraction),
        _ => return None,
    };
    if fraction.len() > 3 || !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digit = |place: usize| u16::from(fraction.get(place).map_or(0, |digit| digit - b'0'));
    let thousandths = digit(0) * 100 + digit(1) * 10 + digit(2);
    match (whole, thousandths) {
        (b'0', thousandths) => Some(thousandths),
        (b'1', 0) => Some(1_000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(values: &[&str], expected: bool) {
        let got = prefers_json(values.iter().map(|value| value.as_bytes()));
        assert_eq!(got, expected, "{values:?}");
    }

    #[test]
    fn json_is_for_those_who_name_it_and_want_it_more() {
        check(&["application/json"], true);
        check(&["Application/JSON; charset=utf-8"], true);
        check(&["application/problem+json"], true);
        check(&["application/json, text/plain, */*"], true);
        check(&["application/*, text/html;q=0.9"], true);
        check(&["text/html;q=0.5, application/json"], true);
        check(&["text/html;q=0, */*"], true);
        check(&["image/png", "application/vnd.api+json"], true);
        check(&["text/plain;a=\",text/html,\", application/json;q=0.1"], true);
        check(&["application/json, text/html"], true);
    }

    #[test]
    fn html_is_for_everybody_else() {
        check(&[], false);
        check(&[""], false);
        check(&["*/*"], false);
        check(&["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"], false);
        check(&["text/html, application/json"], false);
        check(&["text/html", "application/json"], false);
        check(&["application/json;q=0"], false);
        check(&["application/json;q=0, */*"], false);
        check(&["application/json;q=0.5, */*"], false);
        check(&["application/json;q=0.50, text/html;q=0.501"], false);
        check(&["text/*, application/*"], false);
        check(&["application/+json"], false);
    }

    #[test]
    fn a_weight_that_is_none_takes_its_range_with_it() {
        for weight in ["", "1.001", "2", "-1", "0.1234", ".5", "0,5", "a", "1.", "0."] {
            let is_number = weight == "1." || weight == "0.";
            let (json, html) = (format!("application/json;q={weight}"), "text/html;q=0.001");
            check(&[&json, html], is_number && weight == "1.");
        }
    }
}
