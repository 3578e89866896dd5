//! From what doors count to demand, also where the backends are too busy to tell.
//!
//! Demand is a rate first: arrivals per second × service time is the concurrency that is needed
//! (Little's law). A saturated backend takes longer for the same work, and believing its service
//! time would ask for the more instances the fewer there are. So the service time is learned below
//! the knee and used above it.

use std::time::Duration;

use super::policy::Signal;

/// Of its capacity; above, a service time is not believed.
const KNEE: f64 = 0.8;

/// Half of the learned service time is forgotten after this.
const PACE: Duration = Duration::from_secs(14);

/// Less than this share of the traffic of before is a fall.
const FALLEN: f64 = 0.7;

/// More than this share of answers are errors: something is broken.
const BROKEN: f64 = 0.05;

/// Half of the traffic of before is forgotten after this.
const BEFORE: Duration = Duration::from_secs(60);

/// What all doors counted of some pools since they were asked before.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Counted {
    /// Requests of clients per second, whatever became of them; no retries of ours, no probes.
    pub arrivals_rps: f64,
    /// Requests that wait for a place.
    pub waiting: f64,
    /// Requests at a backend.
    pub in_flight: f64,
    /// Requests that the backends that are there can carry at once; infinite if nobody said.
    pub capacity: f64,
    /// Mean service time of those that ended; `None` where nothing ended.
    pub service: Option<Duration>,
}

/// The service time that is believed.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Learned {
    /// Seconds, below the knee.
    unsaturated: Fading,
}

/// A mean that forgets, in which the first measurements weigh as much as later ones and no more.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Fading {
    mean: Option<f64>,
    /// How much of a whole mean that is: little after the first measurement, 1 after a while.
    known: f64,
}

impl Fading {
    /// The mean with this measurement, which has this [`weight`].
    fn with(&mut self, measured: f64, weight: f64) -> f64 {
        let before = self.mean.unwrap_or(measured);
        self.known += weight * (1.0 - self.known);
        let share = if self.known > 0.0 { weight / self.known } else { 1.0 };
        *self.mean.insert(before + share * (measured - before))
    }
}

impl Learned {
    /// Seconds that a request takes when nothing is too busy, as far as that is known.
    ///
    /// Learns from the time since it was asked before, `gap`, unless that is saturated. If all that
    /// was ever seen is saturated, that is believed: it can be too much, and it is all there is.
    pub fn service_seconds(&mut self, counted: &Counted, gap: Duration) -> Option<f64> {
        let measured = counted.service.map(|service| service.as_secs_f64());
        let is_saturated = counted.waiting > 0.0 || counted.in_flight > KNEE * counted.capacity;
        let Some(measured) = measured.filter(|_| !is_saturated) else {
            return self.unsaturated.mean.or(measured);
        };
        // What ends first is what is short: believed whole, it would be taken for all there is.
        Some(self.unsaturated.with(measured, weight(gap, PACE)))
    }
}

/// Demand in the unit of the signal. `drain_within` is how soon those who wait should be served:
/// they add `waiting ÷ drain_within` to the rate while they wait, and nothing afterwards.
///
/// Where no service time is known yet, what is here now is what is known.
pub fn offered(
    signal: Signal,
    counted: &Counted,
    service_seconds: Option<f64>,
    drain_within: Duration,
) -> f64 {
    let backlog_rps = counted.waiting / drain_within.as_secs_f64().max(1.0);
    let rate = counted.arrivals_rps + backlog_rps;
    match (signal, service_seconds) {
        (Signal::Requests, _) => rate,
        (Signal::Concurrency, Some(seconds)) => rate * seconds,
        (Signal::Concurrency, None) => counted.in_flight + counted.waiting,
    }
}

/// Tells a crowd that left from one that cannot reach us.
///
/// Traffic that falls while answers are errors, or while connections fail, has not gone home. The
/// suspicion lasts as long as the errors do, and until traffic is back or the fall is forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct OutageGuard {
    usual_rps: Fading,
    is_suspected: bool,
}

impl OutageGuard {
    /// Whether an outage is suspected, after what was counted for `gap`.
    pub fn observe(
        &mut self,
        gap: Duration,
        arrivals_rps: f64,
        error_rate: f64,
        connect_errors_rps: f64,
    ) -> bool {
        let usual = self.usual_rps.mean.unwrap_or(arrivals_rps);
        let has_fallen = arrivals_rps < FALLEN * usual;
        let is_broken = error_rate > BROKEN || connect_errors_rps > BROKEN * arrivals_rps.max(1.0);
        self.is_suspected = has_fallen && (is_broken || self.is_suspected);
        self.usual_rps.with(arrivals_rps, weight(gap, BEFORE));
        self.is_suspected
    }
}

/// Of what was counted for `gap`, in a mean that has forgotten half after `half_life`: the same
/// pace however often it is counted.
fn weight(gap: Duration, half_life: Duration) -> f64 {
    1.0 - 0.5f64.powf(gap.as_secs_f64() / half_life.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn second(arrivals_rps: f64, in_flight: f64, service_ms: u64) -> Counted {
        let service = Some(Duration::from_millis(service_ms));
        Counted { arrivals_rps, waiting: 0.0, in_flight, capacity: 100.0, service }
    }

    #[track_caller]
    fn check(learned: &mut Learned, counted: &Counted, concurrency: f64) {
        let seconds = learned.service_seconds(counted, SECOND);
        let found = offered(Signal::Concurrency, counted, seconds, Duration::from_secs(10));
        assert!((found - concurrency).abs() < 1e-6, "{found}, {learned:?}");
    }

    #[test]
    fn demand_is_the_rate_times_the_service_time() {
        check(&mut Learned::default(), &second(200.0, 20.0, 100), 20.0);
    }

    #[test]
    fn a_saturated_backend_does_not_stretch_demand() {
        let mut learned = Learned::default();
        check(&mut learned, &second(200.0, 20.0, 100), 20.0);
        check(&mut learned, &second(4000.0, 100.0, 900), 400.0);
        check(&mut learned, &Counted { service: None, ..second(4000.0, 100.0, 0) }, 400.0);
    }

    #[test]
    fn those_who_wait_add_a_rate_while_they_wait() {
        let waiting = Counted { waiting: 500.0, ..second(200.0, 100.0, 100) };
        let mut learned = Learned::default();
        check(&mut learned, &second(200.0, 20.0, 100), 20.0);
        check(&mut learned, &waiting, (200.0 + 50.0) * 0.1);
    }

    #[test]
    fn what_is_here_counts_until_a_request_has_ended() {
        let counted = Counted { service: None, waiting: 3.0, ..second(9.0, 7.0, 0) };
        check(&mut Learned::default(), &counted, 10.0);
    }

    #[test]
    fn the_service_time_follows_slowly_below_the_knee() {
        for tick_ms in [50, 200, 1_000, 14_000] {
            let tick = Duration::from_millis(tick_ms);
            let mut learned = Learned::default();
            let ticks = 14_000 / tick_ms;
            for _ in 0..20 * ticks {
                learned.service_seconds(&second(100.0, 10.0, 100), tick);
            }
            let slower = second(100.0, 20.0, 200);
            let seconds = (0..ticks).filter_map(|_| learned.service_seconds(&slower, tick)).last();
            let seconds = seconds.unwrap();
            assert!((seconds - 0.15).abs() < 1e-6, "half of it after 14 s: {seconds}, {tick:?}");
        }
    }

    #[test]
    fn the_first_measurement_is_one_of_many() {
        let mut learned = Learned::default();
        let tick = Duration::from_millis(200);
        learned.service_seconds(&second(100.0, 10.0, 1), tick);
        let after = |_| learned.service_seconds(&second(100.0, 10.0, 200), tick);
        let seconds = (0..10).filter_map(after).last().unwrap();
        assert!(seconds > 0.18, "ten of eleven took 200 ms: {seconds}");
    }

    #[test]
    fn a_crowd_that_leaves_is_no_outage_and_one_that_meets_errors_is() {
        let mut guard = OutageGuard::default();
        let mut observe = |rps, errors, unreached| guard.observe(SECOND, rps, errors, unreached);
        assert!((0..300).all(|_| !observe(1000.0, 0.001, 0.0)));
        assert!(!observe(500.0, 0.001, 0.0), "they have gone home");
        assert!(observe(500.0, 0.2, 0.0), "they meet errors");
        assert!(observe(100.0, 0.0, 0.0), "too few are left to meet any");
        assert!(!observe(900.0, 0.0, 0.0), "they are back");
        assert!(observe(500.0, 0.0, 400.0), "backends cannot be reached");
    }

    #[test]
    fn a_door_that_has_just_started_knows_what_is_usual_after_seconds() {
        let mut guard = OutageGuard::default();
        assert!(!guard.observe(SECOND, 0.0, 0.0, 0.0));
        assert!((0..10).all(|_| !guard.observe(SECOND, 1000.0, 0.001, 0.0)));
        assert!(guard.observe(SECOND, 400.0, 0.2, 0.0));
    }
}
