//! Backends that another configuration knows by another name.
//!
//! A pool or a backend that is renamed, or a route that moves to another pool of the same backends,
//! is no new backend: what was well at an address by the same check a moment ago is well, and is
//! checked on. Without this a reload would take all of them out until their first check.
//!
//! Nor does it begin with nothing to do: what runs at its address under the earlier name counts
//! towards its cap until it has ended.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use health::config::HealthConfig;
use policies::health::Verdict;

use super::state::State;
use crate::snapshot::Slot;

/// What another configuration leaves behind.
pub(super) struct Before {
    /// Where backends were well, and by which check.
    well: Vec<(SocketAddr, Arc<HealthConfig>)>,
    /// Of members that did not leave.
    staying: Vec<Arc<Slot>>,
    /// Of all, with those that had left before.
    slots: Vec<Arc<Slot>>,
}

impl State {
    /// Before the configuration is another.
    pub(super) fn before(&self) -> Before {
        let mut well = Vec::new();
        for pool in &self.config.pools {
            let health = Arc::new(pool.health.clone());
            let members = self.standings.iter().filter(|(key, _)| key.pool == pool.name);
            let here = members.filter(|(_, standing)| standing.is_well());
            well.extend(here.filter_map(|(_, standing)| {
                Some((standing.slot.as_ref()?.address, Arc::clone(&health)))
            }));
        }
        let now = Instant::now();
        let of_members = self.standings.values().filter_map(|standing| standing.slot.as_ref());
        let staying = of_members.clone().filter(|slot| slot.parting_for(now).is_none()).cloned();
        let slots = of_members.chain(self.slots.all_finishing()).cloned().collect();
        Before { well, staying: staying.collect(), slots }
    }

    /// After it.
    pub(super) fn recognise(&mut self, before: &Before) {
        let now = Instant::now();
        let has_left = |slot: &&Arc<Slot>| slot.parting_for(now).is_some() && !slot.is_idle();
        let left: Vec<&Arc<Slot>> = before.slots.iter().filter(has_left).collect();
        for standing in self.standings.values_mut() {
            let Some(slot) = &standing.slot else { continue };
            if before.staying.iter().all(|known| known.id != slot.id) {
                let here = left.iter().filter(|earlier| earlier.address == slot.address);
                standing.earlier = here.map(|earlier| Arc::clone(earlier)).collect();
            }
        }
        for (key, standing) in &mut self.standings {
            let pool = self.config.pools.iter().find(|pool| pool.name == key.pool);
            let (Some(pool), Some(slot)) = (pool, &standing.slot) else { continue };
            let is_same = |(address, health): &(SocketAddr, Arc<HealthConfig>)| {
                *address == slot.address && **health == pool.health
            };
            if standing.verdict == Verdict::Unknown && before.well.iter().any(is_same) {
                (standing.verdict, standing.has_passed) = (Verdict::Healthy, true);
                standing.reason = None;
            }
        }
        self.settle();
    }
}
