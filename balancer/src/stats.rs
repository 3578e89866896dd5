//! What the data plane counts, and how it is summed.
//!
//! | who                        | has                                                     |
//! |----------------------------|---------------------------------------------------------|
//! | one worker, one generation | [`Sheet`]: a dense array, its places named by [`Layout`] |
//! | one worker, one backend    | [`BackendSheet`]                                        |
//! | the control thread         | [`Registry`]: sums all of them to [`Totals`] by name    |
//!
//! A worker writes its own sheets only, by a plain load and store: no locked instruction, no
//! shared cache line, no name, no allocation. Whoever reads sees each number a moment late and
//! never torn. Two writers on one sheet would lose counts, nothing worse.
//!
//! Nothing here knows how numbers are exported; names and labels of the metrics are in
//! `tidegate::telemetry` and `docs/metrics.md`.

use std::sync::atomic::{AtomicU64, Ordering};

mod backend;
mod histogram;
mod layout;
mod registry;
mod sheet;
#[cfg(test)]
mod tests;
mod totals;

pub use backend::{BackendFault, BackendSheet};
pub use histogram::{BOUNDS_US, BUCKETS, Histogram};
pub use layout::Layout;
pub use registry::Registry;
pub use sheet::{Finished, Sheet};
pub use totals::{
    BackendTotals, ListenerTotals, NONE, PoolTotals, Protocol, RequestKey, Totals, WorkerTotals,
};

/// First digit of a status, or that no status was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum CodeClass {
    /// Nothing was answered: the client left, or the door was told to stop.
    None,
    /// 101, a tunnel.
    Informational,
    /// 200 to 299.
    Success,
    /// 300 to 399.
    Redirect,
    /// 400 to 499.
    ClientError,
    /// 500 to 599.
    ServerError,
}

impl CodeClass {
    /// All of them, in the order of the discriminants.
    pub const ALL: [CodeClass; 6] = [
        CodeClass::None,
        CodeClass::Informational,
        CodeClass::Success,
        CodeClass::Redirect,
        CodeClass::ClientError,
        CodeClass::ServerError,
    ];

    /// The class of `status`; what is no status (0 above all) is [`CodeClass::None`].
    pub fn of(status: u16) -> CodeClass {
        match status {
            100..=199 => CodeClass::Informational,
            200..=299 => CodeClass::Success,
            300..=399 => CodeClass::Redirect,
            400..=499 => CodeClass::ClientError,
            500..=599 => CodeClass::ServerError,
            _ => CodeClass::None,
        }
    }

    /// The value of the label `code_class`.
    pub fn word(self) -> &'static str {
        match self {
            CodeClass::None => "none",
            CodeClass::Informational => "1xx",
            CodeClass::Success => "2xx",
            CodeClass::Redirect => "3xx",
            CodeClass::ClientError => "4xx",
            CodeClass::ServerError => "5xx",
        }
    }
}

/// Why a request was sent away that wanted to wait, or did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Shed {
    /// `queue.max` or `queue.bytes` was reached.
    QueueFull,
    /// It was, and a more important request came.
    Displaced,
    /// `queue.time` was over.
    QueueTimeout,
}

impl Shed {
    /// All of them, in the order of the discriminants.
    pub const ALL: [Shed; 3] = [Shed::QueueFull, Shed::Displaced, Shed::QueueTimeout];

    /// The value of the label `reason`.
    pub fn word(self) -> &'static str {
        match self {
            Shed::QueueFull => "queue_full",
            Shed::Displaced => "displaced",
            Shed::QueueTimeout => "queue_timeout",
        }
    }
}

/// Adds to a number that this thread alone writes. Load and store instead of `fetch_add`, which
/// would be a locked instruction (about 20 cycles) for an exclusion that nobody needs.
#[inline]
fn add(cell: &AtomicU64, n: u64) {
    cell.store(cell.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}
