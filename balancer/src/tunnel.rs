//! After a 101: bytes pass both ways as they are, until both sides have ended or fallen silent.

use std::task::{Context, Poll};
use std::time::Duration;

use crate::debt::Debt;
use crate::exchange::Record;
use crate::front::Front;
use crate::outcome::Outcome;
use crate::timer::{Millis, Timer};
use crate::upstream::Upstream;
use crate::window::CAPACITY;
use crate::worker::Worker;

/// Both ends of a tunnel.
pub(crate) struct Tunnel<'a, F: Front> {
    pub(crate) worker: &'a Worker,
    pub(crate) front: &'a mut F,
    pub(crate) upstream: &'a mut Upstream,
    pub(crate) timer: &'a Timer,
    pub(crate) idle: Duration,
    /// When it ends if nothing moves until then.
    pub(crate) silent_at: Millis,
    /// What both ends had not taken at the last progress.
    pub(crate) owed: Debt,
    pub(crate) record: &'a mut Record,
    pub(crate) client_ended: bool,
    pub(crate) backend_ended: bool,
}

/// How a direction ended before its time: whose fault it is.
type Broken = Outcome;

const CLIENT: Broken = Outcome::ClientGone;
const BACKEND: Broken = Outcome::AnswerCut;

impl<F: Front> Tunnel<'_, F> {
    /// Runs the tunnel to its end. Where that is not the end of both sides, both see a reset.
    pub(crate) async fn run(mut self) -> Outcome {
        self.front.become_tunnel();
        self.upstream.body = crate::body::Body::UntilClose;
        let outcome = std::future::poll_fn(|cx| self.poll(cx)).await;
        if outcome != Outcome::Ok {
            self.upstream.wire.socket.reset_on_close();
        }
        outcome
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        let up = self.poll_up(cx);
        let down = self.poll_down(cx);
        match (up, down) {
            (Poll::Ready(Err(broken)), _) | (_, Poll::Ready(Err(broken))) => {
                return Poll::Ready(broken);
            }
            _ if self.client_ended && self.backend_ended => return Poll::Ready(Outcome::Ok),
            _ => {}
        }
        if self.timer.is_due() {
            if self.owed.has_shrunk(self.unsent()) {
                self.note_progress();
            }
            if self.silent_at <= self.worker.timers.now() {
                return Poll::Ready(Outcome::StreamIdle);
            }
            // It was to end earlier, and is not any more.
            self.timer.set_at(self.silent_at);
        }
        // Last, because it moves the timer to an end that nothing above knows of.
        if self.worker.may_end() {
            let slot = self.record.backend.as_deref();
            if let Some(outcome) = self.worker.ends(slot, self.timer, true) {
                return Poll::Ready(outcome);
            }
        }
        Poll::Pending
    }

    fn poll_up(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        while !self.client_ended {
            std::task::ready!(self.upstream.wire.poll_flush(cx)).map_err(|_| BACKEND)?;
            let mut window = self.worker.window.borrow_mut();
            std::task::ready!(self.front.poll_pull(cx, &mut window, CAPACITY))
                .map_err(|_| CLIENT)?;
            if window.is_empty() {
                self.client_ended = true;
                self.upstream.wire.socket.shutdown_write();
                break;
            }
            self.record.bytes_in += window.len() as u64;
            self.upstream.wire.send(cx, window.data()).map_err(|_| BACKEND)?;
            self.note_progress();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_down(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        loop {
            std::task::ready!(self.front.poll_flush(cx)).map_err(|_| CLIENT)?;
            if self.backend_ended {
                return Poll::Ready(Ok(()));
            }
            let mut window = self.worker.window.borrow_mut();
            window.clear();
            let upstream = &mut *self.upstream;
            let read = upstream.body.poll_read(cx, &mut upstream.wire, &mut window, CAPACITY);
            std::task::ready!(read).map_err(|_| BACKEND)?;
            if window.is_empty() {
                self.backend_ended = true;
                self.front.end_tunnel();
                continue;
            }
            self.record.bytes_out += window.len() as u64;
            self.front.push(cx, &mut Vec::new(), &mut window, None).map_err(|_| CLIENT)?;
            self.note_progress();
        }
    }

    fn unsent(&self) -> usize {
        self.front.unsent() + self.upstream.wire.unsent()
    }

    fn note_progress(&mut self) {
        self.owed.note(self.unsent());
        self.worker.timers.read_clock();
        self.silent_at = self.worker.timers.after(self.idle);
        self.timer.set_at(self.silent_at);
    }
}
