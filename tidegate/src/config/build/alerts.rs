//! `[alerts]`

use std::collections::BTreeMap;

use infra::exec::notifier::NotifierSettings;
use scaler::ports::Severity;

use super::{Build, files};
use crate::config::document::{Entry, Span};
use crate::config::keys::Kind;
use crate::config::text::{references as say, values as say_value};
use crate::config::values;
use crate::config::view::View;
use crate::config::{AlertRule, AlertsConfig, RetryConfig, SinkConfig};

/// Each kind of event has a row there; a test keeps that.
const EVENTS: &str = include_str!("../../../../docs/events.md");

/// The default of `redact`; a test compares it with the table of keys.
const REDACTED: [&str; 3] = ["client_ip", "cookie", "authorization"];

/// By name: the place among the sinks that are used, or none if it is of a kind that is not
/// supported yet.
type Known<'a> = BTreeMap<&'a str, Option<usize>>;

pub(super) fn alerts(build: &mut Build<'_>, view: View<'_>) -> AlertsConfig {
    let (sinks, known) = sinks(build, view);
    AlertsConfig {
        dedup_window: view.duration("dedup_window").unwrap_or_default(),
        redact: texts(view, "redact", &REDACTED),
        sinks,
        rules: rules(build, view, &known),
    }
}

fn sinks<'a>(build: &mut Build<'_>, view: View<'a>) -> (Vec<SinkConfig>, Known<'a>) {
    let (mut sinks, mut known) = (Vec::new(), Known::new());
    for (entry, sink) in view.named("sinks") {
        let found = match sink.text("kind") {
            Some("exec") => exec(build, entry, sink),
            _ => None,
        };
        known.insert(&entry.key, found.is_some().then_some(sinks.len()));
        sinks.extend(found);
    }
    (sinks, known)
}

fn exec(build: &mut Build<'_>, entry: &Entry, view: View<'_>) -> Option<SinkConfig> {
    let retry = retry(build, view.view("retry"));
    if view.own("command").is_none() {
        build.say(entry.key_span, say::needs("kind = \"exec\"", "`command`"));
        return None;
    }
    let exec = NotifierSettings {
        command: files::command(build, view),
        env: files::env(build, view),
        timeout: view.duration("timeout").unwrap_or_default(),
    };
    Some(SinkConfig { name: entry.key.clone(), retry, exec })
}

fn retry(build: &mut Build<'_>, view: View<'_>) -> RetryConfig {
    let text = view.text("backoff").unwrap_or_default();
    let bounds = text.split_once("..").and_then(|(shortest, longest)| {
        let bounds = (values::duration(shortest).ok()?, values::duration(longest).ok()?);
        (bounds.0 <= bounds.1 && !bounds.0.is_zero()).then_some(bounds)
    });
    if let (None, Some(node)) = (bounds, view.own("backoff")) {
        let why = "write the shortest and the longest pause, such as `1s..2m`";
        build.say(node.span, say_value::malformed(&Kind::Text, text, why));
    }
    let (shortest, longest) = bounds.unwrap_or_default();
    RetryConfig { max: view.integer("max").unwrap_or_default(), shortest, longest }
}

fn rules(build: &mut Build<'_>, view: View<'_>, known: &Known<'_>) -> Vec<AlertRule> {
    let kinds = kinds();
    let mut rules = Vec::new();
    for (_, rule) in view.tables("rules") {
        for (text, span) in spanned(rule, "when") {
            if !kinds.contains(&text) {
                build.say(span, say::no_event(text, &kinds));
            }
        }
        let mut to = Vec::new();
        for (name, span) in spanned(rule, "to") {
            match known.get(name) {
                Some(place) => to.extend(*place),
                None => {
                    let known: Vec<&str> = known.keys().copied().collect();
                    build.say(span, say::no_sink(name, &known));
                }
            }
        }
        rules.push(AlertRule {
            when: rule.texts("when", |text| Some(text.to_owned())),
            severity: match rule.text("severity") {
                Some("critical") => Severity::Critical,
                Some("info") => Severity::Info,
                _ => Severity::Warning,
            },
            to,
        });
    }
    rules
}

fn spanned<'a>(view: View<'a>, key: &str) -> Vec<(&'a str, Span)> {
    view.list(key).iter().filter_map(|node| Some((node.text()?, node.span))).collect()
}

fn texts(view: View<'_>, key: &str, default: &[&str]) -> Vec<String> {
    match view.given(key) {
        Some(_) => view.texts(key, |text| Some(text.to_owned())),
        None => default.iter().map(|text| (*text).to_owned()).collect(),
    }
}

/// The kinds of events: the first column of the tables of the page.
fn kinds() -> Vec<&'static str> {
    let kind = |line: &'static str| line.strip_prefix("| `")?.split_once('`').map(|(kind, _)| kind);
    EVENTS.lines().filter_map(kind).filter(|kind| kind.contains('_')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys::{Default, alerts::ALERTS};

    #[test]
    fn the_default_of_redact_is_the_one_in_the_table() {
        let default = |shape: &'static crate::config::keys::Shape, key: &str| match shape
            .key(key)
            .unwrap()
            .default
        {
            Default::Value(text) => text,
            other => panic!("{other:?}"),
        };
        assert_eq!(default(&ALERTS, "redact"), format!("{REDACTED:?}"));
    }

    #[test]
    fn the_kinds_of_events_are_those_of_the_page() {
        let kinds = kinds();
        assert!(kinds.contains(&"config_reloaded") && kinds.contains(&"instance_crashed"));
        assert!(kinds.iter().all(|kind| kind.contains('_')), "{kinds:?}");
    }
}
