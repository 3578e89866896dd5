//! The client's side of an exchange, whatever protocol the client speaks.
//!
//! `proxy::serve` knows this trait and an [`Exchange`](crate::exchange::Exchange) with a neutral
//! head; it never sees a framing. There are two fronts in the tree: HTTP/1.1 over a socket, and
//! one in memory for tests. HTTP/2 becomes the third.

use std::io;
use std::task::{Context, Poll};

use crate::answer::Answer;
use crate::body::BodyFault;
use crate::window::Window;

pub(crate) mod http1;
#[cfg(test)]
pub(crate) mod memory;

/// What comes from and goes to a client.
pub(crate) trait Front {
    /// Fills the empty window with plain bytes of the request's body. An empty window means that
    /// the body is done.
    fn poll_pull(
        &mut self,
        cx: &mut Context<'_>,
        window: &mut Window,
        limit: usize,
    ) -> Poll<Result<(), BodyFault>>;

    /// Whether the request's body was read to its end.
    fn is_pulled(&self) -> bool;

    /// Trailers of the request's body, as field lines; empty before its end.
    fn request_trailers(&self) -> &[u8];

    /// Encodes the head of an answer into `out`; it is sent with the first [`Front::push`].
    fn encode(&mut self, answer: &Answer<'_>, out: &mut Vec<u8>);

    /// Sends `head` (taking it) and the plain bytes in the window, which is empty afterwards.
    /// `end` carries the trailers of the answer when these are its last bytes. What the client
    /// does not take is held; the next push waits for [`Front::poll_flush`].
    fn push(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut Vec<u8>,
        window: &mut Window,
        end: Option<&[u8]>,
    ) -> io::Result<()>;

    /// Ready when the client has taken everything.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Bytes that were pushed and that the client has not taken.
    fn unsent(&self) -> usize;

    /// From here on [`Front::poll_reset`] hears of it, whatever that costs.
    fn watch(&mut self);

    /// Ready when the client has reset the connection, as far as that can be known for nothing.
    fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// Ready when the client has reset the connection or ended its side of it.
    fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// Asks a client that has ended its side whether it is still there, by an interim answer:
    /// whoever has left resets the connection then. An error says that it has. A client that
    /// knows no interim answers is not asked.
    fn ask(&mut self, cx: &mut Context<'_>) -> io::Result<()>;

    /// From here on bytes pass both ways as they are (a 101 was sent).
    fn become_tunnel(&mut self);

    /// Nothing more will be sent through the tunnel.
    fn end_tunnel(&mut self);

    /// The client shall see that the answer under way is not whole.
    fn cut(&mut self);
}
