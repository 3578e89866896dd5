//! What the door is built from: plain values that the configuration has proven.
//!
//! One [`DoorConfig`] is one generation. It is built by `tidegate::config`, never partly.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use health::config::HealthConfig;
use ipnet::IpNet;
use policies::backend::{Backend, PoolIndex, PoolName};
use policies::balance::{HashKey, Rule};
use policies::breaker::BreakerPolicy;
use policies::outlier::OutlierPolicy;
use policies::retry::RetryPolicy;
use policies::route::normal::PathRules;
use policies::route::{Action, Matcher, Route};

/// One generation of the whole data plane.
#[derive(Debug, Clone)]
pub struct DoorConfig {
    /// `[site] name`; the pseudonym in `Via`.
    pub site: Arc<str>,
    /// Failure domain the door itself stands in (`[site] zone`), for zone preference.
    pub zone: Option<Arc<str>>,
    /// Worker threads, at least 1.
    pub workers: usize,
    /// In the order of their names.
    pub listeners: Vec<ListenerConfig>,
    /// [`policies::backend::PoolIndex`] is the place in this list.
    pub pools: Vec<PoolConfig>,
    /// First match wins.
    pub routes: Vec<RouteConfig>,
    /// Every request is answered with 503 (`[site] maintenance`).
    pub in_maintenance: bool,
    /// Seed of every die that the data plane rolls.
    pub seed: u64,
}

impl DoorConfig {
    /// As requests see it: while the site is in maintenance, a route that takes all of them stands
    /// before the others.
    #[must_use]
    pub fn with_maintenance(mut self) -> DoorConfig {
        if self.in_maintenance {
            self.routes.insert(0, RouteConfig::of_maintenance());
        }
        self
    }

    /// The budget of a pool's retries: the largest that a route to it names.
    pub(crate) fn retry_permille(&self, pool: PoolIndex) -> u32 {
        let routes = self.routes.iter().filter(|route| match &route.route.action {
            Action::Forward(target) => target.pools().any(|one| one == pool),
            Action::Redirect { .. } | Action::Respond { .. } => false,
        });
        routes.map(|route| route.retries.budget_permille).max().unwrap_or_default()
    }
}

/// `[listeners.NAME]`
#[derive(Debug, Clone)]
pub struct ListenerConfig {
    /// NAME
    pub name: Arc<str>,
    /// Addresses to accept on, at least one.
    pub bind: Vec<SocketAddr>,
    /// Answer everything with a redirect to https on this port instead of routing.
    pub redirect_to_https: Option<u16>,
    /// Open client connections over all workers; `None`: derived from the descriptor limit.
    pub max_connections: Option<u32>,
    /// Open client connections of one address (IPv6: of one /64) over all workers.
    pub max_connections_per_address: Option<u32>,
    /// Request line and fields together, in bytes.
    pub max_header_size: usize,
    /// Field lines.
    pub max_fields: usize,
    /// Request target, in bytes; 414 beyond it.
    pub max_uri: usize,
    /// Request body in bytes; 413 beyond it.
    pub max_body: Option<u64>,
    /// Peers whose `X-Forwarded-*`, `Forwarded`, `traceparent` and request id are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Peers that begin each connection with a PROXY protocol header, which names the client.
    pub proxy_protocol: Vec<IpNet>,
    /// Which forwarding fields backends get.
    pub forwarded: ForwardedStyle,
    /// How paths become their normal form.
    pub path_rules: PathRules,
    /// From the first byte of a request to the end of its head; 408 beyond it.
    pub request_head_timeout: Duration,
    /// A connection without a request; closed silently beyond it.
    pub idle_timeout: Duration,
    /// Who may use it; empty is everybody.
    pub allow: Vec<IpNet>,
    /// Who may not, before `allow` is asked.
    pub deny: Vec<IpNet>,
    /// Written down no longer; its connections end with their next answer. The door keeps it in
    /// its place until they have.
    pub is_leaving: bool,
}

/// Forwarding fields for backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardedStyle {
    /// `X-Forwarded-For`, `-Proto`, `-Host`.
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Forwarded,
    /// Both families.
    Both,
    /// Neither; what came in is removed all the same unless the peer is trusted.
    Off,
}

/// `[pools.NAME]`
#[derive(Debug, Clone)]
pub struct PoolConfig {
    /// NAME
    pub name: PoolName,
    /// How a backend is chosen.
    pub rule: Rule,
    /// For [`Rule::ConsistentHash`].
    pub hash_by: HashKey,
    /// In the order written.
    pub backends: Vec<Backend>,
    /// What a backend that joins at run time may have in flight, unless it says otherwise.
    pub max_concurrency: Option<u32>,
    /// Whether anything can be sent to its backends: not where that needs what is not supported
    /// yet. Such a pool stays empty.
    pub is_usable: bool,
    /// How connections to them are kept.
    pub upstream: UpstreamConfig,
    /// How they are asked whether they are well.
    pub health: HealthConfig,
    /// How long a backend that leaves is waited for.
    pub drain: DrainConfig,
    /// Requests that all of them together may have in flight; `None`: what each may have.
    pub concurrency: Option<u32>,
    /// What becomes of requests while all of them are full.
    pub queue: QueueConfig,
    /// Share of its capacity that a waterfall uses before the next pool opens, in thousandths; 1,000
    /// is all of it.
    pub fill_permille: u32,
    /// Streams that each of them may carry, as it is written; see [`PoolConfig::max_streams_of`].
    pub max_streams: Option<u32>,
    /// What a stream counts as demand, in requests.
    pub stream_weight: f64,
    /// What follows from how they behave.
    pub conduct: ConductConfig,
}

impl PoolConfig {
    /// Streams that a backend with this cap on requests may carry: what is written, else as many as
    /// weigh what the cap does.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // `as` saturates
    pub fn max_streams_of(&self, max_concurrency: Option<u32>) -> u32 {
        match (self.max_streams, max_concurrency) {
            (Some(most), _) => most,
            (None, None) => u32::MAX,
            // A weight of 0 gives infinity, so no cap.
            (None, Some(cap)) => (f64::from(cap) / self.stream_weight).ceil() as u32,
        }
    }
}

/// When a backend is spared, and when it is taken out although its checks pass.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ConductConfig {
    /// `outlier`
    pub outlier: OutlierPolicy,
    /// `health.slow_start`: how long a backend that begins, or begins again, takes until it has
    /// its whole share.
    pub slow_start: Duration,
    /// `breaker`, where there is one.
    pub breaker: Option<BreakerPolicy>,
    /// `health.min_healthy`: the share of well members, in percent, below which the pool panics.
    pub min_healthy: Option<f64>,
}

/// `[pools.*] drain`
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DrainConfig {
    /// What is under way on a backend that drains is cut after this; `None` waits for it.
    pub wait_inflight: Option<Duration>,
    /// Tunnels, and answers of which nobody has said how long they are, are cut after this.
    pub wait_streams: Option<Duration>,
}

/// `[pools.*] queue`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueConfig {
    /// Requests that may wait, over all workers; 0 answers 503 at once.
    pub max: u32,
    /// What their heads may take, in bytes.
    pub bytes: u64,
    /// How long one may wait; 503 beyond it.
    pub time: Duration,
}

/// What holds where nothing is written.
impl Default for QueueConfig {
    fn default() -> QueueConfig {
        QueueConfig { max: 1_000, bytes: 16 << 20, time: Duration::from_secs(10) }
    }
}

/// Who goes first when requests wait, and who goes away first when too many do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Priority {
    /// Overtakes the others.
    Critical,
    /// In between.
    #[default]
    Normal,
    /// Gives way to the others.
    Low,
}

impl Priority {
    /// All of them, in the order of the discriminants.
    pub const ALL: [Priority; 3] = [Priority::Critical, Priority::Normal, Priority::Low];
}

/// `[pools.*.upstream]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamConfig {
    /// Longest idle life of a connection; a backend's `Keep-Alive: timeout` shortens it.
    pub idle: Duration,
    /// Requests per connection, at least 1.
    pub max_requests: u64,
    /// Longest life of a connection.
    pub max_age: Duration,
    /// Connections per backend that one worker keeps idle.
    pub max_idle: usize,
}

/// `[[routes]]`
#[derive(Debug, Clone)]
pub struct RouteConfig {
    /// Name, condition, action.
    pub route: Route,
    /// Closed for a while: 503 in place of what the action says.
    pub in_maintenance: bool,
    /// Client addresses that may use it; empty is everybody. Others get 403.
    pub allow: Vec<IpNet>,
    /// Client addresses that may not.
    pub deny: Vec<IpNet>,
    /// Request body in bytes, instead of the listener's `max_body`; 413 beyond it.
    pub max_body: Option<u64>,
    /// Path rewriting for backends.
    pub rewrite: Option<Rewrite>,
    /// Edits of what the backend gets.
    pub request_headers: HeaderEdits,
    /// Edits of what the client gets.
    pub response_headers: HeaderEdits,
    /// Limits in time.
    pub timeouts: Timeouts,
    /// Which failures move on to another backend.
    pub retries: RetryPolicy,
    /// Session cookie, if any.
    pub sticky: Option<Sticky>,
    /// Its place among those that wait.
    pub priority: Priority,
    /// Its requests that may be in flight at once, over all pools.
    pub concurrency: Option<u32>,
    /// Share of each pool's capacity that only its requests may use, from 0 to 1.
    pub reserve: f64,
}

impl RouteConfig {
    /// Takes everything, and is in maintenance.
    fn of_maintenance() -> RouteConfig {
        let (body, content_type) = (Arc::from([]), "text/plain".into());
        RouteConfig {
            route: Route {
                name: "maintenance".into(),
                when: Matcher::All(Vec::new()),
                action: Action::Respond { status: 503, body, content_type },
            },
            in_maintenance: true,
            allow: Vec::new(),
            deny: Vec::new(),
            max_body: None,
            rewrite: None,
            request_headers: HeaderEdits::default(),
            response_headers: HeaderEdits::default(),
            // Nothing is sent anywhere.
            timeouts: Timeouts {
                connect: Duration::ZERO,
                attempt: None,
                first_byte: Duration::ZERO,
                total: None,
                idle_stream: Duration::ZERO,
            },
            retries: RetryPolicy { max: 0, budget_permille: 0, ..RetryPolicy::default() },
            sticky: None,
            priority: Priority::Normal,
            concurrency: None,
            reserve: 0.0,
        }
    }

    /// Every pool that it may send a request to, once each, as places in the configuration.
    pub fn pools(&self) -> Vec<u16> {
        let mut pools: Vec<u16> = match &self.route.action {
            Action::Forward(target) => target.pools().map(|pool| pool.0).collect(),
            Action::Redirect { .. } | Action::Respond { .. } => Vec::new(),
        };
        pools.sort_unstable();
        pools.dedup();
        pools
    }
}

/// `rewrite = { ... }`
#[derive(Debug, Clone)]
pub enum Rewrite {
    /// The matched prefix (first of the route's `path_prefix`) is replaced by this one.
    Prefix {
        /// What is taken off.
        from: Arc<str>,
        /// What is put in its place; begins with `/`.
        to: Arc<str>,
    },
    /// The whole path is this one; the query stays.
    Path(Arc<str>),
    /// Matches of the expression are replaced (`$1` are groups).
    Regex {
        /// What is looked for in the normalised path.
        pattern: regex::bytes::Regex,
        /// What it becomes.
        replacement: Arc<str>,
    },
}

/// `headers.request` and `headers.response`. Names are lower case.
#[derive(Debug, Clone, Default)]
pub struct HeaderEdits {
    /// Removed first.
    pub remove: Vec<Arc<str>>,
    /// Then set: all lines of that name are replaced by one.
    pub set: Vec<(Arc<str>, Arc<str>)>,
    /// Then added, beside what is there.
    pub add: Vec<(Arc<str>, Arc<str>)>,
}

/// `timeouts = { ... }` of a route. The 504 and the log name the one that fired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP connect of one attempt.
    pub connect: Duration,
    /// One attempt until the head of its answer; then another backend if the method allows.
    pub attempt: Option<Duration>,
    /// All attempts together until the head of the answer.
    pub first_byte: Duration,
    /// The whole request until the last byte of the answer.
    pub total: Option<Duration>,
    /// No byte in either direction while bodies or a tunnel are under way.
    pub idle_stream: Duration,
}

/// `sticky = { cookie, ttl }`: a signed cookie names the backend.
#[derive(Debug, Clone)]
pub struct Sticky {
    /// Name of the cookie.
    pub cookie: Arc<str>,
    /// How long it is believed after it was set.
    pub ttl: Duration,
    /// HMAC-SHA-256 key. Random at start unless configured, so that doors may share it.
    pub key: Arc<[u8]>,
    /// Whether the key was not configured: a reload then keeps the one in use.
    pub is_key_random: bool,
}
