//! A round of weighted turns as a table, evenly interleaved.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::Share;

/// Longest table: 32 KiB.
const MAX_SLOTS: u64 = 8_192;

/// In which order the shares of a group take their turns; one round, by position.
///
/// After any number `t` of turns a share of weight `w` of `total` has had more than
/// `t × w / total − 1` and fewer than `t × w / total + 1` of them: no share gets a burst and
/// none waits for one. (The windows of Baruah et al., "Proportionate progress", 1996, served
/// earliest deadline first.)
///
/// A round of the weights divided by their greatest common divisor is exact. If it would be
/// longer than 8,192 turns, weights are scaled to that and rounded, at least 1: a share of more
/// than 1/327 of the total is then off by less than 2 % of itself, a smaller one by less
/// than one turn in 8,192.
#[derive(Debug)]
pub(super) struct Schedule(Box<[u32]>);

impl Schedule {
    pub(super) fn new(shares: &[Share]) -> Schedule {
        let weights = short(shares);
        let total: u64 = weights.iter().sum();

        // Turn number k of a share must fall into its k-th window; windows of a share meet or
        // overlap by one slot.
        let mut windows = Vec::new();
        for (&weight, position) in weights.iter().zip(0_u32..) {
            windows.extend(
                (0..weight)
                    .map(|k| (k * total / weight, ((k + 1) * total).div_ceil(weight), position)),
            );
        }
        windows.sort_unstable();

        let mut windows = windows.into_iter().peekable();
        let mut open = BinaryHeap::new();
        let slots = (0..total).filter_map(|slot| {
            while let Some((_, end, position)) = windows.next_if(|(start, ..)| *start <= slot) {
                open.push(Reverse((end, position)));
            }
            let Reverse((end, position)) = open.pop()?;
            debug_assert!(slot < end, "share {position} missed its window");
            Some(position)
        });
        Schedule(slots.collect())
    }

    /// Turns in a round.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Position of the share whose turn `slot` is.
    pub(super) fn at(&self, slot: usize) -> usize {
        self.0[slot] as usize
    }
}

/// The weights, made so small that they add up to one round.
fn short(shares: &[Share]) -> Vec<u64> {
    let divisor = shares.iter().fold(0, |divisor, share| gcd(divisor, u64::from(share.weight)));
    let weights = shares.iter().map(|share| u64::from(share.weight) / divisor.max(1));
    let total: u64 = weights.clone().sum();
    if total <= MAX_SLOTS {
        return weights.collect();
    }
    weights.map(|weight| ((weight * MAX_SLOTS + total / 2) / total).max(1)).collect()
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(weights: &[u32]) -> Vec<u32> {
        let shares: Vec<Share> =
            weights.iter().map(|&weight| Share { index: 0, weight, place: 0 }).collect();
        Schedule::new(&shares).0.into_vec()
    }

    #[test]
    fn equal_weights_take_turns_in_order() {
        assert_eq!(round(&[40, 40, 40]), [0, 1, 2]);
    }

    #[test]
    fn a_heavy_one_is_spread_between_the_light_ones() {
        assert_eq!(round(&[5, 1, 1]), [0, 0, 0, 1, 0, 0, 2]);
        assert_eq!(round(&[4, 1, 1, 1, 1]), [0, 1, 0, 2, 0, 3, 0, 4]);
    }

    #[test]
    fn a_group_of_none_has_no_turns() {
        assert_eq!(round(&[]), []);
    }

    #[test]
    fn the_largest_weights_and_the_largest_pool_make_a_bounded_round() {
        let weights: Vec<u32> = (0..1_000).map(|i| u32::MAX - i).collect();
        let slots = round(&weights).len();
        assert!((7_000..=9_192).contains(&slots), "{slots}");
    }
}
