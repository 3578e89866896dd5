//! One thread of the data plane: its runtime, its listeners, its connections, its counters.
//!
//! Workers share nothing but the snapshot, the slots of backends and the listeners' limits
//! (docs/decisions/0004). Each has its own SO_REUSEPORT socket per address, so the kernel deals
//! connections out and no worker ever waits for another.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::{ArcSwap, Cache};
use policies::rng::Rng;
use tokio::sync::{mpsc, watch};

use crate::access_log::{AccessLog, LogSource};
use crate::exchange::Exchange;
use crate::listener::{Gate, Limits, Listener};
use crate::outcome::Outcome;
use crate::parting::Partings;
use crate::record;
use crate::shared::{Shared, Stage};
use crate::snapshot::{Slot, Snapshot};
use crate::stats::Finished;
use crate::timer::{Micros, Timer, Timers};
use crate::upstream::SlotLocal;
use crate::view::{Locals, View};
use crate::waiting::{self, Waiters};
use crate::window::Window;
use accepting::Accepting;

mod accepting;

/// `Date` before there is another.
const EPOCH: [u8; 29] = *b"Thu, 01 Jan 1970 00:00:00 GMT";

/// What is cut at the very end has so long to be cut.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// Exchanges that a worker keeps for later requests; more than so many at once are dropped.
const SPARE_EXCHANGES: usize = 256;

/// What the tasks of one worker share, without locks: they all run on its thread.
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) timers: Rc<Timers>,
    pub(crate) window: RefCell<Window>,
    pub(crate) gate: Gate,
    /// For balancing: seeded, so that a run can be repeated.
    pub(crate) rng: RefCell<Rng>,
    /// For request ids: must not repeat over restarts.
    ids: RefCell<Rng>,
    pub(crate) waiters: Waiters,
    partings: Partings,
    closed: tokio::sync::Notify,
    index: usize,
    snapshot: RefCell<Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>>,
    view: RefCell<Rc<View>>,
    locals: RefCell<Locals>,
    // Boxed, because exchanges move between the pool and the futures of requests.
    #[allow(clippy::vec_box)]
    spare: RefCell<Vec<Box<Exchange>>>,
    /// The field `Date` of a second since 1970.
    date: Cell<(u64, [u8; 29])>,
    log: RefCell<Option<AccessLog>>,
    stage: Cell<Stage>,
    open: Cell<usize>,
    /// Wall clock when `timers` started, in microseconds since 1970.
    started_unix: Micros,
}

impl Worker {
    pub(crate) fn new(index: usize, shared: Arc<Shared>) -> Rc<Worker> {
        let mut cache = Cache::new(Arc::clone(&shared.snapshot));
        let snapshot = Arc::clone(cache.load());
        let mut locals = Locals::new();
        let seed = snapshot.config.seed.wrapping_add(policies::rng::mix(index as u64 + 1));
        let view = View::new(snapshot, None, &mut locals, index, &shared.registry);
        Rc::new(Worker {
            shared,
            timers: Timers::new(),
            window: RefCell::new(Window::new()),
            gate: Gate::default(),
            rng: RefCell::new(Rng::new(seed)),
            ids: RefCell::new(Rng::new(random_seed())),
            waiters: Waiters::default(),
            partings: Partings::default(),
            closed: tokio::sync::Notify::new(),
            index,
            snapshot: RefCell::new(cache),
            view: RefCell::new(Rc::new(view)),
            locals: RefCell::new(locals),
            spare: RefCell::default(),
            date: Cell::new((u64::MAX, EPOCH)),
            log: RefCell::new(None),
            stage: Cell::new(Stage::Starting),
            open: Cell::new(0),
            started_unix: unix_micros(SystemTime::now()),
        })
    }

    /// The world as it is now: one atomic load, and a comparison when nothing has changed.
    pub(crate) fn view(&self) -> Rc<View> {
        let mut cache = self.snapshot.borrow_mut();
        let snapshot = cache.load();
        let view = self.view.borrow();
        if Arc::ptr_eq(snapshot, &view.snapshot) {
            return Rc::clone(&view);
        }
        let snapshot = Arc::clone(snapshot);
        drop(view);
        self.adopt(snapshot)
    }

    #[cold]
    fn adopt(&self, snapshot: Arc<Snapshot>) -> Rc<View> {
        let earlier = Rc::clone(&self.view.borrow());
        let mut locals = self.locals.borrow_mut();
        let registry = &self.shared.registry;
        let view = Rc::new(View::new(snapshot, Some(&earlier), &mut locals, self.index, registry));
        for pool in &view.snapshot.pools {
            let eligible: BTreeSet<u32> = pool.eligible.iter().map(|slot| slot.id).collect();
            for slot in pool.members.iter().filter(|slot| !eligible.contains(&slot.id)) {
                locals[&slot.id].close_idle();
            }
        }
        self.view.replace(Rc::clone(&view));
        view
    }

    /// No descriptor is left: closes connections to backends that no request uses, and has the other
    /// workers do so within a second.
    #[cold]
    pub(crate) fn make_room(&self) {
        self.shared.exhaustions.fetch_add(1, Ordering::Relaxed);
        self.close_idle();
    }

    fn close_idle(&self) {
        for local in self.locals.borrow().values() {
            local.close_idle();
        }
    }

    /// What this worker knows of a backend, by the world as it is now.
    pub(crate) fn local(&self, slot: &Slot) -> Option<Rc<SlotLocal>> {
        let _ = self.view();
        self.locals.borrow().get(&slot.id).cloned()
    }

    /// Microseconds since `start`. Reads the clock.
    pub(crate) fn since(&self, start: Micros) -> u32 {
        self.timers.read_clock();
        self.elapsed(start)
    }

    /// Microseconds from `start` to the last clock reading.
    pub(crate) fn elapsed(&self, start: Micros) -> u32 {
        let micros = self.timers.micros().saturating_sub(start);
        u32::try_from(micros).unwrap_or(u32::MAX)
    }

    /// Wall-clock time of a reading, in milliseconds since 1970.
    pub(crate) fn unix_millis(&self, at: Micros) -> u64 {
        (self.started_unix + at) / 1000
    }

    /// The time as in the field `Date` (RFC 9110 §5.6.7), computed once per second.
    pub(crate) fn http_date(&self) -> [u8; 29] {
        let (second, text) = self.date.get();
        let now = self.unix_seconds();
        if now == second {
            return text;
        }
        let text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(now));
        let text = text.as_bytes().try_into().unwrap_or(EPOCH);
        self.date.set((now, text));
        text
    }

    pub(crate) fn unix_seconds(&self) -> u64 {
        (self.started_unix + self.timers.micros()) / 1_000_000
    }

    /// Whether every answer is the last one of its connection.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stage.get() >= Stage::Departing
    }

    /// Whether connections without a request are to close.
    pub(crate) fn is_draining(&self) -> bool {
        self.stage.get() >= Stage::Draining
    }

    /// Whether requests under way have to look whether they are to end, which
    /// [`Worker::ends`] says.
    #[inline]
    pub(crate) fn may_end(&self) -> bool {
        self.is_stopping_now() || self.partings.is_any()
    }

    /// How the door itself ends what is under way on this backend, if it does: because it was
    /// told to stop at once, or because the backend's drain has waited long enough. If that is
    /// later, the timer is moved there.
    pub(crate) fn ends(
        &self,
        slot: Option<&Slot>,
        timer: &Timer,
        is_stream: bool,
    ) -> Option<Outcome> {
        if self.is_stopping_now() {
            return Some(Outcome::Stopped);
        }
        let slot = slot?;
        let end = self.partings.end_of(slot, timer, is_stream)?;
        if end <= self.timers.now() {
            slot.note_cut();
            return Some(Outcome::Drained);
        }
        timer.set_no_later(end);
        None
    }

    pub(crate) fn is_stopping_now(&self) -> bool {
        self.stage.get() == Stage::Now
    }

    pub(crate) fn take_exchange(&self) -> Box<Exchange> {
        let spare = self.spare.borrow_mut().pop();
        spare.unwrap_or_else(|| Box::new(Exchange::new()))
    }

    pub(crate) fn give_back(&self, mut exchange: Box<Exchange>) {
        let mut spare = self.spare.borrow_mut();
        if spare.len() < SPARE_EXCHANGES {
            exchange.shrink();
            spare.push(exchange);
        }
    }

    /// A random 128-bit number in 32 hexadecimal digits.
    pub(crate) fn fresh_id(&self) -> [u8; 32] {
        let mut rng = self.ids.borrow_mut();
        let mut digits = [0; 32];
        for part in digits.chunks_exact_mut(16) {
            let number = rng.next_u64();
            #[allow(clippy::cast_possible_truncation)] // one half each
            let (high, low) = ((number >> 32) as u32, number as u32);
            part[..8].copy_from_slice(&hex(high));
            part[8..].copy_from_slice(&hex(low));
        }
        digits
    }

    /// Counts and logs a request that has ended.
    pub(crate) fn finish(&self, view: &View, exchange: &mut Exchange) {
        let record = &exchange.record;
        // Whoever waited for the client or the backend has read the clock since.
        let total_us = self.elapsed(record.started);
        view.sheet.finished(&Finished {
            listener: record.listener,
            route: record.route,
            pool: record.pool,
            status: record.status,
            http10: exchange.head.version == crate::http1::Version::Http10,
            outcome: record.outcome,
            bytes_in: record.bytes_in,
            bytes_out: record.bytes_out,
            total_us: u64::from(total_us),
            stream_from_us: record.stream_from_us,
            queue_us: u64::from(record.queue_us.unwrap_or_default()),
        });
        if let Some(log) = self.log.borrow_mut().as_mut() {
            record::write(log, self, view, exchange, total_us);
        }
    }
}

/// Eight hexadecimal digits, all at once: the nibbles are spread over the bytes of a word, and
/// those above 9 are moved up to the letters.
fn hex(number: u32) -> [u8; 8] {
    let mut x = u64::from(number);
    x = (x & 0xFFFF_0000) >> 16 | (x & 0xFFFF) << 32;
    x = (x & 0x0000_FF00_0000_FF00) >> 8 | (x & 0x0000_00FF_0000_00FF) << 16;
    x = (x & 0x00F0_00F0_00F0_00F0) >> 4 | (x & 0x000F_000F_000F_000F) << 8;
    let above_9 = (x + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
    (x + 0x3030_3030_3030_3030 + above_9 * u64::from(b'a' - b'0' - 10)).to_le_bytes()
}

/// 64 bits that differ between processes and workers: the standard library seeds its hasher so.
fn random_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}

/// What a worker is to do. The last ones count, whatever was missed in between.
#[derive(Clone)]
pub(crate) struct Orders {
    /// Grows with every change; a worker acknowledges it.
    pub(crate) number: u64,
    pub(crate) stage: Stage,
    /// Where to accept, until it drains.
    pub(crate) listeners: Arc<[Listener]>,
    pub(crate) log: Option<Arc<LogSource>>,
}

/// The worker's ends of what it and the door tell each other.
pub(crate) struct Line {
    pub(crate) orders: watch::Receiver<Orders>,
    /// The number of the last orders that were carried out.
    pub(crate) acknowledged: watch::Sender<u64>,
    /// Told once that all it needs is there, or what is not, which ends it. Has room for that.
    pub(crate) ready: mpsc::Sender<std::io::Result<()>>,
}

/// Runs a worker on the calling thread until its last orders are carried out. Accepts from
/// [`Stage::Running`] on.
pub(crate) fn run(index: usize, shared: Arc<Shared>, line: Line) {
    let Line { orders, acknowledged, ready } = line;
    // Whoever asked may have given up waiting; the stage says what to do then.
    let ready = move |result| drop(ready.try_send(result));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build_local(tokio::runtime::LocalOptions::default());
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return ready(Err(error)),
    };
    shared.registry.register_worker(index, runtime.metrics());
    runtime.block_on(async move {
        let worker = Worker::new(index, shared);
        let accepting = match Accepting::prepare(&orders.borrow().listeners) {
            Ok(accepting) => accepting,
            Err(error) => return ready(Err(error)),
        };
        tokio::task::spawn_local(Rc::clone(&worker.timers).drive());
        ready(Ok(()));
        let keeping = tokio::task::spawn_local(keep_house(Rc::clone(&worker)));
        let tending = tokio::task::spawn_local(waiting::tend(Rc::clone(&worker)));
        worker.obey(orders, accepting, &acknowledged).await;
        keeping.abort();
        tending.abort();
    });
}

impl Worker {
    /// Carries out orders until the last connection has ended after it was told to go.
    async fn obey(
        self: &Rc<Self>,
        mut orders: watch::Receiver<Orders>,
        mut accepting: Accepting,
        acknowledged: &watch::Sender<u64>,
    ) {
        let mut log: Option<Arc<LogSource>> = None;
        loop {
            let now = orders.borrow_and_update().clone();
            self.stage.set(now.stage);
            if !is_same(log.as_ref(), now.log.as_ref()) {
                self.log.replace(now.log.as_ref().map(|source| source.end()));
                log.clone_from(&now.log);
            }
            // Adopted before anything is accepted for it, and although no request may come.
            self.view();
            match now.stage {
                Stage::Starting => {}
                Stage::Running | Stage::Departing => accepting.follow(self, &now.listeners).await,
                Stage::Draining | Stage::Now => {
                    accepting.follow(self, &[]).await;
                    self.timers.wake_all();
                }
            }
            acknowledged.send_replace(now.number);
            if now.stage == Stage::Now {
                // What is under way ends visibly cut, not as if it were whole.
                let _ = tokio::time::timeout(LAST_WORDS, self.emptied()).await;
                return;
            }
            let may_end = now.stage >= Stage::Departing && accepting.is_nowhere();
            tokio::select! {
                changed = orders.changed() => if changed.is_err() {
                    // The door is gone.
                    self.stage.set(Stage::Now);
                    self.timers.wake_all();
                    let _ = tokio::time::timeout(LAST_WORDS, self.emptied()).await;
                    return;
                },
                () = self.emptied(), if may_end => return,
            }
        }
    }

    async fn emptied(&self) {
        while self.open.get() > 0 {
            self.closed.notified().await;
        }
    }

    /// Counts a connection until what is returned is dropped.
    pub(crate) fn open_connection(self: &Rc<Self>, limits: &Arc<Limits>) -> Open {
        self.open.set(self.open.get() + 1);
        self.view().sheet.connection_opened(limits.place);
        Open { worker: Rc::clone(self), limits: Arc::clone(limits) }
    }
}

/// A clock that stands before 1970 stands at its beginning.
fn unix_micros(at: SystemTime) -> Micros {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs() * 1_000_000 + u64::from(since.subsec_micros())
}

fn is_same(a: Option<&Arc<LogSource>>, b: Option<&Arc<LogSource>>) -> bool {
    a.map(Arc::as_ptr) == b.map(Arc::as_ptr)
}

/// A connection that is counted as open.
pub(crate) struct Open {
    worker: Rc<Worker>,
    /// Keeps the listener's place from being given to another.
    limits: Arc<Limits>,
}

impl Drop for Open {
    fn drop(&mut self) {
        let worker = &self.worker;
        worker.view().sheet.connection_closed(self.limits.place);
        worker.open.set(worker.open.get() - 1);
        if worker.open.get() == 0 {
            worker.closed.notify_one();
        }
    }
}

/// Once a second: adopts a snapshot even if no request comes, closes connections that may not be
/// used again.
async fn keep_house(worker: Rc<Worker>) {
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut exhaustions = 0;
    loop {
        second.tick().await;
        let now = worker.shared.exhaustions.load(Ordering::Relaxed);
        if std::mem::replace(&mut exhaustions, now) != now {
            worker.close_idle();
        }
        worker.timers.read_clock();
        let now = worker.timers.now();
        let view = worker.view();
        view.report_arrivals(worker.timers.last_reading());
        if worker.partings.follow(view.members(), now) {
            worker.timers.wake_all();
        }
        let locals = worker.locals.borrow();
        for (config, pool) in view.members() {
            for slot in &pool.members {
                if let Some(local) = locals.get(&slot.id) {
                    local.sweep(&config.upstream, now);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::hex;

    #[test]
    fn digits_are_those_of_the_library() {
        for number in [0, 1, 9, 10, 0x1234_5678, 0x9ABC_DEF0, 0xFEDC_BA98, u32::MAX] {
            assert_eq!(hex(number), *format!("{number:08x}").as_bytes());
        }
    }
}
