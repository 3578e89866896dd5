//! What all workers and the control side of a door share.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::snapshot::Snapshot;
use crate::stats::Registry;

/// How far a door has come on its way from start to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Workers get ready; clients wait in the queues of the sockets.
    Starting,
    /// Accepting.
    Running,
    /// Not accepting any more; running requests end, idle connections close.
    Draining,
    /// Ending whatever is still under way.
    Now,
}

/// Read by every worker; written by the roster (`snapshot`) and the door (`stage`) only.
pub(crate) struct Shared {
    pub(crate) snapshot: Arc<ArcSwap<Snapshot>>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) stage: watch::Sender<Stage>,
    /// Connections beyond a limit that one worker keeps at once, to tell them so.
    pub(crate) refused_per_worker: u32,
}
