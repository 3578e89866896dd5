//! Deadlines of a worker's connections, coarse and nearly free.
//!
//! Every connection has one timer with one due time that its phases move. Moving it later, which
//! is what nearly every request does, is one store: the queue is asked only when a due time comes
//! before the one that is queued already. Due times are rounded up to 10 ms; a deadline never
//! fires early, and late by at most one tick and the worker's own turn.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// Milliseconds since the worker started.
pub(crate) type Millis = u64;

/// Microseconds since the worker started: what requests are measured in. An integer, because a
/// request asks for the time between two readings several times, and instants subtract slowly.
pub(crate) type Micros = u64;

const TICK_MS: Millis = 10;
const NEVER: Millis = Millis::MAX;

/// `limit` after `start`.
pub(crate) fn after(start: Millis, limit: Duration) -> Millis {
    let millis = limit.as_secs().saturating_mul(1000) + u64::from(limit.subsec_millis());
    start.saturating_add(millis)
}

/// The clock and the deadlines of one worker.
pub(crate) struct Timers {
    started: Instant,
    reading: Cell<Instant>,
    micros: Cell<Micros>,
    now: Cell<Millis>,
    queue: RefCell<BinaryHeap<Reverse<(Millis, u32)>>>,
    slots: RefCell<Vec<Slot>>,
    free: RefCell<Vec<u32>>,
    driver: RefCell<Option<Waker>>,
}

struct Slot {
    due: Millis,
    /// The entry in the queue that counts.
    queued: Millis,
    /// One behind it that was overtaken, the latest of them: it counts again when it is needed, so
    /// that a connection does not leave one behind with each request.
    later: Millis,
    waker: Option<Waker>,
}

/// One connection's deadline.
pub(crate) struct Timer {
    timers: Rc<Timers>,
    key: u32,
    due: Cell<Millis>,
}

impl Timers {
    pub(crate) fn new() -> Rc<Timers> {
        let started = Instant::now();
        Rc::new(Timers {
            started,
            reading: Cell::new(started),
            micros: Cell::new(0),
            now: Cell::new(0),
            queue: RefCell::default(),
            slots: RefCell::default(),
            free: RefCell::default(),
            driver: RefCell::default(),
        })
    }

    /// Reads the clock.
    pub(crate) fn read_clock(&self) -> Micros {
        let now = Instant::now();
        let since = now.saturating_duration_since(self.started);
        let micros = since.as_secs() * 1_000_000 + u64::from(since.subsec_micros());
        self.reading.set(now);
        self.micros.set(micros);
        self.now.set(micros / 1000);
        micros
    }

    /// The last [`Timers::read_clock`].
    pub(crate) fn last_reading(&self) -> Instant {
        self.reading.get()
    }

    /// What the last [`Timers::read_clock`] returned.
    pub(crate) fn micros(&self) -> Micros {
        self.micros.get()
    }

    /// The time of the last [`Timers::read_clock`].
    pub(crate) fn now(&self) -> Millis {
        self.now.get()
    }

    /// `duration` after the last [`Timers::read_clock`].
    pub(crate) fn after(&self, duration: Duration) -> Millis {
        after(self.now(), duration)
    }

    /// A timer that is not set.
    pub(crate) fn timer(self: &Rc<Self>) -> Timer {
        let key = self.free.borrow_mut().pop().unwrap_or_else(|| {
            let mut slots = self.slots.borrow_mut();
            slots.push(Slot { due: NEVER, queued: NEVER, later: NEVER, waker: None });
            u32::try_from(slots.len() - 1).expect("fewer connections than 2^32")
        });
        Timer { timers: Rc::clone(self), key, due: Cell::new(NEVER) }
    }

    /// Wakes every connection, so that it looks whether the worker is stopping.
    pub(crate) fn wake_all(&self) {
        let wakers: Vec<Waker> =
            self.slots.borrow().iter().filter_map(|slot| slot.waker.clone()).collect();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Fires due timers for ever. One task per worker.
    pub(crate) async fn drive(self: Rc<Self>) {
        let mut sleep: Pin<Box<Sleep>> = Box::pin(tokio::time::sleep(Duration::ZERO));
        std::future::poll_fn(move |cx| self.poll_drive(cx, &mut sleep)).await
    }

    fn poll_drive(&self, cx: &mut Context<'_>, sleep: &mut Pin<Box<Sleep>>) -> Poll<()> {
        self.driver.replace(Some(cx.waker().clone()));
        loop {
            self.read_clock();
            match self.fire_due() {
                None => return Poll::Pending,
                Some(next) => {
                    sleep.as_mut().reset(self.started + Duration::from_millis(next));
                    if sleep.as_mut().poll(cx).is_pending() {
                        return Poll::Pending;
                    }
                }
            }
        }
    }

    /// Wakes what is due; the time of the next entry.
    fn fire_due(&self) -> Option<Millis> {
        loop {
            let Reverse((at, key)) = *self.queue.borrow().peek()?;
            if at > self.now.get() {
                return Some(at);
            }
            self.queue.borrow_mut().pop();
            let waker = self.expire(at, key);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    fn expire(&self, at: Millis, key: u32) -> Option<Waker> {
        let mut slots = self.slots.borrow_mut();
        let slot = &mut slots[key as usize];
        if slot.queued != at {
            if slot.later == at {
                slot.later = NEVER;
            }
            return None; // one that was overtaken
        }
        slot.queued = NEVER;
        if slot.due <= at {
            return slot.waker.clone();
        }
        if slot.later <= slot.due {
            slot.queued = std::mem::replace(&mut slot.later, NEVER);
        } else if slot.due != NEVER {
            slot.queued = slot.due;
            self.queue.borrow_mut().push(Reverse((slot.due, key)));
        }
        None
    }

    fn enqueue(&self, due: Millis, key: u32) {
        let first = self.queue.borrow().peek().is_none_or(|Reverse((at, _))| due < *at);
        self.queue.borrow_mut().push(Reverse((due, key)));
        if first && let Some(driver) = self.driver.borrow().as_ref() {
            driver.wake_by_ref();
        }
    }
}

impl Timer {
    /// Who is to be woken. Once per task.
    pub(crate) fn owned_by(&self, waker: &Waker) {
        self.timers.slots.borrow_mut()[self.key as usize].waker = Some(waker.clone());
    }

    /// Moves the deadline to `after` from the last clock reading.
    pub(crate) fn set(&self, after: Duration) {
        self.set_at(self.timers.after(after));
    }

    /// Moves the deadline.
    pub(crate) fn set_at(&self, due: Millis) {
        let due = due.div_ceil(TICK_MS).saturating_mul(TICK_MS);
        if due == self.due.get() {
            return;
        }
        self.due.set(due);
        let mut slots = self.timers.slots.borrow_mut();
        let slot = &mut slots[self.key as usize];
        slot.due = due;
        if due < slot.queued {
            let overtaken = std::mem::replace(&mut slot.queued, due);
            if overtaken != NEVER && (slot.later == NEVER || slot.later < overtaken) {
                slot.later = overtaken;
            }
            drop(slots);
            self.timers.enqueue(due, self.key);
        }
    }

    /// Whether we look later than the deadline by more than a fifth of `limit`, or than a tick: then
    /// it was this worker that had no time, and what it did not see in time says nothing of others.
    pub(crate) fn is_late(&self, limit: Duration) -> bool {
        let late = self.timers.now().saturating_sub(self.due.get());
        late > after(0, limit / 5).max(TICK_MS)
    }

    /// Moves the deadline there unless it is earlier.
    pub(crate) fn set_no_later(&self, due: Millis) {
        if due < self.due.get() {
            self.set_at(due);
        }
    }

    /// Which of the worker's timers it is.
    pub(crate) fn key(&self) -> u32 {
        self.key
    }

    /// Whether the deadline has passed, by the last clock reading.
    pub(crate) fn is_due(&self) -> bool {
        self.due.get() <= self.timers.now()
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let mut slots = self.timers.slots.borrow_mut();
        // The entry in the queue is left to the next owner of this place: a site with thousands of
        // new connections a second would otherwise fill the queue with entries of the departed.
        let slot = &mut slots[self.key as usize];
        (slot.due, slot.waker) = (NEVER, None);
        self.timers.free.borrow_mut().push(self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_secs(75);
    const LOOK: Duration = Duration::from_secs(1);

    /// Lets the time pass and fires what is due.
    async fn pass(timers: &Timers, duration: Duration) {
        tokio::time::advance(duration).await;
        timers.read_clock();
        let _ = timers.fire_due();
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_in_use_leaves_no_entries_behind() {
        let timers = Timers::new();
        let timer = timers.timer();
        timer.set(IDLE);
        for _ in 0..1000 {
            timer.set(LOOK);
            pass(&timers, Duration::from_millis(300)).await;
            timer.set(IDLE);
            pass(&timers, Duration::from_secs(2)).await;
            assert!(timers.queue.borrow().len() <= 2, "{:?}", timers.queue);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_entry_that_counts_again_is_no_deadline_missed_and_none_early() {
        let timers = Timers::new();
        let timer = timers.timer();
        timer.set(IDLE);
        timer.set(LOOK);
        pass(&timers, LOOK).await;
        assert!(timer.is_due());
        // The entry of the first deadline is the one that is waited for now.
        timer.set(IDLE);
        pass(&timers, IDLE - LOOK).await;
        assert!(!timer.is_due());
        assert_eq!(timers.queue.borrow().len(), 1);
        pass(&timers, LOOK).await;
        assert!(timer.is_due());
        assert!(timers.queue.borrow().is_empty());
    }
}
