//! Listening sockets: opened, taken over or passed on before any worker runs.
//!
//! There is one socket per address and worker, all made by the main process, so that none is ever
//! closed while it can hold a connection (docs/decisions/0005). Sockets may also come from
//! outside: from systemd (`LISTEN_FDS`), or from an earlier door ([`pass`], over a Unix
//! socket). They are recognised by their address.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use socket2::{Domain, Protocol, Socket, Type};

use crate::config::ListenerConfig;

/// Connections that wait to be accepted, per socket; the kernel caps it at `net.core.somaxconn`.
pub(crate) const BACKLOG: i32 = 4096;

/// A socket could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody else listens there.
    #[error(
        "listener `{listener}`: {address} is in use by another program; stop it or change `bind`"
    )]
    InUse {
        /// `[listeners.NAME]`
        listener: Arc<str>,
        /// As configured.
        address: SocketAddr,
    },
    /// A port below 1024 without the right to it.
    #[error(
        "listener `{listener}`: {address} may not be opened by this user; grant \
         CAP_NET_BIND_SERVICE (contrib/tidegate.service does) or use a port from 1024 up"
    )]
    Forbidden {
        /// `[listeners.NAME]`
        listener: Arc<str>,
        /// As configured.
        address: SocketAddr,
    },
    /// This machine has no such address.
    #[error("listener `{listener}`: this machine has no address {}; change `bind`", address.ip())]
    NoSuchAddress {
        /// `[listeners.NAME]`
        listener: Arc<str>,
        /// As configured.
        address: SocketAddr,
    },
    /// Anything else.
    #[error("listener `{listener}`: {address} could not be opened")]
    Other {
        /// `[listeners.NAME]`
        listener: Arc<str>,
        /// As configured.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// The sockets of all listeners: at least `workers` of them per address.
#[derive(Debug)]
pub struct Sockets {
    /// By listener, then by address; the place in a group, modulo the workers, says whose it is.
    pub(crate) by_listener: Vec<Vec<Vec<TcpListener>>>,
}

impl Sockets {
    /// Opens every address of every listener, one socket per worker, or nothing: the first that
    /// fails closes all again before any client can have connected.
    ///
    /// # Errors
    ///
    /// Which address of which listener could not be opened, and what to do.
    pub fn bind(listeners: &[ListenerConfig], workers: usize) -> Result<Sockets, BindError> {
        Sockets::adopt(listeners, workers, &mut Vec::new())
    }

    /// The same, but with sockets that are open already taking the place of those with the same
    /// address. They are taken out of `inherited`; what is left there belongs to no listener.
    ///
    /// # Errors
    ///
    /// As [`Sockets::bind`].
    pub fn adopt(
        listeners: &[ListenerConfig],
        workers: usize,
        inherited: &mut Vec<TcpListener>,
    ) -> Result<Sockets, BindError> {
        let by_listener = listeners
            .iter()
            .map(|listener| {
                let group = |address: &SocketAddr| {
                    let known =
                        |socket: &mut TcpListener| socket.local_addr().ok() == Some(*address);
                    let found: Vec<_> = inherited.extract_if(.., known).collect();
                    let group = match found.is_empty() {
                        true => bind_group(*address, workers),
                        false => share(found, workers),
                    };
                    group.map_err(|error| explain(&listener.name, *address, error))
                };
                listener.bind.iter().map(group).collect()
            })
            .collect::<Result<_, _>>()?;
        Ok(Sockets { by_listener })
    }

    /// The addresses that are really open, by listener: a configured port 0 has become a number.
    pub fn addresses(&self) -> Vec<Vec<SocketAddr>> {
        let address = |group: &Vec<TcpListener>| group.first()?.local_addr().ok();
        self.by_listener.iter().map(|groups| groups.iter().filter_map(address).collect()).collect()
    }

    /// Further descriptors of the same sockets, to be passed on later: as long as one of them is
    /// open, no connection that waits in a queue is lost.
    ///
    /// # Errors
    ///
    /// The process has no descriptor left.
    pub fn duplicate(&self) -> io::Result<Vec<TcpListener>> {
        self.by_listener.iter().flatten().flatten().map(TcpListener::try_clone).collect()
    }
}

/// Sockets that one message carries; the kernel takes up to 253 (SCM_MAX_FD).
const PER_MESSAGE: usize = 128;

/// Passes listening sockets to another process, which has [`receive`]. Both then have them.
///
/// # Errors
///
/// The other side has gone.
pub fn pass(sockets: &[TcpListener], to: &UnixStream) -> io::Result<()> {
    for part in sockets.chunks(PER_MESSAGE) {
        let descriptors: Vec<BorrowedFd<'_>> = part.iter().map(AsFd::as_fd).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PER_MESSAGE))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        sendmsg(to, &[IoSlice::new(b"s")], &mut control, SendFlags::NOSIGNAL)?;
    }
    Ok(())
}

/// The sockets that another process passes on until it closes its end.
///
/// # Errors
///
/// The connection broke.
pub fn receive(from: &UnixStream) -> io::Result<Vec<TcpListener>> {
    let mut sockets = Vec::new();
    loop {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PER_MESSAGE))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let came = recvmsg(from, &mut [IoSliceMut::new(&mut byte)], &mut control, flags)?;
        if came.bytes == 0 {
            return Ok(sockets);
        }
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                sockets.extend(descriptors.map(TcpListener::from));
            }
        }
    }
}

/// Enough descriptors of sockets that came from outside: each worker has at least one. Workers
/// that share a socket take turns by chance; those with one of their own never meet.
fn share(mut group: Vec<TcpListener>, workers: usize) -> io::Result<Vec<TcpListener>> {
    for place in 0..workers.saturating_sub(group.len()) {
        group.push(group[place].try_clone()?);
    }
    for socket in &group {
        socket.set_nonblocking(true)?;
        socket2::SockRef::from(socket).set_tcp_nodelay(true)?;
    }
    Ok(group)
}

fn bind_group(address: SocketAddr, workers: usize) -> io::Result<Vec<TcpListener>> {
    // A first socket without SO_REUSEPORT finds out whether another program listens there:
    // with it, a second door of the same user would silently take half of the connections.
    // It only binds: a socket that listened could already hold a connection when it is closed.
    let probe = open(address, false)?;
    let port = probe.local_addr()?.as_socket().map_or(address.port(), |bound| bound.port());
    drop(probe);
    let address = SocketAddr::new(address.ip(), port);
    let listen = |_| {
        let socket = open(address, true)?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    (0..workers).map(listen).collect()
}

fn open(address: SocketAddr, is_shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // `[::]` and `0.0.0.0` may both be listed; a dual-stack socket would make them clash.
        socket.set_only_v6(true)?;
    }
    if is_shared {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    // Accepted sockets inherit it: no call per connection.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn explain(listener: &Arc<str>, address: SocketAddr, source: io::Error) -> BindError {
    let listener = Arc::clone(listener);
    match source.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse { listener, address },
        io::ErrorKind::PermissionDenied => BindError::Forbidden { listener, address },
        io::ErrorKind::AddrNotAvailable => BindError::NoSuchAddress { listener, address },
        _ => BindError::Other { listener, address, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpStream;

    fn listeners(bind: &[SocketAddr]) -> Vec<ListenerConfig> {
        let mut config = crate::sample::door(1, &[]);
        config.listeners[0].bind = bind.to_vec();
        config.listeners
    }

    const FREE: ([u8; 4], u16) = ([127, 0, 0, 1], 0);

    #[test]
    fn each_worker_has_a_socket_of_its_own_on_one_port() {
        let sockets = Sockets::bind(&listeners(&[FREE.into()]), 4).unwrap();
        let group = &sockets.by_listener[0][0];
        let port = sockets.addresses()[0][0].port();
        assert_eq!(group.len(), 4);
        assert!(group.iter().all(|socket| socket.local_addr().unwrap().port() == port));
    }

    #[test]
    fn an_address_in_use_is_named_and_nothing_stays_open() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let error = Sockets::bind(&listeners(&[FREE.into(), address]), 2).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "listener `web`: {address} is in use by another program; stop it or change `bind`"
            )
        );
    }

    #[test]
    fn a_second_door_cannot_take_half_of_the_connections() {
        let first = Sockets::bind(&listeners(&[FREE.into()]), 2).unwrap();
        let address = first.addresses()[0][0];
        assert!(matches!(Sockets::bind(&listeners(&[address]), 2), Err(BindError::InUse { .. })));
    }

    #[test]
    fn sockets_from_outside_are_shared_among_workers_and_strangers_left() {
        let ours = TcpListener::bind("127.0.0.1:0").unwrap();
        let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = ours.local_addr().unwrap();
        let mut inherited = vec![stranger, ours];
        let sockets = Sockets::adopt(&listeners(&[address]), 3, &mut inherited).unwrap();
        assert_eq!((sockets.by_listener[0][0].len(), inherited.len()), (3, 1));
        let _client = TcpStream::connect(address).unwrap();
    }

    #[test]
    fn a_connection_that_waits_survives_the_passing_of_its_socket() {
        let before = Sockets::bind(&listeners(&[FREE.into()]), 2).unwrap();
        let address = before.addresses()[0][0];
        let mut clients: Vec<_> = (0..20).map(|_| TcpStream::connect(address).unwrap()).collect();
        let (giver, taker) = UnixStream::pair().unwrap();
        pass(&before.duplicate().unwrap(), &giver).unwrap();
        drop((giver, before));
        let mut inherited = receive(&taker).unwrap();
        let after = Sockets::adopt(&listeners(&[address]), 2, &mut inherited).unwrap();
        assert_eq!(inherited.len(), 0);
        let mut served = 0;
        for socket in &after.by_listener[0][0] {
            while let Ok((mut stream, _)) = socket.accept() {
                stream.write_all(b"!").unwrap();
                served += 1;
            }
        }
        assert_eq!(served, 20);
        for client in &mut clients {
            let mut byte = [0];
            client.read_exact(&mut byte).unwrap();
        }
    }
}
