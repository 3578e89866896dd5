//! The hot path: what happens to a request, top to bottom.
//!
//! [`serve`] knows nothing of a protocol: it works on an [`Exchange`] (a neutral head) and a
//! [`Front`] (a body that is pulled, an answer that is pushed). It loads the snapshot once, takes
//! no lock, and waits for the backend and the client only.

use std::net::IpAddr;
use std::task::{Context, Poll, ready};

use policies::backend::PoolIndex;
use policies::route::Action;
use policies::waterfall::PassedOver;

use crate::admission::{Admission, admit, hash_key};
use crate::answer::Answer;
use crate::attempt::{Failed, Next, Passage};
use crate::config::{HeaderEdits, RouteConfig};
use crate::exchange::Exchange;
use crate::front::Front;
use crate::http1::{Framing, Method};
use crate::outcome::Outcome;
use crate::refuse::{ALLOW, Refusal};
use crate::sticky;
use crate::timer::Timer;
use crate::upstream::Lease;
use crate::view::{NoPick, View};
use crate::waiting::Waiting;
use crate::worker::Worker;

/// Where a request came in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    /// Place of the listener in the configuration.
    pub(crate) listener: u16,
    /// The other end of the connection.
    pub(crate) peer: IpAddr,
}

/// Route, pick, forward, record.
///
/// Never fails: what goes wrong becomes an answer the client can act on, or, where part of an
/// answer is out already, a visible cut. If the client goes away the future is dropped, and the
/// lease with it.
pub(crate) async fn serve<F: Front>(
    worker: &Worker,
    front: &mut F,
    exchange: &mut Exchange,
    timer: &Timer,
    entry: Entry,
) {
    let view = worker.view();
    let listener = &view.snapshot.config.listeners[usize::from(entry.listener)];
    let outcome = match admit(&view, exchange, listener, entry.peer) {
        Admission::Forward { route, pools } => {
            let route = &view.snapshot.config.routes[route];
            let peer = entry.peer;
            let passage = Passage { worker, view: &view, listener, route, pools, timer, peer };
            let outcome = passage.forward(front, exchange).await;
            let has_none = matches!(outcome, Outcome::NoHealthyBackend | Outcome::Full);
            if has_none && is_outdated(worker, &view, exchange) {
                // Boxed, like all that is rare.
                return Box::pin(serve(worker, front, exchange, timer, entry)).await;
            }
            outcome
        }
        Admission::Redirect { status, location } => {
            let fields = [("location", location.as_slice())];
            // A listener's own redirect has no route.
            let route = exchange.record.route.map(usize::from);
            let edits = route.map(|route| &view.snapshot.config.routes[route].response_headers);
            let own = Own { status, fields: &fields, edits, body: b"" };
            own.send(worker, front, exchange, timer).await
        }
        Admission::Respond { route } => {
            let route = &view.snapshot.config.routes[route];
            respond(worker, front, exchange, timer, route).await
        }
        Admission::Options => {
            let fields = [("allow", ALLOW.as_bytes())];
            let own = Own { status: 200, fields: &fields, edits: None, body: b"" };
            own.send(worker, front, exchange, timer).await
        }
        Admission::Refuse(outcome) => outcome,
    };
    exchange.record.outcome = outcome;
    if !matches!(outcome, Outcome::Ok | Outcome::Answered) {
        refuse(worker, front, exchange, timer, outcome).await;
    }
    worker.finish(&view, exchange);
}

/// Whether the configuration has become another while a request waited for a pool that is not in it
/// any more. It was sent nowhere, so it goes the way that the new one says, and is demand there.
#[cold]
fn is_outdated(worker: &Worker, view: &View, exchange: &mut Exchange) -> bool {
    let is_outdated = exchange.record.attempts == 0
        && worker.view().snapshot.generation != view.snapshot.generation;
    if is_outdated {
        if let Some(before) = exchange.record.pool.take() {
            view.sheet.moved_on(before);
        }
        exchange.record.route = None;
    }
    is_outdated
}

impl Passage<'_> {
    /// Picks and attempts until an answer is with the client, or nothing more may be tried.
    async fn forward<F: Front>(&self, front: &mut F, exchange: &mut Exchange) -> Outcome {
        let mut lease = match self.pick(exchange) {
            Ok(lease) => lease,
            // Boxed, like what follows a failure: it is rare, and would make every request's
            // future larger.
            Err(none) => match Box::pin(self.wait(front, exchange, none)).await {
                Ok(lease) => {
                    self.worker.timers.read_clock();
                    lease
                }
                Err(ended) => return ended,
            },
        };
        loop {
            exchange.attempt_at(lease.0.slot.id);
            lease = match self.attempt(front, exchange, lease).await {
                Ok(outcome) => return outcome,
                Err(Failed { next: Next::Taken(lease), .. }) => lease,
                Err(Failed { outcome, next: Next::Maybe(again) }) => {
                    match Box::pin(self.elsewhere(front, exchange, outcome, again)).await {
                        Ok(lease) => lease,
                        Err(ended) => return ended,
                    }
                }
            };
        }
    }

    /// A place on a backend of the first pool that has one, and is not filled, or of the first
    /// that has one at all.
    pub(crate) fn pick(&self, exchange: &mut Exchange) -> Result<Lease, Outcome> {
        if let Some(lease) = self.pick_bound(exchange) {
            return Ok(lease);
        }
        let mut none = Outcome::NoHealthyBackend;
        let mut passed = PassedOver::default();
        for (place, pool) in self.pools.iter().enumerate() {
            if self.pools.len() > 1 && passed.pass(place, self.view.is_filled(*pool)) {
                continue;
            }
            if let Some(lease) = self.pick_in(exchange, *pool, &mut none) {
                return Ok(lease);
            }
        }
        let found = passed.find_map(|place| self.pick_in(exchange, self.pools[place], &mut none));
        found.ok_or(none)
    }

    /// A place that another request gives back, or that a new backend brings.
    pub(crate) async fn wait<F: Front>(
        &self,
        front: &mut F,
        exchange: &mut Exchange,
        none: Outcome,
    ) -> Result<Lease, Outcome> {
        let Passage { worker, view, route, pools, timer, .. } = *self;
        let waiting = Waiting { worker, view, route, timer };
        let Some(home) = waiting.home(exchange, pools) else { return Err(none) };
        self.ask(exchange, home);
        let lease = waiting.wait(front, exchange, home, pools).await?;
        let is_of = |pool: &&PoolIndex| view.is_in(usize::from(pool.0), &lease.0.slot);
        if let Some(pool) = pools.iter().find(is_of) {
            self.ask(exchange, *pool);
        }
        Ok(lease)
    }

    /// A place on the backend that a sticky cookie names, in whichever of the pools it is: a
    /// session does not move because an earlier pool has room again.
    fn pick_bound(&self, exchange: &mut Exchange) -> Option<Lease> {
        let sticky = self.route.sticky.as_ref()?;
        let name = sticky::named_backend(exchange, sticky, self.worker.unix_seconds())?;
        let find = |pool: &PoolIndex| Some((*pool, self.view.named(usize::from(pool.0), &name)?));
        let (pool, local) = self.pools.iter().find_map(find)?;
        let limits = self.view.limits(usize::from(pool.0), &exchange.record);
        if local.slot.queue.has_line() || self.view.is_kept(usize::from(pool.0), limits.as_ref()) {
            return None;
        }
        let now = self.worker.timers.now();
        let lease = (!exchange.was_tried(local.slot.id)).then(|| Lease::take(local, now))??;
        let is_stream = self.view.asks_for_stream(usize::from(pool.0), exchange);
        let lease = if is_stream { lease.with_stream()? } else { lease };
        let lease = lease.through(limits.as_ref())?;
        self.ask(exchange, pool);
        Some(lease)
    }

    /// Counts the request as one of this pool, and no longer of the pool asked before.
    fn ask(&self, exchange: &mut Exchange, pool: PoolIndex) {
        let before = exchange.record.pool.replace(pool.0);
        if before == Some(pool.0) {
            return;
        }
        if let Some(before) = before {
            self.view.sheet.moved_on(before);
        }
        self.view.sheet.arrived(pool.0);
    }

    /// A place on a backend of one pool; says in `none` if there is only no room.
    fn pick_in(
        &self,
        exchange: &mut Exchange,
        pool: PoolIndex,
        none: &mut Outcome,
    ) -> Option<Lease> {
        // A further attempt is no new demand, unless another pool takes it.
        if exchange.record.attempts == 0 {
            self.ask(exchange, pool);
        }
        let place = usize::from(pool.0);
        let config = self.view.pool_config(place);
        let key = match config.rule {
            policies::balance::Rule::ConsistentHash => hash_key(exchange, &config.hash_by),
            _ => 0,
        };
        let now = self.worker.timers.now();
        match self.view.pick(place, exchange, now, key, &mut self.worker.rng.borrow_mut()) {
            Ok(lease) => {
                self.ask(exchange, pool);
                return Some(lease);
            }
            Err(NoPick::NoneFree) => *none = Outcome::Full,
            Err(NoPick::NoneEligible) => {}
        }
        None
    }
}

/// The fixed answer of a route.
async fn respond<F: Front>(
    worker: &Worker,
    front: &mut F,
    exchange: &mut Exchange,
    timer: &Timer,
    route: &RouteConfig,
) -> Outcome {
    let Action::Respond { status, body, content_type } = &route.route.action else {
        return Outcome::NoRoute; // admission says Respond only of routes that do
    };
    let fields = [("content-type", content_type.as_bytes())];
    let edits = Some(&route.response_headers);
    let own = Own { status: *status, fields: &fields, edits, body };
    own.send(worker, front, exchange, timer).await
}

/// A client that gets a refusal and nothing else: what it sent is no request.
pub(crate) async fn turn_away<F: Front>(
    worker: &Worker,
    front: &mut F,
    exchange: &mut Exchange,
    timer: &Timer,
    outcome: Outcome,
    status: u16,
) {
    exchange.record.outcome = outcome;
    exchange.record.status = status;
    refuse(worker, front, exchange, timer, outcome).await;
    worker.finish(&worker.view(), exchange);
}

/// Answers with what the door says itself, or makes visible that the answer under way is not whole.
async fn refuse<F: Front>(
    worker: &Worker,
    front: &mut F,
    exchange: &mut Exchange,
    timer: &Timer,
    outcome: Outcome,
) {
    if exchange.record.is_answering || outcome == Outcome::ClientGone {
        return front.cut();
    }
    let status = match exchange.record.status {
        status @ 400..=599 if outcome.closes() => status,
        _ => outcome.status(),
    };
    // What is wrong with an answer was told with the attempt.
    if let Some(reason) = exchange.record.reason.filter(|_| outcome != Outcome::BadResponse) {
        tracing::debug!(reason = reason.word(), client = %exchange.client, "request refused");
    }
    let refusal = Refusal::new(outcome, status, exchange);
    let special: (&str, &[u8]) = match status {
        405 => ("allow", ALLOW.as_bytes()),
        503 if outcome == Outcome::Maintenance => ("retry-after", AFTER_MAINTENANCE),
        503 => ("retry-after", AFTER_OVERLOAD),
        _ => ("x-content-type-options", b"nosniff"),
    };
    let fields = [
        ("content-type", refusal.content_type.as_bytes()),
        ("cache-control", b"no-store"),
        special,
    ];
    let own = Own { status, fields: &fields, edits: None, body: refusal.body.as_bytes() };
    if own.send(worker, front, exchange, timer).await != Outcome::Answered {
        front.cut();
    }
}

/// `Retry-After` in maintenance, in seconds: somebody has to end it first.
const AFTER_MAINTENANCE: &[u8] = b"120";
/// `Retry-After` otherwise, in seconds: room comes back by the second.
const AFTER_OVERLOAD: &[u8] = b"1";

/// Longest wait for a client to take an answer of ours.
const ANSWER_LIMIT: std::time::Duration = std::time::Duration::from_secs(10);

/// An answer of our own.
struct Own<'a> {
    status: u16,
    fields: &'a [(&'a str, &'a [u8])],
    edits: Option<&'a HeaderEdits>,
    body: &'a [u8],
}

impl Own<'_> {
    async fn send<F: Front>(
        self,
        worker: &Worker,
        front: &mut F,
        exchange: &mut Exchange,
        timer: &Timer,
    ) -> Outcome {
        self.encode(worker, front, exchange);
        exchange.record.status = self.status;
        exchange.record.is_answering = true;
        let is_head = exchange.head.method == Method::Head;
        let mut rest = if is_head || is_bodiless(self.status) { b"" } else { self.body };
        exchange.record.bytes_out = rest.len() as u64;
        timer.set(ANSWER_LIMIT);
        let down = &mut exchange.down;
        let sent = std::future::poll_fn(|cx| match poll_send(worker, front, down, &mut rest, cx) {
            Poll::Ready(true) => Poll::Ready(Outcome::Answered),
            Poll::Ready(false) => Poll::Ready(Outcome::ClientGone),
            Poll::Pending if worker.is_stopping_now() => Poll::Ready(Outcome::Stopped),
            Poll::Pending if timer.is_due() => Poll::Ready(Outcome::ClientGone),
            Poll::Pending => Poll::Pending,
        });
        let outcome = sent.await;
        worker.timers.read_clock();
        outcome
    }

    fn encode<F: Front>(&self, worker: &Worker, front: &mut F, exchange: &mut Exchange) {
        let length = self.body.len() as u64;
        let has_none = is_bodiless(self.status) || exchange.head.method == Method::Head;
        let mut out = std::mem::take(&mut exchange.down);
        out.clear();
        let date = worker.http_date();
        let answer = Answer {
            status: self.status,
            backend: None,
            date: &date,
            own: self.fields,
            edits: self.edits,
            via: b"",
            request_id: exchange.id(),
            framing: if has_none { Framing::None } else { Framing::Length(length) },
            own_length: (!is_bodiless(self.status)).then_some(length),
            close: exchange.record.outcome.closes() || !front.is_pulled() || worker.is_stopping(),
            upgrade: None,
        };
        front.encode(&answer, &mut out);
        exchange.down = out;
    }
}

fn is_bodiless(status: u16) -> bool {
    matches!(status, 204 | 304)
}

/// Sends head and body; ready with whether the client took them.
fn poll_send<F: Front>(
    worker: &Worker,
    front: &mut F,
    head: &mut Vec<u8>,
    rest: &mut &[u8],
    cx: &mut Context<'_>,
) -> Poll<bool> {
    loop {
        if !rest.is_empty() || !head.is_empty() {
            let mut window = worker.window.borrow_mut();
            window.clear();
            let count = rest.len().min(window.space(usize::MAX).len());
            let fits = window.append(&rest[..count]);
            debug_assert!(fits, "no more than there is room for");
            *rest = &rest[count..];
            let end = rest.is_empty().then_some(b"".as_slice());
            if front.push(cx, head, &mut window, end).is_err() {
                return Poll::Ready(false);
            }
        }
        match ready!(front.poll_flush(cx)) {
            Ok(()) if rest.is_empty() => return Poll::Ready(true),
            Ok(()) => {}
            Err(_) => return Poll::Ready(false),
        }
    }
}

#[cfg(test)]
mod tests;
