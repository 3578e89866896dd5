//! Whether a request is tried again, and where: the rules of `policies::retry` applied to an
//! exchange, its route and its pool.

use policies::retry::{self, Again, Cause, Sent};

use crate::attempt::Passage;
use crate::budget::Budget;
use crate::exchange::Exchange;
use crate::front::Front;
use crate::http1::{Framing, Known};
use crate::outcome::Outcome;
use crate::relay::KEPT_MOST;
use crate::upstream::Lease;

impl Passage<'_> {
    /// Whether another attempt may follow one that failed so.
    pub(crate) fn again(&self, exchange: &Exchange, cause: Cause) -> Again {
        retry::again(&self.route.retries, cause, self.sent(exchange))
    }

    /// A place at another backend that is free now, paid for if it has to be.
    pub(crate) fn another(&self, exchange: &mut Exchange, again: Again) -> Option<Lease> {
        let paid = self.pay(exchange, again)?;
        let lease = self.pick_other(exchange);
        match (&lease, paid) {
            (Some(_), paid) => exchange.record.paid = paid.map_or(0, |(_, paid)| paid),
            (None, Some((budget, paid))) => budget.give_back(paid),
            (None, None) => {}
        }
        lease
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
        let Some(paid) = self.pay(exchange, again) else { return Err(failed) };
        let found = match self.pick_other(exchange) {
            Some(lease) => Ok(lease),
            None => self.wait(front, exchange, Outcome::Full).await,
        };
        exchange.record.paid = paid.map_or(0, |(_, paid)| paid);
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
            Again::Paid | Again::PaidAhead => Some(Some((budget, budget.take(again)?))),
        }
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

    /// Whether the request may be sent a second time to a backend that closed an idle connection.
    pub(crate) fn may_be_sent_again(&self, exchange: &Exchange) -> bool {
        let sent = self.sent(exchange);
        sent.is_repeatable && sent.is_body_here && !sent.is_answering
    }

    /// Whether it does no harm if the connection turns out to be dead: the request may be sent
    /// again, and all of it will be here.
    pub(crate) fn may_fail(&self, exchange: &Exchange) -> bool {
        let is_short = match exchange.head.framing {
            Framing::None => true,
            Framing::Length(length) => length <= KEPT_MOST,
            Framing::Chunked | Framing::UntilClose => false,
        };
        is_short && self.is_repeatable(exchange)
    }

    /// Whether its body is to be kept while it is sent.
    pub(crate) fn keeps_body(&self, exchange: &Exchange) -> bool {
        let is_bodiless = matches!(exchange.head.framing, Framing::None | Framing::Length(0));
        !is_bodiless && self.is_repeatable(exchange)
    }

    fn is_repeatable(&self, exchange: &Exchange) -> bool {
        let head = &exchange.head;
        let method = exchange.text(head.method_span);
        let has_key = || exchange.field(Known::IdempotencyKey).is_some_and(|key| !key.is_empty());
        let methods = &self.route.retries.methods;
        retry::is_repeatable(methods, method, head.method.is_idempotent(), has_key)
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
