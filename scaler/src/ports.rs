//! The four seams between the scaler and the world: what it may ask for, and what it may be told.
//!
//! | port         | whose side                              | called by                         |
//! |--------------|-----------------------------------------|-----------------------------------|
//! | [`Provider`] | whoever makes and unmakes instances     | an executor of its own, one each  |
//! | [`Fleet`]    | the doors: demand, members, their stage | the turn itself; it never waits   |
//! | [`Signals`]  | measurements that only the cloud has    | an executor of its own            |
//! | [`Notifier`] | people and machines that are told       | an executor of its own, one each  |
//!
//! A turn of the scaler never waits for the network. Calls that may take time are handed to
//! bounded executors, and their results come back as facts in a later look. So whoever implements
//! a port may be slow, and may be dropped between two awaits when a call has taken too long: the
//! executor calls that [`ProviderError::Unclear`] and repeats the same request.
//!
//! Only plain values cross here: no type of a client library, no clock, no channel. An
//! implementation brings its own timeouts below those that it states in [`Abilities`], and its own
//! limits of size; it does not retry what it cannot repeat safely.

mod error;
mod fleet;
mod launch;
mod message;

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use policies::backend::BackendId;

pub use error::{NotifyError, ProviderError, SignalError, Source, with_causes};
pub use fleet::{Fleet, FleetLook, MemberLook, Order, PoolLook};
pub use launch::{Instance, InstanceState, LaunchRequest, Mark, Offer, Purchase, Token};
pub use message::{Message, Severity, State};

/// Whoever can make and unmake backends: a cloud, local processes, an operator's program, a
/// simulation. One provider serves one pool.
///
/// Every call may be repeated, after an answer was lost or after a crash of ours, and concurrently
/// with one that we have given up. So each must be safe to repeat.
#[async_trait]
pub trait Provider: Send + Sync {
    /// What it can do and what to expect of it. Asked at start and after a change of the
    /// configuration; does not touch the network.
    fn abilities(&self) -> Abilities;

    /// Whether its first answer means that no call of an earlier life can take effect any more:
    /// it holds what such a call would need. Otherwise a new journal makes the scaler wait for as
    /// long as a call may take.
    fn is_exclusive(&self) -> bool {
        false
    }

    /// Asks for instances and returns once the request is *accepted*, not once they run:
    /// [`Provider::list`] shows when they do.
    ///
    /// May return fewer than asked for, and those of an earlier call under the same token in the
    /// state they are in now. One that has seen the token must do nothing new, as long as
    /// [`Abilities::token_life`] says; which ends are dead is for the caller to see.
    async fn launch(&self, request: &LaunchRequest) -> Result<Vec<Instance>, ProviderError>;

    /// Gives instances back. Unknown or already gone is success.
    async fn terminate(&self, instances: &[BackendId]) -> Result<(), ProviderError>;

    /// Every instance this provider has for this pool, in any state that it still knows, also those
    /// that somebody else launched with our tags. A list that may be incomplete is an error.
    async fn list(&self) -> Result<Vec<Instance>, ProviderError>;
}

/// What a provider can do, and what to expect of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Abilities {
    /// `ec2`, `process`, `exec`: for events, metrics and the journal.
    pub provider: &'static str,
    /// What can be launched, in the order of preference; never empty. Which of them a launch takes
    /// is the scaler's choice: it remembers the ones that failed.
    pub offers: Vec<Offer>,
    /// How many may be of offers that are spot; where those have failed, others are taken.
    pub purchase: Purchase,
    /// How many instances one request may ask for, at least 1.
    pub max_batch: u32,
    /// How long a token prevents a second launch; `None` is for ever. Older launches without an
    /// answer are not repeated any more, only looked for by their mark.
    pub token_life: Option<Duration>,
    /// How long a launched instance may be missing in [`Provider::list`] before it counts as gone.
    pub visible_within: Duration,
    /// Longer than this, and a call is given up as unclear.
    pub answer_within: Duration,
    /// Instances this provider will not exceed, if it knows: addresses of a range, a quota.
    pub quota: Option<u32>,
    /// An instance is paid for in steps of this length, from its launch; for choosing victims.
    pub billing_step: Option<Duration>,
}

/// Measurements that the doors cannot make themselves.
#[async_trait]
pub trait Signals: Send + Sync {
    /// The latest value of each signal that is configured. One that has no value is left out.
    async fn read(&self) -> Result<Vec<Reading>, SignalError>;
}

/// One measurement. Its age, not its absence, is what a rule looks at.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// As in `[scalers.*.signals.NAME]`.
    pub signal: std::sync::Arc<str>,
    /// In the unit of the signal; finite.
    pub value: f64,
    /// End of the span that was measured.
    pub at: Timestamp,
}

/// Somebody who is told what happens.
///
/// Best effort from the scaler's side: it hands a message over and goes on. Keeping what could not
/// be delivered is the business of whoever stands behind this port.
#[async_trait]
pub trait Notifier: Send + Sync {
    /// `sns`, `webhook`, `log`: for events and metrics.
    fn name(&self) -> &'static str;

    /// Delivers one message, or says why not. The same [`Message::key`] may come again.
    async fn tell(&self, message: &Message) -> Result<(), NotifyError>;
}
