//! What a backend did with the requests it got, counted, and kept for a while.
//!
//! Only what is the backend's own doing is counted here: a client that leaves, or whose body is
//! broken, is neither good nor bad. Who counts is the balancer; what follows from the counts is
//! in [`crate::outlier`] and [`crate::breaker`].

use std::collections::VecDeque;
use std::time::Duration;

/// Buckets of [`Outcomes::latency`], the last of which has no upper bound.
pub const BUCKETS: usize = 14;

/// The window moves in steps of so many milliseconds.
const STEP_MS: u128 = 250;

/// Finished attempts at one backend, over some time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// Whole answers with a status below 500.
    pub good: u64,
    /// Answers of 500 and above, connections that did not come about, answers that did not come,
    /// were malformed or were cut.
    pub bad: u64,
    /// Of the bad ones, those that no answer came to because nobody was there: connections that did
    /// not come about or were cut.
    pub gone: u64,
    /// Attempts that the backend let run into a limit in time. Bad as well, unless our own clock
    /// was late.
    pub timeouts: u64,
    /// Answers whose head took longer than the breaker of the pool takes for slow, whether good or
    /// bad.
    pub slow: u64,
    /// Answers by the time to their head; bounds are those of whoever counts.
    pub latency: [u64; BUCKETS],
}

impl Outcomes {
    /// All of them.
    pub fn all(&self) -> u64 {
        self.good + self.failed()
    }

    /// Those that speak against the backend.
    pub fn failed(&self) -> u64 {
        self.bad + self.timeouts
    }

    /// What came on top of an earlier count of the same. A count that has become smaller (who
    /// counted has gone) is none.
    pub fn since(&self, before: &Outcomes) -> Outcomes {
        self.zip(before, u64::saturating_sub)
    }

    /// Both together.
    pub fn plus(&self, other: &Outcomes) -> Outcomes {
        self.zip(other, u64::saturating_add)
    }

    /// Without all that a late clock of our own may have made up.
    pub fn without_time(&self) -> Outcomes {
        Outcomes { timeouts: 0, slow: 0, latency: [0; BUCKETS], ..*self }
    }

    /// Bounds of the bucket that the middle answer fell into, in the unit of `bounds`; `None`
    /// without answers. `bounds` are the upper ones, rising, one less than there are buckets.
    pub fn median(&self, bounds: &[u64]) -> Option<(u64, u64)> {
        let all: u64 = self.latency.iter().sum();
        let mut below = 0;
        let middle = self.latency.iter().position(|count| {
            below += count;
            below * 2 >= all && all > 0
        })?;
        let low = middle.checked_sub(1).and_then(|place| bounds.get(place)).copied();
        Some((low.unwrap_or(0), bounds.get(middle).copied().unwrap_or(u64::MAX)))
    }

    fn zip(&self, other: &Outcomes, with: impl Fn(u64, u64) -> u64) -> Outcomes {
        Outcomes {
            good: with(self.good, other.good),
            bad: with(self.bad, other.bad),
            gone: with(self.gone, other.gone),
            timeouts: with(self.timeouts, other.timeouts),
            slow: with(self.slow, other.slow),
            latency: std::array::from_fn(|place| with(self.latency[place], other.latency[place])),
        }
    }
}

/// The outcomes of the last so many seconds, in steps of a quarter of one.
#[derive(Debug, Clone, Default)]
pub struct Window {
    /// By number of the step, rising; steps without outcomes are left out.
    kept: VecDeque<(u64, Outcomes)>,
}

/// What happened from some moment until now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// How long ago that was, to the step.
    pub length: Duration,
    /// Whether nothing older is kept.
    pub is_whole: bool,
    /// What happened.
    pub outcomes: Outcomes,
}

impl Window {
    /// Takes in what has happened just now, and forgets what is older than `over`, but for the
    /// step under way. Times may not fall.
    pub fn add(&mut self, now: Duration, over: Duration, outcomes: &Outcomes) {
        let step = step(now);
        let steps = u64::try_from(over.as_millis().div_ceil(STEP_MS)).unwrap_or(u64::MAX).max(1);
        while self.kept.front().is_some_and(|(at, _)| at.saturating_add(steps) <= step) {
            self.kept.pop_front();
        }
        match self.kept.back_mut() {
            _ if *outcomes == Outcomes::default() => {}
            Some((at, sum)) if *at >= step => *sum = sum.plus(outcomes),
            _ => self.kept.push_back((step, *outcomes)),
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.kept.clear();
    }

    /// Every stretch that ends now, the shortest first; none when nothing has happened.
    pub fn stretches(&self, now: Duration) -> impl Iterator<Item = Stretch> + '_ {
        let last = step(now);
        let oldest = self.kept.front().map_or(0, |(at, _)| *at);
        self.kept.iter().rev().scan(Outcomes::default(), move |sum, (at, outcomes)| {
            *sum = sum.plus(outcomes);
            let steps = u32::try_from(last.saturating_sub(*at) + 1).unwrap_or(u32::MAX);
            let length = Duration::from_millis(250).saturating_mul(steps);
            Some(Stretch { length, is_whole: *at == oldest, outcomes: *sum })
        })
    }

    /// All that is kept.
    pub fn sum(&self) -> Outcomes {
        self.kept.iter().fold(Outcomes::default(), |sum, (_, outcomes)| sum.plus(outcomes))
    }
}

fn step(now: Duration) -> u64 {
    u64::try_from(now.as_millis() / STEP_MS).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn good(count: u64) -> Outcomes {
        Outcomes { good: count, ..Outcomes::default() }
    }

    #[test]
    fn a_window_forgets_what_is_older_than_it_is_long() {
        let mut window = Window::default();
        for ms in [0, 250, 500, 750] {
            window.add(Duration::from_millis(ms), SECOND, &good(1));
        }
        assert_eq!(window.sum(), good(4));
        window.add(Duration::from_millis(1_000), SECOND, &good(1));
        assert_eq!(window.sum(), good(4));
        window.add(Duration::from_secs(9), SECOND, &Outcomes::default());
        assert_eq!(window.sum(), good(0));
    }

    #[test]
    fn stretches_grow_from_now_into_the_past() {
        let mut window = Window::default();
        window.add(Duration::from_secs(1), SECOND * 10, &good(3));
        window.add(Duration::from_secs(2), SECOND * 10, &good(4));
        let now = Duration::from_millis(2_200);
        let seen: Vec<_> = window
            .stretches(now)
            .map(|stretch| (stretch.length.as_millis(), stretch.outcomes.good, stretch.is_whole))
            .collect();
        assert_eq!(seen, [(250, 4, false), (1_250, 7, true)]);
    }

    #[test]
    fn the_middle_answer_says_in_which_bucket_a_backend_is() {
        let bounds: Vec<u64> = (1..14).map(|n| n * 10).collect();
        let mut outcomes = Outcomes::default();
        assert_eq!(outcomes.median(&bounds), None);
        outcomes.latency[0] = 5;
        assert_eq!(outcomes.median(&bounds), Some((0, 10)));
        outcomes.latency[13] = 6;
        assert_eq!(outcomes.median(&bounds), Some((130, u64::MAX)));
    }

    #[test]
    fn a_count_that_has_become_smaller_is_none() {
        assert_eq!(good(2).since(&good(5)), Outcomes::default());
    }
}
