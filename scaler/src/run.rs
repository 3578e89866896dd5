//! The loop: look, decide, write down, act, once a tick, and nothing in it waits for the world.
//!
//! Each pool has a loop of its own, so a provider that hangs holds up nobody else. Calls to a
//! provider are handed to a bounded set of tasks ([`calls`]); what they bring back is a fact of a
//! later turn. A loop that panics costs no request, because no request knows of it: it is told and
//! begins anew, with what the journal remembers.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use policies::backend::PoolName;
use policies::scale::{self, Decision};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use crate::clock::Clock;
use crate::controller::{Census, Controller, Identity, Mode, Settings, Turn};
use crate::journal::Journal;
use crate::look::{Action, Look};
use crate::overrides::Desk;
use crate::ports::{Fleet, Provider};

mod calls;
mod tell;
#[cfg(test)]
mod tests;

use calls::Calls;

/// Pauses between two starts of a loop that panics: the first, and the longest.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// At least between two turns of a loop that is woken before its tick.
const APART: Duration = Duration::from_secs(1);

/// A pool to keep at its size, and whom to ask.
#[derive(Clone)]
pub struct Plan {
    /// What the configuration says.
    pub settings: Settings,
    /// Where the journal of the pool lies, and what names it if it is new.
    pub journal: (PathBuf, u64),
    /// Who makes instances.
    pub provider: Arc<dyn Provider>,
    /// Who knows the demand and sends it to members.
    pub fleet: Arc<dyn Fleet>,
}

/// How a pool stands, for whoever wants to know.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// Whether it acts.
    pub mode: Mode,
    /// The last decision.
    pub decision: Option<Decision>,
    /// What there is.
    pub census: Census,
    /// From launch to full weight, as is reckoned with.
    pub lead: Duration,
    /// Turns since the start.
    pub turns: u64,
    /// Times that the loop has ended by a panic.
    pub panics: u64,
    /// What an operator wants instead of what the rules say.
    pub order: Option<scale::Standing>,
}

/// Who is asked how a pool stands.
pub type Board = watch::Receiver<Standing>;

/// A scaler of one pool; it ends when the future of [`Scaler::run`] is dropped.
pub struct Scaler {
    plan: Plan,
    board: watch::Sender<Standing>,
    desk: Arc<Desk>,
}

impl Scaler {
    /// Ready to run.
    pub fn new(plan: Plan) -> Scaler {
        let standing = Standing {
            mode: plan.settings.mode,
            decision: None,
            census: Census::default(),
            lead: Duration::ZERO,
            turns: 0,
            panics: 0,
            order: None,
        };
        Scaler { plan, board: watch::Sender::new(standing), desk: Arc::default() }
    }

    /// The pool it is about.
    pub fn pool(&self) -> &PoolName {
        &self.plan.settings.pool
    }

    /// Where its standing is told.
    pub fn board(&self) -> Board {
        self.board.subscribe()
    }

    /// Where operators say what they want instead, and from where it is woken.
    pub fn desk(&self) -> Arc<Desk> {
        Arc::clone(&self.desk)
    }

    /// Keeps the pool at its size, for ever.
    pub async fn run(self) {
        let (path, random) = &self.plan.journal;
        let now = Clock::start().now().wall;
        let journal = Journal::open(path, self.pool(), *random, now);
        let mut is_new = journal.is_new();
        let journal = Arc::new(Mutex::new(journal));
        let board = Arc::new(self.board);
        let mut last = None;
        loop {
            let told = (Arc::clone(&board), Arc::clone(&self.desk));
            let life = Life::begin(&self.plan, Arc::clone(&journal), told, is_new);
            // A task of its own, so that its panic is its own; aborted with this future.
            let mut task = JoinSet::new();
            task.spawn(life.live(self.plan.settings.tick));
            let began = Instant::now();
            let ended = task.join_next().await;
            let pause = pause_after(last, began.elapsed());
            last = Some(pause);
            let why = ended.and_then(Result::err).map(|error| error.to_string());
            board.send_modify(|standing| standing.panics += 1);
            tracing::error!(
                pool = %self.plan.settings.pool,
                error = why.as_deref().unwrap_or("it has ended"),
                again_seconds = pause.as_secs(),
                "scaler_panicked"
            );
            tokio::time::sleep(pause).await;
            is_new = false;
        }
    }
}

/// How long to rest after a life that `lived` so long, with what was rested before it. One that was
/// well for longer than the longest pause has another trouble now.
fn pause_after(last: Option<Duration>, lived: Duration) -> Duration {
    match last {
        Some(last) if lived <= AGAIN.1 => last.saturating_mul(2).min(AGAIN.1),
        _ => AGAIN.0,
    }
}

/// One life of a loop, from its start to its panic.
struct Life {
    controller: Controller,
    clock: Clock,
    calls: Calls,
    fleet: Arc<dyn Fleet>,
    journal: Arc<Mutex<Journal>>,
    board: Arc<watch::Sender<Standing>>,
    desk: Arc<Desk>,
    mode: Mode,
    decision: u64,
    teller: tell::Teller,
}

impl Life {
    fn begin(
        plan: &Plan,
        journal: Arc<Mutex<Journal>>,
        (board, desk): (Arc<watch::Sender<Standing>>, Arc<Desk>),
        is_new: bool,
    ) -> Life {
        let clock = Clock::start();
        let now = clock.now();
        let (past, decision, identity) = {
            let known = lock(&journal);
            let installation = Arc::clone(known.installation());
            let may_be_late = is_new && !plan.provider.is_exclusive();
            let past = known.ledger().past(now.wall, may_be_late);
            (past, known.ledger().next_decision(), Identity { installation, epoch: 1 })
        };
        let abilities = plan.provider.abilities();
        let patience = abilities.answer_within;
        Life {
            controller: Controller::new(plan.settings.clone(), abilities, identity, past, now),
            clock,
            calls: Calls::new(Arc::clone(&plan.provider), patience),
            fleet: Arc::clone(&plan.fleet),
            journal,
            board,
            desk,
            mode: plan.settings.mode,
            decision,
            teller: tell::Teller::new(plan.settings.pool.clone()),
        }
    }

    async fn live(mut self, tick: Duration) {
        let mut interval = tokio::time::interval(tick);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let last = Instant::now();
            tokio::select! {
                _ = interval.tick() => {}
                // A wake-up that is lost with a tick has been heeded by that tick.
                () = woken(&self.desk, last) => {}
            }
            self.turn();
        }
    }

    /// One turn. Nothing in it waits.
    fn turn(&mut self) {
        let look = Look {
            now: self.clock.now(),
            decision: self.decision,
            fleet: self.fleet.look(),
            facts: self.calls.facts(),
            journal: lock(&self.journal).state(),
            wishes: self.desk.take(),
        };
        let turn = self.controller.tick(&look);
        let written = {
            let mut journal = lock(&self.journal);
            let written = journal.note(look.now.wall, self.mode, self.decision, &turn);
            self.decision = self.decision.max(journal.ledger().next_decision());
            written
        };
        for action in &turn.actions {
            self.act(&look, action, written.as_ref());
        }
        self.teller.tell(&turn);
        self.publish(turn);
    }

    fn act(&mut self, look: &Look, action: &Action, written: Option<&watch::Receiver<bool>>) {
        match action {
            Action::Launch(request) => self.calls.launch(request.clone(), written.cloned()),
            Action::Repeat(request) => self.calls.launch(request.clone(), None),
            Action::Terminate { ids, .. } => self.calls.terminate(ids.clone()),
            Action::List => self.calls.list(look.now.steady),
            Action::Order { pool, order } => {
                if let Err(error) = self.fleet.order(pool, order) {
                    tracing::debug!(%pool, error, "an order of the scaler was not possible");
                }
            }
        }
    }

    fn publish(&self, turn: Turn) {
        let (lead, order) = (self.controller.lead(), self.controller.standing_order().cloned());
        self.board.send_modify(|standing| {
            standing.decision = Some(turn.decision);
            standing.census = turn.census;
            standing.lead = lead;
            standing.order = order;
            standing.turns += 1;
        });
    }
}

/// Somebody wants a turn before its tick. Not so soon that what the doors count between two turns
/// would tell nothing.
async fn woken(desk: &Desk, last: Instant) {
    desk.woken().await;
    tokio::time::sleep_until(last + APART).await;
}

/// A panic while it was held can have left a turn half noted, and no line half written.
fn lock(journal: &Mutex<Journal>) -> MutexGuard<'_, Journal> {
    journal.lock().unwrap_or_else(PoisonError::into_inner)
}
