//! Weighted dice: a share is thrown as often as its weight says, at the same cost for any
//! number of shares.

use crate::rng::Rng;

use super::turn::wrap;
use super::{Candidates, Share};

/// Throws for one with room before all are looked at.
const THROWS: usize = 4;

/// An alias table (Walker 1977, built as Vose 1991 does).
#[derive(Debug)]
pub(super) struct Dice(Box<[Column]>);

#[derive(Debug, Clone, Copy)]
struct Column {
    /// Throws below it are the column's own; `2^64` is the whole column.
    own: u64,
    /// Whose the others are.
    alias: u32,
}

impl Dice {
    pub(super) fn new(shares: &[Share]) -> Dice {
        let total: u128 = shares.iter().map(|share| u128::from(share.weight)).sum();
        // Each column holds `total`; a share has `weight × n` to put into columns.
        let mut rest: Vec<u128> =
            shares.iter().map(|share| u128::from(share.weight) * shares.len() as u128).collect();
        let mut columns: Box<[Column]> =
            (0..).zip(shares).map(|(alias, _)| Column { own: u64::MAX, alias }).collect();

        let positions = (0_u32..).zip(shares).map(|(position, _)| position);
        let (mut small, mut large): (Vec<u32>, Vec<u32>) =
            positions.partition(|&position| rest[position as usize] < total);
        while let (Some(low), Some(&high)) = (small.pop(), large.last()) {
            let short = rest[low as usize];
            columns[low as usize] = Column { own: share_of_column(short, total), alias: high };
            rest[high as usize] -= total - short;
            if rest[high as usize] < total {
                small.extend(large.pop());
            }
        }
        Dice(columns)
    }

    /// A position, as likely as its weight.
    pub(super) fn throw(&self, rng: &mut Rng) -> usize {
        // One throw serves twice: the whole part is the column, the fraction the place in it.
        let product = u128::from(rng.next_u64()) * self.0.len() as u128;
        #[allow(clippy::cast_possible_truncation)] // below `len`; the low half is meant
        let (column, fraction) = ((product >> 64) as usize, product as u64);
        let Column { own, alias } = self.0[column];
        if fraction < own { column } else { alias as usize }
    }

    /// A position with room, as likely as its weight among those with room; `None` if none has
    /// any. Four throws find one at the same cost for any number of shares, unless most are full.
    pub(super) fn throw_for_room<C: Candidates>(
        &self,
        shares: &[Share],
        candidates: &C,
        rng: &mut Rng,
    ) -> Option<usize> {
        let has_room = |position: &usize| candidates.has_room(shares[*position].index);
        let thrown = (0..THROWS).map(|_| self.throw(rng)).find(has_room);
        thrown.or_else(|| throw_among(shares, has_room, rng))
    }

    /// A position with room other than `first`: by four throws, or else its neighbour, so that
    /// of two both are always compared.
    pub(super) fn throw_for_other<C: Candidates>(
        &self,
        first: usize,
        shares: &[Share],
        candidates: &C,
        rng: &mut Rng,
    ) -> Option<usize> {
        let thrown = (0..THROWS).map(|_| self.throw(rng)).find(|&other| other != first);
        let other = thrown.unwrap_or_else(|| wrap(first + 1, shares.len()));
        (other != first && candidates.has_room(shares[other].index)).then_some(other)
    }
}

/// One throw over the positions with room alone, which have to be counted first. Their neighbours
/// must not inherit the turns of the full ones: they would carry the load of two.
#[inline(never)]
fn throw_among(
    shares: &[Share],
    has_room: impl Fn(&usize) -> bool,
    rng: &mut Rng,
) -> Option<usize> {
    let weight = |position: usize| u64::from(shares[position].weight);
    let total: u64 = (0..shares.len()).filter(&has_room).map(weight).sum();
    let mut rest = rng.below(total.max(1));
    let mut last = None;
    for position in (0..shares.len()).filter(&has_room) {
        // Room can go between the two looks; then it is the last that has any.
        last = Some(position);
        match rest.checked_sub(weight(position)) {
            Some(less) => rest = less,
            None => break,
        }
    }
    last
}

/// `part` of `total` as a fraction of `2^64`; `part` is below `total`.
fn share_of_column(part: u128, total: u128) -> u64 {
    u64::try_from((part << 64) / total).unwrap_or(u64::MAX)
}
