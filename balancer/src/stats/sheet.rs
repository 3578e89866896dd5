//! One worker's numbers of one generation.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::histogram::{self, CELLS as HISTOGRAM};
use super::layout::{Layout, listener, pool};
use super::{Protocol, Shed, add};
use crate::outcome::Outcome;

/// Cells left free at both ends, so that no cache line (nor the pair that the prefetcher takes) is
/// shared with another worker's sheet: 128 bytes.
const PADDING: usize = 16;

/// A request that ended, whichever way.
#[derive(Debug, Clone)]
pub struct Finished {
    /// Place of the listener in `DoorConfig::listeners`.
    pub listener: u16,
    /// Place of the route in `DoorConfig::routes`, if one was found.
    pub route: Option<u16>,
    /// Place of the pool in `DoorConfig::pools`, if one was asked; the last one of a waterfall.
    pub pool: Option<u16>,
    /// As sent to the client; 0 if nothing was.
    pub status: u16,
    /// The request was HTTP/1.0.
    pub http10: bool,
    /// How it ended.
    pub outcome: Outcome,
    /// Of the request's body.
    pub bytes_in: u64,
    /// Of the answer's body.
    pub bytes_out: u64,
    /// From the first byte of the head to the last byte of the answer.
    pub total_us: u64,
    /// When it became a stream, if it did ([`Sheet::stream_opened`]); its service ended there.
    pub stream_from_us: Option<u32>,
    /// Of that, in the queue of the pool: no work for a backend.
    pub queue_us: u64,
}

impl Finished {
    #[inline]
    pub(super) fn protocol(&self) -> Protocol {
        if self.http10 { Protocol::Http10 } else { Protocol::Http11 }
    }

    /// Whether the pool never took it: it then counts as refused demand and has no service time.
    #[inline]
    fn is_refusal(&self) -> bool {
        use Outcome::{Full, NoHealthyBackend, QueueFull, QueueTimeout};
        matches!(self.outcome, NoHealthyBackend | Full | QueueFull | QueueTimeout)
    }
}

/// What one worker counts under one generation. Written by that worker alone.
#[derive(Debug)]
pub struct Sheet {
    layout: Arc<Layout>,
    cells: Box<[AtomicU64]>,
}

impl Sheet {
    /// All zero.
    pub fn new(layout: Arc<Layout>) -> Arc<Sheet> {
        let cells = (0..layout.cells() + 2 * PADDING).map(|_| AtomicU64::new(0)).collect();
        Arc::new(Sheet { layout, cells })
    }

    /// A request ended.
    pub fn finished(&self, f: &Finished) {
        self.add(self.layout.request(f), 1);
        self.add(self.layout.outcome(f.outcome), 1);
        let at = self.layout.listener(f.listener);
        self.add(at + listener::BYTES_IN, f.bytes_in);
        self.add(at + listener::BYTES_OUT, f.bytes_out);
        histogram::record(self.slice(self.layout.duration(f.route), HISTOGRAM), f.total_us);
        let Some(pool) = f.pool else { return };
        if f.is_refusal() {
            return self.add(self.layout.pool(pool) + pool::REFUSED, 1);
        }
        let at = self.layout.pool(pool);
        self.add(at + pool::FINISHED, 1);
        let mut service_us = f.total_us;
        if let Some(us) = f.stream_from_us {
            self.add(at + pool::STREAMS_CLOSED, 1);
            service_us = u64::from(us);
        }
        self.add(at + pool::SERVICE_US, service_us.saturating_sub(f.queue_us));
    }

    /// A client's connection was accepted.
    pub fn connection_opened(&self, listener: u16) {
        self.add(self.layout.listener(listener) + listener::OPENED, 1);
    }

    /// A client's connection has ended. The sheet may be a later one than that of the opening.
    pub fn connection_closed(&self, listener: u16) {
        self.add(self.layout.listener(listener) + listener::CLOSED, 1);
    }

    /// A request wants a backend of `pool`: demand. Exactly one of [`Sheet::moved_on`] and
    /// [`Sheet::finished`] with this pool must follow.
    pub fn arrived(&self, pool: u16) {
        self.add(self.layout.pool(pool) + pool::ARRIVED, 1);
    }

    /// Requests that wanted a backend of `pool` so far.
    pub fn arrivals(&self, pool: u16) -> u64 {
        let cells = self.slice(self.layout.pool(pool) + pool::ARRIVED, 1);
        cells.first().map_or(0, |cell| cell.load(Ordering::Relaxed))
    }

    /// `pool` could not take a request that had arrived, and it moves on to another pool of its
    /// waterfall, where it arrives anew. Where it moves no further, [`Sheet::finished`] counts the
    /// refusal.
    pub fn moved_on(&self, pool: u16) {
        self.add(self.layout.pool(pool) + pool::MOVED_ON, 1);
    }

    /// A request that has arrived stands in the queue of `pool` from now on.
    pub fn queued(&self, pool: u16) {
        self.add(self.layout.pool(pool) + pool::QUEUED, 1);
    }

    /// It does not any more, whatever became of it.
    pub fn unqueued(&self, pool: u16) {
        self.add(self.layout.pool(pool) + pool::UNQUEUED, 1);
    }

    /// How long it did.
    pub fn waited(&self, pool: u16, us: u64) {
        let at = self.layout.pool(pool) + pool::WAITS;
        histogram::record(self.slice(at, HISTOGRAM), us);
    }

    /// A request that `pool` has taken is a stream from now on, until it has finished.
    pub fn stream_opened(&self, pool: u16) {
        self.add(self.layout.pool(pool) + pool::STREAMS_OPENED, 1);
    }

    /// `pool` has sent a request away for the length of its queue.
    pub fn shed(&self, pool: u16, reason: Shed) {
        self.add(self.layout.pool(pool) + pool::SHED + reason as usize, 1);
    }

    /// A further attempt in `pool` has ended; `ok` if it brought an answer.
    pub fn retried(&self, pool: u16, ok: bool) {
        let place = if ok { pool::RETRIED_OK } else { pool::RETRIED_FAILED };
        self.add(self.layout.pool(pool) + place, 1);
    }

    /// What the numbers are called.
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// Adds every number to its like in `sums`.
    pub(super) fn sum_into(&self, sums: &mut [u64]) {
        for (sum, cell) in sums.iter_mut().zip(self.slice(0, self.layout.cells())) {
            *sum += cell.load(Ordering::Relaxed);
        }
    }

    /// An index of another generation counts nothing rather than ending the worker.
    #[inline]
    fn add(&self, place: usize, n: u64) {
        match self.cells.get(PADDING + place) {
            Some(cell) if place < self.layout.cells() => add(cell, n),
            _ => debug_assert!(false, "place {place} of {}", self.layout.cells()),
        }
    }

    #[inline]
    fn slice(&self, from: usize, len: usize) -> &[AtomicU64] {
        self.cells.get(PADDING + from..PADDING + from + len).unwrap_or_default()
    }
}
