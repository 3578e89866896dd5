//! Accepting on one socket, and a listener's limits over all of its sockets and workers.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use health::connect::is_exhausted;
use rustix::net::SocketFlags;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

use crate::admission::is_in;
use crate::connection::{self, Client};
use crate::sockets::BACKLOG;
use crate::worker::Worker;

/// One listener's place and limits, exact over all workers. They outlive configurations, as its
/// connections do.
pub(crate) struct Limits {
    /// Place of the listener in every configuration, as long as it has a socket or a connection.
    pub(crate) place: u16,
    max_connections: AtomicU32,
    /// `u32::MAX` is no limit.
    max_per_address: AtomicU32,
    open: AtomicU32,
    by_address: Mutex<BTreeMap<IpAddr, u32>>,
}

impl Limits {
    pub(crate) fn new(place: u16) -> Arc<Limits> {
        Arc::new(Limits {
            place,
            max_connections: AtomicU32::new(u32::MAX),
            max_per_address: AtomicU32::new(u32::MAX),
            open: AtomicU32::new(0),
            by_address: Mutex::default(),
        })
    }

    /// For connections from now on. Those that came while there was no limit per address are not
    /// counted under one that is set later.
    pub(crate) fn set(&self, max_connections: u32, max_per_address: Option<u32>) {
        self.max_connections.store(max_connections, Ordering::Relaxed);
        self.max_per_address.store(max_per_address.unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// A place for a connection from `ip`, or none.
    pub(crate) fn admit(self: &Arc<Self>, ip: IpAddr) -> Option<Place> {
        // Dropped on refusal, which gives the place back.
        let mut place = self.admit_anybody()?;
        place.count(ip).then_some(place)
    }

    /// A place for a connection of which only a trusted proxy knows whose it is.
    pub(crate) fn admit_anybody(self: &Arc<Self>) -> Option<Place> {
        let taken = self.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| {
            (open < self.max_connections.load(Ordering::Relaxed)).then_some(open + 1)
        });
        taken.ok()?;
        Some(Place { limits: Arc::clone(self), counted: None })
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

impl Place {
    /// Counts the connection as one from `ip`, once; false if there are enough of those.
    pub(crate) fn count(&mut self, ip: IpAddr) -> bool {
        let max = self.limits.max_per_address.load(Ordering::Relaxed);
        if max == u32::MAX || self.counted.is_some() {
            return true;
        }
        let block = block_of(ip);
        let by_address = self.limits.by_address.lock();
        let mut by_address = by_address.unwrap_or_else(PoisonError::into_inner);
        let count = by_address.entry(block).or_default();
        if *count >= max {
            return false;
        }
        *count += 1;
        self.counted = Some(block);
        true
    }
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
#[derive(Clone)]
pub(crate) struct Listener {
    pub(crate) socket: Arc<TcpListener>,
    pub(crate) limits: Arc<Limits>,
}

/// How long accepting pauses when there is no descriptor or memory left: whoever is waiting is
/// served as soon as others have gone.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);
/// And one worker says so at most so often.
const WARNING_INTERVAL: Duration = Duration::from_secs(1);

/// What accepting on all listeners of one worker has in common.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    refused: Cell<u32>,
    warned: Cell<Option<Instant>>,
}

impl Gate {
    /// Whether to warn now.
    fn may_warn(&self, now: Instant) -> bool {
        let is_recent =
            self.warned.get().is_some_and(|warned| now.duration_since(warned) < WARNING_INTERVAL);
        if !is_recent {
            self.warned.set(Some(now));
        }
        !is_recent
    }
}

/// The place of a connection that is beyond a limit and is kept only to be told so.
struct Refused(Rc<Worker>);

impl Refused {
    /// `None`: there are enough of them. What is refused must not take what the limit protects.
    fn admit(worker: &Rc<Worker>) -> Option<Refused> {
        let refused = &worker.gate.refused;
        let most = worker.shared.refused_per_worker.load(Ordering::Relaxed);
        (refused.get() < most).then(|| {
            refused.set(refused.get() + 1);
            Refused(Rc::clone(worker))
        })
    }
}

impl Drop for Refused {
    fn drop(&mut self) {
        let refused = &self.0.gate.refused;
        refused.set(refused.get() - 1);
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl Listener {
    /// Whether connections are taken from the same queue for the same listener.
    pub(crate) fn is(&self, other: &Listener) -> bool {
        Arc::ptr_eq(&self.socket, &other.socket) && Arc::ptr_eq(&self.limits, &other.limits)
    }

    /// Takes what still waits in the queue, so that closing the socket resets nobody. Bounded, so
    /// that a flood does not keep a door that was told to stop.
    pub(crate) fn empty_queue(&self, worker: &Rc<Worker>) {
        for _ in 0..BACKLOG {
            match accept_one(&self.socket) {
                Ok((stream, peer)) => self.welcome(worker, stream, peer),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {}
            }
        }
    }

    fn welcome(&self, worker: &Rc<Worker>, stream: TcpStream, peer: SocketAddr) {
        let ip = peer.ip().to_canonical();
        let view = worker.view();
        let config = view.snapshot.config.listeners.get(usize::from(self.limits.place));
        let is_proxy = config.is_some_and(|config| is_in(ip, &config.proxy_protocol));
        let place = if is_proxy { self.limits.admit_anybody() } else { self.limits.admit(ip) };
        let client = Client { listener: self.limits.place, peer: ip, is_proxy, place };
        let refused = client.place.is_none().then(|| Refused::admit(worker));
        if matches!(refused, Some(None)) {
            return;
        }
        // Counted here: a door that stops waits for it although its task has not run yet.
        let open = worker.open_connection(&self.limits);
        let talk = connection::converse(Rc::clone(worker), stream, client, open);
        match refused.flatten() {
            None => tokio::task::spawn_local(talk),
            Some(refused) => tokio::task::spawn_local(async move {
                talk.await;
                drop(refused);
            }),
        };
    }
}

/// What [`accept`] waits on. Can fail, so it is made while the door can still be stopped.
///
/// # Errors
///
/// No descriptor or memory left.
pub(crate) fn watch(listener: Rc<Listener>) -> io::Result<AsyncFd<Rc<Listener>>> {
    // Deprecated because a wrapper may close its descriptor early; a `TcpListener` cannot. Its
    // replacement is unsafe, and the runtime's own listener puts every accepted socket into the
    // poll set, which `socket.rs` avoids.
    #[allow(deprecated)]
    AsyncFd::new(listener)
}

/// The same once the door runs: clients wait in the queue until there is room again.
pub(crate) async fn watch_at_last(listener: &Rc<Listener>) -> AsyncFd<Rc<Listener>> {
    loop {
        match watch(Rc::clone(listener)) {
            Ok(socket) => return socket,
            Err(error) => {
                tracing::warn!(%error, "a listening socket cannot be waited for yet");
                tokio::time::sleep(WARNING_INTERVAL).await;
            }
        }
    }
}

/// Accepts for ever.
pub(crate) async fn accept(worker: Rc<Worker>, socket: AsyncFd<Rc<Listener>>) {
    loop {
        // A queue that fills as fast as it is emptied shall not keep those who are in from their turn.
        tokio::task::coop::consume_budget().await;
        let Ok(mut ready) = socket.readable().await else { return };
        match ready.try_io(|socket| accept_one(&socket.get_ref().socket)) {
            Ok(Ok((stream, peer))) => socket.get_ref().welcome(&worker, stream, peer),
            Ok(Err(error)) => {
                if is_exhausted(&error) {
                    // Connections to backends that nobody uses are worth less than a client.
                    worker.make_room();
                    if worker.gate.may_warn(Instant::now()) {
                        tracing::warn!(%error, "no descriptor or memory left for a new connection");
                    }
                    tokio::time::sleep(EXHAUSTED_PAUSE).await;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn want_of_descriptors_or_memory_is_told_once_a_second() {
        let (gate, now) = (Gate::default(), Instant::now());
        let told = [0, 1, 999, 1000, 1001, 2500].map(|ms| {
            let at = now + Duration::from_millis(ms);
            gate.may_warn(at)
        });
        assert_eq!(told, [true, false, false, true, false, true]);
    }
}
