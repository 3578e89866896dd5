//! One worker's numbers of one backend.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_utils::CachePadded;
use policies::outcomes::Outcomes;

use super::histogram::{self, CELLS as HISTOGRAM};
use super::totals::{BackendTotals, PoolTotals};
use super::{CodeClass, add};

/// What went wrong between the door and a backend in one attempt, whether or not another attempt
/// then brought an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum BackendFault {
    /// No connection: refused or unreachable.
    ConnectFailed,
    /// No connection because the door itself has no descriptor, port or memory left for one; no
    /// fault of the backend's.
    DoorExhausted,
    /// No connection within `timeouts.connect`.
    ConnectTimeout,
    /// A kept connection turned out closed before any byte of an answer; no fault of the backend's.
    StaleConnection,
    /// Closed or reset before the head of the answer was whole.
    Reset,
    /// The answer is malformed or can be read in two ways.
    BadResponse,
    /// No head within `timeouts.attempt`.
    AttemptTimeout,
    /// No head within `timeouts.first_byte`.
    FirstByteTimeout,
    /// `timeouts.total` fired.
    TotalTimeout,
    /// Closed or reset in the middle of the answer's body.
    AnswerCut,
}

impl BackendFault {
    /// All of them, in the order of the discriminants.
    pub const ALL: [BackendFault; 10] = [
        BackendFault::ConnectFailed,
        BackendFault::DoorExhausted,
        BackendFault::ConnectTimeout,
        BackendFault::StaleConnection,
        BackendFault::Reset,
        BackendFault::BadResponse,
        BackendFault::AttemptTimeout,
        BackendFault::FirstByteTimeout,
        BackendFault::TotalTimeout,
        BackendFault::AnswerCut,
    ];

    /// The value of the label `reason`.
    pub fn word(self) -> &'static str {
        match self {
            BackendFault::ConnectFailed => "connect_failed",
            BackendFault::DoorExhausted => "door_exhausted",
            BackendFault::ConnectTimeout => "connect_timeout",
            BackendFault::StaleConnection => "stale_connection",
            BackendFault::Reset => "reset",
            BackendFault::BadResponse => "bad_response",
            BackendFault::AttemptTimeout => "attempt_timeout",
            BackendFault::FirstByteTimeout => "first_byte_timeout",
            BackendFault::TotalTimeout => "total_timeout",
            BackendFault::AnswerCut => "answer_cut",
        }
    }
}

/// What one worker counts of one backend. Written by that worker alone.
#[derive(Debug)]
pub struct BackendSheet {
    cells: CachePadded<Cells>,
}

#[derive(Debug)]
struct Cells {
    classes: [AtomicU64; CodeClass::ALL.len()],
    faults: [AtomicU64; BackendFault::ALL.len()],
    opened: AtomicU64,
    closed: AtomicU64,
    idle: AtomicU64,
    connects: [AtomicU64; HISTOGRAM],
    answers: [AtomicU64; HISTOGRAM],
    slow: AtomicU64,
}

impl BackendSheet {
    /// All zero.
    pub fn new() -> Arc<BackendSheet> {
        Arc::new(BackendSheet {
            cells: CachePadded::new(Cells {
                classes: [const { AtomicU64::new(0) }; CodeClass::ALL.len()],
                faults: [const { AtomicU64::new(0) }; BackendFault::ALL.len()],
                opened: AtomicU64::new(0),
                closed: AtomicU64::new(0),
                idle: AtomicU64::new(0),
                connects: [const { AtomicU64::new(0) }; HISTOGRAM],
                answers: [const { AtomicU64::new(0) }; HISTOGRAM],
                slow: AtomicU64::new(0),
            }),
        })
    }

    /// The head of an answer came, `ttfb_us` after the request was sent. More than `slow_us` is
    /// slow.
    pub fn answered(&self, status: u16, ttfb_us: u64, slow_us: u64) {
        add(&self.cells.classes[CodeClass::of(status) as usize], 1);
        histogram::record(&self.cells.answers, ttfb_us);
        if ttfb_us > slow_us {
            add(&self.cells.slow, 1);
        }
    }

    /// A connection came about within `us`.
    pub fn connected(&self, us: u64) {
        add(&self.cells.opened, 1);
        histogram::record(&self.cells.connects, us);
    }

    /// A connection that [`BackendSheet::connected`] had counted has ended.
    pub fn disconnected(&self) {
        add(&self.cells.closed, 1);
    }

    /// So many of the connections are kept for later requests now.
    pub fn set_idle(&self, connections: usize) {
        self.cells.idle.store(connections as u64, Ordering::Relaxed);
    }

    /// An attempt failed.
    pub fn failed(&self, fault: BackendFault) {
        add(&self.cells.faults[fault as usize], 1);
    }

    /// What the backend itself has done until now: neither what its clients or the door have, nor
    /// `timeouts.total` and `idle_stream`, where either side may be the slow one.
    pub(super) fn outcomes(&self) -> Outcomes {
        use BackendFault::*;
        let read = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        let class = |class: CodeClass| read(&self.cells.classes[class as usize]);
        let faults = |kinds: &[BackendFault]| -> u64 {
            kinds.iter().map(|kind| read(&self.cells.faults[*kind as usize])).sum()
        };
        use CodeClass::{ClientError, Informational, Redirect, ServerError, Success};
        let answered: u64 = [Informational, Success, Redirect, ClientError].map(class).iter().sum();
        Outcomes {
            // An answer that was cut had a good head.
            good: answered.saturating_sub(faults(&[AnswerCut])),
            gone: faults(&[ConnectFailed, Reset]),
            bad: class(ServerError) + faults(&[ConnectFailed, Reset, BadResponse, AnswerCut]),
            timeouts: faults(&[ConnectTimeout, AttemptTimeout, FirstByteTimeout]),
            slow: read(&self.cells.slow),
            latency: std::array::from_fn(|bucket| read(&self.cells.answers[bucket])),
        }
    }

    /// Adds to what is told of the backend, and to what is told of its pool.
    pub(super) fn sum_into(&self, backend: &mut BackendTotals, pool: &mut PoolTotals) {
        let read = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        for (sum, cell) in backend.requests.iter_mut().zip(&self.cells.classes) {
            *sum += read(cell);
        }
        for (sum, cell) in backend.faults.iter_mut().zip(&self.cells.faults) {
            *sum += read(cell);
        }
        // Closed first: an opening in between then shows as one connection more, never as less
        // than none.
        let closed = read(&self.cells.closed);
        let open = read(&self.cells.opened).saturating_sub(closed);
        let idle = read(&self.cells.idle).min(open);
        backend.idle_connections += idle;
        backend.active_connections += open - idle;
        pool.connects.merge_atomics(&self.cells.connects);
        pool.answers.merge_atomics(&self.cells.answers);
    }
}
