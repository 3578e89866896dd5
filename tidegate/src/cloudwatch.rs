//! Headline figures for CloudWatch, every minute or so.
//!
//! What is written is what the admin pages show; nothing is measured for it. Requests are counted from
//! the last write that went well, so that a time without CloudWatch loses none of them. A write that
//! fails is said once, and that it works is said once: nothing here depends on either.

use std::sync::Arc;

use infra::aws::cloudwatch::{CloudWatchWriter, Figure, Unit};
use jiff::Timestamp;
use tokio::time::MissedTickBehavior;

use crate::admin::Source;
use crate::admin::view::{BackendState, PoolView, StatusView};
use crate::config::CloudWatchConfig;
use scaler::ports::with_causes;

/// The same for configurations that write the same.
pub fn summary(config: Option<&CloudWatchConfig>) -> String {
    let Some(config) = config else { return "off".to_owned() };
    let hash = policies::rng::hash(format!("{config:?}").as_bytes()) >> 32;
    format!("{} every {:?}, {hash:08x}", config.namespace, config.every)
}

/// Writes until it is dropped.
pub async fn run(config: CloudWatchConfig, source: Arc<dyn Source>) {
    let writer = CloudWatchWriter::new(config.namespace, config.place);
    let mut tick = tokio::time::interval(config.every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = Counts::default();
    let mut was_written = None;
    loop {
        tick.tick().await;
        let status = source.status();
        let now = Counts::of(&status);
        let figures = figures(&status.site, now.since(told), &source.pools());
        let written = writer.put(Timestamp::now(), &figures).await;
        if written.is_ok() {
            told = now;
        }
        if was_written == Some(written.is_ok()) {
            continue;
        }
        was_written = Some(written.is_ok());
        match written {
            Ok(()) => tracing::info!(figures = figures.len(), "figures_written"),
            Err(error) => tracing::warn!(error = with_causes(&error), "figures_not_written"),
        }
    }
}

/// Requests that ended: all of them, and those that did not go well.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    requests: u64,
    failed: u64,
    refused: u64,
}

impl Counts {
    fn of(status: &StatusView) -> Counts {
        Counts {
            requests: status.requests,
            failed: status.failed_requests,
            refused: status.refused_requests,
        }
    }

    fn since(self, earlier: Counts) -> Counts {
        Counts {
            requests: self.requests.saturating_sub(earlier.requests),
            failed: self.failed.saturating_sub(earlier.failed),
            refused: self.refused.saturating_sub(earlier.refused),
        }
    }
}

/// The door's and each pool's; `docs/alerts.md` has a row for each.
fn figures(site: &str, counts: Counts, pools: &[PoolView]) -> Vec<Figure> {
    let of_site = |(name, value)| Figure {
        name,
        value,
        unit: Unit::Count,
        dimensions: vec![("Site", site.to_owned())],
    };
    let door = [
        // Its absence is an alarm on the other side.
        ("Heartbeat", 1.0),
        ("Requests", number(counts.requests)),
        ("FailedRequests", number(counts.failed)),
        ("RefusedRequests", number(counts.refused)),
    ];
    let pools = pools.iter().flat_map(|pool| {
        of_pool(pool).map(|(name, value, unit)| {
            let dimensions = vec![("Site", site.to_owned()), ("Pool", pool.name.clone())];
            Figure { name, value, unit, dimensions }
        })
    });
    door.map(of_site).into_iter().chain(pools).collect()
}

fn of_pool(pool: &PoolView) -> [(&'static str, f64, Unit); 6] {
    let serving = pool.backends.iter().filter(|b| b.state == BackendState::Serving);
    [
        ("ArrivalsPerSecond", pool.demand.arrivals_rps, Unit::CountPerSecond),
        ("RefusedPerSecond", pool.demand.refused_rps, Unit::CountPerSecond),
        ("Concurrency", pool.demand.concurrency, Unit::Count),
        ("InFlight", f64::from(pool.in_flight), Unit::Count),
        ("Waiting", number(pool.queued), Unit::Count),
        ("BackendsServing", number(serving.count() as u64), Unit::Count),
    ]
}

/// Exact up to 2^53.
#[allow(clippy::cast_precision_loss)]
fn number(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::view::DemandView;

    #[test]
    fn a_door_with_a_pool_has_ten_figures_with_their_dimensions() {
        let pool = PoolView {
            name: "app".into(),
            rule: String::new(),
            in_flight: 3,
            concurrency_limit: None,
            queued: 2,
            is_panicking: false,
            demand: DemandView::default(),
            backends: Vec::new(),
            scaler: None,
        };
        let earlier = Counts { requests: 100, failed: 2, refused: 1 };
        let now = Counts { requests: 160, failed: 2, refused: 4 };
        let found = figures("kg", now.since(earlier), &[pool]);
        let short: Vec<_> = found.iter().map(|figure| (figure.name, figure.value)).collect();
        let expected = [
            ("Heartbeat", 1.0),
            ("Requests", 60.0),
            ("FailedRequests", 0.0),
            ("RefusedRequests", 3.0),
            ("ArrivalsPerSecond", 0.0),
            ("RefusedPerSecond", 0.0),
            ("Concurrency", 0.0),
            ("InFlight", 3.0),
            ("Waiting", 2.0),
            ("BackendsServing", 0.0),
        ];
        assert_eq!(short, expected);
        assert_eq!(found[0].dimensions, [("Site", "kg".to_owned())]);
        let of_pool = [("Site", "kg".to_owned()), ("Pool", "app".to_owned())];
        assert_eq!(found[9].dimensions, of_pool);
    }
}
