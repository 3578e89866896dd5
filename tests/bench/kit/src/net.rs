//! Non-blocking sockets on loopback and an edge-triggered epoll, through rustix: each function is
//! one or two system calls and nothing else.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

pub(crate) use rustix::event::epoll::EventFlags;

/// Both directions and the end, reported once per change.
pub(crate) const EDGES: EventFlags =
    EventFlags::IN.union(EventFlags::OUT).union(EventFlags::ET).union(EventFlags::RDHUP);
/// The other side is done, one way or the other.
pub(crate) const ENDED: EventFlags =
    EventFlags::RDHUP.union(EventFlags::HUP).union(EventFlags::ERR);
/// Something to read, be it only the end or an error.
pub(crate) const READABLE: EventFlags = EventFlags::IN.union(ENDED);

/// Most events taken at once.
const BATCH: usize = 512;

/// What waits for all sockets, and the events of its last wait.
pub(crate) struct Epoll {
    fd: OwnedFd,
    events: Vec<epoll::Event>,
}

impl Epoll {
    /// # Errors
    /// The kernel's, for want of descriptors or memory.
    pub(crate) fn new() -> io::Result<Epoll> {
        let none = epoll::Event { flags: EventFlags::empty(), data: epoll::EventData::new_u64(0) };
        Ok(Epoll { fd: epoll::create(epoll::CreateFlags::CLOEXEC)?, events: vec![none; BATCH] })
    }

    /// Reports `events` of `socket` under `token` from now on.
    ///
    /// # Errors
    /// The kernel's, for want of memory.
    pub(crate) fn add(&self, socket: &OwnedFd, events: EventFlags, token: usize) -> io::Result<()> {
        let data = epoll::EventData::new_u64(token as u64);
        Ok(epoll::add(&self.fd, socket, data, events)?)
    }

    /// Waits until something happens, at most `limit`; the number of events.
    ///
    /// # Errors
    /// The kernel's; a signal is no error but no event.
    pub(crate) fn wait(&mut self, limit: Option<Duration>) -> io::Result<usize> {
        let limit = limit.map(|limit| Timespec {
            tv_sec: limit.as_secs().cast_signed(),
            tv_nsec: limit.subsec_nanos().into(),
        });
        match epoll::wait(&self.fd, &mut self.events[..], limit.as_ref()) {
            Err(Errno::INTR) => Ok(0),
            other => Ok(other?),
        }
    }

    /// Token and kind of event `index` of the last wait.
    pub(crate) fn event(&self, index: usize) -> (usize, EventFlags) {
        let event = self.events[index];
        (event.data.u64() as usize, event.flags)
    }
}

/// Listens on 127.0.0.1.
///
/// # Errors
/// A port that is taken or not ours to take.
pub(crate) fn listen(port: u16) -> io::Result<OwnedFd> {
    let socket = tcp()?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    let addr = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    rustix::net::bind(&socket, &addr)
        .map_err(|error| io::Error::other(format!("cannot listen on `{addr}`: {error}")))?;
    rustix::net::listen(&socket, 4096)?;
    Ok(socket)
}

/// The next connection that waits at `listener`, if one does.
pub(crate) fn accept(listener: &OwnedFd) -> Option<OwnedFd> {
    let socket = rustix::net::accept_with(listener, flags()).ok()?;
    sockopt::set_tcp_nodelay(&socket, true).ok()?;
    Some(socket)
}

/// Starts to connect; the end shows as a writable edge.
///
/// `reset_on_close` leaves no TIME_WAIT on our side, of which a bounded test could pile up
/// more than there are ports.
///
/// # Errors
/// What the kernel says at once.
pub(crate) fn connect(addr: &SocketAddrV4, reset_on_close: bool) -> io::Result<OwnedFd> {
    let socket = tcp()?;
    if reset_on_close {
        sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
    }
    match rustix::net::connect(&socket, addr) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error.into()),
    }
}

fn tcp() -> io::Result<OwnedFd> {
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags(), None)?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    Ok(socket)
}

fn flags() -> SocketFlags {
    SocketFlags::NONBLOCK | SocketFlags::CLOEXEC
}
