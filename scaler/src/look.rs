//! What the scaler sees in a turn, and what it wants done: plain values, nothing that waits.

use std::sync::Arc;
use std::time::Duration;

use policies::backend::{BackendId, PoolName};
use policies::scale::{Now, Standing};

use crate::overrides::Wish;
use crate::ports::{FleetLook, Instance, LaunchRequest, Order, ProviderError, Token};

/// Everything a decision about one pool may depend on.
#[derive(Debug, Clone, PartialEq)]
pub struct Look {
    /// When.
    pub now: Now,
    /// Number that the decision of this turn gets, if it is written down.
    pub decision: u64,
    /// What the doors see.
    pub fleet: FleetLook,
    /// Results of earlier actions.
    pub facts: Vec<Fact>,
    /// Whether intents can be written down.
    pub journal: JournalState,
    /// What operators have wanted since the turn before, the oldest first.
    pub wishes: Vec<Wish>,
}

/// Whether intents can be written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JournalState {
    /// They survive a crash.
    Durable,
    /// They do not: nothing leaves now, and what is launched is found by its mark.
    Degraded,
}

/// The result of an earlier action.
#[derive(Debug, Clone, PartialEq)]
pub enum Fact {
    /// All instances there were when the question was asked.
    Listed {
        /// When it was asked, in steady time.
        asked: Duration,
        /// The answer.
        result: Result<Vec<Instance>, Failure>,
    },
    /// What became of a launch.
    Launched {
        /// Which.
        token: Token,
        /// The answer.
        result: Result<Vec<Instance>, Failure>,
    },
    /// What became of a termination.
    Terminated {
        /// Which.
        ids: Vec<BackendId>,
        /// The answer.
        result: Result<(), Failure>,
    },
}

/// A provider's error as a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What follows from it.
    pub kind: FailureKind,
    /// Not before this has passed.
    pub retry_after: Option<Duration>,
    /// For people.
    pub text: String,
}

/// What follows from a failure: [`ProviderError`] without its words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)] // the variants are those of `ProviderError`
pub enum FailureKind {
    Unclear,
    Throttled,
    NoCapacity,
    Quota,
    Denied,
    Refused,
    TokenReused,
}

impl FailureKind {
    /// Whether the same request is to be repeated.
    pub fn is_open(self) -> bool {
        matches!(self, FailureKind::Unclear | FailureKind::Throttled)
    }

    /// One word for events, metrics and the journal.
    pub fn word(self) -> &'static str {
        match self {
            FailureKind::Unclear => "unclear",
            FailureKind::Throttled => "throttled",
            FailureKind::NoCapacity => "no_capacity",
            FailureKind::Quota => "quota",
            FailureKind::Denied => "denied",
            FailureKind::Refused => "refused",
            FailureKind::TokenReused => "token_reused",
        }
    }
}

impl From<&ProviderError> for Failure {
    fn from(error: &ProviderError) -> Failure {
        let retry_after = match error {
            ProviderError::Throttled { retry_after, .. } => *retry_after,
            _ => None,
        };
        let kind = error.kind();
        let mut text = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        Failure { kind, retry_after, text }
    }
}

/// One thing to do. None of them is waited for.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// A new launch: its intent is written down first.
    Launch(LaunchRequest),
    /// An open launch again, as it was.
    Repeat(LaunchRequest),
    /// Give these back.
    Terminate {
        /// Which.
        ids: Vec<BackendId>,
        /// Why.
        why: Leaving,
    },
    /// Ask what there is.
    List,
    /// Change who takes traffic.
    Order {
        /// Where.
        pool: PoolName,
        /// What.
        order: Order,
    },
}

/// Why an instance leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Leaving {
    /// Not needed any more.
    ScaleIn,
    /// It never passed a check.
    BootFailed,
    /// Its checks fail for too long.
    Unhealthy,
    /// The provider takes it back.
    Marked,
}

impl Leaving {
    /// One word for events, metrics and the journal.
    pub fn word(self) -> &'static str {
        match self {
            Leaving::ScaleIn => "scale_in",
            Leaving::BootFailed => "boot_failed",
            Leaving::Unhealthy => "unhealthy",
            Leaving::Marked => "marked",
        }
    }
}

/// Something that was noticed: for the journal, the log and people.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A launch was answered; fewer ids than asked for is a partial answer.
    LaunchAnswered {
        /// Which.
        token: Token,
        /// What runs now or will.
        ids: Vec<BackendId>,
        /// Asked for.
        count: u32,
    },
    /// A launch will not happen any more.
    LaunchFailed {
        /// Which.
        token: Token,
        /// Why.
        failure: Failure,
        /// What was to be launched.
        offer: String,
    },
    /// A launch that nobody answered is no longer repeated, because its token has lapsed.
    LaunchForgotten {
        /// Which.
        token: Token,
    },
    /// An instance with our mark that no open launch explains was taken over.
    Adopted {
        /// Which.
        id: BackendId,
    },
    /// A launched instance serves.
    Serves {
        /// Which.
        id: BackendId,
        /// Its kind, for which boot times are learned.
        kind: String,
        /// From launch to running.
        running: Duration,
        /// From launch to the first passed check.
        passed: Duration,
    },
    /// The boot time that is reckoned with is another.
    LeadMoved {
        /// Before.
        from: Duration,
        /// Now.
        to: Duration,
    },
    /// An instance went without us: terminated by hand, taken back, or broken.
    Lost {
        /// Which.
        id: BackendId,
    },
    /// An instance is leaving.
    Leaves {
        /// Which.
        id: BackendId,
        /// Why.
        why: Leaving,
    },
    /// It is terminated with requests in flight, because its drain took too long.
    CutShort {
        /// Which.
        id: BackendId,
        /// Requests it had.
        in_flight: u32,
    },
    /// An instance is gone, as we wanted.
    Gone {
        /// Which.
        id: BackendId,
    },
    /// What there is could not be asked, or something could not be given back.
    ProviderFailed {
        /// `list`, `terminate`.
        what: &'static str,
        /// Why.
        failure: Failure,
    },
    /// An operator wants another size than the rules do, or none to change.
    OverrideSet {
        /// What, until when, and why.
        order: Standing,
    },
    /// The rules decide again.
    OverrideEnded {
        /// What has ended.
        order: Standing,
        /// Who ended it; none if its time was over.
        actor: Option<Arc<str>>,
    },
}

impl Event {
    /// One word for the log, the journal and rules about whom to tell.
    pub fn word(&self) -> &'static str {
        match self {
            Event::LaunchAnswered { .. } => "launch_answered",
            Event::LaunchFailed { .. } => "launch_failed",
            Event::LaunchForgotten { .. } => "launch_forgotten",
            Event::Adopted { .. } => "instance_adopted",
            Event::Serves { .. } => "instance_serves",
            Event::LeadMoved { .. } => "boot_time_moved",
            Event::Lost { .. } => "instance_lost",
            Event::Leaves { .. } => "instance_leaves",
            Event::CutShort { .. } => "drain_cut_short",
            Event::Gone { .. } => "instance_gone",
            Event::ProviderFailed { .. } => "provider_failed",
            Event::OverrideSet { .. } => "override_set",
            Event::OverrideEnded { .. } => "override_ended",
        }
    }

    /// Whether somebody should know that it did not go as it should.
    pub fn is_bad(&self) -> bool {
        matches!(
            self,
            Event::LaunchFailed { .. }
                | Event::LaunchForgotten { .. }
                | Event::Lost { .. }
                | Event::CutShort { .. }
                | Event::ProviderFailed { .. }
                | Event::Leaves { why: Leaving::BootFailed | Leaving::Unhealthy, .. }
        )
    }
}
