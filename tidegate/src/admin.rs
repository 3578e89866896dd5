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
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::telemetry::events::EventRing;
use orders::{Order, Refusal};
pub use reload::{ReloadError, ReloadView, Reloading};
use socket::UnixSocket;
use view::{BackendView, PoolView, RouteView, StatusView};

mod answer;
mod events;
pub mod orders;
mod reload;
mod resources;
mod respond;
mod serve;
mod socket;
pub mod view;

/// Where the Unix socket is unless the configuration says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/tidegate/admin.sock";

/// Connections that one address serves at once; the next is closed.
pub const MAX_CONNECTIONS: usize = 64;

/// Connections end by themselves within this time once they are told to.
const GRACE: Duration = Duration::from_secs(2);

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
    fn order(
        &self,
        order: Order,
        actor: String,
    ) -> Result<(StatusCode, Option<BackendView>), Refusal>;
    /// The routing table.
    fn routes(&self) -> Vec<RouteView>;
    /// The effective configuration as TOML, secrets left out.
    fn config(&self) -> String;
    /// The last things that changed.
    fn events(&self) -> Arc<EventRing>;
    /// Reads the configuration again and takes it up.
    fn reload(&self) -> Reloading;
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

/// The running listeners.
#[derive(Debug)]
pub struct Admin {
    addresses: Addresses,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    /// Removes the file when it goes.
    unix: Option<socket::Path>,
}

/// Open addresses on which nobody answers yet; who connects waits.
#[derive(Debug)]
pub struct Bound {
    unix: Option<UnixSocket>,
    loopback: Option<(TcpListener, SocketAddr)>,
    metrics: Option<(TcpListener, SocketAddr)>,
}

impl Bound {
    /// Opens all addresses.
    ///
    /// # Errors
    ///
    /// One of them cannot be opened; then none is.
    pub async fn bind(wanted: &Addresses) -> Result<Bound, AdminError> {
        let unix = wanted.unix.as_deref().map(UnixSocket::bind).transpose()?;
        let loopback = match wanted.loopback {
            Some(address) if !address.ip().is_loopback() => {
                return Err(AdminError::NotLoopback(address));
            }
            Some(address) => Some(bind(address).await?),
            None => None,
        };
        let metrics = match wanted.metrics {
            Some(address) => Some(bind(address).await?),
            None => None,
        };
        Ok(Bound { unix, loopback, metrics })
    }

    /// Answers on them from tasks of the current runtime.
    pub fn serve(self, source: Arc<dyn Source>) -> Admin {
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let mut addresses = Addresses::default();
        for (listener, side) in
            [(self.loopback, respond::Side::Loopback), (self.metrics, respond::Side::Metrics)]
        {
            let Some((listener, address)) = listener else { continue };
            match side {
                respond::Side::Metrics => addresses.metrics = Some(address),
                _ => addresses.loopback = Some(address),
            }
            let desk = serve::Desk::new(side, Some(address), Arc::clone(&source), stopped.clone());
            tasks.spawn(desk.tcp(listener));
        }
        let unix = self.unix.map(|UnixSocket { listener, path }| {
            addresses.unix = Some(path.as_ref().to_owned());
            let desk = serve::Desk::new(respond::Side::Unix, None, source, stopped);
            tasks.spawn(desk.unix(listener));
            path
        });
        Admin { addresses, stop, tasks, unix }
    }
}

impl Admin {
    /// Where it listens, with real ports.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Path of the Unix socket.
    pub fn socket(&self) -> Option<&Path> {
        self.unix.as_ref().map(AsRef::as_ref)
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

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), AdminError> {
    let failed = |source| AdminError::Tcp { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

#[cfg(test)]
pub(crate) mod tests;
