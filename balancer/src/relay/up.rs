//! The request's way up: its body as it comes, and as far as it is short also a copy, in case it
//! must be sent again.

use std::task::{Context, Poll};

use super::{Broken, Relay};
use crate::front::Front;
use crate::http1::{Framing, encode_chunk_head};
use crate::window::{CAPACITY, Window};

/// The longest request body that is kept in case it must be sent again, in bytes. Larger ones are
/// the ones that memory would notice.
pub(crate) const KEPT_MOST: u64 = 16 * 1024;

/// The request's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Up {
    Sending,
    Flushing,
    Done,
    /// The backend takes no more; its answer may still come.
    Stopped,
}

impl<F: Front> Relay<'_, F> {
    pub(super) fn poll_up(&mut self, cx: &mut Context<'_>) -> Result<(), Broken> {
        while matches!(self.up, Up::Sending | Up::Flushing) {
            match self.upstream.wire.poll_flush(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Err(_)) => self.up = Up::Stopped,
                Poll::Ready(Ok(())) if self.up == Up::Flushing => {
                    self.up = Up::Done;
                    self.exchange.record.asked = self.worker.timers.read_clock();
                }
                Poll::Ready(Ok(())) => {
                    let worker = self.worker;
                    let mut window = worker.window.borrow_mut();
                    window.clear();
                    if std::mem::take(&mut self.repeats) {
                        let fits = window.append(&self.exchange.kept);
                        debug_assert!(fits, "far less than a window is kept");
                        self.push_up(cx, &mut window)?;
                        continue;
                    }
                    match self.front.poll_pull(cx, &mut window, CAPACITY) {
                        Poll::Ready(Ok(())) => {
                            self.take_in(&window)?;
                            self.push_up(cx, &mut window)?;
                        }
                        Poll::Ready(Err(fault)) => return Err(Broken::ClientBody(fault)),
                        Poll::Pending => {
                            self.send_head_alone(cx);
                            return Ok(());
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Part of the body is not here yet: the backend shall have the head meanwhile.
    fn send_head_alone(&mut self, cx: &mut Context<'_>) {
        if !self.exchange.up.is_empty() {
            if self.upstream.wire.send(cx, &self.exchange.up).is_err() {
                self.up = Up::Stopped;
            }
            self.exchange.up.clear();
        }
    }

    /// Counts a piece of the request's body, and keeps it if it may be needed again.
    fn take_in(&mut self, window: &Window) -> Result<(), Broken> {
        let exchange = &mut *self.exchange;
        let record = &mut exchange.record;
        record.bytes_in += window.len() as u64;
        if record.bytes_in > self.max_body {
            return Err(Broken::BodyTooLarge);
        }
        if self.keeps && !record.is_body_gone && record.bytes_in <= KEPT_MOST {
            exchange.kept.extend_from_slice(window.data());
        } else if !window.is_empty() {
            record.is_body_gone = true;
        }
        Ok(())
    }

    fn push_up(&mut self, cx: &mut Context<'_>, window: &mut Window) -> Result<(), Broken> {
        let is_last = self.front.is_pulled();
        let is_all_of_it = is_last && self.exchange.record.bytes_in == window.len() as u64;
        if self.exchange.head.framing == Framing::Chunked {
            frame(window, is_last, self.front.request_trailers());
        }
        let head = &mut self.exchange.up;
        let sent = if head.is_empty() || window.prepend(head) {
            self.upstream.wire.send(cx, window.data())
        } else {
            let sent = self.upstream.wire.send(cx, head);
            sent.and_then(|()| self.upstream.wire.send(cx, window.data()))
        };
        head.clear();
        self.up = match sent {
            Err(_) => Up::Stopped,
            Ok(()) if !is_last => Up::Sending,
            Ok(()) if self.upstream.wire.is_flushed() => Up::Done,
            Ok(()) => Up::Flushing,
        };
        if !is_all_of_it {
            self.note_progress();
            self.exchange.record.asked = self.worker.timers.micros();
        }
        Ok(())
    }
}

/// Puts a chunk's frame around what is in the window, and the end behind it.
fn frame(window: &mut Window, is_last: bool, trailers: &[u8]) {
    let mut size = [0; 20];
    let mut fits = true;
    if !window.is_empty() {
        let digits = encode_chunk_head(window.len(), &mut size);
        fits &= window.prepend(&size[..digits]) && window.append(b"\r\n");
    }
    if is_last {
        // Trailers of a request are rare and bounded by the codec; those that do not fit behind
        // a full window are left out, which RFC 9110 §6.5.2 allows an intermediary to do.
        let trailers = if trailers.len() < crate::window::TAILROOM / 2 { trailers } else { b"" };
        fits &= window.append(b"0\r\n") && window.append(trailers) && window.append(b"\r\n");
    }
    debug_assert!(fits, "the window keeps room for a chunk's frame");
}
