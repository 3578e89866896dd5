//! How many instances an elastic pool should have.
//!
//! Once a second, for each pool, in whole instances:
//!
//! ```text
//! need    = the highest of what the askers ask for; a pin replaces them all
//! limit   = the lowest of what the limits allow
//! protect = what no budget may cut
//! desired = max(min(need, limit), min(protect, ceiling))
//! out at once; in only to the highest need of the last `down.stable_for`
//! ```
//!
//! Only max and min combine terms, so the order of rules cannot change the outcome. Every term
//! stays in the [`Decision`] with its number and the place in the configuration it came from, and
//! so does whatever kept the pool as it is: a hold has reasons too.
//!
//! | file         | what                                                      |
//! |--------------|-----------------------------------------------------------|
//! | `policy.rs`  | what the configuration says                               |
//! | `demand.rs`  | requests per second → concurrency, also when saturated    |
//! | `history.rs` | what was asked for lately                                 |
//! | `pace.rs`    | how fast: steps, pauses, freezes                          |
//! | `term.rs`    | the numbers and reasons of a decision, and their words    |
//! | `window.rs`  | floors and ceilings by the clock                          |
//!
//! Everything here is a pure function of its arguments: the time of the day for windows and
//! expiry, the steady time for pauses, so that a clock that is set does not move a pause.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

pub mod demand;
mod history;
mod pace;
pub mod policy;
mod term;
pub mod window;

pub use history::{Memory, Sample};
pub use policy::ScalingPolicy;
pub use term::{Asker, Concern, Hold, Limit, Term};

/// The two times that a turn has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Of the day; may jump.
    pub wall: Timestamp,
    /// Since some moment in the past; never goes back.
    pub steady: Duration,
}

/// What is known about a pool when its size is decided.
#[derive(Debug, Clone, PartialEq)]
pub struct Sight {
    /// When.
    pub now: Now,
    /// Demand of the last second beyond what the tiers before carry; `None` if nobody counted.
    pub sample: Option<Sample>,
    /// Instances that serve or are under way, without those that drain: what `desired` replaces.
    pub current: u32,
    /// Of those, serving and healthy.
    pub ready: u32,
    /// Of those, under way: supply, never demand.
    pub booting: u32,
    /// From launch to full weight, for floors that must serve when their window opens.
    pub lead: Duration,
    /// What the provider allows.
    pub quota: Option<u32>,
    /// What the budget allows.
    pub budget: Option<u32>,
    /// Needed by requests of priority `critical`.
    pub critical: u32,
    /// Share of answers that were errors, 0 to 1.
    pub error_rate: f64,
    /// Traffic has vanished because something is broken.
    pub is_outage_suspected: bool,
    /// An operator's order.
    pub order: Option<Standing>,
}

/// An operator's order, while it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// What.
    pub order: Override,
    /// It lapses by itself.
    pub until: Timestamp,
    /// In the operator's words.
    pub why: Arc<str>,
    /// Whose it is: `uid 0, pid 4711`.
    pub actor: Arc<str>,
}

/// What an operator wants instead of what the rules say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Override {
    /// This many, within the ceiling and what is protected.
    Pin(u32),
    /// No change of size at all.
    Pause,
}

impl fmt::Display for Override {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Override::Pin(instances) => write!(f, "pin {instances}"),
            Override::Pause => f.write_str("pause"),
        }
    }
}

/// How many, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// Instances the pool should have.
    pub desired: u32,
    /// Instances it had, as in the sight.
    pub current: u32,
    /// The highest that was asked for.
    pub need: u32,
    /// What may live at most, whatever is asked for: all limits but the pace.
    pub limit: u32,
    /// What it came from.
    pub terms: Vec<Term>,
    /// What kept it from following the need; none if it follows.
    pub holds: Vec<Hold>,
    /// What somebody should look at.
    pub concerns: Vec<Concern>,
}

/// Decides, and remembers what the next decision needs to know of this one.
///
/// Exact for steady load. Under a ramp the pool lags by the length of `target.window` until the
/// burst window takes over, which is when the load of the last second exceeds
/// `burst.when_above` times what the serving instances should carry, or when requests wait.
pub fn decide(policy: &ScalingPolicy, memory: &mut Memory, sight: &Sight) -> Decision {
    memory.observe(policy, sight);
    let mut terms = ask(policy, memory, sight);
    let (need, is_pinned) = match pin(sight) {
        Some((instances, term)) => {
            terms.push(term);
            (instances, true)
        }
        None => (terms.iter().filter_map(Term::asked).max().unwrap_or(0), false),
    };
    memory.note_need(policy, sight.now, need, is_pinned);

    let hard = limits(policy, sight, &mut terms);
    let limit = hard.iter().copied().min().unwrap_or(u32::MAX);
    let ceiling = ceiling(policy, sight).0;
    let protect = protect(policy, sight, need, &mut terms);
    let bound = |need: u32| need.min(limit).max(protect.min(ceiling));

    let pace =
        pace::Wish { now: bound(need), lasting: bound(memory.lasting_need(need)), is_pinned };
    let (desired, holds) = pace::walk(policy, memory, sight, pace, &mut terms);
    memory.note_step(sight, desired);
    let concerns = concerns(policy, sight, need, limit);
    debug_assert!(desired <= ceiling.max(sight.current), "never grows beyond the ceiling");
    Decision {
        desired,
        current: sight.current,
        need,
        limit: bound(u32::MAX),
        terms,
        holds,
        concerns,
    }
}

/// Instances for this much demand, with the spare ones: `ceil(ceil(x) × (1 + spare))`.
pub fn instances_for(policy: &ScalingPolicy, demand: f64) -> u32 {
    let bare = (demand / policy.target.per_instance).max(0.0).ceil();
    // Rounded to a millionth first: 0.1 × 10 is a little more than 1 in binary.
    let with_spare = (bare * (1.0 + policy.target.spare) * 1e6).round() / 1e6;
    to_count(with_spare.ceil())
}

/// Everybody who asks for instances.
fn ask(policy: &ScalingPolicy, memory: &mut Memory, sight: &Sight) -> Vec<Term> {
    let mut terms = Vec::new();
    let mut asked = |asker: Asker, value: u32, detail: f64, key: &'static str| {
        terms.push(Term::ask(asker, value, detail, policy.place(key)));
    };
    if let Some(mean) = memory.mean_demand(policy, sight.now) {
        asked(Asker::Target, instances_for(policy, mean), mean, "target");
    }
    if let Some(burst) = memory.burst(policy, sight) {
        asked(Asker::Burst, instances_for(policy, burst), burst, "target.burst");
    }
    if policy.floor > 0 {
        asked(Asker::Floor, policy.floor, f64::from(policy.floor), "floor");
    }
    if let Some(instances) = memory.when_blind(policy, sight.now) {
        asked(Asker::WhenBlind, instances, f64::from(instances), "on_missing_signal");
    }
    for window in &policy.windows {
        let Some(floor) = window.floor else { continue };
        if window.is_open(sight.now.wall, window.lead.unwrap_or(sight.lead)) {
            let name = Asker::Window(Arc::clone(&window.name));
            terms.push(Term::ask(name, floor, f64::from(floor), Arc::clone(&window.place)));
        }
    }
    terms
}

fn pin(sight: &Sight) -> Option<(u32, Term)> {
    let standing = sight.order.as_ref().filter(|order| order.until > sight.now.wall)?;
    let Override::Pin(instances) = standing.order else { return None };
    let Standing { until, why, actor, .. } = standing;
    let place = Arc::from(format!("until {until}, by {actor}: {why}"));
    Some((instances, Term::ask(Asker::Pin, instances, f64::from(instances), place)))
}

/// Everything that limits but the pace.
fn limits(policy: &ScalingPolicy, sight: &Sight, terms: &mut Vec<Term>) -> Vec<u32> {
    let (ceiling, place) = ceiling(policy, sight);
    let mut limits = vec![ceiling];
    terms.push(Term::limit(Limit::Ceiling, ceiling, place));
    let mut limited = |limit: Limit, value: Option<u32>, place: Arc<str>| {
        if let Some(value) = value {
            limits.push(value);
            terms.push(Term::limit(limit, value, place));
        }
    };
    limited(Limit::Quota, sight.quota, Arc::from("the provider"));
    limited(Limit::Budget, sight.budget, Arc::from("budgets"));
    for dependency in &policy.depends {
        let limit = Limit::Depends(Arc::clone(&dependency.name));
        limited(limit, Some(dependency.instances()), Arc::clone(&dependency.place));
    }
    limits
}

/// The lowest ceiling that holds now, and where it is written.
fn ceiling(policy: &ScalingPolicy, sight: &Sight) -> (u32, Arc<str>) {
    let open = policy.windows.iter().filter_map(|window| {
        let is_open = window.is_open(sight.now.wall, Duration::ZERO);
        window.ceiling.filter(|_| is_open).map(|ceiling| (ceiling, Arc::clone(&window.place)))
    });
    let all = open.chain([(policy.ceiling, policy.place("ceiling"))]);
    all.min_by(|a, b| a.0.cmp(&b.0)).unwrap_or((policy.ceiling, policy.place("ceiling")))
}

fn protect(policy: &ScalingPolicy, sight: &Sight, need: u32, terms: &mut Vec<Term>) -> u32 {
    let spare = if need > 0 { policy.min_spare_instances } else { 0 };
    let protect = spare.saturating_add(sight.critical);
    if protect > 0 {
        terms.push(Term::protect(protect, policy.place("min_spare_instances")));
    }
    protect
}

fn concerns(policy: &ScalingPolicy, sight: &Sight, need: u32, limit: u32) -> Vec<Concern> {
    let ceiling = ceiling(policy, sight).0;
    let lead = |window: &window::Window| window.lead.unwrap_or(sight.lead);
    let open = policy.windows.iter().filter(|w| w.is_open(sight.now.wall, lead(w)));
    let floor = open.filter_map(|window| window.floor).chain([policy.floor]).max().unwrap_or(0);
    let mut concerns = Vec::new();
    if floor > ceiling {
        concerns.push(Concern::FloorAboveCeiling { floor, ceiling });
    }
    if need > limit {
        concerns.push(Concern::Short { need, limit });
    }
    concerns
}

/// Saturates: nobody has more instances than that.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // clamped
fn to_count(value: f64) -> u32 {
    value.clamp(0.0, f64::from(u32::MAX)) as u32
}

#[cfg(test)]
mod tests;
