//! What a backend remembers: connections, requests, probes, and a way to wait for them.

use std::fmt;
use std::sync::Mutex;

use tokio::sync::watch;

use crate::wire::{Body, Fault, Head, KEPT};

/// One request as it came.
#[derive(Debug, Clone)]
pub struct Received {
    /// Which connection it came over, from 0 in the order of first requests.
    pub connection: usize,
    /// Its place among the requests of that connection, from 0.
    pub place: usize,
    /// The head, byte for byte.
    pub head: Head,
    /// What has come of the body.
    pub body: Body,
    /// Whether the body came to its end.
    pub is_whole: bool,
}

impl Received {
    /// The method, as written.
    pub fn method(&self) -> &str {
        self.word(0)
    }

    /// The target, as written.
    pub fn target(&self) -> &str {
        self.word(1)
    }

    /// The version, as written.
    pub fn version(&self) -> &str {
        self.word(2)
    }

    /// The value of the only field of that name.
    #[track_caller]
    pub fn field(&self, name: &str) -> Option<String> {
        self.head.field(name)
    }

    fn word(&self, index: usize) -> &str {
        self.head.start.split(' ').nth(index).unwrap_or_default()
    }
}

/// Everything a backend knows.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) requests: Vec<Received>,
    pub(super) connections: Vec<Connection>,
    pub(super) probes: usize,
    /// Tasks that hold a socket: the one that accepts and one per connection.
    pub(super) running: usize,
    pub(super) malformed: Vec<String>,
}

/// One connection that has carried a request.
#[derive(Debug, Default)]
pub(super) struct Connection {
    /// The first of the bytes that came.
    pub(super) bytes: Vec<u8>,
    pub(super) requests: usize,
    /// `Some(None)` when it was closed between requests.
    pub(super) ended: Option<Option<Fault>>,
}

impl Connection {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let room = KEPT - self.bytes.len();
        self.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (requests, connections) = (self.requests.len(), self.connections.len());
        let whole = self.requests.iter().filter(|request| request.is_whole).count();
        write!(
            f,
            "so far {requests} requests ({whole} whole) on {connections} connections, {} probes, \
             {} tasks, malformed: {:?}",
            self.probes, self.running, self.malformed
        )
    }
}

/// The state, and a version that moves with every change of it.
#[derive(Debug)]
pub(super) struct Ledger {
    state: Mutex<State>,
    version: watch::Sender<u64>,
}

impl Default for Ledger {
    fn default() -> Ledger {
        Ledger { state: Mutex::default(), version: watch::Sender::new(0) }
    }
}

impl Ledger {
    pub(super) fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.lock().expect("nobody panics with the ledger in hand"))
    }

    pub(super) fn update<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed =
            change(&mut self.state.lock().expect("nobody panics with the ledger in hand"));
        self.version.send_modify(|version| *version += 1);
        changed
    }

    /// Returns once the condition holds, looking after every change.
    pub(super) async fn until(&self, condition: impl Fn(&State) -> bool) {
        let mut versions = self.version.subscribe();
        while !self.read(&condition) {
            versions.changed().await.expect("the sender lives in `self`");
        }
    }
}
