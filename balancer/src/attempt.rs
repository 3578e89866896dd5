//! One attempt: a connection to the picked backend, the relay over it, and what it means.

use std::future::Future;
use std::net::IpAddr;
use std::task::Poll;

use health::connect::is_exhausted;
use policies::backend::PoolIndex;
use policies::retry::{Again, Cause};

use crate::config::{ListenerConfig, RouteConfig};
use crate::debt::Debt;
use crate::exchange::{Exchange, Paid, Repeat};
use crate::forward::Forwarding;
use crate::front::Front;
use crate::outcome::Outcome;
use crate::owed::Owed;
use crate::reason::Reason;
use crate::relay::{Broken, Deadlines, Down, Ended, LOOK_AFTER, Relay, Up};
use crate::stats::BackendFault;
use crate::sticky;
use crate::timer::{Millis, Timer, after};
use crate::tunnel::Tunnel;
use crate::upstream::{Care, Lease, Upstream};
use crate::view::View;
use crate::worker::Worker;

/// One request on its way through one route: what stays the same over its attempts.
pub(crate) struct Passage<'a> {
    pub(crate) worker: &'a Worker,
    pub(crate) view: &'a View,
    pub(crate) listener: &'a ListenerConfig,
    pub(crate) route: &'a RouteConfig,
    /// Where it may go, in order.
    pub(crate) pools: &'a [PoolIndex],
    pub(crate) timer: &'a Timer,
    pub(crate) peer: IpAddr,
}

/// An attempt that brought no answer to the client.
pub(crate) struct Failed {
    /// How the request ends if nothing else is tried.
    pub(crate) outcome: Outcome,
    /// What comes after it.
    pub(crate) next: Next,
}

/// Whether a failed attempt is followed by another.
pub(crate) enum Next {
    /// If the budget and a backend allow it.
    Maybe(Again),
    /// It is: this one was given up for it, so its place was taken first.
    Taken(Lease),
}

/// How connecting ended.
enum Dialed {
    Done(std::io::Result<Upstream>),
    /// By the door: a stop, or a drain that has taken long enough.
    Ended(Outcome),
    TimedOut {
        /// We slept through the limit.
        is_ours: bool,
    },
}

/// A place that was taken for the next attempt while this one went on.
pub(crate) struct Taken {
    lease: Lease,
    pool: Option<u16>,
    paid: Paid,
}

impl Passage<'_> {
    pub(crate) async fn attempt<F: Front>(
        &self,
        front: &mut F,
        exchange: &mut Exchange,
        mut lease: Lease,
    ) -> Result<Outcome, Failed> {
        exchange.record.backend = Some(std::sync::Arc::clone(&lease.0.slot));
        let mut idle = self.reuse(exchange, &lease);
        loop {
            let mut upstream = match idle.take() {
                Some(upstream) => upstream,
                None => match self.connect(exchange, &lease).await {
                    Ok(upstream) => upstream,
                    Err(failed) => {
                        self.count_retry(exchange, false);
                        if exchange.record.repeat == Repeat::Paid {
                            self.settle_repeat(exchange, false);
                        }
                        return Err(failed);
                    }
                },
            };
            self.bind_session(exchange, &lease);
            self.write_head(exchange, &lease);
            let ended = self.relay(front, exchange, &mut upstream, &mut lease).await;
            // It was closed while it was idle, which says nothing of the backend.
            let is_stale = matches!(ended, Err(Broken::Closed)) && upstream.is_reused;
            if is_stale && self.is_repeated(exchange, &lease, &upstream) {
                lease.0.sheet.failed(BackendFault::StaleConnection);
                continue;
            }
            self.note(exchange, &lease, ended.is_ok());
            return match ended {
                Ok(Ended::Whole { is_reusable, is_taken }) => {
                    if is_reusable {
                        let config = &self.view.pool_config(self.pool(exchange)).upstream;
                        lease.0.keep(upstream, config, self.worker.timers.now());
                    } else {
                        drop(upstream);
                    }
                    if is_taken {
                        return Ok(Outcome::Ok);
                    }
                    drop(lease);
                    Ok(self.hand_over(front, exchange).await)
                }
                // The relay goes on with what streams.
                Ok(Ended::Tunnel | Ended::Streaming) => {
                    self.begin_stream(exchange, &mut lease);
                    Ok(self.tunnel(front, exchange, upstream).await)
                }
                Err(Broken::GivenUp(next)) => Err(given_up(exchange, next)),
                Err(broken) => self.judge(exchange, &lease, &upstream, &broken),
            };
        }
    }

    async fn relay<F: Front>(
        &self,
        front: &mut F,
        exchange: &mut Exchange,
        upstream: &mut Upstream,
        lease: &mut Lease,
    ) -> Result<Ended, Broken> {
        let deadlines = self.deadlines(exchange);
        let look_at = self.worker.timers.after(LOOK_AFTER);
        let Deadlines { attempt, first_byte, total, .. } = deadlines;
        self.timer.set_at(attempt.min(first_byte).min(total).min(look_at));
        exchange.record.asked = self.worker.timers.micros();
        let repeats = !exchange.kept.is_empty();
        let keeps = self.keeps_body(exchange);
        let mut relay = Relay {
            worker: self.worker,
            front,
            exchange,
            upstream,
            route: self.route,
            view: self.view,
            timer: self.timer,
            keeps,
            takes_any: false,
            deadlines,
            max_body: self.route.max_body.or(self.listener.max_body).unwrap_or(u64::MAX),
            up: Up::Sending,
            down: Down::Head,
            interim: 0,
            owed: Debt::default(),
            look_at,
            repeats,
            was_late: false,
            is_streaming: false,
        };
        loop {
            let ended = std::future::poll_fn(|cx| relay.poll(cx)).await;
            let cause = match ended {
                Err(Broken::Unwanted(cause)) => cause,
                Ok(Ended::Streaming) => {
                    self.begin_stream(relay.exchange, lease);
                    continue;
                }
                ended => return ended,
            };
            // It is given up only for a place elsewhere; else an answer is the best there is, and
            // without one the next look may find a place.
            let again = self.again(relay.exchange, cause);
            let (pool, paid) = (relay.exchange.record.pool, relay.exchange.record.paid);
            if let Some(lease) = self.another(relay.exchange, again, lease) {
                // Until this attempt is judged the record is its own.
                let record = &mut relay.exchange.record;
                let pool = std::mem::replace(&mut record.pool, pool);
                let paid = std::mem::replace(&mut record.paid, paid);
                return Err(Broken::GivenUp(Taken { lease, pool, paid }));
            }
            match cause {
                Cause::Unwell if self.may_move_on(relay.exchange, again) => {
                    return Err(Broken::LeftBehind);
                }
                Cause::Unwell => lease.strand(),
                _ => relay.takes_any = true,
            }
        }
    }

    /// From now on it takes no place of a request, and is none where demand is counted.
    #[cold]
    fn begin_stream(&self, exchange: &mut Exchange, lease: &mut Lease) {
        if lease.become_stream() {
            self.view.sheet.stream_opened(exchange.record.pool.unwrap_or_default());
            exchange.record.stream_from_us = Some(self.worker.since(exchange.record.started));
        }
    }

    pub(crate) fn pool(&self, exchange: &Exchange) -> usize {
        usize::from(exchange.record.pool.unwrap_or_default())
    }

    fn reuse(&self, exchange: &Exchange, lease: &Lease) -> Option<Box<Upstream>> {
        // One that was closed is enough for a request.
        if exchange.record.attempts > 1 && exchange.record.repeat != Repeat::None {
            return None;
        }
        let care = if self.may_fail(exchange) { Care::Repeatable } else { Care::Once };
        let config = self.view.pool_config(self.pool(exchange));
        lease.0.reuse(&config.upstream, self.worker.timers.now(), care)
    }

    async fn connect(
        &self,
        exchange: &mut Exchange,
        lease: &Lease,
    ) -> Result<Box<Upstream>, Failed> {
        let timers = &self.worker.timers;
        let begun = timers.read_clock();
        let Deadlines { first_byte, total, .. } = self.deadlines(exchange);
        let (outcome, fault) = match self.dial(lease, first_byte.min(total)).await {
            Dialed::Done(Ok(upstream)) => {
                exchange.record.connect_us = Some(self.worker.since(begun));
                return Ok(Box::new(upstream));
            }
            Dialed::Done(Err(error)) => {
                let backend = &lease.0.slot.key;
                tracing::debug!(pool = %backend.pool, backend = %backend.backend, %error, "connect failed");
                (Outcome::ConnectFailed, Some(connect_fault(&error)))
            }
            Dialed::Ended(outcome) => (outcome, None),
            Dialed::TimedOut { is_ours } => {
                let (outcome, fault) = match timers.now() {
                    now if total <= now => (Outcome::TotalTimeout, BackendFault::TotalTimeout),
                    now if first_byte <= now => {
                        (Outcome::FirstByteTimeout, BackendFault::FirstByteTimeout)
                    }
                    _ => (Outcome::ConnectTimeout, BackendFault::ConnectTimeout),
                };
                (outcome, (!is_ours).then_some(fault))
            }
        };
        if let Some(fault) = fault {
            lease.0.sheet.failed(fault);
        }
        // In all of these nothing was sent.
        let again = match outcome {
            Outcome::ConnectFailed | Outcome::ConnectTimeout | Outcome::Drained => {
                self.again(exchange, Cause::Connect)
            }
            _ => Again::Never,
        };
        Err(Failed { outcome, next: Next::Maybe(again) })
    }

    /// Connects until `timeouts.connect`, or `latest` if that is earlier.
    async fn dial(&self, lease: &Lease, latest: Millis) -> Dialed {
        let (timers, limit) = (&self.worker.timers, self.route.timeouts.connect);
        let mut due = timers.after(limit).min(latest);
        self.timer.set_at(due);
        // Boxed: connections are rare, and what an idle client owns includes the room for this.
        let mut connecting = Box::pin(self.open(lease));
        let mut was_late = false;
        std::future::poll_fn(|cx| {
            if let Poll::Ready(done) = connecting.as_mut().poll(cx) {
                return Poll::Ready(Dialed::Done(done));
            }
            if self.worker.may_end()
                && let Some(outcome) = self.worker.ends(Some(&lease.0.slot), self.timer, false)
            {
                return Poll::Ready(Dialed::Ended(outcome));
            }
            if !self.timer.is_due() {
                return Poll::Pending;
            }
            let is_ours = self.timer.is_late(limit);
            if timers.now() < due {
                // A drain was to end it earlier, and was called off.
            } else if is_ours && !was_late {
                // We slept through it, which says nothing of the backend: once more.
                (was_late, due) = (true, timers.after(limit).min(latest));
            } else {
                return Poll::Ready(Dialed::TimedOut { is_ours });
            }
            self.timer.set_at(due);
            Poll::Pending
        })
        .await
    }

    /// A new connection; if there is nothing left for one, instead of those that nobody uses.
    async fn open(&self, lease: &Lease) -> std::io::Result<Upstream> {
        match Upstream::connect(&lease.0, self.worker.timers.now()).await {
            Err(error) if is_exhausted(&error) => {
                self.worker.make_room();
                Upstream::connect(&lease.0, self.worker.timers.now()).await
            }
            done => done,
        }
    }

    /// A session that is not bound to this backend yet is bound by the answer.
    fn bind_session(&self, exchange: &mut Exchange, lease: &Lease) {
        let Some(sticky) = &self.route.sticky else { return };
        let key = &lease.0.slot.key;
        let now = self.worker.unix_seconds();
        let bound = sticky::named_backend(exchange, sticky, now);
        let is_bound = bound.is_some_and(|name| sticky::is_named(key, &name));
        exchange.set_cookie = (!is_bound).then(|| sticky::set_cookie(sticky, key, now));
    }

    fn write_head(&self, exchange: &mut Exchange, lease: &Lease) {
        Forwarding {
            listener: self.listener,
            route: self.route,
            via: self.view.via.of(exchange.head.version),
            peer: self.peer,
            authority: &lease.0.slot.authority,
        }
        .write(exchange);
    }

    fn deadlines(&self, exchange: &Exchange) -> Deadlines {
        let timers = &self.worker.timers;
        let timeouts = &self.route.timeouts;
        let from_start = |limit| after(exchange.record.started_ms, limit);
        Deadlines {
            attempt: timeouts.attempt.map_or(Millis::MAX, |limit| timers.after(limit)),
            first_byte: from_start(timeouts.first_byte),
            total: timeouts.total.map_or(Millis::MAX, from_start),
            idle: timers.after(timeouts.idle_stream),
        }
    }

    /// Counts the attempt, and lets the balancing rule know how long the backend took.
    fn note(&self, exchange: &Exchange, lease: &Lease, is_ok: bool) {
        let record = &exchange.record;
        if let Some(first_byte) = record.first_byte_us {
            // What it waited before, for us, for others and for its own client, was not its time.
            let asked = record.asked.saturating_sub(record.started);
            let took = first_byte.saturating_sub(u32::try_from(asked).unwrap_or(u32::MAX));
            let breaker = &self.view.pool_config(self.pool(exchange)).conduct.breaker;
            let slow = breaker.as_ref().map_or(u64::MAX, |breaker| breaker.slower_than_us);
            lease.0.sheet.answered(record.status, u64::from(took), slow);
            let now = self.worker.timers.now() * 1000;
            lease.0.latency.borrow_mut().observe(took, now);
        }
        self.count_retry(exchange, is_ok && !self.route.retries.on.has_status(record.status));
    }

    /// Counts a further attempt that has ended.
    fn count_retry(&self, exchange: &Exchange, has_helped: bool) {
        let record = &exchange.record;
        if record.attempts > 1 {
            self.view.sheet.retried(record.pool.unwrap_or_default(), has_helped);
            if let Some((payer, paid)) = record.paid {
                let payer = usize::from(payer.unwrap_or_default());
                self.view.snapshot.pools[payer].budget.settle(paid, has_helped);
            }
        }
    }

    /// The rest of an answer, for which nothing of the backend is needed.
    async fn hand_over<F: Front>(&self, front: &mut F, exchange: &Exchange) -> Outcome {
        let Deadlines { total, .. } = self.deadlines(exchange);
        let (worker, timer) = (self.worker, self.timer);
        let owed = Owed { worker, front, timer, idle: self.route.timeouts.idle_stream, total };
        // Boxed like all that is rare.
        Box::pin(owed.run()).await
    }

    async fn tunnel<F: Front>(
        &self,
        front: &mut F,
        exchange: &mut Exchange,
        mut upstream: Box<Upstream>,
    ) -> Outcome {
        let silent_at = self.worker.timers.after(self.route.timeouts.idle_stream);
        self.timer.set_at(silent_at);
        let tunnel = Tunnel {
            worker: self.worker,
            front,
            upstream: &mut upstream,
            timer: self.timer,
            idle: self.route.timeouts.idle_stream,
            silent_at,
            owed: Debt::default(),
            record: &mut exchange.record,
            client_ended: false,
            backend_ended: false,
        };
        Box::pin(tunnel.run()).await
    }

    fn judge(
        &self,
        exchange: &mut Exchange,
        lease: &Lease,
        upstream: &Upstream,
        broken: &Broken,
    ) -> Result<Outcome, Failed> {
        if exchange.record.repeat == Repeat::Paid {
            self.settle_repeat(exchange, true);
        }
        let (outcome, fault) = name(broken, upstream.is_reused);
        exchange.record.reason = reason(broken);
        if let Some(fault) = fault {
            lease.0.sheet.failed(fault);
            let key = &lease.0.slot.key;
            let reason = exchange.record.reason.map_or(outcome.word(), Reason::word);
            tracing::debug!(pool = %key.pool, backend = %key.backend, reason, "attempt failed");
        }
        let again = match broken {
            Broken::Closed | Broken::HeadCut => self.again(exchange, Cause::Reset),
            Broken::TimedOut(Outcome::AttemptTimeout) | Broken::Late(Outcome::AttemptTimeout) => {
                self.again(exchange, Cause::TooSlow)
            }
            // Its backend leaves, and was waited for as long as its drain allows.
            Broken::TimedOut(Outcome::Drained) | Broken::LeftBehind => {
                self.again(exchange, Cause::Unwell)
            }
            _ => Again::Never,
        };
        Err(Failed { outcome, next: Next::Maybe(again) })
    }
}

/// Another backend may do better, and a place there is taken.
fn given_up(exchange: &mut Exchange, next: Taken) -> Failed {
    let record = &mut exchange.record;
    if record.repeat == Repeat::Paid {
        // It brought an answer, which is what it was for.
        record.repeat = Repeat::Spent;
    }
    (record.status, record.first_byte_us) = (0, None);
    (record.pool, record.paid) = (next.pool, next.paid);
    Failed { outcome: Outcome::BadResponse, next: Next::Taken(next.lease) }
}

/// Whose fault it is that there is no connection.
fn connect_fault(error: &std::io::Error) -> BackendFault {
    if is_exhausted(error) { BackendFault::DoorExhausted } else { BackendFault::ConnectFailed }
}

/// The outcome and whose fault it is.
fn name(broken: &Broken, is_reused: bool) -> (Outcome, Option<BackendFault>) {
    match broken {
        Broken::Closed if is_reused => (Outcome::BackendReset, Some(BackendFault::StaleConnection)),
        Broken::Closed | Broken::HeadCut => (Outcome::BackendReset, Some(BackendFault::Reset)),
        Broken::BadResponse(_) => (Outcome::BadResponse, Some(BackendFault::BadResponse)),
        Broken::AnswerCut(_) => (Outcome::AnswerCut, Some(BackendFault::AnswerCut)),
        Broken::ClientGone => (Outcome::ClientGone, None),
        Broken::LeftBehind => (Outcome::NoHealthyBackend, None),
        Broken::ClientBody(_) => (Outcome::ClientBodyBroken, None),
        Broken::BodyTooLarge => (Outcome::BodyTooLarge, None),
        Broken::TimedOut(outcome) => (*outcome, timeout_fault(*outcome)),
        Broken::Late(outcome) => (*outcome, None),
        // `relay` and `attempt` act on these themselves.
        Broken::Unwanted(_) | Broken::GivenUp(_) => (Outcome::BadResponse, None),
    }
}

/// What the outcome does not tell.
fn reason(broken: &Broken) -> Option<Reason> {
    match broken {
        Broken::BadResponse(reason) => Some(*reason),
        Broken::AnswerCut(fault) | Broken::ClientBody(fault) => Some((*fault).into()),
        _ => None,
    }
}

fn timeout_fault(outcome: Outcome) -> Option<BackendFault> {
    match outcome {
        Outcome::AttemptTimeout => Some(BackendFault::AttemptTimeout),
        Outcome::FirstByteTimeout => Some(BackendFault::FirstByteTimeout),
        Outcome::TotalTimeout => Some(BackendFault::TotalTimeout),
        // Either side may be the silent one.
        _ => None,
    }
}
