//! Calls to a provider, under way beside the loop: bounded in number and in time.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use policies::backend::BackendId;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::look::{Fact, Failure, FailureKind};
use crate::ports::{LaunchRequest, Provider, ProviderError};

/// Calls under way at once; the controller keeps well below.
const MOST: usize = 16;

/// A disk that has not answered by then takes nothing.
const DISK: Duration = Duration::from_secs(3);

/// The calls of one life of a loop. Dropped with it: a call that is cut off is unclear, and the
/// next life asks again.
pub(super) struct Calls {
    provider: Arc<dyn Provider>,
    patience: Duration,
    tasks: JoinSet<()>,
    results: mpsc::Sender<Fact>,
    facts: mpsc::Receiver<Fact>,
    refused: Vec<Fact>,
}

impl Calls {
    /// To this provider, each for as long as `patience` at most.
    pub(super) fn new(provider: Arc<dyn Provider>, patience: Duration) -> Calls {
        let (results, facts) = mpsc::channel(MOST);
        Calls { provider, patience, tasks: JoinSet::new(), results, facts, refused: Vec::new() }
    }

    /// What has come back since the last time.
    pub(super) fn facts(&mut self) -> Vec<Fact> {
        while self.tasks.try_join_next().is_some() {}
        let mut facts = std::mem::take(&mut self.refused);
        while let Ok(fact) = self.facts.try_recv() {
            facts.push(fact);
        }
        facts
    }

    /// Once the record of a new launch is `written`. If the disk takes nothing it goes out all the
    /// same: it is found by its mark.
    pub(super) fn launch(
        &mut self,
        request: LaunchRequest,
        written: Option<watch::Receiver<bool>>,
    ) {
        let (provider, patience) = (Arc::clone(&self.provider), self.patience);
        let token = request.token();
        self.start(move |failure| Fact::Launched { token, result: Err(failure) }, async move {
            if let Some(mut written) = written {
                let _ = timeout(DISK, written.wait_for(|written| *written)).await;
            }
            let result = answer(patience, provider.launch(&request)).await;
            Fact::Launched { token, result }
        });
    }

    pub(super) fn terminate(&mut self, ids: Vec<BackendId>) {
        let (provider, patience) = (Arc::clone(&self.provider), self.patience);
        let unasked = ids.clone();
        self.start(
            move |failure| Fact::Terminated { ids: unasked, result: Err(failure) },
            async move {
                let result = answer(patience, provider.terminate(&ids)).await;
                Fact::Terminated { ids, result }
            },
        );
    }

    pub(super) fn list(&mut self, asked: Duration) {
        let (provider, patience) = (Arc::clone(&self.provider), self.patience);
        self.start(move |failure| Fact::Listed { asked, result: Err(failure) }, async move {
            let result = answer(patience, provider.list()).await;
            Fact::Listed { asked, result }
        });
    }

    fn start(
        &mut self,
        refused: impl FnOnce(Failure) -> Fact,
        call: impl Future<Output = Fact> + Send + 'static,
    ) {
        if self.tasks.len() >= MOST {
            let text = "too many calls are under way".to_owned();
            let failure = Failure { kind: FailureKind::Throttled, retry_after: None, text };
            self.refused.push(refused(failure));
            return;
        }
        let results = self.results.clone();
        self.tasks.spawn(async move {
            // Fails only when nobody wants to know any more.
            let _ = results.send(call.await).await;
        });
    }
}

/// The answer, or that there was none in time: then nobody knows.
async fn answer<T>(
    patience: Duration,
    call: impl Future<Output = Result<T, ProviderError>>,
) -> Result<T, Failure> {
    match timeout(patience, call).await {
        Ok(result) => result.map_err(|error| Failure::from(&error)),
        Err(_) => {
            let text = format!("no answer within {} s", patience.as_secs());
            Err(Failure { kind: FailureKind::Unclear, retry_after: None, text })
        }
    }
}
