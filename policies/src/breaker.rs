//! Should a backend get no requests at all for a while?
//!
//! Other than an ejection ([`crate::outlier`]) a breaker looks at one backend alone, and lets
//! whoever is behind it come to rest even if it is the last of its pool. It is for backends that
//! are better left alone than asked in vain, and is there only where it is configured.
//!
//! ```text
//!            too many failures, or slow answers              its time is over
//!  Closed ─────────────────────────────────────► Open ───────────────────────► HalfOpen
//!    ▲                                            ▲  too few of the probes went well │ │
//!    │                                            └──────────────────────────────────┘ │
//!    └─────────────────────────────────────────────────────────────────────────────────┘
//!                              enough of them went well
//! ```
//!
//! An operator can hold it open or closed, whatever is counted.

use std::time::Duration;

use crate::outcomes::{Outcomes, Window};

/// `[pools.*.breaker]`
#[derive(Debug, Clone, PartialEq)]
pub struct BreakerPolicy {
    /// Share of failures in percent from which it opens; `None` is not looked at.
    pub failure_rate: Option<f64>,
    /// Share of slow answers, likewise. An attempt that ran into a limit in time is slow too.
    pub slow_rate: Option<f64>,
    /// What is slow: an answer whose head took longer than so many microseconds. Whoever counts
    /// knows ([`Outcomes::slow`]).
    pub slower_than_us: u64,
    /// Within this time.
    pub over: Duration,
    /// Fewer requests say nothing.
    pub min_requests: u64,
    /// How long it stays open.
    pub open_for: Duration,
    /// Requests that are let through when it is half open, at least 1.
    pub probes: u32,
    /// Of these, those that have to go well, from 1 to `probes`.
    pub close_after: u32,
}

/// What it lets through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Phase {
    /// Everything.
    #[default]
    Closed,
    /// Nothing.
    Open,
    /// So many requests as there are probes.
    HalfOpen,
}

impl Phase {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Phase::Closed => "closed",
            Phase::Open => "open",
            Phase::HalfOpen => "half_open",
        }
    }
}

/// Why it opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// So many failures of so many requests.
    FailureRate(u64, u64),
    /// So many slow ones of so many.
    SlowRate(u64, u64),
    /// So many probes of so many went wrong.
    Probes(u64, u64),
}

impl Trigger {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Trigger::FailureRate(..) => "failure_rate",
            Trigger::SlowRate(..) => "slow_rate",
            Trigger::Probes(..) => "probes",
        }
    }
}

/// What a look has led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It lets nothing through from now on.
    Opened(Trigger),
    /// It lets so many requests through.
    HalfOpened(u32),
    /// It lets everything through.
    Closed,
}

/// One backend's. At first it is closed.
#[derive(Debug, Clone, Default)]
pub struct Breaker {
    window: Window,
    state: State,
    held: Option<Phase>,
}

#[derive(Debug, Clone, Copy, Default)]
enum State {
    #[default]
    Closed,
    Open {
        until: Duration,
    },
    HalfOpen {
        good: u64,
        bad: u64,
    },
}

impl Breaker {
    /// What it lets through now.
    pub fn phase(&self) -> Phase {
        self.held.unwrap_or(match self.state {
            State::Closed => Phase::Closed,
            State::Open { .. } => Phase::Open,
            State::HalfOpen { .. } => Phase::HalfOpen,
        })
    }

    /// Whether an operator holds it as it is.
    pub fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// An operator holds it open or closed, or, with `None`, lets it go: then it is closed and
    /// begins anew.
    pub fn hold(&mut self, held: Option<Phase>) {
        *self = Breaker { held, ..Breaker::default() };
    }

    /// Probes that have not come to anything yet.
    pub fn probes_missing(&self, policy: &BreakerPolicy) -> u32 {
        let State::HalfOpen { good, bad } = self.state else { return 0 };
        policy.probes.saturating_sub(u32::try_from(good + bad).unwrap_or(u32::MAX))
    }

    /// Takes in what has happened since the last time, and draws the conclusion. Without a policy
    /// it is closed.
    pub fn look(
        &mut self,
        policy: Option<&BreakerPolicy>,
        now: Duration,
        fresh: &Outcomes,
    ) -> Option<Step> {
        if self.held.is_some() {
            return None;
        }
        let Some(policy) = policy else {
            let was_open = self.phase() != Phase::Closed;
            *self = Breaker::default();
            return was_open.then_some(Step::Closed);
        };
        let step = match &mut self.state {
            State::Closed => {
                self.window.add(now, policy.over, fresh);
                Step::Opened(judge(policy, &self.window.sum())?)
            }
            State::Open { until } if now < *until => return None,
            State::Open { .. } => Step::HalfOpened(policy.probes.max(1)),
            State::HalfOpen { good, bad } => {
                let wrong = wrong(policy, fresh);
                *bad += wrong;
                *good += fresh.all().saturating_sub(wrong);
                after_probes(policy, *good, *bad)?
            }
        };
        self.window.clear();
        self.state = match step {
            Step::Opened(_) => State::Open { until: now + policy.open_for },
            Step::HalfOpened(_) => State::HalfOpen { good: 0, bad: 0 },
            Step::Closed => State::Closed,
        };
        Some(step)
    }
}

fn judge(policy: &BreakerPolicy, sum: &Outcomes) -> Option<Trigger> {
    let all = sum.all();
    if all < policy.min_requests.max(1) {
        return None;
    }
    if policy.failure_rate.is_some_and(|rate| is_share(sum.failed(), all, rate)) {
        return Some(Trigger::FailureRate(sum.failed(), all));
    }
    let slow = slow(sum);
    let is_slow = policy.slow_rate.is_some_and(|rate| is_share(slow, all, rate));
    is_slow.then_some(Trigger::SlowRate(slow, all))
}

fn after_probes(policy: &BreakerPolicy, good: u64, bad: u64) -> Option<Step> {
    let probes = u64::from(policy.probes.max(1));
    let needed = u64::from(policy.close_after).clamp(1, probes);
    if bad > probes - needed {
        Some(Step::Opened(Trigger::Probes(bad, good + bad)))
    } else {
        (good >= needed).then_some(Step::Closed)
    }
}

/// Probes that went wrong: failed, or slow where slowness is looked at. One that is both counts
/// once, as far as sums can tell.
fn wrong(policy: &BreakerPolicy, fresh: &Outcomes) -> u64 {
    let slow = if policy.slow_rate.is_some() { slow(fresh) } else { 0 };
    fresh.failed().max(slow)
}

fn slow(outcomes: &Outcomes) -> u64 {
    outcomes.slow + outcomes.timeouts
}

#[allow(clippy::cast_precision_loss)] // counts of a few seconds
fn is_share(part: u64, all: u64, percent: f64) -> bool {
    part > 0 && part as f64 * 100.0 >= percent * all as f64
}

#[cfg(test)]
mod tests;
