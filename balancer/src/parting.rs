//! Streams and requests that a drain does not wait for any longer.
//!
//! A backend that drains, has left or has moved gets nothing new, and what is under way ends by
//! itself. Streams may not, so after `drain.wait_streams` those that are left are cut, and after
//! `drain.wait_inflight`, if it is set, requests are. The roster marks the slot; each worker looks
//! at the marks once a second, deals a moment of its own to each connection, and wakes them all. A
//! thousand clients that lost their streams at once would come back at once.
//!
//! Nothing here costs a request anything while no drain has run out: one flag is read where the
//! request waits anyway.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

use crate::snapshot::{PoolView, Slot};
use crate::timer::{Millis, Timer, after};

/// What of a slot is not waited for any longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct RanOut {
    /// Tunnels, and answers of which nobody has said how long they are.
    pub(crate) streams: bool,
    /// Everything else.
    pub(crate) requests: bool,
}

impl RanOut {
    pub(crate) fn to_bits(self) -> u8 {
        u8::from(self.streams) | u8::from(self.requests) << 1
    }

    pub(crate) fn of_bits(bits: u8) -> RanOut {
        RanOut { streams: bits & 1 != 0, requests: bits & 2 != 0 }
    }
}

/// The ends are spread over this share of the wait, and over so long at least and at most.
const SPREAD: u32 = 5;
const LEAST: Duration = Duration::from_secs(1);
const MOST: Duration = Duration::from_secs(30);

/// Over how long the ends of those that were waited for so long are spread.
fn spread(wait: Duration) -> Duration {
    (wait / SPREAD).clamp(LEAST, MOST)
}

/// What one worker knows of drains that have run out.
#[derive(Debug, Default)]
pub(crate) struct Partings {
    is_any: Cell<bool>,
    /// By slot: from when on streams end, and requests.
    from: RefCell<BTreeMap<u32, Parting>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Parting {
    streams: Option<Spread>,
    requests: Option<Spread>,
}

/// Ends between two moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Spread {
    from: Millis,
    over: Millis,
}

impl Partings {
    /// Whether there is anything to look at.
    #[inline]
    pub(crate) fn is_any(&self) -> bool {
        self.is_any.get()
    }

    /// Takes in the marks of all slots; whether there is a new one, so that all connections have to
    /// be woken.
    pub(crate) fn follow<'a>(
        &self,
        pools: impl Iterator<Item = (&'a crate::config::PoolConfig, &'a PoolView)>,
        now: Millis,
    ) -> bool {
        let mut next = BTreeMap::new();
        let mut is_new = false;
        let known = self.from.take();
        for (config, pool) in pools {
            for slot in pool.members.iter().filter(|slot| slot.ran_out() != RanOut::default()) {
                let before = known.get(&slot.id).copied().unwrap_or_default();
                let RanOut { streams, requests } = slot.ran_out();
                let deal = |is_out: bool, before: Option<Spread>, wait: Option<Duration>| {
                    let over = after(0, spread(wait.unwrap_or_default()));
                    is_out.then(|| before.unwrap_or(Spread { from: now, over }))
                };
                let parting = Parting {
                    streams: deal(streams, before.streams, config.drain.wait_streams),
                    requests: deal(requests, before.requests, config.drain.wait_inflight),
                };
                is_new |= parting != before;
                next.insert(slot.id, parting);
            }
        }
        self.is_any.set(!next.is_empty());
        self.from.replace(next);
        is_new
    }

    /// When this one ends by its backend's drain, if it does: always the same moment for the same
    /// timer, somewhere in the time over which all are spread.
    pub(crate) fn end_of(&self, slot: &Slot, timer: &Timer, is_stream: bool) -> Option<Millis> {
        let parting = *self.from.borrow().get(&slot.id)?;
        let spread = if is_stream { parting.streams } else { parting.requests };
        spread.map(|spread| spread.moment(u64::from(slot.id) << 32 | u64::from(timer.key())))
    }
}

impl Spread {
    fn moment(self, dice: u64) -> Millis {
        self.from + policies::rng::mix(dice) % self.over.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_spread_over_the_whole_time_and_no_longer() {
        let spread = Spread { from: 5_000, over: 1_000 };
        let mut all: Vec<Millis> = (0..1_000).map(|key| spread.moment(7 << 32 | key)).collect();
        all.sort_unstable();
        assert!(all.iter().all(|end| (5_000..6_000).contains(end)));
        for tenth in 0..10 {
            let is_in = |end: &&Millis| (**end - 5_000) / 100 == tenth;
            let count = all.iter().filter(is_in).count();
            assert!((50..200).contains(&count), "{count} of 1000 in tenth {tenth}");
        }
        assert_eq!(spread.moment(42), spread.moment(42));
    }

    #[test]
    fn the_time_goes_with_the_wait_within_bounds() {
        let secs = Duration::from_secs;
        for (wait, expected) in [(0, 1), (4, 1), (60, 12), (600, 30)] {
            assert_eq!(spread(secs(wait)), secs(expected), "{wait} s");
        }
    }
}
