//! The door for operators and machines that watch.
//!
//! | address                    | who                      | what                                      |
//! |----------------------------|--------------------------|-------------------------------------------|
//! | `[admin] unix`, mode 0660  | who may open the file    | everything                                |
//! | `[admin] listen`, loopback | users of this machine    | read only; foreign `Host`, `Origin`: 403  |
//! | `[observe] metrics.listen` | the LAN                  | `/metrics`, `/livez`, `/readyz`, `/startupz` |
//!
//! What is served comes from a [`Source`]; this module knows sockets and HTTP, and nothing of how
//! the door works. It runs on the control runtime: no worker waits for it.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::hand_over::{AdminState, Line};
use crate::telemetry::events::EventRing;
use orders::{Done, Order, Refusal};
pub use reload::{ReloadError, ReloadView, Reloading};
use socket::UnixSocket;
use view::{BackendView, MaintenanceView, PoolView, RouteView, StatusView};

mod answer;
mod events;
mod hand_over;
pub mod orders;
mod reload;
mod resources;
mod respond;
mod serve;
mod socket;
pub mod view;

pub use hand_over::{UpgradeError, UpgradeView, Upgrading};

/// Where the Unix socket is unless the configuration says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/tidegate/admin.sock";

/// Connections that one address serves at once; the next is closed.
pub const MAX_CONNECTIONS: usize = 64;

/// Connections end by themselves within this time once they are told to: the last request of a
/// door that stops is at most a second ahead of its end.
const GRACE: Duration = Duration::from_millis(300);

/// What operators may ask. The door has one implementation, the tests of this module another.
///
/// Called on the control runtime for each request; none may wait but a reload.
pub trait Source: Send + Sync + 'static {
    /// How the door is; the summary is filled in here.
    fn status(&self) -> StatusView;
    /// Pools and their backends.
    fn pools(&self) -> Vec<PoolView>;
    /// One backend by its pool's name and its id.
    ///
    /// # Errors
    ///
    /// There is none of this name.
    fn backend(&self, pool: &str, id: &str) -> Result<BackendView, Refusal>;
    /// Carries an order out, whole, for whoever `actor` is.
    ///
    /// # Errors
    ///
    /// Why not; nothing has changed then.
    fn order(&self, order: Order, actor: String) -> Result<Done, Refusal>;
    /// Whether the site, or a route, is in maintenance.
    ///
    /// # Errors
    ///
    /// There is no such route.
    fn maintenance(&self, route: Option<&str>) -> Result<MaintenanceView, Refusal>;
    /// The routing table.
    fn routes(&self) -> Vec<RouteView>;
    /// The effective configuration as TOML, secrets left out.
    fn config(&self) -> String;
    /// The last things that changed.
    fn events(&self) -> Arc<EventRing>;
    /// Reads the configuration again and takes it up.
    fn reload(&self) -> Reloading;
    /// Starts the program anew and hands over to it.
    fn upgrade(&self) -> Upgrading;
    /// Hands over to whoever is at the other end; closes the connection if that cannot be.
    fn hand_over(&self, successor: Line);
    /// All metrics in the Prometheus text format.
    fn metrics(&self) -> String;
    /// Whether traffic should be sent here, or all the reasons why not.
    ///
    /// # Errors
    ///
    /// The reasons, a few words each.
    fn ready(&self) -> Result<(), Vec<String>>;
    /// Whether the door was ever ready.
    fn has_started(&self) -> bool;
}

/// Addresses to listen on. Each may be absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Addresses {
    /// Path of the Unix socket.
    pub unix: Option<PathBuf>,
    /// Loopback address for reading.
    pub loopback: Option<SocketAddr>,
    /// Address for scrapers.
    pub metrics: Option<SocketAddr>,
}

/// Why operators would find a closed door.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Read-only does not mean harmless: the configuration is shown there.
    #[error("`[admin] listen` is `{0}`; use a loopback address (127.0.0.1 or ::1)")]
    NotLoopback(SocketAddr),
    /// The port is taken or forbidden.
    #[error("cannot listen on `{address}`; choose another address or stop its owner")]
    Tcp {
        /// As configured.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Another process answers on the socket.
    #[error("`{path}` is in use: another door is running; stop it or set another `[admin] unix`")]
    SocketInUse {
        /// As configured.
        path: PathBuf,
    },
    /// The file cannot be made.
    #[error("cannot make the socket `{path}`; check its directory or set `[admin] unix`")]
    Unix {
        /// As configured.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The listeners, running once they are opened.
pub struct Admin {
    addresses: Addresses,
    stop: watch::Sender<bool>,
    waiting: Vec<Desk>,
    tasks: JoinSet<()>,
    /// Removes the file when it goes.
    unix: Option<(socket::Path, Arc<tokio::net::UnixListener>)>,
    loopback: Option<Tcp>,
    metrics: Option<Tcp>,
}

/// What accepts on one address and answers.
type Desk = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Open addresses on which nobody answers yet; who connects waits.
#[derive(Debug)]
pub struct Bound {
    unix: Option<UnixSocket>,
    loopback: Option<Tcp>,
    metrics: Option<Tcp>,
}

#[derive(Debug, Clone)]
struct Tcp {
    /// As configured.
    wanted: SocketAddr,
    listener: Arc<TcpListener>,
    address: SocketAddr,
}

/// Listeners of a door that ran before, and the address of each in its configuration.
#[derive(Debug, Default)]
pub struct Inherited {
    /// `[admin] unix`
    pub unix: Option<(PathBuf, std::os::unix::net::UnixListener)>,
    /// `[admin] listen`
    pub loopback: Option<(SocketAddr, std::net::TcpListener)>,
    /// `[observe] metrics.listen`
    pub metrics: Option<(SocketAddr, std::net::TcpListener)>,
}

impl Bound {
    /// Opens all addresses, but for those that are open already.
    ///
    /// # Errors
    ///
    /// One of them cannot be opened; then none is.
    pub async fn bind(wanted: &Addresses, inherited: Inherited) -> Result<Bound, AdminError> {
        let known = inherited.unix.filter(|(path, _)| wanted.unix.as_ref() == Some(path));
        let known = known.and_then(|(path, listener)| UnixSocket::adopt(listener, &path).ok());
        let unix = match (known, wanted.unix.as_deref()) {
            (None, Some(path)) => Some(UnixSocket::bind(path)?),
            (known, _) => known,
        };
        let loopback = match wanted.loopback {
            Some(address) if !address.ip().is_loopback() => {
                return Err(AdminError::NotLoopback(address));
            }
            Some(address) => Some(Tcp::open(address, inherited.loopback).await?),
            None => None,
        };
        let metrics = match wanted.metrics {
            Some(address) => Some(Tcp::open(address, inherited.metrics).await?),
            None => None,
        };
        Ok(Bound { unix, loopback, metrics })
    }

    /// The real addresses.
    pub fn addresses(&self) -> Addresses {
        let address = |tcp: &Option<Tcp>| tcp.as_ref().map(|tcp| tcp.address);
        Addresses {
            unix: self.unix.as_ref().map(|unix| unix.path.as_ref().to_owned()),
            loopback: address(&self.loopback),
            metrics: address(&self.metrics),
        }
    }

    /// What answers on them from [`Admin::open`] on.
    pub fn serve(self, source: Arc<dyn Source>) -> Admin {
        let (stop, stopped) = watch::channel(false);
        let addresses = self.addresses();
        let mut waiting: Vec<Desk> = Vec::new();
        for (tcp, side) in
            [(&self.loopback, respond::Side::Loopback), (&self.metrics, respond::Side::Metrics)]
        {
            let Some(Tcp { listener, address, .. }) = tcp else { continue };
            let source = Arc::clone(&source);
            let desk = serve::Desk::new(side, Some(*address), source, stopped.clone());
            waiting.push(Box::pin(desk.tcp(Arc::clone(listener))));
        }
        let unix = self.unix.map(|UnixSocket { listener, path }| {
            let listener = Arc::new(listener);
            let desk = serve::Desk::new(respond::Side::Unix, None, source, stopped);
            waiting.push(Box::pin(desk.unix(Arc::clone(&listener))));
            (path, listener)
        });
        let (loopback, metrics) = (self.loopback, self.metrics);
        Admin { addresses, stop, waiting, tasks: JoinSet::new(), unix, loopback, metrics }
    }
}

impl Tcp {
    /// The same listener as before if its address was written as this one is.
    async fn open(
        wanted: SocketAddr,
        inherited: Option<(SocketAddr, std::net::TcpListener)>,
    ) -> Result<Tcp, AdminError> {
        let failed = |source| AdminError::Tcp { address: wanted, source };
        let listener = match inherited.filter(|(address, _)| *address == wanted) {
            Some((_, listener)) => {
                listener.set_nonblocking(true).map_err(failed)?;
                TcpListener::from_std(listener).map_err(failed)?
            }
            None => TcpListener::bind(wanted).await.map_err(failed)?,
        };
        let address = listener.local_addr().map_err(failed)?;
        Ok(Tcp { wanted, listener: Arc::new(listener), address })
    }
}

impl Admin {
    /// Answers from now on, from tasks of the current runtime.
    pub fn open(&mut self) {
        for desk in self.waiting.drain(..) {
            self.tasks.spawn(desk);
        }
        if let Some((path, _)) = &mut self.unix {
            path.own();
        }
    }

    /// Where it listens, with real ports.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Path of the Unix socket.
    pub fn socket(&self) -> Option<&Path> {
        self.unix.as_ref().map(|(path, _)| path.as_ref())
    }

    /// The listeners, for a successor.
    pub fn parts(&self) -> (AdminState, Vec<BorrowedFd<'_>>) {
        let wanted = |tcp: &Option<Tcp>| tcp.as_ref().map(|tcp| tcp.wanted);
        let state = AdminState {
            unix: self.addresses.unix.clone(),
            loopback: wanted(&self.loopback),
            metrics: wanted(&self.metrics),
        };
        let unix = self.unix.iter().map(|(_, listener)| listener.as_fd());
        let tcp = self.loopback.iter().chain(&self.metrics).map(|tcp| tcp.listener.as_fd());
        (state, unix.chain(tcp).collect())
    }

    /// Leaves the listeners to a successor, with the socket's file if that `has_unix`. Answers
    /// under way end.
    pub fn leave(&mut self, has_unix: bool) {
        self.stop.send_replace(true);
        if let Some((path, _)) = self.unix.as_mut().filter(|_| has_unix) {
            path.disown();
        }
        (self.unix, self.loopback, self.metrics) = (None, None, None);
    }

    /// Stops listening, lets answers under way end, and removes the socket's file.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        let all = async { while self.tasks.join_next().await.is_some() {} };
        // Dropping the rest cuts what is left.
        let _ = tokio::time::timeout(2 * GRACE, all).await;
    }
}

impl Addresses {
    /// How many there are.
    pub fn count(&self) -> usize {
        usize::from(self.unix.is_some())
            + usize::from(self.loopback.is_some())
            + usize::from(self.metrics.is_some())
    }
}

#[cfg(test)]
pub(crate) mod tests;
