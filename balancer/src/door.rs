//! The door: sockets, workers and roster together, started and stopped as one.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::{mpsc, watch};

use crate::access_log::AccessLog;
use crate::config::DoorConfig;
use crate::listener::{Limits, Listener};
use crate::roster::Roster;
use crate::shared::{Shared, Stage};
use crate::sockets::Sockets;
use crate::stats::Registry;
use crate::worker;

/// What the machine has room for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capacity {
    /// Open client connections by listener, over all workers; one that is missing has no limit.
    /// Stands in the place of [`crate::config::ListenerConfig::max_connections`].
    pub connections: Vec<u32>,
    /// Connections beyond a limit that one worker keeps at once, to tell them so; further ones are
    /// closed without a word.
    pub refused_per_worker: u32,
}

/// A running data plane. Dropped without [`Door::ended`], it cuts what is under way and ends.
pub struct Door {
    shared: Arc<Shared>,
    roster: Arc<Roster>,
    addresses: Vec<Vec<SocketAddr>>,
    threads: Vec<JoinHandle<()>>,
}

impl Door {
    /// Starts the workers on sockets that are open already, and returns once all accept.
    ///
    /// `logs` has one end of the access log per worker, or is empty.
    ///
    /// # Errors
    ///
    /// The first worker that could not get a thread, or what it waits with. No client has been
    /// served then, and nothing is left running.
    pub async fn start(
        config: Arc<DoorConfig>,
        sockets: Sockets,
        logs: Vec<AccessLog>,
        capacity: Capacity,
    ) -> io::Result<Door> {
        let roster = Arc::new(Roster::new(Arc::clone(&config)));
        let shared = Arc::new(Shared {
            snapshot: roster.published(),
            registry: Registry::new(),
            stage: watch::Sender::new(Stage::Starting),
            refused_per_worker: capacity.refused_per_worker,
        });
        let addresses = sockets.addresses();
        let mut door = Door { shared, roster, addresses, threads: Vec::new() };
        match door.start_workers(deal(&config, sockets, &capacity), logs).await {
            Ok(()) => {
                door.advance(Stage::Running);
                Ok(door)
            }
            Err(error) => {
                door.advance(Stage::Now);
                // Here and not on a thread of its own: there may be no more threads. They have
                // served nobody and end at once.
                join(std::mem::take(&mut door.threads));
                Err(error)
            }
        }
    }

    async fn start_workers(
        &mut self,
        dealt: Vec<Vec<Listener>>,
        logs: Vec<AccessLog>,
    ) -> io::Result<()> {
        let workers = dealt.len();
        let mut logs = logs.into_iter();
        let (report, mut reports) = mpsc::unbounded_channel();
        for (index, listeners) in dealt.into_iter().enumerate() {
            let (shared, log, report) = (Arc::clone(&self.shared), logs.next(), report.clone());
            let thread = std::thread::Builder::new().name(format!("worker-{index}"));
            let run = move || worker::run(index, shared, listeners, log, report);
            self.threads.push(thread.spawn(run)?);
        }
        drop(report);
        for _ in 0..workers {
            // A worker that panicked reports nothing.
            reports.recv().await.unwrap_or_else(|| Err(io::Error::other("a worker is gone")))?;
        }
        Ok(())
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
    pub async fn ended(mut self) {
        let threads = std::mem::take(&mut self.threads);
        let joined = tokio::task::spawn_blocking(move || join(threads));
        // It can only have been cancelled by the runtime's own end.
        let _ = joined.await;
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.advance(Stage::Now);
    }
}

fn join(threads: Vec<JoinHandle<()>>) {
    for thread in threads {
        if thread.join().is_err() {
            tracing::error!("a worker panicked");
        }
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
fn deal(config: &DoorConfig, sockets: Sockets, capacity: &Capacity) -> Vec<Vec<Listener>> {
    let mut dealt: Vec<Vec<Listener>> = (0..config.workers).map(|_| Vec::new()).collect();
    for (index, groups) in sockets.by_listener.into_iter().enumerate() {
        let max = capacity.connections.get(index).copied().unwrap_or(u32::MAX);
        let limits = Limits::new(&config.listeners[index], max);
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
