//! Breakers: what a look at the counts does to them, and how probes get through.
//!
//! The rule is [`policies::breaker`]. While one is open its slot lets nobody in, also not a request
//! that holds an earlier snapshot. While it is half open the slot lets in exactly as many as it has
//! permits; which of all answers are theirs is not told apart, so one to a request from before that
//! took longer than the breaker was open counts as a probe's.

use std::time::Duration;

use policies::backend::{BackendKey, PoolName};
use policies::breaker::{Breaker, BreakerPolicy, Phase, Step};
use policies::membership::Rejected;

use super::conduct::Takes;
use super::judge::Event;
use super::news::Order;
use super::standing::{Intake, Standing};
use super::state::State;

/// What has become of a breaker.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turned {
    from: Phase,
    to: Phase,
    reason: &'static str,
}

impl Turned {
    /// Says it once. An operator has reasons of his own.
    pub(super) fn tell(&self, key: &BackendKey, order: Option<&Order>) {
        let BackendKey { pool, backend } = key;
        let (from, to) = (self.from.word(), self.to.word());
        let actor = order.map(|order| order.actor.as_str());
        let reason = order.and_then(|order| order.reason.as_deref()).unwrap_or(self.reason);
        match self.to {
            Phase::Open => {
                tracing::warn!(%pool, %backend, from, to, actor, reason, "breaker_opened");
            }
            Phase::HalfOpen => {
                tracing::info!(%pool, %backend, from, to, reason, "breaker_half_opened");
            }
            Phase::Closed => {
                tracing::info!(%pool, %backend, from, to, actor, reason, "breaker_closed");
            }
        }
    }
}

/// Permits that were given out while a breaker is half open.
#[derive(Debug, Clone, Copy)]
pub(super) struct Granted {
    at: Duration,
    /// Whether all of them were used and had ended at the last look.
    had_ended: bool,
}

impl State {
    /// An operator holds the breaker of a backend open or closed, or lets it go.
    pub(super) fn hold_breaker(
        &mut self,
        key: &BackendKey,
        held: Option<Phase>,
    ) -> Result<Option<Turned>, Rejected> {
        let Some(standing) = self.standings.get_mut(key) else {
            return Err(Rejected::Unknown { key: key.clone() });
        };
        let breaker = &mut standing.conduct.breaker;
        let (from, was_held) = (breaker.phase(), breaker.is_held());
        breaker.hold(held);
        let (to, is_held) = (breaker.phase(), breaker.is_held());
        self.settle();
        let has_changed = (from, was_held) != (to, is_held);
        let reason = if is_held { "held" } else { "released" };
        Ok(has_changed.then_some(Turned { from, to, reason }))
    }

    /// Lets probes through where a breaker is half open and they have not come to enough yet.
    pub(super) fn grant_probes(&mut self, pool: &PoolName, policy: &BreakerPolicy) {
        let now = self.now;
        for (_, standing) in self.standings_of(pool) {
            let Intake::Open { cap } = standing.intake else { continue };
            let conduct = &mut standing.conduct;
            if conduct.takes() != Takes::Probes {
                conduct.granted = None;
                if let (Some(slot), Phase::HalfOpen) = (&standing.slot, conduct.breaker.phase()) {
                    slot.close();
                }
                continue;
            }
            let Some(slot) = standing.slot.as_ref().filter(|slot| !slot.has_permits()) else {
                continue;
            };
            let has_ended = slot.in_flight() == 0;
            let is_due = match &mut conduct.granted {
                None => true,
                // Some came to nothing: their clients left. Or they hang, and others have to do.
                Some(granted) => {
                    let is_lost = has_ended && std::mem::replace(&mut granted.had_ended, has_ended);
                    is_lost || now.saturating_sub(granted.at) >= policy.open_for
                }
            };
            let room = cap.map_or(u32::MAX, |cap| cap.saturating_sub(slot.in_flight()));
            let permits = conduct.breaker.probes_missing(policy).min(room);
            if is_due && permits > 0 {
                slot.set_probation(permits);
                conduct.granted = Some(Granted { at: now, had_ended: false });
            }
        }
    }
}

impl Standing {
    /// What its breaker makes of what has happened since the last look.
    pub(super) fn look_at_breaker(
        &mut self,
        key: &BackendKey,
        mut look: impl FnMut(&mut Breaker) -> Option<Step>,
    ) -> Option<Event> {
        let breaker = &mut self.conduct.breaker;
        let from = breaker.phase();
        let step = look(breaker)?;
        let reason = match step {
            Step::Opened(trigger) => trigger.word(),
            Step::HalfOpened(_) => "time",
            Step::Closed => "probes",
        };
        let turned = Turned { from, to: breaker.phase(), reason };
        Some(Event::Breaker { key: key.clone(), turned })
    }
}

#[cfg(test)]
mod tests;
