//! Who is told: events that a rule names become messages, and messages go to sinks.
//!
//! ```text
//! ring of events ─► rules ─► the same again, or its end? ─► a queue per sink ─► program or topic
//! ```
//!
//! Nothing waits for a sink: the ring is bounded, and so is each queue; what does not fit is counted
//! and said. A sink tries again for some minutes. What is still not delivered when the program ends
//! is lost, but for the events themselves, which are in the log.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use infra::aws::sns::SnsNotifier;
use infra::exec::notifier::ExecNotifier;
use jiff::Timestamp;
use scaler::ports::{Message, Notifier, NotifyError, Severity};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::config::{AlertsConfig, RetryConfig, SinkConfig, SinkWay};
use crate::telemetry::events::{Event, EventRing};
use conditions::{Conditions, Manner, Say};
use group::Grouping;

mod catalogue;
mod conditions;
mod group;
mod message;

/// Messages that wait for one sink.
const QUEUE: usize = 1_000;

/// Events taken at once.
const BATCH: usize = 64;

/// Events about alerts are none: a sink that fails would have ever more to tell.
const OWN: &str = "alert_";

/// A sink and who stands behind it.
pub struct Sink {
    /// `[alerts.sinks.NAME]`
    pub name: String,
    /// What happens when it does not take a message.
    pub retry: RetryConfig,
    /// Messages to people may be merged; a record has every one.
    pub is_record: bool,
    /// Takes messages.
    pub notifier: Arc<dyn Notifier>,
}

/// The sinks of a configuration; none of them has done anything yet.
pub fn sinks(config: &AlertsConfig) -> Vec<Sink> {
    let sink = |sink: &SinkConfig| {
        let notifier: Arc<dyn Notifier> = match &sink.way {
            SinkWay::Exec(settings) => Arc::new(ExecNotifier::new(settings.clone())),
            SinkWay::Sns(settings) => Arc::new(SnsNotifier::new(settings.clone())),
        };
        let is_record = matches!(&sink.way, SinkWay::Sns(settings) if settings.topic.is_ordered());
        Sink { name: sink.name.clone(), retry: sink.retry, is_record, notifier }
    };
    config.sinks.iter().map(sink).collect()
}

/// The same for configurations that tell the same, without what they say.
pub fn summary(config: &AlertsConfig) -> String {
    let hash = policies::rng::hash(format!("{config:?}").as_bytes()) >> 32;
    format!("{} sinks, {} rules, {hash:08x}", config.sinks.len(), config.rules.len())
}

/// Tells of events until it is dropped, from those on that are in the ring already.
pub async fn run(config: AlertsConfig, site: Arc<str>, events: Arc<EventRing>, sinks: Vec<Sink>) {
    if sinks.is_empty() || config.rules.is_empty() {
        return;
    }
    // The set cancels its tasks when it is dropped, so they end with this future.
    let mut tasks = JoinSet::new();
    let mut queues = Vec::new();
    for sink in sinks {
        let (send, queue) = mpsc::channel(QUEUE);
        queues.push((sink.name.clone(), send));
        let wait = if sink.is_record { Duration::ZERO } else { config.group_wait };
        let grouping = Grouping { wait, by: config.group_by.clone() };
        tasks.spawn(deliver(sink, grouping, queue));
    }
    let mut desk = Desk::new(config, site, queues);
    let mut last = events.last();
    let mut next = 0;
    loop {
        let found = events.since(next, BATCH);
        if found.missed > 0 {
            tracing::warn!(missed = found.missed, "alert_events_missed");
        }
        next = found.next;
        for event in &found.events {
            desk.take(event);
        }
        desk.remind();
        if found.events.is_empty() {
            let due = desk.conditions.next_due();
            tokio::select! {
                changed = last.changed() => if changed.is_err() { return },
                () = until(due) => {}
            }
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// An event that people were told of, or are to be.
#[derive(Clone)]
struct Matter {
    event: Event,
    severity: Severity,
    /// Places in the list of sinks.
    to: Vec<usize>,
}

/// Where events become messages.
struct Desk {
    config: AlertsConfig,
    site: Arc<str>,
    queues: Vec<(String, mpsc::Sender<Arc<Message>>)>,
    conditions: Conditions<Matter>,
    sequences: BTreeMap<Option<String>, u64>,
    /// First number of a pool. By the clock, so that no life of the program repeats the numbers of
    /// the one before: an ordered topic drops what has the number of an earlier message.
    first: u64,
}

impl Desk {
    fn new(
        config: AlertsConfig,
        site: Arc<str>,
        queues: Vec<(String, mpsc::Sender<Arc<Message>>)>,
    ) -> Desk {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let conditions = Conditions::new(Manner {
            window: config.dedup_window,
            repeat: config.repeat_every,
            is_end_told: config.send_resolved,
        });
        Desk { config, site, queues, conditions, sequences: BTreeMap::new(), first: now.as_secs() }
    }

    fn take(&mut self, event: &Event) {
        if event.event.starts_with(OWN) {
            return;
        }
        let at = event.at.parse().unwrap_or(Timestamp::UNIX_EPOCH);
        for kind in catalogue::ended_by(&event.event) {
            let key = message::key(&self.site, event, kind);
            if let Some((say, was)) = self.conditions.ended(&key) {
                self.tell(key, say, &was, at);
            }
        }
        let Some(matter) = self.matter(event) else { return };
        let key = message::key(&self.site, event, &event.event);
        let has_end = catalogue::text(&event.event).is_some_and(|text| !text.ends.is_empty());
        let lasts = has_end.then(|| matter.clone());
        if let Some(say) = self.conditions.came(&key, lasts, Instant::now()) {
            self.tell(key, say, &matter, at);
        }
    }

    /// Tells what lasts and is to be told again.
    fn remind(&mut self) {
        for (key, say, matter) in self.conditions.due(Instant::now()) {
            self.tell(key, say, &matter, Timestamp::now());
        }
    }

    /// What the rules make of it; nothing if none names it.
    fn matter(&self, event: &Event) -> Option<Matter> {
        let rules = self.config.rules.iter();
        let rules: Vec<_> = rules.filter(|rule| rule.when.contains(&event.event)).collect();
        let severity = rules.iter().map(|rule| rule.severity).max()?;
        let mut to: Vec<usize> = rules.iter().flat_map(|rule| rule.to.iter().copied()).collect();
        to.sort_unstable();
        to.dedup();
        Some(Matter { event: event.clone(), severity, to })
    }

    fn tell(&mut self, key: String, say: Say, matter: &Matter, at: Timestamp) {
        let Matter { event, severity, to } = matter;
        let sequence = self.sequences.entry(event.pool.clone()).or_insert(self.first);
        *sequence += 1;
        let told = message::Told { key, say, at, severity: *severity, sequence: *sequence };
        let message = Arc::new(message::of(&self.site, event, told, &self.config.redact));
        for (name, queue) in to.iter().filter_map(|sink| self.queues.get(*sink)) {
            if queue.try_send(Arc::clone(&message)).is_err() {
                let reason = "too many wait already";
                tracing::error!(sink = %name, key = %message.key, reason, "alert_lost");
            }
        }
    }
}

/// Delivers what is in the queue, one after the other, each until it is taken or refused.
async fn deliver(sink: Sink, grouping: Grouping, mut queue: mpsc::Receiver<Arc<Message>>) {
    loop {
        let messages = match grouping.wait.is_zero() {
            true => queue.recv().await.into_iter().collect(),
            false => group::collect(&mut queue, &grouping).await,
        };
        if messages.is_empty() {
            return;
        }
        let Sink { name, retry, notifier, .. } = &sink;
        for message in messages {
            match tell(name, *retry, &**notifier, &message).await {
                Ok(()) => {
                    let (kind, key) = (&message.kind, &message.key);
                    tracing::info!(sink = %name, %kind, %key, "alert_sent");
                }
                Err(reason) => {
                    tracing::error!(sink = %name, key = %message.key, reason, "alert_lost");
                }
            }
        }
    }
}

async fn tell(
    name: &str,
    retry: RetryConfig,
    notifier: &dyn Notifier,
    message: &Message,
) -> Result<(), String> {
    let mut pause = retry.shortest;
    let mut tries = 0;
    loop {
        let error = match notifier.tell(message).await {
            Ok(()) => return Ok(()),
            Err(NotifyError::Never { reason, .. }) => return Err(reason),
            Err(NotifyError::Later { source, .. }) => source.to_string(),
        };
        if tries == retry.max {
            return Err(error);
        }
        if tries == 0 {
            tracing::warn!(sink = %name, key = %message.key, error, "alert_delayed");
        }
        tries += 1;
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(retry.longest);
    }
}

#[cfg(test)]
mod tests;
