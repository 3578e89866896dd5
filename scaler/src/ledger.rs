//! What must be known of the life before: launches without an answer, and what was launched.
//!
//! A fold over the turns, so that a restarted controller begins where the one before ended. Times
//! are those of the day, because they have to outlive the process; a clock that is set in between
//! makes ages wrong by as much, and they are believed for leads and lapsed tokens only.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use policies::backend::BackendId;
use policies::scale::Standing;

use crate::controller::{Boots, Known, Past, Turn};
use crate::look::{Action, Event};
use crate::ports::{LaunchRequest, Mark, Token};

/// What is remembered of one pool.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ledger {
    /// Launches without a definite answer, and when they were decided.
    pub open: BTreeMap<Token, (LaunchRequest, Timestamp)>,
    /// What was launched and is not known to be gone.
    pub live: BTreeMap<BackendId, Launched>,
    /// The last decision that launched something.
    pub last_decision: u64,
    /// The last step up.
    pub up: Option<Timestamp>,
    /// The last step down.
    pub down: Option<Timestamp>,
    /// How long boots took.
    pub boots: Boots,
    /// What an operator wants instead.
    pub order: Option<Standing>,
}

/// An instance that a launch has brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launched {
    /// By which launch.
    pub mark: Mark,
    /// What was launched.
    pub offer: Arc<str>,
    /// When the launch was decided.
    pub at: Timestamp,
}

impl Ledger {
    /// Takes in a turn that is about to be carried out.
    pub fn note(&mut self, at: Timestamp, turn: &Turn) {
        for event in &turn.events {
            self.event(event);
        }
        for action in &turn.actions {
            if let Action::Launch(request) = action {
                self.intend(at, request.clone());
            }
        }
        self.step(at, turn.decision.current, turn.decision.desired);
    }

    /// A launch that is about to happen.
    pub fn intend(&mut self, at: Timestamp, request: LaunchRequest) {
        self.last_decision = self.last_decision.max(request.mark.decision);
        self.open.insert(request.token(), (request, at));
    }

    /// A launch has brought these.
    pub fn answered(&mut self, token: Token, ids: &[BackendId]) {
        let Some((request, at)) = self.open.remove(&token) else { return };
        for id in ids {
            let (mark, offer) = (request.mark.clone(), Arc::clone(&request.offer.name));
            self.live.insert(id.clone(), Launched { mark, offer, at });
        }
    }

    /// Another size was decided, or none.
    pub fn step(&mut self, at: Timestamp, current: u32, desired: u32) {
        if desired > current {
            self.up = Some(at);
        } else if desired < current {
            self.down = Some(at);
        }
    }

    /// The number of the next decision.
    pub fn next_decision(&self) -> u64 {
        self.last_decision.saturating_add(1)
    }

    /// As a controller that begins at `now` needs it.
    pub fn past(&self, now: Timestamp, is_new: bool) -> Past {
        let age = |at: Timestamp| Duration::try_from(now.duration_since(at)).unwrap_or_default();
        let open = self.open.values().map(|(request, at)| (request.clone(), age(*at)));
        let live = self.live.iter().map(|(id, launched)| Known {
            id: id.clone(),
            mark: launched.mark.clone(),
            offer: Arc::clone(&launched.offer),
            age: age(launched.at),
        });
        Past {
            open: open.collect(),
            live: live.collect(),
            is_new,
            up: self.up.map(age),
            down: self.down.map(age),
            boots: self.boots.clone(),
            order: self.order.clone(),
        }
    }

    fn event(&mut self, event: &Event) {
        match event {
            Event::LaunchAnswered { token, ids, .. } => self.answered(*token, ids),
            Event::LaunchFailed { token, .. } | Event::LaunchForgotten { token } => {
                self.open.remove(token);
            }
            Event::Gone { id } | Event::Lost { id } => drop(self.live.remove(id)),
            Event::Serves { kind, running, passed, .. } => {
                self.boots.learn(&Arc::from(kind.as_str()), *running, *passed);
            }
            Event::OverrideSet { order } => self.order = Some(order.clone()),
            Event::OverrideEnded { .. } => self.order = None,
            _ => {}
        }
    }
}
