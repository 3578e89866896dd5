//! What a message says of an event.

use std::fmt::Write;
use std::sync::Arc;

use jiff::Timestamp;
use policies::backend::PoolName;
use scaler::ports::{Message, Severity, State};

use super::catalogue;
use super::conditions::Say;
use crate::telemetry::events::Event;

/// Characters of a title; SNS takes 99 as a subject.
pub(super) const TITLE: usize = 99;

/// Characters of a key.
const KEY: usize = 128;

/// What is known of a message beside the event that it is about.
pub(super) struct Told {
    pub(super) key: String,
    pub(super) say: Say,
    /// When it happened, was seen to last, or ended.
    pub(super) at: Timestamp,
    pub(super) severity: Severity,
    pub(super) sequence: u64,
}

/// The same for the same thing: site, pool, kind, and backend or route. `kind` is that of the event, or
/// one that the event ends.
pub(super) fn key(site: &str, event: &Event, kind: &str) -> String {
    let pool = event.pool.as_deref().unwrap_or("-");
    let mut key = format!("{site}/{pool}/{kind}");
    for part in [&event.backend, &event.route].into_iter().flatten() {
        let _ = write!(key, "/{part}");
    }
    let letter = |c: char| match c {
        c if c.is_ascii_alphanumeric() || "-_.:/".contains(c) => c,
        _ => '_',
    };
    key.chars().map(letter).take(KEY).collect()
}

/// `redact` names fields that are left out.
pub(super) fn of(site: &Arc<str>, event: &Event, told: Told, redact: &[String]) -> Message {
    let fields = fields(event, &told, redact);
    Message {
        title: title(site, event, told.say.state),
        text: text(event, &told, &fields),
        key: told.key,
        sequence: told.sequence,
        at: told.at,
        state: told.say.state,
        severity: told.severity,
        kind: event.event.as_str().into(),
        site: Arc::clone(site),
        pool: event.pool.as_deref().map(|pool| PoolName(pool.into())),
        fields,
    }
}

/// `kg-sports: backend out of rotation, pool app, a: connection refused`
fn title(site: &str, event: &Event, state: State) -> String {
    let word = match state {
        State::Fired => "",
        State::Repeated => "still: ",
        State::Resolved => "resolved: ",
    };
    let mut title = format!("{site}: {word}{}", words(event));
    if let Some(pool) = &event.pool {
        let _ = write!(title, ", pool {pool}");
    }
    if let Some(backend) = &event.backend {
        let _ = write!(title, ", {backend}");
    }
    if let (Some(reason), true) = (&event.reason, state != State::Resolved) {
        let _ = write!(title, ": {reason}");
    }
    title.chars().take(TITLE).collect()
}

/// For people: what, when, the facts, what is done about it, and what they can do.
fn text(event: &Event, told: &Told, fields: &[(Arc<str>, String)]) -> String {
    let known = catalogue::text(&event.event);
    let says = known.map_or_else(|| words(event), |known| known.says.to_owned());
    let head = match told.say.state {
        State::Fired => "What happened",
        State::Repeated => "What lasts",
        State::Resolved => "What is over",
    };
    let mut text = format!("{head}: {says}\nWhen: {}\n", told.at);
    for (name, value) in fields {
        let _ = writeln!(text, "{name}: {value}");
    }
    if let (Some(known), true) = (known, told.say.state != State::Resolved) {
        let _ = writeln!(text, "What Tidegate does: {}", known.does);
        let _ = writeln!(text, "What you can do: {}", known.can);
    }
    let _ = write!(text, "More: docs/events.md, `{}`", event.event);
    text
}

fn words(event: &Event) -> String {
    event.event.replace('_', " ")
}

fn fields(event: &Event, told: &Told, redact: &[String]) -> Vec<(Arc<str>, String)> {
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
    let since = (told.say.state != State::Fired).then(|| ("since", event.at.clone()));
    let held_back = told.say.held_back;
    let again = (held_back > 0).then(|| ("held_back", held_back.to_string()));
    let all = known.chain(more).chain(since).chain(again);
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

    fn told(state: State, held_back: u64, at: &str) -> Told {
        Told {
            key: "k".into(),
            say: Say { state, held_back },
            at: at.parse().unwrap(),
            severity: Severity::Critical,
            sequence: 4,
        }
    }

    #[test]
    fn a_message_says_what_when_and_where_and_nothing_of_a_client() {
        let told = told(State::Fired, 2, "2026-11-21T10:00:00Z");
        let message = of(&"kg".into(), &event(), told, &["client_ip".to_owned()]);
        let title = "kg: backend out of rotation, pool app, a: connection refused";
        assert_eq!(message.title, title);
        assert_eq!(
            message.text,
            "What happened: A backend gets no requests any more, because its checks fail.\n\
             When: 2026-11-21T10:00:00Z\npool: app\nbackend: a\nreason: connection refused\n\
             tries: 3\nheld_back: 2\n\
             What Tidegate does: Requests go to the others of its pool, or wait; it is back when \
             its checks pass.\n\
             What you can do: Look at the backend; `tidegate backends` has the reason.\n\
             More: docs/events.md, `backend_out_of_rotation`"
        );
        assert_eq!(message.at, "2026-11-21T10:00:00Z".parse().unwrap());
    }

    #[test]
    fn a_message_says_that_something_is_over_and_since_when_it_was() {
        let told = told(State::Resolved, 0, "2026-11-21T10:07:00Z");
        let message = of(&"kg".into(), &event(), told, &["client_ip".to_owned()]);
        assert_eq!(message.title, "kg: resolved: backend out of rotation, pool app, a");
        assert_eq!(
            message.text,
            "What is over: A backend gets no requests any more, because its checks fail.\n\
             When: 2026-11-21T10:07:00Z\npool: app\nbackend: a\nreason: connection refused\n\
             tries: 3\nsince: 2026-11-21T10:00:00.000Z\n\
             More: docs/events.md, `backend_out_of_rotation`"
        );
    }

    #[test]
    fn what_is_not_in_the_catalogue_is_told_by_its_name() {
        let event = Event { event: "backend_in_rotation".into(), ..event() };
        let message = of(&"kg".into(), &event, told(State::Fired, 0, "2026-11-21T10:00:00Z"), &[]);
        assert!(message.text.starts_with("What happened: backend in rotation\nWhen: "));
        assert!(!message.text.contains("What you can do"), "{}", message.text);
    }

    #[test]
    fn a_key_is_the_same_for_the_same_and_has_no_strange_letters() {
        let of = |event: &Event| key("kg", event, &event.event);
        assert_eq!(of(&event()), "kg/app/backend_out_of_rotation/a");
        assert_eq!(key("kg", &event(), "breaker_opened"), "kg/app/breaker_opened/a");
        let other = Event { backend: Some("http://[::1] x".into()), pool: None, ..event() };
        assert_eq!(of(&other), "kg/-/backend_out_of_rotation/http://_::1__x");
        let route = Event { backend: None, route: Some("shop".into()), ..event() };
        assert_eq!(of(&route), "kg/app/backend_out_of_rotation/shop");
        let long = Event { backend: Some("b".repeat(500)), ..event() };
        assert_eq!(of(&long).len(), KEY);
    }
}
