//! What a scrape says, against what was counted and what `docs/metrics.md` promises.

use std::collections::{BTreeMap, BTreeSet};

use balancer::access_log::{AccessLog, AccessLogConfig, Format, LogTarget, LogWriter};
use balancer::stats::{BackendFault, BackendSheet, Finished, Layout, Sheet};
use metrics::{Key, Label, Level, Metadata, Recorder};
use policies::backend::{BackendId, BackendKey, PoolName};
use scaler::controller::{Census, Mode};
use scaler::run::Standing;
use tokio::sync::watch;

use super::*;
use crate::admin::view::tests::well;
use crate::admin::view::{BackendState, ConcurrencyView, RouteView};

const PAGE: &str = include_str!("../../../docs/metrics.md");

/// Everything that can be counted was counted once, by two workers.
struct Counted {
    registry: Arc<Registry>,
    sheets: [Arc<Sheet>; 2],
    backend: Arc<BackendSheet>,
}

fn counted() -> Counted {
    let registry = Registry::new();
    let layout = Layout::new(&door());
    let sheets = [Sheet::new(layout.clone()), Sheet::new(layout)];
    for sheet in &sheets {
        registry.register(sheet.clone());
        sheet.connection_opened(0);
        (0..4).for_each(|_| sheet.arrived(0));
        sheet.retried(0, true);
        sheet.finished(&finished());
    }
    let backend = BackendSheet::new();
    let key = BackendKey { pool: PoolName("app".into()), backend: BackendId("a".into()) };
    registry.register_backend(key, 1, backend.clone());
    backend.connected(200);
    backend.answered(200, 3_000, u64::MAX);
    backend.failed(BackendFault::Reset);
    Counted { registry, sheets, backend }
}

fn finished() -> Finished {
    Finished {
        listener: 0,
        route: Some(0),
        pool: Some(0),
        status: 200,
        http10: false,
        outcome: Outcome::Ok,
        bytes_in: 5,
        bytes_out: 700,
        total_us: 4_000,
        stream_from_us: None,
        queue_us: 0,
    }
}

fn telemetry(counted: &Counted) -> Arc<Telemetry> {
    let door = DoorId("test".into());
    let telemetry = Telemetry::new(Arc::clone(&counted.registry), EventRing::new(), door, "abc123");
    // As the health monitor and the roster do.
    let series = [
        (health::metrics::CHECKS_TOTAL, "result", "passed"),
        (balancer::roster::EJECTIONS_TOTAL, "reason", "slow"),
    ];
    for (name, label, value) in series {
        let labels = [("pool", "app"), ("backend", "a"), (label, value)];
        let labels = labels.map(|(name, value)| Label::new(name, value)).to_vec();
        let key = Key::from_parts(name, labels);
        telemetry.keeper.register_counter(&key, &Metadata::new("", Level::INFO, None)).increment(1);
    }
    let healthy = events::Event { event: "backend_healthy".into(), ..events::Event::default() };
    telemetry.events().push(healthy);
    telemetry
}

/// A route with a limit.
fn limited() -> RouteView {
    RouteView {
        name: "all".into(),
        when: String::new(),
        action: String::new(),
        pools: Vec::new(),
        requests: 3,
        concurrency: Some(ConcurrencyView { in_flight: 2, limit: 7 }),
    }
}

/// Value by name and labels as written.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let (series, value) = line.rsplit_once(' ')?;
        Some((series.to_owned(), value.parse().ok()?))
    };
    lines.map(|line| sample(line).unwrap_or_else(|| panic!("no sample: {line}"))).collect()
}

#[test]
fn a_scrape_says_what_was_counted() {
    let counted = counted();
    let telemetry = telemetry(&counted);
    counted.sheets[0].finished(&finished());
    let (_, pools) = well(BackendState::Down);
    let text = telemetry.render(&pools, &[limited()]);
    let samples = samples(&text);
    for (series, value) in [
        (
            r#"tidegate_requests_total{listener="web",route="all",pool="app",code_class="2xx",protocol="http/1.1"}"#,
            3.0,
        ),
        (r#"tidegate_request_outcomes_total{outcome="ok"}"#, 3.0),
        (r#"tidegate_request_outcomes_total{outcome="full"}"#, 0.0),
        (r#"tidegate_request_body_bytes_total{listener="web"}"#, 15.0),
        (r#"tidegate_response_body_bytes_total{listener="web"}"#, 2_100.0),
        (r#"tidegate_connections_open{listener="web"}"#, 2.0),
        (r#"tidegate_retries_total{pool="app",outcome="ok"}"#, 2.0),
        (r#"tidegate_request_duration_seconds_bucket{route="all",le="0.005"}"#, 3.0),
        (r#"tidegate_request_duration_seconds_bucket{route="all",le="0.0025"}"#, 0.0),
        (r#"tidegate_request_duration_seconds_sum{route="all"}"#, 0.012),
        (r#"tidegate_backend_requests_total{pool="app",backend="a",code_class="2xx"}"#, 1.0),
        (r#"tidegate_backend_errors_total{pool="app",backend="a",reason="reset"}"#, 1.0),
        (r#"tidegate_backend_connections{pool="app",backend="a",state="active"}"#, 1.0),
        (r#"tidegate_backend_healthy{pool="app",backend="a"}"#, 1.0),
        (r#"tidegate_backend_healthy{pool="app",backend="b"}"#, 0.0),
        (r#"tidegate_backend_in_flight{pool="app",backend="b"}"#, 2.0),
        (r#"tidegate_backend_streams{pool="app",backend="b"}"#, 4.0),
        (r#"tidegate_requests_in_flight{pool="app"}"#, 5.0),
        (r#"tidegate_concurrency_limit{pool="app"}"#, 12.0),
        (r#"tidegate_route_in_flight{route="all"}"#, 2.0),
        (r#"tidegate_route_concurrency_limit{route="all"}"#, 7.0),
        (r#"tidegate_queue_length{pool="app"}"#, 3.0),
        (r#"tidegate_shed_total{pool="app",reason="displaced"}"#, 0.0),
        (r#"tidegate_backend_health_checks_total{pool="app",backend="a",result="passed"}"#, 1.0),
        (r#"tidegate_config_info{hash="abc123"}"#, 1.0),
        (r#"tidegate_events_total{event="backend_healthy"}"#, 1.0),
    ] {
        assert_eq!(samples.get(series), Some(&value), "{series} in\n{text}");
    }
}

#[test]
fn names_labels_and_types_are_those_of_the_document() {
    let mut documented = BTreeMap::new();
    for line in PAGE.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, name, kind, labels, question, ..] = cells[..] else { continue };
        let Some(name) = name.strip_prefix('`').and_then(|name| name.strip_suffix('`')) else {
            continue;
        };
        let labels: Vec<String> = labels
            .split(',')
            .map(|label| label.trim().trim_matches('`').to_owned())
            .filter(|label| !label.is_empty() && label != "–")
            .collect();
        assert!(question.ends_with('?'), "{name} answers no question: {question}");
        documented.insert(name.to_owned(), (kind.to_owned(), labels));
    }
    let listed = names::ALL.iter().map(|metric| {
        let labels: Vec<String> = metric.labels.iter().map(|label| (*label).to_owned()).collect();
        (metric.name.to_owned(), (metric.kind.word().to_owned(), labels))
    });
    assert_eq!(documented, listed.collect());
}

#[test]
fn what_is_exported_is_what_is_listed() {
    let counted = counted();
    let telemetry = telemetry(&counted);
    let (_, pools) = well(BackendState::Down);
    counted.registry.register_worker(
        0,
        tokio::runtime::Builder::new_current_thread().build().unwrap().metrics(),
    );
    let standing = Standing {
        mode: Mode::Shadow,
        decision: None,
        census: Census::default(),
        lead: Duration::ZERO,
        turns: 0,
        panics: 0,
        order: None,
    };
    let (_board, standing) = watch::channel(standing);
    telemetry.set_scalers(vec![(PoolName("app".into()), standing)]);
    telemetry.tick(Instant::now());
    let text = telemetry.render(&pools, &[limited()]);

    let mut exported: BTreeMap<String, (String, BTreeSet<Vec<String>>)> = BTreeMap::new();
    let mut family = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            family = name.to_owned();
            let known = exported.insert(family.clone(), (kind.to_owned(), BTreeSet::new()));
            assert!(known.is_none(), "{name} twice");
        } else if !line.starts_with('#') {
            let labels =
                line.split_once('{').map_or("", |(_, rest)| rest.rsplit_once('}').unwrap().0);
            let names =
                labels.split("\",").filter_map(|label| Some(label.split_once('=')?.0.to_owned()));
            let names: Vec<String> = names.filter(|name| name != "le").collect();
            assert!(line.starts_with(&family), "{line} under {family}");
            exported.get_mut(&family).unwrap().1.insert(names);
        }
    }
    let listed = names::ALL.iter().map(|metric| {
        let labels = metric.labels.iter().map(|label| (*label).to_owned()).collect();
        (metric.name.to_owned(), (metric.kind.word().to_owned(), BTreeSet::from([labels])))
    });
    assert_eq!(exported, listed.collect());
    for metric in names::ALL {
        assert!(
            text.contains(&format!("# HELP {} {}\n", metric.name, metric.help)),
            "{}",
            metric.name
        );
    }
}

#[test]
fn counters_do_not_go_back_when_a_worker_ends() {
    let counted = counted();
    let telemetry = telemetry(&counted);
    let ok = r#"tidegate_request_outcomes_total{outcome="ok"}"#;
    assert_eq!(samples(&telemetry.render(&[], &[])).get(ok), Some(&2.0));
    let Counted { sheets: [first, second], .. } = counted;
    drop(first);
    second.finished(&finished());
    assert_eq!(samples(&telemetry.render(&[], &[])).get(ok), Some(&3.0));
}

#[test]
fn a_tick_tells_what_each_pool_was_asked_for() {
    let counted = counted();
    let telemetry = telemetry(&counted);
    for _ in 0..30 {
        counted.sheets[1].arrived(0);
    }
    telemetry.tick(Instant::now() + Duration::from_secs(2));
    let loads = telemetry.loads();
    assert_eq!((loads[0].pool.0.as_ref(), loads[0].arrivals, loads[0].in_flight), ("app", 30, 36));
    assert_eq!(telemetry.totals().requests_in_all(), 2);
}

#[test]
fn lines_that_the_access_log_loses_are_told_over_reopened_logs() {
    let counted = counted();
    let telemetry = telemetry(&counted);
    let full = r#"tidegate_access_log_dropped_total{reason="ring_full"}"#;
    for expected in [1.0, 2.0] {
        let targets = vec![LogTarget::File("/dev/null".into())];
        let config = AccessLogConfig { targets, format: Format::Json, redact_query: Vec::new() };
        let writer = LogWriter::start(&config).unwrap();
        telemetry.set_access_log(Some(Arc::clone(writer.drops())));
        let mut ring = writer.ring();
        assert!(!ring.push(&vec![b'x'; 2 << 20]));
        drop(AccessLog::new(&config, ring));
        assert_eq!(samples(&telemetry.render(&[], &[])).get(full), Some(&expected));
        assert!(writer.stop(Duration::from_secs(5)));
    }
}

#[test]
fn a_refused_configuration_shows_and_the_next_good_one_heals() {
    let counted = counted();
    let telemetry = telemetry(&counted);
    let state = |telemetry: &Telemetry| {
        let samples = samples(&telemetry.render(&[], &[]));
        let hashes: Vec<_> =
            samples.keys().filter(|name| name.contains("config_info")).cloned().collect();
        (samples[names::CONFIG_OK.name], hashes)
    };
    let hash = |hash: &str| vec![format!("tidegate_config_info{{hash=\"{hash}\"}}")];
    telemetry.reloaded(None);
    assert_eq!(state(&telemetry), (0.0, hash("abc123")));
    telemetry.reloaded(Some("def456"));
    assert_eq!(state(&telemetry), (1.0, hash("def456")));
}

#[test]
fn the_state_of_a_backend_that_left_is_told_no_more() {
    let counted = counted();
    let telemetry = telemetry(&counted);
    drop(counted.backend);
    let text = telemetry.render(&[], &[]);
    for name in [names::BACKEND_HEALTHY, names::BACKEND_CONNECTIONS, names::BACKEND_IN_FLIGHT] {
        assert!(!text.contains(&format!("{}{{", name.name)), "{} in\n{text}", name.name);
    }
    assert!(text.contains("backend=\"a\",code_class=\"2xx\"} 1"), "its counts are:\n{text}");
}

/// Listener `web`, route `all`, pool `app`.
fn door() -> balancer::config::DoorConfig {
    let text = r#"
        schema = 1
        [listeners.web]
        bind = "127.0.0.1:0"
        [pools.app]
        backends = [{ id = "a", address = "127.0.0.1:1" }]
        [[routes]]
        name = "all"
        to = { pool = "app" }
    "#;
    let loaded = crate::config::parse("test.toml", text);
    loaded.config.unwrap_or_else(|| panic!("{:#?}", loaded.problems)).door
}
