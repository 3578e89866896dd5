//! What was asked for lately: all that a decision remembers of the ones before.

use std::collections::VecDeque;
use std::time::Duration;

use super::policy::{ScalingPolicy, WhenBlind};
use super::{Now, Sight};

/// Samples kept at most: an hour, the longest window, of the shortest tick, 50 ms.
const MOST_SAMPLES: usize = 72_000;

/// Demand of one turn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// In the unit of the signal, beyond what the tiers before carry.
    pub demand: f64,
    /// Requests wait for a place or were refused one.
    pub is_short: bool,
}

/// What the next decision needs to know of those before.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Memory {
    samples: VecDeque<(Duration, Sample)>,
    /// Needs that may be the highest of `down.stable_for`: falling, the first is the highest.
    needs: VecDeque<(Duration, u32)>,
    /// Needs are known without gap since then.
    since: Option<Duration>,
    /// The last sample came then.
    seen: Option<Duration>,
    /// The burst window asks until then.
    burst_until: Option<Duration>,
    pub(super) last_up: Option<Duration>,
    pub(super) last_down: Option<Duration>,
}

impl Memory {
    /// After a restart: what the journal says about the last steps, as time since then.
    ///
    /// What was needed before is not known any more, so nothing shrinks for `down.stable_for`.
    pub fn restored(now: Now, up: Option<Duration>, down: Option<Duration>) -> Memory {
        let before = |age: Duration| now.steady.checked_sub(age);
        Memory {
            last_up: up.and_then(before),
            last_down: down.and_then(before),
            ..Memory::default()
        }
    }

    pub(super) fn observe(&mut self, policy: &ScalingPolicy, sight: &Sight) {
        let now = sight.now.steady;
        if let Some(sample) = sight.sample.filter(|sample| sample.demand.is_finite()) {
            self.samples.push_back((now, sample));
            self.seen = Some(now);
        }
        self.seen.get_or_insert(now);
        let burst = policy.target.burst.as_ref().map_or(Duration::ZERO, |burst| burst.window);
        let keep = policy.target.window.max(burst);
        while self.samples.front().is_some_and(|(at, _)| now.saturating_sub(*at) >= keep)
            || self.samples.len() > MOST_SAMPLES
        {
            self.samples.pop_front();
        }
    }

    /// Mean demand of `target.window`, or of as much of it as was seen.
    pub(super) fn mean_demand(&self, policy: &ScalingPolicy, now: Now) -> Option<f64> {
        self.mean_of(policy.target.window, now)
    }

    fn mean_of(&self, window: Duration, now: Now) -> Option<f64> {
        let is_recent = |at: Duration| now.steady.saturating_sub(at) < window;
        let recent = self.samples.iter().filter(|(at, _)| is_recent(*at));
        mean(recent.map(|(_, sample)| sample.demand))
    }

    /// Demand that the burst window asks for, if it asks.
    ///
    /// Once it has begun it goes on for `target.window`: until the long window knows as much. Else it
    /// would stop half-way, as soon as what has been launched is no longer *so much* too little.
    pub(super) fn burst(&mut self, policy: &ScalingPolicy, sight: &Sight) -> Option<f64> {
        let burst = policy.target.burst.as_ref()?;
        let latest = sight.sample?;
        let now = sight.now.steady;
        let carried = f64::from(sight.ready) * policy.target.per_instance;
        if latest.is_short || latest.demand > burst.when_above * carried {
            self.burst_until = Some(now.saturating_add(policy.target.window));
        }
        self.burst_until.filter(|until| now < *until)?;
        let mean = self.mean_of(burst.window, sight.now).unwrap_or(latest.demand);
        let short = mean.max(latest.demand);
        (short > 0.0).then_some(short)
    }

    /// For how long nobody has counted.
    pub(super) fn blind_for(&self, now: Now) -> Duration {
        self.seen.map_or(Duration::ZERO, |seen| now.steady.saturating_sub(seen))
    }

    pub(super) fn is_blind(&self, policy: &ScalingPolicy, now: Now) -> bool {
        self.blind_for(now) > policy.on_missing_signal.after
    }

    pub(super) fn when_blind(&self, policy: &ScalingPolicy, now: Now) -> Option<u32> {
        match policy.on_missing_signal.then {
            WhenBlind::Instances(instances) if self.is_blind(policy, now) => Some(instances),
            _ => None,
        }
    }

    /// A blind second tells nothing about the need, and what is known must be known again.
    pub(super) fn note_need(
        &mut self,
        policy: &ScalingPolicy,
        now: Now,
        need: u32,
        is_pinned: bool,
    ) {
        if self.is_blind(policy, now) && !is_pinned {
            self.since = None;
            return;
        }
        self.since.get_or_insert(now.steady);
        while self.needs.back().is_some_and(|(_, other)| *other <= need) {
            self.needs.pop_back();
        }
        self.needs.push_back((now.steady, need));
        let keep = policy.down.stable_for;
        while self.needs.len() > 1
            && self.needs.front().is_some_and(|(at, _)| now.steady.saturating_sub(*at) > keep)
        {
            self.needs.pop_front();
        }
    }

    /// The highest need of `down.stable_for`.
    pub(super) fn lasting_need(&self, need: u32) -> u32 {
        self.needs.front().map_or(need, |(_, highest)| need.max(*highest))
    }

    /// What is missing until `down.stable_for` was seen whole.
    pub(super) fn unseen(&self, policy: &ScalingPolicy, now: Now) -> Option<Duration> {
        let seen = self.since.map_or(Duration::ZERO, |since| now.steady.saturating_sub(since));
        policy.down.stable_for.checked_sub(seen).filter(|left| !left.is_zero())
    }

    /// The last step up came to nothing, so nobody needs to wait after it.
    pub fn retract_up(&mut self) {
        self.last_up = None;
    }

    pub(super) fn note_step(&mut self, sight: &Sight, desired: u32) {
        if desired > sight.current {
            self.last_up = Some(sight.now.steady);
        } else if desired < sight.current {
            self.last_down = Some(sight.now.steady);
        }
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (count, sum) = values.fold((0u32, 0.0), |(count, sum), value| (count + 1, sum + value));
    (count > 0).then(|| sum / f64::from(count))
}
