//! Accepting: one listening socket per worker and address, and a listener's limits over all of them.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::net::SocketFlags;
use tokio::io::unix::AsyncFd;

use crate::config::ListenerConfig;
use crate::connection::{self, Client};
use crate::worker::Worker;

/// One listener's limits, exact over all workers.
pub(crate) struct Limits {
    pub(crate) max_connections: u32,
    pub(crate) max_per_address: Option<u32>,
    open: AtomicU32,
    by_address: Mutex<BTreeMap<IpAddr, u32>>,
}

impl Limits {
    pub(crate) fn new(config: &ListenerConfig, default_max: u32) -> Arc<Limits> {
        Arc::new(Limits {
            max_connections: config.max_connections.unwrap_or(default_max),
            max_per_address: config.max_connections_per_address,
            open: AtomicU32::new(0),
            by_address: Mutex::default(),
        })
    }

    /// A place for a connection from `ip`, or none.
    pub(crate) fn admit(self: &Arc<Self>, ip: IpAddr) -> Option<Place> {
        let taken = self.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| {
            (open < self.max_connections).then_some(open + 1)
        });
        taken.ok()?;
        // Dropped on refusal below, which gives the place back.
        let mut place = Place { limits: Arc::clone(self), counted: None };
        let Some(max) = self.max_per_address else { return Some(place) };
        let block = block_of(ip);
        let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let count = by_address.entry(block).or_default();
        if *count >= max {
            drop(by_address);
            return None;
        }
        *count += 1;
        place.counted = Some(block);
        Some(place)
    }
}

/// The address itself, or the /64 of an IPv6 one: that is what one subscriber has.
fn block_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

/// One connection's place under a listener's limits.
pub(crate) struct Place {
    limits: Arc<Limits>,
    counted: Option<IpAddr>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.limits.open.fetch_sub(1, Ordering::Relaxed);
        let Some(block) = self.counted else { return };
        let mut by_address = self.limits.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = by_address.get_mut(&block) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&block);
            }
        }
    }
}

/// One socket of one listener, as one worker has it.
pub(crate) struct Listener {
    /// Place of the listener in the configuration.
    pub(crate) index: u16,
    pub(crate) socket: TcpListener,
    pub(crate) limits: Arc<Limits>,
}

/// How long accepting pauses when the process has no descriptor left: whoever is waiting is
/// served as soon as others have gone.
const OUT_OF_DESCRIPTORS_PAUSE: Duration = Duration::from_millis(50);

/// Accepts for ever.
pub(crate) async fn accept(worker: Rc<Worker>, listener: Listener) {
    // Deprecated because a wrapper may close its descriptor early; a `TcpListener` cannot. Its
    // replacement is unsafe, and the runtime's own listener puts every accepted socket into the
    // poll set, which `socket.rs` avoids.
    #[allow(deprecated)]
    let socket = match AsyncFd::new(listener.socket) {
        Ok(socket) => socket,
        Err(error) => {
            tracing::error!(listener = listener.index, %error, "cannot wait for connections");
            return;
        }
    };
    loop {
        let Ok(mut ready) = socket.readable().await else { return };
        match ready.try_io(|socket| accept_one(socket.get_ref())) {
            Ok(Ok((stream, peer))) => {
                let client = Client {
                    listener: listener.index,
                    peer: peer.ip().to_canonical(),
                    place: listener.limits.admit(peer.ip()),
                };
                tokio::task::spawn_local(connection::converse(Rc::clone(&worker), stream, client));
            }
            Ok(Err(error)) => {
                if is_out_of_descriptors(&error) {
                    tracing::warn!(%error, "no descriptor left for a new connection");
                    tokio::time::sleep(OUT_OF_DESCRIPTORS_PAUSE).await;
                }
                // Anything else concerns that one connection, which is gone already.
            }
            Err(_would_block) => {}
        }
    }
}

fn accept_one(socket: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let (stream, peer): (OwnedFd, _) = rustix::net::acceptfrom_with(socket, flags)?;
    let peer = peer.and_then(|any| SocketAddr::try_from(any).ok());
    let peer = peer.ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))?;
    Ok((stream.into(), peer))
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(rustix::io::Errno::from_raw_os_error);
    matches!(code, Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE))
}
