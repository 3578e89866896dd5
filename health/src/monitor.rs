//! Repeats probes for all targets and reports each change of verdict.
//!
//! One task per target, and above them one supervisor that follows the list: what left is
//! stopped (and its end awaited, so that a target never has two probes under way), what came is
//! started. A target that stays as it is keeps its judge and its rhythm, whatever happens to
//! the rest of the list; one of which only the configuration changes keeps its verdict.

mod target;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use policies::backend::BackendKey;
use policies::health::Verdict;
use policies::rng::{Rng, hash};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use target::Reports;
pub use target::{Pulse, Report, Target};

/// Asks every target of a list, until it is stopped or dropped.
#[derive(Debug)]
pub struct Monitor {
    /// Taken by [`Monitor::stop`].
    stop: Option<oneshot::Sender<()>>,
    supervisor: JoinHandle<()>,
}

impl Monitor {
    /// Starts to ask `targets`, also those that appear later in the channel.
    ///
    /// `reports` gets the first verdict of each target and every change after it; while it is
    /// full, the targets that have something to say wait and are not asked. Each target's dice
    /// come from `seed` and its key, so another target does not move its rhythm.
    ///
    /// Ends by itself when the sender of `targets` is gone. Must be called in a tokio runtime
    /// with IO and time. Where two targets of a list have the same key, the last one counts.
    pub fn start(
        targets: watch::Receiver<Arc<[Target]>>,
        reports: mpsc::Sender<Report>,
        seed: u64,
    ) -> Monitor {
        Monitor::start_knowing(targets, reports, seed, HashMap::new())
    }

    /// The same, where somebody else has asked before: a target that is in the first list at the
    /// address of its `known` verdict has it already, and falls or rises only as one of ours does.
    pub fn start_knowing(
        targets: watch::Receiver<Arc<[Target]>>,
        reports: mpsc::Sender<Report>,
        seed: u64,
        known: HashMap<BackendKey, (SocketAddr, Verdict)>,
    ) -> Monitor {
        let (stop, stopped) = oneshot::channel();
        let supervisor = Supervisor { reports, seed, asking: HashMap::new(), known };
        let supervisor = tokio::spawn(supervisor.run(targets, stopped));
        Monitor { stop: Some(stop), supervisor }
    }

    /// Ends all probes and returns when the last of them has ended. Dropping the monitor ends
    /// them too, but does not wait.
    pub async fn stop(mut self) {
        drop(self.stop.take());
        // It can only end or have been cancelled by the runtime, and then all is over as well.
        let _ = (&mut self.supervisor).await;
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.supervisor.abort();
    }
}

struct Supervisor {
    reports: mpsc::Sender<Report>,
    seed: u64,
    asking: HashMap<BackendKey, Asking>,
    /// From others, until the first list has been taken in.
    known: HashMap<BackendKey, (SocketAddr, Verdict)>,
}

/// A target and the task that asks it. The task ends with this value.
struct Asking {
    target: Target,
    /// The last verdict that went into the reports.
    reported: watch::Receiver<Verdict>,
    task: JoinHandle<()>,
}

impl Supervisor {
    async fn run(
        mut self,
        mut targets: watch::Receiver<Arc<[Target]>>,
        mut stopped: oneshot::Receiver<()>,
    ) {
        loop {
            let list = Arc::clone(&targets.borrow_and_update());
            self.follow(&list).await;
            tokio::select! {
                changed = targets.changed() => if changed.is_err() { break },
                _ = &mut stopped => break,
            }
        }
        self.follow(&[]).await;
    }

    /// Makes the running tasks those of `list`.
    async fn follow(&mut self, list: &[Target]) {
        let wanted: HashMap<&BackendKey, &Target> = list.iter().map(|t| (&t.key, t)).collect();
        let mut left: HashMap<BackendKey, Asking> = self
            .asking
            .extract_if(|key, asking| wanted.get(key) != Some(&&asking.target))
            .collect();
        end(&mut left).await;
        for (key, target) in wanted {
            if !self.asking.contains_key(key) {
                let told = self.known.get(key).filter(|(address, _)| *address == target.address);
                let known = match left.get(key) {
                    Some(was) => was.known_of(target),
                    None => told.map_or(Verdict::Unknown, |(_, verdict)| *verdict),
                };
                self.asking.insert(key.clone(), self.start(target, known));
            }
        }
        self.known.clear();
    }

    fn start(&self, target: &Target, known: Verdict) -> Asking {
        let rng = Rng::new(self.seed ^ hash(target.key.to_string().as_bytes()));
        let (sender, reported) = watch::channel(known);
        let reports = Reports { all: self.reports.clone(), last: sender };
        let task = tokio::spawn(target::ask(target.clone(), reports, rng));
        Asking { target: target.clone(), reported, task }
    }
}

impl Asking {
    /// What is known already of `next`, which replaces this target: nothing at another
    /// address or in another epoch.
    fn known_of(&self, next: &Target) -> Verdict {
        if next.address == self.target.address && next.epoch == self.target.epoch {
            *self.reported.borrow()
        } else {
            Verdict::Unknown
        }
    }
}

/// Cancels all of them first, then waits for each: none of them resists for longer than a poll.
async fn end(left: &mut HashMap<BackendKey, Asking>) {
    for asking in left.values() {
        asking.task.abort();
    }
    for asking in left.values_mut() {
        let _ = (&mut asking.task).await;
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests;
