//! Is this backend worse than it may be, judged by its answers?
//!
//! One [`Outlier`] per backend watches what its requests come to and says when it should leave
//! the rotation for a while: too many failures in a row, too large a share of failures, or
//! answers many times slower than those of the rest of its pool. Whether it may leave is a
//! question about its pool ([`may_eject`]): others have to remain.
//!
//! ```text
//!          suspect, and others remain             its time is over and a check has passed
//!   In ─────────────────────────────────► Out ──────────────────────────────────────────► In
//! ```
//!
//! Each ejection that follows soon after another lasts twice as long, up to [`LONGEST`].

use std::time::Duration;

use crate::outcomes::{Outcomes, Window};

/// Longest ejection, unless the first is longer.
pub const LONGEST: Duration = Duration::from_secs(300);

/// First ejection of a backend that is not there: time for a restart.
const GONE_FOR: Duration = Duration::from_secs(1);

/// A shorter stretch says too little: one bad moment of a machine is not a bad machine.
const SHORTEST: Duration = Duration::from_millis(500);

/// `[pools.*.outlier]`. What is `None` is not looked at; the default looks at nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OutlierPolicy {
    /// Failures in a row.
    pub consecutive: Option<u64>,
    /// Share of failures.
    pub error_rate: Option<ErrorRate>,
    /// Slowness compared with the pool.
    pub latency: Option<Latency>,
    /// First ejection.
    pub eject_for: Duration,
    /// Share of a pool's serving members that may be out at once, in percent. 0 is none.
    pub max_ejected: f64,
}

/// Too many failures among all requests.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ErrorRate {
    /// In percent; this much is too much.
    pub above: f64,
    /// The longest time that is looked back.
    pub over: Duration,
    /// Fewer requests say nothing.
    pub min_requests: u64,
}

/// Too slow.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Latency {
    /// The middle answer takes so many times as long as that of the pool.
    pub times: f64,
    /// And at least so long.
    pub at_least: Duration,
    /// Fewer answers say nothing.
    pub min_requests: u64,
}

/// Why a backend should leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// So many failures in a row.
    Consecutive {
        /// How many.
        failures: u64,
        /// Of these, those because nobody was there.
        gone: u64,
    },
    /// Too large a share of failures.
    ErrorRate {
        /// So many.
        failures: u64,
        /// Of so many requests.
        of: u64,
        /// Of the failures, those because nobody was there.
        gone: u64,
    },
    /// Slower than its pool.
    Slow {
        /// Its middle answer takes at least so long.
        middle_us: u64,
        /// Those of the pool take at most so long.
        pool_us: u64,
    },
}

impl Cause {
    /// Whether nobody was there, each time.
    fn is_gone(&self) -> bool {
        match *self {
            Cause::Consecutive { failures, gone } | Cause::ErrorRate { failures, gone, .. } => {
                gone >= failures
            }
            Cause::Slow { .. } => false,
        }
    }

    /// The value of the label `reason`.
    pub fn word(&self) -> &'static str {
        match self {
            Cause::Consecutive { .. } => "consecutive_failures",
            Cause::ErrorRate { .. } => "error_rate",
            Cause::Slow { .. } => "slow",
        }
    }
}

/// One backend, watched. At first nothing is known of it.
#[derive(Debug, Clone, Default)]
pub struct Outlier {
    window: Window,
    /// Failures up to now without a good answer between them.
    run: u64,
    /// Of these, those because nobody was there.
    run_gone: u64,
    out_until: Option<Duration>,
    /// Ejections that still count.
    repeats: u32,
    returned: Duration,
}

impl Outlier {
    /// Takes in what has happened since the last time. In which order is not known: failures are
    /// in a row from the first time on that brings nothing else, which errs for the backend.
    pub fn observe(&mut self, policy: &OutlierPolicy, now: Duration, fresh: &Outcomes) {
        self.window.add(now, look_back(policy), fresh);
        if fresh.good > 0 {
            (self.run, self.run_gone) = (0, 0);
        } else {
            self.run = self.run.saturating_add(fresh.failed());
            self.run_gone = self.run_gone.saturating_add(fresh.gone);
        }
    }

    /// The middle answer of the window, as [`Outcomes::median`], if there are enough.
    pub fn median(&self, policy: &OutlierPolicy, bounds: &[u64]) -> Option<(u64, u64)> {
        let latency = policy.latency?;
        let sum = self.window.sum();
        (answers(&sum) >= latency.min_requests).then(|| sum.median(bounds))?
    }

    /// Whether it should leave, and why. `pool_us` is how long the middle answer of the pool
    /// takes at most, if that is known.
    pub fn suspect(
        &self,
        policy: &OutlierPolicy,
        now: Duration,
        pool_us: Option<u64>,
        bounds: &[u64],
    ) -> Option<Cause> {
        if self.out_until.is_some() {
            return None;
        }
        if policy.consecutive.is_some_and(|limit| self.run >= limit) {
            return Some(Cause::Consecutive { failures: self.run, gone: self.run_gone });
        }
        self.by_rate(policy, now).or_else(|| self.by_latency(policy, now, pool_us?, bounds))
    }

    /// Takes it out; for how long. One that was not there may be there again in a moment, which its
    /// checks can tell, so it is out shortly at first.
    pub fn eject(&mut self, policy: &OutlierPolicy, now: Duration, cause: Cause) -> Duration {
        let longest = if cause.is_gone() { GONE_FOR } else { Duration::MAX };
        let first = policy.eject_for.min(longest).max(Duration::from_millis(1));
        // Two such times without a relapse make up for one.
        let well = now.saturating_sub(self.returned).as_millis() / (first.as_millis() * 2);
        self.repeats = self.repeats.saturating_sub(u32::try_from(well).unwrap_or(u32::MAX));
        let length = first.saturating_mul(1_u32.checked_shl(self.repeats).unwrap_or(u32::MAX));
        let length = length.min(LONGEST.max(first));
        self.repeats = (self.repeats + 1).min(31);
        self.out_until = Some(now + length);
        length
    }

    /// Whether it is out.
    pub fn is_out(&self) -> bool {
        self.out_until.is_some()
    }

    /// Whether its time is over: the next check that passes brings it back.
    pub fn is_due(&self, now: Duration) -> bool {
        self.out_until.is_some_and(|until| now >= until)
    }

    /// It is back, and nothing is held against it but the ejection.
    pub fn readmit(&mut self, now: Duration) {
        self.out_until = None;
        self.returned = now;
        self.forget();
    }

    /// What it has done so far says nothing about what it is now.
    pub fn forget(&mut self) {
        (self.run, self.run_gone) = (0, 0);
        self.window.clear();
    }

    /// The whole window if it has enough requests, or any newer part of it that has twice as many:
    /// what has just begun must not have to outweigh a good past.
    fn by_rate(&self, policy: &OutlierPolicy, now: Duration) -> Option<Cause> {
        let ErrorRate { above, min_requests, .. } = policy.error_rate?;
        let mut stretches = self.window.stretches(now);
        let found = stretches.find(|stretch| {
            let all = stretch.outcomes.all();
            is_enough(stretch.length, stretch.is_whole, all, min_requests)
                && is_share(stretch.outcomes.failed(), all, above)
        })?;
        let Outcomes { gone, .. } = found.outcomes;
        let (failures, of) = (found.outcomes.failed(), found.outcomes.all());
        Some(Cause::ErrorRate { failures, of, gone })
    }

    fn by_latency(
        &self,
        policy: &OutlierPolicy,
        now: Duration,
        pool_us: u64,
        bounds: &[u64],
    ) -> Option<Cause> {
        let Latency { times, at_least, min_requests } = policy.latency?;
        #[allow(clippy::cast_precision_loss)] // microseconds of a bucket's bound
        let limit = (pool_us as f64 * times).max(at_least.as_micros() as f64);
        let slow = |stretch: crate::outcomes::Stretch| {
            let enough = answers(&stretch.outcomes);
            let (low, _) = stretch.outcomes.median(bounds)?;
            #[allow(clippy::cast_precision_loss)]
            let is_slow = is_enough(stretch.length, stretch.is_whole, enough, min_requests)
                && low as f64 >= limit;
            is_slow.then_some(Cause::Slow { middle_us: low, pool_us })
        };
        self.window.stretches(now).find_map(slow)
    }
}

/// Whether one more member of a pool may be out: so many serve, of these so many are ejected
/// already, and so many take requests. At least one may go, but never the last that takes any.
pub fn may_eject(policy: &OutlierPolicy, serving: usize, ejected: usize, eligible: usize) -> bool {
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let most = (serving as f64 * policy.max_ejected / 100.0).floor() as usize;
    policy.max_ejected > 0.0 && ejected < most.max(1) && eligible > 1
}

/// How long the middle answer of a pool takes at most: of the members that are known, the middle
/// one, or of two the faster.
pub fn pool_median(upper_bounds: &mut [u64]) -> Option<u64> {
    upper_bounds.sort_unstable();
    let middle = upper_bounds.len().checked_sub(1)? / 2;
    upper_bounds.get(middle).copied()
}

fn look_back(policy: &OutlierPolicy) -> Duration {
    policy.error_rate.map_or(Duration::from_secs(10), |rate| rate.over)
}

fn is_enough(length: Duration, is_whole: bool, requests: u64, least: u64) -> bool {
    let least = if is_whole { least } else { least.saturating_mul(2) };
    requests >= least.max(1) && (length >= SHORTEST || is_whole)
}

#[allow(clippy::cast_precision_loss)] // counts of a few seconds
fn is_share(part: u64, all: u64, percent: f64) -> bool {
    part > 0 && part as f64 * 100.0 >= percent * all as f64
}

fn answers(outcomes: &Outcomes) -> u64 {
    outcomes.latency.iter().sum()
}

#[cfg(test)]
mod tests;
