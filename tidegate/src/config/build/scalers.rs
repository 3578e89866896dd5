//! `[scalers.*]`: from keys to the settings of a controller.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use policies::backend::PoolName;
use policies::scale::policy::{
    Burst, Dependency, Down, Freeze, OnMissing, ScalingPolicy, Signal, Step, Target, Up, WhenBlind,
};
use scaler::controller::{Before, BootSettings, Mode, Settings, Victim};

use super::{Build, contradictions, windows};
use crate::config::document::{Entry, Node, Value};
use crate::config::keys::Kind;
use crate::config::text::{scaling as say, values};
use crate::config::values as read;
use crate::config::view::View;
use crate::config::{ElasticConfig, ScalerConfig};

/// Requests in flight may end for as long before an instance is given back.
const DRAIN_LIMIT: Duration = Duration::from_secs(90);

/// Of `max_concurrency`: what an instance should carry if nobody says; the rest is for the time
/// until others have come.
const USUAL_SHARE: f64 = 0.8;

/// Carried by one instance where nobody says: everything, so that demand asks for nothing.
const EVERYTHING: f64 = f64::MAX;

/// The scalers of the pools that can be scaled, in the order of their names.
pub(super) fn scalers(
    build: &mut Build<'_>,
    root: View<'_>,
    elastic: &[ElasticConfig],
) -> Vec<ScalerConfig> {
    let mut found: Vec<ScalerConfig> = Vec::new();
    for (entry, view) in root.named("scalers") {
        let name = view.text("pool").unwrap_or(&entry.key);
        let span = view.own("pool").map_or(entry.key_span, |node| node.span);
        let pools = root.named("pools");
        let Some((_, pool)) = pools.iter().find(|(pool, _)| pool.key == name) else {
            let known: Vec<&str> = pools.iter().map(|(pool, _)| pool.key.as_str()).collect();
            build.say(span, say::no_pool_to_scale(name, &known));
            continue;
        };
        if !super::elastic::is_elastic(*pool) {
            build.say(span, say::not_elastic(name));
            continue;
        }
        if found.iter().any(|other| &*other.pool.0 == name) {
            build.say(span, say::scaled_twice(name));
            continue;
        }
        let config = scaler(build, root, entry, view, (name, *pool));
        // Without a provider that is supported nothing can be launched; that was said already.
        if elastic.iter().any(|elastic| &*elastic.pool.0 == name) {
            found.push(config);
        }
    }
    found
}

fn scaler(
    build: &mut Build<'_>,
    root: View<'_>,
    entry: &Entry,
    view: View<'_>,
    (name, pool): (&str, View<'_>),
) -> ScalerConfig {
    let (spans, windows): (Vec<_>, Vec<_>) =
        windows::windows(build, root, view).into_iter().unzip();
    let policy = ScalingPolicy {
        floor: view.integer("floor").unwrap_or_default(),
        ceiling: view.integer("ceiling").unwrap_or(1),
        min_spare_instances: view.integer("min_spare_instances").unwrap_or_default(),
        target: target(build, entry, view.view("target"), pool),
        up: up(view.view("up")),
        down: down(build, view.view("down")),
        on_missing_signal: on_missing(build, view.view("on_missing_signal")),
        windows,
        depends: depends(build, view),
        places: places(build, view),
    };
    if policy.floor > policy.ceiling {
        let span = view.given("floor").map_or(entry.key_span, |node| node.span);
        build.say(span, say::floor_above_ceiling(policy.floor, policy.ceiling));
    }
    let boot = boot(pool, root.view("defaults"));
    contradictions::check(build, view, &policy, &spans, &boot);
    Settings {
        site: root.view("site").text("name").unwrap_or_default().into(),
        pool: PoolName(name.into()),
        policy,
        tick: view.duration("tick").unwrap_or(Duration::from_secs(1)),
        mode: if view.text("mode") == Some("shadow") { Mode::Shadow } else { Mode::Act },
        before: before(root, pool),
        boot,
        drain_limit: DRAIN_LIMIT,
        drain_backlog_within: view.view("target").duration("drain_within").unwrap_or_default(),
        victims: victims(view.view("down")),
    }
}

fn target(build: &mut Build<'_>, entry: &Entry, view: View<'_>, pool: View<'_>) -> Target {
    let signal = match view.text("signal") {
        Some("requests") => Signal::Requests,
        _ => Signal::Concurrency,
    };
    let cap = pool.integer::<u32>("max_concurrency").map(f64::from);
    let usual = cap.filter(|_| signal == Signal::Concurrency).map(|cap| cap * USUAL_SHARE);
    let per_instance = number(view.given("per_instance")).or(usual);
    match per_instance {
        Some(carried) if carried <= 0.0 => {
            let span = view.given("per_instance").map_or(entry.key_span, |node| node.span);
            build.say(span, values::out_of_range("0", "more than 0", "any finite number"));
        }
        Some(carried) if cap.is_some_and(|cap| signal == Signal::Concurrency && carried > cap) => {
            let span = view.given("per_instance").map_or(entry.key_span, |node| node.span);
            build.say(span, say::target_above_cap(carried, cap.unwrap_or_default()));
        }
        Some(_) => {}
        None => build.say(entry.key_span, say::no_target(&entry.key)),
    }
    let burst = view.view("burst");
    Target {
        signal,
        per_instance: per_instance.filter(|carried| *carried > 0.0).unwrap_or(EVERYTHING),
        window: view.duration("window").unwrap_or_default(),
        burst: Some(Burst {
            window: burst.duration("window").unwrap_or_default(),
            when_above: burst.text("when_above").and_then(read::factor).unwrap_or(1.0),
        }),
        spare: view.share("spare").unwrap_or_default() / 100.0,
    }
}

fn number(node: Option<&Node>) -> Option<f64> {
    match node?.value {
        #[allow(clippy::cast_precision_loss)] // nobody has that many
        Value::Integer(number) => Some(number as f64),
        Value::Float(number) => Some(number),
        _ => None,
    }
}

fn up(view: View<'_>) -> Up {
    Up {
        max_step: step(view, "max_step").unwrap_or(Step::Share(1.0)),
        min_step: view.integer("min_step").unwrap_or(1),
        cooldown: view.duration("cooldown").unwrap_or_default(),
    }
}

fn down(build: &mut Build<'_>, view: View<'_>) -> Down {
    let mut freeze_if = ScalingPolicy::default().down.freeze_if;
    if view.given("freeze_if").is_some() {
        freeze_if = view.list("freeze_if").iter().filter_map(|node| freeze(build, node)).collect();
    }
    Down {
        stable_for: view.duration("stable_for").unwrap_or_default(),
        max_step: step(view, "max_step").unwrap_or(Step::Share(0.2)),
        cooldown: view.duration("cooldown").unwrap_or_default(),
        freeze_if,
    }
}

/// A count, or a share in percent.
fn step(view: View<'_>, key: &str) -> Option<Step> {
    match view.given(key).map(|node| &node.value) {
        Some(Value::Integer(count)) => u32::try_from(*count).ok().map(Step::Count),
        _ => view.share(key).map(|percent| Step::Share(percent / 100.0)),
    }
}

/// `outage_suspected`, `error_rate > 5%`, ...
fn freeze(build: &mut Build<'_>, node: &Node) -> Option<Freeze> {
    let text = node.text()?;
    let found = match text {
        "outage_suspected" => Some(Freeze::OutageSuspected),
        "boot_in_progress" => Some(Freeze::BootInProgress),
        "signal_missing" => Some(Freeze::SignalMissing),
        other => {
            let share = other.strip_prefix("error_rate").and_then(|rest| {
                read::share(rest.trim_start().strip_prefix('>')?.trim_start()).ok()
            });
            share.filter(|share| *share <= 100.0).map(|share| Freeze::ErrorRate(share / 100.0))
        }
    };
    if found.is_none() {
        let known = ["outage_suspected", "error_rate > 5%", "boot_in_progress", "signal_missing"];
        build.say(node.span, values::unknown_word(text, &known));
    }
    found
}

fn victims(view: View<'_>) -> Vec<Victim> {
    let named = view.texts("victim", |word| match word {
        "unhealthy" => Some(Victim::Unhealthy),
        "fewest_inflight" => Some(Victim::FewestInFlight),
        "end_of_billing_hour" => Some(Victim::EndOfBillingHour),
        "oldest_image" => Some(Victim::OldestImage),
        // `spot_marked`: whoever is taken back soon leaves at once, whatever is needed.
        _ => None,
    });
    match view.given("victim") {
        Some(_) => named,
        None => vec![
            Victim::Unhealthy,
            Victim::FewestInFlight,
            Victim::EndOfBillingHour,
            Victim::OldestImage,
        ],
    }
}

/// `hold` or `instances = N`.
fn on_missing(build: &mut Build<'_>, view: View<'_>) -> OnMissing {
    let text = view.text("do").unwrap_or("hold");
    let count = text
        .strip_prefix("instances")
        .and_then(|rest| rest.trim_start().strip_prefix('=')?.trim().parse::<u32>().ok());
    let then = match (text, count) {
        ("hold", _) => WhenBlind::Hold,
        (_, Some(count)) => WhenBlind::Instances(count),
        _ => {
            if let Some(node) = view.given("do") {
                build.say(
                    node.span,
                    values::malformed(&Kind::Text, text, "`hold` or `instances = N`"),
                );
            }
            WhenBlind::Hold
        }
    };
    OnMissing { after: view.duration("after").unwrap_or_default(), then }
}

fn depends(build: &Build<'_>, view: View<'_>) -> Vec<Dependency> {
    let named = view.named("depends").into_iter();
    named
        .map(|(entry, view)| Dependency {
            name: entry.key.as_str().into(),
            connections: view.integer("connections").unwrap_or(u32::MAX),
            per_instance: view.integer("per_instance").unwrap_or(1),
            place: build.place(entry.key_span),
        })
        .collect()
}

/// The elastic tiers above are filled by what the tiers below do not carry.
fn before(root: View<'_>, pool: View<'_>) -> Vec<Before> {
    let tier = |view: View<'_>| view.integer::<u32>("tier").unwrap_or_default();
    let own = tier(pool);
    let pools = root.named("pools").into_iter().filter(|(_, other)| tier(*other) < own);
    pools
        .map(|(entry, view)| Before {
            pool: PoolName(entry.key.as_str().into()),
            fill_to: view.share("fill_to").unwrap_or(100.0) / 100.0,
        })
        .collect()
}

fn boot(pool: View<'_>, defaults: View<'_>) -> BootSettings {
    let view = pool.view("boot");
    BootSettings {
        learn: view.flag("learn"),
        assume: view.duration("assume").unwrap_or_default(),
        percentile: view.integer("percentile").unwrap_or(95),
        give_up_after: view.duration("give_up_after").unwrap_or_default(),
        slow_start: super::conduct::conduct(pool, defaults).slow_start,
    }
}

/// Where each key that a decision may name is written.
fn places(build: &Build<'_>, view: View<'_>) -> BTreeMap<&'static str, Arc<str>> {
    let (target, up, down) = (view.view("target"), view.view("up"), view.view("down"));
    let nodes = [
        ("floor", view.own("floor")),
        ("ceiling", view.own("ceiling")),
        ("min_spare_instances", view.own("min_spare_instances")),
        ("target", target.own("per_instance").or(view.own("target"))),
        ("target.burst", target.own("burst")),
        ("up.max_step", up.own("max_step")),
        ("down.max_step", down.own("max_step")),
        ("on_missing_signal", view.own("on_missing_signal")),
    ];
    let written = nodes.into_iter().filter_map(|(key, node)| Some((key, node?)));
    written.map(|(key, node)| (key, build.place(node.span))).collect()
}
