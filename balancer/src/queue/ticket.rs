//! One request that waits, as the queues it stands in know it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use crate::config::Priority;
use crate::limits::{Limited, Pass};
use crate::snapshot::Slot;

/// Why a request that waited, or wanted to, gets no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No backend is eligible and none is expected.
    NothingComes,
    /// `queue.max` or `queue.bytes` is reached.
    QueueFull,
    /// It was, and a more important request came.
    Displaced,
}

/// What a ticket came to.
#[derive(Debug)]
pub(crate) enum Answer {
    /// A place on this backend, taken already, and through all gates: whoever gets this has to
    /// give it back.
    Granted(Grant),
    /// None.
    Refused(Refusal),
}

/// A place that was taken for somebody else.
#[derive(Debug)]
pub(crate) struct Grant {
    pub(crate) slot: Arc<Slot>,
    pub(crate) pass: Pass,
    /// A stream's place as well.
    pub(crate) has_stream: bool,
}

impl Grant {
    /// To whoever is next.
    pub(crate) fn give_back(mut self) {
        self.pass.end(&self.slot);
        if self.has_stream {
            self.slot.leave_stream();
        }
    }
}

/// What a request is and holds, for its ticket.
#[derive(Debug, Clone)]
pub(crate) struct Bearer<'a> {
    /// Its route's.
    pub(crate) priority: Priority,
    /// What it holds while it waits.
    pub(crate) bytes: u64,
    /// Slots that it has been to; none of them will do.
    pub(crate) tried: &'a [u32],
    /// Which gates it has to pass.
    pub(crate) limited: Limited,
}

/// A request's claim to the next free place. It may stand in several queues; the first that
/// grants it a place wins, and the others find that it has one.
#[derive(Debug)]
pub(crate) struct Ticket {
    pub(super) priority: Priority,
    pub(super) bytes: u64,
    pub(super) limited: Limited,
    tried: Box<[u32]>,
    /// Of the task that waits. A connection is one task from its beginning to its end.
    waker: Waker,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    /// In so many queues, and one more while it is still joining them.
    Waiting(u32),
    Answered(Answer),
    Ended,
}

impl Ticket {
    /// Still joining: [`Ticket::stands_in_one_less`] ends that.
    pub(crate) fn new(bearer: Bearer<'_>, waker: Waker) -> Arc<Ticket> {
        let Bearer { priority, bytes, tried, limited } = bearer;
        let state = Mutex::new(State::Waiting(1));
        Arc::new(Ticket { priority, bytes, tried: tried.into(), limited, waker, state })
    }

    /// Whether it has waited before, and been to a backend that failed it.
    pub(crate) fn is_returning(&self) -> bool {
        !self.tried.is_empty()
    }

    pub(super) fn tried(&self) -> &[u32] {
        &self.tried
    }

    /// Whether it has no answer yet.
    pub(super) fn is_waiting(&self) -> bool {
        matches!(*self.lock(), State::Waiting(_))
    }

    pub(crate) fn was_at(&self, slot: u32) -> bool {
        self.tried.contains(&slot)
    }

    /// Takes the answer, if there is one. Once.
    pub(crate) fn take_answer(&self) -> Option<Answer> {
        let mut state = self.lock();
        if !matches!(*state, State::Answered(_)) {
            return None;
        }
        match std::mem::replace(&mut *state, State::Ended) {
            State::Answered(answer) => Some(answer),
            State::Waiting(_) | State::Ended => None,
        }
    }

    /// Nobody waits with it any more. A place that it was granted meanwhile goes to the next.
    pub(crate) fn end(&self) {
        let before = std::mem::replace(&mut *self.lock(), State::Ended);
        if let State::Answered(Answer::Granted(grant)) = before {
            grant.give_back();
        }
    }

    /// Takes the place; hands it back if nobody waits for it any more.
    pub(super) fn grant(&self, grant: Grant) -> Result<(), Grant> {
        let mut state = self.lock();
        if !matches!(*state, State::Waiting(_)) {
            return Err(grant);
        }
        *state = State::Answered(Answer::Granted(grant));
        Ok(())
    }

    /// Whether that was news.
    pub(super) fn refuse(&self, refusal: Refusal) -> bool {
        let mut state = self.lock();
        let is_waiting = matches!(*state, State::Waiting(_));
        if is_waiting {
            *state = State::Answered(Answer::Refused(refusal));
        }
        is_waiting
    }

    pub(super) fn stands_in_one_more(&self) {
        if let State::Waiting(queues) = &mut *self.lock() {
            *queues += 1;
        }
    }

    /// Whether that was the last: then nothing comes, and it says so.
    pub(crate) fn stands_in_one_less(&self) -> bool {
        let mut state = self.lock();
        let State::Waiting(queues) = &mut *state else { return false };
        *queues = queues.saturating_sub(1);
        let is_last = *queues == 0;
        if is_last {
            *state = State::Answered(Answer::Refused(Refusal::NothingComes));
        }
        is_last
    }

    pub(super) fn wake(&self) {
        self.waker.wake_by_ref();
    }

    /// The last lock to be taken, where others are held.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
