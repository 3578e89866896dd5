//! A worker's own side of a snapshot: what is prepared once per publication, not per request.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use policies::backend::PoolIndex;
use policies::balance::{Candidates, Turn};
use policies::rng::Rng;
use policies::waterfall::Level;
use tokio::time::Instant;

use crate::config::PoolConfig;
use crate::exchange::{Exchange, Record};
use crate::http1::Known;
use crate::http1::Version;
use crate::limits::{Limited, Limits};
use crate::snapshot::{PoolView, Slot, Snapshot};
use crate::stats::{BackendSheet, Registry, Sheet};
use crate::sticky;
use crate::streams::is_events;
use crate::timer::Millis;
use crate::upstream::{Lease, SlotLocal};

/// Our line of `Via`, whole, for a message that came in either version (RFC 9110 §7.6.3).
pub(crate) struct Via([Box<[u8]>; 2]);

impl Via {
    fn new(site: &str) -> Via {
        Via(["1.0", "1.1"].map(|version| format!("via: {version} {site}\r\n").into_bytes().into()))
    }

    #[inline]
    pub(crate) fn of(&self, version: Version) -> &[u8] {
        let [old, new] = &self.0;
        match version {
            Version::Http10 => old,
            Version::Http11 => new,
        }
    }
}

/// A snapshot with this worker's turns, connections and counters.
pub(crate) struct View {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) sheet: Arc<Sheet>,
    pub(crate) via: Via,
    pools: Vec<LocalPool>,
    /// Requests that each route has split so far.
    splits: Box<[Cell<u64>]>,
    /// Whether any route or pool has a limit besides `max_concurrency` of its backends.
    pub(crate) is_limited: bool,
}

struct LocalPool {
    turn: RefCell<Turn>,
    /// Arrivals in `sheet` that the pool's budget knows of.
    reported: Cell<u64>,
    /// By place among the eligible.
    locals: Vec<Rc<SlotLocal>>,
}

/// All backends that a worker knows, by the id of their slot.
pub(crate) type Locals = BTreeMap<u32, Rc<SlotLocal>>;

/// Why no backend was picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoPick {
    /// None is eligible.
    NoneEligible,
    /// Each eligible one is at its cap or was tried for this request, or others wait for it.
    NoneFree,
}

impl View {
    pub(crate) fn new(
        snapshot: Arc<Snapshot>,
        earlier: Option<&View>,
        locals: &mut Locals,
        worker: usize,
        registry: &Registry,
    ) -> View {
        let same = earlier.filter(|view| Arc::ptr_eq(&view.snapshot.layout, &snapshot.layout));
        let sheet = same.map_or_else(
            || {
                let sheet = Sheet::new(Arc::clone(&snapshot.layout));
                registry.register(Arc::clone(&sheet));
                sheet
            },
            |view| Arc::clone(&view.sheet),
        );
        let mut kept = Locals::new();
        for slot in snapshot.pools.iter().flat_map(|pool| &pool.members) {
            let local = locals.remove(&slot.id).unwrap_or_else(|| {
                let sheet = BackendSheet::new();
                registry.register_backend(slot.key.clone(), slot.id, Arc::clone(&sheet));
                Rc::new(SlotLocal::new(Arc::clone(slot), sheet))
            });
            kept.insert(slot.id, local);
        }
        // Those that are members no more. A stream may hold them for hours.
        locals.values().for_each(|local| local.part());
        *locals = kept;
        let turn = |_| RefCell::new(Turn::new(worker, snapshot.config.workers));
        let pools = snapshot.pools.iter().enumerate().map(|(place, pool)| LocalPool {
            turn: same.map_or_else(
                || turn(place),
                |view| RefCell::new(view.pools[place].turn.borrow().clone()),
            ),
            reported: Cell::new(same.map_or(0, |view| view.pools[place].reported.get())),
            locals: pool.eligible.iter().map(|slot| Rc::clone(&locals[&slot.id])).collect(),
        });
        let via = Via::new(&snapshot.config.site);
        // Each worker begins elsewhere in the sequence; any part of it is even.
        let first = (worker as u64) << 32;
        let splits = snapshot.config.routes.iter().enumerate();
        let splits = splits.map(|(route, _)| {
            // A layout is the names of routes and pools: where it is the same, so are the places.
            Cell::new(same.map_or(first, |view| view.splits[route].get()))
        });
        let splits = splits.collect();
        let is_limited = snapshot.gates.iter().any(Option::is_some)
            || snapshot.pools.iter().any(|pool| pool.gates.is_some())
            || snapshot.config.pools.iter().any(|pool| pool.max_streams.is_some());
        View { pools: pools.collect(), splits, sheet, via, is_limited, snapshot }
    }

    /// Whether a backend of this pool has answered since then, as far as this worker has seen.
    #[cold]
    pub(crate) fn has_answered_since(&self, pool: usize, since: Millis) -> bool {
        let has = |local: &Rc<SlotLocal>| local.latency.borrow().has_observed_since(since * 1000);
        self.pools[pool].locals.iter().any(has)
    }

    /// Picks a backend of a pool and takes a place on it. No lock, no allocation.
    pub(crate) fn pick(
        &self,
        pool: usize,
        exchange: &Exchange,
        now: Millis,
        key: u64,
        rng: &mut Rng,
    ) -> Result<Lease, NoPick> {
        let local = &self.pools[pool];
        let view = &self.snapshot.pools[pool];
        if local.locals.is_empty() {
            return Err(NoPick::NoneEligible);
        }
        // Who came earlier goes first.
        let limits = self.limits(pool, &exchange.record);
        if view.queue.has_line() || self.is_kept(pool, limits.as_ref()) {
            return Err(NoPick::NoneFree);
        }
        let is_stream = self.asks_for_stream(pool, exchange);
        let is_usual = !is_stream && !view.has_stranded;
        let locals = &local.locals;
        let mut candidates = Free { locals, exchange, now, passed: None, is_stream, is_usual };
        // Between reading a count and taking a place another worker may have taken the last one:
        // then the pick is repeated without that backend, at most once per backend.
        for _ in 0..=local.locals.len() {
            let mut turn = local.turn.borrow_mut();
            let Some(index) = view.picker.pick(&candidates, &mut turn, key, rng) else { break };
            let lease = Lease::take(&local.locals[index], now);
            let lease = if is_stream { lease.and_then(Lease::with_stream) } else { lease };
            if let Some(lease) = lease {
                return lease.through(limits.as_ref()).ok_or(NoPick::NoneFree);
            }
            candidates.passed = Some(index);
        }
        Err(NoPick::NoneFree)
    }

    /// Whether a pool has as many requests in flight as it takes before the next of a waterfall.
    #[inline]
    pub(crate) fn is_filled(&self, pool: PoolIndex) -> bool {
        let place = usize::from(pool.0);
        match self.pool_config(place).fill_permille {
            // Who fills a pool whole finds out by asking it.
            1_000.. => false,
            permille => self.level(place).is_filled(permille),
        }
    }

    /// A pool's eligible backends together.
    fn level(&self, pool: usize) -> Level {
        let PoolView { eligible, capacity, .. } = &self.snapshot.pools[pool];
        let in_flight = eligible.iter().map(|slot| u64::from(slot.in_flight())).sum();
        Level { in_flight, capacity: capacity.map(u64::from) }
    }

    /// Lets the budgets of all pools know how many requests came since the last time. Once a second.
    pub(crate) fn report_arrivals(&self, now: Instant) {
        let pools = self.snapshot.pools.iter().zip(&self.pools);
        for ((pool, local), place) in pools.zip(0..=u16::MAX) {
            let arrivals = self.sheet.arrivals(place);
            pool.budget.report(arrivals - local.reported.replace(arrivals), now);
        }
    }

    /// What a request has to pass in this pool besides a backend's cap; `None` for most, which meet
    /// no limit.
    #[inline]
    pub(crate) fn limits(&self, pool: usize, record: &Record) -> Option<Limits<'_>> {
        if self.is_limited { self.limits_of(pool, record) } else { None }
    }

    fn limits_of(&self, place: usize, record: &Record) -> Option<Limits<'_>> {
        let Record { route, holds, .. } = *record;
        let pool = self.snapshot.pools[place].gates.as_deref();
        let pool = pool.filter(|_| holds.map(usize::from) != Some(place));
        let gate = route.and_then(|route| self.snapshot.gates[usize::from(route)].as_ref());
        let gate = gate.filter(|_| holds.is_none());
        let name = |route| &*self.snapshot.config.routes[usize::from(route)].route.name;
        let limits = Limits { route: route.map_or("", name), gate, pool };
        (gate.is_some() || pool.is_some()).then_some(limits)
    }

    /// Whether a newcomer with these limits has to stand in line: a gate is closed, or somebody
    /// waits who may be waiting for the same.
    pub(crate) fn is_kept(&self, pool: usize, limits: Option<&Limits<'_>>) -> bool {
        let queue = &self.snapshot.pools[pool].queue;
        limits.is_some_and(|limits| queue.is_waited_for() || !limits.has_room())
    }

    /// What a request of this route has to pass wherever it waits.
    pub(crate) fn limited(&self, route: Option<u16>, is_stream: bool) -> Limited {
        let gate = route.and_then(|route| self.snapshot.gates[usize::from(route)].clone());
        let name = |route| Arc::clone(&self.snapshot.config.routes[usize::from(route)].route.name);
        Limited { route: route.map_or_else(|| Arc::from(""), name), is_stream, gate }
    }

    /// Whether the request asks for what will be a stream: a tunnel, or events where the pool has a
    /// cap on streams of its own. An event stream that nobody asked for in `Accept` is found by
    /// its answer.
    #[inline]
    pub(crate) fn asks_for_stream(&self, pool: usize, exchange: &Exchange) -> bool {
        exchange.head.upgrade.is_some() || (self.is_limited && self.asks_for_events(pool, exchange))
    }

    fn asks_for_events(&self, pool: usize, exchange: &Exchange) -> bool {
        let accepted = || exchange.field(Known::Accept).unwrap_or_default();
        self.pool_config(pool).max_streams.is_some() && is_events(accepted())
    }

    /// The number of this request among those that the route splits.
    pub(crate) fn next_turn(&self, route: usize) -> u64 {
        let turn = self.splits[route].get();
        self.splits[route].set(turn.wrapping_add(1));
        turn
    }

    /// The backend that a sticky cookie names, if it is an eligible one of this pool.
    pub(crate) fn named(&self, pool: usize, name: &[u8]) -> Option<&Rc<SlotLocal>> {
        self.pools[pool].locals.iter().find(|local| sticky::is_named(&local.slot.key, name))
    }

    /// Whether a backend, maybe one younger than this view, is of this pool.
    pub(crate) fn is_in(&self, pool: usize, slot: &Slot) -> bool {
        Arc::ptr_eq(&self.snapshot.pools[pool].queue, &slot.queue)
    }

    pub(crate) fn pool_config(&self, pool: usize) -> &PoolConfig {
        &self.snapshot.config.pools[pool]
    }

    /// Every member's connections, with the settings of its pool.
    pub(crate) fn members(&self) -> impl Iterator<Item = (&PoolConfig, &PoolView)> {
        self.snapshot.config.pools.iter().zip(&self.snapshot.pools)
    }
}

/// The eligible backends of a pool, as one request sees them.
struct Free<'a> {
    locals: &'a [Rc<SlotLocal>],
    exchange: &'a Exchange,
    now: Millis,
    /// One that had no place left when it was to be taken.
    passed: Option<usize>,
    /// Whether a stream is asked for.
    is_stream: bool,
    /// No stream is asked for, and no request is stranded.
    is_usual: bool,
}

impl Free<'_> {
    fn slot(&self, index: usize) -> &Slot {
        &self.locals[index].slot
    }
}

impl Candidates for Free<'_> {
    fn in_flight(&self, index: usize) -> u32 {
        let slot = self.slot(index);
        if self.is_usual {
            return slot.in_flight();
        }
        // A request is not kept away by streams, and a stream looks for those who have fewest.
        let streams = if self.is_stream { slot.streams() } else { 0 };
        slot.at_work().saturating_add(streams)
    }

    fn has_room(&self, index: usize) -> bool {
        let slot = self.slot(index);
        self.passed != Some(index)
            && slot.in_flight() < slot.max_concurrency()
            && !self.exchange.was_tried(slot.id)
            && (!self.is_stream || slot.has_stream_room())
    }

    fn latency_us(&self, index: usize) -> Option<u32> {
        self.locals[index].latency.borrow().value_us()
    }

    fn idle_ms(&self, index: usize) -> u32 {
        let idle = self.now.saturating_sub(self.locals[index].picked.get());
        u32::try_from(idle).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests;
