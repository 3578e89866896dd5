//! How much is asked of a pool, over all doors.
//!
//! Demand is what clients want, not what they got: requests that wait or were refused count as
//! well, and a retry of ours does not, or a sick backend would look like a crowd.

use std::sync::Arc;
use std::time::Duration;

/// What one door saw of one pool over a span of time. Counts, so that doors add up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoorLoad {
    /// Which door counted.
    pub door: Arc<str>,
    /// Since the end of the span.
    pub age: Duration,
    /// The span.
    pub over: Duration,
    /// Requests of clients that wanted a backend, whatever became of them.
    pub arrivals: u64,
    /// Of those, not taken.
    pub refused: u64,
    /// Of the refused, those that another pool was asked for instead, where they arrived again.
    pub moved_on: u64,
    /// Further tries of ours, not in `arrivals`.
    pub retries: u64,
    /// At a backend, at the end of the span.
    pub in_flight: u64,
    /// Waiting for one, at the end of the span.
    pub waiting: u64,
    /// Requests that ended in the span.
    pub finished: u64,
    /// Service time of the finished ones together, in microseconds.
    pub service_us: u64,
}

/// What all doors together saw of one pool.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Demand {
    /// Doors that count here.
    pub doors: u32,
    /// Doors that were left out, because what they sent is too old.
    pub stale_doors: u32,
    /// Requests of clients per second.
    pub arrivals_rps: f64,
    /// Of those, not taken.
    pub refused_rps: f64,
    /// Of the refused, those that another pool was asked for instead: where pools are added up, one
    /// request is one.
    pub moved_on_rps: f64,
    /// Tries per second that were not the first.
    pub retries_rps: f64,
    /// At a backend now.
    pub in_flight: u64,
    /// Waiting for one now.
    pub waiting: u64,
    /// Mean service time; `None` where nothing finished.
    pub service: Option<Duration>,
}

impl Demand {
    /// Adds up `loads`, of each door at most one and of one pool all, without those older than
    /// `oldest`.
    ///
    /// An old load is left out rather than believed: a door that fell silent sends nobody to a
    /// backend, or others see its clients by now. `stale_doors` tells how much is missing.
    /// Spans may differ between doors, so rates are added and not counts.
    pub fn merge(loads: &[DoorLoad], oldest: Duration) -> Demand {
        let mut demand = Demand::default();
        let (mut finished, mut service_us) = (0u64, 0u64);
        for load in loads {
            if load.age > oldest {
                demand.stale_doors += 1;
                continue;
            }
            demand.doors += 1;
            demand.arrivals_rps += rate(load.arrivals, load.over);
            demand.refused_rps += rate(load.refused, load.over);
            demand.moved_on_rps += rate(load.moved_on, load.over);
            demand.retries_rps += rate(load.retries, load.over);
            demand.in_flight = demand.in_flight.saturating_add(load.in_flight);
            demand.waiting = demand.waiting.saturating_add(load.waiting);
            finished = finished.saturating_add(load.finished);
            service_us = service_us.saturating_add(load.service_us);
        }
        demand.service = service_us.checked_div(finished).map(Duration::from_micros);
        demand
    }

    /// Concurrent requests offered: arrivals per second × mean service time (Little's law),
    /// but never less than are here already.
    ///
    /// Exact for steady load. Under a change it lags by about one service time; requests that
    /// outlast the span show as the ones that are here until they end.
    pub fn concurrency(&self) -> f64 {
        let offered = self.service.map_or(0.0, |mean| self.arrivals_rps * mean.as_secs_f64());
        let here = self.in_flight.saturating_add(self.waiting) as f64;
        offered.max(here)
    }
}

/// Per second; a span of no length has no rate.
fn rate(count: u64, over: Duration) -> f64 {
    if over.is_zero() { 0.0 } else { count as f64 / over.as_secs_f64() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLDEST: Duration = Duration::from_secs(5);

    /// 100 requests in a second, 80 of them finished after 50 ms each.
    fn load(door: &str) -> DoorLoad {
        DoorLoad {
            door: door.into(),
            age: Duration::ZERO,
            over: Duration::from_secs(1),
            arrivals: 100,
            refused: 20,
            moved_on: 0,
            retries: 0,
            in_flight: 3,
            waiting: 0,
            finished: 80,
            service_us: 80 * 50_000,
        }
    }

    #[track_caller]
    fn check(loads: &[DoorLoad], concurrency: f64) {
        let demand = Demand::merge(loads, OLDEST);
        let found = demand.concurrency();
        assert!((found - concurrency).abs() < 1e-9, "{found}, {demand:?}");
    }

    #[test]
    fn demand_counts_what_was_refused_as_well() {
        check(&[load("a")], 100.0 * 0.05);
    }

    #[test]
    fn doors_add_up_though_their_spans_differ() {
        let long = DoorLoad {
            over: Duration::from_secs(2),
            arrivals: 200,
            finished: 160,
            service_us: 160 * 50_000,
            ..load("b")
        };
        check(&[load("a"), long], 10.0);
    }

    #[test]
    fn the_mean_time_is_that_of_the_requests_and_not_of_the_doors() {
        let slow = DoorLoad { arrivals: 20, finished: 20, service_us: 20 * 300_000, ..load("b") };
        check(&[load("a"), slow], 120.0 * 0.1);
    }

    #[test]
    fn retries_are_no_demand() {
        check(&[DoorLoad { retries: 300, ..load("a") }], 5.0);
    }

    #[test]
    fn a_door_that_fell_silent_is_left_out_and_said_so() {
        let silent = DoorLoad { age: OLDEST + Duration::from_millis(1), ..load("b") };
        let just = DoorLoad { age: OLDEST, ..load("c") };
        check(&[load("a"), silent.clone(), just], 10.0);
        assert_eq!(
            Demand::merge(&[silent], OLDEST),
            Demand { stale_doors: 1, ..Demand::default() }
        );
    }

    #[test]
    fn requests_that_are_here_count_though_none_has_finished() {
        let streams =
            DoorLoad { in_flight: 40, waiting: 2, finished: 0, service_us: 0, ..load("a") };
        check(&[streams], 42.0);
    }

    #[test]
    fn a_span_of_no_length_has_no_rate() {
        check(&[DoorLoad { over: Duration::ZERO, in_flight: 0, ..load("a") }], 0.0);
        check(&[], 0.0);
    }
}
