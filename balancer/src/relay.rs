//! One attempt at one backend: the request goes up while the answer comes down.
//!
//! Both directions are driven by one poll, because a backend may answer before it has read the
//! request, and a client may stop sending before it has its answer. A direction reads only when
//! its other end has taken what it was given (`wire.rs`).

use std::task::{Context, Poll, ready};
use std::time::Duration;

use policies::retry::Cause;

use crate::answer::Answer;
use crate::attempt::Taken;
use crate::body::{Body, BodyFault};
use crate::config::RouteConfig;
use crate::debt::Debt;
use crate::exchange::Exchange;
use crate::front::Front;
use crate::http1::parse_response;
use crate::http1::{Framing, Known, Limits};
use crate::outcome::Outcome;
use crate::reason::Reason;
use crate::retry;
use crate::streams::is_events;
use crate::timer::{Millis, Timer};
use crate::upstream::Upstream;
use crate::view::View;
use crate::window::{CAPACITY, Window};
use crate::worker::Worker;

mod up;

pub(crate) use up::{KEPT_MOST, Up};

/// More interim answers than this are an attack or a loop.
const MAX_INTERIM: u8 = 16;
/// Largest head of an answer, in bytes: more than servers send, and little beside a window.
const MAX_HEAD: usize = 64 << 10;
/// Most fields of an answer, trailers apart: twice what servers send at most by default.
const MAX_FIELDS: usize = 200;

/// How an attempt ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The backend has nothing more to do with it.
    Whole {
        /// Nothing is owed on the connection to the backend in either direction.
        is_reusable: bool,
        /// The client has taken all of the answer.
        is_taken: bool,
    },
    /// A 101 is with the client; from here on bytes pass as they are.
    Tunnel,
    /// The head of an answer of events is on its way. Polled again the relay goes on from there.
    Streaming,
}

/// How an attempt ended otherwise.
pub(crate) enum Broken {
    /// The backend closed or reset before the first byte of an answer.
    Closed,
    /// It did so in the middle of the answer's head, or behind an interim answer: then it has read
    /// the request.
    HeadCut,
    /// Its answer cannot be read, or in two ways.
    BadResponse(Reason),
    /// It ended in the middle of the answer's body, or went on with what cannot be read.
    AnswerCut(BodyFault),
    /// The client left.
    ClientGone,
    /// The client's body cannot be read on.
    ClientBody(BodyFault),
    /// The client's body is larger than allowed.
    BodyTooLarge,
    /// A limit in time, named by its outcome.
    TimedOut(Outcome),
    /// The same, but it was us who were late, which is no fault of the backend's.
    Late(Outcome),
    /// Another backend may do better: the head of its answer is whole and says so, or no answer is
    /// to be expected from it. Polled again the relay goes on from there.
    Unwanted(Cause),
    /// It was given up, for a place at another backend.
    GivenUp(Taken),
    /// The backend is not well, and others will have a place.
    LeftBehind,
}

/// When the limits in time are reached, in the worker's milliseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadlines {
    pub(crate) attempt: Millis,
    pub(crate) first_byte: Millis,
    pub(crate) total: Millis,
    /// If nothing moves until then.
    pub(crate) idle: Millis,
}

/// What one attempt works on.
pub(crate) struct Relay<'a, F: Front> {
    pub(crate) worker: &'a Worker,
    pub(crate) front: &'a mut F,
    pub(crate) exchange: &'a mut Exchange,
    pub(crate) upstream: &'a mut Upstream,
    pub(crate) route: &'a RouteConfig,
    pub(crate) view: &'a View,
    pub(crate) timer: &'a Timer,
    /// Whether the request's body is to be kept, so that it can be sent again.
    pub(crate) keeps: bool,
    /// Whether an answer is passed on even if another backend may have a better one.
    pub(crate) takes_any: bool,
    pub(crate) deadlines: Deadlines,
    pub(crate) max_body: u64,
    pub(crate) up: Up,
    pub(crate) down: Down,
    pub(crate) interim: u8,
    /// What both ends had not taken at the last progress.
    pub(crate) owed: Debt,
    /// When to look whether both ends are still there.
    pub(crate) look_at: Millis,
    /// The body as far as it was kept is to be sent first.
    pub(crate) repeats: bool,
    /// A limit has started again because we were late for it.
    pub(crate) was_late: bool,
    /// The answer is one of events.
    pub(crate) is_streaming: bool,
}

/// Most requests are over by then, and to look costs a new connection two system calls.
pub(crate) const LOOK_AFTER: Duration = Duration::from_secs(1);

/// The answer's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Down {
    Head,
    Body,
    Flushing,
    Tunnel,
}

impl<F: Front> Relay<'_, F> {
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Ended, Broken>> {
        self.poll_up(cx)?;
        if let Poll::Ready(ended) = self.poll_down(cx)? {
            return Poll::Ready(Ok(ended));
        }
        if self.timer.is_due() {
            if let Some(fired) = self.what_fired() {
                return Poll::Ready(Err(fired));
            }
            if let Poll::Ready(broken) = self.look(cx) {
                return Poll::Ready(Err(broken));
            }
        }
        // Last, because it moves the timer to an end that nothing above knows of.
        if self.worker.may_end()
            && let Some(outcome) = self.ended_by_us()
        {
            return Poll::Ready(Err(Broken::TimedOut(outcome)));
        }
        Poll::Pending
    }

    #[cold]
    fn ended_by_us(&self) -> Option<Outcome> {
        let framing = self.exchange.response.framing;
        let is_stream =
            self.down != Down::Head && matches!(framing, Framing::Chunked | Framing::UntilClose);
        let slot = self.exchange.record.backend.as_deref();
        self.worker.ends(slot, self.timer, is_stream)
    }

    /// Once a second while an answer is awaited: whether the client is still there, and whether
    /// the backend was found to be in no state to answer since the request was sent.
    fn look(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        let is_awaited = self.down == Down::Head;
        self.look_at = if is_awaited { self.worker.timers.after(LOOK_AFTER) } else { Millis::MAX };
        self.front.watch();
        self.set_timer();
        let backend = self.exchange.record.backend.as_ref();
        if is_awaited && backend.is_some_and(|slot| slot.is_unwell()) {
            return Poll::Ready(Broken::Unwanted(Cause::Unwell));
        }
        self.poll_client(cx)
    }

    /// Ready when the client has left: its place on the backend is given back at once.
    fn poll_client(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        // Before that a read notices it.
        ready!(if self.front.is_pulled() { self.front.poll_reset(cx) } else { Poll::Pending });
        Poll::Ready(Broken::ClientGone)
    }

    /// The limit that has been reached, if one has.
    fn what_fired(&mut self) -> Option<Broken> {
        if self.owed.has_shrunk(self.front.unsent() + self.upstream.wire.unsent()) {
            self.note_progress();
        }
        let (due, outcome) = self.next_deadline();
        if due > self.worker.timers.now() {
            return None;
        }
        if !self.timer.is_late(self.limit(outcome)) {
            return Some(Broken::TimedOut(outcome));
        }
        // The time that we slept through was not the backend's. Once more, and only once: a door
        // that is always late shall not keep a request for ever. What counts from the beginning of
        // the request is a promise to the client and stays.
        if std::mem::replace(&mut self.was_late, true) {
            return Some(Broken::Late(outcome));
        }
        self.note_progress();
        let (due, outcome) = self.next_deadline();
        (due <= self.worker.timers.now()).then_some(Broken::Late(outcome))
    }

    fn limit(&self, outcome: Outcome) -> Duration {
        let timeouts = &self.route.timeouts;
        match outcome {
            Outcome::AttemptTimeout => timeouts.attempt.unwrap_or(timeouts.first_byte),
            Outcome::FirstByteTimeout => timeouts.first_byte,
            Outcome::TotalTimeout => timeouts.total.unwrap_or_default(),
            _ => timeouts.idle_stream,
        }
    }

    /// Which limit is reached next unless something moves. While the client is still sending its
    /// body, the backend's time to answer has not begun.
    fn next_deadline(&self) -> (Millis, Outcome) {
        let Deadlines { attempt, first_byte, total, idle } = self.deadlines;
        let is_client_sending = self.up == Up::Sending && self.upstream.wire.is_flushed();
        let silent = match self.down {
            Down::Head if is_client_sending => (idle, Outcome::StreamIdle),
            Down::Head if attempt < first_byte => (attempt, Outcome::AttemptTimeout),
            Down::Head => (first_byte, Outcome::FirstByteTimeout),
            Down::Body | Down::Flushing | Down::Tunnel => (idle, Outcome::StreamIdle),
        };
        if total <= silent.0 { (total, Outcome::TotalTimeout) } else { silent }
    }

    fn set_timer(&self) {
        self.timer.set_at(self.next_deadline().0.min(self.look_at));
    }

    /// Something moved: limits that count from the last byte start again.
    fn note_progress(&mut self) {
        let timers = &self.worker.timers;
        timers.read_clock();
        let timeouts = &self.route.timeouts;
        self.deadlines.idle = timers.after(timeouts.idle_stream);
        if self.down == Down::Head {
            let attempt = timeouts.attempt.map_or(Millis::MAX, |limit| timers.after(limit));
            self.deadlines.attempt = attempt;
            self.deadlines.first_byte = timers.after(timeouts.first_byte);
        }
        self.owed.note(self.front.unsent() + self.upstream.wire.unsent());
        self.set_timer();
    }

    fn poll_down(&mut self, cx: &mut Context<'_>) -> Poll<Result<Ended, Broken>> {
        loop {
            match self.down {
                Down::Head => {
                    ready!(self.poll_head(cx))?;
                    if self.is_streaming && self.down == Down::Body {
                        return Poll::Ready(Ok(Ended::Streaming));
                    }
                }
                Down::Body => ready!(self.poll_body(cx))?,
                Down::Tunnel => return Poll::Ready(Ok(Ended::Tunnel)),
                Down::Flushing => {
                    let has_waited = self.front.unsent() > 0;
                    let flushed = self.front.poll_flush(cx).map_err(|_| Broken::ClientGone)?;
                    // While the request is still going up, the backend is not done with it.
                    if flushed.is_pending() && !matches!(self.up, Up::Done | Up::Stopped) {
                        return Poll::Pending;
                    }
                    if has_waited {
                        self.worker.timers.read_clock();
                    }
                    let (is_reusable, is_taken) = (self.is_reusable(), flushed.is_ready());
                    return Poll::Ready(Ok(Ended::Whole { is_reusable, is_taken }));
                }
            }
        }
    }

    fn is_reusable(&self) -> bool {
        let answered = &self.exchange.response;
        // Bytes behind the answer are nobody's: the next request must not get them.
        self.up == Up::Done
            && answered.keep_alive
            && answered.framing != Framing::UntilClose
            && !self.upstream.wire.has_stash()
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        let worker = self.worker;
        let mut window = worker.window.borrow_mut();
        let mut look = self.upstream.wire.unstash(&mut window);
        loop {
            if look {
                let limits = Limits { max_head: MAX_HEAD, max_fields: MAX_FIELDS, max_target: 0 };
                let method = self.exchange.head.method;
                let response = &mut self.exchange.response;
                match parse_response(window.data(), method, &limits, response) {
                    Ok(Some(length)) => {
                        return Poll::Ready(self.take_head(cx, &mut window, length));
                    }
                    Ok(None) => {}
                    Err(malformed) => {
                        return Poll::Ready(Err(Broken::BadResponse(Reason::Head(malformed))));
                    }
                }
            }
            let before = window.len();
            match self.upstream.wire.poll_more(cx, &mut window, CAPACITY) {
                Poll::Ready(Ok(1..)) => {
                    look = memchr::memchr(b'\n', &window.data()[before..]).is_some()
                        || window.len() > MAX_HEAD;
                }
                Poll::Ready(_) if before == 0 && self.interim == 0 => {
                    return Poll::Ready(Err(Broken::Closed));
                }
                Poll::Ready(_) => return Poll::Ready(Err(Broken::HeadCut)),
                Poll::Pending => {
                    self.upstream.wire.stash(window.data());
                    return self.poll_client(cx).map(Err);
                }
            }
        }
    }

    fn take_head(
        &mut self,
        cx: &mut Context<'_>,
        window: &mut Window,
        length: usize,
    ) -> Result<(), Broken> {
        let status = self.exchange.response.status;
        if status == 101 && !self.may_upgrade(&window.data()[..length]) {
            return Err(Broken::BadResponse(Reason::UnaskedUpgrade));
        }
        if let Some(cause) = Cause::of_status(status)
            && !self.takes_any
        {
            self.note_answer(status);
            self.upstream.wire.stash(window.data());
            return Err(Broken::Unwanted(cause));
        }
        self.encode_head(&window.data()[..length]);
        self.is_streaming = self.is_stream(&window.data()[..length]);
        window.skip(length);
        if status < 200 {
            return self.pass_interim(cx, window, status);
        }
        self.note_answer(status);
        if self.exchange.record.paid.is_some() {
            retry::settle_ahead(self.view, &self.route.retries, &mut self.exchange.record);
        }
        self.upstream.body = Body::new(self.exchange.response.framing);
        self.down = Down::Body;
        let wire = &mut self.upstream.wire;
        let decoded = self.upstream.body.decode(window, wire);
        // Nothing of the answer is out yet, so the client can still be told.
        decoded.map_err(|fault| Broken::BadResponse(fault.into()))?;
        if !window.is_empty() || self.upstream.body.is_done() {
            self.push_down(cx, window)?;
        }
        if self.down == Down::Body {
            self.note_progress();
        }
        Ok(())
    }

    /// Whether a 101 changes to what the client has asked for (RFC 9110 §7.8), and all of its
    /// request is with the backend: behind it nothing can be told from the new protocol.
    fn may_upgrade(&self, bytes: &[u8]) -> bool {
        let exchange = &*self.exchange;
        let (Some(asked), Some(got)) = (exchange.head.upgrade, exchange.response.upgrade) else {
            return false;
        };
        let mut asked = exchange.text(asked).split(|byte| *byte == b',');
        let got = got.of(bytes);
        self.up == Up::Done && asked.any(|one| one.trim_ascii().eq_ignore_ascii_case(got))
    }

    /// Whether this is an answer of events. One that says how long it is ends by itself.
    fn is_stream(&self, bytes: &[u8]) -> bool {
        let response = &self.exchange.response;
        matches!(response.framing, Framing::Chunked | Framing::UntilClose)
            && response.status == 200
            && response
                .fields
                .iter()
                .find(|line| line.known == Known::ContentType)
                .is_some_and(|line| is_events(line.value.of(bytes)))
    }

    fn note_answer(&mut self, status: u16) {
        let worker = self.worker;
        let record = &mut self.exchange.record;
        record.status = status;
        record.first_byte_us = Some(worker.since(record.started));
        self.upstream.promise(self.exchange.response.keep_alive_timeout);
    }

    fn pass_interim(
        &mut self,
        cx: &mut Context<'_>,
        window: &mut Window,
        status: u16,
    ) -> Result<(), Broken> {
        self.interim += 1;
        if self.interim > MAX_INTERIM {
            return Err(Broken::BadResponse(Reason::TooManyInterim));
        }
        // What is behind it belongs to the next head, or to the tunnel.
        self.upstream.wire.stash(window.data());
        window.clear();
        if status == 101 {
            self.note_answer(status);
            self.exchange.record.is_answering = true;
            self.down = Down::Tunnel;
        }
        let down = &mut self.exchange.down;
        self.front.push(cx, down, window, None).map_err(|_| Broken::ClientGone)
    }

    fn encode_head(&mut self, bytes: &[u8]) {
        let mut out = std::mem::take(&mut self.exchange.down);
        let exchange = &*self.exchange;
        let response = &exchange.response;
        let cookie = exchange.set_cookie.as_deref().map(|value| ("set-cookie", value.as_bytes()));
        let is_interim = response.status < 200 && response.status != 101;
        // RFC 9110 §6.6.1: who has a clock adds the time that a backend has not said.
        let is_dated = response.fields.iter().any(|line| line.known == Known::Date);
        let date = if is_dated { None } else { Some(self.worker.http_date()) };
        let answer = Answer {
            status: response.status,
            backend: Some((response, bytes)),
            date: date.as_ref().map_or(b"", |date| date.as_slice()),
            own: if is_interim { &[] } else { cookie.as_slice() },
            edits: (!is_interim).then_some(&self.route.response_headers),
            via: self.view.via.of(response.version),
            request_id: exchange.id(),
            framing: response.framing,
            own_length: None,
            close: !self.front.is_pulled() || self.worker.is_stopping(),
            upgrade: response.upgrade.map(|span| span.of(bytes)),
        };
        self.front.encode(&answer, &mut out);
        self.exchange.down = out;
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        ready!(self.front.poll_flush(cx)).map_err(|_| Broken::ClientGone)?;
        let worker = self.worker;
        let mut window = worker.window.borrow_mut();
        window.clear();
        let upstream = &mut *self.upstream;
        match upstream.body.poll_read(cx, &mut upstream.wire, &mut window, CAPACITY) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(fault)) => return Poll::Ready(Err(Broken::AnswerCut(fault))),
            Poll::Pending => {
                // The client shall have the head while the body is awaited.
                if !self.exchange.down.is_empty() {
                    self.exchange.record.is_answering = true;
                    window.clear();
                    let down = &mut self.exchange.down;
                    let sent = self.front.push(cx, down, &mut window, None);
                    sent.map_err(|_| Broken::ClientGone)?;
                }
                return self.poll_client(cx).map(Err);
            }
        }
        let pushed = self.push_down(cx, &mut window);
        self.note_progress();
        Poll::Ready(pushed)
    }

    fn push_down(&mut self, cx: &mut Context<'_>, window: &mut Window) -> Result<(), Broken> {
        let record = &mut self.exchange.record;
        record.bytes_out += window.len() as u64;
        record.is_answering = true;
        let body = &self.upstream.body;
        let end = body.is_done().then(|| body.trailers());
        if end.is_some() {
            self.down = Down::Flushing;
        }
        let down = &mut self.exchange.down;
        self.front.push(cx, down, window, end).map_err(|_| Broken::ClientGone)
    }
}
