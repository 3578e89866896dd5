//! What two doors say to each other when one takes over from the other (docs/decisions/0005).
//!
//! ```text
//!  successor                                     predecessor
//!  POST /v1/hand-over, Upgrade ───────────────►
//!  Hello ─────────────────────────────────────►
//!                             ◄─────────────────  State, and every listening socket
//!  proves its configuration, starts its workers, knows its backends
//!  Ready ─────────────────────────────────────►
//!                             ◄─────────────────  Go
//!  accepts
//!  Open ──────────────────────────────────────►  stops accepting
//!                             ◄─────────────────  Left, and again as requests end there
//!  Shut, and again when the last was heeded ──►
//! ```
//!
//! Until `Open` the predecessor has changed nothing: a successor that fails or falls silent costs
//! the end of a connection. From `Go` on the successor cannot fail.
//!
//! How messages look on the connection is in `line.rs`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use balancer::roster::{Changed, Known, Settings, UnderWay};
use balancer::sockets::Part;
use policies::backend::{Address, Backend, BackendId, BackendKey, Origin, PoolName};
use policies::breaker::Phase;
use policies::health::Verdict;
use serde::{Deserialize, Serialize};

mod line;

pub use line::{Ear, Line, Mouth};

/// Path of the request that begins a hand-over.
pub const PATH: &str = "/v1/hand-over";
/// What the connection becomes; another number is another conversation.
pub const PROTOCOL: &str = "tidegate-hand-over/1";
/// For what the other side only has to say.
pub const PROMPT: Duration = Duration::from_secs(10);

/// Who takes over.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Hello {
    /// Its process, as the service manager knows it.
    pub pid: u32,
    /// Of the program.
    pub version: String,
}

/// All that a successor needs to be what the predecessor was.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct State {
    /// The predecessor's process.
    pub pid: u32,
    /// Of its program.
    pub version: String,
    /// Its listening sockets; descriptors follow in this order.
    pub sockets: Vec<SocketState>,
    /// Its addresses for operators; descriptors follow behind those of the listeners.
    pub admin: AdminState,
    /// What it knows of its backends.
    pub backends: Vec<BackendState>,
    /// Keys of sticky cookies that are random: name of the route, and the key.
    pub sticky_keys: Vec<(String, Vec<u8>)>,
    /// Maintenance that is otherwise than written: of the site (`None`) and of routes. This and all
    /// else that has a default is not said by older programs.
    #[serde(default)]
    pub switches: Vec<(Option<String>, bool)>,
    /// What it, and those before it, have under way at backends.
    #[serde(default)]
    pub under_way: Vec<UnderWayState>,
}

/// The sockets of one address.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SocketState {
    listener: String,
    wanted: SocketAddr,
    is_ours: bool,
    count: usize,
}

/// The addresses for operators, as configured: a descriptor for each that is there, in this order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminState {
    /// `[admin] unix`
    pub unix: Option<PathBuf>,
    /// `[admin] listen`
    pub loopback: Option<SocketAddr>,
    /// `[observe] metrics.listen`
    pub metrics: Option<SocketAddr>,
}

/// What is known of one backend.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BackendState {
    pool: String,
    id: String,
    written: String,
    address: Option<SocketAddr>,
    /// `None`: not checked yet.
    is_healthy: Option<bool>,
    reason: Option<String>,
    is_drained: bool,
    #[serde(default)]
    has_drained: bool,
    #[serde(default)]
    joined: Option<JoinedState>,
    /// In the file, and what holds.
    #[serde(default)]
    changed: Option<(SettingsState, SettingsState)>,
    #[serde(default)]
    is_held_open: Option<bool>,
}

/// The rest of a backend that no file names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct JoinedState {
    settings: SettingsState,
    zone: Option<String>,
    is_cloud: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct SettingsState {
    weight: u32,
    max_concurrency: Option<u32>,
}

/// The successor could take over now.
#[derive(Debug, Serialize, Deserialize)]
pub struct Ready {}

/// It may.
#[derive(Debug, Serialize, Deserialize)]
pub struct Go {}

/// It accepts.
#[derive(Debug, Serialize, Deserialize)]
pub struct Open {
    /// Places in [`State::sockets`] that its configuration has no use for.
    pub unwanted: Vec<usize>,
    /// Whether the file of the Unix socket is now its own.
    pub has_unix: bool,
}

/// The predecessor accepts no longer. It says this again whenever it has become otherwise, until it
/// ends.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Left {
    /// What it, and those before it, still have under way at backends.
    #[serde(default)]
    pub under_way: Vec<UnderWayState>,
    /// The number of the last [`Shut`] that they all go by, 0 before the first; what is under way was
    /// counted after that. One that does not say this is older, and listens to nothing.
    #[serde(default)]
    pub heeded: Option<u64>,
}

/// Backends that take nothing more, in place of those that were named before: the predecessor lets
/// nobody in there either, whatever still comes over its connections.
#[derive(Debug, Serialize, Deserialize)]
pub struct Shut {
    /// From 1 on.
    pub number: u64,
    /// Pool and id of each.
    pub backends: Vec<(String, String)>,
}

/// What is under way at a backend.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UnderWayState {
    pool: String,
    id: String,
    in_flight: u32,
    streams: u32,
}

impl AdminState {
    /// Descriptors that come with it.
    pub fn count(&self) -> usize {
        usize::from(self.unix.is_some())
            + usize::from(self.loopback.is_some())
            + usize::from(self.metrics.is_some())
    }
}

impl From<Part> for SocketState {
    fn from(part: Part) -> SocketState {
        let Part { listener, wanted, is_ours, count } = part;
        SocketState { listener: listener.to_string(), wanted, is_ours, count }
    }
}

impl From<SocketState> for Part {
    fn from(state: SocketState) -> Part {
        let SocketState { listener, wanted, is_ours, count } = state;
        Part { listener: listener.into(), wanted, is_ours, count }
    }
}

impl From<Known> for BackendState {
    fn from(known: Known) -> BackendState {
        BackendState {
            pool: known.key.pool.to_string(),
            id: known.key.backend.to_string(),
            written: known.written.to_string(),
            address: known.address,
            is_healthy: match known.verdict {
                Verdict::Unknown => None,
                verdict => Some(verdict == Verdict::Healthy),
            },
            reason: known.reason,
            is_drained: known.is_drained,
            has_drained: known.has_drained,
            joined: known.joined.map(|backend| JoinedState {
                settings: Settings::of(&backend).into(),
                zone: backend.zone.map(|zone| zone.to_string()),
                is_cloud: backend.origin == Origin::Cloud,
            }),
            changed: known.changed.map(|Changed { from, to }| (from.into(), to.into())),
            is_held_open: known.held.map(|phase| phase == Phase::Open),
        }
    }
}

impl From<BackendState> for Known {
    fn from(state: BackendState) -> Known {
        let (pool, id) = (PoolName(state.pool.into()), BackendId(state.id.into()));
        let written = address(&state.written);
        let joined = state.joined.map(|joined| Backend {
            id: id.clone(),
            address: written.clone(),
            weight: joined.settings.weight,
            max_concurrency: joined.settings.max_concurrency,
            zone: joined.zone.map(Into::into),
            origin: if joined.is_cloud { Origin::Cloud } else { Origin::OnPrem },
        });
        let held = |is_open| if is_open { Phase::Open } else { Phase::Closed };
        Known {
            key: BackendKey { pool, backend: id },
            written,
            address: state.address,
            verdict: match state.is_healthy {
                None => Verdict::Unknown,
                Some(true) => Verdict::Healthy,
                Some(false) => Verdict::Unhealthy,
            },
            reason: state.reason,
            is_drained: state.is_drained,
            has_drained: state.has_drained,
            joined,
            changed: state.changed.map(|(from, to)| Changed { from: from.into(), to: to.into() }),
            held: state.is_held_open.map(held),
        }
    }
}

impl From<UnderWay> for UnderWayState {
    fn from(at: UnderWay) -> UnderWayState {
        let UnderWay { key, in_flight, streams } = at;
        let (pool, id) = (key.pool.to_string(), key.backend.to_string());
        UnderWayState { pool, id, in_flight, streams }
    }
}

impl From<UnderWayState> for UnderWay {
    fn from(state: UnderWayState) -> UnderWay {
        let UnderWayState { pool, id, in_flight, streams } = state;
        let key = BackendKey { pool: PoolName(pool.into()), backend: BackendId(id.into()) };
        UnderWay { key, in_flight, streams }
    }
}

impl From<Settings> for SettingsState {
    fn from(settings: Settings) -> SettingsState {
        let Settings { weight, max_concurrency } = settings;
        SettingsState { weight, max_concurrency }
    }
}

impl From<SettingsState> for Settings {
    fn from(state: SettingsState) -> Settings {
        let SettingsState { weight, max_concurrency } = state;
        Settings { weight, max_concurrency }
    }
}

/// As [`Address`] writes itself. What is neither is the address of no backend.
fn address(text: &str) -> Address {
    if let Ok(address) = text.parse() {
        return Address::Socket(address);
    }
    let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
    Address::Name { host: host.into(), port: port.parse().unwrap_or(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(weight: u32) -> Settings {
        Settings { weight, max_concurrency: Some(weight) }
    }

    #[test]
    fn an_older_program_says_less() {
        let text = r#"{"pool":"p","id":"b","written":"10.0.0.1:80","address":null,
            "is_healthy":true,"reason":null,"is_drained":false}"#;
        let known = Known::from(serde_json::from_str::<BackendState>(text).unwrap());
        assert_eq!((known.joined, known.changed, known.held), (None, None, None));
        let text = r#"{"pid":1,"version":"0","sockets":[],"admin":{"unix":null,"loopback":null,
            "metrics":null},"backends":[],"sticky_keys":[]}"#;
        assert!(serde_json::from_str::<State>(text).unwrap().switches.is_empty());
    }

    #[test]
    fn a_backend_is_known_as_before_after_it_was_written_and_read() {
        for (written, verdict) in [
            ("10.0.0.1:80", Verdict::Healthy),
            ("[::1]:80", Verdict::Unhealthy),
            ("app.internal:8080", Verdict::Unknown),
        ] {
            let known = Known {
                key: BackendKey { pool: PoolName("p".into()), backend: BackendId("b".into()) },
                written: address(written),
                address: Some("10.0.0.1:80".parse().unwrap()),
                verdict,
                reason: Some("why".into()),
                is_drained: true,
                has_drained: true,
                joined: Some(Backend {
                    id: BackendId("b".into()),
                    address: address(written),
                    weight: 3,
                    max_concurrency: Some(4),
                    zone: Some("z".into()),
                    origin: Origin::OnPrem,
                }),
                changed: Some(Changed { from: settings(1), to: settings(2) }),
                held: Some(Phase::Open),
            };
            assert_eq!(known.written.to_string(), written);
            assert_eq!(Known::from(BackendState::from(known.clone())), known);
        }
    }
}
