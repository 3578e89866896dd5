//! Making room for a process that takes over.
//!
//! Until it says that it accepts, nothing changes here, and whatever goes wrong is the end of its
//! connection and nothing else.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use balancer::roster::Known;

use super::App;
use crate::hand_over::{Go, Hello, Left, Line, Open, PROMPT, Ready, State};

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
        };
        line.say(&state).await?;
        let mut descriptors = sockets.descriptors();
        descriptors.extend(for_operators);
        line.pass(&descriptors).await?;
        line.hear::<Ready>(PREPARE).await?;
        // It knows nothing of what was ordered since, and nobody would tell it.
        if ordered(&self.roster().known()) != before || self.roster().switches() != switches {
            return Err(io::Error::other("an operator changed something meanwhile; repeat it"));
        }
        line.say(&Go {}).await?;
        let open: Open = line.hear(PROMPT).await?;
        Ok(Successor { hello, line, open })
    }

    /// Leaves the sockets to a process that accepts. What is under way here goes on until
    /// [`App::follow`].
    pub async fn leave(&mut self, successor: Successor) {
        let Successor { hello, mut line, open } = successor;
        self.is_stopping.store(true, Ordering::Relaxed);
        self.take_no_orders();
        // Two that decide would each take what ebbs here for a crowd that leaves.
        self.scaling.shutdown().await;
        self.door.leave(&open.unwanted).await;
        self.admin.leave(open.has_unix);
        // If it has gone by now, it was in charge and is the service manager's to start again.
        let _ = line.say(&Left {}).await;
        self.successor = Some(line);
        tracing::info!(successor = hello.pid, version = hello.version, "handed_over");
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
