//! Who is next, and who has to go: the order of one queue. Plain data under the queue's lock.
//!
//! There is one line per priority, first come first served. Between the lines turns are taken: of
//! 13 places 8 go to `critical`, 4 to `normal` and 1 to `low`, the highest first, and a line that
//! is empty cedes its turns. So `critical` overtakes, and nobody starves. A request that is back
//! from a backend that failed it goes to the head of its line: it has waited already.
//!
//! A limit keeps all requests of a route or none, and the cap on streams all who ask for one. So the first of each route is looked at, and not
//! those behind it: a crowd that is kept costs those that pass it by nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Stand, Ticket};
use crate::config::Priority;

/// Places per round, by the place in [`Priority::ALL`].
const TURNS: [u32; LINES] = [8, 4, 1];
const LINES: usize = Priority::ALL.len();

#[derive(Debug, Default)]
pub(super) struct Lines {
    /// By the place in [`Priority::ALL`].
    lines: [Line; LINES],
    /// Left in this round.
    turns: [u32; LINES],
    /// The next place at the end, and at the head.
    last: i64,
    first: i64,
    /// Of those at home here.
    count: u32,
    bytes: u64,
}

#[derive(Debug, Default)]
struct Line {
    all: BTreeMap<i64, Standing>,
    /// The same by route, those who ask for a stream apart. None is empty.
    routes: BTreeMap<(Arc<str>, bool), BTreeSet<i64>>,
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
        self.lines[line].push(order, Standing { ticket, stand });
        Place { line, order }
    }

    pub(super) fn remove(&mut self, place: Place) -> Option<Arc<Ticket>> {
        let standing = self.lines[place.line].remove(place.order)?;
        if standing.stand == Stand::Home {
            self.count -= 1;
            self.bytes -= standing.ticket.bytes;
        }
        Some(standing.ticket)
    }

    /// Who is next, and in which place, of those whose route may pass and who may go themselves.
    pub(super) fn next(
        &mut self,
        may_pass: impl Fn(&Ticket) -> bool,
        may_go: impl Fn(&Ticket) -> bool,
    ) -> Option<(Place, Arc<Ticket>)> {
        let next = std::array::from_fn(|line| self.lines[line].first(&may_pass, &may_go));
        let line = self.take_turn(next.map(|order: Option<i64>| order.is_some()))?;
        let order = next[line]?;
        let standing = self.lines[line].all.get(&order)?;
        Some((Place { line, order }, Arc::clone(&standing.ticket)))
    }

    /// The newest of the least important who are less important than this, of those at home.
    pub(super) fn newest_below(&self, place: Place) -> Option<Place> {
        let lower = (place.line + 1..LINES).rev();
        let newest = |line: usize| {
            let home = self.lines[line].all.iter().rev().find(|(_, who)| who.stand == Stand::Home);
            home.map(|(&order, _)| Place { line, order })
        };
        lower.filter_map(newest).next()
    }

    pub(super) fn is_over(&self, max: u32, max_bytes: u64) -> bool {
        self.count > max || self.bytes > max_bytes
    }

    pub(super) fn has_room(&self, bytes: u64, max: u32, max_bytes: u64) -> bool {
        self.count < max && self.bytes + bytes <= max_bytes
    }

    pub(super) fn len(&self) -> u32 {
        let all: usize = self.lines.iter().map(|line| line.all.len()).sum();
        u32::try_from(all).unwrap_or(u32::MAX)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lines.iter().all(|line| line.all.is_empty())
    }

    /// Takes everybody out.
    pub(super) fn drain(&mut self) -> Vec<Arc<Ticket>> {
        (self.count, self.bytes) = (0, 0);
        let lines = std::mem::take(&mut self.lines);
        lines.into_iter().flat_map(|line| line.all.into_values()).map(|who| who.ticket).collect()
    }

    /// Those who are back from a backend: they stand at the heads of their lines.
    pub(super) fn returned(&self) -> Vec<(Place, Arc<Ticket>)> {
        let lines = self.lines.iter().enumerate();
        let returned = lines.flat_map(|(line, standing)| {
            let heads = standing.all.iter().take_while(|(_, who)| who.ticket.is_returning());
            heads.map(move |(&order, who)| (Place { line, order }, Arc::clone(&who.ticket)))
        });
        returned.collect()
    }

    /// Whether there is somebody who may pass.
    pub(super) fn has(&self, may_pass: impl Fn(&Ticket) -> bool) -> bool {
        self.lines.iter().any(|line| line.first(&may_pass, &|_: &Ticket| true).is_some())
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

impl Line {
    fn push(&mut self, order: i64, standing: Standing) {
        self.routes.entry(key(&standing.ticket)).or_default().insert(order);
        self.all.insert(order, standing);
    }

    fn remove(&mut self, order: i64) -> Option<Standing> {
        let standing = self.all.remove(&order)?;
        let key = key(&standing.ticket);
        if let Some(orders) = self.routes.get_mut(&key) {
            orders.remove(&order);
            if orders.is_empty() {
                self.routes.remove(&key);
            }
        }
        Some(standing)
    }

    /// Of each route nearly always the head: passed over is only who is back from the slot in
    /// question.
    fn first(
        &self,
        may_pass: &impl Fn(&Ticket) -> bool,
        may_go: &impl Fn(&Ticket) -> bool,
    ) -> Option<i64> {
        let is = |order: &i64, test: &dyn Fn(&Ticket) -> bool| {
            self.all.get(order).is_some_and(|who| test(&who.ticket))
        };
        let passing = self
            .routes
            .values()
            .filter(|orders| orders.first().is_some_and(|head| is(head, may_pass)));
        passing.filter_map(|orders| orders.iter().find(|order| is(order, may_go))).min().copied()
    }
}

fn key(ticket: &Ticket) -> (Arc<str>, bool) {
    (Arc::clone(&ticket.limited.route), ticket.limited.is_stream)
}
