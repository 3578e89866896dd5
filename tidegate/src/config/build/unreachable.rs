//! Points out what a match asks for and no request can have.
//!
//! Requests are matched in normal form ([`policies::route::normal`]); whether that still has a
//! `//` or a `%2F` depends on the listener, so the table of keys cannot refuse it.

use policies::route::normal::{self, Normal, PathError, PathRules};

use super::Build;
use crate::config::document::Node;
use crate::config::text::{Message, references as say};
use crate::config::view::View;

/// What listeners let through, by name.
type Rules<'a> = Vec<(&'a str, PathRules)>;

/// Looks at the matches of all routes.
pub(super) fn unreachable(build: &mut Build<'_>, root: View<'_>) {
    let rules: Rules<'_> = root
        .named("listeners")
        .into_iter()
        .map(|(entry, view)| (entry.key.as_str(), path_rules(view.view("paths"))))
        .collect();
    for (_, view) in root.tables("routes") {
        in_match(build, view.view("match"), &rules);
    }
}

fn path_rules(view: View<'_>) -> PathRules {
    PathRules {
        merge_slashes: view.flag("merge_slashes"),
        allow_encoded_slash: view.flag("allow_encoded_slash"),
        allow_backslash: view.flag("allow_backslash"),
    }
}

/// One match with those in it, which are no deeper than the parser lets them be.
fn in_match(build: &mut Build<'_>, view: View<'_>, rules: &Rules<'_>) {
    let own = view.own("listener").and_then(Node::text);
    let rules: Rules<'_> =
        rules.iter().filter(|(name, _)| own.is_none_or(|own| own == *name)).copied().collect();
    for node in ["path", "path_prefix"].into_iter().flat_map(|key| view.list(key)) {
        if let Some(message) = node.text().and_then(|path| of_path(path, &rules)) {
            build.say(node.span, message);
        }
    }
    for node in view.list("methods") {
        if let Some(method @ ("CONNECT" | "TRACE")) = node.text() {
            build.say(node.span, say::method_never(method));
        }
    }
    if let Some(node) = view.own("not") {
        if node.table().is_some_and(|table| table.entries.is_empty()) {
            build.say(node.span, say::not_everything());
        }
        in_match(build, view.view("not"), &rules);
    }
    for (_, inner) in ["any", "all"].into_iter().flat_map(|key| view.tables(key)) {
        in_match(build, inner, &rules);
    }
}

/// What to say of a path that no listener lets through as it is written.
fn of_path(path: &str, rules: &Rules<'_>) -> Option<Message> {
    let mut first = None;
    for (_, rules) in rules {
        let mut normal = Vec::new();
        let message = match normal::path(path.as_bytes(), *rules, &mut normal) {
            Ok(Normal::Same) => return None,
            Ok(Normal::Changed) => say::path_never_merged(path, &String::from_utf8_lossy(&normal)),
            Err(PathError::EncodedSlash) => {
                say::path_never_refused(path, "%2F", "allow_encoded_slash")
            }
            Err(PathError::Backslash) => say::path_never_refused(path, "%5C", "allow_backslash"),
            // Whatever else is wrong is wrong at every listener, and was said.
            Err(_) => return None,
        };
        first = first.or(Some(message));
    }
    first
}
