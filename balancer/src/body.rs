//! A message body being read: framing in, plain bytes out.

use std::task::{Context, Poll, ready};

use crate::http1::{BadChunk, ChunkDecoder, Framing};
use crate::window::Window;
use crate::wire::Wire;

/// How much may be read past the end of a body whose length is known, in bytes: room for the heads
/// of what is pipelined behind it.
const BEHIND: u64 = 16 * 1024;

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
        // What is behind the body is stashed and taken out again for each message in it.
        let limit = match *self {
            Body::Length(left) => {
                usize::try_from(left.saturating_add(BEHIND)).unwrap_or(limit).min(limit)
            }
            _ => limit,
        };
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

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::socket::Socket;

    #[tokio::test]
    async fn of_what_lies_behind_a_body_little_is_read_with_it() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let server = tokio::net::TcpStream::from_std({
            let (server, _) = listener.accept().unwrap();
            server.set_nonblocking(true).unwrap();
            server
        });
        client.write_all(&[b'x'; 100_000]).unwrap();
        let mut wire = Wire::new(Socket::watched(server.unwrap()));
        let mut window = Window::new();
        let mut body = Body::Length(10);
        let read = std::future::poll_fn(|cx| {
            body.poll_read(cx, &mut wire, &mut window, crate::window::CAPACITY)
        });
        assert_eq!(read.await, Ok(()));
        assert_eq!(window.data(), b"xxxxxxxxxx");
        assert!(body.is_done());
        assert!(wire.unstash(&mut window));
        assert!(window.len() <= usize::try_from(BEHIND).unwrap(), "{}", window.len());
    }
}
