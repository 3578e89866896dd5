//! Whether a request is tried again, and where: the rules of `policies::retry` applied to an
//! exchange, its route and its pool.

use policies::retry::{self, Again, Cause, RetryPolicy, Sent, TOKEN};

use crate::attempt::Passage;
use crate::budget::Budget;
use crate::exchange::{Exchange, Record, Repeat};
use crate::front::Front;
use crate::http1::{FieldLine, Framing, Known};
use crate::outcome::Outcome;
use crate::relay::KEPT_MOST;
use crate::upstream::{Lease, Upstream};
use crate::view::View;
use crate::waiting::Waiting;

/// When no more retries than these are left, no connection is risked that may turn out closed.
const FEW_TOKENS: u64 = 15;

impl Passage<'_> {
    /// Whether another attempt may follow one that failed so.
    pub(crate) fn again(&self, exchange: &Exchange, cause: Cause) -> Again {
        retry::again(&self.route.retries, cause, self.sent(exchange))
    }

    /// A place at another backend that is free now, paid for if it has to be, instead of the one
    /// that the request has: it does not stand in its own way where there are limits.
    pub(crate) fn another(
        &self,
        exchange: &mut Exchange,
        again: Again,
        held: &mut Lease,
    ) -> Option<Lease> {
        let (payer, paid) = (exchange.record.pool, self.pay(exchange, again)?);
        exchange.record.holds = payer;
        let mut lease = self.pick_other(exchange);
        exchange.record.holds = None;
        match (&mut lease, paid) {
            (Some(lease), paid) => {
                lease.follow(held);
                exchange.record.paid = paid.map(|(_, paid)| (payer, paid));
            }
            (None, Some((budget, paid))) => budget.give_back(paid),
            (None, None) => {}
        }
        lease
    }

    /// Whether a request that awaits an answer had better wait for a place at another backend: its
    /// own is not well, and others are, though full.
    pub(crate) fn may_move_on(&self, exchange: &Exchange, again: Again) -> bool {
        let Passage { worker, view, route, pools, timer, .. } = *self;
        let is_paid = match again {
            Again::Never => false,
            Again::Free => true,
            // It is paid when the attempt has ended, which may have cost some of them.
            Again::Paid | Again::PaidAhead => self.budget(exchange).left() >= FEW_TOKENS,
        };
        is_paid && Waiting { worker, view, route, timer }.may_wait(exchange, pools)
    }

    /// The same after an attempt that brought no answer: then it is also waited for. The error is
    /// how the request ends.
    pub(crate) async fn elsewhere<F: Front>(
        &self,
        front: &mut F,
        exchange: &mut Exchange,
        failed: Outcome,
        again: Again,
    ) -> Result<Lease, Outcome> {
        let payer = exchange.record.pool;
        let Some(paid) = self.pay(exchange, again) else { return Err(failed) };
        let found = match self.pick_other(exchange) {
            Some(lease) => Ok(lease),
            None => self.wait(front, exchange, Outcome::Full).await,
        };
        exchange.record.paid = paid.map(|(_, paid)| (payer, paid));
        self.worker.timers.read_clock();
        found.map_err(|ended| {
            if let Some((budget, paid)) = paid {
                budget.give_back(paid);
            }
            // What the backend did says more than that no other had room.
            let is_ours = matches!(ended, Outcome::ClientGone | Outcome::Stopped);
            if is_ours { ended } else { failed }
        })
    }

    /// Takes what it costs, if it does: how much, and the bucket that it came from. `None` is no.
    fn pay(&self, exchange: &Exchange, again: Again) -> Option<Option<(&Budget, i64)>> {
        let budget = self.budget(exchange);
        match again {
            Again::Never => None,
            Again::Free => Some(None),
            // Some backend is well, so it is likely to help.
            Again::PaidAhead if self.has_hope(exchange) => {
                Some(Some((budget, budget.take(Again::Paid)?)))
            }
            Again::Paid | Again::PaidAhead => Some(Some((budget, budget.take(again)?))),
        }
    }

    /// Whether somebody has answered while this attempt had none.
    fn has_hope(&self, exchange: &Exchange) -> bool {
        let record = &exchange.record;
        let since = record.started_ms + record.asked.saturating_sub(record.started) / 1000;
        self.pools.iter().any(|pool| self.view.has_answered_since(usize::from(pool.0), since))
    }

    fn pick_other(&self, exchange: &mut Exchange) -> Option<Lease> {
        let lease = self.pick(exchange).ok();
        if lease.is_some() || self.route.retries.other_backend {
            return lease;
        }
        exchange.forget_tried();
        self.pick(exchange).ok()
    }

    /// The bucket of the pool that the request is at.
    pub(crate) fn budget(&self, exchange: &Exchange) -> &Budget {
        &self.view.snapshot.pools[self.pool(exchange)].budget
    }

    /// Whether the request is sent a second time, over a new connection, to a backend that closed a
    /// kept one before it answered: once, and paid like a further attempt, though it is none. What
    /// the backend has hardly got, and does no harm twice, needs neither permission nor token.
    #[cold]
    pub(crate) fn is_repeated(
        &self,
        exchange: &mut Exchange,
        lease: &Lease,
        upstream: &Upstream,
    ) -> bool {
        let sent = Sent { attempts: 1, ..self.sent(exchange) };
        let again = retry::again(&self.route.retries, Cause::Reset, sent);
        let budget = self.budget(exchange);
        let may = exchange.record.repeat == Repeat::None && !sent.is_answering && sent.is_body_here;
        let is_due = may && again == Again::Paid;
        let is_paid = is_due && budget.take(again).is_some();
        if is_due && (!is_paid || budget.left() < FEW_TOKENS) {
            lease.0.distrust(self.worker.timers.now());
        }
        let head = &exchange.head;
        let is_harmless = head.method.is_idempotent() && head.framing == Framing::None;
        let is_sent = is_paid || (may && is_harmless && upstream.wire.socket.was_closed_before());
        if is_sent {
            exchange.record.repeat = if is_paid { Repeat::Paid } else { Repeat::Spent };
        }
        is_sent
    }

    /// A repeat that was paid for is over, or has not come about. One that fails costs no more than
    /// its token: all that a backend keeps may fail at once, and no request has a second one.
    pub(crate) fn settle_repeat(&self, exchange: &mut Exchange, was_sent: bool) {
        exchange.record.repeat = Repeat::Spent;
        if !was_sent {
            self.budget(exchange).give_back(TOKEN);
        }
    }

    /// Whether it does no harm if the connection turns out to be dead: the request may be sent
    /// again, and all of it will be here.
    pub(crate) fn may_fail(&self, exchange: &Exchange) -> bool {
        let is_short = match exchange.head.framing {
            Framing::None => true,
            Framing::Length(length) => length <= KEPT_MOST,
            Framing::Chunked | Framing::UntilClose => false,
        };
        is_short && self.route.retries.repeats() && self.is_repeatable(exchange)
    }

    /// Whether its body is to be kept while it is sent.
    pub(crate) fn keeps_body(&self, exchange: &Exchange) -> bool {
        let is_bodiless = matches!(exchange.head.framing, Framing::None | Framing::Length(0));
        !is_bodiless && self.is_repeatable(exchange)
    }

    fn is_repeatable(&self, exchange: &Exchange) -> bool {
        let head = &exchange.head;
        let method = exchange.text(head.method_span);
        let has_key = || self.passes_key(exchange);
        let methods = &self.route.retries.methods;
        retry::is_repeatable(methods, method, head.method.is_idempotent(), has_key)
    }

    /// Whether the backend sees a key by which it knows a request again.
    fn passes_key(&self, exchange: &Exchange) -> bool {
        let is_key = |line: &&FieldLine| line.known == Known::IdempotencyKey && !line.hop;
        let key = exchange.head.fields.iter().find(is_key);
        let removed = &self.route.request_headers.remove;
        key.is_some_and(|key| !exchange.text(key.value).is_empty())
            && !removed.iter().any(|name| name.eq_ignore_ascii_case("idempotency-key"))
    }

    fn sent(&self, exchange: &Exchange) -> Sent {
        Sent {
            attempts: u32::from(exchange.record.attempts),
            is_repeatable: self.is_repeatable(exchange),
            is_body_here: !exchange.record.is_body_gone,
            is_answering: exchange.record.is_answering,
        }
    }
}

/// A paid retry has an answer that is passed on, and has helped unless its body is cut: what was
/// taken ahead is there for others again, however long the body is.
#[cold]
pub(crate) fn settle_ahead(view: &View, policy: &RetryPolicy, record: &mut Record) {
    let Some((payer, paid)) = &mut record.paid else { return };
    if *paid > TOKEN && !policy.on.has_status(record.status) {
        let payer = usize::from(payer.unwrap_or_default());
        view.snapshot.pools[payer].budget.give_back(*paid - TOKEN);
        *paid = TOKEN;
    }
}
