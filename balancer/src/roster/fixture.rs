//! Doors with pools and nothing else, for tests of who takes requests.

use std::sync::Arc;
use std::time::Duration;

use health::Report;
use health::config::{HealthConfig, ProbeKind};
use policies::backend::{Address, Backend, BackendId, BackendKey, Origin, PoolIndex, PoolName};
use policies::balance::{HashKey, Rule};
use policies::health::Verdict;
use policies::route::{Action, Target};

use super::Roster;
use crate::config::{
    ConductConfig, DoorConfig, DrainConfig, PoolConfig, QueueConfig, RouteConfig, UpstreamConfig,
};

/// Pools by name with their backends, four workers.
pub(crate) fn door(pools: &[(&str, &[Backend])]) -> DoorConfig {
    DoorConfig {
        site: "test".into(),
        zone: None,
        workers: 4,
        listeners: Vec::new(),
        pools: pools.iter().map(|(name, backends)| pool(name, backends)).collect(),
        routes: Vec::new(),
        in_maintenance: false,
        seed: 1,
    }
}

fn pool(name: &str, backends: &[Backend]) -> PoolConfig {
    PoolConfig {
        name: PoolName(name.into()),
        rule: Rule::RoundRobin,
        hash_by: HashKey::ClientAddress,
        backends: backends.to_vec(),
        max_concurrency: None,
        is_usable: true,
        upstream: UpstreamConfig {
            idle: Duration::from_secs(4),
            max_requests: 1_000,
            max_age: Duration::from_secs(60),
            max_idle: 8,
        },
        drain: DrainConfig::default(),
        health: HealthConfig {
            probe: ProbeKind::Tcp,
            port: None,
            interval: Duration::from_secs(1),
            jitter_percent: 10,
            timeout: Duration::from_secs(1),
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

/// A route that takes everything and asks these pools in order.
pub(crate) fn waterfall(pools: &[PoolIndex]) -> RouteConfig {
    let mut route = crate::sample::door(1, &[]).routes.remove(0);
    route.route.action = Action::Forward(Target::Waterfall(pools.to_vec()));
    route
}

/// `10.0.0.1:80` or `app.internal:80`.
pub(crate) fn backend(id: &str, address: &str) -> Backend {
    let address = address.parse().map(Address::Socket).unwrap_or_else(|_| {
        let (host, port) = address.rsplit_once(':').unwrap();
        Address::Name { host: host.into(), port: port.parse().unwrap() }
    });
    Backend {
        id: BackendId(id.into()),
        address,
        weight: 1,
        max_concurrency: None,
        zone: None,
        origin: Origin::OnPrem,
    }
}

/// Of `app/a`.
pub(crate) fn key(text: &str) -> BackendKey {
    let (pool, backend) = text.split_once('/').unwrap();
    BackendKey { pool: PoolName(pool.into()), backend: BackendId(backend.into()) }
}

/// What the monitor says of `app/a` at `10.0.0.1:80`, which has been there from the start.
pub(crate) fn report(text: &str, address: &str, verdict: Verdict) -> Report {
    let reason = (verdict == Verdict::Unhealthy).then(|| "connection refused".to_owned());
    let address = address.parse().unwrap();
    Report { key: key(text), address, epoch: 0, verdict, reason, probe_ms: 1 }
}

/// The same of a backend that has begun later, as the monitor finds it in the list now.
pub(crate) fn report_now(roster: &Roster, text: &str, address: &str, verdict: Verdict) -> Report {
    let targets = Arc::clone(&roster.targets().borrow());
    let is_it = |target: &&health::Target| target.key == key(text);
    let epoch = targets.iter().find(is_it).expect("a target").epoch;
    Report { epoch, ..report(text, address, verdict) }
}

/// A roster whose backends have all passed, where they have an address.
pub(crate) fn healthy(config: DoorConfig) -> Roster {
    let roster = Roster::new(Arc::new(config));
    // Not borrowed any longer: the roster may want to write the list.
    let targets = Arc::clone(&roster.targets().borrow());
    for target in targets.iter() {
        let (key, address, epoch) = (target.key.clone(), target.address, target.epoch);
        let verdict = Verdict::Healthy;
        roster.report(Report { key, address, epoch, verdict, reason: None, probe_ms: 1 });
    }
    roster
}
