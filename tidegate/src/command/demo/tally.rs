//! What became of the requests.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What is called "now" on the status line.
const WINDOW: Duration = Duration::from_secs(1);

/// One request that has ended.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) is_post: bool,
    pub(super) began: Instant,
    pub(super) ended: Instant,
    /// The backend that answered, or why there was no right answer.
    pub(super) outcome: Result<usize, String>,
}

/// A moment in which backends were killed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kill {
    /// Before the first signal.
    pub(super) asked: Instant,
    /// When the last was dead and its connections gone.
    pub(super) done: Instant,
}

/// Counts every request, from any thread.
#[derive(Debug)]
pub(super) struct Tally {
    state: Mutex<State>,
}

/// A demo has some twenty thousand requests, so all of them are kept.
#[derive(Debug)]
struct State {
    requests: Vec<Request>,
    kills: Vec<Kill>,
    backends: usize,
}

/// How it goes at the moment.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Live {
    /// Since the first request.
    pub(super) elapsed: Duration,
    /// Ended so far.
    pub(super) requests: usize,
    /// Failed so far, without the excused.
    pub(super) failed: usize,
    /// In the last second, as the rest.
    pub(super) rps: f64,
    pub(super) p50: Duration,
    pub(super) p99: Duration,
    /// Of the answers, by backend; they add up to 1, or are all 0.
    pub(super) shares: Vec<f64>,
}

/// How it went.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Sum {
    pub(super) requests: usize,
    pub(super) posts: usize,
    /// Those that should not have failed, by what the client saw.
    pub(super) failures: BTreeMap<String, usize>,
    /// POSTs in flight when a backend was killed, that failed.
    pub(super) excused: usize,
    pub(super) p50: Duration,
    pub(super) p99: Duration,
    /// Answers by backend.
    pub(super) served: Vec<usize>,
}

impl Tally {
    pub(super) fn new(backends: usize) -> Tally {
        Tally { state: Mutex::new(State { requests: Vec::new(), kills: Vec::new(), backends }) }
    }

    pub(super) fn count(&self, request: Request) {
        self.lock().requests.push(request);
    }

    /// Excuses what was in flight then and may not be sent twice.
    pub(super) fn killed(&self, kill: Kill) {
        self.lock().kills.push(kill);
    }

    /// Whether this backend has answered a request that began later than `since`.
    pub(super) fn has_served(&self, backend: usize, since: Instant) -> bool {
        let state = self.lock();
        let mut later = state.requests.iter().filter(|request| request.began > since);
        later.any(|request| request.outcome == Ok(backend))
    }

    pub(super) fn live(&self, now: Instant) -> Live {
        let state = self.lock();
        let began = state.requests.first().map_or(now, |first| first.began);
        let elapsed = now.saturating_duration_since(began);
        let window = elapsed.min(WINDOW);
        let is_recent = |request: &&Request| now.saturating_duration_since(request.ended) < window;
        // In the order in which they ended, but for a hair.
        let recent: Vec<&Request> = state.requests.iter().rev().take_while(is_recent).collect();
        let served = served(recent.iter().copied(), state.backends);
        let answers: usize = served.iter().sum();
        let times = times(recent.iter().copied());
        Live {
            elapsed,
            requests: state.requests.len(),
            failed: state.failures().count(),
            rps: recent.len() as f64 / window.as_secs_f64().max(0.001),
            p50: quantile(&times, 0.50),
            p99: quantile(&times, 0.99),
            shares: served.iter().map(|n| *n as f64 / answers.max(1) as f64).collect(),
        }
    }

    pub(super) fn sum(&self) -> Sum {
        let state = self.lock();
        let mut failures = BTreeMap::new();
        for why in state.failures() {
            *failures.entry(why.to_owned()).or_insert(0) += 1;
        }
        let times = times(state.requests.iter());
        let failed = state.requests.iter().filter(|request| request.outcome.is_err()).count();
        Sum {
            requests: state.requests.len(),
            posts: state.requests.iter().filter(|request| request.is_post).count(),
            excused: failed - failures.values().sum::<usize>(),
            failures,
            p50: quantile(&times, 0.50),
            p99: quantile(&times, 0.99),
            served: served(state.requests.iter(), state.backends),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A push is whole or has not happened.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Why requests failed that should not have.
    fn failures(&self) -> impl Iterator<Item = &str> {
        let failed = self.requests.iter().filter(|request| !self.is_excused(request));
        failed.filter_map(|request| request.outcome.as_ref().err().map(String::as_str))
    }

    /// A POST may have done its work when its backend dies, so the door does not send it again
    /// (RFC 9110 §9.2.2) and the client has to be told.
    fn is_excused(&self, request: &Request) -> bool {
        let cuts = |kill: &Kill| request.began <= kill.done && request.ended >= kill.asked;
        request.is_post && self.kills.iter().any(cuts)
    }
}

fn served<'a>(requests: impl Iterator<Item = &'a Request>, backends: usize) -> Vec<usize> {
    let mut served = vec![0; backends];
    for backend in requests.filter_map(|request| request.outcome.as_ref().ok()) {
        served[*backend] += 1;
    }
    served
}

/// How long answers took, sorted.
fn times<'a>(requests: impl Iterator<Item = &'a Request>) -> Vec<Duration> {
    let answered = requests.filter(|request| request.outcome.is_ok());
    let mut times: Vec<_> = answered.map(|request| request.ended - request.began).collect();
    times.sort_unstable();
    times
}

/// By nearest rank; 0 of nothing.
fn quantile(sorted: &[Duration], share: f64) -> Duration {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // below the length
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn request(start: Instant, at: u32, took: u32, outcome: Result<usize, &str>) -> Request {
        let began = start + MS * at;
        let ended = began + MS * took;
        Request { is_post: false, began, ended, outcome: outcome.map_err(str::to_owned) }
    }

    #[test]
    fn a_sum_counts_answers_by_backend_and_failures_by_reason() {
        let (tally, start) = (Tally::new(2), Instant::now());
        for n in 1..=100 {
            tally.count(request(start, n, n, Ok(usize::from(n % 4 == 0))));
        }
        tally.count(request(start, 200, 1, Err("503")));
        tally.count(request(start, 201, 1, Err("503")));
        let sum = tally.sum();
        assert_eq!((sum.requests, sum.posts, sum.excused), (102, 0, 0));
        assert_eq!(sum.served, [75, 25]);
        assert_eq!(sum.failures, BTreeMap::from([("503".to_owned(), 2)]));
        assert_eq!((sum.p50, sum.p99), (MS * 50, MS * 99));
    }

    #[test]
    fn only_a_post_that_was_in_flight_at_a_kill_is_excused() {
        let (tally, start) = (Tally::new(1), Instant::now());
        tally.killed(Kill { asked: start + MS * 100, done: start + MS * 102 });
        let spans = [(90, 9), (90, 10), (101, 50), (103, 1)];
        for (at, took) in spans {
            tally.count(Request { is_post: true, ..request(start, at, took, Err("502")) });
        }
        assert_eq!((tally.sum().excused, tally.sum().failures["502"]), (2, 2));
        tally.count(request(start, 90, 20, Err("502")));
        assert_eq!((tally.sum().excused, tally.sum().failures["502"]), (2, 3));
    }

    #[test]
    fn the_live_figures_are_those_of_the_last_second() {
        let (tally, start) = (Tally::new(2), Instant::now());
        assert_eq!(tally.live(start), Live { shares: vec![0.0; 2], ..Live::default() });
        tally.count(request(start, 0, 900, Ok(0)));
        for n in 0..10 {
            tally.count(request(start, 1_100 + 50 * n, 2, Ok(1)));
        }
        let live = tally.live(start + MS * 2_000);
        assert_eq!((live.requests, live.failed, live.elapsed), (11, 0, MS * 2_000));
        assert_eq!((live.rps, live.p99, live.shares), (10.0, MS * 2, vec![0.0, 1.0]));
        assert!(tally.has_served(1, start + MS * 1_500));
        assert!(!tally.has_served(0, start) && !tally.has_served(1, start + MS * 1_550));
    }
}
