//! Instances that a program of the operator makes: for every cloud that we do not know.
//!
//! The program is run once per call, gets one request on its standard input and writes one answer
//! (`docs/providers.md`). It may hang, lie, or print garbage. So its time and its output are
//! bounded, its answers are looked at before they are believed, a doubtful one is "unclear" and
//! never a guess, and after several in a row it is left alone for a while.
//!
//! | what                                   | where      |
//! |----------------------------------------|------------|
//! | the port, its settings, the quarantine | here       |
//! | messages to people by a program        | `notifier.rs` |
//! | one run of the program                 | `run.rs`   |
//! | request and answer                     | `words.rs` |

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use policies::backend::{BackendId, PoolName};
use scaler::ports::{Abilities, Instance, LaunchRequest, Offer, Provider, ProviderError, Purchase};
use tokio::sync::Mutex;
use tokio::time::Instant;

pub mod notifier;
mod run;
#[cfg(test)]
mod tests;
mod words;

use run::RunError;
use words::{Meant, Request};

/// For events, metrics and the journal.
const NAME: &str = "exec";

/// How many one request may ask for; the program may make fewer.
const MAX_BATCH: u32 = 100;

/// How long the program must remember a token (`docs/providers.md`).
const TOKEN_LIFE: Duration = Duration::from_secs(24 * 3600);

/// How long a launched instance may be missing in its list.
const VISIBLE: Duration = Duration::from_secs(30);

/// Bad answers in a row before it is left alone.
const STRIKES: u32 = 3;

/// How long it is left alone, first and at most; doubled each time that it is no better after.
const PAUSE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(300));

/// `[pools.*.exec]`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecSettings {
    /// The pool the instances are for.
    pub pool: PoolName,
    /// Program and arguments, at least the program.
    pub command: Vec<String>,
    /// Further variables of its environment.
    pub env: BTreeMap<String, String>,
    /// For one answer; the program is killed after that.
    pub timeout: Duration,
}

/// Asks a program.
pub struct ExecProvider {
    settings: ExecSettings,
    /// Held through a run: the program need not be safe against itself.
    trust: Mutex<Trust>,
}

impl ExecProvider {
    /// Starts nothing yet.
    pub fn new(settings: ExecSettings) -> ExecProvider {
        ExecProvider { settings, trust: Mutex::new(Trust::new(PAUSE)) }
    }

    async fn ask(
        &self,
        request: &Request<'_>,
        check: impl Fn(&[Instance]) -> Result<(), String>,
    ) -> Result<Vec<Instance>, ProviderError> {
        let action = request.action();
        let pool = &self.settings.pool;
        let mut trust = self.trust.lock().await;
        if let Some(left) = trust.left(Instant::now()) {
            let seconds = left.as_secs() + 1;
            return Err(unclear(action, format!("left alone for {seconds} s more")));
        }
        match self.run(request, check).await {
            Ok(meant) => {
                if trust.is_good() {
                    tracing::info!(%pool, "program_trusted");
                }
                meant
            }
            Err(why) => {
                tracing::warn!(%pool, action, error = %why, "program_failed");
                if let Some(pause) = trust.is_bad(Instant::now()) {
                    tracing::warn!(%pool, for_s = pause.as_secs(), error = %why, "program_quarantined");
                }
                Err(unclear(action, why))
            }
        }
    }

    /// `Err` says why what it did is not known.
    async fn run(
        &self,
        request: &Request<'_>,
        check: impl Fn(&[Instance]) -> Result<(), String>,
    ) -> Result<Meant, String> {
        let ExecSettings { command, env, timeout, pool } = &self.settings;
        let answer = match run::run(command, env, &request.to_bytes(), *timeout).await {
            Ok(answer) => answer,
            Err(RunError::NotFound(reason)) => {
                let action = request.action();
                return Ok(Err(ProviderError::Refused { provider: NAME, action, reason }));
            }
            Err(error) => return Err(error.to_string()),
        };
        let meant = words::read(&answer, request.action(), pool)
            .map_err(|why| format!("its answer makes no sense: {why}"))?;
        if let Ok(instances) = &meant {
            check(instances).map_err(|why| format!("its answer is wrong: {why}"))?;
        }
        Ok(meant)
    }
}

#[async_trait]
impl Provider for ExecProvider {
    fn abilities(&self) -> Abilities {
        Abilities {
            provider: NAME,
            offers: vec![Offer { name: NAME.into(), spec: "{}".into(), is_spot: false }],
            purchase: Purchase::default(),
            max_batch: MAX_BATCH,
            token_life: Some(TOKEN_LIFE),
            visible_within: VISIBLE,
            // A call may have to wait for the one before.
            answer_within: self.settings.timeout * 2 + Duration::from_secs(5),
            quota: None,
            billing_step: None,
        }
    }

    async fn launch(&self, request: &LaunchRequest) -> Result<Vec<Instance>, ProviderError> {
        let asked = Request::launch(&self.settings.pool, request);
        self.ask(&asked, |instances| words::check_launch(request, instances)).await
    }

    async fn terminate(&self, instances: &[BackendId]) -> Result<(), ProviderError> {
        let asked = Request::terminate(&self.settings.pool, instances);
        self.ask(&asked, |_| Ok(())).await.map(drop)
    }

    async fn list(&self) -> Result<Vec<Instance>, ProviderError> {
        self.ask(&Request::list(&self.settings.pool), |_| Ok(())).await
    }
}

/// Whether the program is worth another run.
struct Trust {
    strikes: u32,
    until: Option<Instant>,
    pause: Duration,
    bounds: (Duration, Duration),
}

impl Trust {
    fn new(bounds: (Duration, Duration)) -> Trust {
        Trust { strikes: 0, until: None, pause: bounds.0, bounds }
    }

    /// What is left of its quarantine.
    fn left(&self, now: Instant) -> Option<Duration> {
        self.until.map(|until| until.saturating_duration_since(now)).filter(|left| !left.is_zero())
    }

    /// After a good answer; whether that ends a quarantine.
    fn is_good(&mut self) -> bool {
        let was_out = self.until.is_some();
        *self = Trust::new(self.bounds);
        was_out
    }

    /// After a bad answer; for how long it is left alone now, if it is. One more bad answer after a
    /// quarantine is enough for the next.
    fn is_bad(&mut self, now: Instant) -> Option<Duration> {
        self.strikes = self.strikes.saturating_add(1);
        if self.strikes < STRIKES {
            return None;
        }
        let pause = self.pause;
        self.until = Some(now + pause);
        self.pause = (pause * 2).min(self.bounds.1);
        Some(pause)
    }
}

fn unclear(action: &'static str, why: String) -> ProviderError {
    ProviderError::Unclear { provider: NAME, action, source: why.into() }
}
