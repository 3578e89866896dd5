//! Fewer instances: who leaves, how, and when it is given back.

use std::time::Duration;

use policies::backend::BackendId;
use policies::membership::Stage;
use policies::scale::Decision;

use crate::controller::book::{Held, Phase};
use crate::controller::{Controller, Draft};
use crate::look::{Action, Event, JournalState, Leaving, Look};
use crate::ports::{MemberLook, Order};

/// A rule about who leaves first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Victim {
    /// Whoever fails its checks.
    Unhealthy,
    /// Whoever has the fewest requests.
    FewestInFlight,
    /// Whoever has the least paid time left.
    EndOfBillingHour,
    /// Whoever was made from the oldest image.
    OldestImage,
}

impl Controller {
    pub(super) fn shrink(&mut self, look: &Look, decision: &Decision, turn: &mut Draft) {
        let now = look.now.steady;
        let mut excess = (decision.current - decision.desired) as usize;
        while excess > 0 && self.book.mourned.pop().is_some() {
            excess -= 1;
        }
        // One of the life before that no list has shown yet may serve for a process before this one:
        // it is admitted when it is listed, and gone when it is not for long enough.
        let is_known = |held: &Held| !held.is_adopted || held.instance.address.is_some();
        let stays = self.book.held.iter().filter(|(_, held)| !held.is_leaving() && is_known(held));
        let mut order: Vec<(Vec<u64>, BackendId)> =
            stays.map(|(id, held)| (self.rank(held, now), id.clone())).collect();
        order.sort();
        for (_, id) in order.into_iter().take(excess) {
            self.drain(&id, now, Leaving::ScaleIn, turn);
        }
    }

    /// Lower leaves first. Whoever does not serve yet has no requests to lose.
    fn rank(&self, held: &Held, now: Duration) -> Vec<u64> {
        let mut rank = vec![u64::from(held.phase != Phase::Booting)];
        rank.extend(self.settings.victims.iter().map(|victim| {
            match victim {
                Victim::Unhealthy => u64::from(held.is_healthy),
                Victim::FewestInFlight => u64::from(held.in_flight),
                Victim::EndOfBillingHour => self.paid_seconds_left(held, now),
                Victim::OldestImage => held
                    .instance
                    .image_made_at
                    .map_or(u64::MAX, |at| at.as_second().max(0).unsigned_abs()),
            }
        }));
        // The youngest last of all, so that the same ones are chosen whatever their ids are.
        rank.push(held.since.as_secs());
        rank
    }

    fn paid_seconds_left(&self, held: &Held, now: Duration) -> u64 {
        let Some(step) = self.abilities.billing_step.map(|step| step.as_secs().max(1)) else {
            return 0;
        };
        step - now.saturating_sub(held.since).as_secs() % step
    }

    /// It takes no new requests. Given back once those it has have ended.
    pub(super) fn drain(&mut self, id: &BackendId, now: Duration, why: Leaving, turn: &mut Draft) {
        let Some(held) = self.book.held.get_mut(id) else { return };
        held.phase = Phase::Draining { since: now, why };
        // A process before this one may have requests there, of one that this one never knew as a
        // member: as one, it is waited for.
        let unknown = held.instance.address.filter(|_| !held.is_member);
        let zone = held.instance.zone.clone();
        if let Some(address) = unknown {
            self.order(turn, Order::Admit { id: id.clone(), address, zone });
        }
        self.order(turn, Order::Drain { id: id.clone() });
        turn.events.push(Event::Leaves { id: id.clone(), why });
    }

    /// Gives back what has drained. While nothing can be written down, nothing leaves.
    pub(super) fn leave(&mut self, look: &Look, turn: &mut Draft) {
        if look.journal == JournalState::Degraded {
            return;
        }
        let now = look.now.steady;
        let pool = look.fleet.pools.iter().find(|pool| pool.pool == self.settings.pool);
        let members = pool.map_or(&[][..], |pool| &pool.members);
        let limit = self.settings.drain_limit;
        let mut orders = Vec::new();
        for (id, held) in &mut self.book.held {
            let Phase::Draining { since, why } = held.phase else { continue };
            // Just now: its order is on the way, and this look is older than it.
            if since == now {
                continue;
            }
            let member = members.iter().find(|member| member.id == *id);
            let is_empty = member.is_none_or(is_empty);
            if !is_empty && now.saturating_sub(since) <= limit {
                if member.is_some_and(|m| matches!(m.stage, Stage::Joining | Stage::Serving)) {
                    orders.push(Order::Drain { id: id.clone() });
                }
                continue;
            }
            if !is_empty {
                let in_flight = member.map_or(0, |member| member.in_flight);
                turn.events.push(Event::CutShort { id: id.clone(), in_flight });
            }
            held.phase = Phase::Terminating { why };
            orders.push(Order::Remove { id: id.clone() });
        }
        for order in orders {
            self.order(turn, order);
        }
        self.terminate(now, turn);
    }

    fn terminate(&mut self, now: Duration, turn: &mut Draft) {
        for why in [Leaving::ScaleIn, Leaving::BootFailed, Leaving::Unhealthy, Leaving::Marked] {
            let mut ids = Vec::new();
            for (id, held) in &mut self.book.held {
                if held.phase == (Phase::Terminating { why }) && held.call.is_due(now) {
                    held.call.begin(now);
                    ids.push(id.clone());
                }
            }
            if !ids.is_empty() {
                turn.actions.push(Action::Terminate { ids, why });
            }
        }
    }
}

/// Its last request has ended, and no other can come.
fn is_empty(member: &MemberLook) -> bool {
    member.stage == Stage::Drained && member.in_flight == 0
}
