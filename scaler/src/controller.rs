//! Decides what to do about one pool, and nothing else: no clock, no wait, no disk, no chance.
//!
//! A turn is a function of the look and of what the controller remembers. What it remembers is in
//! its book: launches without an answer, and instances with their phase.
//!
//! ```text
//!  Launch ──answer/list──► Booting ──first check──► Serving ──victim──► Draining ──► Terminating ──► gone
//!    │ open: repeated as it was │ give_up_after          │ unhealthy        │ in flight 0, or limit
//!    └ definite: closed         └──────────────────────────────────────────┴─► Terminating
//! ```
//!
//! Rules that hold whatever happens (`tests/simulation.rs` asserts them every turn):
//!
//! - A launch that may have happened stays open and is repeated as it was, under its token, until
//!   the answer is definite. An answer whose instances are neither pending nor running is none.
//! - Nothing is launched before the provider has once said what there is.
//! - What lives is never more than the limits allow, what drains and what may have been launched
//!   included.
//! - Nothing is terminated with requests in flight before the drain limit.
//! - What carries our mark and is in no book is adopted, never launched again, never left alone.
//! - What went without us is noticed, and replaced because it is needed, not because it went.
//! - A turn that comes too late decides nothing.
//!
//! | file           | what                                                  |
//! |----------------|-------------------------------------------------------|
//! | `book.rs`      | launches, instances, their phases; counting           |
//! | `reconcile.rs` | facts from the provider and the doors → the book      |
//! | `grow.rs`      | undrain, launch, repeat                               |
//! | `shrink.rs`    | victims, drain, terminate                             |
//! | `sight.rs`     | what doors count → what the rule of sizes looks at    |
//! | `boot.rs`      | how long a boot takes                                 |

use std::sync::Arc;
use std::time::Duration;

use policies::backend::{BackendId, PoolName};
use policies::scale::policy::ScalingPolicy;
use policies::scale::{self, Decision, Hold, Memory, Now, Standing};

use crate::look::{Action, Event, JournalState, Look};
use crate::overrides::Wish;
use crate::ports::{Abilities, LaunchRequest, Mark, Order};

mod book;
mod boot;
mod grow;
mod reconcile;
mod shrink;
mod sight;
#[cfg(test)]
mod tests;

use book::Book;
pub use boot::{BootSettings, Boots};
pub use shrink::Victim;

/// A turn that comes so many ticks after the one before is not believed.
const LATE: u32 = 3;

/// But less than this is never late: a busy machine is no reason to hold still.
const NEVER_LATE: Duration = Duration::from_secs(3);

/// Everything about one pool that the configuration says.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// `[site].name`.
    pub site: Arc<str>,
    /// The elastic pool.
    pub pool: PoolName,
    /// How many.
    pub policy: ScalingPolicy,
    /// Between two turns.
    pub tick: Duration,
    /// Whether it acts or only says what it would.
    pub mode: Mode,
    /// Pools that are filled before this one.
    pub before: Vec<Before>,
    /// How long boots take.
    pub boot: BootSettings,
    /// Requests in flight may end for this long; then they are cut.
    pub drain_limit: Duration,
    /// Those who wait should be served within this.
    pub drain_backlog_within: Duration,
    /// Who leaves first; the first rule that tells two apart decides.
    pub victims: Vec<Victim>,
}

/// Whether it acts or only says what it would.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It acts.
    Act,
    /// It decides, writes down and tells.
    Shadow,
}

/// A pool that is filled before this one.
#[derive(Debug, Clone, PartialEq)]
pub struct Before {
    /// Which.
    pub pool: PoolName,
    /// Share of its capacity that is used first, 0 to 1.
    pub fill_to: f64,
}

/// Who we are for a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Random, made together with the journal.
    pub installation: Arc<str>,
    /// Term of the door that leads.
    pub epoch: u64,
}

/// What was decided in a turn.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    /// How many, and why.
    pub decision: Decision,
    /// What to do, in this order.
    pub actions: Vec<Action>,
    /// What was noticed.
    pub events: Vec<Event>,
    /// What there is.
    pub census: Census,
}

/// How many instances are in which phase.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Census {
    /// Asked for, without an answer.
    pub open: u32,
    /// Launched, not serving yet.
    pub booting: u32,
    /// Serving.
    pub serving: u32,
    /// Of those, healthy.
    pub healthy: u32,
    /// Finishing their requests.
    pub draining: u32,
    /// Given back, not gone yet.
    pub terminating: u32,
}

/// Keeps one pool at its size.
#[derive(Debug, Clone)]
pub struct Controller {
    settings: Settings,
    abilities: Abilities,
    identity: Identity,
    memory: Memory,
    sight: sight::Senses,
    book: Book,
    boots: Boots,
    /// Lists asked for from here on show all there is.
    trusted_from: Duration,
    /// What is counted before says nothing while instances of the life before are there.
    counted_from: Duration,
    last_turn: Option<Duration>,
    /// In shadow mode, the size that the pool would have by now.
    shadow: u32,
    /// What an operator wants instead.
    order: Option<Standing>,
}

/// What the journal knows of the life before.
#[derive(Debug, Clone, Default)]
pub struct Past {
    /// Launches without a definite answer, with the time since they were decided.
    pub open: Vec<(LaunchRequest, Duration)>,
    /// Instances that were launched and are not known to be gone; a list may not show them yet.
    pub live: Vec<Known>,
    /// The journal is new or was restored: there may be instances that it knows nothing of, and
    /// calls of ours still on their way.
    pub is_new: bool,
    /// Time since the last step up.
    pub up: Option<Duration>,
    /// Time since the last step down.
    pub down: Option<Duration>,
    /// Boot times.
    pub boots: Boots,
    /// An operator's order; it may have lapsed.
    pub order: Option<Standing>,
}

/// An instance that the journal knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Which.
    pub id: BackendId,
    /// By which launch.
    pub mark: Mark,
    /// What was launched.
    pub offer: Arc<str>,
    /// Since the launch was decided.
    pub age: Duration,
}

impl Controller {
    /// Begins at `now` with what the journal knows.
    pub fn new(
        settings: Settings,
        abilities: Abilities,
        identity: Identity,
        past: Past,
        now: Now,
    ) -> Controller {
        Controller {
            memory: Memory::restored(now, past.up, past.down),
            sight: sight::Senses::default(),
            // What such a call launches late shows only after that.
            trusted_from: match past.is_new {
                true => now.steady + abilities.answer_within + abilities.visible_within,
                false => now.steady,
            },
            counted_from: match past.live.is_empty() {
                true => now.steady,
                false => now.steady + SETTLING,
            },
            book: Book::restored(past.open, past.live, now),
            boots: past.boots,
            order: past.order,
            settings,
            abilities,
            identity,
            last_turn: None,
            shadow: 0,
        }
    }

    /// Looks, decides, and says what to do.
    pub fn tick(&mut self, look: &Look) -> Turn {
        let steady = look.now.steady;
        let gap = self.last_turn.map_or(Duration::ZERO, |last| steady.saturating_sub(last));
        self.last_turn = Some(steady);
        let mut turn = Draft::default();
        self.heed(look, &mut turn);
        self.take_facts(look, &mut turn);
        self.book.give_up_silent(steady, self.abilities.answer_within);
        self.take_members(look, &mut turn);

        let sight = self.look_at(look, gap);
        let decision = if gap > NEVER_LATE.max(self.settings.tick * LATE) {
            stay(&sight, Hold::LateTurn { after: gap })
        } else if !self.book.is_reconciled {
            stay(&sight, Hold::NotReconciled)
        } else {
            let mut decision = scale::decide(&self.settings.policy, &mut self.memory, &sight);
            match self.settings.mode {
                Mode::Act => self.follow(look, &mut decision, &mut turn),
                Mode::Shadow => self.shadow = decision.desired,
            }
            decision
        };
        if self.settings.mode == Mode::Act {
            self.leave(look, &mut turn);
            self.repeat(look, &mut turn);
        }
        self.expect(&mut turn);
        self.ask(look, &mut turn);
        Turn { decision, actions: turn.actions, events: turn.events, census: self.book.census() }
    }

    /// How early launches go out for a floor that must serve.
    pub fn lead(&self) -> Duration {
        self.boots.lead(&self.settings.boot)
    }

    /// What an operator wants instead, while it holds.
    pub fn standing_order(&self) -> Option<&Standing> {
        self.order.as_ref()
    }

    /// Takes operators' wishes, and ends an order whose time is over: for good, also if the clock
    /// is set back.
    fn heed(&mut self, look: &Look, turn: &mut Draft) {
        for Wish { order, actor } in &look.wishes {
            let before = std::mem::replace(&mut self.order, order.clone());
            turn.events.extend(match (order.clone(), before) {
                (Some(order), _) => Some(Event::OverrideSet { order }),
                (None, Some(order)) => {
                    Some(Event::OverrideEnded { order, actor: Some(Arc::clone(actor)) })
                }
                (None, None) => None,
            });
        }
        let lapsed = self.order.take_if(|order| order.until <= look.now.wall);
        let ended = lapsed.map(|order| Event::OverrideEnded { order, actor: None });
        turn.events.extend(ended);
    }

    fn follow(&mut self, look: &Look, decision: &mut Decision, turn: &mut Draft) {
        if decision.desired > decision.current {
            self.grow(look, decision, turn);
        } else if decision.desired < decision.current {
            if look.journal == JournalState::Degraded {
                decision.holds.push(Hold::JournalDegraded);
                decision.desired = decision.current;
            } else {
                self.shrink(look, decision, turn);
            }
        }
    }

    /// Requests may wait for those who are on the way; and where nobody serves for the first one,
    /// because it is a request that starts it.
    fn expect(&self, turn: &mut Draft) {
        let census = self.book.census();
        let is_awaited = census.open + census.booting > 0 || census.healthy == 0;
        if self.settings.mode == Mode::Act && is_awaited {
            let within = EXPECTED.max(self.settings.tick * 2);
            self.order(turn, Order::Expect { within });
        }
    }

    /// A list is asked for often while something is under way, and now and then otherwise.
    fn ask(&mut self, look: &Look, turn: &mut Draft) {
        let every = if self.book.is_busy() { LIST_BUSY } else { LIST_IDLE };
        if self.book.may_list(look.now.steady, every) {
            turn.actions.push(Action::List);
        }
    }
}

/// What was said of those on the way holds for so long, or for two turns; it is said again each
/// turn.
const EXPECTED: Duration = Duration::from_secs(5);

/// After a restart everybody who waited for the door comes at once, and nobody serves before it has
/// passed a check: for so long that is no demand, where there are instances to wait for.
const SETTLING: Duration = Duration::from_secs(3);

/// Between two lists while something is under way.
const LIST_BUSY: Duration = Duration::from_secs(1);

/// Between two lists otherwise; AWS refills 20 such requests a second for all of an account.
const LIST_IDLE: Duration = Duration::from_secs(15);

/// What a turn has come to so far.
#[derive(Debug, Default)]
struct Draft {
    actions: Vec<Action>,
    events: Vec<Event>,
}

fn stay(sight: &scale::Sight, hold: Hold) -> Decision {
    Decision {
        desired: sight.current,
        current: sight.current,
        need: sight.current,
        limit: sight.current,
        terms: Vec::new(),
        holds: vec![hold],
        concerns: Vec::new(),
    }
}
