//! What the roster tells of its members: each change is one event.
//!
//! Found by comparing the members with those of the last time, so that no way to change them can
//! forget to tell.

use std::time::Instant;

use policies::backend::{Backend, BackendKey};
use policies::membership::{Member, Membership, Stage};

use super::state::State;

/// Who wants a change, for the event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Order {
    /// `uid 0, pid 4711`
    pub actor: String,
    /// In the words of whoever it was.
    pub reason: Option<String>,
}

/// A drain under way, or how it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drain {
    /// When it began.
    pub since: Instant,
    /// Requests that were under way then.
    pub waited_for: u32,
    /// How many of them were cut, because they took longer than `[pools.*] drain` lets them.
    pub cut: u32,
}

/// One change of one member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct News {
    key: BackendKey,
    what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    Added(Backend),
    /// With this many requests that still run.
    Removed(Stage, u32),
    Draining {
        from: Stage,
        in_flight: u32,
        is_leaving: bool,
    },
    Drained {
        waited_for: u32,
        cut: u32,
        waited_ms: u64,
    },
    Undrained {
        from: Stage,
        to: Stage,
    },
    Weight(u32, u32),
    Cap(Option<u32>, Option<u32>),
    /// Streams that are left are cut from now on.
    ClosesStreams {
        in_flight: u32,
    },
    /// Requests that are left are.
    RanOut {
        in_flight: u32,
    },
}

impl News {
    pub(super) fn new(key: &BackendKey, what: What) -> News {
        News { key: key.clone(), what }
    }
}

impl State {
    /// What has changed since the last call. Keeps account of drains.
    pub(super) fn news(&mut self, now: Instant) -> Vec<News> {
        let mut news = std::mem::take(&mut self.unsaid);
        if self.told == self.membership {
            return news;
        }
        let told = std::mem::replace(&mut self.told, self.membership.clone());
        let current = self.membership.clone();
        for (key, before) in members(&told) {
            let after = current.get(&key);
            for what in self.compare(&key, before, after, now) {
                news.push(News { key: key.clone(), what });
            }
        }
        for (key, member) in members(&current).filter(|(key, _)| told.get(key).is_none()) {
            news.push(News { key, what: What::Added(member.backend.clone()) });
        }
        news
    }

    fn compare(
        &mut self,
        key: &BackendKey,
        before: &Member,
        after: Option<&Member>,
        now: Instant,
    ) -> Vec<What> {
        let Some(after) = after else {
            let left =
                self.slots.finishing(key).map(|slot| slot.in_flight() + slot.streams()).sum();
            let drained =
                (before.stage == Stage::Draining && left == 0).then(|| self.drained(key, now));
            self.drains.remove(key);
            return drained.into_iter().chain([What::Removed(before.stage, left)]).collect();
        };
        let mut all = Vec::new();
        let (from, to) = (before.stage, after.stage);
        if matches!(to, Stage::Draining | Stage::Drained) && from < Stage::Draining {
            // What the drain waits for: streams as well.
            let in_flight =
                self.member(key).map_or(0, |member| member.in_flight() + member.streams());
            self.drains.insert(key.clone(), Drain { since: now, waited_for: in_flight, cut: 0 });
            let is_leaving = after.is_leaving;
            all.push(What::Draining { from, in_flight, is_leaving });
        }
        if to == Stage::Drained && from != to {
            all.push(self.drained(key, now));
        }
        if to < Stage::Draining && from >= Stage::Draining {
            self.drains.remove(key);
            all.push(What::Undrained { from, to });
        }
        let (was, is) = (&before.backend, &after.backend);
        if was.weight != is.weight {
            all.push(What::Weight(was.weight, is.weight));
        }
        if was.max_concurrency != is.max_concurrency {
            all.push(What::Cap(was.max_concurrency, is.max_concurrency));
        }
        all
    }

    fn drained(&mut self, key: &BackendKey, now: Instant) -> What {
        let drain =
            self.drains.get(key).copied().unwrap_or(Drain { since: now, waited_for: 0, cut: 0 });
        let waited = now.saturating_duration_since(drain.since).as_millis();
        let waited_ms = u64::try_from(waited).unwrap_or(u64::MAX);
        What::Drained { waited_for: drain.waited_for, cut: drain.cut, waited_ms }
    }
}

fn members(membership: &Membership) -> impl Iterator<Item = (BackendKey, &Member)> {
    membership.pools().flat_map(|(pool, members)| {
        members.iter().map(move |member| {
            let backend = member.backend.id.clone();
            (BackendKey { pool: pool.clone(), backend }, member)
        })
    })
}

/// One event each.
pub(super) fn tell(news: &[News], order: Option<&Order>) {
    let actor = order.map(|order| order.actor.as_str());
    let reason = order.and_then(|order| order.reason.as_deref());
    for News { key: BackendKey { pool, backend }, what } in news {
        match what {
            What::Added(Backend { address, weight, .. }) => {
                tracing::info!(%pool, %backend, %address, weight, actor, reason, "backend_added");
            }
            What::Removed(from, in_flight) => {
                tracing::info!(%pool, %backend, %from, in_flight, actor, reason, "backend_removed");
            }
            What::Draining { from, in_flight, is_leaving } => {
                let to = Stage::Draining;
                tracing::info!(
                    %pool, %backend, %from, %to, in_flight, is_leaving, actor, reason,
                    "backend_draining"
                );
            }
            What::Drained { waited_for, cut, waited_ms } => {
                let (from, to) = (Stage::Draining, Stage::Drained);
                // Nobody's order: it is so.
                tracing::info!(
                    %pool, %backend, %from, %to, waited_for, cut, waited_ms,
                    "backend_drained"
                );
            }
            What::Undrained { from, to } => {
                tracing::info!(%pool, %backend, %from, %to, actor, reason, "backend_undrained");
            }
            What::Weight(from, to) => {
                tracing::info!(%pool, %backend, from, to, actor, reason, "backend_weight");
            }
            What::ClosesStreams { in_flight } => {
                tracing::info!(%pool, %backend, in_flight, "drain_closes_streams");
            }
            What::RanOut { in_flight } => {
                tracing::warn!(%pool, %backend, in_flight, "drain_ran_out");
            }
            What::Cap(from, to) => {
                let word = |cap: &Option<u32>| cap.map_or("none".to_owned(), |cap| cap.to_string());
                let (from, to) = (word(from), word(to));
                tracing::info!(%pool, %backend, from, to, actor, reason, "backend_max_concurrency");
            }
        }
    }
}
