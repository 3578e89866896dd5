//! A client that speaks HTTP/1.x.

use std::io;
use std::task::{Context, Poll, ready};

use crate::answer::Answer;
use crate::body::{Body, BodyFault};
use crate::exchange::Exchange;
use crate::front::Front;
use crate::http1::{Framing, Limits, Malformed, Version, encode_chunk_head, parse_request};
use crate::window::Window;
use crate::wire::Wire;

/// One client connection.
pub(crate) struct Http1Front {
    pub(crate) wire: Wire,
    body: Body,
    outgoing: Outgoing,
    version: Version,
    /// Whether another request may follow this one.
    keep_alive: bool,
    /// The stash is a head that was not whole when it was last looked at.
    partial: bool,
    /// Whether the client shall see a reset.
    is_cut: bool,
    /// The next request is the last one, whatever the client wants.
    pub(crate) is_last: bool,
}

/// How the answer under way is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outgoing {
    Raw,
    Chunked,
}

/// What reading a head came to.
pub(crate) enum HeadRead {
    /// It is in the exchange.
    Whole,
    /// The client ended the connection where a request might have begun.
    Closed,
    /// The client ended the connection in the middle of a head.
    Cut,
    /// Refused; the connection cannot be used on.
    Malformed(Malformed),
}

impl Http1Front {
    pub(crate) fn new(wire: Wire) -> Http1Front {
        Http1Front {
            wire,
            body: Body::Done,
            outgoing: Outgoing::Raw,
            version: Version::Http11,
            keep_alive: true,
            partial: false,
            is_cut: false,
            is_last: false,
        }
    }

    /// Whether a head has begun and is not whole.
    pub(crate) fn is_in_head(&self) -> bool {
        self.partial
    }

    /// Reads the head of the next request into the exchange. While it waits it holds only what
    /// has come of the head. A head is looked at again only when a line has ended, so that
    /// sending it byte by byte does not cost more than sending it whole.
    pub(crate) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &mut Exchange,
        window: &mut Window,
        limits: &Limits,
    ) -> Poll<HeadRead> {
        let mut look = self.wire.unstash(window) && !self.partial;
        loop {
            if look {
                match parse_request(window.data(), limits, &mut exchange.head) {
                    Ok(Some(length)) => {
                        self.take_head(exchange, window, length);
                        return Poll::Ready(HeadRead::Whole);
                    }
                    Ok(None) => {}
                    Err(malformed) => return Poll::Ready(HeadRead::Malformed(malformed)),
                }
            }
            let room = limits.max_head.saturating_sub(window.len()).max(1);
            let before = window.len();
            match self.wire.poll_more(cx, window, room) {
                Poll::Ready(Ok(1..)) => {
                    let came = &window.data()[before..];
                    // A CR too, else what ends its lines with that alone would never be looked at.
                    look = window.len() >= limits.max_head
                        || memchr::memchr(b'\n', came).is_some()
                        || memchr::memchr(b'\r', came).is_some();
                }
                Poll::Ready(Ok(0) | Err(_)) if window.is_empty() => {
                    return Poll::Ready(HeadRead::Closed);
                }
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(HeadRead::Cut),
                Poll::Pending => {
                    // Looked at line by line, another protocol would wait for a limit in time.
                    if !self.partial && window.data().first().is_some_and(begins_no_request) {
                        return Poll::Ready(HeadRead::Malformed(Malformed::Method));
                    }
                    self.partial = !window.is_empty();
                    self.wire.stash(window.data());
                    return Poll::Pending;
                }
            }
        }
    }

    fn take_head(&mut self, exchange: &mut Exchange, window: &mut Window, length: usize) {
        exchange.take_head(&window.data()[..length]);
        window.skip(length);
        if !window.is_empty() {
            self.wire.stash(window.data());
        }
        self.partial = false;
        let head = &exchange.head;
        self.body = Body::new(head.framing);
        self.version = head.version;
        self.keep_alive = head.keep_alive && !self.is_last;
        self.outgoing = Outgoing::Raw;
    }

    /// Whether the connection may carry another request after the exchange that just ended.
    pub(crate) fn may_go_on(&self) -> bool {
        self.keep_alive && self.body.is_done()
    }

    /// Whether the client is sending, or has sent, bytes that nobody will read: the rest of a body,
    /// or requests behind the last one that is answered.
    pub(crate) fn has_more(&self) -> bool {
        !self.body.is_done() || self.wire.has_stash()
    }

    /// Whether closing will send a reset, which must not come behind an orderly end.
    pub(crate) fn is_cut(&self) -> bool {
        self.is_cut
    }

    fn send_piece(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut Vec<u8>,
        window: &mut Window,
    ) -> io::Result<()> {
        if !head.is_empty() && !window.prepend(head) {
            self.wire.send(cx, head)?;
        }
        head.clear();
        if !window.is_empty() {
            self.wire.send(cx, window.data())?;
        }
        window.clear();
        Ok(())
    }
}

/// What no method and no empty line begins with: a TLS hello, say.
fn begins_no_request(byte: &u8) -> bool {
    !byte.is_ascii_graphic() && !matches!(byte, b'\r' | b'\n')
}

impl Front for Http1Front {
    fn poll_pull(
        &mut self,
        cx: &mut Context<'_>,
        window: &mut Window,
        limit: usize,
    ) -> Poll<Result<(), BodyFault>> {
        self.body.poll_read(cx, &mut self.wire, window, limit)
    }

    fn is_pulled(&self) -> bool {
        self.body.is_done()
    }

    fn request_trailers(&self) -> &[u8] {
        self.body.trailers()
    }

    fn encode(&mut self, answer: &Answer<'_>, out: &mut Vec<u8>) {
        let http10 = self.version == Version::Http10;
        if answer.is_interim() {
            // RFC 9110 §15.2: never to a client that does not know them.
            if !http10 {
                answer.write_interim(out);
            }
            return;
        }
        let framing = match answer.framing {
            // Neither a 1.0 client nor a backend that ends by closing knows chunks.
            Framing::Chunked | Framing::UntilClose if http10 => Framing::UntilClose,
            Framing::UntilClose => Framing::Chunked,
            other => other,
        };
        self.outgoing = match framing {
            Framing::Chunked => Outgoing::Chunked,
            _ => Outgoing::Raw,
        };
        let tunnel = answer.upgrade.is_some();
        self.keep_alive &= !answer.close && !tunnel && framing != Framing::UntilClose;
        answer.write_head(framing, self.keep_alive, http10, out);
    }

    fn push(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut Vec<u8>,
        window: &mut Window,
        end: Option<&[u8]>,
    ) -> io::Result<()> {
        if self.outgoing == Outgoing::Raw {
            return self.send_piece(cx, head, window);
        }
        let mut size = [0; 20];
        if !window.is_empty() {
            let digits = encode_chunk_head(window.len(), &mut size);
            // Only a head may fill the headroom, and it is put in front of the size.
            let fits = window.prepend(&size[..digits]) && window.append(b"\r\n");
            debug_assert!(fits, "the window keeps room for a chunk's frame");
        }
        let Some(trailers) = end else { return self.send_piece(cx, head, window) };
        if trailers.is_empty() && window.append(b"0\r\n\r\n") {
            return self.send_piece(cx, head, window);
        }
        self.send_piece(cx, head, window)?;
        self.wire.send(cx, &[b"0\r\n", trailers, b"\r\n"].concat())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wire.poll_flush(cx)
    }

    fn unsent(&self) -> usize {
        self.wire.unsent()
    }

    fn watch(&mut self) {
        // If it fails, the next read or write says so.
        let _ = self.wire.socket.watch();
    }

    fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.wire.socket.poll_reset(cx)
    }

    fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.wire.socket.poll_left(cx)
    }

    fn ask(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.version {
            Version::Http10 => Ok(()),
            // Every client of 1.1 has to know them, also unasked (RFC 9110 §15.2).
            Version::Http11 => self.wire.send(cx, b"HTTP/1.1 100 Continue\r\n\r\n"),
        }
    }

    fn become_tunnel(&mut self) {
        self.body = Body::UntilClose;
        self.outgoing = Outgoing::Raw;
        self.keep_alive = false;
    }

    fn end_tunnel(&mut self) {
        self.wire.socket.shutdown_write();
    }

    fn cut(&mut self) {
        self.keep_alive = false;
        self.is_cut = true;
        self.wire.socket.reset_on_close();
    }
}

impl Http1Front {
    /// Reads what nobody wants; false at the end of it.
    pub(crate) fn poll_discard(&mut self, cx: &mut Context<'_>, window: &mut Window) -> Poll<bool> {
        window.clear();
        // In the poll set, so that a client that never pauses leaves the others their turns.
        if self.wire.socket.watch().is_err() {
            return Poll::Ready(false);
        }
        let read = ready!(self.wire.poll_more(cx, window, usize::MAX));
        Poll::Ready(read.is_ok_and(|count| count > 0))
    }
}
