//! The members and what each event does to them.
//!
//! Every event changes one thing and then lets [`State::settle`] draw the conclusions. That looks
//! at what is, not at what has just happened, so that an order of events that nobody thought of
//! ends in the same state as any other.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use health::Report;
use policies::backend::{Backend, BackendId, BackendKey, PoolIndex, PoolName};
use policies::breaker::Phase;
use policies::health::Verdict;
use policies::membership::{Change, Membership, Rejected, Stage};
use policies::panic::Panic;
use policies::route::RouteTable;

use super::conduct::Takes;
use super::elsewhere::Elsewhere;
use super::fresh::Order;
use super::gates::Gates;
use super::news::{Drain, News};
use super::slots::Slots;
use super::standing::{Intake, Standing, UNRESOLVED};
use super::{Known, Member, Name};
use crate::budget::Budget;
use crate::config::DoorConfig;
use crate::stats::Layout;

pub(super) struct State {
    /// As it holds: what is written, and the switches.
    pub(super) config: Arc<DoorConfig>,
    pub(super) routes: Arc<RouteTable>,
    pub(super) layout: Arc<Layout>,
    pub(super) generation: u64,
    pub(super) version: u64,
    pub(super) membership: Membership,
    /// Of the last look at the counts, since the door started.
    pub(super) now: Duration,
    /// One per member.
    pub(super) standings: BTreeMap<BackendKey, Standing>,
    pub(super) slots: Slots,
    pub(super) order: Order,
    /// By pool; one that has none does not panic.
    pub(super) panics: BTreeMap<PoolName, Panic>,
    /// Of every pool that is configured.
    budgets: BTreeMap<PoolName, Arc<Budget>>,
    pub(super) gates: Gates,
    /// The members as they were last told.
    pub(super) told: Membership,
    /// One per member that drains or has drained.
    pub(super) drains: BTreeMap<BackendKey, Drain>,
    /// The configuration as it came.
    pub(super) written: Arc<DoorConfig>,
    /// Maintenance that is otherwise than written, of the site and of routes.
    pub(super) switches: BTreeMap<Option<Arc<str>>, bool>,
    /// News that no comparison of members finds.
    pub(super) unsaid: Vec<News>,
    /// What is known of other processes.
    pub(super) elsewhere: Elsewhere,
    /// What was said last of each name. It is said once, and members of that name may come later.
    said: BTreeMap<Name, Result<SocketAddr, String>>,
}

impl State {
    pub(super) fn new(written: Arc<DoorConfig>) -> State {
        let config = Arc::new(DoorConfig::clone(&written).with_maintenance());
        let mut state = State {
            routes: compile(&config),
            layout: Layout::new(&config),
            generation: 1,
            version: 0,
            membership: Membership::default(),
            now: Duration::ZERO,
            standings: BTreeMap::new(),
            order: Order::default(),
            panics: BTreeMap::new(),
            slots: Slots::default(),
            budgets: BTreeMap::new(),
            gates: Gates::default(),
            told: Membership::default(),
            drains: BTreeMap::new(),
            unsaid: Vec::new(),
            elsewhere: Elsewhere::default(),
            said: BTreeMap::new(),
            switches: BTreeMap::new(),
            written,
            config,
        };
        state.match_budgets();
        state.reconcile();
        // The configuration is no news.
        state.told = state.membership.clone();
        state
    }

    pub(super) fn configure(&mut self, written: Arc<DoorConfig>) {
        self.generation += 1;
        let before = self.before();
        self.written = written;
        self.take_up();
        self.match_budgets();
        self.reconcile();
        self.recognise(&before);
    }

    /// Makes what is written what holds, with the switches that were turned at run time.
    pub(super) fn take_up(&mut self) {
        let config = self.switched();
        self.routes = compile(&config);
        self.layout = Layout::new(&config);
        self.config = config;
    }

    /// Gives each pool a budget, the one it had if it had one.
    fn match_budgets(&mut self) {
        let mut known = std::mem::take(&mut self.budgets);
        for (pool, place) in self.config.pools.iter().zip((0..=u16::MAX).map(PoolIndex)) {
            let permille = self.config.retry_permille(place);
            let kept = known.remove(&pool.name).inspect(|budget| budget.set_permille(permille));
            let budget = kept.unwrap_or_else(|| Arc::new(Budget::new(permille)));
            self.budgets.insert(pool.name.clone(), budget);
        }
    }

    /// The budget of a configured pool.
    pub(super) fn budget(&self, pool: &PoolName) -> Arc<Budget> {
        Arc::clone(&self.budgets[pool])
    }

    /// All of them or none.
    pub(super) fn change(&mut self, changes: Vec<Change>) -> Result<(), Rejected> {
        let mut next = self.membership.clone();
        for change in changes {
            if let Change::Admit { pool, .. } | Change::Join { pool, .. } = &change
                && !self.config.pools.iter().any(|configured| configured.name == *pool)
            {
                return Err(Rejected::UnknownPool { pool: pool.clone() });
            }
            next.apply(change)?;
        }
        self.membership = next;
        self.settle();
        Ok(())
    }

    /// Whether what is published has to change with the verdict.
    pub(super) fn report(&mut self, report: Report) -> bool {
        let Report { key, address, epoch, verdict, reason, .. } = report;
        let was_eligible = self.is_eligible(&key);
        let Some(standing) = self.standings.get_mut(&key) else { return false };
        let is_about_it = standing.slot.as_ref().is_some_and(|slot| slot.address == address);
        if !is_about_it || standing.epoch != epoch {
            return false;
        }
        standing.verdict = verdict;
        standing.has_passed |= verdict == Verdict::Healthy;
        standing.reason = reason;
        // It is out for a better reason now, and comes back when its checks say so: they find a
        // backend that was started again long before its ejection is over.
        let was_ejected = verdict == Verdict::Unhealthy && standing.conduct.outlier.is_out();
        if was_ejected {
            standing.conduct.outlier.readmit(self.now);
        }
        self.settle();
        was_ejected || self.is_eligible(&key) != was_eligible
    }

    /// A verdict from outside.
    pub(super) fn hear(&mut self, known: &Known) {
        let Some(standing) = self.standings.get_mut(&known.key) else { return };
        let at = standing.slot.as_ref().map(|slot| slot.address);
        if at.is_some() && at == known.address && known.verdict != Verdict::Unknown {
            standing.verdict = known.verdict;
            standing.has_passed |= known.verdict == Verdict::Healthy;
            standing.reason.clone_from(&known.reason);
            self.settle();
        }
    }

    /// Whether any backend is at another address than before.
    pub(super) fn resolved(&mut self, name: &Name, result: &Result<SocketAddr, String>) -> bool {
        let wanted = self.names();
        self.said.retain(|name, _| wanted.contains(name));
        self.said.insert(name.clone(), result.clone());
        let mut changed = false;
        for (key, standing) in &mut self.standings {
            if !standing.is_named(name) {
                continue;
            }
            let at = standing.slot.as_ref().map(|slot| slot.address);
            match result {
                Ok(address) if at != Some(*address) => {
                    let earlier = standing.slot.take();
                    let slot = self.slots.at(key, *address);
                    *standing = Standing::at(slot, &standing.written, self.version);
                    earlier.into_iter().for_each(|slot| self.slots.retire(slot));
                    changed = true;
                }
                Err(reason) if at.is_none() => {
                    // Who waits for the first word on it has it now.
                    changed |= standing.reason.as_deref() == Some(UNRESOLVED);
                    standing.reason = Some(reason.clone());
                }
                Ok(_) | Err(_) => {}
            }
        }
        if changed {
            self.settle();
        }
        changed
    }

    /// Whether anything has ended since the last time.
    pub(super) fn sweep(&mut self) -> bool {
        let changed = self.slots.forget_finished() || !self.due().is_empty();
        if changed {
            self.settle();
        }
        changed
    }

    /// A member with all that is known of it. A key that no member has is none.
    pub(super) fn member(&self, key: &BackendKey) -> Option<Member> {
        let member = self.membership.get(key)?;
        let standing = self.standings.get(key)?;
        let cut = |drain: &Drain| {
            let slots = standing.slot.iter().chain(self.slots.finishing(key));
            drain.cut.max(slots.map(|slot| slot.cuts()).sum())
        };
        Some(Member {
            backend: member.backend.clone(),
            stage: member.stage,
            is_leaving: member.is_leaving,
            is_written: member.is_written,
            drain: self.drains.get(key).map(|drain| Drain { cut: cut(drain), ..*drain }),
            slot: standing.slot.clone(),
            verdict: standing.verdict,
            reason: standing.reason.clone(),
            is_eligible: standing.conduct.is_eligible(),
            share: standing.conduct.share,
            is_ejected: standing.conduct.outlier.is_out(),
            breaker: standing.conduct.breaker.phase(),
            is_breaker_held: standing.conduct.breaker.is_held(),
            pulse: Arc::clone(&standing.conduct.pulse),
            finishing: self.slots.finishing(key).cloned().collect(),
            elsewhere: self.elsewhere.at(key),
            epoch: standing.epoch,
        })
    }

    pub(super) fn is_eligible(&self, key: &BackendKey) -> bool {
        self.standings.get(key).is_some_and(|standing| standing.conduct.is_eligible())
    }

    /// The standings of a pool's members, by their names.
    pub(super) fn standings_of<'a>(
        &'a mut self,
        pool: &'a PoolName,
    ) -> impl Iterator<Item = (&'a BackendKey, &'a mut Standing)> {
        let first = BackendKey { pool: pool.clone(), backend: BackendId("".into()) };
        self.standings.range_mut(first..).take_while(move |(key, _)| key.pool == *pool)
    }

    /// Makes the members those of the configuration.
    fn reconcile(&mut self) {
        self.order = Order::of(&self.config);
        self.panics.retain(|pool, _| self.config.pools.iter().any(|known| known.name == *pool));
        let pools = self.config.pools.iter();
        let wanted: Vec<(PoolName, Vec<Backend>)> =
            pools.map(|pool| (pool.name.clone(), pool.backends.clone())).collect();
        self.apply(self.membership.reconcile(&wanted));
        self.settle();
    }

    /// Draws all conclusions from the members as they are.
    pub(super) fn settle(&mut self) {
        self.match_standings();
        let due = self.due();
        if !due.is_empty() {
            self.note_cuts();
            self.apply(due);
            self.match_standings();
        }
        self.note_eligible();
        self.spare_fresh();
    }

    fn note_eligible(&mut self) {
        for (pool, members) in self.membership.pools() {
            let is_panicking = self.panics.get(pool).is_some_and(Panic::is_on);
            for member in members {
                let key = BackendKey { pool: pool.clone(), backend: member.backend.id.clone() };
                let Some(standing) = self.standings.get_mut(&key) else { continue };
                standing.counts = standing.has_passed
                    && member.stage == Stage::Serving
                    && standing.intake != Intake::Closed
                    && member.backend.weight > 0;
                let takes = match (standing.is_well(), standing.conduct.breaker.phase()) {
                    _ if !standing.counts => Takes::Nothing,
                    (_, Phase::Open) => Takes::Nothing,
                    (true, Phase::HalfOpen) => Takes::Probes,
                    (true, Phase::Closed) => Takes::ItsShare,
                    (false, Phase::Closed) if is_panicking => Takes::All,
                    (false, Phase::Closed | Phase::HalfOpen) => Takes::Nothing,
                };
                standing.conduct.note(takes);
                if let Some(slot) = &standing.slot {
                    let is_unwell = standing.verdict == Verdict::Unhealthy;
                    slot.set_unwell(is_unwell && takes == Takes::Nothing);
                }
            }
        }
    }

    /// Changes that nobody asks for, because they are so.
    fn due(&self) -> Vec<Change> {
        let mut due = Vec::new();
        for (key, standing) in &self.standings {
            let Some(member) = self.membership.get(key) else { continue };
            match member.stage {
                Stage::Joining if standing.verdict == Verdict::Healthy => {
                    due.push(Change::Pass { key: key.clone() });
                }
                Stage::Draining if self.has_finished(key, standing) => {
                    due.push(Change::Drained { key: key.clone() });
                }
                _ => {}
            }
        }
        due
    }

    /// Its slots are closed already, so it stays so.
    fn has_finished(&self, key: &BackendKey, standing: &Standing) -> bool {
        let mut slots = standing.slot.iter().chain(self.slots.finishing(key));
        slots.all(|slot| slot.is_idle()) && self.elsewhere.is_done(key)
    }

    /// Changes that this program itself concluded, which the membership takes.
    fn apply(&mut self, changes: Vec<Change>) {
        for change in changes {
            if let Err(error) = self.membership.apply(change) {
                // A pool that names a backend twice: the configuration's check lets none through.
                tracing::error!(%error, "a member was not changed");
                debug_assert!(false, "{error}");
            }
        }
    }

    /// Gives each member a standing and the cap that goes with its stage. One whose address was
    /// written anew begins anew.
    fn match_standings(&mut self) {
        let mut known = std::mem::take(&mut self.standings);
        for (pool, members) in self.membership.pools() {
            for member in members {
                let backend = &member.backend;
                let key = BackendKey { pool: pool.clone(), backend: backend.id.clone() };
                let mut standing = match known.remove(&key) {
                    Some(standing) if standing.written == backend.address => standing,
                    other => {
                        let earlier = other.and_then(|standing| standing.slot);
                        earlier.into_iter().for_each(|slot| self.slots.retire(slot));
                        let said = &self.said;
                        Standing::new(&key, &backend.address, said, &mut self.slots, self.version)
                    }
                };
                self.elsewhere.note(&key, true);
                standing.intake = match member.stage {
                    Stage::Draining | Stage::Drained => Intake::Closed,
                    _ if self.elsewhere.bars(&key) => Intake::Closed,
                    Stage::Joining | Stage::Serving => {
                        Intake::Open { cap: backend.max_concurrency }
                    }
                };
                if let Some(slot) = &standing.slot {
                    slot.set_max_streams(streams(&self.config, pool, backend));
                    match standing.intake {
                        Intake::Closed => slot.part(),
                        Intake::Open { .. } => slot.rejoin(),
                    }
                }
                self.standings.insert(key, standing);
            }
        }
        for (key, standing) in known {
            self.elsewhere.note(&key, false);
            standing.slot.into_iter().for_each(|slot| self.slots.retire(slot));
        }
    }
}

/// How many streams a backend may carry.
fn streams(config: &DoorConfig, pool: &PoolName, backend: &Backend) -> u32 {
    let pool = config.pools.iter().find(|configured| configured.name == *pool);
    pool.map_or(u32::MAX, |pool| pool.max_streams_of(backend.max_concurrency))
}

fn compile(config: &DoorConfig) -> Arc<RouteTable> {
    Arc::new(RouteTable::new(config.routes.iter().map(|route| route.route.clone()).collect()))
}
