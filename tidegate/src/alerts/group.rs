//! Messages that come together are one message.
//!
//! For sinks that reach people: machines and records get every message by itself. What is merged is
//! what waits for a sink anyway, so after a time without it people get one message per group, too.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use scaler::ports::{Message, State};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{catalogue, message};
use crate::config::GroupBy;

/// Lines of a merged message; the rest is a number.
const LINES: usize = 50;

/// Messages merged at once; there are no more in a queue.
const MOST: usize = super::QUEUE;

/// How messages of one sink are merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Grouping {
    /// How long a message waits for others.
    pub(super) wait: Duration,
    /// What those have in common.
    pub(super) by: Vec<GroupBy>,
}

/// The first message, and those that come while it waits; none if nobody sends any more.
pub(super) async fn collect(
    queue: &mut mpsc::Receiver<Arc<Message>>,
    grouping: &Grouping,
) -> Vec<Arc<Message>> {
    let Some(first) = queue.recv().await else { return Vec::new() };
    let over = Instant::now() + grouping.wait;
    let mut found = vec![first];
    while found.len() < MOST {
        // What is there already is taken whatever the time.
        if let Ok(message) = queue.try_recv() {
            found.push(message);
            continue;
        }
        match tokio::time::timeout_at(over, queue.recv()).await {
            Ok(Some(message)) => found.push(message),
            Ok(None) | Err(_) => break,
        }
    }
    merged(found, &grouping.by)
}

/// One message for each group, in the order in which groups began.
fn merged(messages: Vec<Arc<Message>>, by: &[GroupBy]) -> Vec<Arc<Message>> {
    let mut groups: Vec<(Vec<String>, Vec<Arc<Message>>)> = Vec::new();
    for message in messages {
        let name: Vec<String> = by.iter().map(|by| part(*by, &message)).collect();
        match groups.iter_mut().find(|(other, _)| *other == name) {
            Some((_, group)) => group.push(message),
            None => groups.push((name, vec![message])),
        }
    }
    groups.into_iter().map(|(_, group)| one(group)).collect()
}

fn part(by: GroupBy, message: &Message) -> String {
    match by {
        GroupBy::Site => message.site.to_string(),
        GroupBy::Pool => message.pool.as_ref().map(ToString::to_string).unwrap_or_default(),
        GroupBy::Kind => message.kind.to_string(),
    }
}

fn one(group: Vec<Arc<Message>>) -> Arc<Message> {
    let [first, .., last] = &group[..] else {
        return group.into_iter().next().expect("a group has a first message");
    };
    let pool = group.iter().all(|message| message.pool == first.pool).then(|| first.pool.clone());
    let pool = pool.flatten();
    let kinds = kinds(&group);
    let is_over = group.iter().all(|message| message.state == State::Resolved);
    let severity = group.iter().map(|message| message.severity).max();
    let where_it_is = pool.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
    Arc::new(Message {
        key: format!("{}/{where_it_is}/several", first.site),
        sequence: last.sequence,
        at: last.at,
        state: if is_over { State::Resolved } else { State::Fired },
        severity: severity.unwrap_or(first.severity),
        kind: match kinds.len() {
            1 => Arc::clone(&first.kind),
            _ => "several".into(),
        },
        site: Arc::clone(&first.site),
        title: title(&group, pool.as_ref().map(ToString::to_string), &kinds),
        text: text(&group),
        pool,
        fields: vec![("count".into(), group.len().to_string())],
    })
}

/// How many of each kind, as people say it.
fn kinds(group: &[Arc<Message>]) -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    for message in group {
        let word = match message.state {
            State::Resolved => "resolved: ",
            State::Fired | State::Repeated => "",
        };
        *kinds.entry(format!("{word}{}", message.kind.replace('_', " "))).or_insert(0) += 1;
    }
    kinds
}

/// `kg-sports: 5 alerts, pool app: backend out of rotation (3), instance crashed (2)`
fn title(group: &[Arc<Message>], pool: Option<String>, kinds: &BTreeMap<String, usize>) -> String {
    let mut title = format!("{}: {} alerts", group[0].site, group.len());
    if let Some(pool) = pool {
        let _ = write!(title, ", pool {pool}");
    }
    let kinds: Vec<String> =
        kinds.iter().map(|(kind, count)| format!("{kind} ({count})")).collect();
    let _ = write!(title, ": {}", kinds.join(", "));
    title.chars().take(message::TITLE).collect()
}

fn text(group: &[Arc<Message>]) -> String {
    let mut text = format!("{} messages in one:\n", group.len());
    for message in group.iter().take(LINES) {
        let site = format!("{}: ", message.site);
        let title = message.title.strip_prefix(&site).unwrap_or(&message.title);
        let _ = writeln!(text, "{} {title}", message.at);
    }
    if group.len() > LINES {
        let _ = writeln!(text, "and {} more", group.len() - LINES);
    }
    let mut said: Vec<&str> = Vec::new();
    for message in group {
        let Some(known) = catalogue::text(&message.kind) else { continue };
        if message.state != State::Resolved && !said.contains(&known.kind) {
            said.push(known.kind);
            let kind = known.kind.replace('_', " ");
            let _ = writeln!(text, "What you can do ({kind}): {}", known.can);
        }
    }
    text.push_str("More: docs/events.md");
    text
}

#[cfg(test)]
mod tests {
    use policies::backend::PoolName;
    use scaler::ports::Severity;

    use super::*;

    fn message(kind: &str, pool: &str, state: State, sequence: u64) -> Arc<Message> {
        Arc::new(Message {
            key: format!("kg/{pool}/{kind}"),
            sequence,
            at: "2026-11-21T10:00:00Z".parse().unwrap(),
            state,
            severity: if sequence == 2 { Severity::Critical } else { Severity::Warning },
            kind: kind.into(),
            site: "kg".into(),
            pool: Some(PoolName(pool.into())),
            title: format!("kg: {kind} number {sequence}"),
            text: String::new(),
            fields: Vec::new(),
        })
    }

    #[test]
    fn what_belongs_together_is_one_message_as_urgent_as_the_worst() {
        let group = [
            message("backend_ejected", "app", State::Fired, 1),
            message("backend_ejected", "cloud", State::Fired, 9),
            message("backend_ejected", "app", State::Fired, 2),
            message("backend_unhealthy", "app", State::Resolved, 3),
        ];
        let found = merged(group.to_vec(), &[GroupBy::Site, GroupBy::Pool]);
        assert_eq!(found.len(), 2);
        assert_eq!(found[1], group[1], "alone, it is as it was");
        let one = &found[0];
        let title = "kg: 3 alerts, pool app: backend ejected (2), resolved: backend unhealthy (1)";
        assert_eq!(one.title, title);
        assert_eq!(
            (one.severity, one.state, &*one.kind),
            (Severity::Critical, State::Fired, "several")
        );
        assert_eq!((&*one.key, one.sequence), ("kg/app/several", 3));
        assert_eq!(
            one.text,
            "3 messages in one:\n\
             2026-11-21T10:00:00Z backend_ejected number 1\n\
             2026-11-21T10:00:00Z backend_ejected number 2\n\
             2026-11-21T10:00:00Z backend_unhealthy number 3\n\
             What you can do (backend ejected): Look at the backend; the limits are `outlier` of its \
             pool.\nMore: docs/events.md"
        );
    }

    #[test]
    fn a_thousand_are_one_message_of_a_bounded_length() {
        let all = (0..1_000).map(|n| message("backend_ejected", "app", State::Fired, n)).collect();
        let found = merged(all, &[]);
        assert_eq!((found.len(), &*found[0].kind), (1, "backend_ejected"));
        assert_eq!(found[0].title, "kg: 1000 alerts, pool app: backend ejected (1000)");
        assert!(found[0].text.contains("and 950 more") && found[0].text.len() < 10_000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_waits_so_long_for_others() {
        let (send, mut queue) = mpsc::channel(8);
        let grouping = Grouping { wait: Duration::from_secs(10), by: vec![GroupBy::Pool] };
        tokio::spawn(async move {
            for number in 0..3 {
                let message = message("backend_ejected", "app", State::Fired, number);
                send.send(message).await.unwrap();
                tokio::time::sleep(Duration::from_secs(6)).await;
            }
        });
        let began = Instant::now();
        let first = collect(&mut queue, &grouping).await;
        assert_eq!((first.len(), began.elapsed().as_secs()), (1, 10));
        assert_eq!(first[0].fields[0].1, "2");
        assert_eq!(collect(&mut queue, &grouping).await[0].sequence, 2);
        assert!(collect(&mut queue, &grouping).await.is_empty());
    }
}
