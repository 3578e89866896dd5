//! `match = { ... }`

use std::sync::Arc;

use policies::route::{HostPattern, Matcher, PathPattern, ValuePattern};

use super::Build;
use crate::config::document::{Entry, Node, Value};
use crate::config::text::{references as say, shown};
use crate::config::values::{http, net};
use crate::config::view::View;

/// The condition: every key of the table must hold. No key at all holds always.
pub(super) fn matcher(build: &mut Build<'_>, view: View<'_>, listeners: &[&str]) -> Matcher {
    let mut all = Vec::new();
    simple(view, &mut all);
    values(build, view, "header", &mut all, |name, value| {
        Matcher::Header(name.to_ascii_lowercase().into(), value)
    });
    values(build, view, "query", &mut all, |name, value| Matcher::Query(name.into(), value));
    values(build, view, "cookie", &mut all, |name, value| Matcher::Cookie(name.into(), value));
    if let Some(node) = view.own("listener") {
        let name = node.text().unwrap_or_default();
        if !listeners.contains(&name) && !name.is_empty() {
            build.say(node.span, say::no_listener(name, listeners));
        }
        all.push(Matcher::Listener(name.into()));
    }
    combined(build, view, listeners, &mut all);
    match (all.len(), all.pop()) {
        (1, Some(only)) => only,
        (_, last) => {
            all.extend(last);
            Matcher::All(all)
        }
    }
}

fn simple(view: View<'_>, all: &mut Vec<Matcher>) {
    let hosts: Vec<HostPattern> = view.texts("host", |text| net::host(text).ok());
    if !hosts.is_empty() {
        all.push(Matcher::Host(hosts));
    }
    let paths = [
        view.texts("path", |text| Some(PathPattern::Exact(text.into()))),
        view.texts("path_prefix", |text| Some(PathPattern::Prefix(text.into()))),
        view.texts("path_regex", |text| http::regex(text).ok().map(PathPattern::Regex)),
    ];
    all.extend(paths.into_iter().filter(|paths| !paths.is_empty()).map(Matcher::Path));
    let methods: Vec<Arc<str>> = view.texts("methods", |text| Some(text.into()));
    if !methods.is_empty() {
        all.push(Matcher::Method(methods));
    }
    let sources = view.texts("source", |text| net::cidr(text).ok());
    if !sources.is_empty() {
        all.push(Matcher::Source(sources));
    }
}

fn combined(build: &mut Build<'_>, view: View<'_>, listeners: &[&str], all: &mut Vec<Matcher>) {
    let list = |build: &mut Build<'_>, key: &str| -> Option<Vec<Matcher>> {
        let node = view.own(key)?;
        if node.each().is_empty() {
            build.say(node.span, say::needs(key, "at least one match in it"));
        }
        let inner = view.tables(key);
        Some(inner.into_iter().map(|(_, view)| matcher(build, view, listeners)).collect())
    };
    let any = list(build, "any");
    let every = list(build, "all");
    all.extend(any.map(Matcher::Any));
    all.extend(every.map(Matcher::All));
    if view.own("not").is_some() {
        let inner = matcher(build, view.view("not"), listeners);
        all.push(Matcher::Not(Box::new(inner)));
    }
}

fn values(
    build: &mut Build<'_>,
    view: View<'_>,
    key: &str,
    all: &mut Vec<Matcher>,
    wrap: impl Fn(&str, ValuePattern) -> Matcher,
) {
    let Some(table) = view.own(key).and_then(Node::table) else { return };
    for entry in &table.entries {
        let name = entry.key.as_str();
        match &entry.node.value {
            Value::Text(text) => all.push(wrap(name, ValuePattern::Exact(text.as_str().into()))),
            Value::Table(inner) => {
                let regex = inner.get("regex");
                let present = inner.get("present").map(|node| &node.value);
                match (regex, present) {
                    (Some(regex), None) => {
                        let regex = regex.text().and_then(|text| http::regex(text).ok());
                        all.extend(regex.map(|regex| wrap(name, ValuePattern::Regex(regex))));
                    }
                    (None, Some(Value::Flag(false))) => {
                        let present = wrap(name, ValuePattern::Present);
                        all.push(Matcher::Not(Box::new(present)));
                    }
                    (None, Some(_)) => all.push(wrap(name, ValuePattern::Present)),
                    (found, _) => {
                        let keys = ["regex", "present"];
                        let found: &[&str] = if found.is_some() { &keys } else { &[] };
                        let is_known = |e: &Entry| keys.contains(&e.key.as_str());
                        // A mistyped key was said already.
                        if inner.entries.iter().all(is_known) {
                            let what = format!("`{key}.{}`", shown(name));
                            build.say(entry.node.span, say::choice(&what, &keys, found));
                        }
                    }
                }
            }
            _ => {}
        }
    }
}

/// Every `path_prefix` of a match, wherever it stands but in a `not`.
pub(super) fn prefixes(matcher: &Matcher, found: &mut Vec<Arc<str>>) {
    match matcher {
        Matcher::Path(patterns) => {
            for pattern in patterns {
                if let PathPattern::Prefix(prefix) = pattern
                    && !found.contains(prefix)
                {
                    found.push(Arc::clone(prefix));
                }
            }
        }
        Matcher::All(inner) | Matcher::Any(inner) => {
            inner.iter().for_each(|matcher| prefixes(matcher, found));
        }
        _ => {}
    }
}
