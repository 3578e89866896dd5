//! The better of two at random, by latency and requests in flight, with a re-probe floor.

use crate::rng::Rng;

use super::dice::Dice;
use super::turn::Cursor;
use super::{Candidates, Share};

/// Milliseconds without a request after which a backend is asked again, however slow it was.
const REPROBE_AFTER_MS: u32 = 5_000;

/// One pick in so many looks for a backend to ask again, so that a quiet pool of slow and fast
/// backends does not become a round robin.
const REPROBE_EVERY: usize = 16;

/// Two drawn by weight; the lower `latency × (in flight relative to weight + 1)` takes it.
///
/// A backend without a latency yet counts as fast as the fastest: it is tried, and its
/// requests in flight keep it from being flooded before the first answer. Without the
/// floor, one that was slow once would lose each comparison and never show that it recovered.
#[derive(Debug)]
pub(super) struct PeakEwma {
    dice: Dice,
    /// Of all shares.
    mean_weight: f64,
}

impl PeakEwma {
    pub(super) fn new(shares: &[Share]) -> PeakEwma {
        let total: f64 = shares.iter().map(|share| f64::from(share.weight)).sum();
        PeakEwma { dice: Dice::new(shares), mean_weight: total / shares.len().max(1) as f64 }
    }

    pub(super) fn pick<C: Candidates>(
        &self,
        shares: &[Share],
        candidates: &C,
        cursor: &mut Cursor,
        rng: &mut Rng,
    ) -> Option<usize> {
        if let Some(forgotten) = forgotten(shares, candidates, cursor) {
            return Some(forgotten);
        }
        let first = self.dice.throw_for_room(shares, candidates, rng)?;
        let Some(second) = self.dice.throw_for_other(first, shares, candidates, rng) else {
            return Some(first);
        };
        let cost = |position: usize| {
            let share = &shares[position];
            let latency = candidates.latency_us(share.index);
            let latency = latency.unwrap_or_else(|| best_latency(shares, candidates));
            let load = f64::from(candidates.in_flight(share.index)) * self.mean_weight;
            // An answer within a microsecond still costs something, or load would not count.
            f64::from(latency.max(1)) * (load / f64::from(share.weight) + 1.0)
        };
        Some(if cost(second) < cost(first) { second } else { first })
    }
}

/// In every 16th pick the next share in order, if it has room and was not asked for long.
fn forgotten<C: Candidates>(
    shares: &[Share],
    candidates: &C,
    cursor: &mut Cursor,
) -> Option<usize> {
    let place = cursor.advance(shares.len() * REPROBE_EVERY);
    if !place.is_multiple_of(REPROBE_EVERY) {
        return None;
    }
    let position = place / REPROBE_EVERY;
    let index = shares[position].index;
    let is_due = candidates.idle_ms(index) >= REPROBE_AFTER_MS && candidates.has_room(index);
    is_due.then_some(position)
}

/// The lowest latency known, in microseconds; reads all, in the moments after a backend came.
fn best_latency<C: Candidates>(shares: &[Share], candidates: &C) -> u32 {
    let known = shares.iter().filter_map(|share| candidates.latency_us(share.index));
    known.min().unwrap_or(1)
}
