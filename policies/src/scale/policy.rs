//! What the configuration says about the size of a pool: `[scalers.NAME]`.
//!
//! Plain values; whoever reads the configuration has checked them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::window::Window;

/// The rules for one elastic pool.
#[derive(Debug, Clone, PartialEq)]
pub struct ScalingPolicy {
    /// Never fewer.
    pub floor: u32,
    /// Never more; at least 1.
    pub ceiling: u32,
    /// Never cut by the budget, while anything is needed at all.
    pub min_spare_instances: u32,
    /// How hard an instance should work.
    pub target: Target,
    /// How fast it grows.
    pub up: Up,
    /// How fast it shrinks.
    pub down: Down,
    /// What it does when it is blind.
    pub on_missing_signal: OnMissing,
    /// Floors and ceilings by the clock.
    pub windows: Vec<Window>,
    /// Capacity that more instances cannot buy.
    pub depends: Vec<Dependency>,
    /// Where each key is written, by its path below the scaler: `target`, `up.max_step`.
    pub places: BTreeMap<&'static str, Arc<str>>,
}

/// How hard an instance should work.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// What is measured.
    pub signal: Signal,
    /// What one instance should carry, in the unit of the signal; above 0.
    pub per_instance: f64,
    /// Demand is the mean of this long; at least a second.
    pub window: Duration,
    /// A short window that only ever grows the pool.
    pub burst: Option<Burst>,
    /// On top, as a share: 0.1 is a tenth more.
    pub spare: f64,
}

/// What demand is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Requests at once.
    Concurrency,
    /// Requests per second.
    Requests,
}

/// A short window that only ever grows the pool.
#[derive(Debug, Clone, PartialEq)]
pub struct Burst {
    /// Demand is the mean of this long, or the last second if that is more.
    pub window: Duration,
    /// Counts from this many times what the serving instances should carry.
    pub when_above: f64,
}

/// How fast the pool grows.
#[derive(Debug, Clone, PartialEq)]
pub struct Up {
    /// At most this much at once, unless requests wait or are refused.
    pub max_step: Step,
    /// ... but never less than this.
    pub min_step: u32,
    /// Between two steps up.
    pub cooldown: Duration,
}

/// How fast the pool shrinks.
#[derive(Debug, Clone, PartialEq)]
pub struct Down {
    /// The highest need of this long rules.
    pub stable_for: Duration,
    /// At most this much at once, and at least 1.
    pub max_step: Step,
    /// Between two steps down, and after one up.
    pub cooldown: Duration,
    /// What keeps it from shrinking.
    pub freeze_if: Vec<Freeze>,
}

/// A number of instances, or a share of those there are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Step {
    /// So many.
    Count(u32),
    /// This share: 1 is all of them again.
    Share(f64),
}

/// What keeps a pool from shrinking.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Freeze {
    /// Traffic has vanished because something is broken.
    OutageSuspected,
    /// More than this share of answers are errors.
    ErrorRate(f64),
    /// Instances are under way.
    BootInProgress,
    /// Nobody counts.
    SignalMissing,
}

/// What to do when it is blind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OnMissing {
    /// Without a measurement for this long.
    pub after: Duration,
    /// What then.
    pub then: WhenBlind,
}

/// What to do when it is blind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenBlind {
    /// Nothing changes.
    Hold,
    /// At least this many.
    Instances(u32),
}

/// Something that all instances share and that does not grow with them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// As in `[scalers.*.depends]`.
    pub name: Arc<str>,
    /// What it has.
    pub connections: u32,
    /// What one instance takes; 0 takes nothing.
    pub per_instance: u32,
    /// Where it is written.
    pub place: Arc<str>,
}

impl Dependency {
    /// How many instances it can bear.
    pub fn instances(&self) -> u32 {
        self.connections.checked_div(self.per_instance).unwrap_or(u32::MAX)
    }
}

impl Step {
    /// Of a pool of `current`, rounded up.
    pub fn of(self, current: u32) -> u32 {
        match self {
            Step::Count(count) => count,
            Step::Share(share) => super::to_count((share * f64::from(current)).ceil()),
        }
    }
}

impl ScalingPolicy {
    /// Where a key is written: `tidegate.toml:12`, or its path if it was left out.
    pub fn place(&self, key: &'static str) -> Arc<str> {
        let written = self.places.get(key);
        written.map_or_else(|| Arc::from(format!("{key} (default)")), Arc::clone)
    }
}

impl Default for ScalingPolicy {
    /// The shipped defaults, with a `ceiling` and a `target.per_instance` of 1, which have none.
    fn default() -> ScalingPolicy {
        ScalingPolicy {
            floor: 0,
            ceiling: 1,
            min_spare_instances: 0,
            target: Target {
                signal: Signal::Concurrency,
                per_instance: 1.0,
                window: Duration::from_secs(60),
                burst: Some(Burst { window: Duration::from_secs(6), when_above: 1.6 }),
                spare: 0.1,
            },
            up: Up { max_step: Step::Share(1.0), min_step: 2, cooldown: Duration::ZERO },
            down: Down {
                stable_for: Duration::from_secs(600),
                max_step: Step::Share(0.2),
                cooldown: Duration::from_secs(120),
                freeze_if: vec![
                    Freeze::OutageSuspected,
                    Freeze::ErrorRate(0.05),
                    Freeze::BootInProgress,
                    Freeze::SignalMissing,
                ],
            },
            on_missing_signal: OnMissing { after: Duration::from_secs(15), then: WhenBlind::Hold },
            windows: Vec::new(),
            depends: Vec::new(),
            places: BTreeMap::new(),
        }
    }
}
