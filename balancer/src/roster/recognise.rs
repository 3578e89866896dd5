//! Backends that another configuration knows by another name.
//!
//! A pool or a backend that is renamed, or a route that moves to another pool of the same backends,
//! is no new backend: what was well at an address by the same check a moment ago is well, and is
//! checked on. Without this a reload would take all of them out until their first check.

use std::net::SocketAddr;
use std::sync::Arc;

use health::config::HealthConfig;
use policies::health::Verdict;

use super::state::State;

/// What is well, and by which check.
pub(super) type Well = Vec<(SocketAddr, Arc<HealthConfig>)>;

impl State {
    /// Before the configuration is another.
    pub(super) fn well(&self) -> Well {
        let mut well = Well::new();
        for pool in &self.config.pools {
            let health = Arc::new(pool.health.clone());
            let members = self.standings.iter().filter(|(key, _)| key.pool == pool.name);
            let here = members.filter(|(_, standing)| standing.is_well());
            well.extend(here.filter_map(|(_, standing)| {
                Some((standing.slot.as_ref()?.address, Arc::clone(&health)))
            }));
        }
        well
    }

    /// After it.
    pub(super) fn recognise(&mut self, well: &Well) {
        let mut has_changed = false;
        for (key, standing) in &mut self.standings {
            let pool = self.config.pools.iter().find(|pool| pool.name == key.pool);
            let (Some(pool), Some(slot)) = (pool, &standing.slot) else { continue };
            let is_same = |(address, health): &(SocketAddr, Arc<HealthConfig>)| {
                *address == slot.address && **health == pool.health
            };
            if standing.verdict == Verdict::Unknown && well.iter().any(is_same) {
                (standing.verdict, standing.has_passed) = (Verdict::Healthy, true);
                standing.reason = None;
                has_changed = true;
            }
        }
        if has_changed {
            self.settle();
        }
    }
}
