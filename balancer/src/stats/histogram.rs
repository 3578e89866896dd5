//! Durations in fixed buckets, exact and mergeable.

use std::sync::atomic::{AtomicU64, Ordering};

use super::add;

/// Upper bounds of the buckets but the last, in microseconds. Each is at most 2.5 times the one
/// before, so a quantile read from them is off by that factor at worst.
pub const BOUNDS_US: [u64; 13] = [
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000,
];

/// Buckets, with the last one for all that is longer.
pub const BUCKETS: usize = BOUNDS_US.len() + 1;

/// Cells that one histogram takes in a dense array: the buckets, then the sum.
pub(super) const CELLS: usize = BUCKETS + 1;

/// A sum of samples.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histogram {
    /// Samples per bucket, not cumulative.
    pub buckets: [u64; BUCKETS],
    /// Of all samples, in microseconds.
    pub sum_us: u64,
}

impl Histogram {
    /// Samples in all.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Adds the samples of `other`.
    pub fn merge(&mut self, other: &Histogram) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.sum_us += other.sum_us;
    }

    /// Adds what `cells` hold: [`CELLS`] numbers as [`record`] left them.
    pub(super) fn merge_cells(&mut self, cells: &[u64]) {
        let (buckets, sum_us) = cells.split_at(BUCKETS.min(cells.len()));
        for (mine, theirs) in self.buckets.iter_mut().zip(buckets) {
            *mine += theirs;
        }
        self.sum_us += sum_us.iter().sum::<u64>();
    }

    /// Adds what `cells` hold now.
    pub(super) fn merge_atomics(&mut self, cells: &[AtomicU64; CELLS]) {
        self.merge_cells(&cells.each_ref().map(|cell| cell.load(Ordering::Relaxed)));
    }
}

/// Counts one sample in `cells` ([`CELLS`] of them, or nothing happens).
#[inline]
pub(super) fn record(cells: &[AtomicU64], us: u64) {
    if let (Some(bucket), Some(sum_us)) = (cells.get(bucket(us)), cells.get(BUCKETS)) {
        add(bucket, 1);
        add(sum_us, us);
    }
}

/// Per number of binary digits of a sample: the buckets that surely lie below it, and the one bound
/// that may still do. There is only one, for a bound is at least twice the one before.
const BY_DIGITS: [(usize, u64); 65] = by_digits();

const fn by_digits() -> [(usize, u64); 65] {
    let mut table = [(0, u64::MAX); 65];
    let mut digits = 0;
    while digits < table.len() {
        let least = if digits == 0 { 0 } else { 1 << (digits - 1) };
        let mut below = 0;
        while below < BOUNDS_US.len() && BOUNDS_US[below] < least {
            below += 1;
        }
        let bound = if below < BOUNDS_US.len() { BOUNDS_US[below] } else { u64::MAX };
        table[digits] = (below, bound);
        digits += 1;
    }
    table
}

/// Where a sample belongs: bounds are inclusive, as `le` says.
#[inline]
fn bucket(us: u64) -> usize {
    // Without a branch: most requests end in the first buckets, but in which the predictor does
    // not know.
    let (below, bound) = BY_DIGITS[(u64::BITS - us.leading_zeros()) as usize];
    below + usize::from(us > bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(us: u64, expected: usize) {
        assert_eq!(bucket(us), expected, "{us} µs");
    }

    #[test]
    fn a_sample_on_a_bound_belongs_below_it() {
        check(0, 0);
        check(1_000, 0);
        check(1_001, 1);
        check(5_000, 2);
        check(10_000_000, 12);
        check(10_000_001, 13);
        check(u64::MAX, 13);
    }

    #[test]
    fn a_sample_belongs_above_every_bound_that_it_exceeds() {
        for us in BOUNDS_US.iter().flat_map(|&bound| [bound - 1, bound, bound + 1]) {
            check(us, BOUNDS_US.iter().filter(|&&bound| us > bound).count());
        }
        for digits in 0..u64::BITS {
            let us = 1 << digits;
            check(us, BOUNDS_US.iter().filter(|&&bound| us > bound).count());
        }
    }

    #[test]
    fn samples_and_their_sum_survive_a_merge() {
        let cells = [const { AtomicU64::new(0) }; CELLS];
        for us in [10, 1_000, 7_000, 20_000_000] {
            record(&cells, us);
        }
        let mut twice = Histogram::default();
        twice.merge_atomics(&cells);
        let once = twice.clone();
        twice.merge(&once);
        assert_eq!((once.count(), once.sum_us), (4, 20_008_010));
        assert_eq!((twice.count(), twice.sum_us), (8, 40_016_020));
        assert_eq!((twice.buckets[0], twice.buckets[3], twice.buckets[13]), (4, 2, 2));
    }
}
