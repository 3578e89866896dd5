//! How far fresh members have come, and what follows for their share and for their cap.
//!
//! The rule is [`policies::ramp`]. Those that carry the load with a member are the eligible ones of
//! its pool and of every pool that a route asks before that one: the first backend of a tier that
//! opens finds warm ones before it, although its own pool has none.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use policies::backend::PoolIndex;
use policies::breaker::Phase;
use policies::ramp::{self, WHOLE};
use policies::route::{Action, Target};

use super::standing::Intake;
use super::state::State;
use crate::config::{DoorConfig, PoolConfig};

/// In which order routes ask pools, by the place of the pool.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// Those that any route asks before it.
    pub(super) earlier: Vec<BTreeSet<usize>>,
    /// Those that any route asks after it.
    pub(super) later: Vec<BTreeSet<usize>>,
}

/// What the eligible members of one or more pools carry.
#[derive(Debug, Clone, Copy, Default)]
struct Carrying {
    /// How long the longest of them has taken requests; without end where it is warm.
    furthest: Duration,
    /// Most requests that one of them has in flight, without those stranded there.
    busiest: u32,
}

impl Order {
    pub(super) fn of(config: &DoorConfig) -> Order {
        let none = vec![BTreeSet::new(); config.pools.len()];
        let mut order = Order { earlier: none.clone(), later: none };
        let actions = config.routes.iter().map(|route| &route.route.action);
        for pools in actions.flat_map(waterfalls) {
            let pools: Vec<usize> = pools.iter().map(|pool| usize::from(pool.0)).collect();
            for (place, pool) in pools.iter().enumerate() {
                order.earlier[*pool].extend(&pools[..place]);
                order.later[*pool].extend(&pools[place + 1..]);
            }
        }
        order
    }
}

/// Each list of pools that a route asks in order.
fn waterfalls(action: &Action) -> Vec<&[PoolIndex]> {
    match action {
        Action::Forward(Target::Waterfall(pools)) => vec![pools],
        Action::Forward(Target::Split { arms, .. }) => {
            arms.iter().map(|arm| arm.to.as_slice()).collect()
        }
        Action::Redirect { .. } | Action::Respond { .. } => Vec::new(),
    }
}

impl State {
    /// Works out every member's share, and lets its cap follow. Whether any share has changed.
    pub(super) fn spare_fresh(&mut self) -> bool {
        let config = Arc::clone(&self.config);
        let carried: Vec<Carrying> = config.pools.iter().map(|pool| self.carried(pool)).collect();
        let mut has_changed = false;
        for (place, pool) in config.pools.iter().enumerate() {
            let with =
                self.order.earlier[place].iter().chain([&place]).map(|place| carried[*place]);
            let with = with.fold(Carrying::default(), Carrying::and);
            has_changed |= self.spare_fresh_of(pool, with);
        }
        has_changed
    }

    fn spare_fresh_of(&mut self, pool: &PoolConfig, with: Carrying) -> bool {
        let (now, slow_start) = (self.now, pool.conduct.slow_start);
        let mut has_changed = false;
        for (_, standing) in self.standings_of(&pool.name) {
            let before = standing.in_flight_before();
            let conduct = &mut standing.conduct;
            let age = conduct.age(now);
            let share = age.map_or(WHOLE, |age| ramp::share(age, with.furthest, slow_start));
            has_changed |= std::mem::replace(&mut conduct.share, share) != share;
            let (Some(slot), Intake::Open { cap }) = (&standing.slot, standing.intake) else {
                continue;
            };
            match conduct.breaker.phase() {
                Phase::Closed => {
                    // Those stranded there since before would fill all that it may have.
                    let limit = ramp::limit(share, cap, with.busiest);
                    let limit = limit.map(|limit| limit.saturating_add(slot.stranded()));
                    let room = cap.map_or(u32::MAX, |cap| cap.saturating_sub(before));
                    slot.set_max_concurrency(limit.map(|it| it.min(room)));
                }
                Phase::Open => slot.close(),
                // As many as it has permits.
                Phase::HalfOpen => {}
            }
        }
        has_changed
    }

    fn carried(&mut self, pool: &PoolConfig) -> Carrying {
        let now = self.now;
        let mut carrying = Carrying::default();
        for (_, standing) in self.standings_of(&pool.name) {
            let Some(age) = standing.conduct.age(now) else { continue };
            let furthest = if age >= pool.conduct.slow_start { Duration::MAX } else { age };
            let busiest = standing.slot.as_ref().map_or(0, |slot| slot.at_work());
            carrying = carrying.and(Carrying { furthest, busiest });
        }
        carrying
    }
}

impl Carrying {
    fn and(self, other: Carrying) -> Carrying {
        Carrying {
            furthest: self.furthest.max(other.furthest),
            busiest: self.busiest.max(other.busiest),
        }
    }
}

#[cfg(test)]
mod tests;
