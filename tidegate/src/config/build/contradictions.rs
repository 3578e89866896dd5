//! What a scaler says that works against itself: it runs, and not as somebody may expect.

use balancer::config::{PoolConfig, RouteConfig};
use jiff::Timestamp;
use policies::backend::PoolIndex;
use policies::route::{Action, Target};
use policies::scale::policy::ScalingPolicy;
use policies::scale::window::{Opening, When, Window};
use scaler::controller::BootSettings;

use super::Build;
use crate::config::ScalerConfig;
use crate::config::document::Span;
use crate::config::text::scaling as say;
use crate::config::view::View;

/// Openings of a window that are compared with another: those of a month, if there is one a day.
const COMPARED: usize = 31;

/// A Monday; windows of a week and by cron are compared from here on, so that the same file always
/// gets the same answer.
const FROM: &str = "2026-01-05T00:00:00Z";

/// Says what is odd; `spans` are those of the windows.
pub(super) fn check(
    build: &mut Build<'_>,
    view: View<'_>,
    policy: &ScalingPolicy,
    spans: &[Span],
    boot: &BootSettings,
) {
    let cooldown = policy.up.cooldown;
    if let Some(node) = view.view("up").own("cooldown").filter(|_| cooldown > boot.assume) {
        build.say(node.span, say::slow_to_grow(cooldown, boot.assume));
    }
    for (span, window) in spans.iter().zip(&policy.windows) {
        let Some(floor) = window.floor else { continue };
        if floor > policy.ceiling {
            build.say(
                *span,
                say::floor_never_reached(&window.name, floor, "`ceiling`", policy.ceiling),
            );
        }
        let meets = |other: &&Window| {
            other.name != window.name
                && other.ceiling.is_some_and(|most| most < floor)
                && meet(window, other)
        };
        if let Some(other) = policy.windows.iter().find(meets) {
            let what = format!("window `{}`", other.name);
            let most = other.ceiling.unwrap_or_default();
            build.say(*span, say::floor_never_reached(&window.name, floor, &what, most));
        }
    }
    let low = policy
        .windows
        .iter()
        .zip(spans)
        .find(|(window, _)| window.ceiling.is_some_and(|most| most < policy.floor));
    if let Some((window, span)) = low {
        let most = window.ceiling.unwrap_or_default();
        build.say(*span, say::ceiling_below_floor(&window.name, most, policy.floor));
    }
}

/// Says which pools may be empty while requests come to them first and wait for less time than a
/// launch takes.
pub(super) fn cold_starts(
    build: &mut Build<'_>,
    root: View<'_>,
    scalers: &[ScalerConfig],
    pools: &[PoolConfig],
    routes: &[RouteConfig],
) {
    for (place, pool) in (0..=u16::MAX).map(PoolIndex).zip(pools) {
        let is_its = |scaler: &&ScalerConfig| scaler.pool == pool.name;
        let Some(scaler) = scalers.iter().find(is_its) else { continue };
        let (waits, assumed) = (pool.queue.time, scaler.boot.assume);
        let is_cold = scaler.policy.floor == 0 && pool.queue.max > 0 && waits < assumed;
        if is_cold && routes.iter().any(|route| asks_first(&route.route.action, place)) {
            let named = root.named("pools");
            let found = named.iter().find(|(entry, _)| *entry.key == *pool.name.0);
            let Some((entry, view)) = found else { continue };
            let time = view.view("queue").own("time");
            let span = time.map_or(entry.key_span, |node| node.span);
            build.say(span, say::cold_start(&pool.name.0, waits, assumed));
        }
    }
}

fn asks_first(action: &Action, pool: PoolIndex) -> bool {
    match action {
        Action::Forward(Target::Waterfall(pools)) => pools.first() == Some(&pool),
        Action::Forward(Target::Split { arms, .. }) => {
            arms.iter().any(|arm| arm.to.first() == Some(&pool))
        }
        Action::Redirect { .. } | Action::Respond { .. } => false,
    }
}

/// Whether two windows are ever open together, as far as is looked.
fn meet(one: &Window, other: &Window) -> bool {
    let during = |window: &Window, opening: Opening| {
        window.opening(opening.from).is_some_and(|found| found.from < opening.to)
    };
    openings(one).any(|opening| during(other, opening))
        || openings(other).any(|opening| during(one, opening))
}

fn openings(window: &Window) -> impl Iterator<Item = Opening> + '_ {
    let from = match window.when {
        When::Once { .. } => Timestamp::MIN,
        When::Weekly { .. } | When::Cron { .. } => FROM.parse().unwrap_or_default(),
    };
    std::iter::successors(window.next(from), |last| window.next(last.from)).take(COMPARED)
}
