//! Taking over from the door that runs: its sockets, what it knows, and then its place.
//!
//! All that can fail is done while it still serves. It is told to go only when this door serves
//! from the same queues and knows as much of its backends as it did.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use balancer::Stage;
use balancer::config::DoorConfig;
use balancer::roster::{Known, Roster, UnderWay};
use balancer::sockets::{Part, Sockets};
use policies::backend::{BackendKey, Origin, PoolName};
use policies::health::Verdict;
use scaler::controller::Mode;
use tokio::sync::oneshot;

use super::{App, StartError, abreast};
use crate::admin::Inherited;
use crate::command::ask::Socket;
use crate::config::ScalerConfig;
use crate::hand_over::{AdminState, Go, Hello, Line, Open, PATH, PROMPT, PROTOCOL, Ready, State};

/// It may be in the middle of a reload when it is asked.
const FIRST_WORD: Duration = Duration::from_secs(60);
/// Backends that it did not have are waited for until their first check has ended, or so long.
const FIRST_VERDICTS: Duration = Duration::from_secs(5);
/// A door that says nothing for so long beyond its time is stopped, or hangs.
const SILENCE: Duration = Duration::from_secs(60);
/// They are looked at so often.
const LOOK: Duration = Duration::from_millis(10);

/// The door that runs.
pub struct Predecessor {
    line: Line,
    state: State,
    sockets: Sockets,
    admin: Inherited,
}

impl Predecessor {
    /// Asks the door with this Unix socket for all that it has.
    ///
    /// # Errors
    ///
    /// Nobody is there, it is busy, or it speaks otherwise.
    pub async fn meet(path: &Path) -> Result<Predecessor, StartError> {
        let socket = Socket { path: Some(path.to_owned()) };
        let stream = socket.switch(PATH, PROTOCOL).await;
        let stream = stream.map_err(|error| StartError::HandOver(error.to_string()))?;
        Predecessor::ask(Line::new(stream, bytes::Bytes::new())).await.map_err(broken)
    }

    async fn ask(mut line: Line) -> std::io::Result<Predecessor> {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        line.say(&Hello { pid: std::process::id(), version }).await?;
        let state: State = line.hear(FIRST_WORD).await?;
        let parts: Vec<Part> = state.sockets.iter().cloned().map(Part::from).collect();
        let count = parts.iter().map(|part| part.count).sum::<usize>();
        let mut descriptors = line.receive(count + state.admin.count()).await?;
        let mut admin = descriptors.split_off(count).into_iter();
        let sockets = Sockets::assemble(&parts, descriptors.into_iter().map(TcpListener::from))?;
        let AdminState { unix, loopback, metrics } = state.admin.clone();
        // In the order of the descriptors; the counts agree.
        let unix = unix.and_then(|path| Some((path, admin.next()?.into())));
        let loopback = loopback.and_then(|address| Some((address, admin.next()?.into())));
        let metrics = metrics.and_then(|address| Some((address, admin.next()?.into())));
        let admin = Inherited { unix, loopback, metrics };
        Ok(Predecessor { line, state, sockets, admin })
    }

    /// Its random keys go on: others would end every session that sticks.
    pub(super) fn keep_keys(&self, config: &mut DoorConfig) {
        for route in &mut config.routes {
            let Some(sticky) = route.sticky.as_mut().filter(|sticky| sticky.is_key_random) else {
                continue;
            };
            let same = |(name, _): &&(String, Vec<u8>)| **name == *route.route.name;
            if let Some((_, key)) = self.state.sticky_keys.iter().find(same) {
                sticky.key = Arc::from(&**key);
            }
        }
    }

    /// Has a door believe what it knows, and returns what that is of backends.
    pub(super) fn teach(&self, roster: &Roster, scaled: &[ScalerConfig]) -> Vec<Known> {
        let known = self.known(scaled);
        let switches = self.state.switches.iter();
        let switches = switches.map(|(route, is_on)| (route.as_deref().map(Arc::from), *is_on));
        let under_way = self.state.under_way.iter().cloned().map(UnderWay::from).collect();
        roster.believe(&known, switches.collect(), under_way);
        known
    }

    /// What it knows of its backends. Of those that it has launched only the ones that take
    /// requests, of pools that are `scaled` here too: then they are looked after, and no request
    /// has to wait until their provider has listed them.
    fn known(&self, scaled: &[ScalerConfig]) -> Vec<Known> {
        let is_scaled = |pool: &PoolName| {
            scaled.iter().any(|scaler| scaler.pool == *pool && scaler.mode == Mode::Act)
        };
        let is_looked_after = |known: &Known| match &known.joined {
            Some(backend) if backend.origin == Origin::Cloud => {
                is_scaled(&known.key.pool) && known.verdict == Verdict::Healthy && !known.is_drained
            }
            _ => true,
        };
        let known = self.state.backends.iter().cloned().map(Known::from);
        known.filter(is_looked_after).collect()
    }

    pub(super) fn sockets(&self) -> &Sockets {
        &self.sockets
    }

    pub(super) fn take_admin(&mut self) -> Inherited {
        std::mem::take(&mut self.admin)
    }
}

impl App {
    /// Takes the place of a predecessor. Everything is open, and nothing can fail but that.
    pub(super) async fn succeed(
        &mut self,
        predecessor: Predecessor,
        known: &[Known],
    ) -> Result<(), StartError> {
        let Predecessor { mut line, state, sockets, .. } = predecessor;
        tracing::info!(predecessor = state.pid, version = state.version, "hand_over_begun");
        self.first_verdicts(known).await;
        line.say(&Ready {}).await.map_err(broken)?;
        line.hear::<Go>(PROMPT).await.map_err(broken)?;

        self.door.advance(Stage::Running);
        let unwanted = sockets.left_out_of(self.door.sockets());
        // Closed here before it closes there: only the last hold on a queue can empty it.
        drop(sockets);
        let has_unix =
            state.admin.unix.is_some() && state.admin.unix.as_deref() == self.admin.socket();
        let said = line.say(&Open { unwanted, has_unix }).await;
        let (tell, left) = oneshot::channel();
        let (roster, limit) = (Arc::clone(self.roster()), self.drain.hand_over + SILENCE);
        let predecessor = state.pid;
        self.predecessor = Some(self.tasks.spawn(async move {
            if said.is_ok() {
                abreast::hear(line, &roster, limit, tell).await;
            }
            roster.is_alone();
            tracing::info!(predecessor, "predecessor_ended");
        }));
        // Nobody may be there any more; if somebody is, both accept, and no client notices.
        if !matches!(tokio::time::timeout(PROMPT, left).await, Ok(Ok(()))) {
            tracing::warn!(predecessor, "the door before did not say that it left");
        }
        self.door.widen();
        tracing::info!(predecessor, backends = known.len(), "taken_over");
        Ok(())
    }

    /// Accepts once the backends are checked, for who waits in the queues of a service manager would
    /// else be told that there is no backend.
    pub(super) async fn open_late(&self) {
        self.first_verdicts(&[]).await;
        self.door.advance(Stage::Running);
    }

    /// Waits until something is known of each backend of which the predecessor knew nothing.
    async fn first_verdicts(&self, known: &[Known]) {
        // It waited in vain for those as well.
        let in_vain: Vec<&BackendKey> = known
            .iter()
            .filter(|known| known.verdict == Verdict::Unknown)
            .map(|known| &known.key)
            .collect();
        let all =
            async {
                while self.roster().known().iter().any(|known| {
                    known.verdict == Verdict::Unknown && !in_vain.contains(&&known.key)
                }) {
                    tokio::time::sleep(LOOK).await;
                }
            };
        if tokio::time::timeout(FIRST_VERDICTS, all).await.is_err() {
            tracing::warn!("some backends are not checked yet; they take requests once they pass");
        }
    }
}

fn broken(error: std::io::Error) -> StartError {
    StartError::HandOver(format!("the running door does not hand over: {error}"))
}
