//! A small configuration for tests: one listener, one pool, one route that takes everything.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use health::config::{HealthConfig, ProbeKind};
use policies::backend::{Address, Backend, BackendId, Origin, PoolIndex, PoolName};
use policies::balance::{HashKey, Rule};
use policies::retry::RetryPolicy;
use policies::route::normal::PathRules;
use policies::route::{Action, Matcher, Route, Target};

use crate::config::{
    ConductConfig, DoorConfig, DrainConfig, ForwardedStyle, HeaderEdits, ListenerConfig,
    PoolConfig, Priority, QueueConfig, RouteConfig, Timeouts, UpstreamConfig,
};

/// A door on a free loopback port in front of `backends`.
pub fn door(workers: usize, backends: &[SocketAddr]) -> DoorConfig {
    DoorConfig {
        site: "sample".into(),
        zone: None,
        workers,
        listeners: vec![listener()],
        pools: vec![pool(backends)],
        routes: vec![route()],
        in_maintenance: false,
        seed: 1,
    }
}

fn listener() -> ListenerConfig {
    ListenerConfig {
        name: "web".into(),
        bind: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
        redirect_to_https: None,
        max_connections: None,
        max_connections_per_address: None,
        max_header_size: 32 << 10,
        max_fields: 100,
        max_uri: 8 << 10,
        max_body: None,
        trusted_proxies: Vec::new(),
        proxy_protocol: Vec::new(),
        forwarded: ForwardedStyle::XForwarded,
        path_rules: PathRules::default(),
        request_head_timeout: Duration::from_secs(5),
        idle_timeout: Duration::from_secs(75),
        allow: Vec::new(),
        deny: Vec::new(),
        is_leaving: false,
    }
}

fn pool(backends: &[SocketAddr]) -> PoolConfig {
    let backend = |(place, address): (usize, &SocketAddr)| Backend {
        id: BackendId(format!("b{place}").into()),
        address: Address::Socket(*address),
        weight: 1,
        max_concurrency: None,
        zone: None,
        origin: Origin::OnPrem,
    };
    PoolConfig {
        name: PoolName("app".into()),
        rule: Rule::RoundRobin,
        hash_by: HashKey::ClientAddress,
        backends: backends.iter().enumerate().map(backend).collect(),
        max_concurrency: None,
        is_usable: true,
        upstream: UpstreamConfig {
            idle: Duration::from_secs(4),
            max_requests: 10_000,
            max_age: Duration::from_secs(600),
            max_idle: 256,
        },
        drain: DrainConfig::default(),
        health: HealthConfig {
            probe: ProbeKind::Tcp,
            port: None,
            interval: Duration::from_secs(2),
            jitter_percent: 20,
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

fn route() -> RouteConfig {
    RouteConfig {
        route: Route {
            name: Arc::from("all"),
            when: Matcher::All(Vec::new()),
            action: Action::Forward(Target::Waterfall(vec![PoolIndex(0)])),
        },
        in_maintenance: false,
        allow: Vec::new(),
        deny: Vec::new(),
        max_body: None,
        rewrite: None,
        request_headers: HeaderEdits::default(),
        response_headers: HeaderEdits::default(),
        timeouts: Timeouts {
            connect: Duration::from_secs(1),
            attempt: None,
            first_byte: Duration::from_secs(30),
            total: None,
            idle_stream: Duration::from_secs(300),
        },
        retries: RetryPolicy::default(),
        sticky: None,
        priority: Priority::Normal,
        concurrency: None,
        reserve: 0.0,
    }
}
