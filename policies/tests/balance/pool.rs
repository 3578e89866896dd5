//! A pool that exists in counters only, and load on it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use policies::balance::{Candidates, Entry, Picker, Rule, Turn};
use policies::rng::{self, Rng};
use proptest::test_runner::{Config, RngSeed};

/// Every rule there is.
pub(super) const RULES: [Rule; 6] = [
    Rule::RoundRobin,
    Rule::LeastRequests,
    Rule::TwoChoices,
    Rule::PeakEwma,
    Rule::ConsistentHash,
    Rule::First,
];

/// So many cases, the same ones each time.
pub(super) fn cases(cases: u32) -> Config {
    Config { cases, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..Config::default() }
}

/// What [`Candidates`] asks of each backend.
#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) in_flight: u32,
    pub(super) is_full: bool,
    pub(super) latency_us: Option<u32>,
    pub(super) idle_ms: u32,
}

impl Default for State {
    fn default() -> State {
        State { in_flight: 0, is_full: false, latency_us: Some(1_000), idle_ms: 0 }
    }
}

/// The backends as a worker sees them.
#[derive(Debug, Clone)]
pub(super) struct Pool(pub(super) Vec<State>);

impl Pool {
    pub(super) fn idle(backends: usize) -> Pool {
        Pool(vec![State::default(); backends])
    }
}

impl Candidates for Pool {
    fn in_flight(&self, index: usize) -> u32 {
        self.0[index].in_flight
    }

    fn has_room(&self, index: usize) -> bool {
        !self.0[index].is_full
    }

    fn latency_us(&self, index: usize) -> Option<u32> {
        self.0[index].latency_us
    }

    fn idle_ms(&self, index: usize) -> u32 {
        self.0[index].idle_ms
    }
}

/// The id of the backend at a place.
pub(super) fn id(index: usize) -> String {
    format!("backend-{index}")
}

/// A rule over backends of these weights, in no zone and without caps.
pub(super) fn picker(rule: Rule, weights: &[u32]) -> Picker {
    let ids: Vec<String> = (0..weights.len()).map(id).collect();
    let entries: Vec<Entry<'_>> = weights
        .iter()
        .zip(&ids)
        .map(|(&weight, id)| Entry { id, weight, zone_preferred: false, max_concurrency: None })
        .collect();
    Picker::new(rule, &entries)
}

/// Requests on a pool, always `concurrency` at once, dealt to `workers` at random. Each takes
/// 1 to 2,000 units of time, whoever serves it.
#[derive(Debug, Clone)]
pub(super) struct Load {
    pub(super) rule: Rule,
    pub(super) weights: Vec<u32>,
    pub(super) workers: usize,
    pub(super) concurrency: usize,
    pub(super) requests: u32,
}

impl Load {
    /// How many requests each backend gets.
    pub(super) fn served(&self) -> Vec<u32> {
        let backends = self.weights.len();
        let (picker, mut pool) = (picker(self.rule, &self.weights), Pool::idle(backends));
        let mut turns: Vec<Turn> =
            (0..self.workers).map(|worker| Turn::new(worker, self.workers)).collect();
        let (mut rng, mut served) = (Rng::new(1), vec![0; backends]);
        let (mut now, mut under_way) = (0, BinaryHeap::new());
        for number in 0..self.requests {
            if under_way.len() == self.concurrency {
                let Reverse((end, index)): Reverse<(u64, usize)> = under_way.pop().unwrap();
                now = end;
                pool.0[index].in_flight -= 1;
            }
            let worker = usize::try_from(rng.below(self.workers as u64)).unwrap();
            let key = rng::mix(number.into());
            let index = picker.pick(&pool, &mut turns[worker], key, &mut rng).unwrap();
            pool.0[index].in_flight += 1;
            served[index] += 1;
            under_way.push(Reverse((now + 1 + rng.below(2_000), index)));
        }
        served
    }

    /// No backend got more or less than its share by 2 % of that share.
    #[track_caller]
    pub(super) fn check_each(&self) {
        self.check(|expected, _| expected * 0.02);
    }

    /// No backend got more or less than its share by 2 % of all requests.
    #[track_caller]
    pub(super) fn check_all(&self) {
        self.check(|_, all| all * 0.02);
    }

    #[track_caller]
    fn check(&self, allowed: impl Fn(f64, f64) -> f64) {
        let served = self.served();
        let all = f64::from(self.requests);
        let total: f64 = self.weights.iter().copied().map(f64::from).sum();
        for (index, (&served, &weight)) in served.iter().zip(&self.weights).enumerate() {
            let expected = all * f64::from(weight) / total;
            let off = (f64::from(served) - expected).abs();
            assert!(
                off <= allowed(expected, all),
                "backend {index} got {served} instead of {expected:.0}: {self:?}"
            );
        }
    }
}
