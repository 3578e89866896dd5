//! What an operator sees, as values: the JSON of `/v1/*` and the screen of `tidegate status`.
//!
//! The fields are an interface. New ones may come; none changes its name or meaning.

use serde::{Deserialize, Serialize};

mod size;

pub use size::{OverrideView, ScalerView, WindowView};

/// How the door is, as a whole: `/v1/status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusView {
    /// One sentence for somebody in a hurry.
    pub summary: String,
    /// Version of the program.
    pub version: String,
    /// `[site] name`
    pub site: String,
    /// Seconds since the process started.
    pub uptime_seconds: u64,
    /// Listeners are bound, a configuration is loaded, and the door is not on its way out.
    pub is_ready: bool,
    /// Why not, one sentence each.
    pub problems: Vec<String>,
    /// What is in maintenance: `the site`, or names of routes.
    #[serde(default)]
    pub maintenance: Vec<String>,
    /// The configuration in use.
    pub config: ConfigView,
    /// Threads that carry traffic.
    pub workers: usize,
    /// In the order of the configuration.
    pub listeners: Vec<ListenerView>,
    /// Requests that ended since the start.
    pub requests: u64,
    /// Of those, the ones whose clients should have got a whole answer and did not.
    pub failed_requests: u64,
    /// Of those, the ones that were refused for what the client sent or by the configuration.
    #[serde(default)]
    pub refused_requests: u64,
    /// Requests that ended in the last second.
    pub requests_rps: f64,
}

/// The configuration in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigView {
    /// Where it was read.
    pub file: String,
    /// Of its text.
    pub hash: String,
    /// Seconds since 1970.
    pub since_unix_seconds: u64,
    /// Why the last one that was offered is not in use.
    pub last_error: Option<String>,
    /// What the file says and holds only after a restart, one sentence each.
    #[serde(default)]
    pub needs_restart: Vec<String>,
}

/// One listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerView {
    /// `[listeners.NAME]`
    pub name: String,
    /// As bound, with real ports.
    pub addresses: Vec<String>,
    /// Of clients, open now.
    pub connections: u64,
}

/// One pool: an element of `/v1/pools`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PoolView {
    /// `[pools.NAME]`
    pub name: String,
    /// How a backend is chosen, as in the configuration.
    pub rule: String,
    /// Requests that it has taken and not finished.
    pub in_flight: u32,
    /// Requests that it can have in flight as things stand; nothing if nothing bounds it.
    #[serde(default)]
    pub concurrency_limit: Option<u32>,
    /// Requests that wait for a place on one of its backends.
    #[serde(default)]
    pub queued: u64,
    /// Too few of its backends are healthy, so that all that have ever been get requests.
    #[serde(default)]
    pub is_panicking: bool,
    /// What it was asked for in the last second.
    pub demand: DemandView,
    /// In the order of the configuration.
    pub backends: Vec<BackendView>,
    /// How large it is to be; nothing for a pool that is not scaled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaler: Option<ScalerView>,
}

/// What a pool was asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct DemandView {
    /// Requests per second that wanted a backend.
    pub arrivals_rps: f64,
    /// Of those, not taken.
    pub refused_rps: f64,
    /// Requests at once that this amounts to, at the mean time that one takes; never less than
    /// are under way.
    pub concurrency: f64,
}

/// One backend of a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendView {
    /// Unique in its pool.
    pub id: String,
    /// As configured, or as resolved.
    pub address: String,
    /// Whether it gets requests, and if not why.
    pub state: BackendState,
    /// What its health checks say.
    pub verdict: BackendVerdict,
    /// Whether it gets requests.
    pub is_eligible: bool,
    /// What its breaker lets through: `closed` (everything), `open` (nothing) or `half_open` (some
    /// probes); with `held_` before it where an operator holds it.
    #[serde(default)]
    pub breaker: String,
    /// How much of its share and of its cap it takes, in percent; below 100 while it is fresh.
    #[serde(default = "whole")]
    pub share_percent: u32,
    /// Requests that it is working on.
    pub in_flight: u32,
    /// Tunnels and event streams open on it.
    #[serde(default)]
    pub streams: u32,
    /// Its share, as it is now.
    pub weight: u32,
    /// Requests that it may be working on at once; none is no limit.
    #[serde(default)]
    pub max_concurrency: Option<u32>,
    /// The configuration names it; else it joined at run time.
    #[serde(default)]
    pub is_written: bool,
    /// How its drain goes, while it drains, or went, when it has.
    #[serde(default)]
    pub drain: Option<DrainView>,
    /// Answers since the start.
    pub requests: u64,
    /// Failed attempts since the start.
    pub errors: u64,
    /// Why it is not healthy, or has no address.
    pub last_reason: Option<String>,
}

fn whole() -> u32 {
    100
}

/// Whether the site or a route is in maintenance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaintenanceView {
    /// Requests are answered with 503.
    pub is_on: bool,
    /// The configuration says so; else it was switched at run time, or is to be off.
    pub is_written: bool,
}

/// A drain under way, or how it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainView {
    /// How long ago it began.
    pub since_seconds: u64,
    /// Requests that were under way when it began.
    pub waited_for: u32,
    /// How many of them were cut, because they took longer than `[pools.*] drain` lets them.
    #[serde(default)]
    pub cut: u32,
    /// It goes when it has drained.
    pub is_leaving: bool,
}

/// A backend's stage and verdict in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackendState {
    /// New, not yet checked healthy.
    Joining,
    /// Gets requests.
    Serving,
    /// Finishes what it has and gets nothing new.
    Draining,
    /// Has finished.
    Drained,
    /// Its checks fail.
    Down,
    /// Its checks pass, and it is out for a while because of how its requests went.
    Ejected,
    /// Its breaker is open.
    Open,
    /// Its name has no address.
    Unresolved,
}

impl BackendState {
    /// As in the JSON.
    pub fn word(self) -> &'static str {
        match self {
            BackendState::Joining => "joining",
            BackendState::Serving => "serving",
            BackendState::Draining => "draining",
            BackendState::Drained => "drained",
            BackendState::Down => "down",
            BackendState::Ejected => "ejected",
            BackendState::Open => "open",
            BackendState::Unresolved => "unresolved",
        }
    }
}

/// What health checks say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackendVerdict {
    /// None has answered yet.
    Unknown,
    /// It may get requests.
    Healthy,
    /// It may not.
    Unhealthy,
}

/// One route: an element of `/v1/routes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteView {
    /// Unique; a label in metrics and logs.
    pub name: String,
    /// Its condition, in words.
    pub when: String,
    /// What it does, in words.
    pub action: String,
    /// Names of the pools it may send to.
    pub pools: Vec<String>,
    /// Requests that took it since the start.
    pub requests: u64,
    /// `limits.concurrency`, and how much of it is used; nothing for a route without.
    #[serde(default)]
    pub concurrency: Option<ConcurrencyView>,
}

/// A limit on requests at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConcurrencyView {
    /// Requests in flight now.
    pub in_flight: u32,
    /// Requests that may be.
    pub limit: u32,
}

impl PoolView {
    /// Backends that get requests.
    pub fn serving(&self) -> usize {
        self.backends.iter().filter(|backend| backend.state == BackendState::Serving).count()
    }
}

impl StatusView {
    /// The sentence for [`StatusView::summary`]: the worst first, and what is closed on purpose.
    pub fn sentence(&self, pools: &[PoolView]) -> String {
        let mut sentence = self.state(pools);
        if !self.maintenance.is_empty() {
            sentence.push_str(&format!(" In maintenance: {}.", self.maintenance.join(", ")));
        }
        sentence
    }

    fn state(&self, pools: &[PoolView]) -> String {
        let rps = format!("{:.0} requests a second", self.requests_rps);
        if let Some(problem) = self.problems.first() {
            return format!("Not ready: {problem}. {}.", capital(&rps));
        }
        let without: Vec<_> =
            pools.iter().filter(|p| p.serving() == 0 && !p.backends.is_empty()).collect();
        if let [first, rest @ ..] = without.as_slice() {
            let more =
                if rest.is_empty() { String::new() } else { format!(" (and {} more)", rest.len()) };
            return format!("Pool {} has no healthy backend{more}. {}.", first.name, capital(&rps));
        }
        if let Some(pool) = pools.iter().find(|pool| pool.is_panicking) {
            return format!(
                "Pool {} panics: {} of {} backends are healthy, all get requests. {}.",
                pool.name,
                pool.serving(),
                pool.backends.len(),
                capital(&rps),
            );
        }
        let all: usize = pools.iter().map(|pool| pool.backends.len()).sum();
        let serving: usize = pools.iter().map(PoolView::serving).sum();
        let config = match &self.config.last_error {
            Some(_) => " The last configuration offered was refused; an earlier one is in use.",
            None => "",
        };
        if serving < all {
            return format!("Coping: {rps}, {serving} of {all} backends serve.{config}");
        }
        let well = match (self.maintenance.is_empty(), &self.config.last_error) {
            (true, None) => "All well",
            (false, _) => "In maintenance",
            (true, Some(_)) => "Running on an earlier configuration",
        };
        let backends = if all == 1 { "backend serves" } else { "backends serve" };
        format!("{well}: {rps}, {all} {backends}.{config}")
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A door of which all is well: one pool `app` with a backend that serves and one that is
    /// in the given state.
    pub(crate) fn well(state: BackendState) -> (StatusView, Vec<PoolView>) {
        let status = StatusView {
            summary: String::new(),
            version: "0.0.0".into(),
            site: "test".into(),
            uptime_seconds: 3_725,
            is_ready: true,
            problems: Vec::new(),
            maintenance: Vec::new(),
            config: ConfigView {
                file: "/etc/tidegate/tidegate.toml".into(),
                hash: "abc123".into(),
                since_unix_seconds: 1_795_165_589,
                last_error: None,
                needs_restart: Vec::new(),
            },
            workers: 2,
            listeners: vec![ListenerView {
                name: "web".into(),
                addresses: vec!["127.0.0.1:8080".into()],
                connections: 7,
            }],
            requests: 1_234_567,
            failed_requests: 3,
            refused_requests: 4,
            requests_rps: 4_210.4,
        };
        let pool = PoolView {
            name: "app".into(),
            rule: "two_choices".into(),
            in_flight: 5,
            concurrency_limit: Some(12),
            queued: 3,
            is_panicking: false,
            demand: DemandView { arrivals_rps: 4_210.0, refused_rps: 0.0, concurrency: 5.25 },
            backends: vec![backend("a", BackendState::Serving), backend("b", state)],
            scaler: None,
        };
        (status, vec![pool])
    }

    fn backend(id: &str, state: BackendState) -> BackendView {
        let is_healthy = state == BackendState::Serving;
        let verdict = if is_healthy { BackendVerdict::Healthy } else { BackendVerdict::Unhealthy };
        BackendView {
            id: id.into(),
            address: format!("10.0.0.{}:80", id.len()),
            state,
            verdict,
            is_eligible: is_healthy,
            breaker: "closed".into(),
            share_percent: 100,
            in_flight: 2,
            streams: 4,
            weight: 1,
            max_concurrency: None,
            is_written: true,
            drain: None,
            requests: 600_000,
            errors: 1,
            last_reason: (!is_healthy).then(|| "connection refused".into()),
        }
    }

    #[test]
    fn the_sentence_says_the_worst_first() {
        let (mut status, mut pools) = well(BackendState::Serving);
        assert_eq!(status.sentence(&pools), "All well: 4210 requests a second, 2 backends serve.");
        let (_, some_down) = well(BackendState::Down);
        let coping = "Coping: 4210 requests a second, 1 of 2 backends serve.";
        assert_eq!(status.sentence(&some_down), coping);
        status.config.last_error = Some("`x` is no key".into());
        assert!(status.sentence(&pools).ends_with("an earlier one is in use."));
        pools[0].backends[0].state = BackendState::Down;
        pools[0].backends[1].state = BackendState::Unresolved;
        let down = "Pool app has no healthy backend. 4210 requests a second.";
        assert_eq!(status.sentence(&pools), down);
        pools[0].backends[0].state = BackendState::Serving;
        pools[0].is_panicking = true;
        let panics = "Pool app panics: 1 of 2 backends are healthy, all get requests. 4210 requests \
                      a second.";
        assert_eq!(status.sentence(&pools), panics);
        status.problems.push("draining".into());
        assert_eq!(status.sentence(&pools), "Not ready: draining. 4210 requests a second.");
    }

    #[test]
    fn the_json_of_a_backend_has_its_documented_words() {
        let (_, pools) = well(BackendState::Unresolved);
        let json = serde_json::to_value(&pools).unwrap();
        let backend = &json[0]["backends"][1];
        assert_eq!(backend["state"], "unresolved");
        assert_eq!(backend["verdict"], "unhealthy");
        assert_eq!(backend["last_reason"], "connection refused");
        for state in [
            BackendState::Joining,
            BackendState::Serving,
            BackendState::Draining,
            BackendState::Drained,
            BackendState::Down,
            BackendState::Unresolved,
        ] {
            assert_eq!(serde_json::to_value(state).unwrap(), state.word());
        }
    }
}
