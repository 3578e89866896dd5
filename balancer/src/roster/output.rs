//! What follows from the members, for those who act on it.

use std::sync::Arc;
use std::time::Instant;

use health::Target;
use policies::backend::{Address, Backend, BackendKey, PoolName};
use policies::balance::{Entry, Picker};
use policies::health::Verdict;
use policies::membership::Stage;
use policies::ramp::{self, WHOLE};

use super::standing::UNRESOLVED;
use super::state::State;
use super::{Member, Name, gates};
use crate::config::PoolConfig;
use crate::snapshot::{PoolView, Slot, Snapshot};

impl State {
    /// The next snapshot.
    pub(super) fn build(&mut self) -> Snapshot {
        self.version += 1;
        let config = Arc::clone(&self.config);
        self.gates.forget(&config);
        Snapshot {
            version: self.version,
            generation: self.generation,
            routes: Arc::clone(&self.routes),
            layout: Arc::clone(&self.layout),
            gates: self.gates.of_routes(&config, &mut self.slots),
            pools: config.pools.iter().map(|pool| self.view(pool)).collect(),
            config,
        }
    }

    fn view(&mut self, config: &PoolConfig) -> PoolView {
        let members = self.members(&config.name);
        let zone = self.config.zone.as_ref();
        let (mut entries, mut eligible) = (Vec::new(), Vec::new());
        let some_are_fresh =
            members.iter().any(|member| member.is_eligible && member.share < WHOLE);
        for member in members.iter().filter(|member| member.is_eligible) {
            let Backend { weight, max_concurrency, .. } = member.backend;
            entries.push(Entry {
                id: &member.backend.id.0,
                weight: if some_are_fresh { weight.saturating_mul(member.share) } else { weight },
                zone_preferred: zone.is_some() && member.backend.zone.as_ref() == zone,
                max_concurrency: max_concurrency.and(ramp::limit(member.share, max_concurrency, 0)),
            });
            eligible.extend(member.slot.clone());
        }
        let slots = members.iter().filter_map(|member| member.slot.as_ref());
        let capacity = gates::capacity(config, &members);
        let gates = self.gates.of_pool(&self.config, config, capacity);
        PoolView {
            has_stranded: eligible.iter().any(|slot: &Arc<Slot>| slot.stranded() > 0),
            picker: Picker::new(config.rule, &entries),
            eligible,
            members: slots.chain(self.slots.finishing_in(&config.name)).cloned().collect(),
            queue: self.slots.queue(&config.name),
            budget: self.budget(&config.name),
            capacity,
            gates,
        }
    }

    /// Lets those who wait have what is there now. After the snapshot is out: who is woken must
    /// find the backend in it that it was given.
    pub(super) fn line_up(&mut self, snapshot: &Snapshot, now: Instant) {
        for (pool, config) in snapshot.pools.iter().zip(&snapshot.config.pools) {
            let is_awaited = self.members(&config.name).iter().any(Member::is_awaited);
            let (slots, gates) = (&pool.eligible, pool.gates.as_ref());
            pool.queue.publish(slots, gates, &config.queue, is_awaited, now);
        }
        for queue in self.slots.queues_without(&snapshot.config.pools) {
            queue.send_away(now);
        }
    }

    /// Whether nothing is known of it yet, and will be soon.
    pub(super) fn is_awaited(&self, key: &BackendKey) -> bool {
        self.member(key).is_some_and(|member| member.is_awaited())
    }

    /// Every member that has an address, but those that are leaving and have nothing in flight:
    /// nothing will be sent there, and what is in flight moves on if it is not well.
    pub(super) fn targets(&self) -> Arc<[Target]> {
        let mut targets = Vec::new();
        for pool in &self.config.pools {
            let config = Arc::new(pool.health.clone());
            let is_asked = |member: &Member| !member.is_leaving || member.in_flight() > 0;
            let members = self.members(&pool.name).into_iter().filter(is_asked);
            targets.extend(members.filter_map(|member| {
                let slot = member.slot?;
                Some(Target {
                    key: slot.key.clone(),
                    address: slot.address,
                    epoch: member.epoch,
                    config: Arc::clone(&config),
                    pulse: member.pulse,
                })
            }));
        }
        targets.into()
    }

    /// Each once, in order.
    pub(super) fn names(&self) -> Arc<[Name]> {
        let members = self.membership.pools().flat_map(|(_, members)| members);
        let staying = members.filter(|member| !member.is_leaving);
        let mut names: Vec<Name> = staying
            .filter_map(|member| match &member.backend.address {
                Address::Name { host, port } => Some((Arc::clone(host), *port)),
                Address::Socket(_) => None,
            })
            .collect();
        names.sort();
        names.dedup();
        names.into()
    }

    pub(super) fn pools(&self) -> Vec<(PoolName, Vec<Member>)> {
        let configured = self.config.pools.iter().map(|pool| &pool.name);
        let is_left = |name: &&PoolName| !configured.clone().any(|known| known == *name);
        let left = self.membership.pools().map(|(name, _)| name).filter(is_left);
        let names = configured.clone().chain(left);
        names.map(|name| (name.clone(), self.members(name))).collect()
    }

    fn members(&self, pool: &PoolName) -> Vec<Member> {
        let ids = self.membership.pool(pool).iter().map(|member| member.backend.id.clone());
        ids.filter_map(|backend| self.member(&BackendKey { pool: pool.clone(), backend })).collect()
    }
}

impl Member {
    /// Whether nothing is known of it yet, and will be soon.
    fn is_awaited(&self) -> bool {
        let is_asked = self.slot.is_some() || self.reason.as_deref() == Some(UNRESOLVED);
        is_asked
            && self.verdict == Verdict::Unknown
            && matches!(self.stage, Stage::Joining | Stage::Serving)
            && !self.is_leaving
            && self.backend.weight > 0
    }
}
