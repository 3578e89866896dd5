//! How fast a pool follows what is wanted: steps, pauses and freezes.

use std::sync::Arc;
use std::time::Duration;

use super::history::Memory;
use super::policy::{Freeze, ScalingPolicy, Step};
use super::term::{Hold, Limit, Term};
use super::{Override, Sight};

/// What is wanted, within all limits but the pace.
pub(super) struct Wish {
    /// By the need of now.
    pub now: u32,
    /// By the highest need of `down.stable_for`.
    pub lasting: u32,
    /// An operator wants it: nobody waits for `stable_for`, nothing freezes.
    pub is_pinned: bool,
}

/// The size to have next, and what keeps it from being the one that is wanted.
pub(super) fn walk(
    policy: &ScalingPolicy,
    memory: &Memory,
    sight: &Sight,
    wish: Wish,
    terms: &mut Vec<Term>,
) -> (u32, Vec<Hold>) {
    if let Some(hold) = standstill(policy, memory, sight, &wish) {
        return (sight.current, vec![hold]);
    }
    if wish.now > sight.current {
        return grow(policy, memory, sight, wish.now, terms);
    }
    if wish.now < sight.current {
        return shrink(policy, memory, sight, wish, terms);
    }
    (sight.current, Vec::new())
}

/// What keeps the pool from moving in any direction.
fn standstill(policy: &ScalingPolicy, memory: &Memory, sight: &Sight, wish: &Wish) -> Option<Hold> {
    let order = sight.order.as_ref().filter(|order| order.until > sight.now.wall);
    if let Some(order) = order.filter(|order| order.order == Override::Pause) {
        let (why, actor) = (Arc::clone(&order.why), Arc::clone(&order.actor));
        return Some(Hold::Paused { why, actor, until: order.until });
    }
    // Floors hold without anybody counting: they ask by the clock alone, and upwards only.
    let is_blind = memory.is_blind(policy, sight.now) && wish.now <= sight.current;
    let lasting = memory.blind_for(sight.now);
    (is_blind && !wish.is_pinned).then_some(Hold::SignalMissing { lasting })
}

fn grow(
    policy: &ScalingPolicy,
    memory: &Memory,
    sight: &Sight,
    wanted: u32,
    terms: &mut Vec<Term>,
) -> (u32, Vec<Hold>) {
    let current = sight.current;
    // Who waits is not told to wait for the pace.
    if sight.sample.is_some_and(|sample| sample.is_short) {
        return (wanted, Vec::new());
    }
    if let Some(left) = left_of(policy.up.cooldown, memory.last_up, sight) {
        return (current, vec![Hold::Cooldown { left }]);
    }
    let step = policy.up.max_step.of(current).max(policy.up.min_step).max(1);
    let reach = current.saturating_add(step);
    if reach >= wanted {
        return (wanted, Vec::new());
    }
    terms.push(Term::limit(Limit::MaxStep, reach, policy.place("up.max_step")));
    (reach, vec![Hold::MaxStep { rest: wanted - reach }])
}

fn shrink(
    policy: &ScalingPolicy,
    memory: &Memory,
    sight: &Sight,
    wish: Wish,
    terms: &mut Vec<Term>,
) -> (u32, Vec<Hold>) {
    let current = sight.current;
    let target = if wish.is_pinned { wish.now } else { wish.lasting.min(current) };
    let mut holds = Vec::new();
    if !wish.is_pinned {
        holds.extend(frozen(policy, sight));
        if target == current {
            holds.push(Hold::Unstable { need: wish.lasting });
        } else if let Some(left) = memory.unseen(policy, sight.now) {
            holds.push(Hold::TooYoung { left });
        }
        let last = memory.last_down.max(memory.last_up);
        holds
            .extend(left_of(policy.down.cooldown, last, sight).map(|left| Hold::Cooldown { left }));
    }
    if !holds.is_empty() {
        return (current, holds);
    }
    // Rounded down, or a share of a small pool would be more than the share.
    let step = match policy.down.max_step {
        Step::Count(count) => count,
        Step::Share(share) => super::to_count((share * f64::from(current)).floor()),
    };
    let reach = current.saturating_sub(step.max(1));
    if reach <= target {
        return (target, Vec::new());
    }
    terms.push(Term::limit(Limit::MaxStep, reach, policy.place("down.max_step")));
    (reach, vec![Hold::MaxStep { rest: reach - target }])
}

/// The conditions of `down.freeze_if` that hold.
fn frozen(policy: &ScalingPolicy, sight: &Sight) -> Vec<Hold> {
    let holds = |freeze: &Freeze| match *freeze {
        Freeze::OutageSuspected => sight.is_outage_suspected.then_some("outage_suspected"),
        Freeze::ErrorRate(above) => (sight.error_rate > above).then_some("error_rate"),
        Freeze::BootInProgress => (sight.booting > 0).then_some("boot_in_progress"),
        Freeze::SignalMissing => sight.sample.is_none().then_some("signal_missing"),
    };
    policy.down.freeze_if.iter().filter_map(holds).map(|by| Hold::Frozen { by }).collect()
}

/// What is left of a pause that began at `last`.
fn left_of(pause: Duration, last: Option<Duration>, sight: &Sight) -> Option<Duration> {
    let passed = sight.now.steady.saturating_sub(last?);
    pause.checked_sub(passed).filter(|left| !left.is_zero())
}
