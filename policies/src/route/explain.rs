//! Why a route won or lost: the words of `tidegate route explain`.

use super::{
    Fields, HostPattern, Matcher, PathPattern, Request, RouteTable, ValuePattern, cookies,
};
use crate::secret::MASK;

/// One route and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Considered {
    /// Its place in [`RouteTable::routes`].
    pub index: usize,
    /// What became of it.
    pub verdict: Verdict,
}

/// What became of a route for one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Its condition is the first that holds.
    Won,
    /// Its condition does not hold.
    Lost {
        /// The first part that failed, with what was found: "host is `a.example`, wants
        /// `live.example`".
        why: String,
    },
    /// A route before it won.
    NotReached,
}

impl RouteTable {
    /// All routes in order, each asked by the plain reading of its condition and not by the
    /// index, so that it also tells when the two should ever disagree.
    pub fn explain<F: Fields>(&self, request: &Request<'_, F>) -> Vec<Considered> {
        let mut is_over = false;
        let considered = self.routes().iter().enumerate().map(|(index, route)| {
            let verdict = match failure(&route.when, request) {
                _ if is_over => Verdict::NotReached,
                Some(why) => Verdict::Lost { why },
                None => {
                    is_over = true;
                    Verdict::Won
                }
            };
            Considered { index, verdict }
        });
        considered.collect()
    }
}

/// What failed first; `None` if the condition holds.
fn failure<F: Fields>(matcher: &Matcher, request: &Request<'_, F>) -> Option<String> {
    if matcher.holds(request) {
        return None;
    }
    Some(match matcher {
        Matcher::All(matchers) => matchers.iter().find_map(|m| failure(m, request))?,
        Matcher::Any(matchers) if matchers.is_empty() => "`any` lists nothing".into(),
        Matcher::Any(matchers) => {
            let all: Vec<String> = matchers.iter().filter_map(|m| failure(m, request)).collect();
            format!("none of `any`: {}", all.join("; "))
        }
        Matcher::Not(inner) => format!("`not` excludes it: {}", reason(inner, request)),
        other => format!("{}, wants {}", found(other, request), wanted(other)),
    })
}

/// Why a condition holds.
fn reason<F: Fields>(matcher: &Matcher, request: &Request<'_, F>) -> String {
    match matcher {
        Matcher::All(matchers) if matchers.is_empty() => "`all` lists nothing".into(),
        Matcher::All(matchers) => {
            let all: Vec<String> = matchers.iter().map(|m| reason(m, request)).collect();
            all.join(" and ")
        }
        Matcher::Any(matchers) => {
            let first = matchers.iter().find(|m| m.holds(request));
            first.map_or_else(String::new, |m| reason(m, request))
        }
        Matcher::Not(inner) => failure(inner, request).unwrap_or_default(),
        other => found(other, request),
    }
}

/// What the request has where a condition looks. Combinations have no place of their own.
fn found<F: Fields>(matcher: &Matcher, request: &Request<'_, F>) -> String {
    match matcher {
        Matcher::Host(_) if request.host.is_empty() => "there is no host".into(),
        Matcher::Host(_) => format!("host is {}", quoted(request.host)),
        Matcher::Path(_) => format!("path is {}", quoted(request.path)),
        Matcher::Method(_) => format!("method is {}", quoted(request.method)),
        Matcher::Header(name, _) => {
            let mut values = Vec::new();
            request.fields.any(name, &mut |value| keep(&mut values, value));
            named("header", name, &values, matcher)
        }
        Matcher::Query(name, _) => {
            let values = super::query::values(request.query, name);
            named("query parameter", name, &values, matcher)
        }
        Matcher::Cookie(name, _) => {
            let mut values = Vec::new();
            request.fields.any("cookie", &mut |line| {
                cookies(line).any(|(n, value)| n == name.as_bytes() && keep(&mut values, value))
            });
            named("cookie", name, &values, matcher)
        }
        Matcher::Source(_) => format!("client is `{}`", request.client),
        Matcher::Listener(_) => format!("listener is `{}`", request.listener),
        Matcher::All(_) | Matcher::Any(_) | Matcher::Not(_) => String::new(),
    }
}

/// Takes note of a value and asks for the next.
fn keep(values: &mut Vec<Vec<u8>>, value: &[u8]) -> bool {
    values.push(value.to_vec());
    false
}

/// Credentials are told by nobody, not even to who has sent them: terminals are logged and shared.
fn named(kind: &str, name: &str, values: &[Vec<u8>], matcher: &Matcher) -> String {
    if values.is_empty() {
        return format!("{kind} `{name}` is missing");
    }
    let shown = |value: &Vec<u8>| match matcher.is_secret() {
        true => format!("`{MASK}`"),
        false => quoted(value),
    };
    let values: Vec<String> = values.iter().map(shown).collect();
    format!("{kind} `{name}` is {}", values.join(", "))
}

/// What a condition asks for.
fn wanted(matcher: &Matcher) -> String {
    let alternatives: Vec<String> = match matcher {
        Matcher::Host(patterns) => patterns.iter().map(host).collect(),
        Matcher::Path(patterns) => patterns.iter().map(path).collect(),
        Matcher::Method(methods) => methods.iter().map(|m| format!("`{m}`")).collect(),
        Matcher::Source(blocks) => blocks.iter().map(|block| format!("`{block}`")).collect(),
        Matcher::Listener(name) => vec![format!("`{name}`")],
        Matcher::Header(_, pattern) | Matcher::Query(_, pattern) | Matcher::Cookie(_, pattern) => {
            vec![match pattern {
                ValuePattern::Present => "any value".into(),
                _ if matcher.is_secret() => format!("`{MASK}`"),
                ValuePattern::Exact(text) => format!("`{text}`"),
                ValuePattern::Regex(regex) => format!("a match of `{regex}`"),
            }]
        }
        Matcher::All(_) | Matcher::Any(_) | Matcher::Not(_) => Vec::new(),
    };
    match alternatives.is_empty() {
        true => "one of an empty list".into(),
        false => alternatives.join(" or "),
    }
}

fn host(pattern: &HostPattern) -> String {
    match pattern {
        HostPattern::Exact(name) => format!("`{name}`"),
        HostPattern::Suffix(name) => format!("`*{name}`"),
    }
}

fn path(pattern: &PathPattern) -> String {
    match pattern {
        PathPattern::Exact(text) => format!("`{text}`"),
        PathPattern::Prefix(text) => format!("`{text}` or below"),
        PathPattern::Regex(regex) => format!("a match of `{regex}`"),
    }
}

/// Fit for a terminal: what came from a client may hold anything.
fn quoted(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text: String = text
        .chars()
        .map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c })
        .collect();
    format!("`{text}`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::{Action, Route, Target};

    /// Field lines as they come.
    struct Lines;

    impl Fields for Lines {
        fn any(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
            match name {
                "x-plan" => test(b"free") || test(b"tri\x1bal"),
                "authorization" => test(b"Bearer mine"),
                "cookie" => test(b"sid=1; beta=no"),
                _ => false,
            }
        }
    }

    /// What is said of a route with this condition, for `GET /v1/x?page=%32` of a.example.
    #[track_caller]
    fn check(when: Matcher, wanted: &str) {
        let request = Request {
            listener: "web",
            method: b"GET",
            host: b"a.example",
            path: b"/v1/x",
            query: Some(b"page=%32"),
            client: "192.0.2.7".parse().unwrap(),
            fields: &Lines,
        };
        let route = |when| Route {
            name: "tried".into(),
            when,
            action: Action::Forward(Target::Waterfall(Vec::new())),
        };
        let last = Matcher::All(Vec::new());
        let table = RouteTable::new(vec![route(when), route(last.clone()), route(last)]);
        let got: Vec<Verdict> = table.explain(&request).into_iter().map(|c| c.verdict).collect();
        let lost = Verdict::Lost { why: wanted.into() };
        assert_eq!(got, [lost, Verdict::Won, Verdict::NotReached]);
    }

    #[test]
    fn says_what_was_found_and_what_was_wanted() {
        let hosts =
            ["live.kgsports.example", "*.b.example"].map(|h| HostPattern::parse(h).unwrap());
        check(
            Matcher::Host(hosts.to_vec()),
            "host is `a.example`, wants `live.kgsports.example` or `*.b.example`",
        );
        let paths = vec![PathPattern::Prefix("/v2/".into()), PathPattern::Exact("/".into())];
        check(Matcher::Path(paths), "path is `/v1/x`, wants `/v2/` or below or `/`");
        check(Matcher::Method(vec!["POST".into()]), "method is `GET`, wants `POST`");
        check(Matcher::Listener("tls".into()), "listener is `web`, wants `tls`");
        let block = "10.0.0.0/8".parse().unwrap();
        check(Matcher::Source(vec![block]), "client is `192.0.2.7`, wants `10.0.0.0/8`");
        check(Matcher::Host(Vec::new()), "host is `a.example`, wants one of an empty list");
    }

    #[test]
    fn shows_values_as_they_are_compared_and_fit_for_a_terminal() {
        let exact = |text: &str| ValuePattern::Exact(text.into());
        check(
            Matcher::Header("x-plan".into(), exact("pro")),
            "header `x-plan` is `free`, `tri\u{fffd}al`, wants `pro`",
        );
        check(
            Matcher::Query("page".into(), exact("3")),
            "query parameter `page` is `2`, wants `3`",
        );
        let regex = ValuePattern::Regex(regex::bytes::Regex::new("^y").unwrap());
        check(Matcher::Cookie("beta".into(), regex), "cookie `beta` is `***`, wants `***`");
        check(
            Matcher::Header("authorization".into(), exact("s3cr3t")),
            "header `authorization` is `***`, wants `***`",
        );
        check(
            Matcher::Header("x-api".into(), ValuePattern::Present),
            "header `x-api` is missing, wants any value",
        );
    }

    #[test]
    fn names_the_first_part_that_failed() {
        let get = Matcher::Method(vec!["GET".into()]);
        let post = Matcher::Method(vec!["POST".into()]);
        let tls = Matcher::Listener("tls".into());
        let all = Matcher::All(vec![get.clone(), post.clone(), tls.clone()]);
        check(all, "method is `GET`, wants `POST`");
        check(
            Matcher::Any(vec![post, tls]),
            "none of `any`: method is `GET`, wants `POST`; listener is `web`, wants `tls`",
        );
        check(Matcher::Not(Box::new(get)), "`not` excludes it: method is `GET`");
    }
}
