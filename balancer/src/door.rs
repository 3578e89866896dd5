//! The door: sockets, workers and roster together, started and stopped as one.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::{Semaphore, watch};

use crate::access_log::AccessLog;
use crate::config::DoorConfig;
use crate::listener::{Limits, Listener};
use crate::roster::Roster;
use crate::shared::{Shared, Stage};
use crate::sockets::Sockets;
use crate::stats::Registry;
use crate::worker;

/// A running data plane.
pub struct Door {
    shared: Arc<Shared>,
    roster: Arc<Roster>,
    addresses: Vec<Vec<SocketAddr>>,
    threads: Vec<JoinHandle<io::Result<()>>>,
}

impl Door {
    /// Starts the workers on sockets that are open already, and returns once all accept.
    ///
    /// `logs` has one end of the access log per worker, or is empty. `max_connections` is the
    /// limit of listeners that set none.
    pub async fn start(
        config: Arc<DoorConfig>,
        sockets: Sockets,
        logs: Vec<AccessLog>,
        max_connections: u32,
    ) -> io::Result<Door> {
        let roster = Arc::new(Roster::new(Arc::clone(&config)));
        let shared = Arc::new(Shared {
            snapshot: roster.published(),
            registry: Registry::new(),
            stage: watch::Sender::new(Stage::Running),
            started: Semaphore::new(0),
        });
        let addresses = sockets.addresses();
        let mut logs = logs.into_iter();
        let mut threads = Vec::new();
        for (index, listeners) in deal(&config, sockets, max_connections).into_iter().enumerate() {
            let (shared, log) = (Arc::clone(&shared), logs.next());
            let thread = std::thread::Builder::new().name(format!("worker-{index}"));
            threads.push(thread.spawn(move || worker::run(index, shared, listeners, log))?);
        }
        let workers = u32::try_from(threads.len()).unwrap_or(u32::MAX);
        // Never closed, so this can only succeed.
        let _ = shared.started.acquire_many(workers).await;
        Ok(Door { shared, roster, addresses, threads })
    }

    /// Addresses by listener, in the order of the configuration.
    pub fn addresses(&self) -> &[Vec<SocketAddr>] {
        &self.addresses
    }

    /// Who takes traffic.
    pub fn roster(&self) -> &Arc<Roster> {
        &self.roster
    }

    /// What was counted.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.shared.registry
    }

    /// Moves the stage on. [`Stage::Draining`] stops accepting and lets requests end.
    pub fn advance(&self, stage: Stage) {
        self.stages().advance(stage);
    }

    /// A handle to move the stage with while [`Door::ended`] is awaited.
    pub fn stages(&self) -> Stages {
        Stages(Arc::clone(&self.shared))
    }

    /// Waits until every worker has ended, which is when the last request has.
    pub async fn ended(self) {
        let joined = tokio::task::spawn_blocking(move || {
            for thread in self.threads {
                match thread.join() {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::error!(%error, "a worker could not run"),
                    Err(_) => tracing::error!("a worker panicked"),
                }
            }
        });
        // It can only have been cancelled by the runtime's own end.
        let _ = joined.await;
    }
}

/// Moves a door towards its end, never back.
pub struct Stages(Arc<Shared>);

impl Stages {
    /// Moves the stage on.
    pub fn advance(&self, stage: Stage) {
        self.0.stage.send_if_modified(|now| {
            let is_later = stage > *now;
            *now = (*now).max(stage);
            is_later
        });
    }
}

/// Each worker's sockets.
fn deal(config: &DoorConfig, sockets: Sockets, max_connections: u32) -> Vec<Vec<Listener>> {
    let mut dealt: Vec<Vec<Listener>> = (0..config.workers).map(|_| Vec::new()).collect();
    for (index, groups) in sockets.by_listener.into_iter().enumerate() {
        let limits = Limits::new(&config.listeners[index], max_connections);
        for socket in groups.into_iter().flat_map(|group| group.into_iter().enumerate()) {
            let index = u16::try_from(index).unwrap_or(u16::MAX);
            let (worker, socket) = socket;
            dealt[worker % config.workers].push(Listener {
                index,
                socket,
                limits: Arc::clone(&limits),
            });
        }
    }
    dealt
}
