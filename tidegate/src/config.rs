//! The configuration: files in, proven values out, or everything that is wrong with them.
//!
//! ```text
//! file ─► document ─► walk by the table of keys ─► build ─► Config
//!          (places)      (types, unknown keys)    (what needs two sections)
//!               └──────────────┴──────────────────────┴────► problems, all of them
//! ```
//!
//! `serde` is not used: its derive stops at the first error and forgets where it was. One table
//! ([`keys`]) says what exists; the walk, the values, the JSON Schema, the reference and
//! `config show --effective` are read off it. Nothing here panics on any input.

use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use balancer::access_log::AccessLogConfig;
use balancer::config::DoorConfig;
use infra::aws::Place;
use infra::aws::ec2::Ec2Settings;
use infra::aws::topic::SnsSettings;
use infra::exec::ExecSettings;
use infra::exec::notifier::NotifierSettings;
use infra::process::ProcessSettings;
use policies::backend::{Address, PoolName};

use document::Document;
use problem::Problems;

mod build;
pub mod codes;
mod diff;
mod document;
mod effective;
mod include;
mod keys;
mod mask;
pub mod problem;
mod reference;
mod render;
mod schema;
mod text;
mod values;
mod view;
mod walk;

pub(crate) use build::random_seed;
pub use codes::Severity;
pub use diff::diff;
use effective::Secrets;
pub use problem::Problem;
pub use reference::reference;
pub use render::{render_json, render_styled, render_text};
pub use schema::schema;
pub(crate) use values::duration;

/// An address that a backend may have, as `backends` of a pool has it.
///
/// # Errors
///
/// What is wrong with it, and what to do.
pub fn backend_address(text: &str) -> Result<Address, String> {
    values::net::backend(text).map_err(|message| message.sentence())
}

/// Whether this may name one of ours: a backend, a zone.
///
/// # Errors
///
/// What is wrong with it, and what to do.
pub fn name(text: &str) -> Result<(), String> {
    values::name(text).map_err(|message| message.sentence())
}

/// A configuration that can run.
#[derive(Debug, Clone)]
pub struct Config {
    /// What the data plane is built from.
    pub door: DoorConfig,
    /// The pools whose instances are launched, in the order of their names.
    pub elastic: Vec<ElasticConfig>,
    /// Who decides how large they are, in the order of the names of the scalers.
    pub scalers: Vec<ScalerConfig>,
    /// `[site]`
    pub site: SiteConfig,
    /// `[alerts]`
    pub alerts: AlertsConfig,
    /// `[observe]`
    pub observe: ObserveConfig,
    /// `[admin]`
    pub admin: AdminConfig,
    /// `[drain]`
    pub drain: DrainConfig,
    /// Names of listeners that are configured and not opened, because what they need is not
    /// supported yet.
    pub closed_listeners: Vec<String>,
}

/// A pool whose instances are launched when they are needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ElasticConfig {
    /// Which.
    pub pool: PoolName,
    /// Who makes its instances.
    pub provider: ProviderConfig,
    /// Requests that one instance may have in flight; `None` is no limit.
    pub max_concurrency: Option<u32>,
}

/// How large an elastic pool is: `[scalers.*]`.
pub type ScalerConfig = scaler::controller::Settings;

/// Who makes the instances of an elastic pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProviderConfig {
    /// `[pools.*.process]`
    Process(ProcessSettings),
    /// `[pools.*.exec]`
    Exec(ExecSettings),
    /// `[pools.*.aws]`
    Ec2(Ec2Settings),
}

/// `[site]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteConfig {
    /// Names the site in `Via`, metrics and alerts.
    pub name: String,
    /// IANA name of the zone of times that name none.
    pub time_zone: String,
    /// Where state is kept.
    pub state_dir: PathBuf,
    /// Every request is answered with 503.
    pub in_maintenance: bool,
    /// Of all dice, where it is written.
    pub seed: Option<u64>,
}

/// `[observe]`
#[derive(Debug, Clone)]
pub struct ObserveConfig {
    /// Where metrics and health are served, read only.
    pub metrics: Option<SocketAddr>,
    /// One line per request.
    pub access_log: Option<AccessLogConfig>,
    /// What the program says of itself.
    pub log: LogConfig,
    /// Headline figures for CloudWatch.
    pub cloudwatch: Option<CloudWatchConfig>,
}

/// `[observe.cloudwatch]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloudWatchConfig {
    /// Of the figures.
    pub namespace: String,
    /// How often they are written.
    pub every: Duration,
    /// Where to.
    pub place: Place,
}

/// `[alerts]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertsConfig {
    /// The same alert again is one within this time.
    pub dedup_window: Duration,
    /// What lasts is told again so often; `None` is never.
    pub repeat_every: Option<Duration>,
    /// Whether it is told that something is over.
    pub send_resolved: bool,
    /// How long a message to people waits for others; zero is not at all.
    pub group_wait: Duration,
    /// What those have in common that become one message.
    pub group_by: Vec<GroupBy>,
    /// Fields of events that are never in a message.
    pub redact: Vec<String>,
    /// Those that are supported, in the order of their names.
    pub sinks: Vec<SinkConfig>,
    /// In the order written; each that names an event holds.
    pub rules: Vec<AlertRule>,
}

/// `[alerts.sinks.*]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkConfig {
    /// Of the sink.
    pub name: String,
    /// What happens when it does not take a message.
    pub retry: RetryConfig,
    /// Who is told.
    pub way: SinkWay,
}

/// `kind` of a sink, with what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SinkWay {
    /// A program of the operator.
    Exec(NotifierSettings),
    /// A topic of SNS.
    Sns(SnsSettings),
}

/// What messages have in common that are merged into one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupBy {
    /// The site.
    Site,
    /// The pool, or that they are about none.
    Pool,
    /// The kind of event.
    Kind,
}

/// `retry` of a sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryConfig {
    /// Tries beyond the first.
    pub max: u32,
    /// First pause; it doubles with each try.
    pub shortest: Duration,
    /// Longest pause.
    pub longest: Duration,
}

/// `[[alerts.rules]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertRule {
    /// Kinds of events.
    pub when: Vec<String>,
    /// How urgent they are.
    pub severity: scaler::ports::Severity,
    /// Places in the list of sinks.
    pub to: Vec<usize>,
}

/// `[drain]`: how the door itself leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainConfig {
    /// From a signal to the end of accepting.
    pub grace: Duration,
    /// From there to the cut of what still runs.
    pub limit: Duration,
    /// The same after a hand-over.
    pub hand_over: Duration,
}

/// `[observe] log`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
    /// Of a line.
    pub format: LogFormat,
}

/// How an event becomes a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object per line.
    Json,
}

/// `[admin]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminConfig {
    /// Loopback address, read only.
    pub listen: Option<SocketAddr>,
    /// Unix socket; who may open it may change things.
    pub unix: Option<PathBuf>,
}

/// What became of a configuration.
pub struct Loaded {
    /// `Some` if there is no error among the problems.
    pub config: Option<Config>,
    /// All of them, by file and place.
    pub problems: Vec<Problem>,
    /// How many more there are: a file of garbage must not cost memory.
    pub dropped_problems: usize,
    document: Document,
}

impl std::fmt::Debug for Loaded {
    /// Without the files, which may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let is_usable = self.config.is_some();
        f.debug_struct("Loaded")
            .field("is_usable", &is_usable)
            .field("problems", &self.problems)
            .finish()
    }
}

impl Loaded {
    /// What the files say in one piece, as TOML; with `with_defaults` also what holds without
    /// being written. Secrets are left out.
    pub fn effective(&self, with_defaults: bool) -> String {
        effective::effective(&self.document, with_defaults, Secrets::LeftOut)
    }

    /// All that holds, to be compared by [`diff`]: each secret is there as a digest, which is why
    /// it is shown to nobody.
    pub fn compared(&self) -> String {
        effective::effective(&self.document, true, Secrets::Digested)
    }

    /// Whether there is an error, or a warning.
    pub fn has(&self, severity: Severity) -> bool {
        self.problems.iter().any(|problem| problem.severity == severity)
    }
}

/// Reads the configuration at `path` with everything that it includes.
pub fn load(path: &Path) -> Loaded {
    let mut problems = Problems::default();
    match include::read(path, &mut problems) {
        Some(document) => finish(document, problems),
        None => not_read(problems),
    }
}

/// Reads the configuration that comes in as `input`, called `name`, with everything that it
/// includes; paths in it are relative to the working directory.
pub fn load_from(name: &str, input: impl Read) -> Loaded {
    let mut problems = Problems::default();
    match include::read_from(name, input, &mut problems) {
        Some(document) => finish(document, problems),
        None => not_read(problems),
    }
}

/// Takes `text` for a configuration file called `name`. Touches no disk: `include` has no effect,
/// secrets are random and files to answer with are empty.
pub fn parse(name: &str, text: &str) -> Loaded {
    let mut problems = Problems::default();
    let document = include::parse(name, text.to_owned(), None, &mut problems);
    finish(document, problems)
}

fn not_read(problems: Problems) -> Loaded {
    let document = Document::default();
    loaded(None, problems, document)
}

fn finish(document: Document, mut problems: Problems) -> Loaded {
    let mut found = Problems::default();
    if let Some(root) = document.root.table() {
        walk::walk(&document.sources, root, document.root.span, &mut found);
    }
    let config = match document.is_whole {
        true => {
            problems.append(found);
            Some(build::build(&document, &mut problems))
        }
        // What the walk finds in half a document is guesswork, but for where the secrets are.
        false => {
            problems.hide_as(found);
            None
        }
    };
    let config = config.filter(|_| !problems.has_errors());
    loaded(config, problems, document)
}

fn loaded(config: Option<Config>, problems: Problems, document: Document) -> Loaded {
    let dropped_problems = problems.dropped();
    let problems = problems.into_sorted(&document.sources);
    Loaded { config, problems, dropped_problems, document }
}

#[cfg(test)]
mod tests;
