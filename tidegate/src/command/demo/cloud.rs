//! What there is of the cloud, and what it has cost: as an operator sees it, from the metrics.

use std::time::{Duration, Instant};

/// How many instances are in which phase.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Census {
    pub(super) asked_for: u32,
    pub(super) booting: u32,
    pub(super) serving: u32,
    pub(super) draining: u32,
    pub(super) terminating: u32,
}

impl Census {
    /// Out of the text that a scraper gets; what is not in it is 0.
    pub(super) fn parse(metrics: &str, pool: &str) -> Census {
        let mut census = Census::default();
        let prefix = "tidegate_scaler_instances{";
        for line in metrics.lines().filter_map(|line| line.strip_prefix(prefix)) {
            let Some((labels, value)) = line.split_once("} ") else { continue };
            let has = |label: String| labels.split(',').any(|found| found == label);
            if !has(format!("pool=\"{pool}\"")) {
                continue;
            }
            let states = [
                ("asked_for", &mut census.asked_for),
                ("booting", &mut census.booting),
                ("serving", &mut census.serving),
                ("draining", &mut census.draining),
                ("terminating", &mut census.terminating),
            ];
            for (state, count) in states {
                if has(format!("state=\"{state}\"")) {
                    *count = value.trim().parse().unwrap_or_default();
                }
            }
        }
        census
    }

    /// What is paid for, or soon will be.
    pub(super) fn living(self) -> u32 {
        self.asked_for + self.booting + self.serving + self.draining + self.terminating
    }
}

/// Instances over time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Bill {
    began: Option<Instant>,
    last: Option<(Instant, u32)>,
    /// Instance-seconds.
    pub(super) used: f64,
    /// Most instances at once.
    pub(super) most: u32,
}

impl Bill {
    pub(super) fn note(&mut self, now: Instant, living: u32) {
        self.began.get_or_insert(now);
        if let Some((then, before)) = self.last {
            let passed = now.saturating_duration_since(then).as_secs_f64();
            self.used += f64::from(before) * passed;
        }
        self.last = Some((now, living));
        self.most = self.most.max(living);
    }

    /// Instance-seconds if as many had been there all the time.
    pub(super) fn fixed(&self) -> f64 {
        let span = self.began.zip(self.last).map(|(began, (last, _))| last - began);
        f64::from(self.most) * span.unwrap_or(Duration::ZERO).as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_census_is_read_from_metrics_and_is_that_of_one_pool() {
        let metrics = "# TYPE tidegate_scaler_instances gauge\n\
            tidegate_scaler_instances{pool=\"cloud\",state=\"booting\"} 2\n\
            tidegate_scaler_instances{pool=\"cloud\",state=\"serving\"} 5\n\
            tidegate_scaler_instances{pool=\"other\",state=\"serving\"} 9\n\
            tidegate_scaler_instances{pool=\"cloud\",state=\"draining\"} 1\n";
        let census = Census::parse(metrics, "cloud");
        let wanted = Census { booting: 2, serving: 5, draining: 1, ..Census::default() };
        assert_eq!((census, census.living()), (wanted, 8));
        assert_eq!(Census::parse("", "cloud"), Census::default());
    }

    #[test]
    fn a_bill_adds_up_what_was_there_and_what_a_fixed_size_would_have_been() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut bill = Bill::default();
        for (at, living) in [(0, 0), (10, 4), (20, 8), (30, 0), (40, 0)] {
            bill.note(start + second * at, living);
        }
        assert_eq!((bill.used, bill.most, bill.fixed()), (120.0, 8, 320.0));
    }
}
