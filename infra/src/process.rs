//! Instances that are processes on this machine: the cloud that every computer has.
//!
//! Each instance runs a command of the configuration on a loopback address of its own. It is
//! launched, listed and terminated like a machine of a cloud, with a time to boot if one is
//! wanted, so that all that is true of a cloud can be tried on one computer; on-prem it starts
//! workers when they are needed.
//!
//! Like machines, instances outlive the program that launched them: a restarted Tidegate finds
//! them by their records in the state folder and goes on. They end when they are terminated, when
//! they crash, and with the computer.
//!
//! | what                                              | where       |
//! |---------------------------------------------------|-------------|
//! | the port, and its settings                        | here        |
//! | the one owner of all instances, a thread          | `keeper.rs` |
//! | their records on the disk                         | `record.rs` |
//! | processes: start, recognise, signal               | `child.rs`  |
//! | which address is next                             | `spec.rs`   |
//! | what they print, within bounds                    | `output.rs` |

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use async_trait::async_trait;
use ipnet::Ipv4Net;
use policies::backend::{BackendId, PoolName};
use scaler::ports::{Abilities, Instance, LaunchRequest, Offer, Provider, ProviderError, Purchase};
use tokio::sync::oneshot;

mod child;
mod keeper;
mod output;
mod record;
mod spec;
#[cfg(test)]
mod tests;

use keeper::{Ask, Keeper};
use spec::Spec;

/// For events, metrics and the journal.
const NAME: &str = "process";

/// How many one request may ask for; a hundred processes at once would fight for one disk.
const MAX_BATCH: u32 = 32;

/// Calls that wait for the thread. The scaler has one under way; more is a fault of ours.
const MAILBOX: usize = 16;

/// Starting a batch and writing it down takes milliseconds; a sick disk more.
const ANSWER: Duration = Duration::from_secs(10);

/// How long a launch is remembered, and with it that its token was used.
pub const TOKEN_LIFE: Duration = Duration::from_secs(24 * 3600);

/// `[pools.*.process]`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessSettings {
    /// The pool the instances are for.
    pub pool: PoolName,
    /// Program and arguments, at least the program. `{address}`, `{ip}`, `{port}`, `{id}` and
    /// `{pool}` are filled in.
    pub command: Vec<String>,
    /// Further variables of its environment.
    pub env: BTreeMap<String, String>,
    /// Each instance gets an address of its own, within 127.0.0.0/8.
    pub addresses: Ipv4Net,
    /// TCP port that it listens on.
    pub port: u16,
    /// From the launch to the start of the process.
    pub boot_delay: Duration,
    /// From SIGTERM to SIGKILL.
    pub grace: Duration,
    /// Where records and output lie; nobody else's.
    pub folder: PathBuf,
}

/// Launches local processes.
pub struct ProcessProvider {
    asks: Option<SyncSender<Ask>>,
    thread: Option<JoinHandle<()>>,
    abilities: Abilities,
}

impl ProcessProvider {
    /// Takes up the instances that are there already, and keeps them until it is dropped; they go
    /// on without it. A folder that cannot be used shows with the first call.
    ///
    /// # Errors
    ///
    /// The system has no more threads.
    pub fn start(settings: ProcessSettings) -> std::io::Result<ProcessProvider> {
        let abilities = abilities(&settings);
        let (asks, inbox) = sync_channel(MAILBOX);
        let keeper = Keeper::new(settings);
        let thread = thread::Builder::new().name("processes".to_owned());
        let thread = thread.spawn(move || keeper.run(&inbox))?;
        Ok(ProcessProvider { asks: Some(asks), thread: Some(thread), abilities })
    }

    async fn ask<T>(
        &self,
        action: &'static str,
        ask: impl FnOnce(oneshot::Sender<Result<T, ProviderError>>) -> Ask,
    ) -> Result<T, ProviderError> {
        let unclear = |why: &'static str| ProviderError::Unclear {
            provider: NAME,
            action,
            source: why.into(),
        };
        let (reply, answer) = oneshot::channel();
        let sent = self.asks.as_ref().map(|asks| asks.try_send(ask(reply)));
        match sent {
            Some(Ok(())) => answer.await.map_err(|_| unclear("its thread has ended"))?,
            Some(Err(TrySendError::Full(_))) => Err(unclear("too many calls wait already")),
            _ => Err(unclear("its thread has ended")),
        }
    }
}

#[async_trait]
impl Provider for ProcessProvider {
    fn abilities(&self) -> Abilities {
        self.abilities.clone()
    }

    /// Nothing is launched without the lock of the folder, which the first answer has taken.
    fn is_exclusive(&self) -> bool {
        true
    }

    async fn launch(&self, request: &LaunchRequest) -> Result<Vec<Instance>, ProviderError> {
        let request = Box::new(request.clone());
        self.ask("launch", |reply| Ask::Launch(request, reply)).await
    }

    async fn terminate(&self, instances: &[BackendId]) -> Result<(), ProviderError> {
        let ids = instances.to_vec();
        self.ask("terminate", |reply| Ask::Terminate(ids, reply)).await
    }

    async fn list(&self) -> Result<Vec<Instance>, ProviderError> {
        self.ask("list", Ask::List).await
    }
}

impl Drop for ProcessProvider {
    /// Waits for the thread, so that whoever comes next finds the folder free.
    fn drop(&mut self) {
        drop(self.asks.take());
        if let Some(thread) = self.thread.take() {
            // A panic of it was printed where it happened.
            let _ = thread.join();
        }
    }
}

fn abilities(settings: &ProcessSettings) -> Abilities {
    let spec = Spec::of(settings);
    let quota = u32::try_from(spec.hosts().count()).unwrap_or(u32::MAX);
    Abilities {
        provider: NAME,
        offers: vec![Offer { name: NAME.into(), spec: spec.to_text().into(), is_spot: false }],
        purchase: Purchase::default(),
        max_batch: MAX_BATCH.min(quota.max(1)),
        token_life: Some(TOKEN_LIFE),
        visible_within: Duration::ZERO,
        answer_within: ANSWER,
        quota: Some(quota),
        billing_step: None,
    }
}
