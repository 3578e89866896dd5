//! How much each pool was asked for, since the last look.
//!
//! Built from [`Totals`] once a second, so it costs a request nothing. Several doors each count
//! theirs; adding them up, and how old one may be to count, is the reader's decision.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use policies::backend::PoolName;

use crate::stats::{PoolTotals, Totals};

/// Names one running door among several.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DoorId(pub Arc<str>);

/// What one door saw of one pool over a span of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolLoad {
    /// Who counted.
    pub door: DoorId,
    /// Of which pool.
    pub pool: PoolName,
    /// Since the end of the span; zero where it was counted.
    pub age: Duration,
    /// The span.
    pub over: Duration,
    /// Requests that wanted a backend.
    pub arrivals: u64,
    /// Of those, not taken: no healthy backend, or all full.
    pub refused: u64,
    /// Of the refused, those that have arrived at another pool of their waterfall since: over all
    /// pools together they are one request each.
    pub moved_on: u64,
    /// Requests that ended in the span, whenever they arrived.
    pub finished: u64,
    /// Of the finished ones, from first to last byte together without the time in the queue, in
    /// microseconds. A long request
    /// counts where it ends, not where it was served: over many requests that evens out, and
    /// `in_flight` shows it until then.
    pub service_us: u64,
    /// Requests that the pool had taken and not finished, at the end of the span, without streams.
    pub in_flight: u64,
    /// Tunnels and event streams open at the end of the span.
    pub streams: u64,
    /// Requests in its queue, at the end of the span.
    pub queued: u64,
}

/// Turns growing totals into loads.
#[derive(Debug)]
pub struct LoadMeter {
    door: DoorId,
    at: Instant,
    last: BTreeMap<Arc<str>, PoolTotals>,
}

impl LoadMeter {
    /// Starts counting at `now`, from what `totals` say.
    pub fn new(door: DoorId, totals: &Totals, now: Instant) -> LoadMeter {
        LoadMeter { door, at: now, last: totals.pools.clone() }
    }

    /// What happened since the last call, one entry per pool that was ever seen.
    pub fn read(&mut self, totals: &Totals, now: Instant) -> Vec<PoolLoad> {
        let over = now.saturating_duration_since(self.at);
        let before = std::mem::replace(&mut self.last, totals.pools.clone());
        self.at = now;
        let none = PoolTotals::default();
        let load = |(name, sum): (&Arc<str>, &PoolTotals)| {
            let last = before.get(name).unwrap_or(&none);
            PoolLoad {
                door: self.door.clone(),
                pool: PoolName(name.clone()),
                age: Duration::ZERO,
                over,
                arrivals: sum.arrived.saturating_sub(last.arrived),
                refused: sum.refused.saturating_sub(last.refused),
                moved_on: sum.moved_on.saturating_sub(last.moved_on),
                finished: sum.finished.saturating_sub(last.finished),
                service_us: sum.service_us.saturating_sub(last.service_us),
                in_flight: sum.in_flight(),
                streams: sum.streams(),
                queued: sum.waiting(),
            }
        };
        totals.pools.iter().map(load).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(arrived: u64, refused: u64, finished: u64, service_us: u64) -> Totals {
        let pool = PoolTotals { arrived, refused, finished, service_us, ..PoolTotals::default() };
        Totals { pools: BTreeMap::from([(Arc::from("app"), pool)]), ..Totals::default() }
    }

    fn door(name: &str) -> DoorId {
        DoorId(Arc::from(name))
    }

    #[test]
    fn a_load_is_what_happened_since_the_last_look() {
        let start = Instant::now();
        let mut meter = LoadMeter::new(door("a"), &totals(100, 10, 80, 5_000_000), start);
        let loads = meter.read(&totals(160, 15, 130, 9_000_000), start + Duration::from_secs(2));
        let [load] = loads.as_slice() else { panic!("one pool, {loads:?}") };
        assert_eq!((load.arrivals, load.refused, load.finished), (60, 5, 50));
        assert_eq!((load.service_us, load.in_flight), (4_000_000, 15));
        let again = meter.read(&totals(160, 15, 145, 9_000_000), start + Duration::from_secs(3));
        assert_eq!((again[0].arrivals, again[0].finished, again[0].in_flight), (0, 15, 0));
        assert_eq!(again[0].over, Duration::from_secs(1));
    }

    #[test]
    fn a_pool_that_appears_is_counted_from_zero() {
        let start = Instant::now();
        let mut meter = LoadMeter::new(door("a"), &Totals::default(), start);
        let loads = meter.read(&totals(7, 0, 7, 7), start + Duration::from_secs(1));
        assert_eq!(loads[0].arrivals, 7);
    }
}
