//! What a message says of an event.

use std::fmt::Write;
use std::sync::Arc;

use jiff::Timestamp;
use policies::backend::PoolName;
use scaler::ports::{Message, Severity};

use crate::telemetry::events::Event;

/// Characters of a title; SNS takes 99 as a subject.
const TITLE: usize = 99;

/// Characters of a key.
const KEY: usize = 128;

/// What is known of a message beside its event.
pub(super) struct Told {
    pub(super) key: String,
    pub(super) severity: Severity,
    pub(super) sequence: u64,
    /// How often the same came since it was told before.
    pub(super) held_back: u64,
}

/// The same for the same thing: site, pool, kind, backend.
pub(super) fn key(site: &str, event: &Event) -> String {
    let pool = event.pool.as_deref().unwrap_or("-");
    let mut key = format!("{site}/{pool}/{}", event.event);
    if let Some(backend) = &event.backend {
        let _ = write!(key, "/{backend}");
    }
    let letter = |c: char| match c {
        c if c.is_ascii_alphanumeric() || "-_.:/".contains(c) => c,
        _ => '_',
    };
    key.chars().map(letter).take(KEY).collect()
}

/// `redact` names fields that are left out.
pub(super) fn of(site: &Arc<str>, event: &Event, told: Told, redact: &[String]) -> Message {
    let fields = fields(event, told.held_back, redact);
    let mut text = format!("What happened: {}\nWhen: {}\n", words(event), event.at);
    for (name, value) in &fields {
        let _ = writeln!(text, "{name}: {value}");
    }
    let _ = write!(text, "What it means: docs/events.md, `{}`", event.event);
    Message {
        key: told.key,
        sequence: told.sequence,
        at: event.at.parse().unwrap_or(Timestamp::UNIX_EPOCH),
        severity: told.severity,
        kind: event.event.as_str().into(),
        site: Arc::clone(site),
        pool: event.pool.as_deref().map(|pool| PoolName(pool.into())),
        title: title(site, event),
        text,
        fields,
    }
}

/// `kg-sports: backend out of rotation, pool app, a: connection refused`
fn title(site: &str, event: &Event) -> String {
    let mut title = format!("{site}: {}", words(event));
    if let Some(pool) = &event.pool {
        let _ = write!(title, ", pool {pool}");
    }
    if let Some(backend) = &event.backend {
        let _ = write!(title, ", {backend}");
    }
    if let Some(reason) = &event.reason {
        let _ = write!(title, ": {reason}");
    }
    title.chars().take(TITLE).collect()
}

fn words(event: &Event) -> String {
    event.event.replace('_', " ")
}

fn fields(event: &Event, held_back: u64, redact: &[String]) -> Vec<(Arc<str>, String)> {
    let known = [
        ("pool", &event.pool),
        ("backend", &event.backend),
        ("route", &event.route),
        ("reason", &event.reason),
        ("from", &event.from),
        ("to", &event.to),
        ("actor", &event.actor),
    ];
    let known = known.into_iter().filter_map(|(name, value)| Some((name, value.clone()?)));
    let more = event.fields.iter().map(|(name, value)| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        (name.as_str(), text)
    });
    let again = (held_back > 0).then(|| ("held_back", held_back.to_string()));
    let all = known.chain(more).chain(again);
    let all = all.filter(|(name, _)| !redact.iter().any(|hidden| hidden == name));
    all.map(|(name, value)| (Arc::from(name), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        Event {
            event: "backend_out_of_rotation".into(),
            at: "2026-11-21T10:00:00.000Z".into(),
            pool: Some("app".into()),
            backend: Some("a".into()),
            reason: Some("connection refused".into()),
            fields: [("client_ip".to_owned(), "192.0.2.1".into()), ("tries".to_owned(), 3.into())]
                .into(),
            ..Event::default()
        }
    }

    #[test]
    fn a_message_says_what_when_and_where_and_nothing_of_a_client() {
        let told =
            Told { key: "k".into(), severity: Severity::Critical, sequence: 4, held_back: 2 };
        let message = of(&"kg".into(), &event(), told, &["client_ip".to_owned()]);
        let title = "kg: backend out of rotation, pool app, a: connection refused";
        assert_eq!(message.title, title);
        assert_eq!(
            message.text,
            "What happened: backend out of rotation\nWhen: 2026-11-21T10:00:00.000Z\npool: app\n\
             backend: a\nreason: connection refused\ntries: 3\nheld_back: 2\n\
             What it means: docs/events.md, `backend_out_of_rotation`"
        );
        assert_eq!(message.at, "2026-11-21T10:00:00Z".parse().unwrap());
    }

    #[test]
    fn a_key_is_the_same_for_the_same_and_has_no_strange_letters() {
        assert_eq!(key("kg", &event()), "kg/app/backend_out_of_rotation/a");
        let other = Event { backend: Some("http://[::1] x".into()), pool: None, ..event() };
        assert_eq!(key("kg", &other), "kg/-/backend_out_of_rotation/http://_::1__x");
        let long = Event { backend: Some("b".repeat(500)), ..event() };
        assert_eq!(key("kg", &long).len(), KEY);
    }
}
