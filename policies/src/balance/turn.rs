//! What a worker remembers between two picks: whose turn it is.

/// One worker's turn in one pool. Outlives snapshots: when the number of backends changes, the
/// worker goes on from the same part of the round.
#[derive(Debug, Clone)]
pub struct Turn {
    pub(super) near: Cursor,
    pub(super) far: Cursor,
}

impl Turn {
    /// The turn of worker number `worker` of `workers`. Each starts elsewhere, so that the
    /// first requests of all workers do not meet at the first backend.
    pub fn new(worker: usize, workers: usize) -> Turn {
        let cursor = Cursor::new(worker, workers);
        Turn { near: cursor.clone(), far: cursor }
    }
}

/// A place in a round of `slots`, always below it.
#[derive(Debug, Clone)]
pub(super) struct Cursor {
    next: usize,
    slots: usize,
}

impl Cursor {
    fn new(worker: usize, workers: usize) -> Cursor {
        let slots = workers.max(1);
        Cursor { next: worker % slots, slots }
    }

    /// The next place in a round of `slots`, at least 1; a round of another length than the
    /// last is entered at the same part of it.
    pub(super) fn peek(&mut self, slots: usize) -> usize {
        debug_assert!(slots > 0);
        if slots != self.slots {
            self.next = self.next.saturating_mul(slots) / self.slots;
            self.slots = slots;
        }
        self.next
    }

    /// Goes on after `place` of the round that was last peeked at.
    pub(super) fn follow(&mut self, place: usize) {
        self.next = wrap(place + 1, self.slots);
    }

    /// The next place in a round of `slots`, which is taken.
    pub(super) fn advance(&mut self, slots: usize) -> usize {
        let place = self.peek(slots);
        self.follow(place);
        place
    }
}

/// `place` in a round of `slots`, for a place that is less than two rounds on. Division would
/// be the most expensive part of a round robin.
pub(super) fn wrap(place: usize, slots: usize) -> usize {
    if place < slots { place } else { place - slots }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_workers_start_at_four_corners() {
        let starts = (0..4).map(|worker| Cursor::new(worker, 4).peek(100));
        assert_eq!(starts.collect::<Vec<_>>(), [0, 25, 50, 75]);
    }

    #[test]
    fn a_round_of_another_length_is_entered_at_the_same_part() {
        let mut cursor = Cursor::new(0, 1);
        for _ in 0..6 {
            cursor.advance(8);
        }
        assert_eq!(cursor.peek(4), 3);
        assert_eq!(cursor.peek(1), 0);
    }

    #[test]
    fn a_worker_without_a_number_of_workers_still_has_a_turn() {
        assert_eq!(Cursor::new(3, 0).peek(5), 0);
    }
}
