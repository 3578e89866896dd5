//! When do so few backends seem well that it is better not to believe it?
//!
//! A pool that loses most of its backends sends everything to the few that are left, and loses
//! these too. If the operator says below which share of healthy members that is so
//! (`health.min_healthy`), all that have ever been well get requests: the pool *panics*.
//!
//! It does not while none is well, because then the door can answer at once that nobody is there;
//! and not while a later pool of a route has room, because that is the better way out.

use std::time::Duration;

/// So long must a later pool have been without room, or with it again, before it counts: places
/// become free and are taken many times a second.
const STEADY_FOR: Duration = Duration::from_secs(1);

/// What there is to see of a pool. Members that are joining, draining, or have never passed a
/// check are none of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sight {
    /// Members that could take requests if they were well.
    pub members: usize,
    /// Of these, those that are.
    pub well: usize,
    /// Whether any pool that a route asks after this one has room; `None` if there is no such pool.
    pub later_has_room: Option<bool>,
}

/// Whether one pool panics.
#[derive(Debug, Clone, Default)]
pub struct Panic {
    is_on: bool,
    /// Since when it should be otherwise.
    otherwise_since: Option<Duration>,
}

impl Panic {
    /// Whether it does.
    pub fn is_on(&self) -> bool {
        self.is_on
    }

    /// Looks, some times a second, and says whether it has entered (`true`) or left it. `least` is
    /// the share of well members in percent below which it panics; `None` is never.
    pub fn look(&mut self, now: Duration, least: Option<f64>, sight: Sight) -> Option<bool> {
        let are_too_few = least.is_some_and(|least| are_too_few(sight, least));
        let wanted = are_too_few && sight.later_has_room != Some(true);
        if wanted == self.is_on {
            self.otherwise_since = None;
            return None;
        }
        let since = *self.otherwise_since.get_or_insert(now);
        let waits = are_too_few && sight.later_has_room.is_some();
        if waits && now.saturating_sub(since) < STEADY_FOR {
            return None;
        }
        *self = Panic { is_on: wanted, otherwise_since: None };
        Some(wanted)
    }
}

#[allow(clippy::cast_precision_loss)] // members of a pool
fn are_too_few(sight: Sight, least: f64) -> bool {
    sight.well > 0 && (sight.well as f64) * 100.0 < least * sight.members as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF: Option<f64> = Some(50.0);

    fn sight(well: usize, members: usize) -> Sight {
        Sight { members, well, later_has_room: None }
    }

    #[test]
    fn a_pool_panics_below_its_share_and_only_while_one_is_well() {
        let mut panic = Panic::default();
        let mut look = |well| panic.look(Duration::ZERO, HALF, sight(well, 6));
        assert_eq!([6, 3, 2, 1, 2].map(&mut look), [None, None, Some(true), None, None]);
        assert_eq!([0, 0, 1, 3].map(&mut look), [Some(false), None, Some(true), Some(false)]);
    }

    #[test]
    fn nobody_panics_without_being_told_when() {
        for least in [None, Some(0.0)] {
            for (well, members) in [(1, 100), (0, 0), (0, 3)] {
                let looked = Panic::default().look(Duration::ZERO, least, sight(well, members));
                assert_eq!(looked, None);
            }
        }
    }

    #[test]
    fn a_later_pool_keeps_it_from_panicking_until_it_has_been_full_for_a_second() {
        let mut panic = Panic::default();
        let mut look = |ms, has_room| {
            let sight = Sight { later_has_room: Some(has_room), ..sight(1, 6) };
            panic.look(Duration::from_millis(ms), HALF, sight)
        };
        let looks = [(0, true), (500, false), (900, true), (1_000, false), (1_900, false)];
        assert_eq!(looks.map(|(ms, room)| look(ms, room)), [None; 5]);
        assert_eq!(look(2_000, false), Some(true));
        assert_eq!(
            [(2_100, true), (2_500, false), (2_600, true)].map(|(ms, room)| look(ms, room)),
            [None; 3]
        );
        assert_eq!(look(3_600, true), Some(false));
    }

    #[test]
    fn it_ends_at_once_when_enough_are_well_whatever_there_is_later() {
        let mut panic = Panic { is_on: true, otherwise_since: None };
        let sight = Sight { later_has_room: Some(false), ..sight(3, 6) };
        assert_eq!(panic.look(Duration::ZERO, HALF, sight), Some(false));
    }
}
