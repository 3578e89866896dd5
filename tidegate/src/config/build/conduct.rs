//! What follows from how the backends of a pool behave: `outlier`, `health.slow_start`,
//! `health.min_healthy`,
//! `breaker`.

use std::time::Duration;

use balancer::config::ConductConfig;
use policies::breaker::BreakerPolicy;
use policies::outlier::{ErrorRate, Latency, OutlierPolicy};

use crate::config::view::View;

/// Of the pool, or what holds for all.
pub(super) fn conduct(pool: View<'_>, defaults: View<'_>) -> ConductConfig {
    let health = pool.view("health").or(defaults.view("health"));
    ConductConfig {
        outlier: outlier(pool.view("outlier").or(defaults.view("outlier"))),
        slow_start: health.duration("slow_start").unwrap_or_default(),
        breaker: breaker(pool, defaults),
        min_healthy: health.share("min_healthy").filter(|share| *share > 0.0),
    }
}

/// When one backend is taken out by its answers.
fn outlier(view: View<'_>) -> OutlierPolicy {
    let (rate, latency) = (view.view("error_rate"), view.view("latency"));
    let error_rate = ErrorRate {
        above: rate.share("above").unwrap_or_default(),
        over: rate.duration("over").unwrap_or(Duration::from_secs(10)),
        min_requests: rate.integer("min_requests").unwrap_or(1),
    };
    let times: u32 = latency.integer("times").unwrap_or_default();
    let latency = Latency {
        times: f64::from(times),
        at_least: latency.duration("at_least").unwrap_or_default(),
        min_requests: latency.integer("min_requests").unwrap_or(1),
    };
    OutlierPolicy {
        consecutive: view.integer("consecutive_5xx").filter(|failures| *failures > 0),
        error_rate: (error_rate.above > 0.0).then_some(error_rate),
        latency: (times > 0).then_some(latency),
        eject_for: view.duration("eject_for").unwrap_or_default(),
        max_ejected: view.share("max_ejected").unwrap_or_default(),
    }
}

/// There is one only where it is written.
fn breaker(pool: View<'_>, defaults: View<'_>) -> Option<BreakerPolicy> {
    [pool, defaults].iter().find_map(|view| view.given("breaker"))?;
    let view = pool.view("breaker").or(defaults.view("breaker"));
    let (open_on, half_open) = (view.view("open_on"), view.view("half_open"));
    let rate = |key| open_on.share(key).filter(|share| *share > 0.0);
    let probes = half_open.integer("probes").unwrap_or(1);
    let slower_than = open_on.duration("slower_than").unwrap_or(Duration::MAX);
    Some(BreakerPolicy {
        failure_rate: rate("failure_rate"),
        slow_rate: rate("slow_rate"),
        slower_than_us: u64::try_from(slower_than.as_micros()).unwrap_or(u64::MAX),
        over: open_on.duration("over").unwrap_or_default(),
        min_requests: open_on.integer("min_requests").unwrap_or(1),
        open_for: view.duration("open_for").unwrap_or_default(),
        probes,
        close_after: half_open.integer("close_after").unwrap_or(1).min(probes),
    })
}
