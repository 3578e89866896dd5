//! Who may change what takes traffic: the only writer.
//!
//! Configuration, verdicts, resolved names and operators' orders come here, one after another
//! under one lock of the control side. Which stages a member goes through is a pure rule of
//! [`policies::membership`]; here each member gets what that rule does not know: its slot, its
//! address and what its checks say.
//!
//! What follows from all this is published as one [`Snapshot`] for the workers, one list of
//! targets for the health monitor and one list of names for the resolver. A backend takes
//! requests when it is serving, healthy, not ejected, its breaker lets it, and it has an address and a weight.
//!
//! | what                                              | where       |
//! |---------------------------------------------------|-------------|
//! | the members, and what each event does to them     | `state.rs`  |
//! | what a successor is told of them                  | `hand_over.rs` |
//! | what other processes have to do with them         | `elsewhere.rs` |
//! | what has another name in another configuration    | `recognise.rs` |
//! | what is known of one of them                      | `standing.rs`, `conduct.rs` |
//! | what follows from how their requests went         | `judge.rs`  |
//! | how far a fresh one has come                      | `fresh.rs`  |
//! | breakers and their probes                         | `breakers.rs` |
//! | their slots, and those that only finish requests  | `slots.rs`  |
//! | what is published of them                         | `output.rs` |
//! | what is told of them                              | `news.rs`   |
//! | drains that have taken long enough                | `ran_out.rs`|
//! | what is in maintenance                            | `maintenance.rs` |

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use health::{Pulse, Report, Target};
use policies::backend::{Backend, BackendKey, PoolName};
use policies::breaker::Phase;
use policies::health::Verdict;
use policies::membership::{Change, Rejected, Stage};
use policies::outcomes::Outcomes;
use tokio::sync::watch;

use crate::config::DoorConfig;
use crate::snapshot::{Slot, Snapshot};

mod breakers;
mod conduct;
mod elsewhere;
#[cfg(test)]
pub(crate) mod fixture;
mod fresh;
mod gates;
mod hand_over;
mod judge;
mod maintenance;
mod news;
mod output;
mod ran_out;
mod recognise;
mod slots;
mod standing;
mod state;
#[cfg(test)]
mod tests;

pub use elsewhere::UnderWay;
pub use hand_over::{Changed, Known, Settings, Switch};
pub use judge::EJECTIONS_TOTAL;
use judge::{Counted, Event};
pub use maintenance::Maintenance;
pub use news::{Drain, Order};
use state::State;

/// A name and a port that a backend is configured with.
pub type Name = (Arc<str>, u16);

/// Keeps the members of all pools and publishes what follows from their state.
pub struct Roster {
    state: Mutex<State>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    targets: watch::Sender<Arc<[Target]>>,
    names: watch::Sender<Arc<[Name]>>,
    shut: watch::Sender<Arc<[BackendKey]>>,
}

/// A backend of a pool as it is now.
#[derive(Debug, Clone)]
pub struct Member {
    /// As configured, and with the weight it has now.
    pub backend: Backend,
    /// How far it has come.
    pub stage: Stage,
    /// No longer wanted: it goes once its last request has ended.
    pub is_leaving: bool,
    /// The configuration names it.
    pub is_written: bool,
    /// How its drain goes, while it drains, or went, when it has.
    pub drain: Option<Drain>,
    /// What is shared about it, once it has an address.
    pub slot: Option<Arc<Slot>>,
    /// What its checks say. They go on while it drains and when it has, unless it is leaving.
    pub verdict: Verdict,
    /// Why it is not healthy, or has no address.
    pub reason: Option<String>,
    /// Whether it takes requests.
    pub is_eligible: bool,
    /// How much of its share and of its cap it takes while it is fresh, in percent.
    pub share: u32,
    /// Out for a while because of how its requests went.
    pub is_ejected: bool,
    /// What its breaker lets through; closed where it has none.
    pub breaker: Phase,
    /// An operator holds the breaker as it is.
    pub is_breaker_held: bool,
    /// Of its checks.
    pulse: Arc<Pulse>,
    /// Slots at addresses that it had before, while their last requests end.
    finishing: Vec<Arc<Slot>>,
    /// Requests and streams that older processes have there.
    elsewhere: (u32, u32),
    /// Which of its beginnings its checks are about.
    epoch: u64,
}

impl Roster {
    /// Members as configured, none of them healthy yet.
    pub fn new(config: Arc<DoorConfig>) -> Roster {
        let mut state = State::new(config);
        let snapshot = Arc::new(state.build());
        state.line_up(&snapshot, Instant::now());
        let snapshot = Arc::new(ArcSwap::new(snapshot));
        let targets = watch::Sender::new(state.targets());
        let names = watch::Sender::new(state.names());
        let shut = watch::Sender::new(state.shut());
        Roster { state: Mutex::new(state), snapshot, targets, names, shut }
    }

    /// Another configuration. Backends that stay, by pool, id and address, keep their counts,
    /// stages and verdicts; one that is no longer written down takes nothing new and goes when
    /// its last request has ended. Returns the number of the generation.
    pub fn configure(&self, config: Arc<DoorConfig>) -> u64 {
        let mut state = self.lock();
        state.configure(config);
        self.publish(&mut state);
        let generation = state.generation;
        tell(state, None);
        generation
    }

    /// An order from outside: drain, undrain, another weight, a backend more or less.
    ///
    /// Says why not if the membership has no such way, or if the pool of a new backend is not
    /// configured; nothing has changed then. That a first check has passed or a last request has
    /// ended is noticed here, nobody needs to say so.
    pub fn change(&self, change: Change) -> Result<(), Rejected> {
        self.change_all(vec![change], None)
    }

    /// The same for several at once, all or none, and with who wants them.
    pub fn change_all(&self, changes: Vec<Change>, order: Option<&Order>) -> Result<(), Rejected> {
        let mut state = self.lock();
        state.change(changes)?;
        self.publish(&mut state);
        tell(state, order);
        Ok(())
    }

    /// A verdict has changed. One about an address that the backend no longer has, or from
    /// before it began anew, is ignored.
    pub fn report(&self, report: Report) {
        let key = report.key.clone();
        let mut state = self.lock();
        let was_awaited = state.is_awaited(&key);
        if !state.report(report) {
            if was_awaited {
                // Who waits for the first word on it has it now.
                self.publish(&mut state);
            }
            return;
        }
        self.publish(&mut state);
        let is_in = state.is_eligible(&key);
        tell(state, None);
        if is_in {
            tracing::info!(pool = %key.pool, backend = %key.backend, "backend_in_rotation");
        } else {
            tracing::warn!(pool = %key.pool, backend = %key.backend, "backend_out_of_rotation");
        }
    }

    /// A name has, or has no longer, an address. Without one its backends keep the last they had;
    /// at another one they must pass a check first.
    pub fn resolved(&self, name: &Name, result: Result<SocketAddr, String>) {
        let mut state = self.lock();
        if state.resolved(name, &result) {
            self.publish(&mut state);
            tell(state, None);
        }
    }

    /// Lets those go that have finished their last request, and marks those that have taken too
    /// long over it. To be called once a second.
    pub fn sweep(&self) {
        let mut state = self.lock();
        state.run_out(Instant::now());
        if state.sweep() {
            self.publish(&mut state);
        }
        tell(state, None);
    }

    /// A backend of this pool is on its way and should be there by then: until then requests may
    /// wait for it although none is eligible. `None` takes that back.
    ///
    /// Says nothing of a pool that is not configured. To be repeated, or extended, for as long as
    /// the launch goes on; it ends by itself at `until`, and does not when a backend has come, who
    /// may be the first of several.
    pub fn expect_capacity(&self, pool: &PoolName, until: Option<Instant>) {
        let mut state = self.lock();
        if state.config.pools.iter().any(|configured| configured.name == *pool) {
            state.slots.queue(pool).expect_until(until, Instant::now());
        }
    }

    /// Draws the conclusions from what the workers have counted until `now`, a time since the door
    /// started. To be called several times a second; `is_late` says that we ourselves were kept
    /// from it, and nothing that has to do with time is held against a backend then.
    pub fn judge(&self, now: Duration, by_slot: &BTreeMap<u32, Outcomes>, is_late: bool) {
        let mut state = self.lock();
        let (events, has_changed) = state.judge(now, &Counted { by_slot, is_late });
        if has_changed {
            self.publish(&mut state);
        }
        drop(state);
        events.iter().for_each(Event::tell);
    }

    /// An operator holds the breaker of a backend open or closed whatever is counted, or, with
    /// `None`, lets it go. Also where none is configured. A restart forgets it, a hand-over does not.
    pub fn hold_breaker(
        &self,
        key: &BackendKey,
        held: Option<Phase>,
        order: Option<&Order>,
    ) -> Result<(), Rejected> {
        let mut state = self.lock();
        let turned = state.hold_breaker(key, held)?;
        self.publish(&mut state);
        drop(state);
        turned.iter().for_each(|turned| turned.tell(key, order));
        Ok(())
    }

    /// Whom the health monitor is to check.
    pub fn targets(&self) -> watch::Receiver<Arc<[Target]>> {
        self.targets.subscribe()
    }

    /// Which names are to be resolved.
    pub fn names(&self) -> watch::Receiver<Arc<[Name]>> {
        self.names.subscribe()
    }

    /// The members of every pool in the order of the configuration, and after them those of
    /// pools that are configured no longer, while they drain.
    pub fn pools(&self) -> Vec<(PoolName, Vec<Member>)> {
        self.lock().pools()
    }

    /// Whether so few members of this pool are well that all that have ever been get requests.
    pub fn is_panicking(&self, pool: &PoolName) -> bool {
        self.lock().is_panicking(pool)
    }

    /// One member.
    pub fn member(&self, key: &BackendKey) -> Option<Member> {
        self.lock().member(key)
    }

    /// What requests see now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    pub(crate) fn published(&self) -> Arc<ArcSwap<Snapshot>> {
        Arc::clone(&self.snapshot)
    }

    /// Under the lock, so that no older state overtakes a newer one. Who follows targets or names
    /// is woken only if they are others.
    fn publish(&self, state: &mut State) {
        let snapshot = Arc::new(state.build());
        self.snapshot.store(Arc::clone(&snapshot));
        state.line_up(&snapshot, Instant::now());
        replace(&self.targets, state.targets());
        replace(&self.names, state.names());
        replace(&self.shut, state.shut());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while it was held can have lost slots or verdicts, which come anew, and no member.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Member {
    /// Requests in flight, also at addresses that it had before, and of older processes.
    pub fn in_flight(&self) -> u32 {
        let slots = self.slot.iter().chain(&self.finishing);
        slots.map(|slot| slot.in_flight()).sum::<u32>().saturating_add(self.elsewhere.0)
    }

    /// Streams open, also at addresses that it had before, and of older processes.
    pub fn streams(&self) -> u32 {
        let slots = self.slot.iter().chain(&self.finishing);
        slots.map(|slot| slot.streams()).sum::<u32>().saturating_add(self.elsewhere.1)
    }
}

/// Tells what has changed, once others may go on: whoever writes a log line may be slow.
fn tell(mut state: MutexGuard<'_, State>, order: Option<&Order>) {
    let news = state.news(Instant::now());
    drop(state);
    news::tell(&news, order);
}

fn replace<T: PartialEq>(sender: &watch::Sender<Arc<[T]>>, next: Arc<[T]>) {
    sender.send_if_modified(|now| {
        let is_other = *now != next;
        if is_other {
            *now = next;
        }
        is_other
    });
}
