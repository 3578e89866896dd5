//! Smooth weighted round robin.

use crate::rng::Rng;

use super::dice::Dice;
use super::schedule::Schedule;
use super::turn::Cursor;
use super::{Candidates, Share};

/// Turns by a table. The turn of one without room is given to another by weighted dice: given
/// to its successor in the table, that one would carry its load twice.
#[derive(Debug)]
pub(super) struct RoundRobin {
    schedule: Schedule,
    dice: Dice,
}

impl RoundRobin {
    pub(super) fn new(shares: &[Share]) -> RoundRobin {
        RoundRobin { schedule: Schedule::new(shares), dice: Dice::new(shares) }
    }

    pub(super) fn pick<C: Candidates>(
        &self,
        shares: &[Share],
        candidates: &C,
        cursor: &mut Cursor,
        rng: &mut Rng,
    ) -> Option<usize> {
        let position = self.schedule.at(cursor.advance(self.schedule.len()));
        if candidates.has_room(shares[position].index) {
            return Some(position);
        }
        self.dice.throw_for_room(shares, candidates, rng)
    }
}
