//! What a client is owed of an answer that the backend is done with.
//!
//! Nothing of the backend is held here, neither its place nor its connection: a client that reads
//! slowly takes nobody's place. It is bounded by what one window holds, because more is not read
//! of an answer before the client has taken what was.

use std::task::{Context, Poll};
use std::time::Duration;

use crate::debt::Debt;
use crate::front::Front;
use crate::outcome::Outcome;
use crate::timer::{Millis, Timer};
use crate::worker::Worker;

/// The rest of an answer.
pub(crate) struct Owed<'a, F: Front> {
    pub(crate) worker: &'a Worker,
    pub(crate) front: &'a mut F,
    pub(crate) timer: &'a Timer,
    /// Longest time in which the client takes nothing.
    pub(crate) idle: Duration,
    /// When the request has to be over.
    pub(crate) total: Millis,
}

impl<F: Front> Owed<'_, F> {
    /// Waits until the client has taken everything, left, or been too slow.
    pub(crate) async fn run(self) -> Outcome {
        let mut left = Debt::default();
        left.note(self.front.unsent());
        let mut silent = self.worker.timers.after(self.idle);
        self.timer.set_at(silent.min(self.total));
        let front = self.front;
        std::future::poll_fn(|cx: &mut Context<'_>| {
            match front.poll_flush(cx) {
                Poll::Ready(Ok(())) => {
                    self.worker.timers.read_clock();
                    return Poll::Ready(Outcome::Ok);
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Outcome::ClientGone),
                Poll::Pending => {}
            }
            if self.worker.is_stopping_now() {
                return Poll::Ready(Outcome::Stopped);
            }
            if !self.timer.is_due() {
                return Poll::Pending;
            }
            if left.has_shrunk(front.unsent()) {
                silent = self.worker.timers.after(self.idle);
            }
            let now = self.worker.timers.now();
            if self.total <= now {
                return Poll::Ready(Outcome::TotalTimeout);
            }
            if silent <= now {
                return Poll::Ready(Outcome::StreamIdle);
            }
            self.timer.set_at(silent.min(self.total));
            Poll::Pending
        })
        .await
    }
}
