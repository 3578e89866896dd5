//! A message body being read: framing in, plain bytes out.

use std::task::{Context, Poll, ready};

use crate::http1::{BadChunk, ChunkDecoder, Framing};
use crate::window::Window;
use crate::wire::Wire;

/// How far a body has been read.
#[derive(Debug, Default)]
pub(crate) enum Body {
    /// Nothing (more) to read.
    #[default]
    Done,
    /// So many bytes are missing.
    Length(u64),
    /// Boxed: it is rare, and idle connections are many.
    Chunked(Box<ChunkDecoder>),
    /// Ended; these trailers came behind it.
    Trailers(Box<[u8]>),
    /// Ends with the connection.
    UntilClose,
}

/// Why a body cannot be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyFault {
    /// The chunked coding is malformed.
    Malformed(BadChunk),
    /// The connection ended or broke before the body did.
    Cut,
}

impl Body {
    pub(crate) fn new(framing: Framing) -> Body {
        match framing {
            Framing::None | Framing::Length(0) => Body::Done,
            Framing::Length(length) => Body::Length(length),
            Framing::Chunked => Body::Chunked(Box::new(ChunkDecoder::new())),
            Framing::UntilClose => Body::UntilClose,
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        matches!(self, Body::Done | Body::Trailers(_))
    }

    /// Field lines that came behind the body, valid and fit to be passed on.
    pub(crate) fn trailers(&self) -> &[u8] {
        if let Body::Trailers(lines) = self { lines } else { &[] }
    }

    /// Turns what is in the window into plain bytes of this body; what belongs to the next
    /// message goes to the stash.
    pub(crate) fn decode(&mut self, window: &mut Window, wire: &mut Wire) -> Result<(), BodyFault> {
        match self {
            Body::Done | Body::Trailers(_) => {
                wire.stash(window.data());
                window.truncate(0);
            }
            Body::UntilClose => {}
            Body::Length(left) => {
                let have = window.len() as u64;
                if have > *left {
                    let mine = usize::try_from(*left).expect("less than what is in the window");
                    wire.stash(&window.data()[mine..]);
                    window.truncate(mine);
                    *self = Body::Done;
                } else {
                    *left -= have;
                    if *left == 0 {
                        *self = Body::Done;
                    }
                }
            }
            Body::Chunked(decoder) => {
                let decoded = decoder.decode(window.data_mut()).map_err(BodyFault::Malformed)?;
                if decoded.done {
                    wire.stash(&window.data()[decoded.consumed..]);
                    *self = match decoder.trailers() {
                        [] => Body::Done,
                        lines => Body::Trailers(lines.into()),
                    };
                }
                window.truncate(decoded.data);
            }
        }
        Ok(())
    }

    /// Reads plain bytes into the window until there are some or the body is done.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        wire: &mut Wire,
        window: &mut Window,
        limit: usize,
    ) -> Poll<Result<(), BodyFault>> {
        window.clear();
        while window.is_empty() && !self.is_done() {
            match ready!(wire.poll_fill(cx, window, limit)) {
                Ok(0) if matches!(self, Body::UntilClose) => *self = Body::Done,
                Ok(0) | Err(_) => return Poll::Ready(Err(BodyFault::Cut)),
                Ok(_) => self.decode(window, wire)?,
            }
        }
        Poll::Ready(Ok(()))
    }
}
