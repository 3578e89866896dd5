//! All numbers by name, summed over workers, generations and what is gone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use policies::backend::BackendKey;

use super::histogram::CELLS as HISTOGRAM;
use super::layout::{listener, pool};
use super::{BackendFault, CodeClass, Histogram, Shed};
use crate::outcome::{Ending, Outcome};

/// Stands for the route or pool of a request that had none. No name in a configuration can be it.
pub const NONE: &str = "-";

/// Labels of `tidegate_requests_total`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestKey {
    /// Came in by this listener.
    pub listener: Arc<str>,
    /// Name of the route, or [`NONE`].
    pub route: Arc<str>,
    /// Name of the pool, or [`NONE`].
    pub pool: Arc<str>,
    /// Of the status.
    pub class: CodeClass,
    /// What the client spoke.
    pub protocol: Protocol,
}

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Protocol {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
}

impl Protocol {
    /// All of them, in the order of the discriminants.
    pub const ALL: [Protocol; 2] = [Protocol::Http10, Protocol::Http11];

    /// The value of the label `protocol`.
    pub fn word(self) -> &'static str {
        match self {
            Protocol::Http10 => "http/1.0",
            Protocol::Http11 => "http/1.1",
        }
    }
}

/// Everything counted since the door started.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    /// Requests that ended; series without any are left out.
    pub requests: BTreeMap<RequestKey, u64>,
    /// By the place in [`Outcome::ALL`].
    pub outcomes: [u64; Outcome::ALL.len()],
    /// From first to last byte, by route; those without a request are left out.
    pub durations: BTreeMap<Arc<str>, Histogram>,
    /// By name.
    pub listeners: BTreeMap<Arc<str>, ListenerTotals>,
    /// By name.
    pub pools: BTreeMap<Arc<str>, PoolTotals>,
    /// Backends that are there or left a moment ago.
    pub backends: BTreeMap<BackendKey, BackendTotals>,
    /// By the worker's number.
    pub workers: BTreeMap<usize, WorkerTotals>,
}

/// Of one listener.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListenerTotals {
    /// Connections accepted.
    pub opened: u64,
    /// Of those, ended.
    pub closed: u64,
    /// Of request bodies.
    pub bytes_in: u64,
    /// Of answer bodies.
    pub bytes_out: u64,
}

/// Of one pool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PoolTotals {
    /// Requests that wanted a backend of it.
    pub arrived: u64,
    /// Of those, not taken: no healthy backend, or all full.
    pub refused: u64,
    /// Of the refused, those that another pool of their waterfall was asked for: the same request
    /// has arrived there once more.
    pub moved_on: u64,
    /// Of those that arrived, ended after they were taken.
    pub finished: u64,
    /// Of the finished ones, from first to last byte together, without the time in the queue.
    pub service_us: u64,
    /// Requests that stood in its queue, and of those the ones that do not any more.
    pub queued: u64,
    /// See `queued`.
    pub unqueued: u64,
    /// Requests that became streams, and of those the ones that have finished.
    pub streams_opened: u64,
    /// See `streams_opened`.
    pub streams_closed: u64,
    /// Requests sent away for the length of the queue, by the place in [`Shed::ALL`].
    pub shed: [u64; Shed::ALL.len()],
    /// How long requests stood in the queue, whatever became of them.
    pub waits: Histogram,
    /// Further attempts that brought an answer.
    pub retried_ok: u64,
    /// Further attempts that did not.
    pub retried_failed: u64,
    /// Time that connections to its backends took to come about.
    pub connects: Histogram,
    /// Time from the request to the head of the backend's answer.
    pub answers: Histogram,
}

/// Of one backend.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BackendTotals {
    /// Answers, by the place in [`CodeClass::ALL`].
    pub requests: [u64; CodeClass::ALL.len()],
    /// Failed attempts, by the place in [`BackendFault::ALL`].
    pub faults: [u64; BackendFault::ALL.len()],
    /// Connections with a request on them, now.
    pub active_connections: u64,
    /// Connections kept for later requests, now.
    pub idle_connections: u64,
}

/// Of one worker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WorkerTotals {
    /// Time that its runtime was not waiting.
    pub busy: Duration,
}

impl Totals {
    /// Requests that ended so.
    pub fn ended(&self, ending: Ending) -> u64 {
        let counted = Outcome::ALL.iter().zip(&self.outcomes);
        counted.filter(|(outcome, _)| outcome.ending() == ending).map(|(_, count)| count).sum()
    }

    /// Requests that ended, over all series.
    pub fn requests_in_all(&self) -> u64 {
        self.requests.values().sum()
    }
}

impl ListenerTotals {
    /// Connections open now. Sums over workers that go on counting: off by what happened meanwhile.
    pub fn open(&self) -> u64 {
        self.opened.saturating_sub(self.closed)
    }

    pub(super) fn merge_cells(&mut self, cells: &[u64]) {
        let get = |place: usize| cells.get(place).copied().unwrap_or_default();
        self.opened += get(listener::OPENED);
        self.closed += get(listener::CLOSED);
        self.bytes_in += get(listener::BYTES_IN);
        self.bytes_out += get(listener::BYTES_OUT);
    }
}

impl PoolTotals {
    /// Requests that it has taken and not finished, now, without streams. Off by what happens while
    /// sheets are read.
    pub fn in_flight(&self) -> u64 {
        let others = self.refused + self.finished + self.waiting() + self.streams();
        self.arrived.saturating_sub(others)
    }

    /// Streams open now. Off like [`PoolTotals::in_flight`].
    pub fn streams(&self) -> u64 {
        self.streams_opened.saturating_sub(self.streams_closed)
    }

    /// Requests in its queue, now. Off like [`PoolTotals::in_flight`].
    pub fn waiting(&self) -> u64 {
        self.queued.saturating_sub(self.unqueued)
    }

    pub(super) fn merge_cells(&mut self, cells: &[u64]) {
        let get = |place: usize| cells.get(place).copied().unwrap_or_default();
        self.arrived += get(pool::ARRIVED);
        self.refused += get(pool::REFUSED) + get(pool::MOVED_ON);
        self.moved_on += get(pool::MOVED_ON);
        self.finished += get(pool::FINISHED);
        self.service_us += get(pool::SERVICE_US);
        self.retried_ok += get(pool::RETRIED_OK);
        self.retried_failed += get(pool::RETRIED_FAILED);
        self.queued += get(pool::QUEUED);
        self.unqueued += get(pool::UNQUEUED);
        self.streams_opened += get(pool::STREAMS_OPENED);
        self.streams_closed += get(pool::STREAMS_CLOSED);
        for (reason, sum) in self.shed.iter_mut().enumerate() {
            *sum += get(pool::SHED + reason);
        }
        let waits = cells.get(pool::WAITS..pool::WAITS + HISTOGRAM);
        self.waits.merge_cells(waits.unwrap_or_default());
    }
}

impl BackendTotals {
    /// Answers of any status.
    pub fn answers(&self) -> u64 {
        self.requests.iter().sum()
    }

    /// Failed attempts for any reason.
    pub fn errors(&self) -> u64 {
        self.faults.iter().sum()
    }
}
