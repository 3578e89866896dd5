//! The numbers and reasons of a decision, and how they read.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

/// One number of a decision.
#[derive(Debug, Clone, PartialEq)]
pub struct Term {
    /// What it is.
    pub role: Role,
    /// In instances.
    pub instances: u32,
    /// What it was computed from: demand in the unit of the signal, or the number itself.
    pub from: f64,
    /// Where in the configuration: `tidegate.toml:12`.
    pub place: Arc<str>,
}

/// What a term does in the formula.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// Asks for instances; the highest wins.
    Asks(Asker),
    /// Allows instances; the lowest wins.
    Limits(Limit),
    /// Keeps instances from being cut.
    Protects,
}

/// Who asks for instances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asker {
    /// Demand over `target.window`.
    Target,
    /// Demand over `target.burst.window`, or of the last second.
    Burst,
    /// `floor`.
    Floor,
    /// A window's floor.
    Window(Arc<str>),
    /// `on_missing_signal`.
    WhenBlind,
    /// An operator.
    Pin,
}

/// What allows no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Limit {
    /// `ceiling`, also that of a window.
    Ceiling,
    /// What the provider gives.
    Quota,
    /// Money.
    Budget,
    /// Something all instances share.
    Depends(Arc<str>),
    /// `up.max_step` or `down.max_step`.
    MaxStep,
}

/// Why the pool stays as it is, or moves less than it should.
#[derive(Debug, Clone, PartialEq)]
pub enum Hold {
    /// An operator said so.
    Paused {
        /// In the operator's words.
        why: Arc<str>,
        /// Whose order it is.
        actor: Arc<str>,
        /// Then it ends by itself.
        until: Timestamp,
    },
    /// Nobody counts demand.
    SignalMissing {
        /// For how long.
        lasting: Duration,
    },
    /// A step was taken shortly before.
    Cooldown {
        /// What is left of the pause.
        left: Duration,
    },
    /// The need was higher within `down.stable_for`.
    Unstable {
        /// The highest.
        need: u32,
    },
    /// It has not looked for as long as `down.stable_for` yet.
    TooYoung {
        /// What is missing.
        left: Duration,
    },
    /// A condition of `down.freeze_if`.
    Frozen {
        /// `outage_suspected`, ...
        by: &'static str,
    },
    /// `max_step` allows part of the way now.
    MaxStep {
        /// How many instances are for later.
        rest: u32,
    },
    /// Nobody has said yet what there is.
    NotReconciled,
    /// Nothing can be written down, so nothing leaves.
    JournalDegraded,
    /// What drains still counts, and leaves before others come.
    Crowded {
        /// How many instances are for later.
        rest: u32,
    },
    /// The provider denied a launch lately.
    Blocked {
        /// Until it is tried again.
        left: Duration,
    },
    /// Everything that can be launched has failed lately.
    NoOffer,
    /// As many launches as may be are without an answer.
    Busy {
        /// How many instances are for later.
        rest: u32,
    },
    /// The turn came too late to be believed.
    LateTurn {
        /// Since the one before.
        after: Duration,
    },
}

/// What somebody should look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Concern {
    /// The configuration contradicts itself now.
    FloorAboveCeiling {
        /// The highest floor that holds.
        floor: u32,
        /// The lowest ceiling that holds.
        ceiling: u32,
    },
    /// More is needed than is allowed.
    Short {
        /// Asked for.
        need: u32,
        /// Allowed.
        limit: u32,
    },
}

impl Term {
    pub(super) fn ask(asker: Asker, instances: u32, from: f64, place: Arc<str>) -> Term {
        Term { role: Role::Asks(asker), instances, from, place }
    }

    pub(super) fn limit(limit: Limit, instances: u32, place: Arc<str>) -> Term {
        Term { role: Role::Limits(limit), instances, from: f64::from(instances), place }
    }

    pub(super) fn protect(instances: u32, place: Arc<str>) -> Term {
        Term { role: Role::Protects, instances, from: f64::from(instances), place }
    }

    /// How many it asks for, if it asks and no pin is meant.
    pub(super) fn asked(&self) -> Option<u32> {
        matches!(&self.role, Role::Asks(asker) if *asker != Asker::Pin).then_some(self.instances)
    }

    /// `target`, `window evening`, `ceiling`: for the journal and for people.
    pub fn name(&self) -> String {
        match &self.role {
            Role::Asks(Asker::Target) => "target".into(),
            Role::Asks(Asker::Burst) => "burst".into(),
            Role::Asks(Asker::Floor) => "floor".into(),
            Role::Asks(Asker::Window(name)) => format!("window {name}"),
            Role::Asks(Asker::WhenBlind) => "on_missing_signal".into(),
            Role::Asks(Asker::Pin) => "pin".into(),
            Role::Limits(Limit::Ceiling) => "ceiling".into(),
            Role::Limits(Limit::Quota) => "quota".into(),
            Role::Limits(Limit::Budget) => "budget".into(),
            Role::Limits(Limit::Depends(name)) => format!("depends {name}"),
            Role::Limits(Limit::MaxStep) => "max_step".into(),
            Role::Protects => "protect".into(),
        }
    }

    /// `asks`, `limits` or `protects`.
    pub fn verb(&self) -> &'static str {
        match self.role {
            Role::Asks(_) => "asks",
            Role::Limits(_) => "limits",
            Role::Protects => "protects",
        }
    }
}

impl Hold {
    /// One word, for metrics.
    pub fn word(&self) -> &'static str {
        match self {
            Hold::Paused { .. } => "paused",
            Hold::SignalMissing { .. } => "signal_missing",
            Hold::Cooldown { .. } => "cooldown",
            Hold::Unstable { .. } => "unstable",
            Hold::TooYoung { .. } => "too_young",
            Hold::Frozen { .. } => "frozen",
            Hold::MaxStep { .. } => "max_step",
            Hold::NotReconciled => "not_reconciled",
            Hold::JournalDegraded => "journal_degraded",
            Hold::Crowded { .. } => "crowded",
            Hold::Blocked { .. } => "blocked",
            Hold::NoOffer => "no_offer",
            Hold::Busy { .. } => "busy",
            Hold::LateTurn { .. } => "late_turn",
        }
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Hold::Paused { why, actor, until } => {
                write!(f, "paused until {until}, by {actor}: {why}")
            }
            Hold::SignalMissing { lasting } => {
                write!(f, "nobody has counted demand for {} s", lasting.as_secs())
            }
            Hold::Cooldown { left } => write!(f, "cooldown, {} s left", left.as_secs()),
            Hold::Unstable { need } => write!(f, "{need} were needed within `down.stable_for`"),
            Hold::TooYoung { left } => {
                write!(f, "`down.stable_for` has not been seen whole, {} s left", left.as_secs())
            }
            Hold::Frozen { by } => write!(f, "frozen by `{by}`"),
            Hold::MaxStep { rest } => write!(f, "`max_step`, {rest} more later"),
            Hold::NotReconciled => f.write_str("the provider has not said yet what there is"),
            Hold::JournalDegraded => f.write_str("the journal cannot be written, nothing leaves"),
            Hold::Crowded { rest } => {
                write!(f, "what drains still counts towards the limit, {rest} more later")
            }
            Hold::Blocked { left } => {
                write!(f, "the provider denied a launch, next try in {} s", left.as_secs())
            }
            Hold::NoOffer => f.write_str("everything that can be launched has failed lately"),
            Hold::Busy { rest } => write!(f, "launches wait for an answer, {rest} more later"),
            Hold::LateTurn { after } => {
                write!(f, "the turn came {} s after the one before", after.as_secs())
            }
        }
    }
}

impl fmt::Display for Concern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Concern::FloorAboveCeiling { floor, ceiling } => {
                write!(f, "a floor of {floor} is above the ceiling of {ceiling}; raise the ceiling")
            }
            Concern::Short { need, limit } => {
                write!(f, "{need} are needed and {limit} allowed, {} short", need - limit)
            }
        }
    }
}
