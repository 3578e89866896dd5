//! Drains that have taken as long as `[pools.*] drain` lets them.
//!
//! What is said here of a backend that drains holds for one that has left or moved as well: its
//! slot is closed, and streams there are not waited for any longer either. A slot of a pool that is
//! configured no longer is left alone; there is nothing left that says how long.

use std::sync::Arc;
use std::time::{Duration, Instant};

use policies::backend::BackendKey;

use super::news::{News, What};
use super::state::State;
use crate::parting::RanOut;
use crate::snapshot::Slot;

impl State {
    /// Marks what has been waited for long enough. Workers see it within a second.
    pub(super) fn run_out(&mut self, now: Instant) {
        let config = Arc::clone(&self.config);
        for pool in &config.pools {
            let members = self.membership.pool(&pool.name).iter();
            let keys = members.map(|member| BackendKey {
                pool: pool.name.clone(),
                backend: member.backend.id.clone(),
            });
            let own = keys.filter_map(|key| self.member(&key)?.slot);
            let slots: Vec<Arc<Slot>> =
                own.chain(self.slots.finishing_in(&pool.name).cloned()).collect();
            for slot in slots {
                let Some(waited) = slot.parting_for(now) else { continue };
                let is_over = |limit: Option<Duration>| limit.is_some_and(|limit| waited >= limit);
                let after = RanOut {
                    streams: is_over(pool.drain.wait_streams),
                    requests: is_over(pool.drain.wait_inflight),
                };
                self.mark(&slot, after);
            }
        }
        self.note_cuts();
    }

    fn mark(&mut self, slot: &Slot, after: RanOut) {
        let before = slot.ran_out();
        slot.set_ran_out(after);
        let in_flight = slot.in_flight() + slot.streams();
        if in_flight == 0 {
            return;
        }
        if after.streams && !before.streams {
            self.unsaid.push(News::new(&slot.key, What::ClosesStreams { in_flight }));
        }
        if after.requests && !before.requests {
            self.unsaid.push(News::new(&slot.key, What::RanOut { in_flight }));
        }
    }

    /// Takes over how many were cut, before a backend that has finished may be gone.
    pub(super) fn note_cuts(&mut self) {
        let keys: Vec<BackendKey> = self.drains.keys().cloned().collect();
        for key in keys {
            if let Some(drain) = self.member(&key).and_then(|member| member.drain) {
                self.drains.insert(key, drain);
            }
        }
    }
}
