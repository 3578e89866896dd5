//! A request that waits for a place on a backend.
//!
//! It has its exchange and its connection, and nothing of a backend. It stands in the queue of
//! every pool that its route may send it to, because a place in any of them will do, and is
//! counted in one of them: the last, which is the one that can grow. It ends with a place, with an
//! answer that says why not, or with its client: then the place in line is free at once.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use policies::backend::PoolIndex;

use crate::config::RouteConfig;
use crate::exchange::Exchange;
use crate::front::Front;
use crate::outcome::Outcome;
use crate::queue::{Answer, Bearer, Grant, Place, Queue, Refusal, Stand, Ticket};
use crate::stats::Shed;
use crate::timer::{Millis, Timer, after};
use crate::upstream::Lease;
use crate::view::View;
use crate::worker::Worker;

/// How often somebody looks whether more has become possible by the clock alone.
const TICK: Duration = Duration::from_millis(50);

/// How often a client is looked at that may have left behind bytes it sent before.
const LOOK: Duration = Duration::from_secs(1);

/// What waiting needs besides the request.
pub(crate) struct Waiting<'a> {
    pub(crate) worker: &'a Worker,
    pub(crate) view: &'a View,
    pub(crate) route: &'a RouteConfig,
    pub(crate) timer: &'a Timer,
}

/// When a limit in time is reached, and what it is called.
type Limit = (Millis, Outcome);

impl Waiting<'_> {
    /// The pool that the request is to be counted in while it waits; `None` if there is nothing
    /// to wait for.
    pub(crate) fn home(&self, exchange: &Exchange, pools: &[PoolIndex]) -> Option<PoolIndex> {
        let tried = exchange.slots_tried();
        let can_serve = |pool: &&PoolIndex| self.queue(**pool).can_serve(tried, Instant::now());
        pools.iter().rev().find(can_serve).copied()
    }

    /// Whether another backend takes requests, though all may be full, and there is room to wait for
    /// a place there. What is only expected is not worth giving up what one has.
    pub(crate) fn may_wait(&self, exchange: &Exchange, pools: &[PoolIndex]) -> bool {
        let (tried, bytes) = (exchange.slots_tried(), exchange.bytes.len() as u64);
        let has_room = |home| self.queue(home).has_room(bytes);
        pools.iter().any(|pool| self.queue(*pool).has_other(tried))
            && self.home(exchange, pools).is_some_and(has_room)
    }

    /// Waits in `home` and the other pools until one of them has a place.
    pub(crate) async fn wait<F: Front>(
        &self,
        front: &mut F,
        exchange: &mut Exchange,
        home: PoolIndex,
        pools: &[PoolIndex],
    ) -> Result<Lease, Outcome> {
        // Who is kept by a limit goes through the queue to be served in order, even if nobody may
        // wait there.
        if self.may_nobody_wait(home) && !self.view.is_limited {
            return Err(Outcome::Full);
        }
        let begun = self.worker.timers.read_clock();
        let limit = self.limit(exchange, home);
        // A place comes by a task of another worker, and a client leaves by the socket.
        front.watch();
        let standing =
            std::future::poll_fn(|cx| Poll::Ready(self.stand_in_line(exchange, home, pools, cx)));
        let ended = match standing.await {
            Ok(standing) => {
                let _counted = Counted::new(self, home);
                std::future::poll_fn(|cx| self.poll(front, &standing, limit, cx)).await
            }
            Err(refusal) => Err(self.name(home, refusal)),
        };
        let waited = self.worker.since(begun);
        let earlier = exchange.record.queue_us.unwrap_or_default();
        exchange.record.queue_us = Some(earlier.saturating_add(waited));
        self.view.sheet.waited(home.0, u64::from(waited));
        self.lease(ended?)
    }

    /// What ends the waiting if nothing else does.
    fn limit(&self, exchange: &Exchange, home: PoolIndex) -> Limit {
        let timeouts = &self.route.timeouts;
        let from_start = |limit| after(exchange.record.started_ms, limit);
        let queue = self.worker.timers.after(self.view.pool_config(usize::from(home.0)).queue.time);
        let total = timeouts.total.map_or(Millis::MAX, from_start);
        let limits = [
            (queue, Outcome::QueueTimeout),
            (from_start(timeouts.first_byte), Outcome::FirstByteTimeout),
            (total, Outcome::TotalTimeout),
        ];
        limits.into_iter().min_by_key(|limit| limit.0).unwrap_or((queue, Outcome::QueueTimeout))
    }

    fn stand_in_line(
        &self,
        exchange: &Exchange,
        home: PoolIndex,
        pools: &[PoolIndex],
        cx: &mut Context<'_>,
    ) -> Result<Standing, Refusal> {
        let bytes = exchange.bytes.len() as u64;
        let tried = exchange.slots_tried();
        let asks = |pool: &PoolIndex| self.view.asks_for_stream(usize::from(pool.0), exchange);
        let is_stream = pools.iter().any(asks);
        let limited = self.view.limited(exchange.record.route, is_stream);
        let bearer = Bearer { priority: self.route.priority, bytes, tried, limited };
        let ticket = Ticket::new(bearer, cx.waker().clone());
        let (places, is_asked) = (Vec::with_capacity(pools.len()), Cell::new(false));
        let mut standing = Standing { ticket, home, places, is_asked };
        standing.join(self.queue(home), Stand::Home)?;
        for pool in pools.iter().filter(|pool| **pool != home) {
            // Where nothing can come there is no need to stand.
            let _ = standing.join(self.queue(*pool), Stand::Guest);
        }
        standing.ticket.stands_in_one_less();
        Ok(standing)
    }

    fn poll<F: Front>(
        &self,
        front: &mut F,
        standing: &Standing,
        limit: Limit,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Grant, Outcome>> {
        let home = standing.home;
        match standing.ticket.take_answer() {
            Some(Answer::Granted(grant)) => return Poll::Ready(Ok(grant)),
            Some(Answer::Refused(refusal)) => return Poll::Ready(Err(self.name(home, refusal))),
            None => {}
        }
        if self.worker.is_stopping_now() {
            return Poll::Ready(Err(Outcome::Stopped));
        }
        if standing.has_lost(front, cx) {
            return Poll::Ready(Err(Outcome::ClientGone));
        }
        let now = self.worker.timers.now();
        if limit.0 <= now {
            if limit.1 == Outcome::QueueTimeout {
                self.view.sheet.shed(home.0, Shed::QueueTimeout);
            }
            return Poll::Ready(Err(limit.1));
        }
        let look = if standing.is_asked.get() { TICK } else { LOOK };
        self.timer.set_at(limit.0.min(after(now, look)));
        Poll::Pending
    }

    fn may_nobody_wait(&self, home: PoolIndex) -> bool {
        self.view.pool_config(usize::from(home.0)).queue.max == 0
    }

    fn name(&self, home: PoolIndex, refusal: Refusal) -> Outcome {
        let (shed, outcome) = match refusal {
            Refusal::NothingComes => return Outcome::NoHealthyBackend,
            Refusal::QueueFull if self.may_nobody_wait(home) => return Outcome::Full,
            Refusal::QueueFull => (Shed::QueueFull, Outcome::QueueFull),
            Refusal::Displaced => (Shed::Displaced, Outcome::QueueFull),
        };
        self.view.sheet.shed(home.0, shed);
        outcome
    }

    /// The place as this worker knows it: the backend may be younger than the request's snapshot.
    fn lease(&self, grant: Grant) -> Result<Lease, Outcome> {
        let Some(local) = self.worker.local(&grant.slot) else {
            // Its pool has left the configuration between the grant and now.
            grant.give_back();
            return Err(Outcome::NoHealthyBackend);
        };
        Ok(Lease::granted(local, grant, self.worker.timers.now()))
    }

    fn queue(&self, pool: PoolIndex) -> &Arc<Queue> {
        &self.view.snapshot.pools[usize::from(pool.0)].queue
    }
}

/// A ticket, and where it stands. Dropping it leaves all lines, and gives back what was granted
/// and not taken.
struct Standing {
    ticket: Arc<Ticket>,
    home: PoolIndex,
    places: Vec<(Arc<Queue>, Place)>,
    /// The client has ended its side, and was asked whether it is still there.
    is_asked: Cell<bool>,
}

impl Standing {
    fn join(&mut self, queue: &Arc<Queue>, stand: Stand) -> Result<(), Refusal> {
        let place = queue.join(&self.ticket, stand, Instant::now())?;
        self.places.push((Arc::clone(queue), place));
        Ok(())
    }

    /// Whether the client has left. One that ended its side may have, or may only have said all it
    /// had to say: it is asked, and what it says to that is looked for at every tick, because the
    /// runtime tells of nothing more behind an end.
    fn has_lost<F: Front>(&self, front: &mut F, cx: &mut Context<'_>) -> bool {
        if self.is_asked.get() || front.poll_left(cx).is_pending() {
            return self.is_asked.get() && front.poll_reset(cx).is_ready();
        }
        self.is_asked.set(true);
        front.poll_reset(cx).is_ready() || front.ask(cx).is_err()
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        self.ticket.end();
        for (queue, place) in &self.places {
            queue.quit(*place);
        }
    }
}

/// A request that is counted as waiting until this is dropped.
struct Counted<'a> {
    worker: &'a Worker,
    view: &'a View,
    home: PoolIndex,
}

impl<'a> Counted<'a> {
    fn new(waiting: &Waiting<'a>, home: PoolIndex) -> Counted<'a> {
        let Waiting { worker, view, .. } = *waiting;
        view.sheet.queued(home.0);
        worker.waiters.begin();
        Counted { worker, view, home }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.view.sheet.unqueued(self.home.0);
        self.worker.waiters.end();
    }
}

/// The requests of one worker that wait, for [`tend`].
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    count: Cell<usize>,
    some: tokio::sync::Notify,
}

impl Waiters {
    fn begin(&self) {
        self.count.set(self.count.get() + 1);
        self.some.notify_one();
    }

    fn end(&self) {
        self.count.set(self.count.get() - 1);
    }
}

/// While requests of this worker wait: looks whether the clock has made room, because a cap rises
/// after a slow start and a launch that is expected is not expected for ever. One task per worker.
pub(crate) async fn tend(worker: Rc<Worker>) {
    loop {
        worker.waiters.some.notified().await;
        while worker.waiters.count.get() > 0 {
            tokio::time::sleep(TICK).await;
            let now = Instant::now();
            let view = worker.view();
            let waited_for = view.snapshot.pools.iter().filter(|pool| pool.queue.is_waited_for());
            waited_for.for_each(|pool| pool.queue.tick(now));
        }
    }
}
