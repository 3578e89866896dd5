//! Which backend of the pool takes the request.

use std::sync::Arc;

/// How a pool chooses among its eligible backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Smooth weighted round robin: no bursts to one backend.
    RoundRobin,
    /// Fewest requests in flight relative to weight; ties in turn.
    LeastRequests,
    /// The better of two at random, by requests in flight relative to weight.
    TwoChoices,
    /// The better of two at random, by moving-average latency × (requests in flight + 1), with a
    /// re-probe floor so that a backend once slow is asked again.
    PeakEwma,
    /// The same key goes to the same backend while membership lasts; with bounded load.
    ConsistentHash,
    /// The first in order that has room.
    First,
}

/// What a request is hashed by (`ConsistentHash`, sticky splits).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashKey {
    /// The client's address.
    ClientAddress,
    /// The first value of this header (lower case).
    Header(Arc<str>),
    /// The value of this cookie.
    Cookie(Arc<str>),
    /// The normalised path.
    Path,
}

/// What a rule may know of the eligible backends of a pool, by their place in the list that
/// [`Picker::new`] was given.
pub trait Candidates {
    /// Requests in flight now.
    fn in_flight(&self, index: usize) -> u32;
    /// Whether it may get this request: below its cap and not tried before for this request.
    fn has_room(&self, index: usize) -> bool;
    /// Moving average of the time to the first answer byte in microseconds; `None` before the first.
    fn latency_us(&self, index: usize) -> Option<u32>;
    /// Milliseconds since it was last picked by this worker, for the re-probe floor.
    fn idle_ms(&self, index: usize) -> u32;
}
