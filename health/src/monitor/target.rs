//! One target: what is asked, in which rhythm, and what is reported.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use policies::backend::BackendKey;
use policies::health::{HealthPolicy, Judge, Verdict};
use policies::rng::Rng;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use crate::config::HealthConfig;
use crate::error::ProbeError;
use crate::metrics::Checks;
use crate::probe::probe;

/// Longest wait for the first probe: a backend that joins takes no request before it has passed.
const FIRST_WITHIN: Duration = Duration::from_millis(200);

/// Pace while the judge is deciding, where the interval is not shorter anyway.
const DECIDING_PACE: Duration = Duration::from_millis(250);

/// A longer interval is cut to this; far sums of time would overflow.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// A backend to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Whose verdict it is.
    pub key: BackendKey,
    /// Where the backend listens; `config.port` replaces the port.
    ///
    /// A target whose address changes is a new one, unknown until it is decided again.
    pub address: SocketAddr,
    /// Counted up by whoever makes the list when a backend begins anew. A target of another epoch
    /// is a new one also at the same address: it may have left and come back between two looks
    /// at the list.
    pub epoch: u64,
    /// How it is asked. A change keeps the verdict and begins to count anew.
    pub config: Arc<HealthConfig>,
    /// Counts its checks that pass, for whoever waits for the next one.
    pub pulse: Arc<Pulse>,
}

/// How many checks of a backend have passed. Every one counts, while a [`Report`] tells only of
/// those that change the verdict.
#[derive(Debug, Default)]
pub struct Pulse(AtomicU64);

impl Pulse {
    /// Until now.
    pub fn passes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// One more.
    pub fn beat(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl PartialEq for Pulse {
    /// Whether they are the same one, whatever its count.
    fn eq(&self, other: &Pulse) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Pulse {}

/// A verdict that is new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// As in the target.
    pub key: BackendKey,
    /// As in the target: a report may be on its way while the address changes.
    pub address: SocketAddr,
    /// As in the target: one of an earlier epoch says nothing about the backend as it is now.
    pub epoch: u64,
    /// Never `Unknown`.
    pub verdict: Verdict,
    /// Why the last probe failed; `None` when it passed.
    pub reason: Option<String>,
    /// How long the deciding probe took, in milliseconds.
    pub probe_ms: u64,
}

/// Where one target's verdicts go.
pub(super) struct Reports {
    /// Of all targets.
    pub(super) all: mpsc::Sender<Report>,
    /// The last one of this target that went into `all`; at the start, what is known of it.
    pub(super) last: watch::Sender<Verdict>,
}

impl Reports {
    /// False when nobody listens any more. Cancelled, it has sent nothing.
    async fn send(&self, report: Report) -> bool {
        let verdict = report.verdict;
        let is_sent = self.all.send(report).await.is_ok();
        self.last.send_replace(verdict);
        is_sent
    }
}

/// Asks `target` until the task is cancelled or nobody listens to reports any more.
///
/// Cancel-safe: it holds nothing but its own connection.
pub(super) async fn ask(target: Target, reports: Reports, rng: Rng) {
    let config = &*target.config;
    let mut rounds = Rounds {
        judge: judge(config, *reports.last.borrow()),
        checks: Checks::of(&target.key),
        was_void: false,
        rng,
        target: &target,
    };
    let mut next = Instant::now() + rounds.first_delay();
    loop {
        sleep_until(next).await;
        let began = Instant::now();
        let result = probe(rounds.address(), &config.probe, config.timeout).await;
        if let Some(verdict) = rounds.judge(&result) {
            let report = rounds.report(verdict, &result, began.elapsed());
            if !reports.send(report).await {
                return;
            }
        }
        // From start to start, so that a slow failure does not put off the decision.
        next = began + rounds.pause();
    }
}

/// A judge that holds `known` already.
fn judge(config: &HealthConfig, known: Verdict) -> Judge {
    let HealthConfig { healthy_after, unhealthy_after, .. } = *config;
    let mut judge = Judge::new(HealthPolicy { healthy_after, unhealthy_after });
    if known != Verdict::Unknown {
        // A new judge believes the first word.
        judge.observe(known == Verdict::Healthy);
    }
    debug_assert_eq!(judge.verdict(), known);
    judge
}

/// What one target remembers between two probes.
struct Rounds<'a> {
    target: &'a Target,
    judge: Judge,
    checks: Checks,
    rng: Rng,
    /// Whether the last probe was void: one event per stall, not one per probe.
    was_void: bool,
}

impl Rounds<'_> {
    fn address(&self) -> SocketAddr {
        let mut address = self.target.address;
        if let Some(port) = self.target.config.port {
            address.set_port(port);
        }
        address
    }

    /// The new verdict, if this result makes one.
    fn judge(&mut self, result: &Result<(), ProbeError>) -> Option<Verdict> {
        match result {
            Err(void) if void.is_void() => {
                self.checks.void.increment(1);
                let (pool, backend) = (&self.target.key.pool, &self.target.key.backend);
                match void {
                    _ if self.was_void => {}
                    ProbeError::Exhausted(_) => {
                        tracing::warn!(%pool, %backend, error = void.reason(), "monitor_exhausted");
                    }
                    _ => tracing::warn!(%pool, %backend, error = void.reason(), "monitor_late"),
                }
                self.was_void = true;
                return None;
            }
            Err(_) => self.checks.failed.increment(1),
            Ok(()) => {
                self.checks.passed.increment(1);
                self.target.pulse.beat();
            }
        }
        self.was_void = false;
        self.judge.observe(result.is_ok())
    }

    fn report(&self, verdict: Verdict, result: &Result<(), ProbeError>, took: Duration) -> Report {
        let Target { key, address, epoch, .. } = self.target.clone();
        let reason = result.as_ref().err().map(ProbeError::reason);
        let probe_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let (pool, backend) = (&key.pool, &key.backend);
        if verdict == Verdict::Healthy {
            tracing::info!(%pool, %backend, %address, probe_ms, "backend_healthy");
        } else {
            tracing::warn!(%pool, %backend, %address, probe_ms, reason, "backend_unhealthy");
        }
        Report { key, address, epoch, verdict, reason, probe_ms }
    }

    /// Spreads the first probes of many new targets, but never over a whole interval.
    fn first_delay(&mut self) -> Duration {
        let spread = self.jitter().min(FIRST_WITHIN);
        self.dice(spread)
    }

    /// From the start of the last probe to the start of the next.
    fn pause(&mut self) -> Duration {
        let interval = self.interval();
        if self.judge.is_deciding() {
            // Few and soon over; without jitter the time to a decision has a bound.
            return interval.min(DECIDING_PACE);
        }
        let (interval, jitter) = match self.judge.verdict() {
            Verdict::Unhealthy => (interval / 2, self.jitter() / 2),
            Verdict::Healthy | Verdict::Unknown => (interval, self.jitter()),
        };
        interval.saturating_sub(jitter) + self.dice(jitter * 2)
    }

    fn interval(&self) -> Duration {
        self.target.config.interval.min(LONGEST)
    }

    /// Furthest that an interval is shifted, to either side.
    fn jitter(&self) -> Duration {
        let percent = u32::from(self.target.config.jitter_percent);
        self.interval().saturating_mul(percent) / 100
    }

    /// Evenly in `0..=most`.
    fn dice(&mut self, most: Duration) -> Duration {
        let most_us = u64::try_from(most.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.rng.below(most_us.saturating_add(1)))
    }
}
