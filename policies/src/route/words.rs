//! Conditions in words, for people who look at a running door.

use std::fmt;

use super::{HostPattern, Matcher, PathPattern, ValuePattern};
use crate::secret::{MASK, is_secret_header, is_secret_name};

impl Matcher {
    /// Whether the value it looks at is a credential, or may be one: cookies are, whatever they
    /// are called.
    pub(super) fn is_secret(&self) -> bool {
        match self {
            Matcher::Header(name, _) => is_secret_header(name),
            Matcher::Query(name, _) => is_secret_name(name),
            Matcher::Cookie(..) => true,
            _ => false,
        }
    }
}

impl fmt::Display for Matcher {
    /// `host is `a` and (path is `/b` or below or method is `PUT`)`; `always` for no condition.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Matcher::Host(hosts) => list(f, "host is", hosts.iter()),
            Matcher::Path(paths) => list(f, "path is", paths.iter()),
            Matcher::Method(methods) => list(f, "method is", methods.iter().map(Quoted)),
            Matcher::Header(name, value)
            | Matcher::Query(name, value)
            | Matcher::Cookie(name, value) => {
                write!(f, "{} `{name}` is ", kind(self))?;
                match value {
                    ValuePattern::Exact(_) | ValuePattern::Regex(_) if self.is_secret() => {
                        write!(f, "`{MASK}`")
                    }
                    value => value.fmt(f),
                }
            }
            Matcher::Source(blocks) => list(f, "source is in", blocks.iter().map(Quoted)),
            Matcher::Listener(name) => write!(f, "listener is `{name}`"),
            Matcher::All(parts) if parts.is_empty() => f.write_str("always"),
            Matcher::Any(parts) if parts.is_empty() => f.write_str("never"),
            Matcher::All(parts) => join(f, parts.iter(), " and "),
            Matcher::Any(parts) => {
                f.write_str("(")?;
                join(f, parts.iter(), " or ")?;
                f.write_str(")")
            }
            Matcher::Not(part) => write!(f, "not ({part})"),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostPattern::Exact(name) => write!(f, "`{name}`"),
            HostPattern::Suffix(name) => write!(f, "`*{name}`"),
        }
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PathPattern::Exact(path) => write!(f, "`{path}`"),
            PathPattern::Prefix(path) => write!(f, "`{path}` or below"),
            PathPattern::Regex(regex) => write!(f, "a match of `{regex}`"),
        }
    }
}

impl fmt::Display for ValuePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ValuePattern::Present => f.write_str("there"),
            ValuePattern::Exact(value) => write!(f, "`{value}`"),
            ValuePattern::Regex(regex) => write!(f, "a match of `{regex}`"),
        }
    }
}

fn kind(matcher: &Matcher) -> &'static str {
    match matcher {
        Matcher::Header(..) => "header",
        Matcher::Query(..) => "query",
        _ => "cookie",
    }
}

struct Quoted<T>(T);

impl<T: fmt::Display> fmt::Display for Quoted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.0)
    }
}

fn list<T: fmt::Display>(
    f: &mut fmt::Formatter<'_>,
    what: &str,
    items: impl Iterator<Item = T>,
) -> fmt::Result {
    write!(f, "{what} ")?;
    join(f, items, " or ")
}

fn join<T: fmt::Display>(
    f: &mut fmt::Formatter<'_>,
    items: impl Iterator<Item = T>,
    between: &str,
) -> fmt::Result {
    for (place, item) in items.enumerate() {
        if place > 0 {
            f.write_str(between)?;
        }
        item.fmt(f)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_reads_as_a_sentence() {
        let hosts = vec![HostPattern::Exact("a".into()), HostPattern::Suffix(".b".into())];
        let either = Matcher::Any(vec![
            Matcher::Path(vec![PathPattern::Prefix("/c".into())]),
            Matcher::Header("x-d".into(), ValuePattern::Present),
        ]);
        let not = Matcher::Not(Box::new(Matcher::Method(vec!["PUT".into()])));
        let all = Matcher::All(vec![Matcher::Host(hosts), either, not]);
        assert_eq!(
            all.to_string(),
            "host is `a` or `*.b` and (path is `/c` or below or header `x-d` is there) \
             and not (method is `PUT`)"
        );
        assert_eq!(Matcher::All(vec![]).to_string(), "always");
    }

    #[test]
    fn a_condition_on_a_credential_does_not_tell_it() {
        let exact = ValuePattern::Exact("s3cr3t".into());
        let regex = ValuePattern::Regex(regex::bytes::Regex::new("s3cr3t").unwrap());
        let all = Matcher::All(vec![
            Matcher::Header("authorization".into(), regex),
            Matcher::Query("token".into(), exact.clone()),
            Matcher::Cookie("sid".into(), exact),
            Matcher::Header("x-api-key".into(), ValuePattern::Present),
        ]);
        assert_eq!(
            all.to_string(),
            "header `authorization` is `***` and query `token` is `***` \
             and cookie `sid` is `***` and header `x-api-key` is there"
        );
    }
}
