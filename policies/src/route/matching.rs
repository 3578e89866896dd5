//! Whether a condition holds for a request.

use std::net::IpAddr;

use ipnet::IpNet;

use super::normal::{self, HostError};
use super::{Fields, HostPattern, Matcher, PathPattern, Request, ValuePattern, query};

impl Matcher {
    /// Whether the condition holds. Does not allocate, but for a query value of more than 512
    /// bytes with codes in it that a regex has to see decoded, and the caches of a regex itself.
    pub fn holds<F: Fields>(&self, request: &Request<'_, F>) -> bool {
        match self {
            Matcher::Host(patterns) => patterns.iter().any(|p| p.holds(request.host)),
            Matcher::Path(patterns) => patterns.iter().any(|p| p.holds(request.path)),
            Matcher::Method(methods) => methods.iter().any(|m| m.as_bytes() == request.method),
            Matcher::Header(name, pattern) => {
                request.fields.any(name, &mut |value| pattern.holds(value))
            }
            Matcher::Query(name, pattern) => {
                request.query.is_some_and(|text| query::any(text, name, pattern))
            }
            Matcher::Cookie(name, pattern) => request.fields.any("cookie", &mut |line| {
                cookies(line).any(|(n, value)| n == name.as_bytes() && pattern.holds(value))
            }),
            Matcher::Source(blocks) => is_in(request.client, blocks),
            Matcher::Listener(name) => **name == *request.listener,
            Matcher::All(matchers) => matchers.iter().all(|m| m.holds(request)),
            Matcher::Any(matchers) => matchers.iter().any(|m| m.holds(request)),
            Matcher::Not(matcher) => !matcher.holds(request),
        }
    }
}

impl HostPattern {
    /// Whether `host`, in normal form, is meant. The empty host is never.
    pub fn holds(&self, host: &[u8]) -> bool {
        match self {
            HostPattern::Exact(wanted) => !host.is_empty() && host == wanted.as_bytes(),
            HostPattern::Suffix(wanted) => {
                host.len() > wanted.len() && host.ends_with(wanted.as_bytes())
            }
        }
    }

    /// Reads `live.example` or `*.example`, in any case.
    ///
    /// # Errors
    /// A `*` anywhere but as the whole first label, a port, or what no host is.
    pub fn parse(text: &str) -> Result<HostPattern, HostPatternError> {
        let (name, is_suffix) = match text.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (text, false),
        };
        if name.contains('*') {
            return Err(HostPatternError::Star(text.into()));
        }
        if (!name.starts_with('[') && name.contains(':')) || name.contains("]:") {
            return Err(HostPatternError::Port(text.into()));
        }
        let mut out = Vec::new();
        let name = match normal::host(name.as_bytes(), &mut out)? {
            normal::Normal::Same => name.to_owned(),
            normal::Normal::Changed => String::from_utf8_lossy(&out).into_owned(),
        };
        Ok(match is_suffix {
            true => HostPattern::Suffix(format!(".{name}").into()),
            false => HostPattern::Exact(name.into()),
        })
    }
}

/// Why a text is no [`HostPattern`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostPatternError {
    /// `a.*.example`, `*a.example`, `*`.
    #[error("`{0}` has a `*` that is not its whole first label; write `*.` and a name")]
    Star(Box<str>),
    /// Requests are matched without their port.
    #[error("`{0}` has a port; leave it out, hosts are matched without, or match the listener")]
    Port(Box<str>),
    /// Not a host.
    #[error(transparent)]
    Host(#[from] HostError),
}

impl PathPattern {
    /// Whether `path`, in normal form, is meant.
    pub fn holds(&self, path: &[u8]) -> bool {
        match self {
            PathPattern::Exact(wanted) => path == wanted.as_bytes(),
            PathPattern::Prefix(wanted) => path
                .strip_prefix(stem(wanted).as_bytes())
                .is_some_and(|rest| rest.first().is_none_or(|&b| b == b'/') && !path.is_empty()),
            PathPattern::Regex(regex) => regex.is_match(path),
        }
    }
}

impl ValuePattern {
    /// Whether `value` is meant, as it stands.
    pub fn holds(&self, value: &[u8]) -> bool {
        match self {
            ValuePattern::Present => true,
            ValuePattern::Exact(wanted) => value == wanted.as_bytes(),
            ValuePattern::Regex(regex) => regex.is_match(value),
        }
    }
}

/// The pairs in one line of `Cookie`, in order (RFC 6265 §4.2.1). Blanks around names and values
/// are dropped, quotes are part of the value (§5.2), a piece without `=` is a value without name.
pub fn cookies(line: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    line.split(|&b| b == b';').map(|pair| match memchr::memchr(b'=', pair) {
        Some(end) => (pair[..end].trim_ascii(), pair[end + 1..].trim_ascii()),
        None => (&[][..], pair.trim_ascii()),
    })
}

/// A prefix without the slash at its end: what the path must begin with before a slash or its end.
pub(super) fn stem(prefix: &str) -> &str {
    prefix.strip_suffix('/').unwrap_or(prefix)
}

/// An IPv4 client of a dual-stack socket comes as `::ffff:a.b.c.d` and is in IPv4 blocks too.
fn is_in(client: IpAddr, blocks: &[IpNet]) -> bool {
    let canonical = client.to_canonical();
    blocks.iter().any(|block| block.contains(&canonical) || block.contains(&client))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(text: &str) -> ValuePattern {
        ValuePattern::Exact(text.into())
    }

    /// Field lines as they come.
    struct Lines(&'static [(&'static str, &'static str)]);

    impl Fields for Lines {
        fn any(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
            self.0.iter().any(|(n, value)| *n == name && test(value.as_bytes()))
        }
    }

    #[track_caller]
    fn check(matcher: &Matcher, wanted: bool) {
        let request = Request {
            listener: "web",
            method: b"GET",
            host: b"a.example",
            path: b"/",
            query: Some(b"v=%31"),
            client: "::ffff:10.1.2.3".parse().unwrap(),
            fields: &Lines(&[("cookie", "a=1; sid=\"x\";b = 2"), ("cookie", "sid=y; c; d=e=f")]),
        };
        assert_eq!(matcher.holds(&request), wanted, "{matcher:?}");
    }

    #[test]
    fn a_prefix_ends_at_a_segment() {
        for prefix in ["/api", "/api/"] {
            let pattern = PathPattern::Prefix(prefix.into());
            for path in ["/api", "/api/", "/api/x"] {
                assert!(pattern.holds(path.as_bytes()), "{prefix} {path}");
            }
            for path in ["/apix", "/ap", "/", "*", "/API", "/api;x", "/x/api"] {
                assert!(!pattern.holds(path.as_bytes()), "{prefix} {path}");
            }
        }
        let root = PathPattern::Prefix("/".into());
        assert!(root.holds(b"/") && root.holds(b"/x") && !root.holds(b"*") && !root.holds(b""));
    }

    #[test]
    fn a_wildcard_is_for_names_below_it() {
        let pattern = HostPattern::parse("*.Example.org").unwrap();
        for host in ["a.example.org", "b.a.example.org"] {
            assert!(pattern.holds(host.as_bytes()), "{host}");
        }
        for host in ["example.org", "aexample.org", "a.example.org.evil", ""] {
            assert!(!pattern.holds(host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn a_pattern_that_no_request_could_meet_is_refused() {
        for text in ["*", "*a.example", "a.*.example", "*.*.example", "*."] {
            assert!(HostPattern::parse(text).is_err(), "{text}");
        }
        for text in ["a.example:80", "*.a.example:80", "[::1]:80"] {
            let error = HostPattern::parse(text).unwrap_err();
            assert_eq!(error, HostPatternError::Port(text.into()));
        }
        assert!(
            matches!(HostPattern::parse("[0::1]"), Ok(HostPattern::Exact(t)) if &*t == "[::1]")
        );
    }

    #[test]
    fn cookies_are_found_on_any_line() {
        for (name, value) in [("a", "1"), ("sid", "\"x\""), ("sid", "y"), ("b", "2"), ("d", "e=f")]
        {
            check(&Matcher::Cookie(name.into(), exact(value)), true);
        }
        for name in ["si", "SID", "x", "e", "c"] {
            check(&Matcher::Cookie(name.into(), ValuePattern::Present), false);
        }
    }

    #[test]
    fn an_ipv4_client_of_a_dual_stack_socket_is_in_ipv4_blocks() {
        for (block, wanted) in
            [("10.0.0.0/8", true), ("::ffff:0:0/96", true), ("11.0.0.0/8", false)]
        {
            check(&Matcher::Source(vec![block.parse().unwrap()]), wanted);
        }
    }

    #[test]
    fn conditions_compose() {
        let (yes, no) = (Matcher::All(Vec::new()), Matcher::Any(Vec::new()));
        check(&yes, true);
        check(&no, false);
        check(&Matcher::Not(Box::new(no.clone())), true);
        check(&Matcher::All(vec![yes.clone(), no.clone()]), false);
        check(&Matcher::Any(vec![no, yes]), true);
        check(&Matcher::Method(vec!["get".into(), "POST".into()]), false);
        check(&Matcher::Query("v".into(), exact("1")), true);
        check(&Matcher::Listener("web".into()), true);
    }
}
