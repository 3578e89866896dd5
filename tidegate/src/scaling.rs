//! The scalers of this door: from configuration to loops that run.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use balancer::roster::Roster;
use scaler::controller::Mode;
use scaler::journal;
use scaler::overrides::Desk;
use scaler::ports::Provider;
use scaler::run::{Board, Plan, Scaler};
use tokio::task::JoinSet;

use crate::adapters::DoorFleet;
use crate::config::{self, Config, ScalerConfig};
use crate::providers;
use crate::telemetry::Telemetry;

/// By then the first turn has come, also on a busy machine.
const FIRST_TURN: Duration = Duration::from_secs(10);

/// A scaler that runs.
pub struct Handle {
    /// What the configuration says.
    pub settings: ScalerConfig,
    /// Where its standing is told.
    pub board: Board,
    /// Where it takes orders of operators.
    pub desk: Arc<Desk>,
}

/// Scalers whose providers are at work, and that do not run yet.
pub struct Scalers {
    ready: Vec<Ready>,
    state_dir: PathBuf,
}

struct Ready {
    settings: ScalerConfig,
    max_concurrency: Option<u32>,
    provider: Arc<dyn Provider>,
}

impl Scalers {
    /// Starts the provider of every pool that is scaled.
    ///
    /// # Errors
    ///
    /// The system has no more threads.
    pub fn prepare(config: &Config) -> io::Result<Scalers> {
        let mut ready = Vec::new();
        for scaler in &config.scalers {
            let pool = &scaler.pool;
            let Some(elastic) = config.elastic.iter().find(|elastic| elastic.pool == *pool) else {
                continue;
            };
            ready.push(Ready {
                settings: scaler.clone(),
                max_concurrency: elastic.max_concurrency,
                provider: providers::start(elastic)?,
            });
        }
        Ok(Scalers { ready, state_dir: config.site.state_dir.clone() })
    }

    /// Whoever comes before the first turn may wait for it.
    pub fn expect(&self, roster: &Roster) {
        let acting = self.ready.iter().filter(|ready| ready.settings.mode == Mode::Act);
        for ready in acting {
            roster.expect_capacity(&ready.settings.pool, Some(Instant::now() + FIRST_TURN));
        }
    }

    /// Runs them until `tasks` end.
    pub fn run(
        self,
        roster: &Arc<Roster>,
        telemetry: &Arc<Telemetry>,
        tasks: &mut JoinSet<()>,
    ) -> Vec<Handle> {
        let mut handles = Vec::new();
        for Ready { settings, max_concurrency, provider } in self.ready {
            let fleet = DoorFleet::new(Arc::clone(roster), Arc::clone(telemetry), max_concurrency);
            let pool = settings.pool.clone();
            let scaler = Scaler::new(Plan {
                settings: settings.clone(),
                journal: (journal::path(&self.state_dir, &pool), config::random_seed()),
                provider,
                fleet: Arc::new(fleet),
            });
            handles.push(Handle { settings, board: scaler.board(), desk: scaler.desk() });
            tasks.spawn(scaler.run());
        }
        handles
    }
}

/// The same for files that mean the same about scaling, wherever in them it is written.
pub fn fingerprint(config: &Config) -> String {
    let mut scalers = config.scalers.clone();
    for scaler in &mut scalers {
        scaler.policy.places.clear();
        scaler.policy.windows.iter_mut().for_each(|window| window.place = "".into());
        scaler.policy.depends.iter_mut().for_each(|dependency| dependency.place = "".into());
    }
    let text = format!("{scalers:?} {:?}", config.elastic);
    format!("{} scalers, {:08x}", scalers.len(), policies::rng::hash(text.as_bytes()) >> 32)
}
