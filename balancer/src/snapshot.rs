//! The world as one request sees it.
//!
//! A [`Snapshot`] is immutable and complete: routes, pools, and of each pool the backends that
//! are *eligible* (serving and healthy), so that `pick` never filters. Whatever changes while a
//! request runs is not in it but in the [`Slot`] of a backend, which outlives snapshots: counts
//! survive every change of membership and configuration.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_utils::CachePadded;
use policies::backend::BackendKey;
use policies::balance::Picker;
use policies::route::RouteTable;

use crate::budget::Budget;
use crate::config::DoorConfig;
use crate::limits::{Gate, PoolGates};
use crate::parting::RanOut;
use crate::queue::Queue;
use crate::stats::Layout;

/// Routes, pools and settings at one moment.
pub struct Snapshot {
    /// Grows by one with every publication.
    pub version: u64,
    /// Grows by one with every configuration.
    pub generation: u64,
    /// What it was built from.
    pub config: Arc<DoorConfig>,
    /// Compiled once per configuration.
    pub routes: Arc<RouteTable>,
    /// Which series this configuration counts in.
    pub layout: Arc<Layout>,
    /// By the place of the route: its own limit, if it has one.
    pub gates: Vec<Option<Arc<Gate>>>,
    /// By [`policies::backend::PoolIndex`].
    pub pools: Vec<PoolView>,
}

/// The eligible backends of one pool.
pub struct PoolView {
    /// Their rule, prepared for exactly these.
    pub picker: Picker,
    /// In the order of the picker's entries.
    pub eligible: Vec<Arc<Slot>>,
    /// All slots that may have connections or requests: of every member that has an address,
    /// eligible or not, and of those that went or moved and finish their last requests.
    pub members: Vec<Arc<Slot>>,
    /// Requests that wait for one of them.
    pub queue: Arc<Queue>,
    /// What its retries are paid from. Outlives snapshots, like the slots.
    pub budget: Arc<Budget>,
    /// Requests that it can have in flight as things stand; `None` if nothing bounds it.
    pub capacity: Option<u32>,
    /// What bounds the pool besides its backends' caps.
    pub gates: Option<Arc<PoolGates>>,
    /// Whether requests were stranded at an eligible one when this was published.
    pub(crate) has_stranded: bool,
}

/// What all workers share about one backend, exactly. Padded, because every request writes it.
///
/// The roster *closes* it (its cap is 0) when its backend drains, goes or moves. From then on
/// nobody enters, not even a request that still holds an earlier snapshot, so that a closed slot
/// seen idle stays idle and its machine may be switched off.
#[derive(Debug)]
pub struct Slot {
    /// Never used twice in the life of the process.
    pub id: u32,
    /// Whose it is.
    pub key: BackendKey,
    /// Where requests go. Another address is another slot.
    pub address: SocketAddr,
    /// The address as text: `Host` of a request that has none, and the log.
    pub authority: Box<str>,
    /// Who waits for a place here, or on another backend of the pool.
    pub(crate) queue: Arc<Queue>,
    /// Or one of [`PROBATION`] and 0.
    max_concurrency: AtomicU32,
    max_streams: AtomicU32,
    /// Written when a stream begins or ends, so seldom enough for this line.
    streams: AtomicU32,
    /// Requests that may still enter on probation.
    permits: AtomicU32,
    is_unwell: AtomicBool,
    /// Of those in flight: see [`Slot::strand`].
    stranded: AtomicU32,
    /// Since when its backend has been leaving, if it is. The control side only.
    parting_since: Mutex<Option<Instant>>,
    ran_out: AtomicU8,
    cuts: AtomicU32,
    in_flight: CachePadded<AtomicU32>,
}

/// In place of a cap: the half-open breaker of the backend lets counted requests through. As a cap
/// it would be as good as none, so that whoever compares with it sees room.
const PROBATION: u32 = u32::MAX - 1;

impl Slot {
    /// Closed, until it is given a cap.
    pub(crate) fn new(id: u32, key: BackendKey, address: SocketAddr, queue: Arc<Queue>) -> Slot {
        Slot {
            id,
            key,
            address,
            authority: address.to_string().into(),
            queue,
            max_concurrency: AtomicU32::new(0),
            max_streams: AtomicU32::new(u32::MAX),
            streams: AtomicU32::new(0),
            permits: AtomicU32::new(0),
            is_unwell: AtomicBool::new(false),
            stranded: AtomicU32::new(0),
            parting_since: Mutex::new(None),
            ran_out: AtomicU8::new(0),
            cuts: AtomicU32::new(0),
            in_flight: CachePadded::new(AtomicU32::new(0)),
        }
    }

    /// Requests in flight now, over all workers, without those that became streams.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Requests it may have in flight; `u32::MAX` is no limit, 0 is closed.
    pub fn max_concurrency(&self) -> u32 {
        self.max_concurrency.load(Ordering::Relaxed)
    }

    /// The roster alone, under its lock.
    pub(crate) fn set_max_concurrency(&self, cap: Option<u32>) {
        let cap = cap.unwrap_or(u32::MAX);
        // Told ten times a second while a backend is fresh; who reads it should not miss it for that.
        if self.max_concurrency() != cap || self.permits.load(Ordering::Relaxed) > 0 {
            // Permits first: see `try_enter_on_probation`.
            self.permits.store(0, Ordering::SeqCst);
            self.max_concurrency.store(cap, Ordering::SeqCst);
        }
    }

    /// Lets so many requests enter and then nobody, until it is given a cap. Only for a slot that
    /// lets nobody in, and for no more than its cap has room for.
    pub(crate) fn set_probation(&self, permits: u32) {
        self.permits.store(permits, Ordering::SeqCst);
        let cap = if permits > 0 { PROBATION } else { 0 };
        self.max_concurrency.store(cap, Ordering::SeqCst);
    }

    /// Whether requests on probation may still enter.
    pub(crate) fn has_permits(&self) -> bool {
        self.max_concurrency() == PROBATION
    }

    pub(crate) fn close(&self) {
        self.set_max_concurrency(Some(0));
    }

    /// Closes it because its backend drains, goes or moves, and begins to count the time.
    pub(crate) fn part(&self) {
        self.parting().get_or_insert_with(Instant::now);
        self.close();
    }

    /// Its backend is wanted again: nothing that ran out meanwhile counts any longer.
    pub(crate) fn rejoin(&self) {
        if self.parting().take().is_some() {
            self.set_ran_out(RanOut::default());
            self.cuts.store(0, Ordering::Relaxed);
        }
    }

    /// How long its backend has been leaving, if it is.
    pub(crate) fn parting_for(&self, now: Instant) -> Option<Duration> {
        self.parting().map(|since| now.saturating_duration_since(since))
    }

    fn parting(&self) -> MutexGuard<'_, Option<Instant>> {
        // Nothing that holds it can panic.
        self.parting_since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is not waited for any longer.
    pub(crate) fn ran_out(&self) -> RanOut {
        RanOut::of_bits(self.ran_out.load(Ordering::Relaxed))
    }

    pub(crate) fn set_ran_out(&self, ran_out: RanOut) {
        self.ran_out.store(ran_out.to_bits(), Ordering::Relaxed);
    }

    /// One was cut because of that.
    pub(crate) fn note_cut(&self) {
        self.cuts.fetch_add(1, Ordering::Relaxed);
    }

    /// How many were, since it began to leave. Whole once it is idle: who is cut gives its place back
    /// after it was counted here.
    pub(crate) fn cuts(&self) -> u32 {
        self.cuts.load(Ordering::Relaxed)
    }

    /// Whether it was found to be in no state to answer. Requests that wait for it may move on;
    /// those of a backend that drains or has no weight stay, since it answers them.
    pub(crate) fn is_unwell(&self) -> bool {
        self.is_unwell.load(Ordering::Relaxed)
    }

    pub(crate) fn set_unwell(&self, is_unwell: bool) {
        self.is_unwell.store(is_unwell, Ordering::Relaxed);
    }

    /// A request in flight stays although its backend was found unwell: what it was sent into may
    /// be a cable that is cut. It keeps its place, but says nothing of what the backend does once
    /// it is well again.
    pub(crate) fn strand(&self) {
        self.stranded.fetch_add(1, Ordering::Relaxed);
    }

    /// One that was stranded has its answer or has ended.
    pub(crate) fn unstrand(&self) {
        let before = self.stranded.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before > 0, "a request was unstranded twice");
    }

    /// How many of those in flight are stranded.
    pub(crate) fn stranded(&self) -> u32 {
        self.stranded.load(Ordering::Relaxed)
    }

    /// Requests in flight that are not stranded.
    pub(crate) fn at_work(&self) -> u32 {
        self.in_flight().saturating_sub(self.stranded())
    }

    /// Whether no request is in flight and no stream open. True of a closed slot is true for ever,
    /// or until it is given a cap again.
    pub(crate) fn is_idle(&self) -> bool {
        // In this order: a request that becomes a stream is counted there before it is not here.
        self.in_flight.load(Ordering::SeqCst) == 0 && self.streams.load(Ordering::SeqCst) == 0
    }

    /// Tunnels and event streams open now, over all workers.
    pub fn streams(&self) -> u32 {
        self.streams.load(Ordering::Relaxed)
    }

    pub(crate) fn set_max_streams(&self, cap: u32) {
        self.max_streams.store(cap, Ordering::SeqCst);
    }

    pub(crate) fn has_stream_room(&self) -> bool {
        self.streams.load(Ordering::SeqCst) < self.max_streams.load(Ordering::SeqCst)
    }

    /// Takes one place for a stream, as exactly as [`Slot::try_enter`]. Whoever does has, or had
    /// until now, a place as a request: that is what a closed slot refuses.
    #[must_use]
    pub(crate) fn try_enter_stream(&self) -> bool {
        let cap = self.max_streams.load(Ordering::SeqCst);
        let next = |now: u32| (now < cap).then_some(now + 1);
        self.streams.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next).is_ok()
    }

    /// Gives a stream's place back, and hands it on if somebody waits.
    #[cold]
    pub(crate) fn leave_stream(self: &Arc<Slot>) {
        self.give_stream_back();
        if self.queue.is_waited_for() {
            self.queue.freed(self);
        }
    }

    /// The same where nobody is to be told: the queue's lock is held.
    pub(crate) fn give_stream_back(&self) {
        let before = self.streams.fetch_sub(1, Ordering::SeqCst);
        debug_assert!(before > 0, "a stream's place was given back twice");
    }

    /// Takes one place. False when the cap is reached: request cap + 1 is never sent, whatever
    /// the number of workers.
    #[must_use]
    pub(crate) fn try_enter(&self) -> bool {
        let cap = self.max_concurrency();
        if cap == u32::MAX {
            self.in_flight.fetch_add(1, Ordering::SeqCst);
        } else if cap == PROBATION {
            return self.try_enter_on_probation();
        } else {
            let next = |now: u32| (now < cap).then_some(now + 1);
            let entered = self.in_flight.fetch_update(Ordering::SeqCst, Ordering::Relaxed, next);
            if entered.is_err() {
                return false;
            }
        }
        // SeqCst on both sides, count before cap here and cap before count in whoever closes: one
        // of the two sees the other. On x86-64 this costs a plain load.
        if self.max_concurrency.load(Ordering::SeqCst) == 0 {
            self.give_back();
            return false;
        }
        true
    }

    /// Exactly as many enter as there were permits.
    ///
    /// Count first, then permit. Whoever closes the slot or gives it a cap takes the permits away
    /// before: so a request that got one is in the count that they see after that, and one that came
    /// too late gives its place back.
    #[cold]
    fn try_enter_on_probation(&self) -> bool {
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        let next = |left: u32| left.checked_sub(1);
        let taken = self.permits.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next);
        let Ok(left) = taken else {
            self.give_back();
            return false;
        };
        if left == 1 {
            // The last one shuts the door, unless the roster has said something else meanwhile.
            let relaxed = Ordering::Relaxed;
            let _ = self.max_concurrency.compare_exchange(PROBATION, 0, Ordering::SeqCst, relaxed);
        }
        true
    }

    /// Gives a place back, and hands it on if somebody waits.
    #[inline]
    pub(crate) fn leave(self: &Arc<Slot>) {
        self.give_back();
        if self.queue.is_waited_for() {
            self.queue.freed(self);
        }
    }

    /// Gives a place back that nobody can be waiting for: the slot is closed, or the queue's lock
    /// is held. SeqCst, as `queue.rs` says.
    pub(crate) fn give_back(&self) {
        let before = self.in_flight.fetch_sub(1, Ordering::SeqCst);
        debug_assert!(before > 0, "a place was given back twice");
    }
}

#[cfg(test)]
mod tests;
