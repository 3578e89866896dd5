//! What a turn has brought, as events of the log.

use policies::backend::PoolName;
use policies::scale::{Concern, Decision, Standing};

use crate::controller::Turn;
use crate::look::Event;

/// Tells what is new; what stays is told once.
pub(super) struct Teller {
    pool: PoolName,
    /// The words of the last holds, and whether the pool was short.
    holds: Vec<&'static str>,
    is_short: bool,
}

impl Teller {
    pub(super) fn new(pool: PoolName) -> Teller {
        Teller { pool, holds: Vec::new(), is_short: false }
    }

    pub(super) fn tell(&mut self, turn: &Turn) {
        self.decision(&turn.decision);
        for event in &turn.events {
            match event.is_bad() {
                true => self.bad(event),
                false => self.good(event),
            }
        }
    }

    fn decision(&mut self, decision: &Decision) {
        let Decision { desired, current, need, limit, .. } = *decision;
        let pool = &self.pool;
        let why = why(decision);
        if desired > current {
            tracing::info!(%pool, desired, current, need, limit, why, "scale_out_decided");
        } else if desired < current {
            tracing::info!(%pool, desired, current, need, limit, why, "scale_in_decided");
        }
        let holds: Vec<&'static str> = decision.holds.iter().map(|hold| hold.word()).collect();
        if let (Some(hold), true) = (decision.holds.first(), holds != self.holds)
            && desired == current
        {
            tracing::info!(%pool, current, need, reason = hold.word(), why = %hold, "scale_held");
        }
        self.holds = holds;
        let short = decision.concerns.iter().find(|c| matches!(c, Concern::Short { .. }));
        if let (Some(short), false) = (short, self.is_short) {
            tracing::warn!(%pool, need, limit, why = %short, "scale_limit_reached");
        }
        self.is_short = short.is_some();
    }

    fn good(&self, event: &Event) {
        let pool = &self.pool;
        match event {
            Event::LaunchAnswered { token, ids, count } => {
                let launched = ids.len();
                tracing::info!(%pool, %token, launched, asked = count, "launch_answered");
            }
            Event::Adopted { id } => tracing::info!(%pool, backend = %id, "instance_adopted"),
            Event::Serves { id, kind, running, passed } => {
                let (running, passed) = (running.as_secs_f64(), passed.as_secs_f64());
                tracing::info!(
                    %pool, backend = %id, kind, running_seconds = running, boot_seconds = passed,
                    "instance_serves"
                );
            }
            Event::LeadMoved { from, to } => {
                let (from, to) = (from.as_secs_f64(), to.as_secs_f64());
                tracing::info!(%pool, from_seconds = from, to_seconds = to, "boot_time_moved");
            }
            Event::Leaves { id, why } => {
                tracing::info!(%pool, backend = %id, reason = why.word(), "instance_leaves");
            }
            Event::Gone { id } => tracing::info!(%pool, backend = %id, "instance_gone"),
            Event::OverrideSet { order } => {
                let Standing { order, until, why: reason, actor } = order;
                tracing::info!(%pool, to = %order, %until, %reason, %actor, "override_set");
            }
            Event::OverrideEnded { order, actor: None } => {
                tracing::info!(%pool, from = %order.order, reason = "expired", "override_ended");
            }
            Event::OverrideEnded { order, actor: Some(actor) } => {
                tracing::info!(%pool, from = %order.order, %actor, "override_ended");
            }
            _ => {}
        }
    }

    fn bad(&self, event: &Event) {
        let pool = &self.pool;
        match event {
            Event::LaunchFailed { token, failure, offer } => {
                let reason = failure.kind.word();
                tracing::warn!(%pool, %token, offer, reason, error = failure.text, "launch_failed");
            }
            Event::LaunchForgotten { token } => {
                tracing::warn!(%pool, %token, "launch_forgotten");
            }
            Event::Lost { id } => tracing::warn!(%pool, backend = %id, "instance_lost"),
            Event::Leaves { id, why } => {
                tracing::warn!(%pool, backend = %id, reason = why.word(), "instance_leaves");
            }
            Event::CutShort { id, in_flight } => {
                tracing::warn!(%pool, backend = %id, in_flight, "drain_cut_short");
            }
            Event::ProviderFailed { what, failure } => {
                let reason = failure.kind.word();
                tracing::warn!(%pool, action = what, reason, error = failure.text, "provider_failed");
            }
            _ => {}
        }
    }
}

/// The terms of a decision in one line: `target asks 4 (tidegate.toml:12)`.
fn why(decision: &Decision) -> String {
    let terms = decision
        .terms
        .iter()
        .map(|term| format!("{} {} {} ({})", term.name(), term.verb(), term.instances, term.place));
    terms.collect::<Vec<_>>().join(", ")
}
