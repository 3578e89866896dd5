//! The monitor against backends that answer, fail, fall silent, move and leave.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use policies::backend::{BackendId, PoolName};
use policies::health::Verdict;
use tokio::time::{Instant, timeout};

use super::*;
use crate::config::{HealthConfig, ProbeKind};
use crate::test_backend::{Answer, CEILING, TestBackend};

/// A monitor with its two channels.
struct Watched {
    monitor: Monitor,
    targets: watch::Sender<Arc<[Target]>>,
    reports: mpsc::Receiver<Report>,
}

impl Watched {
    fn start(targets: &[Target]) -> Watched {
        let (targets, list) = watch::channel(targets.into());
        let (sender, reports) = mpsc::channel(16);
        Watched { monitor: Monitor::start(list, sender, 7), targets, reports }
    }

    async fn report(&mut self) -> Report {
        timeout(CEILING, self.reports.recv()).await.expect("reported in time").unwrap()
    }
}

fn config() -> HealthConfig {
    HealthConfig {
        probe: ProbeKind::Tcp,
        port: None,
        interval: Duration::from_millis(20),
        jitter_percent: 20,
        timeout: Duration::from_secs(5),
        healthy_after: 2,
        unhealthy_after: 3,
    }
}

fn http(body_contains: Option<&str>) -> HealthConfig {
    let status = vec![(200, 299)];
    let body_contains = body_contains.map(Into::into);
    let probe = ProbeKind::Http { path: "/".into(), host: None, status, body_contains };
    HealthConfig { probe, ..config() }
}

fn target(name: &str, address: SocketAddr, config: HealthConfig) -> Target {
    let key = BackendKey { pool: PoolName("app".into()), backend: BackendId(name.into()) };
    Target { key, address, epoch: 0, config: Arc::new(config), pulse: Arc::default() }
}

/// What the kernel accepts in its place: enough for a TCP probe, and at once also under a
/// paused clock.
fn listen(address: &str) -> std::net::TcpListener {
    std::net::TcpListener::bind(address).unwrap()
}

#[tokio::test]
async fn a_new_target_is_asked_soon_and_healthy_after_its_first_pass() {
    let backend = TestBackend::start(Answer::status(200, "")).await;
    let hourly = HealthConfig { interval: Duration::from_secs(3600), ..http(None) };
    let mut watched = Watched::start(&[target("one", backend.address, hourly)]);

    let report = watched.report().await;
    assert_eq!((report.verdict, report.reason), (Verdict::Healthy, None));
    assert_eq!(report.address, backend.address);
}

#[tokio::test]
async fn a_verdict_falls_with_its_reason_and_rises_again() {
    let backend = TestBackend::start(Answer::status(200, "fine")).await;
    let mut watched = Watched::start(&[target("one", backend.address, http(Some("fine")))]);
    assert_eq!(watched.report().await.verdict, Verdict::Healthy);

    for (answer, reason) in [
        (Answer::status(503, "fine"), "answered status `503`"),
        (Answer::status(200, "lost"), "the first 64 KiB of the body lack"),
        (Answer::Close, "the answer is not valid HTTP/1.1"),
    ] {
        backend.now_answers(answer);
        let report = watched.report().await;
        assert_eq!(report.verdict, Verdict::Unhealthy);
        assert!(report.reason.as_ref().unwrap().starts_with(reason), "{report:?}");

        backend.now_answers(Answer::status(200, "fine"));
        assert_eq!(watched.report().await.verdict, Verdict::Healthy);
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_backend_falls_by_its_timeouts_and_another_port_can_be_asked() {
    let silent = TestBackend::start(Answer::Silence).await;
    let config = HealthConfig {
        port: Some(silent.address.port()),
        timeout: Duration::from_secs(1),
        ..http(None)
    };
    let mut watched = Watched::start(&[target("one", "127.0.0.1:1".parse().unwrap(), config)]);

    let report = watched.report().await;
    assert_eq!(report.verdict, Verdict::Unhealthy);
    assert_eq!(report.address.port(), 1, "reports name the backend, not what was asked");
    assert!(report.reason.as_ref().unwrap().starts_with("no answer head"), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn the_pace_is_the_interval_half_of_it_while_unhealthy_and_a_quarter_second_while_deciding() {
    let port = listen("127.0.0.1:0");
    let address = port.local_addr().unwrap();
    let config = HealthConfig { interval: Duration::from_secs(4), ..config() };
    let mut watched = Watched::start(&[target("one", address, config)]);

    let start = Instant::now();
    assert_eq!(watched.report().await.verdict, Verdict::Healthy);
    let first = Instant::now();
    assert!(first - start <= Duration::from_millis(210), "{:?}", first - start);

    drop(port);
    assert_eq!(watched.report().await.verdict, Verdict::Unhealthy);
    let fell = Instant::now();
    let range = Duration::from_millis(3_690)..Duration::from_millis(5_320);
    assert!(range.contains(&(fell - first)), "3.2 to 4.8 s and two quarters: {:?}", fell - first);

    let _port = listen(&address.to_string());
    assert_eq!(watched.report().await.verdict, Verdict::Healthy);
    let range = Duration::from_millis(1_840)..Duration::from_millis(2_670);
    assert!(range.contains(&fell.elapsed()), "1.6 to 2.4 s and a quarter: {:?}", fell.elapsed());
}

/// With what the configuration ships; whenever between two checks it falls silent.
#[tokio::test(start_paused = true)]
async fn a_backend_that_falls_silent_is_out_within_three_seconds() {
    let shipped = HealthConfig {
        interval: Duration::from_secs(1),
        timeout: Duration::from_millis(500),
        ..http(None)
    };
    for after_ms in [0, 100, 300, 500, 700, 799] {
        let backend = TestBackend::start(Answer::status(200, "")).await;
        let mut watched = Watched::start(&[target("one", backend.address, shipped.clone())]);
        assert_eq!(watched.report().await.verdict, Verdict::Healthy);
        tokio::time::sleep(Duration::from_millis(after_ms)).await;
        backend.now_answers(Answer::Silence);
        let silent = Instant::now();
        assert_eq!(watched.report().await.verdict, Verdict::Unhealthy);
        assert!(silent.elapsed() < Duration::from_secs(3), "{:?}", silent.elapsed());
    }
}

#[tokio::test]
async fn a_target_that_stays_keeps_its_rhythm_and_one_that_left_is_not_asked() {
    let mut backends = Vec::new();
    let mut targets = Vec::new();
    for (name, interval) in [("stays", 3_600_000), ("leaves", 20), ("comes", 20)] {
        let backend = TestBackend::start(Answer::status(200, "")).await;
        let config = HealthConfig { interval: Duration::from_millis(interval), ..http(None) };
        targets.push(target(name, backend.address, config));
        backends.push(backend);
    }
    let mut watched = Watched::start(&targets[..2]);
    watched.report().await;
    watched.report().await;

    targets.remove(1);
    watched.targets.send_replace(targets.as_slice().into());
    assert_eq!(watched.report().await.key, targets[1].key, "only the new one has news");

    for backend in &mut backends {
        backend.forget_what_was_asked();
    }
    for _ in 0..20 {
        backends[2].asked().await;
    }
    assert!(!backends[0].was_asked(), "its hour is not over");
    assert!(!backends[1].was_asked(), "it has left");
    assert!(watched.reports.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_change_of_configuration_alone_keeps_the_verdict() {
    let port = listen("127.0.0.1:0");
    let address = port.local_addr().unwrap();
    let mut watched = Watched::start(&[target("one", address, config())]);
    assert_eq!(watched.report().await.verdict, Verdict::Healthy);

    drop(port);
    let patient = HealthConfig { unhealthy_after: 5, ..config() };
    watched.targets.send_replace([target("one", address, patient)].into());
    let changed = Instant::now();
    assert_eq!(watched.report().await.verdict, Verdict::Unhealthy);
    let least = Duration::from_millis(4 * 20);
    assert!(changed.elapsed() >= least, "one failure was enough: {:?}", changed.elapsed());
}

#[tokio::test]
async fn a_target_of_another_epoch_is_new_although_all_else_is_the_same() {
    let port = listen("127.0.0.1:0");
    let mut target = target("one", port.local_addr().unwrap(), config());
    let mut watched = Watched::start(&[]);
    for epoch in [3, 5] {
        target.epoch = epoch;
        watched.targets.send_replace([target.clone()].into());
        let report = watched.report().await;
        assert_eq!((report.verdict, report.epoch), (Verdict::Healthy, epoch));
    }
}

#[tokio::test]
async fn a_target_that_moves_is_asked_and_reported_at_its_new_address() {
    let mut watched = Watched::start(&[]);
    let (old, new) = (listen("127.0.0.1:0"), listen("127.0.0.1:0"));
    for listener in [&old, &new] {
        let address = listener.local_addr().unwrap();
        watched.targets.send_replace([target("one", address, config())].into());
        let report = watched.report().await;
        assert_eq!((report.verdict, report.address), (Verdict::Healthy, address));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_joins_all_tasks_and_so_does_the_end_of_the_list() {
    for by_call in [true, false] {
        let mut silent = TestBackend::start(Answer::Silence).await;
        let Watched { monitor, targets, mut reports } =
            Watched::start(&[target("one", silent.address, http(None))]);
        silent.asked().await;
        if by_call {
            monitor.stop().await;
            assert!(reports.is_closed() && reports.try_recv().is_err(), "a task is left");
        } else {
            drop(targets);
            assert_eq!(timeout(CEILING, reports.recv()).await.unwrap(), None);
        }
    }
}

#[tokio::test]
async fn dropping_the_monitor_ends_its_tasks() {
    let mut silent = TestBackend::start(Answer::Silence).await;
    let Watched { monitor, targets: _targets, mut reports } =
        Watched::start(&[target("one", silent.address, http(None))]);
    silent.asked().await;
    drop(monitor);
    assert_eq!(timeout(CEILING, reports.recv()).await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn probes_are_counted_and_one_that_we_slept_through_is_void() {
    let counts = Counts::default();
    let _installed = metrics::set_default_local_recorder(&counts);
    let silent = listen("127.0.0.1:0");
    let config = HealthConfig { timeout: Duration::from_secs(1), ..http(None) };
    let mut watched = Watched::start(&[target("one", silent.local_addr().unwrap(), config)]);
    let_tasks_run().await;

    // Every wake comes 9 s after its time; nothing of this is the backend's doing.
    for _ in 0..20 {
        tokio::time::advance(Duration::from_secs(10)).await;
        let_tasks_run().await;
    }
    assert!(watched.reports.try_recv().is_err());
    assert!(counts.of("void") >= 3, "{}", counts.of("void"));
    assert_eq!(counts.of("failed"), 0);

    // Now the clock moves only from timer to timer.
    assert_eq!(watched.report().await.verdict, Verdict::Unhealthy);
    assert_eq!((counts.of("failed"), counts.of("passed")), (1, 0));
}

/// Enough turns of the runtime for timers and sockets to be looked at.
async fn let_tasks_run() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

/// Counts by the label `result`.
#[derive(Default)]
struct Counts(Mutex<HashMap<String, Arc<AtomicU64>>>);

impl Counts {
    fn of(&self, result: &str) -> u64 {
        self.0.lock().unwrap().get(result).map_or(0, |count| count.load(Ordering::Relaxed))
    }
}

impl Recorder for Counts {
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        assert_eq!(key.name(), crate::metrics::CHECKS_TOTAL);
        let labels: Vec<_> = key.labels().map(|l| (l.key(), l.value())).collect();
        assert_eq!(labels[..2], [("pool", "app"), ("backend", "one")]);
        let count = Arc::clone(self.0.lock().unwrap().entry(labels[2].1.to_owned()).or_default());
        Counter::from_arc(count)
    }

    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }
    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}
