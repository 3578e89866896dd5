//! `[pools.*]`

use std::collections::BTreeMap;
use std::sync::Arc;

use balancer::config::{DrainConfig, PoolConfig, QueueConfig, UpstreamConfig};
use health::config::{HealthConfig, ProbeKind};
use policies::backend::{Address, Backend, BackendId, Origin, PoolName};
use policies::balance::{HashKey, Rule};

use super::{Build, conduct, elastic};
use crate::config::document::{Entry, Node, Value};
use crate::config::text::references as say;
use crate::config::values::{http, net};
use crate::config::view::View;

/// A pool is an index of 16 bits.
const MOST: usize = 65_535;

/// All pools, in the order of their names.
pub(super) fn pools(build: &mut Build<'_>, root: View<'_>) -> Vec<PoolConfig> {
    let defaults = root.view("defaults");
    let named = root.named("pools");
    if let Some((entry, _)) = named.get(MOST) {
        build.say(entry.key_span, say::too_many("pools", MOST));
    }
    named.into_iter().take(MOST).map(|(entry, view)| pool(build, entry, view, defaults)).collect()
}

fn pool(build: &mut Build<'_>, entry: &Entry, view: View<'_>, defaults: View<'_>) -> PoolConfig {
    let mut backends = backends(build, &entry.key, view);
    if let Some((node, why)) = why_empty(view) {
        build.say(node.span, say::pool_empty(&entry.key, why));
        backends.clear();
    } else if elastic::is_elastic(view) {
        backends.clear();
    } else if view.list("backends").is_empty() {
        build.say(entry.key_span, say::no_backends(&entry.key));
    } else if !backends.is_empty() && backends.iter().all(|backend| backend.weight == 0) {
        build.say(entry.key_span, say::pool_empty(&entry.key, "the weight of each is 0"));
    }
    let rule = rule(view, backends.len());
    if let (Some(_), false) = (view.own("hash_by"), rule == Rule::ConsistentHash) {
        let span = view.own("hash_by").map_or(entry.key_span, |node| node.span);
        build.say(
            span,
            say::idle_key("hash_by", "only `balance = \"consistent_hash\"` looks at it"),
        );
    }
    let upstream = view.view("upstream");
    let health = view.view("health").or(defaults.view("health"));
    idle_health_keys(build, health);
    PoolConfig {
        name: PoolName(entry.key.as_str().into()),
        rule,
        hash_by: hash_key(build, view.given("hash_by")),
        backends,
        max_concurrency: view.integer("max_concurrency"),
        is_usable: needs_more(view).is_none(),
        upstream: UpstreamConfig {
            idle: upstream.duration("idle").unwrap_or_default(),
            max_requests: upstream.integer("max_requests").unwrap_or(1),
            max_age: upstream.duration("max_age").unwrap_or_default(),
            max_idle: upstream.integer("max_idle").unwrap_or_default(),
        },
        health: health_config(health),
        conduct: conduct::conduct(view, defaults),
        drain: drain(view.view("drain").or(defaults.view("drain"))),
        concurrency: view.view("limits").integer("concurrency"),
        max_streams: view.integer("max_streams"),
        stream_weight: view.number("stream_weight").unwrap_or_default(),
        queue: queue(view.view("queue")),
        fill_permille: fill_permille(build, view),
    }
}

/// The capacity of a pool is known only if that of each backend is.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 0 to 1000, see the key
fn fill_permille(build: &mut Build<'_>, view: View<'_>) -> u32 {
    let has_cap = |(_, backend): &(&Node, View<'_>)| backend.own("max_concurrency").is_some();
    let is_known = view.own("max_concurrency").is_some()
        || view.view("limits").own("concurrency").is_some()
        || (!elastic::is_elastic(view) && view.tables("backends").iter().all(has_cap));
    if let (Some(node), false) = (view.own("fill_to"), is_known) {
        let why = "the pool has a backend without `max_concurrency`, which is never full";
        build.say(node.span, say::idle_key("fill_to", why));
    }
    view.share("fill_to").map_or(1_000, |share| (share * 10.0).round() as u32)
}

fn drain(view: View<'_>) -> DrainConfig {
    DrainConfig {
        wait_inflight: view.duration("wait_inflight"),
        wait_streams: view.duration("wait_streams"),
    }
}

fn queue(view: View<'_>) -> QueueConfig {
    QueueConfig {
        max: view.integer("max").unwrap_or_default(),
        bytes: view.size("bytes").unwrap_or_default(),
        time: view.duration("time").unwrap_or_default(),
    }
}

/// Why a pool has no backends although nothing is wrong with it.
fn why_empty<'a>(view: View<'a>) -> Option<(&'a Node, &'static str)> {
    let mode = view.own("aws").and(view.view("aws").own("mode"));
    let adopts = mode.filter(|mode| elastic::is_elastic(view) && mode.text() == Some("asg"));
    adopts
        .map(|node| (node, "driving an Auto Scaling group is not supported yet"))
        .or_else(|| needs_more(view))
}

/// What its backends speak that the door does not.
fn needs_more<'a>(view: View<'a>) -> Option<(&'a Node, &'static str)> {
    let tls = view.own("tls");
    let protocol = view.own("protocol").filter(|node| matches!(node.text(), Some("h2" | "h2c")));
    tls.map(|node| (node, "TLS toward backends is not supported yet"))
        .or(protocol.map(|node| (node, "only `http/1.1` is supported toward backends so far")))
}

fn backends(build: &mut Build<'_>, pool: &str, view: View<'_>) -> Vec<Backend> {
    let common_cap = view.integer("max_concurrency");
    let mut ids = BTreeMap::new();
    let mut addresses: BTreeMap<String, String> = BTreeMap::new();
    let mut backends = Vec::new();
    for (node, backend) in view.tables("backends") {
        let written = backend.text("address").unwrap_or_default();
        let id = backend.text("id").unwrap_or(written);
        let id_span = backend.own("id").unwrap_or(node).span;
        if ids.insert(id, ()).is_some() && !id.is_empty() {
            build.say(id_span, say::backend_twice(id, pool));
        }
        let Ok(address) = net::backend(written) else { continue };
        let address_span = backend.own("address").unwrap_or(node).span;
        if let Some(listener) = own_listener(build, &address) {
            build.say(address_span, say::own_listener(written, &listener));
        }
        match addresses.get(&address.to_string()) {
            Some(other) if other != id => {
                build.say(address_span, say::address_shared(written, other))
            }
            _ => drop(addresses.insert(address.to_string(), id.to_owned())),
        }
        backends.push(Backend {
            id: BackendId(id.into()),
            address,
            weight: backend.integer("weight").unwrap_or(1),
            max_concurrency: backend.integer("max_concurrency").or(common_cap),
            zone: backend.text("zone").map(Into::into),
            origin: Origin::OnPrem,
        });
    }
    backends
}

/// The listener that answers at this address, as far as can be told without looking at the
/// machine's interfaces: same address, or loopback while it accepts on every address.
fn own_listener(build: &Build<'_>, address: &Address) -> Option<String> {
    let (ip, port) = match address {
        Address::Socket(address) => (Some(address.ip().to_canonical()), address.port()),
        Address::Name { host, port } if &**host == "localhost" => (None, *port),
        Address::Name { .. } => return None,
    };
    let is_here = |bound: std::net::IpAddr| match ip {
        Some(ip) => ip == bound || (ip.is_loopback() && bound.is_unspecified()),
        None => bound.is_loopback() || bound.is_unspecified(),
    };
    let bind = build
        .binds
        .iter()
        .find(|b| b.address.port() == port && is_here(b.address.ip().to_canonical()));
    bind.map(|bind| bind.what.clone())
}

fn rule(view: View<'_>, backends: usize) -> Rule {
    match view.text("balance") {
        Some("round_robin") => Rule::RoundRobin,
        Some("least_requests") => Rule::LeastRequests,
        Some("two_choices") => Rule::TwoChoices,
        Some("peak_ewma") => Rule::PeakEwma,
        Some("consistent_hash") => Rule::ConsistentHash,
        Some("first") => Rule::First,
        _ => Rule::default_for(backends),
    }
}

/// `"client_address"`, `"path"`, `{ header = ... }` or `{ cookie = ... }`.
pub(super) fn hash_key(build: &mut Build<'_>, node: Option<&Node>) -> HashKey {
    match node.map(|node| (node, &node.value)) {
        Some((_, Value::Text(word))) if word == "path" => HashKey::Path,
        Some((node, Value::Table(table))) => {
            let text = |key: &str| table.get(key).and_then(Node::text);
            match (text("header"), text("cookie")) {
                (Some(name), None) => HashKey::Header(name.to_ascii_lowercase().into()),
                (None, Some(name)) => HashKey::Cookie(name.into()),
                (header, _) => {
                    let keys = ["header", "cookie"];
                    let found: &[&str] = if header.is_some() { &keys } else { &[] };
                    build.say(node.span, say::choice("a hash key", &keys, found));
                    HashKey::ClientAddress
                }
            }
        }
        _ => HashKey::ClientAddress,
    }
}

fn health_config(view: View<'_>) -> HealthConfig {
    HealthConfig {
        probe: probe(view),
        port: view.integer("port"),
        interval: view.duration("interval").unwrap_or_default(),
        jitter_percent: percent(view.share("jitter")),
        timeout: view.duration("timeout").unwrap_or_default(),
        healthy_after: view.integer("healthy_after").unwrap_or(1),
        unhealthy_after: view.integer("unhealthy_after").unwrap_or(1),
    }
}

/// The kind of a health check: as it is written, or because there is something to look at.
pub(crate) fn check_kind(view: View<'_>) -> &str {
    let looks_at = |keys: &[&str]| keys.iter().any(|key| view.given(key).is_some());
    match view.text("kind") {
        Some(kind) => kind,
        None if looks_at(&["path", "status", "body_contains"]) => "http",
        None if looks_at(&["grpc_service"]) => "grpc",
        None => "tcp",
    }
}

/// What a check of another kind would look at.
fn idle_health_keys(build: &mut Build<'_>, view: View<'_>) {
    let (keys, why): (&[&str], _) = match check_kind(view) {
        "http" => (&["grpc_service"], "the check is of kind `http`"),
        "grpc" => (&["path", "status", "body_contains"], "the check is of kind `grpc`"),
        _ => (
            &["path", "status", "body_contains", "grpc_service"],
            "the check only connects, `kind = \"tcp\"`",
        ),
    };
    for key in keys {
        if let Some(node) = view.own(key) {
            build.say(node.span, say::idle_key(key, why));
        }
    }
}

fn probe(view: View<'_>) -> ProbeKind {
    let host = view.text("host").map(Into::into);
    match check_kind(view) {
        "http" => {}
        "grpc" => {
            let service = view.text("grpc_service").unwrap_or_default().into();
            return ProbeKind::Grpc { service, host };
        }
        _ => return ProbeKind::Tcp,
    }
    let mut status: Vec<(u16, u16)> = view.list("status").iter().filter_map(status_range).collect();
    if status.is_empty() {
        status.push((200, 299));
    }
    ProbeKind::Http {
        path: view.text("path").unwrap_or("/").into(),
        host,
        status,
        body_contains: view.text("body_contains").map(Arc::from),
    }
}

fn status_range(node: &Node) -> Option<(u16, u16)> {
    match &node.value {
        Value::Text(text) => http::status_range(text).ok(),
        Value::Integer(code) => http::status_range(&code.to_string()).ok(),
        _ => None,
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 0 to 50, checked by the walk
fn percent(share: Option<f64>) -> u8 {
    share.unwrap_or_default().round().clamp(0.0, 50.0) as u8
}
