//! Several times a second: what follows from how the backends have answered.
//!
//! The workers count (`stats/backend.rs`), the rules decide (`policies::outlier`), and here the
//! one is brought to the other, pool by pool. Nothing of it touches a request on its way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use policies::backend::{BackendKey, PoolName};
use policies::health::Verdict;
use policies::membership::Stage;
use policies::outcomes::Outcomes;
use policies::outlier::{self, Cause, OutlierPolicy};
use policies::panic::{Panic, Sight};

use super::breakers::Turned;
use super::state::State;
use crate::config::ConductConfig;
use crate::stats::BOUNDS_US;

/// Ejections by `pool`, `backend` and `reason`.
pub const EJECTIONS_TOTAL: &str = "tidegate_backend_ejections_total";

/// What a look at the counts has led to.
#[derive(Debug)]
pub(super) enum Event {
    Ejected { key: BackendKey, cause: Cause, length: Duration },
    Returned { key: BackendKey },
    Breaker { key: BackendKey, turned: Turned },
    Panicked { pool: PoolName, sight: Sight },
    Calmed { pool: PoolName, sight: Sight },
}

/// What the workers have counted until now, by slot.
pub(super) struct Counted<'a> {
    pub(super) by_slot: &'a BTreeMap<u32, Outcomes>,
    /// Whether we look late: then nothing that has to do with time is held against anybody.
    pub(super) is_late: bool,
}

impl State {
    /// Looks at all pools: what has happened, and whether what is published has to change.
    pub(super) fn judge(&mut self, now: Duration, counted: &Counted<'_>) -> (Vec<Event>, bool) {
        self.now = now;
        self.standings.values_mut().for_each(|standing| standing.conduct.look(now));
        let mut events = Vec::new();
        let config = Arc::clone(&self.config);
        for pool in &config.pools {
            self.observe(&pool.name, &pool.conduct, counted, &mut events);
            self.readmit(&pool.name, &mut events);
            if !self.is_panicking(&pool.name) {
                self.eject(&pool.name, &pool.conduct.outlier, &mut events);
            }
        }
        if !events.is_empty() {
            self.settle();
        }
        if self.look_for_panic(&mut events) {
            self.settle();
        }
        for pool in &config.pools {
            if let Some(breaker) = &pool.conduct.breaker {
                self.grant_probes(&pool.name, breaker);
            }
        }
        let has_changed = self.spare_fresh() || !events.is_empty();
        (events, has_changed)
    }

    fn observe(
        &mut self,
        pool: &PoolName,
        policy: &ConductConfig,
        counted: &Counted<'_>,
        events: &mut Vec<Event>,
    ) {
        let now = self.now;
        for (key, standing) in self.standings_of(pool) {
            let Some(slot) = &standing.slot else { continue };
            let sum = counted.by_slot.get(&slot.id).copied().unwrap_or_default();
            let fresh = standing.conduct.fresh(sum);
            let fresh = fresh.map(|new| if counted.is_late { new.without_time() } else { new });
            if let Some(fresh) = &fresh {
                standing.conduct.outlier.observe(&policy.outlier, now, fresh);
            }
            let (fresh, breaker) = (fresh.unwrap_or_default(), policy.breaker.as_ref());
            events.extend(standing.look_at_breaker(key, |it| it.look(breaker, now, &fresh)));
        }
    }

    fn readmit(&mut self, pool: &PoolName, events: &mut Vec<Event>) {
        let now = self.now;
        for (key, standing) in self.standings_of(pool) {
            let is_well = standing.verdict == Verdict::Healthy;
            if standing.conduct.may_return(now) && is_well {
                standing.conduct.outlier.readmit(now);
                events.push(Event::Returned { key: key.clone() });
            }
        }
    }

    pub(super) fn is_panicking(&self, pool: &PoolName) -> bool {
        self.panics.get(pool).is_some_and(Panic::is_on)
    }

    /// Whether any pool has begun or ceased to panic.
    fn look_for_panic(&mut self, events: &mut Vec<Event>) -> bool {
        let (now, before) = (self.now, events.len());
        let config = Arc::clone(&self.config);
        for (place, pool) in config.pools.iter().enumerate() {
            let least = pool.conduct.min_healthy;
            if least.is_none() && !self.panics.contains_key(&pool.name) {
                continue;
            }
            let sight = self.sight(place, &pool.name);
            let panic = self.panics.entry(pool.name.clone()).or_default();
            let pool = pool.name.clone();
            match panic.look(now, least, sight) {
                Some(true) => events.push(Event::Panicked { pool, sight }),
                Some(false) => events.push(Event::Calmed { pool, sight }),
                None => {}
            }
        }
        events.len() > before
    }

    fn sight(&mut self, place: usize, pool: &PoolName) -> Sight {
        let later = self.order.later[place].clone();
        let has_room = later.iter().any(|later| self.has_room(*later));
        let (mut members, mut well) = (0, 0);
        for (_, standing) in self.standings_of(pool).filter(|(_, standing)| standing.counts) {
            members += 1;
            well += usize::from(standing.is_well());
        }
        Sight { members, well, later_has_room: (!later.is_empty()).then_some(has_room) }
    }

    fn has_room(&mut self, place: usize) -> bool {
        let config = Arc::clone(&self.config);
        let mut standings = self.standings_of(&config.pools[place].name);
        standings.any(|(_, standing)| {
            let slot = standing.slot.as_ref().filter(|_| standing.conduct.is_eligible());
            slot.is_some_and(|slot| slot.in_flight() < slot.max_concurrency())
        })
    }

    /// Suspects leave in the order of their names while enough remain.
    fn eject(&mut self, pool: &PoolName, policy: &OutlierPolicy, events: &mut Vec<Event>) {
        let now = self.now;
        let members = self.membership.pool(pool).iter();
        let serving = members.filter(|member| member.stage == Stage::Serving).count();
        let (mut ejected, mut eligible, mut medians) = (0, 0, Vec::new());
        for (_, standing) in self.standings_of(pool) {
            let conduct = &standing.conduct;
            ejected += usize::from(conduct.outlier.is_out());
            if conduct.is_eligible() {
                eligible += 1;
                medians.extend(conduct.outlier.median(policy, &BOUNDS_US).map(|(_, high)| high));
            }
        }
        // One is not slower than others of whom nothing is known.
        let pool_us = if medians.len() > 1 { outlier::pool_median(&mut medians) } else { None };
        for (key, standing) in self.standings_of(pool) {
            let conduct = &mut standing.conduct;
            let suspect = conduct.outlier.suspect(policy, now, pool_us, &BOUNDS_US);
            let Some(cause) = suspect.filter(|_| conduct.is_eligible()) else { continue };
            if outlier::may_eject(policy, serving, ejected, eligible) {
                let length = conduct.outlier.eject(policy, now, cause);
                (ejected, eligible) = (ejected + 1, eligible - 1);
                events.push(Event::Ejected { key: key.clone(), cause, length });
            }
        }
    }
}

impl Event {
    /// Says it once, in the log and in the metrics.
    pub(super) fn tell(&self) {
        match self {
            Event::Ejected { key, cause, length } => {
                let (pool, backend) = (key.pool.0.to_string(), key.backend.0.to_string());
                let reason = cause.word();
                counter!(EJECTIONS_TOTAL, "pool" => pool, "backend" => backend, "reason" => reason)
                    .increment(1);
                tracing::warn!(
                    pool = %key.pool, backend = %key.backend, reason, ?cause,
                    for_ms = length.as_millis(), "backend_ejected"
                );
            }
            Event::Returned { key } => {
                tracing::info!(pool = %key.pool, backend = %key.backend, "backend_readmitted");
            }
            Event::Breaker { key, turned } => turned.tell(key, None),
            Event::Panicked { pool, sight: Sight { members, well, .. } } => {
                tracing::error!(
                    %pool, healthy = well, members, "pool_panicked"
                );
            }
            Event::Calmed { pool, sight: Sight { members, well, .. } } => {
                tracing::info!(%pool, healthy = well, members, "pool_calmed");
            }
        }
    }
}
