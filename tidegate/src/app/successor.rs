//! Making room for a process that takes over.
//!
//! Until it says that it accepts, nothing changes here, and whatever goes wrong is the end of its
//! connection and nothing else.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use balancer::roster::Known;

use tokio::sync::watch;

use super::abreast::{self, REPORT};
use super::{App, Exit, too_long};
use crate::hand_over::{Go, Hello, Line, Open, PROMPT, Ready, State};

/// For all that a successor does before it is ready.
const PREPARE: Duration = Duration::from_secs(60);

/// A process that accepts from our queues.
#[derive(Debug)]
pub struct Successor {
    /// Who it is.
    pub hello: Hello,
    line: Line,
    open: Open,
}

impl App {
    /// Gives a process all that it needs, and returns when it accepts. Cancel-safe.
    ///
    /// # Errors
    ///
    /// It has gone, or takes too long. Nothing has changed here.
    pub async fn prepare(&self, mut line: Line) -> io::Result<Successor> {
        let hello: Hello = line.hear(PROMPT).await?;
        let word = |route: &Option<Arc<str>>| route.as_deref().map(str::to_owned);
        let (admin, for_operators) = self.admin.parts();
        let sockets = self.door.sockets();
        let (known, switches) = (self.roster().known(), self.roster().switches());
        let ordered = |known: &[Known]| known.iter().filter_map(Known::ordered).collect::<Vec<_>>();
        let before = ordered(&known);
        let state = State {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            sockets: sockets.parts().into_iter().map(Into::into).collect(),
            admin,
            backends: known.into_iter().map(Into::into).collect(),
            sticky_keys: self.random_keys(),
            switches: switches.iter().map(|(route, is_on)| (word(route), *is_on)).collect(),
            under_way: self.roster().under_way().into_iter().map(Into::into).collect(),
        };
        line.say(&state).await?;
        let mut descriptors = sockets.descriptors();
        descriptors.extend(for_operators);
        line.pass(&descriptors).await?;
        line.hear::<Ready>(PREPARE).await?;
        // It knows nothing of what was ordered since, and nobody would tell it.
        let pause = Pause::of(&self.exit);
        // What waits for a turn of its scaler is not in the journal, which the successor reads.
        let mut scalers = self.scalers.get().into_iter().flatten();
        if ordered(&self.roster().known()) != before
            || self.roster().switches() != switches
            || scalers.any(|scaler| scaler.desk.is_waited_at())
        {
            return Err(io::Error::other("an operator changed something meanwhile; repeat it"));
        }
        line.say(&Go {}).await?;
        let open: Open = line.hear(PROMPT).await?;
        pause.stays();
        Ok(Successor { hello, line, open })
    }

    /// Leaves the sockets to a process that accepts. What is under way here goes on until
    /// [`App::follow`].
    pub async fn leave(&mut self, successor: Successor) {
        let Successor { hello, line, open } = successor;
        self.exit.is_stopping.store(true, Ordering::Relaxed);
        self.take_no_orders();
        // Two that decide would each take what ebbs here for a crowd that leaves.
        self.scaling.shutdown().await;
        self.door.leave(&open.unwanted).await;
        self.admin.leave(open.has_unix);
        // If it has gone by now, it was in charge and is the service manager's to start again.
        self.successor.spawn(abreast::report(line, Arc::clone(self.roster())));
        tracing::info!(successor = hello.pid, version = hello.version, "handed_over");
    }

    /// Lets running requests end after a hand-over, and then ends everything, as [`App::stop`]. The
    /// successor hears of older processes through us, so theirs end first too.
    pub async fn follow(self, hurry: watch::Receiver<bool>) {
        let (begun, limit) = (Instant::now(), self.drain.hand_over);
        let others = async {
            while self.predecessor.as_ref().is_some_and(|it| !it.is_finished()) {
                tokio::time::sleep(REPORT).await;
            }
        };
        let mut hurried = hurry.clone();
        tokio::select! {
            () = others => {}
            () = too_long(limit, &mut hurried) => {}
        }
        self.finish(limit.saturating_sub(begun.elapsed()), hurry).await;
    }

    /// Keys that are written nowhere.
    fn random_keys(&self) -> Vec<(String, Vec<u8>)> {
        let snapshot = self.roster().snapshot();
        let random = snapshot.config.routes.iter().filter_map(|route| {
            let sticky = route.sticky.as_ref().filter(|sticky| sticky.is_key_random)?;
            Some((route.route.name.to_string(), sticky.key.to_vec()))
        });
        random.collect()
    }
}

/// Operators' orders are refused for as long as it is there: they would be lost with this process.
struct Pause<'a>(Option<&'a Exit>);

impl Pause<'_> {
    fn of(exit: &Exit) -> Pause<'_> {
        exit.takes_no_orders.store(true, Ordering::Relaxed);
        Pause(Some(exit))
    }

    /// There is a successor to take them.
    fn stays(mut self) {
        self.0 = None;
    }
}

impl Drop for Pause<'_> {
    fn drop(&mut self) {
        if let Some(exit) = self.0 {
            exit.takes_no_orders.store(false, Ordering::Relaxed);
        }
    }
}
