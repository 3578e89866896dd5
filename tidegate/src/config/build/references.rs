//! What routes say about pools and about each other.

use std::collections::BTreeMap;

use balancer::config::{PoolConfig, RouteConfig};
use policies::backend::{Backend, PoolIndex};
use policies::route::{Arm, Matcher, Target};

use super::Build;
use super::pools::hash_key;
use super::routes::PoolNames;
use crate::config::document::Node;
use crate::config::text::references as say;
use crate::config::view::View;

/// `to = { ... }`
pub(super) fn target(
    build: &mut Build<'_>,
    node: Option<&Node>,
    view: View<'_>,
    pools: &PoolNames<'_>,
) -> Target {
    const KEYS: [&str; 3] = ["pool", "waterfall", "split"];
    let found: Vec<&str> = KEYS.into_iter().filter(|key| view.own(key).is_some()).collect();
    let node = node.filter(|node| node.table().is_some());
    if let (Some(node), true) = (node, found.len() != 1) {
        build.say(node.span, say::choice("`to`", &KEYS, &found));
    }
    if let (Some(sticky), None) = (view.own("sticky"), view.own("split")) {
        build.say(sticky.span, say::needs("to.sticky", "`split`"));
    }
    if found.first() != Some(&"split") {
        return Target::Waterfall(waterfall(build, view, pools));
    }
    let arms = view.tables("split");
    let arms: Vec<Arm> =
        arms.into_iter().map(|(node, arm)| split_arm(build, node, arm, pools)).collect();
    match view.own("split") {
        Some(node) if arms.is_empty() => {
            build.say(node.span, say::needs("split", "at least one arm"))
        }
        Some(node) if arms.iter().all(|arm| arm.weight == 0) => {
            build.say(node.span, say::no_share())
        }
        _ => {}
    }
    let by = view.own("sticky").and_then(Node::table).and_then(|table| table.get("by"));
    Target::Split { arms, sticky: by.map(|by| hash_key(build, Some(by))) }
}

fn split_arm(build: &mut Build<'_>, node: &Node, view: View<'_>, pools: &PoolNames<'_>) -> Arm {
    const KEYS: [&str; 2] = ["pool", "waterfall"];
    let found: Vec<&str> = KEYS.into_iter().filter(|key| view.own(key).is_some()).collect();
    if found.len() != 1 {
        build.say(node.span, say::choice("an arm of a split", &KEYS, &found));
    }
    Arm { to: waterfall(build, view, pools), weight: view.integer("weight").unwrap_or_default() }
}

/// `pool = "a"` or `waterfall = ["a", "b"]`
fn waterfall(build: &mut Build<'_>, view: View<'_>, pools: &PoolNames<'_>) -> Vec<PoolIndex> {
    let key = if view.own("pool").is_some() { "pool" } else { "waterfall" };
    if let (Some(node), []) = (view.own(key), view.list(key)) {
        build.say(node.span, say::needs(key, "at least one pool"));
    }
    let mut found = Vec::new();
    for node in view.list(key) {
        let Some(name) = node.text().filter(|name| !name.is_empty()) else { continue };
        match pools.get(name) {
            Some(index) if found.contains(index) => build.say(node.span, say::pool_twice(name)),
            Some(index) => found.push(*index),
            None => {
                let known: Vec<&str> = pools.keys().copied().collect();
                build.say(node.span, say::no_pool(name, &known));
            }
        }
    }
    found
}

/// Points out routes that an earlier one with the same match, or with none, leaves nothing.
pub(super) fn shadowed(build: &mut Build<'_>, root: View<'_>, routes: &[RouteConfig]) {
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    let mut takes_all: Option<&str> = None;
    for ((node, view), config) in root.tables("routes").into_iter().zip(routes) {
        let span = view.own("name").unwrap_or(node).span;
        let name = &*config.route.name;
        let when = format!("{:?}", config.route.when);
        if let Some(first) = takes_all {
            build.say(span, say::shadowed(name, first, false));
        } else if let Some(first) = seen.get(&when) {
            build.say(span, say::shadowed(name, first, true));
        } else {
            seen.insert(when, name);
        }
        let is_everything = matches!(&config.route.when, Matcher::All(all) if all.is_empty());
        if is_everything {
            takes_all = takes_all.or(Some(name));
        }
    }
}

/// What is reserved of each pool must be there, and what is reserved of a pool without a bound is
/// nothing.
pub(super) fn reserves(
    build: &mut Build<'_>,
    root: View<'_>,
    routes: &[RouteConfig],
    pools: &[PoolConfig],
) {
    let mut percent = vec![0.0; pools.len()];
    for ((_, view), config) in root.tables("routes").into_iter().zip(routes) {
        let Some(node) = view.view("limits").own("reserve") else { continue };
        for place in config.pools().into_iter().map(usize::from) {
            let (Some(pool), Some(sum)) = (pools.get(place), percent.get_mut(place)) else {
                continue;
            };
            let is_bounded = |backend: &Backend| backend.max_concurrency.is_some();
            if pool.concurrency.is_none() && !pool.backends.iter().all(is_bounded) {
                build.say(node.span, say::reserve_of_unbounded(&pool.name.0));
            }
            let before = *sum;
            *sum += config.reserve * 100.0;
            if *sum > OVER_ALL && before <= OVER_ALL {
                build.say(node.span, say::over_reserved(&pool.name.0, sum.round()));
            }
        }
    }
}

/// Percent; a sum of shares that are 100 together may come out a little larger.
const OVER_ALL: f64 = 100.001;

/// Points out pools that no route leads to.
pub(super) fn unused_pools(build: &mut Build<'_>, root: View<'_>, routes: &[RouteConfig]) {
    let mut used: Vec<u16> = routes.iter().flat_map(RouteConfig::pools).collect();
    used.sort_unstable();
    for ((entry, _), index) in root.named("pools").into_iter().zip(0..=u16::MAX) {
        if used.binary_search(&index).is_err() {
            build.say(entry.key_span, say::pool_unused(&entry.key));
        }
    }
}
