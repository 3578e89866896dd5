//! Limits on requests at once that are not a backend's: of a route, of a pool as a whole, and the
//! part of a pool that is reserved for a route.
//!
//! Each is a [`Gate`], one exact count over all workers, kept by name over configurations. A pool
//! of capacity `c` of which routes reserve `r1` and `r2` has three gates: one of `r1` and one of
//! `r2` for those two routes, and one of `c - r1 - r2` for everybody, these two included once
//! their own is full. So the sum is never more than `c`, and no flood takes what is reserved.
//!
//! A request without any such limit meets no gate at all.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_utils::CachePadded;

use crate::queue::Queue;
use crate::snapshot::Slot;

/// So many at once.
#[derive(Debug)]
pub struct Gate {
    cap: AtomicU32,
    inside: CachePadded<AtomicU32>,
    /// Where requests may wait that it keeps out, but for the queue of the pool that they leave.
    queues: Mutex<Vec<Arc<Queue>>>,
}

impl Gate {
    pub(crate) fn new(cap: u32) -> Arc<Gate> {
        let (cap, inside) = (AtomicU32::new(cap), CachePadded::default());
        Arc::new(Gate { cap, inside, queues: Mutex::default() })
    }

    /// Another limit, and other pools. Those inside stay, even if there are too many now.
    pub(crate) fn set(&self, cap: u32, queues: Vec<Arc<Queue>>) {
        self.cap.store(cap, Ordering::SeqCst);
        *self.queues.lock().unwrap_or_else(PoisonError::into_inner) = queues;
    }

    /// Requests inside now, over all workers.
    pub fn in_flight(&self) -> u32 {
        self.inside.load(Ordering::Relaxed)
    }

    /// The limit.
    pub fn cap(&self) -> u32 {
        self.cap.load(Ordering::Relaxed)
    }

    fn has_room(&self) -> bool {
        self.inside.load(Ordering::SeqCst) < self.cap.load(Ordering::SeqCst)
    }

    #[must_use]
    fn try_enter(&self) -> bool {
        let cap = self.cap.load(Ordering::SeqCst);
        let next = |now: u32| (now < cap).then_some(now + 1);
        self.inside.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next).is_ok()
    }

    fn leave(&self) {
        let before = self.inside.fetch_sub(1, Ordering::SeqCst);
        debug_assert!(before > 0, "a gate was left twice");
    }

    /// Lets those go on in other pools whom this gate has kept there.
    fn serve_others(&self, but: &Arc<Queue>) {
        let queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let others = queues.iter().filter(|queue| !Arc::ptr_eq(queue, but));
        others.filter(|queue| queue.is_waited_for()).for_each(|queue| queue.serve_again());
    }
}

/// The gates of one pool.
#[derive(Debug)]
pub struct PoolGates {
    /// For everybody.
    pub general: Arc<Gate>,
    /// By the name of the route that has it for itself.
    pub reserved: Vec<(Arc<str>, Arc<Gate>)>,
}

impl PoolGates {
    fn reserved_for(&self, route: &str) -> Option<&Arc<Gate>> {
        self.reserved.iter().find(|(name, _)| **name == *route).map(|(_, gate)| gate)
    }

    /// Its own first, so that the general part is left to those who have none.
    fn for_route(&self, route: &str) -> impl Iterator<Item = &Arc<Gate>> {
        self.reserved_for(route).into_iter().chain([&self.general])
    }
}

/// What one request has to pass besides a backend's cap, as long as its snapshot holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits<'a> {
    pub(crate) route: &'a str,
    pub(crate) gate: Option<&'a Arc<Gate>>,
    pub(crate) pool: Option<&'a PoolGates>,
}

impl Limits<'_> {
    /// Whether [`Limits::enter`] would do, at this moment.
    pub(crate) fn has_room(&self) -> bool {
        self.gate.is_none_or(|gate| gate.has_room())
            && self.pool.is_none_or(|pool| pool.for_route(self.route).any(|gate| gate.has_room()))
    }

    /// Through one of the pool's gates and the route's, or through none.
    ///
    /// The route's comes last, and so is never taken in vain: who waits for it in another pool
    /// would not be told. Who waits for the pool's stands in this pool's queue, and is served
    /// anew when the place on the backend is given back that was taken before.
    pub(crate) fn enter(&self) -> Option<Pass> {
        let mut pass = Pass::default();
        if let Some(pool) = self.pool {
            let gate = pool.for_route(self.route).find(|gate| gate.try_enter())?;
            pass.pool = Some(Arc::clone(gate));
        }
        if let Some(gate) = self.gate {
            if !gate.try_enter() {
                pass.leave();
                return None;
            }
            pass.route = Some(Arc::clone(gate));
        }
        Some(pass)
    }
}

/// The same for a request that waits, whatever becomes of its snapshot: the gates of a pool are
/// found by the name of the route.
#[derive(Debug, Clone)]
pub(crate) struct Limited {
    pub(crate) route: Arc<str>,
    /// Whether it needs a stream's place on the backend as well.
    pub(crate) is_stream: bool,
    pub(crate) gate: Option<Arc<Gate>>,
}

impl Limited {
    /// In this pool.
    pub(crate) fn of<'a>(&'a self, pool: Option<&'a PoolGates>) -> Limits<'a> {
        Limits { route: &self.route, gate: self.gate.as_ref(), pool }
    }
}

/// The gates that a request is through.
#[derive(Debug, Default)]
pub(crate) struct Pass {
    route: Option<Arc<Gate>>,
    pool: Option<Arc<Gate>>,
}

impl Pass {
    /// Whether there was no gate to pass, as for most requests.
    pub(crate) fn is_empty(&self) -> bool {
        self.route.is_none() && self.pool.is_none()
    }

    /// Goes on counting the request where `earlier` did; at the gates of its pool only if it `stays`
    /// there.
    pub(crate) fn take_over(&mut self, earlier: &mut Pass, stays: bool) {
        self.route = earlier.route.take();
        if stays {
            self.pool = earlier.pool.take();
        }
    }

    /// Counts the request out, and lets those go on whom the gates have kept: in the queue of the
    /// backend's pool, and in those of the route's other pools.
    #[cold]
    pub(crate) fn end(&mut self, slot: &Slot) {
        let route = self.leave();
        slot.give_back();
        if slot.queue.is_waited_for() {
            slot.queue.serve_again();
        }
        if let Some(gate) = route {
            gate.serve_others(&slot.queue);
        }
    }

    /// Counts the request out and tells nobody; the route's gate, in front of which others may
    /// wait.
    pub(crate) fn leave(&mut self) -> Option<Arc<Gate>> {
        for gate in [&self.pool, &self.route].into_iter().flatten() {
            gate.leave();
        }
        self.pool = None;
        self.route.take()
    }
}

#[cfg(test)]
mod tests;
