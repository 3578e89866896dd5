//! Requests that an older process still has at the backends of this door: they are as much a reason
//! to wait with a backend's end as our own (0005).

use policies::backend::BackendKey;

use super::state::State;
use super::{Roster, tell};

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

impl Roster {
    /// What an older process says it has under way now, in place of what it said before. What it does
    /// not name has ended.
    pub fn hear_of_elsewhere(&self, under_way: Vec<UnderWay>) {
        let mut state = self.lock();
        state.elsewhere = under_way;
        if state.sweep() {
            self.publish(&mut state);
        }
        tell(state, None);
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
        own.chain(state.elsewhere.iter().cloned()).collect()
    }
}

impl State {
    /// Requests and streams of older processes at a member, at whatever address it had there.
    pub(super) fn elsewhere(&self, key: &BackendKey) -> (u32, u32) {
        let there = |at: &&UnderWay| at.key == *key;
        self.elsewhere.iter().filter(there).fold((0, 0), |(requests, streams), at| {
            (requests.saturating_add(at.in_flight), streams.saturating_add(at.streams))
        })
    }
}
