//! Latencies, counted in steps that grow with the value.

/// Steps to each power of two: a quantile is at most 0.8 % too low.
const STEPS: u64 = 128;
const STEP_BITS: u32 = STEPS.trailing_zeros();

/// A histogram of nanoseconds. The largest value is kept as it is.
pub(crate) struct Histogram {
    counts: Vec<u32>,
    total: u64,
    largest: u64,
}

impl Histogram {
    pub(crate) fn new() -> Histogram {
        Histogram { counts: vec![0; 64 * STEPS as usize], total: 0, largest: 0 }
    }

    pub(crate) fn add(&mut self, value: u64) {
        self.counts[index(value)] += 1;
        self.total += 1;
        self.largest = self.largest.max(value);
    }

    /// The largest value seen, 0 if none.
    pub(crate) fn largest(&self) -> u64 {
        self.largest
    }

    /// The value that the share `share` (0 to 1) of all values does not exceed, 0 if there are none.
    pub(crate) fn quantile(&self, share: f64) -> u64 {
        let wanted = (self.total as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (index, &count) in self.counts.iter().enumerate() {
            seen += u64::from(count);
            if count > 0 && seen >= wanted {
                return lower_bound(index as u64);
            }
        }
        self.largest
    }
}

fn index(value: u64) -> usize {
    let top = value.max(1).ilog2();
    if top < STEP_BITS {
        return value as usize;
    }
    let octave = u64::from(top - STEP_BITS) + 1;
    (octave * STEPS + (value >> (top - STEP_BITS)) % STEPS) as usize
}

fn lower_bound(index: u64) -> u64 {
    if index < STEPS { index } else { (STEPS + index % STEPS) << (index / STEPS - 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_at_most_a_128th_above_its_step() {
        for value in (0..40).flat_map(|bit| [1u64 << bit, (1 << bit) + 1, (2 << bit) - 1]) {
            let low = lower_bound(index(value) as u64);
            assert!(low <= value && value - low <= value / 128, "{value} became {low}");
        }
    }

    #[test]
    fn the_median_of_a_hundred_is_the_fiftieth() {
        let mut histogram = Histogram::new();
        (1..=100).for_each(|value| histogram.add(value));
        assert_eq!((histogram.quantile(0.5), histogram.quantile(0.99)), (50, 99));
        assert_eq!(histogram.largest(), 100);
    }
}
