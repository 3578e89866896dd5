//! Which arm of a weighted split takes a request.

use super::{Arm, Target};
use crate::backend::PoolIndex;
use crate::rng::mix;

/// Dice for the `turn`-th request of a split, spread evenly instead of at random.
///
/// Independent dice cannot promise shares within 1 % over 10,000 requests: the standard
/// deviation is 0.5 % of them for equal arms, so one run in twenty is off by more (0.43 % and one
/// in fifty for 75/25). Multiples of the golden ratio fill 0 to 1 with gaps that shrink like
/// 1/n, so a share is off by a few requests, from whichever turn one starts to count. Count
/// turns per split and worker; a counter that several splits share is still even, less tightly.
/// Not for choosing among backends: who has the same turn there would be in step with the split.
pub fn even_dice(turn: u64) -> u64 {
    turn.wrapping_mul(0x9E37_79B9_7F4A_7C15) // 2^64 / golden ratio, odd
}

impl Target {
    /// The pools that may serve this request, in order.
    ///
    /// `dice` is uniform over 64 bits: [`even_dice`], or any other if shares may be off by
    /// chance. `key` is a hash of what the client is known by, well
    /// spread over 64 bits; it is used where the split is sticky, and `None` (no such cookie or
    /// header) falls back to the dice. Arms of weight 0 are never chosen; if all weights are 0
    /// the answer is empty. By dice and by key alike an arm gets its weight over the sum of
    /// weights.
    ///
    /// The guarantee of a sticky split: **a client stays in its arm as long as that arm's weight
    /// is multiplied by at least the factor of every other arm's weight.** So it stays while
    /// its arm grows and the others shrink or keep (75/25 to 50/50 moves a third of the 75 and
    /// none of the 25), while all are scaled alike, and while arms are taken away or added at the
    /// end, unless it goes to the new one. Arms are known by their place, so moving them about
    /// moves clients. (Weighted rendezvous hashing; cutting 0 to 1 into ranges would keep this
    /// promise for the first and the last arm only.) `ln` may differ in its last bit between
    /// platforms: then two doors disagree on about one client in 2^50.
    pub fn choose(&self, dice: u64, key: Option<u64>) -> &[PoolIndex] {
        match self {
            Target::Waterfall(pools) => pools,
            Target::Split { arms, sticky } => {
                let arm = match key {
                    Some(key) if sticky.is_some() => by_key(arms, key),
                    _ => by_dice(arms, dice),
                };
                arm.map_or(&[], |arm| &arm.to)
            }
        }
    }
}

fn by_dice(arms: &[Arm], dice: u64) -> Option<&Arm> {
    let total: u64 = arms.iter().map(|arm| u64::from(arm.weight)).sum();
    // The high half of dice × total: uniform in 0..total, bias below total / 2^64.
    let mut point = (u128::from(dice) * u128::from(total)) >> 64;
    arms.iter().find(|arm| {
        let is_here = point < u128::from(arm.weight);
        point = point.saturating_sub(u128::from(arm.weight));
        is_here
    })
}

/// Each arm draws from an exponential distribution with its weight as rate; the smallest wins,
/// with a chance of weight over sum. Growth of a weight makes that arm's draw smaller and
/// touches no other.
fn by_key(arms: &[Arm], key: u64) -> Option<&Arm> {
    let mut best: Option<(f64, &Arm)> = None;
    for (place, arm) in (1_u64..).zip(arms) {
        if arm.weight == 0 {
            continue;
        }
        let draw = -unit(mix(key ^ mix(place))).ln() / f64::from(arm.weight);
        if best.is_none_or(|(smallest, _)| draw < smallest) {
            best = Some((draw, arm));
        }
    }
    best.map(|(_, arm)| arm)
}

/// In (0, 1], from the 53 high bits.
#[allow(clippy::cast_precision_loss)] // at most 2^53, which an f64 holds exactly
fn unit(bits: u64) -> f64 {
    ((bits >> 11) + 1) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::HashKey;
    use crate::rng::Rng;

    const REQUESTS: u32 = 10_000;

    fn target(weights: &[u32], sticky: Option<HashKey>) -> Target {
        let arm = |(place, &weight)| Arm { to: vec![PoolIndex(place)], weight };
        Target::Split { arms: (0..).zip(weights).map(arm).collect(), sticky }
    }

    fn arm_of(target: &Target, dice: u64, key: Option<u64>) -> usize {
        usize::from(target.choose(dice, key)[0].0)
    }

    const WEIGHTS: [&[u32]; 6] = [&[75, 25], &[1, 1], &[0, 1], &[90, 0, 10], &[1, 2, 3, 4], &[7]];

    /// The share of each arm is off by at most `bound(share)`, as a share of `requests`.
    #[track_caller]
    fn check(
        target: &Target,
        requests: u32,
        mut draw: impl FnMut() -> (u64, Option<u64>),
        bound: impl Fn(f64) -> f64,
    ) {
        let Target::Split { arms, .. } = target else { panic!("not a split") };
        let total: u32 = arms.iter().map(|arm| arm.weight).sum();
        let mut counts = vec![0_u32; arms.len()];
        for _ in 0..requests {
            let (dice, key) = draw();
            counts[arm_of(target, dice, key)] += 1;
        }
        for (&count, arm) in counts.iter().zip(arms) {
            let share = f64::from(arm.weight) / f64::from(total);
            let error = (f64::from(count) / f64::from(requests) - share).abs();
            assert!(error <= bound(share), "{counts:?} of {requests} for {arms:?}");
            assert!(arm.weight > 0 || count == 0, "an arm of weight 0 was chosen");
        }
    }

    /// Five standard deviations of independent draws: crossed by chance once in a million runs.
    fn five_deviations(requests: u32) -> impl Fn(f64) -> f64 {
        move |share| 5.0 * (share * (1.0 - share) / f64::from(requests)).sqrt()
    }

    #[test]
    fn even_dice_split_within_one_percent_from_any_turn() {
        let mut rng = Rng::new(1);
        for weights in WEIGHTS {
            let target = target(weights, None);
            for stride in [1, 1, 1, 2, 3, 7, 10, 34, 89, 100, 233] {
                let mut turn = rng.next_u64();
                let mut draw = || {
                    turn = turn.wrapping_add(stride);
                    (even_dice(turn), None)
                };
                let bound = if stride == 1 { 0.001 } else { 0.01 };
                check(&target, REQUESTS, &mut draw, |_| bound);
            }
        }
    }

    #[test]
    fn random_dice_split_by_weight_but_for_chance() {
        for weights in WEIGHTS {
            for seed in 0..8 {
                let mut rng = Rng::new(seed);
                let draw = || (rng.next_u64(), None);
                check(&target(weights, None), REQUESTS, draw, five_deviations(REQUESTS));
            }
        }
    }

    #[test]
    fn clients_are_split_by_weight_but_for_chance() {
        for weights in WEIGHTS {
            let target = target(weights, Some(HashKey::ClientAddress));
            let mut client = 0_u32;
            let mut draw = || {
                client += 1;
                (0, Some(crate::rng::hash(&client.to_be_bytes())))
            };
            for _ in 0..8 {
                check(&target, REQUESTS, &mut draw, five_deviations(REQUESTS));
            }
            check(&target, 10 * REQUESTS, &mut draw, five_deviations(10 * REQUESTS));
        }
    }

    #[test]
    fn a_client_stays_in_the_arm_that_grows() {
        let steps = [[60, 1, 39], [55, 5, 39], [40, 20, 39], [10, 60, 5], [0, 1000, 5], [0, 1, 0]];
        let mut rng = Rng::new(7);
        for _ in 0..REQUESTS {
            let key = Some(rng.next_u64());
            let arms: Vec<usize> = steps
                .iter()
                .map(|weights| arm_of(&target(weights, Some(HashKey::ClientAddress)), 0, key))
                .collect();
            let joined = arms.iter().position(|&arm| arm == 1).unwrap_or(arms.len());
            assert!(arms[joined..].iter().all(|&arm| arm == 1), "{arms:?}");
        }
    }

    #[test]
    fn a_new_arm_takes_clients_and_moves_no_other() {
        let (before, after) = ([3, 1, 2], [3, 1, 2, 2]);
        let mut rng = Rng::new(8);
        for _ in 0..REQUESTS {
            let key = Some(rng.next_u64());
            let sticky = Some(HashKey::ClientAddress);
            let old = arm_of(&target(&before, sticky.clone()), 0, key);
            let new = arm_of(&target(&after, sticky), 0, key);
            assert!(new == old || new == 3, "{old} to {new}");
        }
    }

    #[test]
    fn a_client_without_a_key_is_diced_and_a_key_without_stickiness_ignored() {
        let sticky = target(&[1, 1], Some(HashKey::ClientAddress));
        assert_eq!((arm_of(&sticky, 0, None), arm_of(&sticky, u64::MAX, None)), (0, 1));
        let plain = target(&[1, 1], None);
        assert_eq!((arm_of(&plain, 0, Some(1)), arm_of(&plain, u64::MAX, Some(1))), (0, 1));
    }

    #[test]
    fn the_extremes_of_the_dice_stay_within_the_arms() {
        let target = target(&[u32::MAX, u32::MAX], None);
        assert_eq!((arm_of(&target, 0, None), arm_of(&target, u64::MAX, None)), (0, 1));
    }

    #[test]
    fn no_weight_at_all_chooses_nothing() {
        for sticky in [None, Some(HashKey::ClientAddress)] {
            assert!(target(&[0, 0], sticky.clone()).choose(1, Some(1)).is_empty());
            assert!(target(&[], sticky).choose(1, Some(1)).is_empty());
        }
    }

    #[test]
    fn a_waterfall_is_all_of_its_pools() {
        let pools = vec![PoolIndex(2), PoolIndex(0)];
        assert_eq!(Target::Waterfall(pools.clone()).choose(9, Some(9)), pools);
    }
}
