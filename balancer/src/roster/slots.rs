//! The slots that members have, and those that nobody has but that still finish requests.
//!
//! A slot whose backend went away or moved is *closed* and counted on until its last request has
//! ended: a backend is only drained when it has nothing left at any address, and one that comes
//! back to an address in between finds its count, so that its cap holds.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use policies::backend::{BackendKey, PoolName};

use crate::config::PoolConfig;
use crate::queue::Queue;
use crate::snapshot::Slot;

#[derive(Debug, Default)]
pub(super) struct Slots {
    next: u32,
    /// Closed; at most one per key and address, and none without requests after a sweep.
    finishing: Vec<Arc<Slot>>,
    /// One per pool that has, or had, members. Not part of a configuration, so that who waits
    /// goes on waiting when it changes.
    queues: BTreeMap<PoolName, Arc<Queue>>,
}

impl Slots {
    /// The slot of this backend at this address: the one it had, if it has not finished yet.
    /// Closed: the cap comes with the stage of its member.
    pub(super) fn at(&mut self, key: &BackendKey, address: SocketAddr) -> Arc<Slot> {
        let same = |slot: &Arc<Slot>| slot.key == *key && slot.address == address;
        if let Some(place) = self.finishing.iter().position(same) {
            return self.finishing.swap_remove(place);
        }
        let id = self.next;
        self.next += 1;
        let queue = self.queue(&key.pool);
        Arc::new(Slot::new(id, key.clone(), address, queue))
    }

    /// The queue of a pool.
    pub(super) fn queue(&mut self, pool: &PoolName) -> Arc<Queue> {
        let queue = self.queues.entry(pool.clone()).or_insert_with(Queue::new);
        Arc::clone(queue)
    }

    /// The queues of pools that are not among these: nothing will come there.
    pub(super) fn queues_without(&mut self, pools: &[PoolConfig]) -> Vec<Arc<Queue>> {
        let is_there = |name: &PoolName| pools.iter().any(|pool| pool.name == *name);
        let gone = self.queues.extract_if(.., |name, _| !is_there(name));
        gone.map(|(_, queue)| queue).collect()
    }

    /// No member has this slot any more.
    pub(super) fn retire(&mut self, slot: Arc<Slot>) {
        slot.part();
        if !slot.is_idle() {
            self.finishing.push(slot);
        }
    }

    /// Those of one backend that finish requests at addresses it had.
    pub(super) fn finishing(&self, key: &BackendKey) -> impl Iterator<Item = &Arc<Slot>> {
        self.finishing.iter().filter(move |slot| slot.key == *key)
    }

    /// Those of all backends.
    pub(super) fn all_finishing(&self) -> impl Iterator<Item = &Arc<Slot>> {
        self.finishing.iter()
    }

    /// Those of one pool.
    pub(super) fn finishing_in(&self, pool: &PoolName) -> impl Iterator<Item = &Arc<Slot>> {
        self.finishing.iter().filter(move |slot| slot.key.pool == *pool)
    }

    /// Forgets those that have finished; whether there were any.
    pub(super) fn forget_finished(&mut self) -> bool {
        let before = self.finishing.len();
        self.finishing.retain(|slot| !slot.is_idle());
        self.finishing.len() < before
    }
}
