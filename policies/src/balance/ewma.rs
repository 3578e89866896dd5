//! A moving average of latency that believes bad news at once and good news slowly.

/// Microseconds after which an old peak counts for 1/e: long enough to outlast a pause of a
/// garbage collector, short enough that a recovered backend is used again within a minute.
const TIME_CONSTANT_US: f64 = 10_000_000.0;

/// Peak-sensitive, exponentially weighted by time. One per worker and backend; 24 bytes.
#[derive(Debug, Clone, Default)]
pub struct Ewma {
    value_us: Option<f64>,
    observed_at_us: u64,
}

impl Ewma {
    /// Takes a latency in, in microseconds. `now_us` is any clock of this worker's that does
    /// not jump; a step back counts as no time passed.
    pub fn observe(&mut self, latency_us: u32, now_us: u64) {
        let passed_us = now_us.saturating_sub(self.observed_at_us);
        self.observed_at_us = self.observed_at_us.max(now_us);
        let sample = f64::from(latency_us);
        self.value_us = Some(match self.value_us {
            Some(value) if sample < value => sample + (value - sample) * kept(passed_us),
            _ => sample,
        });
    }

    /// Whether a latency was taken in at that time or later.
    pub fn has_observed_since(&self, us: u64) -> bool {
        self.value_us.is_some() && self.observed_at_us >= us
    }

    /// The average in microseconds, `None` before the first latency.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // between u32 samples
    pub fn value_us(&self) -> Option<u32> {
        self.value_us.map(|value| value as u32)
    }
}

/// How much of an old value is left after `passed_us`: e^-x, by the first terms of e^x so that
/// it is the same on every platform. At most 0.03 too high, at x = 3.
fn kept(passed_us: u64) -> f64 {
    let x = passed_us as f64 / TIME_CONSTANT_US;
    1.0 / (1.0 + x * (1.0 + x / 2.0 * (1.0 + x / 3.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Latencies one second apart.
    fn average(latencies_us: &[u32]) -> Option<u32> {
        let mut ewma = Ewma::default();
        for (latency_us, second) in latencies_us.iter().zip(1..) {
            ewma.observe(*latency_us, second * 1_000_000);
        }
        ewma.value_us()
    }

    #[test]
    fn nothing_is_known_before_the_first_latency() {
        assert_eq!(average(&[]), None);
        assert_eq!(average(&[700]), Some(700));
    }

    #[test]
    fn a_worse_latency_counts_at_once() {
        assert_eq!(average(&[100, 100, 90_000]), Some(90_000));
    }

    #[test]
    fn a_peak_is_down_to_a_third_after_ten_seconds_of_better_ones() {
        let mut latencies_us = vec![1_000_000];
        latencies_us.extend([0; 10]);
        let left = average(&latencies_us).unwrap();
        assert!((360_000..380_000).contains(&left), "{left}");
    }

    #[test]
    fn many_samples_in_no_time_do_not_wash_a_peak_away() {
        let mut ewma = Ewma::default();
        ewma.observe(1_000_000, 5);
        for _ in 0..100_000 {
            ewma.observe(10, 5);
        }
        assert_eq!(ewma.value_us(), Some(1_000_000));
    }

    #[test]
    fn one_sample_or_thousand_in_the_same_second_weigh_the_same() {
        let (mut one, mut thousand) = (Ewma::default(), Ewma::default());
        one.observe(1_000_000, 0);
        thousand.observe(1_000_000, 0);
        one.observe(0, 1_000_000);
        (1..=1_000).for_each(|ms| thousand.observe(0, ms * 1_000));
        let (one, thousand) = (one.value_us().unwrap(), thousand.value_us().unwrap());
        assert!(one.abs_diff(thousand) < 100, "{one} {thousand}");
    }

    #[test]
    fn a_clock_that_steps_back_changes_nothing() {
        let mut ewma = Ewma::default();
        ewma.observe(1_000, 60_000_000);
        ewma.observe(10, 0);
        assert_eq!(ewma.value_us(), Some(1_000));
    }
}
