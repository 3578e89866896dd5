//! Everything that changes, as one structured event: a line of the log, a count, and an entry in
//! a ring that `/v1/events` shows.
//!
//! A log record of ours at `info` or above whose message is one word in snake_case *is* an event:
//!
//! ```ignore
//! tracing::info!(%pool, %backend, reason, "backend_ejected");
//! ```
//!
//! So any crate can tell one without knowing who listens. The word is its *kind*; `pool`,
//! `backend`, `route`, `reason`, `from`, `to` and `actor` mean the same in every event, other
//! fields are told as they are. `docs/events.md` has a row for each kind, which a test keeps.
//!
//! The ring is bounded in events and in bytes of each. Telling an event takes one short lock that
//! is never held while anybody waits; who reads gets shared copies.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::watch;
use tracing_subscriber::Layer;

use record::Recorder;

mod record;

/// Events that are kept; the oldest leaves for the newest.
pub const CAPACITY: usize = 2_048;

/// Kinds that are counted apart. There are far fewer, because each stands in the source.
const MAX_KINDS: usize = 256;

/// One thing that changed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Counts up by one from 1, from the start of the process.
    pub sequence: u64,
    /// Wall clock, RFC 3339 in UTC with milliseconds.
    pub at: String,
    /// `info`, `warn` or `error`.
    pub level: String,
    /// Its kind, one of the words of `docs/events.md`.
    pub event: String,
    /// The pool that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// The backend of that pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// The route that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Who wanted it; nobody for what the door concluded itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// Everything else that the kind tells.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, Value>,
}

/// A part of what the ring holds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Events {
    /// Oldest first.
    pub events: Vec<Event>,
    /// To go on behind these: the next `since`.
    pub next: u64,
    /// How many between `since` and the first of these the ring holds no longer.
    pub missed: u64,
}

/// The last events of the process.
#[derive(Debug)]
pub struct EventRing {
    held: Mutex<Held>,
    last: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Held {
    events: VecDeque<Arc<Event>>,
    last: u64,
    counts: BTreeMap<Arc<str>, u64>,
}

impl EventRing {
    /// An empty one.
    pub fn new() -> Arc<EventRing> {
        Arc::new(EventRing { held: Mutex::default(), last: watch::Sender::new(0) })
    }

    /// What takes events out of the log.
    pub fn layer<S: tracing::Subscriber>(self: &Arc<EventRing>) -> impl Layer<S> + use<S> {
        Recorder(Arc::clone(self))
    }

    /// At most `limit` events behind the one with the number `since`; 0 is the beginning, and so
    /// is a number that this process has not reached, because it is an earlier process's.
    pub fn since(&self, since: u64, limit: usize) -> Events {
        let held = self.held();
        let since = if since > held.last { 0 } else { since };
        let oldest = held.events.front().map_or(held.last + 1, |event| event.sequence);
        let missed = oldest.saturating_sub(since + 1);
        let skip = usize::try_from((since + 1).saturating_sub(oldest)).unwrap_or(usize::MAX);
        let events: Vec<_> = held.events.iter().skip(skip).take(limit).cloned().collect();
        drop(held);
        let events: Vec<_> = events.into_iter().map(Arc::unwrap_or_clone).collect();
        let next = events.last().map_or(since + missed, |event| event.sequence);
        Events { events, next, missed }
    }

    /// The number of the last event, to wait for the next.
    pub fn last(&self) -> watch::Receiver<u64> {
        self.last.subscribe()
    }

    /// How many there were of each kind.
    pub fn counts(&self) -> Vec<(Arc<str>, u64)> {
        let held = self.held();
        held.counts.iter().map(|(kind, count)| (Arc::clone(kind), *count)).collect()
    }

    /// Numbers an event and keeps it.
    pub fn push(&self, mut event: Event) {
        let mut held = self.held();
        held.last += 1;
        event.sequence = held.last;
        if let Some(count) = held.counts.get_mut(event.event.as_str()) {
            *count += 1;
        } else if held.counts.len() < MAX_KINDS {
            held.counts.insert(event.event.as_str().into(), 1);
        }
        let left = (held.events.len() >= CAPACITY).then(|| held.events.pop_front());
        held.events.push_back(Arc::new(event));
        let last = held.last;
        // Still under the lock: numbers are told in their order.
        self.last.send_replace(last);
        drop(held);
        drop(left);
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // Nothing in here can panic halfway through a change that would matter.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
