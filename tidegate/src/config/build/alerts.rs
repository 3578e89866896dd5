//! `[alerts]`

use std::collections::BTreeMap;

use infra::aws::topic::{SnsSettings, TopicArn};
use infra::exec::notifier::NotifierSettings;
use scaler::ports::Severity;

use super::{Build, aws, files};
use crate::config::document::{Entry, Span};
use crate::config::keys::Kind;
use crate::config::text::{references as say, values as say_value};
use crate::config::values;
use crate::config::view::View;
use crate::config::{AlertRule, AlertsConfig, GroupBy, RetryConfig, SinkConfig, SinkWay};

/// Each kind of event has a row there; a test keeps that.
const EVENTS: &str = include_str!("../../../../docs/events.md");

/// The default of `redact`; a test compares it with the table of keys.
const REDACTED: [&str; 3] = ["client_ip", "cookie", "authorization"];

/// The default of `group_by`; a test compares it with the table of keys.
const GROUP_BY: [&str; 2] = ["site", "pool"];

/// The default of `attributes`; a test compares it with the table of keys.
const ATTRIBUTES: [&str; 5] = ["severity", "state", "site", "pool", "kind"];

/// Keys that only one kind of sink has.
const EXEC_KEYS: [&str; 2] = ["command", "env"];
const SNS_KEYS: [&str; 5] = ["topic_arn", "attributes", "group_id", "dedup_id", "endpoint"];

/// By name: the place among the sinks that are used, or none if it is of a kind that is not
/// supported yet.
type Known<'a> = BTreeMap<&'a str, Option<usize>>;

pub(super) fn alerts(build: &mut Build<'_>, view: View<'_>) -> AlertsConfig {
    let (sinks, known) = sinks(build, view);
    AlertsConfig {
        dedup_window: view.duration("dedup_window").unwrap_or_default(),
        repeat_every: view.duration("repeat_every"),
        send_resolved: view.flag("send_resolved"),
        group_wait: view.duration("group_wait").unwrap_or_default(),
        group_by: group_by(view),
        redact: texts(view, "redact", &REDACTED),
        sinks,
        rules: rules(build, view, &known),
    }
}

fn group_by(view: View<'_>) -> Vec<GroupBy> {
    let known = |word: String| match word.as_str() {
        "site" => Some(GroupBy::Site),
        "pool" => Some(GroupBy::Pool),
        "kind" => Some(GroupBy::Kind),
        _ => None,
    };
    texts(view, "group_by", &GROUP_BY).into_iter().filter_map(known).collect()
}

fn sinks<'a>(build: &mut Build<'_>, view: View<'a>) -> (Vec<SinkConfig>, Known<'a>) {
    let (mut sinks, mut known) = (Vec::new(), Known::new());
    for (entry, sink) in view.named("sinks") {
        let way = match sink.text("kind") {
            Some("exec") => exec(build, entry, sink).map(SinkWay::Exec),
            Some("sns") => sns(build, entry, sink).map(SinkWay::Sns),
            _ => None,
        };
        let retry = retry(build, sink.view("retry"));
        known.insert(&entry.key, way.is_some().then_some(sinks.len()));
        sinks.extend(way.map(|way| SinkConfig { name: entry.key.clone(), retry, way }));
    }
    (sinks, known)
}

fn exec(build: &mut Build<'_>, entry: &Entry, view: View<'_>) -> Option<NotifierSettings> {
    idle(build, view, &SNS_KEYS, "the sink is a program");
    if view.own("command").is_none() {
        build.say(entry.key_span, say::needs("kind = \"exec\"", "`command`"));
        return None;
    }
    Some(NotifierSettings {
        command: files::command(build, view),
        env: files::env(build, view),
        timeout: view.duration("timeout").unwrap_or_default(),
    })
}

fn sns(build: &mut Build<'_>, entry: &Entry, view: View<'_>) -> Option<SnsSettings> {
    idle(build, view, &EXEC_KEYS, "the sink is a topic");
    let Some(node) = view.own("topic_arn") else {
        build.say(entry.key_span, say::needs("kind = \"sns\"", "`topic_arn`"));
        return None;
    };
    let text = node.text()?;
    let Some(topic) = TopicArn::parse(text) else {
        build.say(node.span, say_value::topic(text));
        return None;
    };
    if !topic.is_ordered() {
        let why = "only a topic whose name ends with `.fifo` keeps order";
        idle(build, view, &["group_id", "dedup_id"], why);
    }
    let timeout = view.duration("timeout").unwrap_or_default();
    Some(SnsSettings {
        place: aws::place(build, view, Some(topic.region()), timeout),
        topic,
        attributes: texts(view, "attributes", &ATTRIBUTES),
        group_id: view.text("group_id").unwrap_or_default().to_owned(),
        dedup_id: view.text("dedup_id").unwrap_or_default().to_owned(),
    })
}

fn idle(build: &mut Build<'_>, view: View<'_>, keys: &[&str], why: &str) {
    for key in keys {
        if let Some(node) = view.own(key) {
            build.say(node.span, say::idle_key(key, why));
        }
    }
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
    fn defaults_of_lists_are_those_in_the_table() {
        let default = |shape: &'static crate::config::keys::Shape, key: &str| match shape
            .key(key)
            .unwrap()
            .default
        {
            Default::Value(text) => text,
            other => panic!("{other:?}"),
        };
        assert_eq!(default(&ALERTS, "redact"), format!("{REDACTED:?}"));
        assert_eq!(default(&ALERTS, "group_by"), format!("{GROUP_BY:?}"));
        let Kind::Named(_, Kind::Table(sink)) = ALERTS.key("sinks").unwrap().kind else {
            panic!("not a table of tables");
        };
        assert_eq!(default(sink, "attributes"), format!("{ATTRIBUTES:?}"));
    }

    #[test]
    fn the_kinds_of_events_are_those_of_the_page() {
        let kinds = kinds();
        assert!(kinds.contains(&"config_reloaded") && kinds.contains(&"instance_crashed"));
        assert!(kinds.iter().all(|kind| kind.contains('_')), "{kinds:?}");
    }
}
