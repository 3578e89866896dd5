//! Fewest requests in flight relative to weight, ties in turn.

use crate::rng::Rng;

use super::dice::Dice;
use super::mean::Mean;
use super::schedule::Schedule;
use super::turn::{Cursor, wrap};
use super::{Candidates, Share};

/// Throws for one that is not above its share before all are compared.
const THROWS: usize = 4;

/// What is prepared depends on the weights.
#[derive(Debug)]
pub(super) enum LeastRequests {
    /// Equal weights: the one with the fewest requests; of several the next in turn.
    Even,
    /// Unequal weights: the next in turn of a smooth weighted round robin, unless it has a whole
    /// request more than its share of all requests in flight; then another that has not.
    ///
    /// A plain minimum cannot do this. That of `(in_flight + 1) / weight` gives every request of
    /// an idle pool to its heaviest backend; that of `in_flight / weight` serves two requests at a
    /// time 1 : 1 by backends of 3 : 1. This way weights hold within 2 % of all requests under any
    /// load, and a backend that stalls is left out once it has its share and one or two more.
    Weighted {
        /// Whose turn it is.
        schedule: Schedule,
        /// Who gets the turn of one above its share. Its successor would have it all.
        dice: Dice,
    },
}

impl LeastRequests {
    pub(super) fn new(shares: &[Share]) -> LeastRequests {
        if shares.windows(2).all(|pair| pair[0].weight == pair[1].weight) {
            LeastRequests::Even
        } else {
            LeastRequests::Weighted { schedule: Schedule::new(shares), dice: Dice::new(shares) }
        }
    }

    pub(super) fn pick<C: Candidates>(
        &self,
        shares: &[Share],
        candidates: &C,
        cursor: &mut Cursor,
        rng: &mut Rng,
    ) -> Option<usize> {
        let LeastRequests::Weighted { schedule, dice } = self else {
            return fewest(shares, candidates, cursor);
        };
        let mean = Mean::of(shares, candidates);
        let is_within = |position: &usize| {
            let Share { index, weight, .. } = shares[*position];
            let others = candidates.in_flight(index).saturating_sub(1);
            candidates.has_room(index) && mean.allows(others, weight, 100)
        };
        Some(schedule.at(cursor.advance(schedule.len())))
            .filter(is_within)
            .or_else(|| (0..THROWS).map(|_| dice.throw(rng)).find(is_within))
            .or_else(|| least_used(shares, candidates))
    }
}

/// The first in turn of those with the fewest requests.
fn fewest<C: Candidates>(shares: &[Share], candidates: &C, cursor: &mut Cursor) -> Option<usize> {
    let start = cursor.peek(shares.len());
    let mut best: Option<(u32, usize)> = None;
    for step in 0..shares.len() {
        let position = wrap(start + step, shares.len());
        let index = shares[position].index;
        if !candidates.has_room(index) {
            continue;
        }
        let in_flight = candidates.in_flight(index);
        if best.is_none_or(|(fewest, _)| in_flight < fewest) {
            best = Some((in_flight, position));
        }
        if in_flight == 0 {
            break;
        }
    }
    let (_, position) = best?;
    cursor.follow(position);
    Some(position)
}

/// The one that would use least of its weight with one more request.
fn least_used<C: Candidates>(shares: &[Share], candidates: &C) -> Option<usize> {
    let mut best: Option<(f64, usize)> = None;
    for (position, share) in shares.iter().enumerate() {
        if !candidates.has_room(share.index) {
            continue;
        }
        let used = (f64::from(candidates.in_flight(share.index)) + 1.0) / f64::from(share.weight);
        if best.is_none_or(|(least, _)| used < least) {
            best = Some((used, position));
        }
    }
    best.map(|(_, position)| position)
}
