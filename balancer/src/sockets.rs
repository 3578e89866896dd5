//! Listening sockets: opened, taken over or passed on before any worker runs.
//!
//! There is one socket per address and worker, all made by the main process, so that none is ever
//! closed while it can hold a connection (docs/decisions/0005). Sockets may also come from
//! outside: from systemd (`LISTEN_FDS`), recognised by their address, or from the door that ran before
//! ([`Sockets::assemble`]).

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, Type};

use crate::config::ListenerConfig;

mod parts;
mod pass;

pub use parts::Part;
pub use pass::{PER_MESSAGE, pass, receive};

/// Connections that wait to be accepted, per socket; the kernel caps it at `net.core.somaxconn`.
pub(crate) const BACKLOG: i32 = 4096;

/// A socket could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody else listens there.
    #[error(
        "listener `{listener}`: {address} is in use by another program, or by this door at an address \
         that overlaps; stop it or change `bind`"
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

/// The sockets of all listeners.
#[derive(Debug, Clone, Default)]
pub struct Sockets {
    pub(crate) by_listener: Vec<Bound>,
}

/// The sockets of one listener.
#[derive(Debug, Clone)]
pub(crate) struct Bound {
    pub(crate) name: Arc<str>,
    pub(crate) groups: Vec<Group>,
}

/// The sockets of one address, each with an accept queue of its own. There are never fewer than
/// there were: a queue is closed only together with its address.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    /// As configured; port 0 is still 0 here.
    pub(crate) wanted: SocketAddr,
    /// Whether nobody else has a descriptor of them, such as the service manager.
    is_ours: bool,
    pub(crate) sockets: Vec<Arc<TcpListener>>,
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
        build(listeners, |_, address| {
            let known = |socket: &mut TcpListener| socket.local_addr().ok() == Some(address);
            let found: Vec<_> = inherited.extract_if(.., known).collect();
            match found.is_empty() {
                true => Ok((true, bind_group(address, workers)?)),
                false => Ok((false, take_over(found)?)),
            }
        })
    }

    /// The sockets for other listeners: those of an address that stays are the same, also where
    /// another listener has it now; the others are opened. Nothing changes in `self`.
    ///
    /// # Errors
    ///
    /// As [`Sockets::bind`].
    pub fn followed_by(
        &self,
        listeners: &[ListenerConfig],
        workers: usize,
    ) -> Result<Sockets, BindError> {
        let mut left = self.clone();
        build(listeners, |name, address| match left.take(name, address) {
            Some(group) => Ok((group.is_ours, group.sockets)),
            None => Ok((true, bind_group(address, workers)?)),
        })
    }

    /// A group at this address: of port 0 the one that this listener has, else whoever has it.
    fn take(&mut self, name: &Arc<str>, address: SocketAddr) -> Option<Group> {
        let is_ours = |bound: &&mut Bound| address.port() != 0 || bound.name == *name;
        let fits = |group: &Group| group.wanted == address || group.address() == Some(address);
        self.by_listener.iter_mut().filter(is_ours).find_map(|bound| {
            let place = bound.groups.iter().position(fits)?;
            Some(bound.groups.swap_remove(place))
        })
    }

    /// The addresses that are really open, by listener: a configured port 0 has become a number.
    pub fn addresses(&self) -> Vec<Vec<SocketAddr>> {
        let addresses = |bound: &Bound| bound.groups.iter().filter_map(Group::address).collect();
        self.by_listener.iter().map(addresses).collect()
    }

    /// Adds a queue for each worker that has none, where the kernel lets us: sockets that came from
    /// outside may not share their address. Workers without one of their own then share.
    pub(crate) fn grow(&mut self, workers: usize) {
        for group in self.groups_mut() {
            let Some(address) = group.address() else { continue };
            for _ in group.sockets.len()..workers {
                match listen(address) {
                    Ok(socket) => group.sockets.push(Arc::new(socket)),
                    Err(_) => break,
                }
            }
        }
    }

    /// Those that close when the others take their place.
    pub(crate) fn closing_with(&self, next: &Sockets) -> Vec<Arc<TcpListener>> {
        let stays = |socket: &&Arc<TcpListener>| next.all().any(|kept| Arc::ptr_eq(kept, socket));
        let groups = self.by_listener.iter().flat_map(|bound| &bound.groups);
        let ours = groups.filter(|group| group.is_ours).flat_map(|group| &group.sockets);
        ours.filter(|socket| !stays(socket)).cloned().collect()
    }

    fn all(&self) -> impl Iterator<Item = &Arc<TcpListener>> {
        self.by_listener.iter().flat_map(|bound| &bound.groups).flat_map(|group| &group.sockets)
    }

    fn groups_mut(&mut self) -> impl Iterator<Item = &mut Group> {
        self.by_listener.iter_mut().flat_map(|bound| &mut bound.groups)
    }
}

impl Group {
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.sockets.first()?.local_addr().ok()
    }
}

fn build(
    listeners: &[ListenerConfig],
    mut open: impl FnMut(&Arc<str>, SocketAddr) -> io::Result<(bool, Vec<Arc<TcpListener>>)>,
) -> Result<Sockets, BindError> {
    let mut by_listener = Vec::with_capacity(listeners.len());
    for listener in listeners {
        let name = &listener.name;
        let group = |&wanted: &SocketAddr| {
            let opened = open(name, wanted).map_err(|error| explain(name, wanted, error));
            opened.map(|(is_ours, sockets)| Group { wanted, is_ours, sockets })
        };
        let groups = listener.bind.iter().map(group).collect::<Result<_, _>>()?;
        by_listener.push(Bound { name: Arc::clone(name), groups });
    }
    Ok(Sockets { by_listener })
}

/// Handshakes that have begun end within this time: most of the world's round trips.
const HANDSHAKES: Duration = Duration::from_millis(200);

/// Lets no new connection into these queues and waits for those on their way, so that once a queue
/// is empty it stays so and may be closed. Who comes meanwhile hears nothing, tries again, and is
/// refused by then.
///
/// Never for a socket that another process has too: it concerns both.
pub(crate) async fn turn_away(sockets: &[Arc<TcpListener>]) {
    // Classic BPF over the TCP header: byte 13 has the flags (RFC 9293 §3.1); a SYN is dropped,
    // anything else passes, which the accepted connections need that inherit this.
    const LOAD_BYTE: u16 = 0x30;
    const JUMP_IF_SET: u16 = 0x45;
    const RETURN: u16 = 0x06;
    let filter = [
        SockFilter::new(LOAD_BYTE, 0, 0, 13),
        SockFilter::new(JUMP_IF_SET, 0, 1, 0x02),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ];
    if sockets.is_empty() {
        return;
    }
    for socket in sockets {
        if let Err(error) = SockRef::from(&**socket).attach_filter(&filter) {
            // Then whoever connects between the last accept and the close is reset.
            tracing::debug!(%error, "a closing socket could not be kept from new connections");
        }
    }
    tokio::time::sleep(HANDSHAKES).await;
}

/// Sockets that came from outside, as ours would be.
fn take_over(group: Vec<TcpListener>) -> io::Result<Vec<Arc<TcpListener>>> {
    for socket in &group {
        socket.set_nonblocking(true)?;
        SockRef::from(socket).set_tcp_nodelay(true)?;
    }
    Ok(group.into_iter().map(Arc::new).collect())
}

fn bind_group(address: SocketAddr, workers: usize) -> io::Result<Vec<Arc<TcpListener>>> {
    // A first socket without SO_REUSEPORT finds out whether another program listens there:
    // with it, a second door of the same user would silently take half of the connections.
    // It only binds: a socket that listened could already hold a connection when it is closed.
    let probe = open(address, false)?;
    let port = probe.local_addr()?.as_socket().map_or(address.port(), |bound| bound.port());
    drop(probe);
    let address = SocketAddr::new(address.ip(), port);
    (0..workers).map(|_| Ok(Arc::new(listen(address)?))).collect()
}

/// One more queue at this address.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = open(address, true)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
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
        let group = &sockets.by_listener[0].groups[0].sockets;
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
                "listener `web`: {address} is in use by another program, or by this door at an \
                 address that overlaps; stop it or change `bind`"
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
    fn sockets_from_outside_are_taken_and_strangers_left() {
        let ours = TcpListener::bind("127.0.0.1:0").unwrap();
        let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = ours.local_addr().unwrap();
        let mut inherited = vec![stranger, ours];
        let sockets = Sockets::adopt(&listeners(&[address]), 3, &mut inherited).unwrap();
        assert_eq!((sockets.all().count(), inherited.len()), (1, 1));
        let _client = TcpStream::connect(address).unwrap();
    }
}
