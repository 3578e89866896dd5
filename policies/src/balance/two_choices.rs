//! The better of two at random (Mitzenmacher 2001), by requests in flight relative to weight.

use crate::rng::Rng;

use super::dice::Dice;
use super::{Candidates, Share};

/// Both are drawn by weight, and the second takes the request if it has fewer.
///
/// Between unequal weights "fewer" is counted in requests of the lighter one, and a fraction of
/// a request is settled by dice: else an idle light backend would win against any heavy one with
/// a single request. Weights hold within 2 % of all requests from some ten requests in flight on,
/// and when idle; two to eight requests on two backends of 3 : 1 are off by up to 5 %.
#[derive(Debug)]
pub(super) struct TwoChoices {
    dice: Dice,
}

impl TwoChoices {
    pub(super) fn new(shares: &[Share]) -> TwoChoices {
        TwoChoices { dice: Dice::new(shares) }
    }

    pub(super) fn pick<C: Candidates>(
        &self,
        shares: &[Share],
        candidates: &C,
        rng: &mut Rng,
    ) -> Option<usize> {
        let first = self.dice.throw_for_room(shares, candidates, rng)?;
        let Some(second) = self.dice.throw_for_other(first, shares, candidates, rng) else {
            return Some(first);
        };
        let (a, b) = (&shares[first], &shares[second]);
        let has = u64::from(candidates.in_flight(a.index)) * u64::from(b.weight);
        let would_have = u64::from(candidates.in_flight(b.index)) * u64::from(a.weight);
        // In units of 1 / heavier of a request of the lighter.
        let one = u64::from(a.weight.max(b.weight));
        Some(if has.saturating_sub(would_have) > rng.below(one) { second } else { first })
    }
}
