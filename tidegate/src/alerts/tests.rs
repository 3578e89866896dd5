//! From the ring to a sink that notes what it is told.

use std::sync::Mutex;

use async_trait::async_trait;
use scaler::ports::{Severity, State};

use super::*;
use crate::config::AlertRule;

/// Fails so often before it takes anything.
struct Diary {
    failures: Mutex<u32>,
    told: mpsc::UnboundedSender<Message>,
    is_final: bool,
}

#[async_trait]
impl Notifier for Diary {
    fn name(&self) -> &'static str {
        "diary"
    }

    async fn tell(&self, message: &Message) -> Result<(), NotifyError> {
        if self.is_final {
            return Err(NotifyError::Never { notifier: "diary", reason: "no".into() });
        }
        let mut failures = self.failures.lock().unwrap();
        if *failures > 0 {
            *failures -= 1;
            return Err(NotifyError::Later { notifier: "diary", source: "not now".into() });
        }
        self.told.send(message.clone()).unwrap();
        Ok(())
    }
}

fn config() -> AlertsConfig {
    let rule = |when: &str, severity, to: &[usize]| AlertRule {
        when: vec![when.to_owned()],
        severity,
        to: to.to_vec(),
    };
    AlertsConfig {
        dedup_window: Duration::from_secs(300),
        repeat_every: None,
        send_resolved: true,
        group_wait: Duration::ZERO,
        group_by: Vec::new(),
        redact: Vec::new(),
        sinks: Vec::new(),
        rules: vec![
            rule("backend_ejected", Severity::Warning, &[0]),
            rule("backend_ejected", Severity::Critical, &[0]),
            rule("alert_lost", Severity::Critical, &[0]),
        ],
    }
}

const RETRY: RetryConfig =
    RetryConfig { max: 3, shortest: Duration::from_secs(1), longest: Duration::from_secs(2) };

fn start(failures: u32, is_final: bool) -> (Arc<EventRing>, mpsc::UnboundedReceiver<Message>) {
    let events = EventRing::new();
    let (told, heard) = mpsc::unbounded_channel();
    let diary = Arc::new(Diary { failures: Mutex::new(failures), told, is_final });
    let sink = Sink { name: "people".to_owned(), retry: RETRY, is_record: false, notifier: diary };
    tokio::spawn(run(config(), "kg".into(), Arc::clone(&events), vec![sink]));
    (events, heard)
}

fn event(kind: &str, pool: &str) -> Event {
    let at = "2026-11-21T10:00:00.000Z".to_owned();
    Event { event: kind.to_owned(), at, pool: Some(pool.to_owned()), ..Event::default() }
}

#[tokio::test(start_paused = true)]
async fn an_event_that_a_rule_names_is_told_once_and_as_the_worst_rule_says() {
    let (events, mut heard) = start(0, false);
    events.push(event("backend_joined", "app"));
    for _ in 0..5 {
        events.push(event("backend_ejected", "app"));
    }
    events.push(event("backend_ejected", "cloud"));
    let first = heard.recv().await.unwrap();
    assert_eq!((first.severity, &*first.key), (Severity::Critical, "kg/app/backend_ejected"));
    let second = heard.recv().await.unwrap();
    assert_eq!(&*second.key, "kg/cloud/backend_ejected");

    tokio::time::advance(Duration::from_secs(301)).await;
    events.push(event("backend_ejected", "app"));
    let again = heard.recv().await.unwrap();
    assert_eq!(again.sequence, first.sequence + 1);
    assert!(again.text.contains("held_back: 4"), "{}", again.text);
    assert!(heard.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_fails_for_a_while_gets_it_later() {
    let (events, mut heard) = start(3, false);
    let began = Instant::now();
    events.push(event("backend_ejected", "app"));
    heard.recv().await.unwrap();
    assert_eq!(began.elapsed().as_secs(), 1 + 2 + 2);
}

#[tokio::test(start_paused = true)]
async fn one_that_always_fails_holds_up_nothing_behind_it() {
    let (events, mut heard) = start(4, false);
    events.push(event("backend_ejected", "app"));
    events.push(event("backend_ejected", "cloud"));
    let told = heard.recv().await.unwrap();
    assert_eq!(&*told.key, "kg/cloud/backend_ejected", "the first is lost after four tries");
}

#[tokio::test(start_paused = true)]
async fn alerts_about_alerts_are_not_told() {
    let (events, mut heard) = start(0, false);
    events.push(event("alert_lost", "app"));
    events.push(event("backend_ejected", "app"));
    assert_eq!(&*heard.recv().await.unwrap().kind, "backend_ejected");
}

#[tokio::test(start_paused = true)]
async fn who_heard_of_something_hears_that_it_is_over_and_as_urgently() {
    let (events, mut heard) = start(0, false);
    events.push(event("backend_readmitted", "app"));
    events.push(event("backend_ejected", "app"));
    events.push(event("backend_readmitted", "cloud"));
    events.push(event("backend_readmitted", "app"));
    let fired = heard.recv().await.unwrap();
    let resolved = heard.recv().await.unwrap();
    assert_eq!((fired.state, resolved.state), (State::Fired, State::Resolved));
    assert_eq!((&fired.key, fired.severity), (&resolved.key, resolved.severity));
    assert_eq!((fired.sequence + 1, &*resolved.kind), (resolved.sequence, "backend_ejected"));
    events.push(event("backend_readmitted", "app"));
    tokio::time::advance(Duration::from_secs(1_000)).await;
    assert!(heard.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn what_came_back_within_its_window_is_told_when_that_is_over() {
    let (events, mut heard) = start(0, false);
    let began = Instant::now();
    for kind in ["backend_ejected", "backend_readmitted", "backend_ejected"] {
        events.push(event(kind, "app"));
    }
    let mut states = Vec::new();
    for _ in 0..3 {
        states.push(heard.recv().await.unwrap().state);
    }
    assert_eq!(states, [State::Fired, State::Resolved, State::Fired]);
    assert_eq!(began.elapsed().as_secs(), 300, "and nothing had to come for that");
}
