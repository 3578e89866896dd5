//! One side of a conversation: a socket with what was read too early and what is still to be sent.
//!
//! Both are empty in the common case and then own no memory. `stash` holds at most one read that
//! belongs to a later message or to a head that is not whole yet; `held` at most one window that
//! the other side has not taken. Nothing more is read from one side while the other's `held` is
//! not empty: that is the whole of our back-pressure.

use std::io;
use std::task::{Context, Poll, ready};

use crate::socket::Socket;
use crate::window::Window;

/// A socket and its left-overs.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) socket: Socket,
    stash: Vec<u8>,
    held: Vec<u8>,
    held_from: usize,
}

impl Wire {
    pub(crate) fn new(socket: Socket) -> Wire {
        Wire { socket, stash: Vec::new(), held: Vec::new(), held_from: 0 }
    }

    /// Whether bytes of a later message, or of a head not yet whole, are waiting here.
    pub(crate) fn has_stash(&self) -> bool {
        !self.stash.is_empty()
    }

    /// Moves what was stashed into the (empty) window. True if there was something.
    pub(crate) fn unstash(&mut self, window: &mut Window) -> bool {
        window.clear();
        if self.stash.is_empty() {
            return false;
        }
        // A stash is at most one read, so it fits.
        let fits = window.append(&self.stash);
        debug_assert!(fits);
        self.stash = Vec::new();
        true
    }

    /// Keeps `bytes` for later; the stash must be empty.
    pub(crate) fn stash(&mut self, bytes: &[u8]) {
        debug_assert!(self.stash.is_empty());
        self.stash.extend_from_slice(bytes);
    }

    /// Reads at most `limit` bytes behind what is in the window. `Ok(0)` is the end.
    pub(crate) fn poll_more(
        &mut self,
        cx: &mut Context<'_>,
        window: &mut Window,
        limit: usize,
    ) -> Poll<io::Result<usize>> {
        let count = ready!(self.socket.poll_read(cx, window.space(limit)))?;
        window.filled(count);
        Poll::Ready(Ok(count))
    }

    /// What was stashed, else at most `limit` bytes from the socket. `Ok(0)` is the end.
    pub(crate) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        window: &mut Window,
        limit: usize,
    ) -> Poll<io::Result<usize>> {
        if self.unstash(window) {
            return Poll::Ready(Ok(window.len()));
        }
        self.poll_more(cx, window, limit)
    }

    /// Sends `bytes` as far as the socket takes them and holds the rest.
    pub(crate) fn send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        if self.held.is_empty() {
            while !rest.is_empty() {
                match self.socket.poll_write(cx, rest) {
                    Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                    Poll::Ready(Ok(count)) => rest = &rest[count..],
                    Poll::Ready(Err(e)) => return Err(e),
                    Poll::Pending => break,
                }
            }
        }
        self.held.extend_from_slice(rest);
        Ok(())
    }

    /// Ready when nothing is held.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.held_from < self.held.len() {
            let count = ready!(self.socket.poll_write(cx, &self.held[self.held_from..]))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.held_from += count;
        }
        if self.held_from > 0 {
            self.held = Vec::new();
            self.held_from = 0;
        }
        Poll::Ready(Ok(()))
    }

    /// Bytes handed to [`Wire::send`] that the kernel has not taken.
    pub(crate) fn unsent(&self) -> usize {
        self.held.len() - self.held_from
    }

    /// Whether everything handed to [`Wire::send`] is with the kernel.
    pub(crate) fn is_flushed(&self) -> bool {
        self.held.is_empty()
    }
}
