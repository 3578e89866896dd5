//! Processes before and after this one that have requests at the same backends (0005).
//!
//! Requests that an older process still has are as much a reason to wait with a backend's end as our
//! own. And it may get more of them, over connections that it keeps: so it hears which backends are
//! *shut*, that is, take nothing more, and lets nobody in there either. A backend is drained when it
//! has said that it heeds that, or has ended. The same holds in a row of processes: each passes on
//! what it hears, and says that it heeds it when all before it do.

use std::collections::BTreeSet;
use std::sync::{Arc, MutexGuard};

use policies::backend::BackendKey;
use policies::membership::Stage;
use tokio::sync::watch;

use super::state::State;
use super::{Known, Roster, tell};

/// What a process has under way at a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnderWay {
    /// The backend.
    pub key: BackendKey,
    /// Requests, without those that became streams.
    pub in_flight: u32,
    /// Streams.
    pub streams: u32,
}

/// What is known of other processes.
#[derive(Debug, Default)]
pub(super) struct Elsewhere {
    /// What those before this one have under way.
    under_way: Vec<UnderWay>,
    /// Where the one before lets nobody in, whatever it hears next; `None` where none is.
    spared: Option<BTreeSet<BackendKey>>,
    /// Backends that were members here while there was one before.
    gone: BTreeSet<BackendKey>,
    /// What the one after this has shut.
    barred: BTreeSet<BackendKey>,
}

impl Roster {
    /// What an older process says it has under way now, in place of what it said before. What it does
    /// not name has ended. With what it says that it `heeds`, if that is new: it lets nobody in there.
    pub fn hear_of_elsewhere(&self, under_way: Vec<UnderWay>, heeds: Option<&[BackendKey]>) {
        let mut state = self.lock();
        let before = &mut state.elsewhere;
        before.under_way = under_way;
        if let (Some(spared), Some(heeds)) = (&mut before.spared, heeds) {
            *spared = heeds.iter().cloned().collect();
        }
        self.conclude(state);
    }

    /// An older process is about to hear that these are shut. Until it says that it heeds that, it may
    /// go by what it heard before.
    pub fn about_to_tell(&self, shut: &[BackendKey]) {
        if let Some(spared) = &mut self.lock().elsewhere.spared {
            spared.retain(|key| shut.contains(key));
        }
    }

    /// Older processes have ended.
    pub fn is_alone(&self) {
        let mut state = self.lock();
        let barred = std::mem::take(&mut state.elsewhere.barred);
        state.elsewhere = Elsewhere { barred, ..Elsewhere::default() };
        self.conclude(state);
    }

    /// Backends that take nothing more, in order, for the process before this one; none without it.
    pub fn shut(&self) -> watch::Receiver<Arc<[BackendKey]>> {
        self.shut.subscribe()
    }

    /// What the process after this one has shut, in place of what it said before. When this returns,
    /// nobody enters there any more.
    pub fn heed(&self, shut: impl IntoIterator<Item = BackendKey>) {
        let mut state = self.lock();
        state.elsewhere.barred = shut.into_iter().collect();
        state.settle();
        self.publish(&mut state);
        tell(state, None);
    }

    /// Whether all before this process heed what it was told last. What is under way is asked for
    /// after this: whoever has entered is in it then.
    pub fn is_heeded(&self) -> bool {
        let state = self.lock();
        let spared = state.elsewhere.spared.as_ref();
        spared.is_none_or(|spared| state.shut().iter().all(|key| spared.contains(key)))
    }

    /// What this process has under way, and those before it, for one that takes over.
    pub fn under_way(&self) -> Vec<UnderWay> {
        let state = self.lock();
        let members = state.pools().into_iter().flat_map(|(_, members)| members);
        let slots = members.flat_map(|member| member.slot.into_iter().chain(member.finishing));
        let own = slots.map(|slot| UnderWay {
            key: slot.key.clone(),
            in_flight: slot.in_flight(),
            streams: slot.streams(),
        });
        let own = own.filter(|at| at.in_flight + at.streams > 0);
        own.chain(state.elsewhere.under_way.iter().cloned()).collect()
    }

    /// What processes before this one have under way, also at backends that are no members here.
    pub fn under_way_before(&self) -> Vec<UnderWay> {
        self.lock().elsewhere.under_way.clone()
    }

    /// Whether anything has ended by what another process said.
    fn conclude(&self, mut state: MutexGuard<'_, State>) {
        if state.sweep() {
            self.publish(&mut state);
        }
        tell(state, None);
    }
}

impl State {
    /// There is a process before this one, which has heard nothing yet. What has drained there stays
    /// as it is: it takes no orders any more.
    pub(super) fn follow(&mut self, known: &[Known], under_way: Vec<UnderWay>) {
        let drained = known.iter().filter(|known| known.has_drained);
        let spared = Some(drained.map(|known| known.key.clone()).collect());
        self.elsewhere = Elsewhere { under_way, spared, ..Elsewhere::default() };
    }

    /// Backends that take nothing more, for a process before this one; none if there is none.
    pub(super) fn shut(&self) -> Arc<[BackendKey]> {
        if self.elsewhere.spared.is_none() {
            return Arc::default();
        }
        let mut shut = self.elsewhere.gone.clone();
        shut.extend(self.elsewhere.barred.iter().cloned());
        for (pool, members) in self.membership.pools() {
            let closed = members.iter().filter(|member| member.stage >= Stage::Draining);
            shut.extend(closed.map(|member| BackendKey {
                pool: pool.clone(),
                backend: member.backend.id.clone(),
            }));
        }
        shut.into_iter().collect()
    }
}

impl Elsewhere {
    /// Requests and streams of older processes at a member, at whatever address it had there.
    pub(super) fn at(&self, key: &BackendKey) -> (u32, u32) {
        let there = |at: &&UnderWay| at.key == *key;
        self.under_way.iter().filter(there).fold((0, 0), |(requests, streams), at| {
            (requests.saturating_add(at.in_flight), streams.saturating_add(at.streams))
        })
    }

    /// Whether older processes have nothing there, and send nothing more.
    pub(super) fn is_done(&self, key: &BackendKey) -> bool {
        self.at(key) == (0, 0) && self.spared.as_ref().is_none_or(|spared| spared.contains(key))
    }

    /// Whether the process after this one has shut it.
    pub(super) fn bars(&self, key: &BackendKey) -> bool {
        self.barred.contains(key)
    }

    /// Whether it is a member.
    pub(super) fn note(&mut self, key: &BackendKey, is_member: bool) {
        if is_member {
            self.gone.remove(key);
        } else if self.spared.is_some() {
            self.gone.insert(key.clone());
        }
    }
}

#[cfg(test)]
mod tests;
