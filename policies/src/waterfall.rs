//! Which pool of a waterfall takes a request: one is filled before the next opens.
//!
//! A route names pools in order, the cheapest first. A pool takes what comes until it is at
//! `fill_to` of its capacity; what is beyond goes to the next. The rest of a pool, from `fill_to`
//! to its capacity, is used once those behind it have nothing to give either, again in order: it is
//! room for what is bound to this pool, and for the time until the next one has grown.
//!
//! A pool without an eligible backend has no capacity and is passed over. The rule is exact for the
//! counts that it is given; between counting and taking a place other workers may take some, so that
//! a pool exceeds its `fill_to` by at most one request for each other worker. Its capacity is kept
//! exactly, elsewhere.

/// What a waterfall sees of a pool: its eligible backends together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// Requests in flight.
    pub in_flight: u64,
    /// Requests that may be; `None` if nothing bounds it.
    pub capacity: Option<u64>,
}

impl Level {
    /// Whether it is at `fill_to`, in thousandths of its capacity. A pool without a limit never is.
    pub fn is_filled(self, fill_permille: u32) -> bool {
        let Some(capacity) = self.capacity else { return false };
        u128::from(self.in_flight) * 1_000 >= u128::from(capacity) * u128::from(fill_permille)
    }
}

/// Pools of one waterfall that were passed over because they are filled, by their places. Holds the
/// first 64; later ones are never passed over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PassedOver(u64);

impl PassedOver {
    /// Whether to pass the pool at `place` over for now, and notes it.
    pub fn pass(&mut self, place: usize, is_filled: bool) -> bool {
        let is_passed = is_filled && place < 64;
        if is_passed {
            self.0 |= 1 << place;
        }
        is_passed
    }
}

/// The places, in order: what is asked when no other pool has room.
impl Iterator for PassedOver {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let place = self.0.trailing_zeros();
        self.0 &= self.0.checked_sub(1)?;
        Some(place as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn level(in_flight: u64, capacity: u64) -> Level {
        Level { in_flight, capacity: Some(capacity) }
    }

    #[test]
    fn a_pool_is_filled_at_its_share_and_not_before() {
        for (in_flight, capacity, permille, expected) in [
            (84, 100, 850, false),
            (85, 100, 850, true),
            (1_784, 2_100, 850, false),
            (1_785, 2_100, 850, true),
            // Rounded up: a share of one place is that place.
            (0, 1, 850, false),
            (1, 1, 850, true),
            (2, 3, 850, false),
            (99, 100, 1_000, false),
            (100, 100, 1_000, true),
            (0, 0, 850, true),
            (u64::MAX, u64::MAX, 1_000, true),
        ] {
            let is_filled = level(in_flight, capacity).is_filled(permille);
            assert_eq!(is_filled, expected, "{in_flight} of {capacity} at {permille}");
        }
    }

    #[test]
    fn a_pool_without_a_limit_is_never_filled() {
        assert!(!Level { in_flight: u64::MAX, capacity: None }.is_filled(1));
    }

    #[test]
    fn what_was_passed_over_comes_again_in_order() {
        let mut passed = PassedOver::default();
        for place in [0, 3, 63, 64, 100] {
            assert_eq!(passed.pass(place, true), place < 64);
        }
        assert!(!passed.pass(1, false));
        assert_eq!(passed.collect::<Vec<_>>(), [0, 3, 63]);
        assert_eq!(PassedOver::default().next(), None);
    }

    /// A pool with room, as the rule drives it.
    #[derive(Debug, Clone, Copy)]
    struct Pool {
        in_flight: u64,
        capacity: u64,
        fill: u32,
    }

    /// The pool that takes the next request.
    fn take(pools: &mut [Pool]) -> Option<usize> {
        let has_room = |pool: &Pool| pool.in_flight < pool.capacity;
        let mut passed = PassedOver::default();
        let first = (0..pools.len()).find(|&place| {
            let pool = pools[place];
            let is_filled = level(pool.in_flight, pool.capacity).is_filled(pool.fill);
            !passed.pass(place, is_filled) && has_room(&pool)
        });
        let place = first.or_else(|| passed.into_iter().find(|&place| has_room(&pools[place])))?;
        pools[place].in_flight += 1;
        Some(place)
    }

    #[test]
    fn whatever_comes_and_goes_a_pool_takes_only_what_those_before_it_would_not() {
        let mut rng = Rng::new(1);
        for _ in 0..300 {
            let count = 1 + rng.below(4);
            let mut pools: Vec<Pool> = (0..count)
                .map(|_| Pool {
                    in_flight: 0,
                    // 0 is a pool that is down.
                    capacity: rng.below(12),
                    fill: 1 + u32::try_from(rng.below(1_000)).unwrap(),
                })
                .collect();
            let mut inside = Vec::new();
            for _ in 0..100 {
                if rng.below(3) == 0 && !inside.is_empty() {
                    let index = usize::try_from(rng.below(inside.len() as u64)).unwrap();
                    let place: usize = inside.swap_remove(index);
                    pools[place].in_flight -= 1;
                    continue;
                }
                let before = pools.clone();
                let taken = take(&mut pools);
                inside.extend(taken);
                let at_fill =
                    |pool: &Pool| pool.in_flight * 1_000 >= pool.capacity * u64::from(pool.fill);
                let is_full = |pool: &Pool| pool.in_flight >= pool.capacity;
                match taken {
                    None => assert!(before.iter().all(is_full), "{before:?}"),
                    Some(place) if !at_fill(&before[place]) => {
                        assert!(before[..place].iter().all(at_fill), "{place} of {before:?}");
                    }
                    // Beyond its share: none is below its own, and those before are full.
                    Some(place) => {
                        assert!(before.iter().all(at_fill), "{place} of {before:?}");
                        assert!(before[..place].iter().all(is_full), "{place} of {before:?}");
                        assert!(!is_full(&before[place]));
                    }
                }
            }
        }
    }
}
