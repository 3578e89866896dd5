//! What a worker counts is what is told, over workers, generations and departures.

use std::time::{Duration, Instant};

use health::config::{HealthConfig, ProbeKind};
use policies::backend::{BackendId, BackendKey, PoolIndex, PoolName};
use policies::balance::{HashKey, Rule};
use policies::retry::RetryPolicy;
use policies::route::normal::PathRules;
use policies::route::{Action, Arm, Location, Matcher, Route, Target};

use super::*;
use crate::config::{
    ConductConfig, DoorConfig, DrainConfig, ForwardedStyle, HeaderEdits, ListenerConfig,
    PoolConfig, Priority, QueueConfig, RouteConfig, Timeouts, UpstreamConfig,
};
use crate::outcome::Outcome;

/// Listeners `web` and `ops`; pools `app` and `spill`; routes `app` (waterfall over both),
/// `split` (both, one twice) and `old` (redirect).
fn door() -> DoorConfig {
    let waterfall = Target::Waterfall(vec![PoolIndex(1), PoolIndex(0)]);
    let arm = |to: &[u16], weight| Arm { to: to.iter().map(|&p| PoolIndex(p)).collect(), weight };
    let split = Target::Split { arms: vec![arm(&[0], 3), arm(&[0, 1], 1)], sticky: None };
    let old = Action::Redirect { location: Location::Https { port: 443 }, status: 308 };
    DoorConfig {
        site: "test".into(),
        zone: None,
        workers: 2,
        listeners: vec![listener("web"), listener("ops")],
        pools: vec![pool("app"), pool("spill")],
        routes: vec![
            route("app", Action::Forward(waterfall)),
            route("split", Action::Forward(split)),
            route("old", old),
        ],
        in_maintenance: false,
        seed: 1,
    }
}

fn finished(listener: u16, route: Option<u16>, pool: Option<u16>, status: u16) -> Finished {
    let outcome = match (route, status) {
        (None, _) => Outcome::NoRoute,
        (_, 503) => Outcome::Full,
        _ => Outcome::Ok,
    };
    Finished {
        listener,
        route,
        pool,
        status,
        http10: false,
        outcome,
        bytes_in: 10,
        bytes_out: 1_000,
        total_us: 5_000,
        queue_us: 1_000,
        stream_from_us: None,
    }
}

/// `web/app/spill/2xx=3`, one line per series.
fn requests(totals: &Totals) -> Vec<String> {
    let line = |(key, n): (&RequestKey, &u64)| {
        let RequestKey { listener, route, pool, class, protocol } = key;
        let old = if *protocol == Protocol::Http10 { "/1.0" } else { "" };
        format!("{listener}/{route}/{pool}/{}{old}={n}", class.word())
    };
    totals.requests.iter().map(line).collect()
}

#[test]
fn each_series_has_a_place_of_its_own() {
    let sheet = Sheet::new(Layout::new(&door()));
    let registry = Registry::new();
    registry.register(sheet.clone());
    let mut expected = Vec::new();
    let mut times = 0;
    for (l, listener) in (0..).zip(["web", "ops"]) {
        for (route, pool, names) in [
            (None, None, "-/-"),
            (Some(0), None, "app/-"),
            (Some(0), Some(0), "app/app"),
            (Some(0), Some(1), "app/spill"),
            (Some(1), None, "split/-"),
            (Some(1), Some(0), "split/app"),
            (Some(1), Some(1), "split/spill"),
            (Some(2), None, "old/-"),
        ] {
            for (status, class) in
                [(0, "none"), (101, "1xx"), (204, "2xx"), (308, "3xx"), (502, "5xx")]
            {
                for (http10, suffix) in [(true, "/1.0"), (false, "")] {
                    times += 1;
                    for _ in 0..times {
                        sheet.finished(&Finished { http10, ..finished(l, route, pool, status) });
                    }
                    expected.push(format!("{listener}/{names}/{class}{suffix}={times}"));
                }
            }
        }
    }
    let totals = registry.totals(Instant::now());
    let mut found = requests(&totals);
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    assert_eq!(totals.requests_in_all(), totals.outcomes.iter().sum::<u64>());
    let by_route: Vec<_> = totals.durations.iter().map(|(r, h)| (&**r, h.count())).collect();
    assert_eq!(by_route.iter().map(|(_, n)| n).sum::<u64>(), totals.requests_in_all());
    assert_eq!(by_route.iter().map(|(r, _)| *r).collect::<Vec<_>>(), ["-", "app", "old", "split"]);
}

#[test]
fn a_request_is_told_under_all_its_aspects() {
    let sheet = Sheet::new(Layout::new(&door()));
    let registry = Registry::new();
    registry.register(sheet.clone());
    sheet.connection_opened(1);
    sheet.arrived(1);
    sheet.retried(1, true);
    sheet.finished(&finished(1, Some(0), Some(1), 200));

    let totals = registry.totals(Instant::now());
    assert_eq!(requests(&totals), ["ops/app/spill/2xx=1"]);
    let ops = &totals.listeners["ops"];
    assert_eq!((ops.opened, ops.open(), ops.bytes_in, ops.bytes_out), (1, 1, 10, 1_000));
    assert_eq!(totals.listeners["web"], ListenerTotals::default());
    assert_eq!(totals.outcomes[Outcome::Ok as usize], 1);
    assert_eq!(totals.durations["app"].sum_us, 5_000);
    let spill = &totals.pools["spill"];
    assert_eq!((spill.arrived, spill.refused, spill.finished), (1, 0, 1));
    assert_eq!((spill.service_us, spill.retried_ok, spill.in_flight()), (4_000, 1, 0));
    assert_eq!(totals.pools["app"], PoolTotals::default());
}

#[test]
fn a_request_that_no_pool_took_is_refused_demand_and_no_service() {
    let sheet = Sheet::new(Layout::new(&door()));
    let registry = Registry::new();
    registry.register(sheet.clone());
    sheet.arrived(0);
    sheet.moved_on(0);
    sheet.arrived(1);
    sheet.finished(&finished(0, Some(0), Some(1), 503));
    let totals = registry.totals(Instant::now());
    for (pool, moved_on) in [("app", 1), ("spill", 0)] {
        let pool = &totals.pools[pool];
        assert_eq!(pool.moved_on, moved_on);
        assert_eq!((pool.arrived, pool.refused, pool.finished, pool.service_us), (1, 1, 0, 0));
        assert_eq!(pool.in_flight(), 0);
    }
}

#[test]
fn counters_go_on_over_reloads_and_workers() {
    let registry = Registry::new();
    let (old, mut config) = (Layout::new(&door()), door());
    config.listeners.swap(0, 1);
    config.routes.remove(0);
    let new = Layout::new(&config);

    let sheets = [Sheet::new(old.clone()), Sheet::new(old)];
    for sheet in &sheets {
        registry.register(sheet.clone());
        sheet.connection_opened(0);
        sheet.finished(&finished(0, Some(1), Some(0), 200));
    }
    let [first, second] = sheets;
    let next = Sheet::new(new);
    registry.register(next.clone());
    drop(first);
    assert_eq!(requests(&registry.totals(Instant::now())), ["web/split/app/2xx=2"]);

    // A request of the old generation ends late, after its worker has a sheet of the new one.
    second.finished(&finished(0, Some(1), Some(0), 200));
    next.finished(&finished(1, Some(0), Some(0), 200));
    next.connection_closed(1);
    assert_eq!(requests(&registry.totals(Instant::now())), ["web/split/app/2xx=4"]);
    drop(second);
    let totals = registry.totals(Instant::now());
    assert_eq!(requests(&totals), ["web/split/app/2xx=4"]);
    assert_eq!(totals.listeners["web"].open(), 1);
}

#[test]
fn a_backend_is_told_until_a_while_after_it_left_and_returns_with_its_counts() {
    let registry = Registry::new();
    let id = BackendId("b1".into());
    let key = BackendKey { pool: PoolName("app".into()), backend: id };
    let sheet = BackendSheet::new();
    registry.register_backend(key.clone(), 1, sheet.clone());
    sheet.connected(300);
    sheet.connected(300);
    sheet.set_idle(1);
    sheet.answered(200, 2_000, u64::MAX);
    sheet.failed(BackendFault::Reset);

    let start = Instant::now();
    let told = |after| registry.totals(start + Duration::from_secs(after));
    let backend = told(0).backends[&key].clone();
    assert_eq!((backend.answers(), backend.errors()), (1, 1));
    assert_eq!((backend.active_connections, backend.idle_connections), (1, 1));

    drop(sheet);
    let left = told(60);
    assert_eq!(left.backends[&key].active_connections, 0);
    assert_eq!(left.backends[&key].answers(), 1);
    assert!(told(120).backends.is_empty());

    let sheet = BackendSheet::new();
    registry.register_backend(key.clone(), 1, sheet.clone());
    sheet.answered(200, 2_000, u64::MAX);
    let back = told(130);
    assert_eq!(back.backends[&key].answers(), 2);
    assert_eq!((back.pools["app"].answers.count(), back.pools["app"].connects.count()), (2, 2));

    drop(sheet);
    assert_eq!(told(10_000).pools["app"].answers.count(), 2);
    assert!(told(10_000).backends.is_empty());
}

#[test]
fn an_index_of_no_series_counts_as_none_or_not_at_all() {
    let layout = Layout::new(&door());
    let of = |route, pool| layout.request(&finished(0, route, pool, 200));
    assert_eq!(of(Some(99), Some(0)), of(None, None));
    assert_eq!(of(Some(2), Some(1)), of(Some(2), None));
}

#[test]
fn a_reader_never_sees_a_count_go_down() {
    let registry = Registry::new();
    let layout = Layout::new(&door());
    let rounds = 200;
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..rounds {
                    let sheet = Sheet::new(layout.clone());
                    registry.register(sheet.clone());
                    for _ in 0..50 {
                        sheet.finished(&finished(0, Some(0), Some(0), 200));
                    }
                }
            });
        }
        let mut last = 0;
        while last < 2 * rounds * 50 {
            let now = registry.totals(Instant::now()).requests_in_all();
            assert!(now >= last, "{now} after {last}");
            last = now;
        }
    });
    assert_eq!(registry.totals(Instant::now()).requests_in_all(), 2 * rounds * 50);
}

fn listener(name: &str) -> ListenerConfig {
    ListenerConfig {
        name: name.into(),
        bind: vec!["127.0.0.1:0".parse().unwrap()],
        redirect_to_https: None,
        max_connections: None,
        max_connections_per_address: None,
        max_header_size: 16_384,
        max_fields: 100,
        max_uri: 8_192,
        max_body: None,
        trusted_proxies: Vec::new(),
        proxy_protocol: Vec::new(),
        forwarded: ForwardedStyle::Off,
        path_rules: PathRules::default(),
        request_head_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(60),
        allow: Vec::new(),
        deny: Vec::new(),
        is_leaving: false,
    }
}

fn pool(name: &str) -> PoolConfig {
    PoolConfig {
        name: PoolName(name.into()),
        rule: Rule::RoundRobin,
        hash_by: HashKey::ClientAddress,
        backends: Vec::new(),
        max_concurrency: None,
        is_usable: true,
        upstream: UpstreamConfig {
            idle: Duration::from_secs(4),
            max_requests: 1_000,
            max_age: Duration::from_secs(600),
            max_idle: 64,
        },
        drain: DrainConfig::default(),
        health: HealthConfig {
            probe: ProbeKind::Tcp,
            port: None,
            interval: Duration::from_secs(5),
            jitter_percent: 10,
            timeout: Duration::from_secs(2),
            healthy_after: 2,
            unhealthy_after: 3,
        },
        concurrency: None,
        max_streams: None,
        stream_weight: 0.1,
        queue: QueueConfig::default(),
        fill_permille: 1_000,
        conduct: ConductConfig::default(),
    }
}

fn route(name: &str, action: Action) -> RouteConfig {
    let second = Duration::from_secs(1);
    RouteConfig {
        route: Route { name: name.into(), when: Matcher::All(Vec::new()), action },
        in_maintenance: false,
        allow: Vec::new(),
        deny: Vec::new(),
        max_body: None,
        rewrite: None,
        request_headers: HeaderEdits::default(),
        response_headers: HeaderEdits::default(),
        timeouts: Timeouts {
            connect: second,
            attempt: None,
            first_byte: second,
            total: None,
            idle_stream: second,
        },
        retries: RetryPolicy::default(),
        sticky: None,
        priority: Priority::Normal,
        concurrency: None,
        reserve: 0.0,
    }
}
