//! The queue of a pool: requests that wait at the door for a place on one of its backends.
//!
//! It belongs to the pool, not to a configuration and not to a worker: it outlives publications,
//! and sees backends that appear while somebody waits. Whoever finds a free place takes no lock
//! and only looks that nobody waits ([`Queue::is_waited_for`], one load). Whoever waits stands in
//! line with a [`Ticket`]; the place that becomes free goes to the first in line at once, as a
//! place already taken, so that no newcomer can overtake (docs/decisions/0009).
//!
//! No wake-up is lost. A place is given back *before* the leaver looks whether anybody waits, and
//! a ticket is in line *before* its owner looks for a place, both sequentially consistent: one of
//! the two sees the other. All else happens under the pool's one lock, which is held for as long
//! as it takes to look at the backends, and never across a wait or a wake-up.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crossbeam_utils::CachePadded;

use crate::config::QueueConfig;
use crate::limits::{Limited, PoolGates};
use crate::snapshot::Slot;

mod lines;
#[cfg(test)]
mod tests;
mod ticket;

use lines::Lines;
pub(crate) use lines::Place;
pub(crate) use ticket::{Answer, Bearer, Grant, Refusal, Ticket};

/// Whether a ticket counts against the limits of the queue it joins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stand {
    /// It does: this is the one pool that the request is counted in.
    Home,
    /// It stands here as well, because a place here would do too.
    Guest,
}

/// Requests that wait for a place in one pool.
pub struct Queue {
    /// Tickets in line. Written under the lock; read by everybody who enters or leaves.
    waiting: CachePadded<AtomicU32>,
    /// Whether one of them lacks a backend's place, and not only what its route or pool limits:
    /// only then does a newcomer overtake anybody.
    is_in_line: AtomicBool,
    inside: Mutex<Inside>,
}

struct Inside {
    lines: Lines,
    /// The eligible backends as last published.
    slots: Vec<Arc<Slot>>,
    gates: Option<Arc<PoolGates>>,
    max: u32,
    max_bytes: u64,
    /// Until when a backend is expected although there is none.
    expected: Option<Instant>,
    /// There are backends of which the first check has not ended.
    awaits_checks: bool,
}

/// How often in a row a gate may close between looking and entering: then it is left to whoever
/// leaves next, or to the next tick.
const TRIES: usize = 8;

/// Tickets that were answered, to be woken when the lock is free.
type Answered = Vec<Arc<Ticket>>;

impl Queue {
    /// Nobody waits, and there is nothing to wait for.
    pub(crate) fn new() -> Arc<Queue> {
        let inside = Inside {
            lines: Lines::default(),
            slots: Vec::new(),
            gates: None,
            max: 0,
            max_bytes: 0,
            expected: None,
            awaits_checks: false,
        };
        Arc::new(Queue {
            waiting: CachePadded::default(),
            is_in_line: AtomicBool::new(false),
            inside: Mutex::new(inside),
        })
    }

    /// Whether a newcomer who only needs a backend's place has to stand in line.
    #[inline]
    pub(crate) fn has_line(&self) -> bool {
        self.is_in_line.load(Ordering::Relaxed)
    }

    /// Whether a leaver has to hand its place on, and a newcomer with limits to stand in line.
    #[inline]
    pub(crate) fn is_waited_for(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    /// Tickets in line, also those whose request is counted in another pool.
    pub fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Whether a place can come for a request that has been to these slots: on another eligible
    /// backend, or on one that is expected.
    pub(crate) fn can_serve(&self, tried: &[u32], now: Instant) -> bool {
        self.lock().can_serve(tried, now)
    }

    /// Whether there is an eligible backend that a request with these slots behind it has not been to.
    pub(crate) fn has_other(&self, tried: &[u32]) -> bool {
        self.lock().slots.iter().any(|slot| !tried.contains(&slot.id))
    }

    /// Whether one more that holds so many bytes may stand in line.
    pub(crate) fn has_room(&self, bytes: u64) -> bool {
        let inside = self.lock();
        inside.lines.has_room(bytes, inside.max, inside.max_bytes)
    }

    /// Stands in line, and is served at once if there is a place and nobody before.
    ///
    /// Says no if no place can come, or if the queue is full of others that are not less
    /// important. A less important one that waits has to go for a more important newcomer. Who is
    /// served at once needs no room: a queue full of those that a limit of their route keeps is
    /// no reason to send others away.
    pub(crate) fn join(
        &self,
        ticket: &Arc<Ticket>,
        stand: Stand,
        now: Instant,
    ) -> Result<Place, Refusal> {
        let mut answered = Answered::new();
        let mut inside = self.lock();
        if !inside.can_serve(ticket.tried(), now) {
            return Err(Refusal::NothingComes);
        }
        ticket.stands_in_one_more();
        let place = inside.lines.push(Arc::clone(ticket), stand);
        self.show(&inside);
        inside.serve_all(&mut answered);
        // A guest has its room at home.
        let has_room =
            stand == Stand::Guest || !ticket.is_waiting() || inside.make_room(place, &mut answered);
        self.close(inside, answered);
        if has_room { Ok(place) } else { Err(Refusal::QueueFull) }
    }

    /// Leaves the line, served or not.
    pub(crate) fn quit(&self, place: Place) {
        let mut inside = self.lock();
        inside.lines.remove(place);
        self.close(inside, Answered::new());
    }

    /// A place on `slot` was given back while somebody waited.
    #[cold]
    pub(crate) fn freed(&self, slot: &Arc<Slot>) {
        let mut answered = Answered::new();
        let mut inside = self.lock();
        // A backend whose checks fail finishes what it has and gets nothing new.
        if inside.slots.iter().any(|eligible| Arc::ptr_eq(eligible, slot)) {
            inside.serve(slot, &mut answered);
        }
        self.close(inside, answered);
    }

    /// These are eligible from now on, and these are the limits. Where none is and the first check of
    /// some has not ended, requests wait for it (`awaits_checks`).
    pub(crate) fn publish(
        &self,
        slots: &[Arc<Slot>],
        gates: Option<&Arc<PoolGates>>,
        config: &QueueConfig,
        awaits_checks: bool,
        now: Instant,
    ) {
        let mut inside = self.lock();
        inside.awaits_checks = awaits_checks;
        inside.slots = slots.to_vec();
        inside.gates = gates.cloned();
        (inside.max, inside.max_bytes) = (config.max, config.bytes);
        self.settle(inside, now);
    }

    /// The pool is configured no longer: nothing will come.
    pub(crate) fn send_away(&self, now: Instant) {
        let mut inside = self.lock();
        (inside.slots, inside.expected, inside.awaits_checks) = (Vec::new(), None, false);
        self.settle(inside, now);
    }

    /// A backend is expected until then, so requests may wait although none is eligible.
    pub(crate) fn expect_until(&self, until: Option<Instant>, now: Instant) {
        let mut inside = self.lock();
        inside.expected = until;
        self.settle(inside, now);
    }

    /// Looks again: a cap may have risen by the clock, an expectation may have ended. To be called
    /// every 50 ms while somebody waits.
    pub(crate) fn tick(&self, now: Instant) {
        self.settle(self.lock(), now);
    }

    /// A gate was left that kept somebody here.
    #[cold]
    pub(crate) fn serve_again(&self) {
        let mut answered = Answered::new();
        let mut inside = self.lock();
        inside.serve_all(&mut answered);
        self.close(inside, answered);
    }

    fn settle(&self, mut inside: MutexGuard<'_, Inside>, now: Instant) {
        let mut answered = Answered::new();
        if inside.slots.is_empty() && !inside.is_expecting(now) {
            inside.send_away(&mut answered);
        } else {
            inside.serve_all(&mut answered);
            inside.send_away_returned(now, &mut answered);
        }
        self.close(inside, answered);
    }

    fn show(&self, inside: &Inside) {
        self.waiting.store(inside.lines.len(), Ordering::SeqCst);
        // Whatever is read of a slot after this is not older than the leaver who saw nobody wait.
        fence(Ordering::SeqCst);
    }

    fn close(&self, inside: MutexGuard<'_, Inside>, answered: Answered) {
        self.show(&inside);
        self.is_in_line.store(inside.may_any_pass(), Ordering::Relaxed);
        drop(inside);
        answered.iter().for_each(|ticket| ticket.wake());
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        // Each step under it leaves the lines whole.
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    fn is_expecting(&self, now: Instant) -> bool {
        let awaits_checks = self.awaits_checks && self.slots.is_empty();
        awaits_checks || self.expected.is_some_and(|until| now < until)
    }

    fn can_serve(&self, tried: &[u32], now: Instant) -> bool {
        self.is_expecting(now) || self.slots.iter().any(|slot| !tried.contains(&slot.id))
    }

    /// Whether there is somebody who lacks nothing but a place on a backend.
    fn may_any_pass(&self) -> bool {
        let has_stream_room = || self.slots.iter().any(|slot| slot.has_stream_room());
        self.lines.has(|who| {
            who.limited.of(self.gates.as_deref()).has_room()
                && (!who.limited.is_stream || has_stream_room())
        })
    }

    /// Until those who wait are few enough. False if the newcomer had to go itself.
    fn make_room(&mut self, newcomer: Place, answered: &mut Answered) -> bool {
        while self.lines.is_over(self.max, self.max_bytes) {
            let Some(least) = self.lines.newest_below(newcomer) else {
                self.lines.remove(newcomer);
                return false;
            };
            let gone = self.lines.remove(least).filter(|gone| gone.refuse(Refusal::Displaced));
            answered.extend(gone);
        }
        true
    }

    /// Hands out what is free, one place per backend and round.
    fn serve_all(&mut self, answered: &mut Answered) {
        let mut has_served = true;
        while has_served && self.may_any_pass() {
            has_served = false;
            for place in 0..self.slots.len() {
                let slot = Arc::clone(&self.slots[place]);
                has_served |= self.serve_one(&slot, answered);
            }
        }
    }

    /// Hands out what is free on one backend.
    fn serve(&mut self, slot: &Arc<Slot>, answered: &mut Answered) {
        while self.serve_one(slot, answered) {}
    }

    fn serve_one(&mut self, slot: &Arc<Slot>, answered: &mut Answered) -> bool {
        if self.lines.is_empty() || !slot.try_enter() {
            return false;
        }
        let gates = self.gates.clone();
        let may_pass = |who: &Ticket| {
            who.limited.of(gates.as_deref()).has_room()
                && (!who.limited.is_stream || slot.has_stream_room())
        };
        let mut in_vain = 0;
        while in_vain < TRIES {
            let next = self.lines.next(may_pass, |who| !who.was_at(slot.id));
            let Some((place, ticket)) = next else { break };
            if !ticket.is_waiting() {
                self.lines.remove(place);
                continue;
            }
            let Some(grant) = enter(slot, &ticket.limited, gates.as_deref()) else {
                in_vain += 1;
                continue;
            };
            self.lines.remove(place);
            match ticket.grant(grant) {
                Ok(()) => {
                    answered.push(ticket);
                    return true;
                }
                // One that was served in another pool meanwhile, or left, takes nothing.
                Err(mut grant) => {
                    grant.pass.leave();
                    leave_stream(slot, grant.has_stream);
                }
            }
        }
        // Nobody in line may have it, and under the lock nobody can join.
        slot.give_back();
        false
    }

    /// For those who are back from all that is left nothing will come either.
    fn send_away_returned(&mut self, now: Instant, answered: &mut Answered) {
        for (place, ticket) in self.lines.returned() {
            if !self.can_serve(ticket.tried(), now) {
                self.lines.remove(place);
                if ticket.stands_in_one_less() {
                    answered.push(ticket);
                }
            }
        }
    }

    /// Nothing will come: those who stand nowhere else are told.
    fn send_away(&mut self, answered: &mut Answered) {
        for ticket in self.lines.drain() {
            if ticket.stands_in_one_less() {
                answered.push(ticket);
            }
        }
    }
}

/// All that a request needs besides its place on `slot`, or nothing: others come to the same gates
/// and stream places without the queue's lock, so one may be closed after all.
fn enter(slot: &Arc<Slot>, limited: &Limited, gates: Option<&PoolGates>) -> Option<Grant> {
    let has_stream = limited.is_stream;
    if has_stream && !slot.try_enter_stream() {
        return None;
    }
    let pass = limited.of(gates).enter();
    if pass.is_none() {
        leave_stream(slot, has_stream);
    }
    Some(Grant { slot: Arc::clone(slot), pass: pass?, has_stream })
}

fn leave_stream(slot: &Slot, has_stream: bool) {
    if has_stream {
        slot.give_stream_back();
    }
}

/// Without the slots: each of them holds its queue.
impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("waiting", &self.waiting()).finish_non_exhaustive()
    }
}
