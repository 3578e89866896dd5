//! What two processes tell each other for as long as both live, after one has taken over.
//!
//! The older one tells what it has under way, so that nobody ends a backend under it. The younger one
//! tells which backends are shut, so that nothing more comes to them from there; it does so again only
//! when the older one goes by what it heard last. So little lies on the line, whoever is stopped for
//! how long, and neither waits for the other to make room.

use std::sync::Arc;
use std::time::Duration;

use balancer::roster::{Roster, UnderWay};
use policies::backend::{BackendId, BackendKey, PoolName};
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::hand_over::{Ear, Left, Line, Mouth, Shut, UnderWayState};

/// How often a successor hears of what is under way, if it has changed.
pub(super) const REPORT: Duration = Duration::from_millis(200);
/// And if not: it takes long silence for the end.
const ANYWAY: Duration = Duration::from_secs(10);

/// The side of the older process: ends with the line.
pub(super) async fn report(line: Line, roster: Arc<Roster>) {
    let (ear, mouth) = line.split();
    let (to, heard) = mpsc::channel(1);
    tokio::select! {
        () = listen::<Shut>(ear, None, to) => {}
        _ = tell(mouth, heard, &roster) => {}
    }
}

/// The side of the younger one: ends when the older one has, or was silent for so long. `left` hears
/// of its first word.
pub(super) async fn hear(
    line: Line,
    roster: &Roster,
    silence: Duration,
    left: oneshot::Sender<()>,
) {
    let (ear, mouth) = line.split();
    let (to, heard) = mpsc::channel(1);
    tokio::select! {
        () = listen::<Left>(ear, Some(silence), to) => {}
        _ = shut(mouth, heard, roster, left) => {}
    }
}

/// Hears one after another to the end of the line. Never cancelled in the middle of one.
async fn listen<T: DeserializeOwned>(mut ear: Ear, limit: Option<Duration>, to: mpsc::Sender<T>) {
    while let Ok(message) = ear.hear(limit).await {
        if to.send(message).await.is_err() {
            return;
        }
    }
}

async fn tell(
    mut mouth: Mouth,
    mut heard: mpsc::Receiver<Shut>,
    roster: &Roster,
) -> std::io::Result<()> {
    let (mut number, mut heeded) = (0, 0);
    let mut said: Option<(Left, Instant)> = None;
    loop {
        if roster.is_heeded() {
            heeded = number;
        }
        let under_way = roster.under_way().into_iter().map(UnderWayState::from).collect();
        let left = Left { under_way, heeded: Some(heeded) };
        let is_old = |at: Instant| at.elapsed() >= ANYWAY;
        if said.as_ref().is_none_or(|(said, at)| *said != left || is_old(*at)) {
            mouth.say(&left).await?;
            said = Some((left, Instant::now()));
        }
        tokio::select! {
            Some(shut) = heard.recv() => {
                roster.heed(shut.backends.into_iter().map(key));
                number = shut.number;
            }
            () = tokio::time::sleep(REPORT) => {}
        }
    }
}

async fn shut(
    mut mouth: Mouth,
    mut heard: mpsc::Receiver<Left>,
    roster: &Roster,
    left: oneshot::Sender<()>,
) -> std::io::Result<()> {
    let mut shut = roster.shut();
    let mut left = Some(left);
    let mut said: (u64, Arc<[BackendKey]>) = (0, Arc::default());
    let mut heeded = None;
    loop {
        tokio::select! {
            Some(message) = heard.recv() => {
                heeded = message.heeded;
                let under_way = message.under_way.into_iter().map(UnderWay::from).collect();
                let heeds = (heeded == Some(said.0) && said.0 > 0).then_some(&*said.1);
                roster.hear_of_elsewhere(under_way, heeds);
                // Whoever waits for it may have given up.
                left.take().map(|left| left.send(()));
            }
            // The list is kept with the roster, which outlives this.
            Ok(()) = shut.changed() => {}
        }
        let now = Arc::clone(&shut.borrow_and_update());
        if heeded == Some(said.0) && now != said.1 {
            roster.about_to_tell(&now);
            let backends = now.iter().map(|key| (key.pool.to_string(), key.backend.to_string()));
            let message = Shut { number: said.0 + 1, backends: backends.collect() };
            mouth.say(&message).await?;
            said = (message.number, now);
        }
    }
}

fn key((pool, id): (String, String)) -> BackendKey {
    BackendKey { pool: PoolName(pool.into()), backend: BackendId(id.into()) }
}

#[cfg(test)]
mod tests;
