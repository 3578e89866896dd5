//! The door: sockets, workers and roster together, started, changed and stopped as one.
//!
//! | what                                            | where        |
//! |-------------------------------------------------|--------------|
//! | which listener has which place, and its limits  | `places.rs`  |
//! | the threads and what they are told              | `crew.rs`    |

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::access_log::LogSource;
use crate::config::DoorConfig;
use crate::roster::Roster;
use crate::shared::{Shared, Stage};
use crate::sockets::{BindError, Sockets};
use crate::stats::Registry;
use crew::Crew;
use places::Places;

mod crew;
mod places;

pub use crew::Stages;

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
    sockets: Sockets,
    places: Places,
    crew: Crew,
}

/// Why a door could not be changed. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// An address.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The system has no more threads or descriptors.
    #[error("no more workers could be started")]
    Workers(#[source] io::Error),
}

/// A change that was carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Changed {
    /// Grows by one with every configuration.
    pub generation: u64,
    /// Whether every worker has said that it works by it. One that has not is stuck.
    pub is_acknowledged: bool,
}

/// A worker takes up orders between two turns of its loop, in microseconds.
const ACKNOWLEDGE: Duration = Duration::from_secs(5);

impl Door {
    /// Starts the workers on sockets that are open already, and returns once all are ready to
    /// accept, which they do from [`Stage::Running`] on.
    ///
    /// # Errors
    ///
    /// The first worker that could not get a thread, or what it waits with. No client has been
    /// served then, and nothing is left running.
    pub async fn start(
        config: DoorConfig,
        sockets: Sockets,
        log: Option<Arc<LogSource>>,
        capacity: Capacity,
    ) -> io::Result<Door> {
        let workers = config.workers;
        let mut places = Places::default();
        let config = Arc::new(places.arrange(config, &capacity));
        let roster = Arc::new(Roster::new(config));
        let shared = Arc::new(Shared {
            snapshot: roster.published(),
            registry: Registry::new(),
            refused_per_worker: AtomicU32::new(capacity.refused_per_worker),
            exhaustions: AtomicU32::new(0),
        });
        let mut crew = Crew::default();
        let dealt = places.deal(&sockets, workers);
        crew.hire(&shared, dealt, log).await?;
        Ok(Door { shared, roster, sockets, places, crew })
    }

    /// Another configuration, whole or not at all. Requests and tunnels under way go on; workers
    /// that are too many take no more and end with their last connection.
    ///
    /// Returns when every worker works by it.
    ///
    /// # Errors
    ///
    /// What could not be opened or started. Everything is as before then.
    pub async fn change(
        &mut self,
        config: DoorConfig,
        log: Option<Arc<LogSource>>,
        capacity: Capacity,
    ) -> Result<Changed, ChangeError> {
        let workers = config.workers;
        let mut sockets = self.sockets.followed_by(&config.listeners, workers)?;
        // Without sockets: a queue that they shared would be left half served if one failed.
        let recruits = vec![Vec::new(); workers.saturating_sub(self.crew.len())];
        self.crew.hire(&self.shared, recruits, None).await.map_err(ChangeError::Workers)?;

        // Nothing can fail from here on.
        sockets.grow(workers);
        let before = std::mem::replace(&mut self.sockets, sockets);
        let closing = before.closing_with(&self.sockets);
        drop(before);
        crate::sockets::turn_away(&closing).await;
        drop(closing);
        self.shared.refused_per_worker.store(capacity.refused_per_worker, Ordering::Relaxed);
        let config = self.places.arrange(config, &capacity);
        let generation = self.roster.configure(Arc::new(config));
        let dealt = self.places.deal(&self.sockets, workers);
        let retired = self.crew.order(dealt, log);
        (workers..workers + retired).for_each(|worker| self.shared.registry.forget_worker(worker));
        let is_acknowledged = self.crew.acknowledged(ACKNOWLEDGE).await;
        Ok(Changed { generation, is_acknowledged })
    }

    /// Addresses by listener, in the order of the configuration.
    pub fn addresses(&self) -> Vec<Vec<SocketAddr>> {
        self.sockets.addresses()
    }

    /// Lets nobody new in, except through sockets that another process has too. To be called before
    /// the door drains, so that nobody is in a queue when it closes.
    pub async fn turn_away(&self) {
        crate::sockets::turn_away(&self.sockets.closing_with(&Sockets::default())).await;
    }

    /// The listening sockets.
    pub fn sockets(&self) -> &Sockets {
        &self.sockets
    }

    /// Gives each worker a queue of its own, where there are fewer: after a hand-over. Not before,
    /// because who connects to a new queue is reset if the process ends without having served it.
    pub fn widen(&mut self) {
        let workers = self.crew.len();
        self.sockets.grow(workers);
        let log = self.crew.log();
        self.crew.order(self.places.deal(&self.sockets, workers), log);
    }

    /// Leaves the listening sockets to another process that has them too and accepts, but for
    /// those of these [`Sockets::parts`], which nobody wants any more. Whoever has connected here
    /// may ask once more. Returns when no worker accepts.
    pub async fn leave(&mut self, unwanted: &[usize]) {
        let closing = self.sockets.ours_of(unwanted);
        crate::sockets::turn_away(&closing).await;
        drop(closing);
        self.crew.retire();
        self.crew.acknowledged(ACKNOWLEDGE).await;
        self.sockets = Sockets::default();
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
        self.crew.stages()
    }

    /// Waits until every worker has ended, which is when the last request has. The door's own hold
    /// on the listening sockets ends at once, so that they close when the workers let go of them.
    pub async fn ended(self) {
        drop(self.sockets);
        self.crew.ended().await;
    }
}
