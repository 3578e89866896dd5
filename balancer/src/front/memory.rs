//! A client in memory: the second front, which keeps [`serve`](crate::proxy::serve) free of
//! HTTP/1.1 and lets it be tested without a client's socket.

use std::io;
use std::task::{Context, Poll};

use crate::answer::Answer;
use crate::body::BodyFault;
use crate::front::Front;
use crate::http1::Framing;
use crate::window::Window;

/// What the client sends and what it has got.
#[derive(Default)]
pub(crate) struct MemoryFront {
    /// Pieces of the request's body still to be pulled.
    pub(crate) body: Vec<Vec<u8>>,
    /// Status of every answer, interim ones too.
    pub(crate) statuses: Vec<u16>,
    /// The final answer's framing.
    pub(crate) framing: Option<Framing>,
    /// Body of the answer.
    pub(crate) got: Vec<u8>,
    /// The end of the answer was pushed.
    pub(crate) is_whole: bool,
    /// The answer was cut.
    pub(crate) is_cut: bool,
}

impl Front for MemoryFront {
    fn poll_pull(
        &mut self,
        _: &mut Context<'_>,
        window: &mut Window,
        limit: usize,
    ) -> Poll<Result<(), BodyFault>> {
        window.clear();
        if !self.body.is_empty() {
            let piece = self.body.remove(0);
            assert!(piece.len() <= limit && window.append(&piece), "pieces are small in tests");
        }
        Poll::Ready(Ok(()))
    }

    fn is_pulled(&self) -> bool {
        self.body.is_empty()
    }

    fn request_trailers(&self) -> &[u8] {
        b""
    }

    fn encode(&mut self, answer: &Answer<'_>, out: &mut Vec<u8>) {
        self.statuses.push(answer.status);
        self.framing = Some(answer.framing);
        out.extend_from_slice(b"head");
    }

    fn push(
        &mut self,
        _: &mut Context<'_>,
        head: &mut Vec<u8>,
        window: &mut Window,
        end: Option<&[u8]>,
    ) -> io::Result<()> {
        head.clear();
        self.got.extend_from_slice(window.data());
        window.clear();
        self.is_whole |= end.is_some();
        Ok(())
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn unsent(&self) -> usize {
        0
    }

    fn watch(&mut self) {}

    fn poll_reset(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }

    fn poll_left(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }

    fn ask(&mut self, _: &mut Context<'_>) -> io::Result<()> {
        Ok(())
    }

    fn become_tunnel(&mut self) {}

    fn end_tunnel(&mut self) {}

    fn cut(&mut self) {
        self.is_cut = true;
    }
}
