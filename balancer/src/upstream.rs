//! Connections to backends, kept by one worker for itself.
//!
//! A connection is used again only when nothing speaks against it: it has been idle for less
//! than the shortest of `upstream.idle` and what the backend promised (`Keep-Alive: timeout`),
//! it is not closed and has nothing to read as far as the runtime has heard, and it has neither
//! served too many requests nor lived too long. A request that may not be repeated takes one that
//! has rested, but not for long, and that the kernel says is quiet, or a fresh one.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};

use health::connect::refuse_ourselves;
use policies::balance::Ewma;
use tokio::net::TcpSocket;

use crate::body::Body;
use crate::config::UpstreamConfig;
use crate::limits::{Limits, Pass};
use crate::queue::Grant;
use crate::snapshot::Slot;
use crate::socket::Socket;
use crate::stats::BackendSheet;
use crate::timer::Millis;
use crate::wire::Wire;

/// A connection to a backend.
pub(crate) struct Upstream {
    pub(crate) wire: Wire,
    /// The answer being read.
    pub(crate) body: Body,
    /// Whether it has served a request before this one.
    pub(crate) is_reused: bool,
    born: Millis,
    used: Millis,
    served: u64,
    /// Idle life that the backend promised in its last answer, in milliseconds.
    promised: Option<Millis>,
    /// Counts this connection as one of the backend's.
    sheet: Arc<BackendSheet>,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.sheet.disconnected();
    }
}

/// What one worker knows about one backend.
pub(crate) struct SlotLocal {
    pub(crate) slot: Arc<Slot>,
    pub(crate) sheet: Arc<BackendSheet>,
    /// Time to the first answer byte, as this worker sees it.
    pub(crate) latency: RefCell<Ewma>,
    /// When this worker last picked it.
    pub(crate) picked: Cell<Millis>,
    /// From when on connections to it are kept; never again if it is no member any more.
    keeps_from: Cell<Millis>,
    // Boxed, so that a request moves a pointer and an idle client owns no room for one.
    #[allow(clippy::vec_box)]
    idle: RefCell<Vec<Box<Upstream>>>,
}

/// One request's claim on a backend: counted there until dropped.
pub(crate) struct Lease(pub(crate) Rc<SlotLocal>, Pass, Counted);

/// As what it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counted {
    Request,
    /// A request that asks for a stream, and has a place for it.
    Both,
    Stream,
    /// A request that stays at a backend that was found unwell.
    Stranded,
}

impl Lease {
    /// None when the backend is at its cap. `now` is when it was picked.
    pub(crate) fn take(local: &Rc<SlotLocal>, now: Millis) -> Option<Lease> {
        if !local.slot.try_enter() {
            return None;
        }
        local.picked.set(now);
        Some(Lease(Rc::clone(local), Pass::default(), Counted::Request))
    }

    /// For a place that was handed over taken.
    pub(crate) fn granted(local: Rc<SlotLocal>, grant: Grant, now: Millis) -> Lease {
        local.picked.set(now);
        let counted = if grant.has_stream { Counted::Both } else { Counted::Request };
        Lease(local, grant.pass, counted)
    }

    /// The same lease, with a place for the stream that is asked for; `None` if there is none.
    pub(crate) fn with_stream(mut self) -> Option<Lease> {
        if !self.0.slot.try_enter_stream() {
            return None;
        }
        self.2 = Counted::Both;
        Some(self)
    }

    /// The answer is a stream: from now on it is counted as one, and as a request no longer. False
    /// if there is no room for a stream that nobody could know of: then it remains a request.
    pub(crate) fn become_stream(&mut self) -> bool {
        self.unstrand();
        if self.2 == Counted::Request && !self.0.slot.try_enter_stream() {
            return false;
        }
        if self.2 != Counted::Stream {
            self.2 = Counted::Stream;
            self.leave();
        }
        true
    }

    /// Follows a lease of the same request, which is given up: what that has passed is passed.
    #[cold]
    pub(crate) fn follow(&mut self, earlier: &mut Lease) {
        let stays = Arc::ptr_eq(&self.0.slot.queue, &earlier.0.slot.queue);
        self.1.take_over(&mut earlier.1, stays);
    }

    /// The request stays at a backend that was found unwell.
    #[cold]
    pub(crate) fn strand(&mut self) {
        if self.2 == Counted::Request {
            self.2 = Counted::Stranded;
            self.0.slot.strand();
        }
    }

    #[cold]
    fn unstrand(&mut self) {
        if self.2 == Counted::Stranded {
            self.2 = Counted::Request;
            self.0.slot.unstrand();
        }
    }

    /// Gives back what only some have.
    #[cold]
    fn leave_rest(&mut self) {
        match self.2 {
            Counted::Both | Counted::Stream => self.0.slot.leave_stream(),
            Counted::Stranded => self.unstrand(),
            Counted::Request => {}
        }
    }

    /// Gives the place of a request back.
    #[inline]
    fn leave(&mut self) {
        let slot = &self.0.slot;
        if self.1.is_empty() { slot.leave() } else { self.1.end(slot) }
    }

    /// The same lease, counted at these gates too; `None` if one is closed.
    pub(crate) fn through(mut self, limits: Option<&Limits<'_>>) -> Option<Lease> {
        if let Some(limits) = limits {
            self.1 = limits.enter()?;
        }
        Some(self)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.2 != Counted::Stream {
            self.leave();
        }
        if self.2 != Counted::Request {
            self.leave_rest();
        }
    }
}

/// How careful the choice of an idle connection has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Care {
    /// The request can be sent again if the connection turns out to be dead.
    Repeatable,
    /// It cannot.
    Once,
}

/// A connection used within this time is believed to be alive even for a request that cannot be
/// repeated, if the kernel says that it is quiet. Backends close idle connections after a second
/// or more.
const FRESH_MS: Millis = 800;

/// A backend that closes after its answer without saying so has done it by then, and the kernel
/// knows: until then only a request that can be repeated takes the risk.
const RESTED_MS: Millis = 10;

/// How long no connection is kept to a backend that closes them too often: what a bucket earns in
/// this time is all that it can hold.
const DISTRUST_MS: Millis = 10_000;

impl SlotLocal {
    pub(crate) fn new(slot: Arc<Slot>, sheet: Arc<BackendSheet>) -> SlotLocal {
        SlotLocal {
            slot,
            sheet,
            latency: RefCell::new(Ewma::default()),
            picked: Cell::new(0),
            keeps_from: Cell::new(0),
            idle: RefCell::default(),
        }
    }

    /// The idle connection used last, if one may be used.
    pub(crate) fn reuse(
        &self,
        config: &UpstreamConfig,
        now: Millis,
        care: Care,
    ) -> Option<Box<Upstream>> {
        let mut cx = Context::from_waker(Waker::noop());
        let mut idle = self.idle.borrow_mut();
        while let Some(mut upstream) = take(&mut idle, now, care) {
            let is_quiet = upstream.wire.socket.is_quiet(&mut cx)
                && (care == Care::Repeatable || upstream.wire.socket.is_surely_quiet());
            if !is_quiet || !upstream.may_serve(config, now) {
                continue;
            }
            upstream.is_reused = true;
            self.sheet.set_idle(idle.len());
            return Some(upstream);
        }
        None
    }

    /// Keeps a connection whose answer was read to its end.
    pub(crate) fn keep(&self, mut upstream: Box<Upstream>, config: &UpstreamConfig, now: Millis) {
        upstream.used = now;
        upstream.served += 1;
        let mut idle = self.idle.borrow_mut();
        let is_kept = now >= self.keeps_from.get() && idle.len() < config.max_idle;
        if upstream.may_serve(config, now) && is_kept {
            idle.push(upstream);
        }
        self.sheet.set_idle(idle.len());
    }

    /// Closes connections that may not be used any more. Once a second.
    pub(crate) fn sweep(&self, config: &UpstreamConfig, now: Millis) {
        let mut cx = Context::from_waker(Waker::noop());
        let mut idle = self.idle.borrow_mut();
        idle.retain(|upstream| {
            upstream.may_serve(config, now) && upstream.wire.socket.is_quiet(&mut cx)
        });
        self.sheet.set_idle(idle.len());
    }

    /// It is a member no more: closes what is idle, and what will be.
    pub(crate) fn part(&self) {
        self.keeps_from.set(Millis::MAX);
        self.close_idle();
    }

    /// It closes kept connections more often than can be made good: none is kept for a while.
    pub(crate) fn distrust(&self, now: Millis) {
        let until = now.saturating_add(DISTRUST_MS);
        self.keeps_from.set(self.keeps_from.get().max(until));
        self.close_idle();
    }

    /// Closes all idle connections.
    pub(crate) fn close_idle(&self) {
        self.idle.borrow_mut().clear();
        self.sheet.set_idle(0);
    }
}

/// The one of these that was used last, or that was and has rested.
#[allow(clippy::vec_box)]
fn take(idle: &mut Vec<Box<Upstream>>, now: Millis, care: Care) -> Option<Box<Upstream>> {
    if care == Care::Repeatable {
        return idle.pop();
    }
    // They lie in the order of their last use.
    let place = idle.iter().rposition(|upstream| now.saturating_sub(upstream.used) >= RESTED_MS)?;
    let is_fresh = now.saturating_sub(idle[place].used) <= FRESH_MS;
    is_fresh.then(|| idle.remove(place))
}

impl Upstream {
    /// A new connection. Whoever awaits it sets the limit in time.
    pub(crate) async fn connect(local: &SlotLocal, now: Millis) -> io::Result<Upstream> {
        let slot = &local.slot;
        let begun = tokio::time::Instant::now();
        let socket =
            if slot.address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_nodelay(true)?;
        let stream = refuse_ourselves(socket.connect(slot.address).await?, slot.address)?;
        let took = begun.elapsed().as_micros();
        local.sheet.connected(u64::try_from(took).unwrap_or(u64::MAX));
        Ok(Upstream {
            wire: Wire::new(Socket::watched(stream)),
            body: Body::Done,
            is_reused: false,
            born: now,
            used: now,
            served: 0,
            promised: None,
            sheet: Arc::clone(&local.sheet),
        })
    }

    /// The backend said how long it keeps an idle connection: we stop half a second earlier.
    pub(crate) fn promise(&mut self, seconds: Option<u32>) {
        self.promised = seconds.map(|seconds| (Millis::from(seconds) * 1000).saturating_sub(500));
    }

    fn may_serve(&self, config: &UpstreamConfig, now: Millis) -> bool {
        let idle_limit = millis(config.idle).min(self.promised.unwrap_or(Millis::MAX));
        now.saturating_sub(self.used) < idle_limit
            && now.saturating_sub(self.born) < millis(config.max_age)
            && self.served < config.max_requests
    }
}

fn millis(duration: std::time::Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX)
}
