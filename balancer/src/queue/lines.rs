//! Who is next, and who has to go: the order of one queue. Plain data under the queue's lock.
//!
//! There is one line per priority, first come first served. Between the lines turns are taken: of
//! 13 places 8 go to `critical`, 4 to `normal` and 1 to `low`, the highest first, and a line that
//! is empty cedes its turns. So `critical` overtakes, and nobody starves. A request that is back
//! from a backend that failed it goes to the head of its line: it has waited already.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Stand, Ticket};
use crate::config::Priority;

/// Places per round, by the place in [`Priority::ALL`].
const TURNS: [u32; LINES] = [8, 4, 1];
const LINES: usize = Priority::ALL.len();

#[derive(Debug, Default)]
pub(super) struct Lines {
    /// By the place in [`Priority::ALL`], then in order.
    lines: [BTreeMap<i64, Standing>; LINES],
    /// Left in this round.
    turns: [u32; LINES],
    /// The next place at the end, and at the head.
    last: i64,
    first: i64,
    /// Of those at home here.
    count: u32,
    bytes: u64,
}

#[derive(Debug)]
struct Standing {
    ticket: Arc<Ticket>,
    stand: Stand,
}

/// Where a ticket stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    line: usize,
    order: i64,
}

impl Lines {
    pub(super) fn push(&mut self, ticket: Arc<Ticket>, stand: Stand) -> Place {
        let order = if ticket.is_returning() {
            self.first -= 1;
            self.first
        } else {
            self.last += 1;
            self.last
        };
        if stand == Stand::Home {
            self.count += 1;
            self.bytes += ticket.bytes;
        }
        let line = ticket.priority as usize;
        self.lines[line].insert(order, Standing { ticket, stand });
        Place { line, order }
    }

    pub(super) fn remove(&mut self, place: Place) -> Option<Arc<Ticket>> {
        let standing = self.lines[place.line].remove(&place.order)?;
        if standing.stand == Stand::Home {
            self.count -= 1;
            self.bytes -= standing.ticket.bytes;
        }
        Some(standing.ticket)
    }

    /// Takes out who is next for this slot.
    pub(super) fn take_next(&mut self, slot: u32) -> Option<Arc<Ticket>> {
        let next = std::array::from_fn(|line| self.first_for(line, slot));
        let line = self.take_turn(next.map(|order: Option<i64>| order.is_some()))?;
        self.remove(Place { line, order: next[line]? })
    }

    /// The newest of the least important who are less important than this, of those at home.
    pub(super) fn newest_below(&self, priority: Priority) -> Option<Place> {
        let lower = (priority as usize + 1..LINES).rev();
        let newest = |line: usize| {
            let home = self.lines[line].iter().rev().find(|(_, who)| who.stand == Stand::Home);
            home.map(|(&order, _)| Place { line, order })
        };
        lower.filter_map(newest).next()
    }

    pub(super) fn has_room(&self, max: u32, max_bytes: u64, bytes: u64) -> bool {
        self.count < max && self.bytes.saturating_add(bytes) <= max_bytes
    }

    pub(super) fn len(&self) -> u32 {
        let all: usize = self.lines.iter().map(BTreeMap::len).sum();
        u32::try_from(all).unwrap_or(u32::MAX)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lines.iter().all(BTreeMap::is_empty)
    }

    /// Takes everybody out.
    pub(super) fn drain(&mut self) -> Vec<Arc<Ticket>> {
        (self.count, self.bytes) = (0, 0);
        let lines = std::mem::take(&mut self.lines);
        lines.into_iter().flat_map(BTreeMap::into_values).map(|who| who.ticket).collect()
    }

    /// Nearly always the head: only who is back from this slot is passed over.
    fn first_for(&self, line: usize, slot: u32) -> Option<i64> {
        let mut line = self.lines[line].iter();
        line.find(|(_, who)| !who.ticket.was_at(slot)).map(|(&order, _)| order)
    }

    /// The line whose turn it is among those that have somebody.
    fn take_turn(&mut self, has: [bool; LINES]) -> Option<usize> {
        let next = |turns: &[u32; LINES]| (0..LINES).find(|&line| has[line] && turns[line] > 0);
        let line = next(&self.turns).or_else(|| {
            self.turns = TURNS;
            next(&self.turns)
        })?;
        self.turns[line] -= 1;
        Some(line)
    }
}
