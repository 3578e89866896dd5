//! Who tells others of what happens here: alerts, and figures for CloudWatch.
//!
//! They have a thread and a runtime of their own. To read the machine's certificates and to greet by
//! TLS keeps a thread for milliseconds to hundreds of them, and health checks do not wait for that. A
//! door that tells nobody has no such thread.

use std::sync::Arc;
use std::time::Duration;
use std::{io, thread};

use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use crate::admin::Source;
use crate::config::{AlertsConfig, CloudWatchConfig, Config};
use crate::telemetry::events::EventRing;
use crate::{alerts, cloudwatch};

/// For the end of what is under way; it may be loading certificates, and does not hear then.
const END: Duration = Duration::from_secs(1);

/// A thread that waits for something to tell, or tells it, until this is dropped.
pub(super) struct Tellers {
    give: Option<oneshot::Sender<Given>>,
    stop: oneshot::Sender<()>,
    ended: oneshot::Receiver<()>,
}

/// What is told of.
struct Given {
    source: Arc<dyn Source>,
    events: Arc<EventRing>,
}

/// What the configuration wants to be told.
struct Wishes {
    site: Arc<str>,
    alerts: AlertsConfig,
    cloudwatch: Option<CloudWatchConfig>,
}

impl Tellers {
    /// None, if nobody is to be told of anything.
    ///
    /// # Errors
    ///
    /// The system has no more threads or descriptors.
    pub(super) fn prepare(config: &Config) -> io::Result<Option<Tellers>> {
        let wishes = Wishes {
            site: config.site.name.as_str().into(),
            alerts: config.alerts.clone(),
            cloudwatch: config.observe.cloudwatch.clone(),
        };
        if wishes.alerts.sinks.is_empty() && wishes.cloudwatch.is_none() {
            return Ok(None);
        }
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (give, given) = oneshot::channel();
        let (stop, stopped) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let run = move || {
            tell(&runtime, wishes, given, stopped);
            // Names that are looked up may take their time without us.
            runtime.shutdown_background();
            drop(end);
        };
        thread::Builder::new().name("tellers".to_owned()).spawn(run)?;
        Ok(Some(Tellers { give: Some(give), stop, ended }))
    }

    /// Everything from here on may be late, or fail for ever, without anybody else noticing.
    pub(super) fn start(&mut self, source: Arc<dyn Source>, events: Arc<EventRing>) {
        if let Some(give) = self.give.take() {
            // Fails only if the thread has panicked, which has been said.
            let _ = give.send(Given { source, events });
        }
    }

    /// Ends what is under way.
    pub(super) async fn stop(self) {
        drop(self.stop);
        let _ = tokio::time::timeout(END, self.ended).await;
    }
}

fn tell(
    runtime: &Runtime,
    wishes: Wishes,
    given: oneshot::Receiver<Given>,
    stopped: oneshot::Receiver<()>,
) {
    let work = async {
        let Ok(Given { source, events }) = given.await else { return };
        let sinks = alerts::sinks(&wishes.alerts);
        let alerts = alerts::run(wishes.alerts, wishes.site, events, sinks);
        let figures = async {
            if let Some(config) = wishes.cloudwatch {
                cloudwatch::run(config, source).await;
            }
        };
        tokio::join!(alerts, figures);
    };
    runtime.block_on(async {
        tokio::select! {
            () = work => {}
            _ = stopped => {}
        }
    });
}
