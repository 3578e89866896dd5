//! What HTTP knows: paths, methods, fields, status codes; and regular expressions over them.

use policies::route::normal::{self, Normal, PathRules};

use crate::config::keys::Kind;
use crate::config::text::{Message, values as say};

/// Whether a request can ask for that: a path, and maybe a query behind it.
pub(crate) fn target(text: &str) -> Result<(), Message> {
    let (before, query) = text.split_once('?').unwrap_or((text, ""));
    path(before)?;
    match query.chars().find(|c| !c.is_ascii_graphic() || *c == '#') {
        None => Ok(()),
        Some(c) => {
            let why = format!("its query holds `{}`", c.escape_debug());
            Err(say::path(text, &why, Some("write it as `%` and two hex digits".to_owned())))
        }
    }
}

/// Whether requests can have that path: it must be in normal form, because nothing else is ever
/// compared with it.
pub(crate) fn path(text: &str) -> Result<(), Message> {
    let wrong = |why: &str, remedy: Option<String>| Err(say::path(text, why, remedy));
    if !text.starts_with('/') {
        let remedy = text.is_ascii().then(|| format!("write `/{text}`"));
        return wrong("it does not begin with `/`", remedy);
    }
    if let Some(c) = text.chars().find(|c| matches!(c, '?' | '#')) {
        return wrong(
            &format!("it holds `{c}`"),
            Some("match a query with `query = { ... }`".into()),
        );
    }
    if let Some(c) = text.chars().find(|c| !c.is_ascii_graphic()) {
        let why = format!("it holds `{}`", c.escape_debug());
        return wrong(&why, Some("write other letters as `%` and two hex digits".to_owned()));
    }
    if text.contains('*') {
        return wrong(
            "`*` is not a wildcard here",
            Some("use `path_prefix` or `path_regex`".into()),
        );
    }
    // As lenient as the most lenient listener: whether this one allows it is not known here.
    let rules =
        PathRules { merge_slashes: false, allow_encoded_slash: true, allow_backslash: true };
    let mut normal = Vec::new();
    match normal::path(text.as_bytes(), rules, &mut normal) {
        Ok(Normal::Same) => Ok(()),
        Ok(Normal::Changed) => {
            let normal = String::from_utf8_lossy(&normal).into_owned();
            wrong("it is compared in normal form", Some(format!("write `{normal}`")))
        }
        // Its words are for requests: "path has ...; send ...".
        Err(error) => {
            let words = error.to_string().replacen("path ", "it ", 1);
            let (why, remedy) = words.split_once("; ").unwrap_or((&words, ""));
            wrong(why, Some(remedy.replacen("send", "write", 1)).filter(|r| !r.is_empty()))
        }
    }
}

/// Compiles an expression and, if it does not compile, finds the place in it.
pub(crate) fn regex(text: &str) -> Result<regex::bytes::Regex, Message> {
    let error = match regex::bytes::Regex::new(text) {
        Ok(regex) => return Ok(regex),
        Err(error) => error,
    };
    match regex_syntax::ParserBuilder::new().utf8(false).build().parse(text) {
        Err(regex_syntax::Error::Parse(error)) => {
            let span = error.span();
            let within = (span.start.offset, span.end.offset.max(span.start.offset));
            Err(say::regex(&error.kind().to_string(), Some(within)))
        }
        Err(regex_syntax::Error::Translate(error)) => {
            let span = error.span();
            Err(say::regex(&error.kind().to_string(), Some((span.start.offset, span.end.offset))))
        }
        _ => match error {
            regex::Error::CompiledTooBig(limit) => {
                Err(say::regex(&format!("it needs more than {} MiB", limit >> 20), None))
            }
            _ => Err(say::regex("it is not a regular expression", None)),
        },
    }
}

/// RFC 9110 §5.6.2
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// A method. They are case-sensitive (RFC 9110 §9.1).
pub(crate) fn method(text: &str) -> Result<(), Message> {
    const STANDARD: [&str; 9] =
        ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"];
    if !is_token(text) {
        return Err(say::token(text, "a method", None));
    }
    let upper = text.to_ascii_uppercase();
    if text != upper && STANDARD.contains(&upper.as_str()) {
        return Err(say::token(
            text,
            "a method; methods are case-sensitive",
            Some(format!("write `{upper}`")),
        ));
    }
    Ok(())
}

/// A field name, in lower case.
pub(crate) fn header_name(text: &str) -> Result<String, Message> {
    if is_token(text) {
        return Ok(text.to_ascii_lowercase());
    }
    Err(say::header(text, "is not a header name"))
}

/// A field value: one line of visible ASCII, blanks between.
pub(crate) fn header_value(text: &str) -> Result<(), Message> {
    if let Some(c) = text.chars().find(|c| !(c.is_ascii_graphic() || matches!(c, ' ' | '\t'))) {
        return Err(say::header(
            text,
            &format!("is not a header value: it holds `{}`", c.escape_debug()),
        ));
    }
    if text.trim_matches([' ', '\t']) != text {
        return Err(say::header(text, "is not a header value: it begins or ends with a blank"));
    }
    Ok(())
}

/// A cookie name is a token (RFC 6265 §4.1.1).
pub(crate) fn cookie_name(text: &str) -> Result<(), Message> {
    if is_token(text) { Ok(()) } else { Err(say::token(text, "a cookie name", None)) }
}

/// A status code between two. A range that begins at 301 is that of redirects.
pub(crate) fn status(number: i64, min: u16, max: u16) -> Result<u16, Message> {
    const REDIRECTS: [u16; 5] = [301, 302, 303, 307, 308];
    let found = u16::try_from(number).ok().filter(|code| (min..=max).contains(code));
    match found {
        Some(code) if min != 301 || REDIRECTS.contains(&code) => Ok(code),
        _ if min == 301 => Err(say::status(&number.to_string(), "301, 302, 303, 307 and 308")),
        _ => Err(say::status(&number.to_string(), &format!("{min} to {max}"))),
    }
}

/// `200-299` or `204`, both ends included.
pub(crate) fn status_range(text: &str) -> Result<(u16, u16), Message> {
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let code = |part: &str| part.trim().parse::<u16>().ok().filter(|c| (100..=599).contains(c));
    match (code(from), code(to)) {
        (Some(from), Some(to)) if from <= to => Ok((from, to)),
        (Some(_), Some(_)) => Err(say::status(text, "the smaller one first, `200-299`")),
        _ => Err(say::status(text, "`200-299` or `204`, from 100 to 599")),
    }
}

/// Where access log lines go.
pub(crate) fn log_target(text: &str) -> Result<(), Message> {
    let file = text.strip_prefix("file://");
    if text == "stdout" || file.is_some_and(|path| path.starts_with('/') && !path.contains('\0')) {
        return Ok(());
    }
    if text.strip_prefix("cloudwatch://").is_some_and(|group| !group.is_empty()) {
        return Ok(());
    }
    let message = say::target(&Kind::LogTarget, text);
    Err(match text.starts_with('/') {
        true => message.help(format!("write `file://{text}`")),
        false => message,
    })
}

/// A URL or path with placeholders; printable, so that it can stand in a field.
pub(crate) fn location(text: &str) -> Result<(), Message> {
    let leads =
        text.starts_with('/') || text.starts_with("http://") || text.starts_with("https://");
    if !leads || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(say::target(&Kind::Location, text));
    }
    // Browsers read `//` and `/\` as the beginning of a host; a path begins with `/` itself, and
    // a client may ask for `//evil.example`.
    let behind_slash = text.strip_prefix('/').or_else(|| Some(text.split_once("://")?.1));
    if behind_slash.is_some_and(|rest| {
        ["/", "\\", "{path}", "{query}"].iter().any(|start| rest.starts_with(start))
    }) {
        return Err(say::open_redirect(text));
    }
    const KNOWN: [&str; 3] = ["host", "path", "query"];
    let mut from = 0;
    while let Some(open) = text.get(from..).and_then(|rest| rest.find('{')).map(|at| from + at) {
        let close = text[open..].find('}').map_or(text.len(), |at| open + at);
        let name = &text[open + 1..close];
        if !KNOWN.contains(&name) || close == text.len() {
            let end = (close + 1).min(text.len());
            return Err(say::placeholder(name, &KNOWN, (open, end)));
        }
        from = close + 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_that_does_not_compile_shows_where() {
        let message = regex("^/a(b").unwrap_err();
        assert_eq!(message.within, Some((3, 4)));
        assert!(regex("(?:a{1000}){1000}").is_err());
        assert!(regex("^/v[0-9]+/").is_ok());
    }

    #[test]
    fn paths_begin_with_a_slash_and_hold_no_query() {
        assert!(path("/a/b%20c").is_ok());
        for text in ["a", "/a?b", "/a b", "/a*", "/ü", "/a#b", "/a/../b", "/%41", "/%zz"] {
            assert!(path(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_check_may_have_a_query() {
        for text in ["/healthz", "/healthz?deep=1&x=%20", "/?", "/a?b?c"] {
            assert!(target(text).is_ok(), "{text}");
        }
        for text in ["healthz?x", "/a b?x", "/a?b c", "/a?b#c", "/a?\u{e9}", "?x", ""] {
            assert!(target(text).is_err(), "{text}");
        }
    }

    #[test]
    fn status_ranges_have_two_ends() {
        assert_eq!(status_range("200-299"), Ok((200, 299)));
        assert_eq!(status_range("204"), Ok((204, 204)));
        for text in ["", "2xx", "299-200", "99", "600", "200-", "-"] {
            assert!(status_range(text).is_err(), "{text}");
        }
        assert!(status(304, 301, 308).is_err());
        assert!(status(308, 301, 308).is_ok());
    }

    #[test]
    fn only_known_placeholders_lead_somewhere() {
        assert!(location("https://{host}/x{path}?{query}").is_ok());
        for text in ["{hots}/", "/{hots}", "/{host", "new", "/a b", "ftp://a", "/{", "/\u{e9}"] {
            assert!(location(text).is_err(), "{text}");
        }
    }

    #[test]
    fn no_client_chooses_the_host_that_it_is_sent_to() {
        for text in ["//evil", "/{path}", "/\\evil", "https://{path}", "http:///evil"] {
            assert!(location(text).unwrap_err().text.contains("any host"), "{text}");
        }
        for text in ["/new{path}", "https://{host}{path}", "https://a.example{path}", "/"] {
            assert!(location(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn header_values_are_one_line() {
        assert!(header_value("no-store, max-age=0").is_ok());
        assert!(header_value("").is_ok());
        for text in ["a\r\nb", " a", "a\u{7f}", "é"] {
            assert!(header_value(text).is_err(), "{text}");
        }
    }
}
