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
//! ```
//!
//! Until `Open` the predecessor has changed nothing: a successor that fails or falls silent costs
//! the end of a connection. From `Go` on the successor cannot fail.
//!
//! A message is its length (four bytes, big-endian) and JSON. Descriptors come behind `State`, and
//! nothing is read beyond a message, because a plain read would lose them.

use std::io::{self, Cursor};
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use balancer::roster::{Changed, Known, Settings, UnderWay};
use balancer::sockets::{PER_MESSAGE, Part, pass, receive};
use bytes::Bytes;
use policies::backend::{Address, Backend, BackendId, BackendKey, Origin, PoolName};
use policies::breaker::Phase;
use policies::health::Verdict;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::UnixStream;

/// Path of the request that begins a hand-over.
pub const PATH: &str = "/v1/hand-over";
/// What the connection becomes; another number is another conversation.
pub const PROTOCOL: &str = "tidegate-hand-over/1";
/// Longest message: some hundred bytes for each backend.
const MAX_BYTES: u32 = 64 << 20;
/// More sockets than any door has.
const MAX_SOCKETS: usize = 1 << 16;
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
}

/// What is under way at a backend.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UnderWayState {
    pool: String,
    id: String,
    in_flight: u32,
    streams: u32,
}

/// A connection between two doors.
#[derive(Debug)]
pub struct Line {
    stream: UnixStream,
    /// Of what the other side says, read already.
    ahead: Cursor<Bytes>,
}

impl Line {
    /// Over a connection from which so much has been read of what the other side says.
    pub fn new(stream: UnixStream, ahead: Bytes) -> Line {
        Line { stream, ahead: Cursor::new(ahead) }
    }

    /// Says one thing.
    ///
    /// # Errors
    ///
    /// The other side has gone, or has not listened for [`PROMPT`].
    pub async fn say<T: Serialize>(&mut self, message: &T) -> io::Result<()> {
        let text = serde_json::to_vec(message)?;
        let length = u32::try_from(text.len()).map_err(io::Error::other)?;
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.extend(text);
        within(PROMPT, self.stream.write_all(&bytes)).await
    }

    /// Hears one thing, within `limit`.
    ///
    /// # Errors
    ///
    /// The other side has gone, says nothing, or something else.
    pub async fn hear<T: DeserializeOwned>(&mut self, limit: Duration) -> io::Result<T> {
        within(limit, async {
            let mut from = (&mut self.ahead).chain(&mut self.stream);
            let length = from.read_u32().await?;
            if length > MAX_BYTES {
                return Err(io::Error::other("the other door says too much"));
            }
            let mut text = Vec::new();
            // Grows with what comes, not with what is announced.
            from.take(u64::from(length)).read_to_end(&mut text).await?;
            Ok(serde_json::from_slice(&text)?)
        })
        .await
    }

    /// Passes sockets.
    ///
    /// # Errors
    ///
    /// As [`Line::say`].
    pub async fn pass(&self, sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
        within(PROMPT, async {
            for part in sockets.chunks(PER_MESSAGE) {
                self.stream.async_io(Interest::WRITABLE, || pass(part, &self.stream)).await?;
            }
            Ok(())
        })
        .await
    }

    /// As many sockets as were announced.
    ///
    /// # Errors
    ///
    /// As [`Line::hear`], or there is no room for them.
    pub async fn receive(&self, count: usize) -> io::Result<Vec<OwnedFd>> {
        if count > MAX_SOCKETS {
            return Err(io::Error::other("the other door has too many sockets"));
        }
        within(PROMPT, async {
            let mut sockets = Vec::new();
            while sockets.len() < count {
                let came =
                    self.stream.async_io(Interest::READABLE, || receive(&self.stream)).await?;
                if came.is_empty() || sockets.len() + came.len() > count {
                    return Err(io::Error::other("other sockets came than were announced"));
                }
                sockets.extend(came);
            }
            Ok(sockets)
        })
        .await
    }
}

async fn within<T>(limit: Duration, what: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let result = tokio::time::timeout(limit, what).await;
    result.unwrap_or_else(|_| {
        let text = format!("the other door said nothing for {} s", limit.as_secs());
        Err(io::Error::new(io::ErrorKind::TimedOut, text))
    })
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
    use std::os::fd::AsFd;

    fn pair() -> (Line, Line) {
        let (one, other) = UnixStream::pair().unwrap();
        (Line::new(one, Bytes::new()), Line::new(other, Bytes::new()))
    }

    #[tokio::test]
    async fn sockets_come_behind_what_announces_them() {
        let (mut old, mut new) = pair();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let many = vec![listener.as_fd(); 300];
        let talk = async {
            old.say(&Hello { pid: 7, version: "x".into() }).await.unwrap();
            old.pass(&many).await.unwrap();
            old.say(&Go {}).await.unwrap();
        };
        let ((), (hello, sockets)) = tokio::join!(talk, async {
            let hello: Hello = new.hear(PROMPT).await.unwrap();
            (hello, new.receive(300).await.unwrap())
        });
        assert_eq!((hello.pid, sockets.len()), (7, 300));
        let _: Go = new.hear(PROMPT).await.unwrap();
        drop(old);
        assert!(new.hear::<Left>(PROMPT).await.is_err());
    }

    #[tokio::test]
    async fn nonsense_is_an_error_and_no_memory() {
        for bytes in [&b"\xff\xff\xff\xff"[..], b"\0\0\0\x05hello", b"\0\0\0\x40{", b"\0"] {
            let (mut old, mut new) = pair();
            old.stream.write_all(bytes).await.unwrap();
            drop(old);
            assert!(new.hear::<State>(PROMPT).await.is_err(), "{bytes:?}");
        }
    }

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
