//! The recorder behind the `metrics` crate, with series that leave.
//!
//! The exporter drops a counter that nobody has added to for [`IDLE`]. Whoever holds a handle to
//! it goes on counting into the void, so an idle counter must not be dropped while it is still
//! meant. The keeper touches every counter once a second, except those of backends that are gone.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::{
    Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, Recorder, SharedString, Unit,
};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use metrics_util::MetricKindMask;

use super::names::{ALL, Kind, Metric};

/// An untouched counter is exported for as long. Well above the second between two touches.
pub(super) const IDLE: Duration = Duration::from_secs(60);

const METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, None);

/// Passes on to the exporter and remembers which counters there are.
#[derive(Debug)]
pub(super) struct Keeper {
    exporter: PrometheusRecorder,
    /// Counters of other crates. Ours are set anew each second anyway.
    foreign: Mutex<BTreeSet<Key>>,
}

impl Keeper {
    pub(super) fn new(idle: Duration) -> Keeper {
        let exporter = PrometheusBuilder::new()
            .idle_timeout(MetricKindMask::COUNTER, Some(idle))
            .build_recorder();
        for metric in ALL.iter().filter(|metric| metric.kind == Kind::Counter) {
            exporter.describe_counter(metric.name.into(), None, metric.help.into());
        }
        Keeper { exporter, foreign: Mutex::default() }
    }

    pub(super) fn handle(&self) -> PrometheusHandle {
        self.exporter.handle()
    }

    /// Raises one of our counters to `value`; to be repeated within [`IDLE`], or the series ends.
    /// Never lowers it.
    pub(super) fn set(&self, metric: &Metric, values: &[SharedString], value: u64) {
        debug_assert_eq!(metric.labels.len(), values.len(), "labels of {}", metric.name);
        let labels = metric.labels.iter().zip(values);
        let labels: Vec<Label> =
            labels.map(|(&name, value)| Label::new(name, value.clone())).collect();
        let key = Key::from_parts(metric.name, labels);
        self.exporter.register_counter(&key, &METADATA).absolute(value);
    }

    /// Keeps all counters of others that are no backend's, or that of one that `is_here`, which is
    /// given the labels `pool` and `backend`.
    pub(super) fn touch(&self, is_here: impl Fn(&str, &str) -> bool) {
        self.foreign().retain(|key| {
            let keep = match (label(key, "pool"), label(key, "backend")) {
                (Some(pool), Some(backend)) => is_here(pool, backend),
                _ => true,
            };
            if keep {
                self.exporter.register_counter(key, &METADATA).increment(0);
            }
            keep
        });
    }

    fn foreign(&self) -> MutexGuard<'_, BTreeSet<Key>> {
        self.foreign.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn label<'a>(key: &'a Key, name: &str) -> Option<&'a str> {
    key.labels().find(|label| label.key() == name).map(Label::value)
}

impl Recorder for Keeper {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, description: SharedString) {
        self.exporter.describe_counter(name, unit, description);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, description: SharedString) {
        self.exporter.describe_gauge(name, unit, description);
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, description: SharedString) {
        self.exporter.describe_histogram(name, unit, description);
    }

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        self.foreign().insert(key.clone());
        self.exporter.register_counter(key, metadata)
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        self.exporter.register_gauge(key, metadata)
    }

    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
        self.exporter.register_histogram(key, metadata)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checks(keeper: &Keeper, backend: &str) -> Counter {
        let labels = ["pool", "backend"].into_iter().zip(["app", backend]);
        let labels = labels.map(|(name, value)| Label::new(name, value.to_owned()));
        let key = Key::from_parts("checks_total", labels.collect::<Vec<_>>());
        keeper.register_counter(&key, &METADATA)
    }

    /// Renders until `line` is there or gone, touching what stays; the exporter looks at the time
    /// only when it renders.
    #[track_caller]
    fn wait(keeper: &Keeper, line: &str, should_be: bool, is_here: impl Fn(&str) -> bool) {
        let deadline = std::time::Instant::now() + Duration::from_secs(5);
        loop {
            keeper.touch(|_, backend| is_here(backend));
            let text = keeper.handle().render();
            if text.contains(line) == should_be {
                return;
            }
            assert!(std::time::Instant::now() < deadline, "{line} in\n{text}");
            std::thread::yield_now();
        }
    }

    #[test]
    fn counters_of_a_backend_that_left_end_and_others_stay_though_idle() {
        let keeper = Keeper::new(Duration::from_millis(20));
        let (stays, leaves) = (checks(&keeper, "stays"), checks(&keeper, "leaves"));
        stays.increment(1);
        leaves.increment(1);
        let left = "checks_total{pool=\"app\",backend=\"leaves\"} 1";
        wait(&keeper, left, true, |_| true);
        wait(&keeper, left, false, |backend| backend == "stays");
        stays.increment(1);
        let stayed = "checks_total{pool=\"app\",backend=\"stays\"} 2";
        wait(&keeper, stayed, true, |backend| backend == "stays");
    }

    #[test]
    fn a_backend_that_returns_counts_again() {
        let keeper = Keeper::new(Duration::from_millis(20));
        let here = |_: &str| true;
        checks(&keeper, "b").increment(3);
        wait(&keeper, "} 3", true, here);
        wait(&keeper, "} 3", false, |_| false);
        checks(&keeper, "b").increment(1);
        wait(&keeper, "} 1", true, here);
    }
}
