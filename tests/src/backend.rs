//! A backend that remembers every byte, answers by a script, dies and comes back.
//!
//! ```text
//! let red = TestBackend::start("red").await;          // answers `red` with 200
//! red.answer_next(Answer::status(503));
//! red.received(1).await;                              // an event, with a ceiling
//! assert_eq!(red.request(0).head.field("via"), Some("1.1 test".into()));
//! ```
//!
//! Health probes (`/healthz` unless told otherwise) are answered and counted apart: they never
//! take an answer of the script and are no requests. A connection counts once it carries a
//! request, so probes do not blur the count of connections either.
//!
//! A backend that gets something else than strict HTTP/1.1 fails its test when it is dropped.

pub mod answer;
pub mod counting;
pub mod deaf;
pub mod record;
mod serve;

use std::net::SocketAddr;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{Semaphore, watch};

use crate::CEILING;
use crate::wire::Fault;
use answer::{Answer, Script, Step};
use record::{Ledger, Received, State};

/// A chunk of an event stream, as it arrives.
pub const EVENT: &[u8] = b"5\r\nevent\r\n";

/// How a backend dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// The process exits: connections end with FIN (RST where bytes are unread).
    Fin,
    /// The machine is cut off and its successor knows nothing: every connection ends with RST.
    Reset,
}

/// One backend on a loopback port of its own. Dropping it ends it.
#[derive(Debug)]
pub struct TestBackend {
    name: String,
    addr: SocketAddr,
    shared: Arc<Shared>,
    /// Bound and never listening, so that nobody else gets the port while the backend is dead.
    _reserved: TcpSocket,
}

/// What the connections of a backend have in common.
#[derive(Debug)]
struct Shared {
    ledger: Ledger,
    script: Script,
    gate: Semaphore,
    death: watch::Sender<Option<Death>>,
}

impl TestBackend {
    /// A backend that answers everything with 200 and its name.
    pub async fn start(name: &str) -> TestBackend {
        TestBackend::start_with(name, Answer::text(name)).await
    }

    /// A backend that answers everything with `answer`.
    pub async fn start_with(name: &str, answer: Answer) -> TestBackend {
        let reserved = bind("127.0.0.1:0".parse().expect("an address"));
        let addr = reserved.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            ledger: Ledger::default(),
            script: Script::new(answer),
            gate: Semaphore::new(0),
            death: watch::Sender::new(Some(Death::Fin)),
        });
        let backend = TestBackend { name: name.to_owned(), addr, shared, _reserved: reserved };
        backend.revive();
        backend
    }

    /// A backend that answers one request with an event stream, each [`EVENT`] after a release, and
    /// others with an upgrade to an echo.
    pub async fn streaming(events: usize) -> TestBackend {
        let special = TestBackend::start("special").await;
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                    Transfer-Encoding: chunked\r\n\r\n";
        let mut steps = vec![Step::Write(head.into())];
        for _ in 0..events {
            steps.extend([Step::Hold, Step::Write(EVENT.to_vec())]);
        }
        steps.push(Step::Write(b"0\r\n\r\n".to_vec()));
        special.answer_next(Answer::steps(steps));
        special.answer(Answer::upgrade("websocket"));
        special
    }

    /// The name, which is also the body of the default answer.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it listens; the same after [`TestBackend::revive`].
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// From now on everything is answered like this.
    pub fn answer(&self, answer: Answer) {
        self.shared.script.always(move |_| answer.clone());
    }

    /// The next request that has no other answer yet gets this one, once.
    pub fn answer_next(&self, answer: Answer) {
        self.shared.script.push(answer);
    }

    /// From now on the answer depends on the request.
    pub fn answer_by(&self, choose: impl Fn(&Received) -> Answer + Send + Sync + 'static) {
        self.shared.script.always(choose);
    }

    /// What counts as a probe, and the status it gets. The default is `/healthz` and 200.
    pub fn answer_probes(&self, path: &str, status: u16) {
        self.shared.script.probes(path, status);
    }

    /// Lets one held answer go on, the present or the next.
    pub fn release(&self) {
        self.shared.gate.add_permits(1);
    }

    /// Lets every held answer go on, from now to the end.
    pub fn release_all(&self) {
        self.shared.gate.add_permits(Semaphore::MAX_PERMITS / 2);
    }

    /// Closes the listener and every connection, and returns when they are gone. Connects are
    /// refused until [`TestBackend::revive`].
    #[track_caller]
    pub fn kill(&self, death: Death) -> impl Future<Output = ()> + '_ {
        self.shared.death.send_replace(Some(death));
        self.wait("to die", |state| state.running == 0)
    }

    /// Listens again on the same port; the script and the records go on.
    pub fn revive(&self) {
        let listener = bind(self.addr).listen(1024).expect("the port is reserved");
        self.shared.death.send_replace(None);
        self.shared.ledger.update(|state| state.running += 1);
        tokio::spawn(accept(listener, self.shared.clone(), self.shared.death.subscribe()));
    }

    /// Waits until at least `count` request heads have come since the start.
    #[track_caller]
    pub fn received(&self, count: usize) -> impl Future<Output = ()> + '_ {
        self.wait("to receive requests", move |state| state.requests.len() >= count)
    }

    /// Waits until at least `count` requests have come with their whole bodies.
    #[track_caller]
    pub fn completed(&self, count: usize) -> impl Future<Output = ()> + '_ {
        self.wait("to receive whole requests", move |state| {
            state.requests.iter().filter(|request| request.is_whole).count() >= count
        })
    }

    /// Waits until at least `count` probes have come since the start.
    #[track_caller]
    pub fn probed(&self, count: usize) -> impl Future<Output = ()> + '_ {
        self.wait("to be probed", move |state| state.probes >= count)
    }

    /// Waits until the connection of that number (from 0, in the order of first requests) has
    /// ended, and tells how: `None` when it was closed between two requests.
    #[track_caller]
    pub fn closed(&self, connection: usize) -> impl Future<Output = Option<Fault>> + '_ {
        let ended = move |state: &State| {
            state.connections.get(connection).is_some_and(|one| one.ended.is_some())
        };
        let waited = self.wait("to see a connection end", ended);
        async move {
            waited.await;
            self.shared.ledger.read(|state| {
                state.connections[connection].ended.clone().expect("waited for just now")
            })
        }
    }

    /// A request as it is known now, from 0 in the order in which the heads came.
    #[track_caller]
    pub fn request(&self, index: usize) -> Received {
        let known = self.shared.ledger.read(|state| state.requests.get(index).cloned());
        known.unwrap_or_else(|| panic!("`{}` has not received request {index}", self.name))
    }

    /// All requests as they are known now.
    pub fn requests(&self) -> Vec<Received> {
        self.shared.ledger.read(|state| state.requests.clone())
    }

    /// How many requests have come.
    pub fn request_count(&self) -> usize {
        self.shared.ledger.read(|state| state.requests.len())
    }

    /// How many connections have carried a request.
    pub fn connection_count(&self) -> usize {
        self.shared.ledger.read(|state| state.connections.len())
    }

    /// How many probes have come.
    pub fn probe_count(&self) -> usize {
        self.shared.ledger.read(|state| state.probes)
    }

    /// Every byte that came over a connection, up to the first MiB.
    #[track_caller]
    pub fn bytes_of(&self, connection: usize) -> Vec<u8> {
        self.shared.ledger.read(|state| state.connections[connection].bytes.clone())
    }

    /// What came that was not strict HTTP/1.1; looking at it makes it expected.
    pub fn take_malformed(&self) -> Vec<String> {
        self.shared.ledger.update(|state| std::mem::take(&mut state.malformed))
    }

    #[track_caller]
    fn wait<'a>(
        &'a self,
        what: &'static str,
        condition: impl Fn(&State) -> bool + 'a,
    ) -> impl Future<Output = ()> + 'a {
        self.wait_up_to(CEILING, what, condition)
    }

    #[track_caller]
    fn wait_up_to<'a>(
        &'a self,
        limit: Duration,
        what: &'static str,
        condition: impl Fn(&State) -> bool + 'a,
    ) -> impl Future<Output = ()> + 'a {
        let caller = Location::caller();
        async move {
            let event = self.shared.ledger.until(condition);
            if tokio::time::timeout(limit, event).await.is_err() {
                let state = self.shared.ledger.read(|state| state.to_string());
                panic!("`{}` waited in vain {what} at {caller}; {state}", self.name);
            }
        }
    }
}

impl Drop for TestBackend {
    fn drop(&mut self) {
        self.shared.death.send_replace(Some(Death::Fin));
        let malformed = self.take_malformed();
        if !std::thread::panicking() {
            assert!(malformed.is_empty(), "`{}` received {malformed:#?}", self.name);
        }
    }
}

fn bind(addr: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).expect("an option of every socket");
    socket.bind(addr).expect("a port of our own");
    socket
}

async fn accept(
    listener: TcpListener,
    shared: Arc<Shared>,
    mut death: watch::Receiver<Option<Death>>,
) {
    loop {
        tokio::select! {
            // Cancel-safe: a connection is either accepted or still in the queue.
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                shared.ledger.update(|state| state.running += 1);
                tokio::spawn(serve::connection(stream, shared.clone(), shared.death.subscribe()));
            }
            _ = death.wait_for(Option::is_some) => break,
        }
    }
    drop(listener);
    shared.ledger.update(|state| state.running -= 1);
}

#[cfg(test)]
mod tests;
