//! A TCP socket that joins the runtime's poll set only when it has to wait.
//!
//! A connection that lives for one request never has to: its bytes are there when it is accepted
//! (or soon after), and its answer fits into the socket buffer. Leaving such a socket out of the
//! poll set saves two `epoll_ctl` calls, which is several per cent of a request on a new
//! connection. Reads rely on a runtime's rule that a short read means "drained": no second
//! `recv` is spent to learn that nothing is left.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream as PlainStream};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::net::RecvFlags;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

/// A connected, non-blocking TCP socket.
#[derive(Debug)]
pub(crate) struct Socket(State);

#[derive(Debug)]
enum State {
    /// Not in the poll set.
    Plain(PlainStream),
    /// In the poll set of the worker's runtime.
    Watched(TcpStream),
    /// Registration failed; every use reports it again.
    Lost,
}

impl Socket {
    /// A socket that was just accepted. It must be non-blocking.
    pub(crate) fn plain(stream: PlainStream) -> Socket {
        Socket(State::Plain(stream))
    }

    /// A socket that the runtime made.
    pub(crate) fn watched(stream: TcpStream) -> Socket {
        Socket(State::Watched(stream))
    }

    /// Reads into `space`, which must not be empty. `Ok(0)` is the end of the stream.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        space: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        debug_assert!(!space.is_empty());
        if let State::Plain(stream) = &mut self.0 {
            match stream.read(space) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.watch()?,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => self.watch()?,
                done => return Poll::Ready(done),
            }
        }
        let mut buf = ReadBuf::new(space);
        let stream = self.watched_mut()?;
        match Pin::new(stream).poll_read(cx, &mut buf) {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(buf.filled().len())),
            Poll::Ready(Err(e)) => Poll::Ready(Err(e)),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Writes what the socket takes of `bytes`, which must not be empty.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        debug_assert!(!bytes.is_empty());
        if let State::Plain(stream) = &mut self.0 {
            match stream.write(bytes) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.watch()?,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => self.watch()?,
                done => return Poll::Ready(done),
            }
        }
        Pin::new(self.watched_mut()?).poll_write(cx, bytes)
    }

    /// Ready when the other side has reset the connection. An end of its stream is no reset: who
    /// sent all of a request may close that direction and still wait for the answer. A socket
    /// outside the poll set is not asked.
    pub(crate) fn poll_reset(&self, cx: &mut Context<'_>) -> Poll<()> {
        let State::Watched(stream) = &self.0 else { return Poll::Pending };
        match stream.poll_read_ready(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(_)) => Poll::Ready(()),
            // Something came: more of the same client's requests, an end, or a reset.
            Poll::Ready(Ok(())) => match stream.take_error() {
                Ok(None) => Poll::Pending,
                Ok(Some(_)) | Err(_) => Poll::Ready(()),
            },
        }
    }

    /// Ready when the other side has reset the connection or ended its stream, and nothing it sent
    /// before is still to be read. While something is, only a look at a later time can tell. A
    /// socket outside the poll set is not asked.
    pub(crate) fn poll_left(&self, cx: &mut Context<'_>) -> Poll<()> {
        let State::Watched(stream) = &self.0 else { return Poll::Pending };
        loop {
            if ready!(stream.poll_read_ready(cx)).is_err() {
                return Poll::Ready(());
            }
            let mut byte = [0_u8; 1];
            let peek = || Ok(rustix::net::recv(stream, &mut byte[..], RecvFlags::PEEK)?);
            match stream.try_io(Interest::READABLE, peek) {
                Ok((0, _)) => return Poll::Ready(()),
                Ok(_) => {
                    let is_reset = !matches!(stream.take_error(), Ok(None));
                    return if is_reset { Poll::Ready(()) } else { Poll::Pending };
                }
                // The runtime believed that there is something: it hears of the next thing.
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Poll::Ready(()),
            }
        }
    }

    /// Whether an idle connection is still quiet: not closed, nothing to read, as far as the
    /// runtime has heard. Costs no system call.
    pub(crate) fn is_quiet(&self, cx: &mut Context<'_>) -> bool {
        match &self.0 {
            State::Watched(stream) => stream.poll_read_ready(cx).is_pending(),
            State::Plain(_) => true,
            State::Lost => false,
        }
    }

    /// Of a connection whose end was read: whether it was very likely closed before what was sent
    /// last came. A kernel that gets something for a connection that nobody has open any more answers
    /// with a reset. This is no proof: a process that has read all of it, ended its side and then
    /// was killed, or closed with `SO_LINGER` of 0, looks the same.
    pub(crate) fn was_closed_before(&self) -> bool {
        match &self.0 {
            State::Watched(stream) => matches!(stream.take_error(), Ok(Some(_))),
            State::Plain(stream) => matches!(stream.take_error(), Ok(Some(_))),
            State::Lost => false,
        }
    }

    /// Asks the kernel, with one `recv(MSG_PEEK)`, whether an idle connection is still quiet.
    pub(crate) fn is_surely_quiet(&self) -> bool {
        let mut byte = [0_u8; 1];
        let peeked = match &self.0 {
            State::Watched(stream) => rustix::net::recv(stream, &mut byte[..], RecvFlags::PEEK),
            State::Plain(stream) => rustix::net::recv(stream, &mut byte[..], RecvFlags::PEEK),
            State::Lost => return false,
        };
        matches!(peeked, Err(rustix::io::Errno::AGAIN))
    }

    /// No more bytes will be sent; what is under way still arrives.
    pub(crate) fn shutdown_write(&self) {
        // An error means that the connection is gone already.
        let _ = match &self.0 {
            State::Plain(stream) => stream.shutdown(Shutdown::Write),
            State::Watched(stream) => socket2::SockRef::from(stream).shutdown(Shutdown::Write),
            State::Lost => Ok(()),
        };
    }

    /// Dropping the socket will send RST: the other side learns that its answer is not whole.
    pub(crate) fn reset_on_close(&self) {
        let zero = Some(std::time::Duration::ZERO);
        let _ = match &self.0 {
            State::Plain(stream) => socket2::SockRef::from(stream).set_linger(zero),
            State::Watched(stream) => socket2::SockRef::from(stream).set_linger(zero),
            State::Lost => Ok(()),
        };
    }

    /// Joins the poll set.
    pub(crate) fn watch(&mut self) -> io::Result<()> {
        match std::mem::replace(&mut self.0, State::Lost) {
            State::Plain(stream) => self.0 = State::Watched(TcpStream::from_std(stream)?),
            other => self.0 = other,
        }
        Ok(())
    }

    fn watched_mut(&mut self) -> io::Result<&mut TcpStream> {
        match &mut self.0 {
            State::Watched(stream) => Ok(stream),
            State::Plain(_) | State::Lost => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}
