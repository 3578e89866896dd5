//! The gates of routes and pools, kept by name: who is inside stays counted when a configuration
//! changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use policies::backend::PoolName;

use super::Member;
use super::slots::Slots;
use crate::config::{DoorConfig, PoolConfig, RouteConfig};
use crate::limits::{Gate, PoolGates};

#[derive(Debug, Default)]
pub(super) struct Gates {
    routes: BTreeMap<Arc<str>, Arc<Gate>>,
    /// Of everybody, and by the name of the route that has a part for itself.
    pools: BTreeMap<(PoolName, Option<Arc<str>>), Arc<Gate>>,
}

impl Gates {
    /// Forgets those that no configuration will ask for again, and nobody is inside of.
    pub(super) fn forget(&mut self, config: &DoorConfig) {
        let is_route = |name: &str| config.routes.iter().any(|route| *route.route.name == *name);
        let is_pool = |name: &PoolName| config.pools.iter().any(|pool| pool.name == *name);
        self.routes.retain(|name, gate| is_route(name) || gate.in_flight() > 0);
        self.pools.retain(|(pool, route), gate| {
            let is_known = is_pool(pool) && route.as_ref().is_none_or(|name| is_route(name));
            is_known || gate.in_flight() > 0
        });
    }

    /// By the place of the route; `None` for one without a limit of its own.
    pub(super) fn of_routes(
        &mut self,
        config: &DoorConfig,
        slots: &mut Slots,
    ) -> Vec<Option<Arc<Gate>>> {
        let gate = |route: &RouteConfig| {
            let cap = route.concurrency?;
            let pools = route.pools().into_iter();
            let queues = pools.map(|pool| slots.queue(&config.pools[usize::from(pool)].name));
            let queues = queues.collect();
            let name = Arc::clone(&route.route.name);
            let gate = self.routes.entry(name).or_insert_with(|| Gate::new(cap));
            gate.set(cap, queues);
            Some(Arc::clone(gate))
        };
        let gates: Vec<Option<Arc<Gate>>> = config.routes.iter().map(gate).collect();
        // Who waits at a gate that the configuration does not have is kept by nothing any more.
        let is_kept = |gate: &Arc<Gate>| gates.iter().flatten().any(|kept| Arc::ptr_eq(kept, gate));
        for gate in self.routes.values().filter(|gate| !is_kept(gate)) {
            gate.set(u32::MAX, Vec::new());
        }
        gates
    }

    /// `None` for a pool that neither has a limit nor keeps a part for a route: what its backends
    /// may have is counted with them.
    pub(super) fn of_pool(
        &mut self,
        config: &DoorConfig,
        pool: &PoolConfig,
        capacity: Option<u32>,
    ) -> Option<Arc<PoolGates>> {
        let place = config.pools.iter().position(|other| other.name == pool.name);
        let leads_here =
            |route: &RouteConfig| route.pools().iter().any(|p| Some(usize::from(*p)) == place);
        // Of what has no bound every share is without end.
        let has_reserve =
            |route: &&RouteConfig| capacity.is_some() && route.reserve > 0.0 && leads_here(route);
        let routes: Vec<&RouteConfig> = config.routes.iter().filter(has_reserve).collect();
        if pool.concurrency.is_none() && routes.is_empty() {
            return None;
        }
        let capacity = capacity.unwrap_or(u32::MAX);
        let is_all = routes.iter().map(|route| route.reserve).sum::<f64>() >= 1.0;
        // Where something is left for the others it is one place at least.
        let mut rest = if is_all { capacity } else { capacity.saturating_sub(1) };
        let spare = capacity - rest;
        let mut reserved = Vec::with_capacity(routes.len());
        for route in routes {
            let part = share(capacity, route.reserve).min(rest);
            rest -= part;
            let name = &route.route.name;
            reserved.push((Arc::clone(name), self.gate(&pool.name, Some(name), part)));
        }
        let general = self.gate(&pool.name, None, rest + spare);
        Some(Arc::new(PoolGates { general, reserved }))
    }

    fn gate(&mut self, pool: &PoolName, route: Option<&Arc<str>>, cap: u32) -> Arc<Gate> {
        let key = (pool.clone(), route.cloned());
        let gate = self.pools.entry(key).or_insert_with(|| Gate::new(cap));
        gate.set(cap, Vec::new());
        Arc::clone(gate)
    }
}

/// What the pool can have in flight when each backend has what it may have; `None` if nothing
/// bounds it.
pub(super) fn capacity(pool: &PoolConfig, members: &[Member]) -> Option<u32> {
    let eligible = members.iter().filter(|member| member.is_eligible);
    let caps = eligible.map(|member| member.backend.max_concurrency.unwrap_or(u32::MAX));
    let sum = caps.fold(0, u32::saturating_add);
    let bound = sum.min(pool.concurrency.unwrap_or(u32::MAX));
    (bound < u32::MAX).then_some(bound)
}

/// Rounded up: who reserves anything has one place at least.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // between 0 and `of`
fn share(of: u32, share: f64) -> u32 {
    (f64::from(of) * share).ceil().clamp(0.0, f64::from(of)) as u32
}
