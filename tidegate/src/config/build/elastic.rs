//! Elastic pools: `[pools.*.process]` and whoever else makes instances.

use std::net::{IpAddr, Ipv4Addr};

use infra::exec::ExecSettings;
use infra::process::ProcessSettings;
use ipnet::{IpNet, Ipv4Net};
use policies::backend::PoolName;

use super::{Build, ec2, files};
use crate::config::document::{Entry, Node};
use crate::config::text::references as say;
use crate::config::values::net;
use crate::config::view::View;
use crate::config::{ElasticConfig, ProviderConfig, SiteConfig};

/// Who can make instances; a pool has one of them.
const PROVIDERS: [&str; 3] = ["process", "exec", "aws"];

/// Loopback addresses (RFC 1122 §3.2.1.3).
const LOOPBACK: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);

/// In place of a range that is wrong: nobody is there, so that nothing else is said of it.
const NOWHERE: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(127, 255, 255, 254), 32);

/// Whether its backends are launched and not listed.
pub(super) fn is_elastic(view: View<'_>) -> bool {
    view.text("kind") == Some("elastic")
}

/// The elastic pools whose provider is supported, in the order of their names. Providers keep what
/// they must remember in the state directory of the site, in a folder for each pool.
pub(super) fn elastic(
    build: &mut Build<'_>,
    root: View<'_>,
    site: &SiteConfig,
) -> Vec<ElasticConfig> {
    let scaled = scaled_pools(root);
    let mut found = Vec::new();
    for (entry, view) in root.named("pools") {
        let providers: Vec<&str> =
            PROVIDERS.into_iter().filter(|name| view.own(name).is_some()).collect();
        match is_elastic(view) {
            true => check_elastic(build, entry, view, &providers, &scaled),
            false => check_static(build, view, &providers),
        }
        let is_elastic = is_elastic(view);
        if let Some(provider) = is_elastic.then(|| provider(build, entry, view, site)).flatten() {
            found.push(ElasticConfig {
                pool: PoolName(entry.key.as_str().into()),
                provider,
                max_concurrency: view.integer("max_concurrency"),
            });
        }
    }
    check_ranges(build, root, &found);
    found
}

fn check_elastic(
    build: &mut Build<'_>,
    entry: &Entry,
    view: View<'_>,
    providers: &[&str],
    scaled: &[&str],
) {
    let span = view.own("kind").map_or(entry.key_span, |node| node.span);
    if providers.len() != 1 {
        let section = format!("elastic pool `{}`", entry.key);
        build.say(span, say::choice(&section, &PROVIDERS, providers));
    }
    if let Some(node) = view.own("backends") {
        build.say(node.span, say::idle_key("backends", "an elastic pool launches its own"));
    }
    if !scaled.contains(&entry.key.as_str()) && providers.len() == 1 {
        let why = "no section of `scalers` is about it, so nothing launches its instances";
        build.say(span, say::pool_empty(&entry.key, why));
    }
}

fn check_static(build: &mut Build<'_>, view: View<'_>, providers: &[&str]) {
    for name in providers {
        let Some(node) = view.own(name) else { continue };
        let why = "only a pool with `kind = \"elastic\"` launches instances";
        build.say(node.span, say::idle_key(name, why));
    }
}

/// The pools that some section of `[scalers]` is about.
fn scaled_pools(root: View<'_>) -> Vec<&str> {
    let named = root.named("scalers").into_iter();
    named.map(|(entry, view)| view.text("pool").unwrap_or(&entry.key)).collect()
}

fn provider(
    build: &mut Build<'_>,
    entry: &Entry,
    view: View<'_>,
    site: &SiteConfig,
) -> Option<ProviderConfig> {
    if let Some(node) = view.own("process") {
        let settings = process(build, entry, node, view.view("process"), site);
        return Some(ProviderConfig::Process(settings));
    }
    if view.own("aws").is_some() {
        return ec2::ec2(build, entry, view.view("aws"), site);
    }
    view.own("exec")?;
    let own = view.view("exec");
    Some(ProviderConfig::Exec(ExecSettings {
        pool: PoolName(entry.key.as_str().into()),
        command: files::command(build, own),
        env: files::env(build, own),
        timeout: own.duration("timeout").unwrap_or_default(),
    }))
}

fn process(
    build: &mut Build<'_>,
    entry: &Entry,
    node: &Node,
    view: View<'_>,
    site: &SiteConfig,
) -> ProcessSettings {
    let port = view.integer("port").unwrap_or_default();
    let addresses = addresses(build, view).unwrap_or(NOWHERE);
    let listener = build.binds.iter().find(|bind| {
        let ip = bind.address.ip();
        let is_within = matches!(ip, IpAddr::V4(ip) if addresses.contains(&ip));
        bind.address.port() == port && (is_within || ip == IpAddr::V4(Ipv4Addr::UNSPECIFIED))
    });
    if let Some(listener) = listener.map(|bind| bind.what.clone()) {
        let span = view.own("port").unwrap_or(node).span;
        build.say(span, say::instances_at_listener(&shown(addresses, port), &listener));
    }
    ProcessSettings {
        pool: PoolName(entry.key.as_str().into()),
        command: files::command(build, view),
        env: files::env(build, view),
        addresses,
        port,
        boot_delay: view.duration("boot_delay").unwrap_or_default(),
        grace: view.duration("grace").unwrap_or_default(),
        folder: site.state_dir.join("instances").join(&entry.key),
    }
}

fn addresses(build: &mut Build<'_>, view: View<'_>) -> Option<Ipv4Net> {
    let text = view.text("addresses")?;
    let range = match net::cidr(text).ok()? {
        IpNet::V4(range) if LOOPBACK.contains(&range) => return Some(range),
        other => other,
    };
    let node = view.own("addresses")?;
    build.say(node.span, say::not_local(&range.to_string()));
    None
}

fn shown(addresses: Ipv4Net, port: u16) -> String {
    format!("`{addresses}`, port {port},")
}

/// Two pools that would give one address to two instances.
fn check_ranges(build: &mut Build<'_>, root: View<'_>, pools: &[ElasticConfig]) {
    let ranges: Vec<&ProcessSettings> = pools
        .iter()
        .filter_map(|pool| match &pool.provider {
            ProviderConfig::Process(settings) => Some(settings),
            ProviderConfig::Exec(_) | ProviderConfig::Ec2(_) => None,
        })
        .collect();
    for (place, one) in ranges.iter().enumerate() {
        let overlaps = |other: &&&ProcessSettings| {
            let (a, b) = (one.addresses, other.addresses);
            one.port == other.port && (a.contains(&b) || b.contains(&a))
        };
        let Some(other) = ranges[..place].iter().find(overlaps) else { continue };
        let named = root.named("pools");
        let found = named.iter().find(|(entry, _)| *entry.key == *one.pool.0);
        let Some(node) = found.and_then(|(_, view)| view.own("process")) else { continue };
        let text = shown(one.addresses, one.port);
        build.say(node.span, say::instances_overlap(&text, &other.pool.0));
    }
}
