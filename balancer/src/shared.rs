//! What all workers and the control side of a door share.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use arc_swap::ArcSwap;

use crate::snapshot::Snapshot;
use crate::stats::Registry;

/// How far a door has come on its way from start to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Workers get ready; clients wait in the queues of the sockets.
    Starting,
    /// Accepting.
    Running,
    /// Every answer is the last of its connection; idle ones may still ask.
    Departing,
    /// Not accepting any more; running requests end, idle connections close.
    Draining,
    /// Ending whatever is still under way.
    Now,
}

/// Read by every worker; written by the roster (`snapshot`) and the door, and `exhaustions` by workers.
pub(crate) struct Shared {
    pub(crate) snapshot: Arc<ArcSwap<Snapshot>>,
    pub(crate) registry: Arc<Registry>,
    /// Connections beyond a limit that one worker keeps at once, to tell them so.
    pub(crate) refused_per_worker: AtomicU32,
    /// How often a worker has had no descriptor left: what the others keep idle may be in its way.
    pub(crate) exhaustions: AtomicU32,
}
