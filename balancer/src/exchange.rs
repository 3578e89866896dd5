//! One request under way: everything that belongs to it and to nothing else.
//!
//! Exchanges are kept in a small pool per worker and keep their buffers, so that a request
//! allocates nothing for its heads, and an idle connection owns none of this.

use std::net::{IpAddr, Ipv4Addr};

use policies::route::Fields;

use crate::http1::{Known, RequestHead, ResponseHead, Span};
use crate::outcome::Outcome;
use crate::reason::Reason;
use crate::timer::{Micros, Millis};
use crate::trace::is_traceparent;

/// How many backends one request can have been to.
pub(crate) const MAX_ATTEMPTS: usize = 11;

/// Heads, buffers and the record of one request.
pub(crate) struct Exchange {
    /// The request's head, in ranges of `bytes`.
    pub(crate) head: RequestHead,
    /// The head as it came.
    pub(crate) bytes: Vec<u8>,
    /// The path in normal form, if it was not.
    pub(crate) path: Vec<u8>,
    /// Whether `path` is to be used instead of the head's.
    pub(crate) path_changed: bool,
    /// The last host that was brought into normal form, maybe by an earlier request.
    pub(crate) known_host: KnownHost,
    /// Whether its normal form is to be used instead of the head's.
    pub(crate) host_changed: bool,
    /// Who asks, after `trusted_proxies`.
    pub(crate) client: IpAddr,
    /// Whether the peer is one of `trusted_proxies`.
    pub(crate) is_trusted: bool,
    /// 32 hexadecimal digits: the trace id where none came in, and see [`Exchange::id`].
    pub(crate) request_id: [u8; 32],
    /// The head for the backend; empty once it was handed over.
    pub(crate) up: Vec<u8>,
    /// The head for the client, encoded by its front; empty once it was handed over.
    pub(crate) down: Vec<u8>,
    /// The backend's answer.
    pub(crate) response: ResponseHead,
    /// `Set-Cookie` for a session that was bound to another backend, or to none.
    pub(crate) set_cookie: Option<String>,
    /// Slots that have been tried.
    pub(crate) tried: [u32; MAX_ATTEMPTS],
    /// The request's body as far as it was read, while it is small enough to be sent again.
    pub(crate) kept: Vec<u8>,
    /// What will be recorded.
    pub(crate) record: Record,
}

/// A host as it came, and its normal form.
#[derive(Debug, Default)]
pub(crate) struct KnownHost {
    pub(crate) raw: Vec<u8>,
    /// Empty if it is the same.
    pub(crate) normal: Vec<u8>,
    pub(crate) is_changed: bool,
}

/// What is known of a request when it has ended.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) started: Micros,
    /// The same in the worker's milliseconds.
    pub(crate) started_ms: Millis,
    pub(crate) listener: u16,
    pub(crate) route: Option<u16>,
    pub(crate) pool: Option<u16>,
    pub(crate) backend: Option<std::sync::Arc<crate::snapshot::Slot>>,
    pub(crate) status: u16,
    pub(crate) outcome: Outcome,
    /// Why exactly, where the outcome does not tell.
    pub(crate) reason: Option<Reason>,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) attempts: u8,
    /// Time spent in a queue.
    pub(crate) queue_us: Option<u32>,
    pub(crate) connect_us: Option<u32>,
    /// Until the head of the answer.
    pub(crate) first_byte_us: Option<u32>,
    /// When the backend had all that it needs for an answer, as far as we had it.
    pub(crate) asked: Micros,
    /// When it became a stream.
    pub(crate) stream_from_us: Option<u32>,
    /// Part of the answer has gone to the client: nothing can be retried or refused any more.
    pub(crate) is_answering: bool,
    /// Part of the request's body was read and is in `kept` no longer: it cannot be sent again.
    pub(crate) is_body_gone: bool,
    /// Whether it was sent again because a kept connection turned out closed.
    pub(crate) repeat: Repeat,
    /// What was paid for the attempt under way.
    pub(crate) paid: Paid,
    /// The pool of which an attempt of this request has passed the limits, while a place is looked
    /// for that may follow it: they are passed already.
    pub(crate) holds: Option<u16>,
}

/// The pool whose budget has paid, and how much, in thousandths of a token.
pub(crate) type Paid = Option<(Option<u16>, i64)>;

/// What became of the one repeat that a request has where a kept connection turned out closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    None,
    /// It is under way, and a token was taken for it.
    Paid,
    /// There was one.
    Spent,
}

impl Exchange {
    pub(crate) fn new() -> Exchange {
        Exchange {
            head: RequestHead::new(),
            bytes: Vec::with_capacity(1024),
            path: Vec::new(),
            path_changed: false,
            known_host: KnownHost::default(),
            host_changed: false,
            client: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            is_trusted: false,
            request_id: [b'0'; 32],
            up: Vec::with_capacity(1024),
            down: Vec::with_capacity(1024),
            response: ResponseHead::new(),
            set_cookie: None,
            tried: [u32::MAX; MAX_ATTEMPTS],
            kept: Vec::new(),
            record: Record {
                started: 0,
                started_ms: 0,
                listener: 0,
                route: None,
                pool: None,
                backend: None,
                status: 0,
                outcome: Outcome::Ok,
                reason: None,
                bytes_in: 0,
                bytes_out: 0,
                attempts: 0,
                queue_us: None,
                connect_us: None,
                first_byte_us: None,
                asked: 0,
                stream_from_us: None,
                is_answering: false,
                is_body_gone: false,
                repeat: Repeat::None,
                paid: None,
                holds: None,
            },
        }
    }

    /// Ready for another request.
    pub(crate) fn begin(&mut self, now: Micros, now_ms: Millis, listener: u16, client: IpAddr) {
        (self.path_changed, self.host_changed, self.is_trusted) = (false, false, false);
        self.client = client;
        self.up.clear();
        self.down.clear();
        self.kept.clear();
        let record = &mut self.record;
        if record.attempts > 0 {
            self.tried = [u32::MAX; MAX_ATTEMPTS];
        }
        (record.started, record.started_ms) = (now, now_ms);
        record.listener = listener;
        (record.route, record.pool, record.backend) = (None, None, None);
        (record.status, record.outcome, record.reason) = (0, Outcome::Ok, None);
        (record.bytes_in, record.bytes_out, record.attempts) = (0, 0, 0);
        (record.queue_us, record.connect_us, record.first_byte_us) = (None, None, None);
        record.stream_from_us = None;
        (record.is_answering, record.is_body_gone) = (false, false);
        (record.repeat, record.paid) = (Repeat::None, None);
    }

    /// Keeps the bytes that the parsed head points into.
    pub(crate) fn take_head(&mut self, bytes: &[u8]) {
        self.bytes.clear();
        self.bytes.extend_from_slice(bytes);
    }

    /// There is no head: what came was refused, and nothing of it may be looked at.
    pub(crate) fn forget_head(&mut self) {
        self.head.clear();
        self.bytes.clear();
    }

    /// Gives back what a head of unusual size has taken.
    pub(crate) fn shrink(&mut self) {
        const KEPT: usize = 8 * 1024;
        let buffers =
            [&mut self.bytes, &mut self.up, &mut self.down, &mut self.path, &mut self.kept];
        for buffer in buffers.into_iter().filter(|buffer| buffer.capacity() > KEPT) {
            *buffer = Vec::new();
        }
        if self.known_host.raw.capacity() > KEPT {
            self.known_host = KnownHost::default();
        }
        self.record.backend = None;
        self.set_cookie = None;
    }

    /// The bytes of a part of the head.
    pub(crate) fn text(&self, span: Span) -> &[u8] {
        span.of(&self.bytes)
    }

    /// The path in normal form.
    pub(crate) fn path(&self) -> &[u8] {
        if self.path_changed { &self.path } else { self.text(self.head.path) }
    }

    /// The host in normal form; empty if there is none.
    pub(crate) fn host(&self) -> &[u8] {
        match self.raw_host() {
            _ if self.host_changed => &self.known_host.normal,
            Some(raw) => raw,
            None => b"",
        }
    }

    /// Authority of the target, else the value of `Host`.
    pub(crate) fn raw_host(&self) -> Option<&[u8]> {
        self.head.authority.or(self.head.host).map(|span| self.text(span))
    }

    /// What the request is called in logs, at the backend and at the client: the name that a
    /// trusted proxy gave it, else ours.
    pub(crate) fn id(&self) -> &[u8] {
        let given = if self.is_trusted { self.field(Known::XRequestId) } else { None };
        given.filter(|id| is_plain_id(id)).unwrap_or(&self.request_id)
    }

    /// The trace that a trusted proxy's request belongs to, if it is one that can be continued. The
    /// field may be there once (W3C Trace Context §3.2).
    pub(crate) fn trace(&self) -> Option<&[u8]> {
        let mut values = self.is_trusted.then(|| self.values(Known::Traceparent))?;
        let value = values.next().filter(|value| is_traceparent(value))?;
        values.next().is_none().then_some(value)
    }

    /// The values of all lines of a known field, in their order.
    pub(crate) fn values(&self, known: Known) -> impl Iterator<Item = &[u8]> {
        let lines = self.head.fields.iter().filter(move |line| line.known == known);
        lines.map(|line| self.text(line.value))
    }

    /// The first value of a known field.
    pub(crate) fn field(&self, known: Known) -> Option<&[u8]> {
        let line = self.head.fields.iter().find(|line| line.known == known)?;
        Some(self.text(line.value))
    }

    pub(crate) fn was_tried(&self, slot: u32) -> bool {
        self.slots_tried().contains(&slot)
    }

    pub(crate) fn slots_tried(&self) -> &[u32] {
        &self.tried[..usize::from(self.record.attempts).min(MAX_ATTEMPTS)]
    }

    /// Forgets which backends have been tried.
    pub(crate) fn forget_tried(&mut self) {
        self.tried = [u32::MAX; MAX_ATTEMPTS];
    }

    /// Notes one more attempt.
    pub(crate) fn attempt_at(&mut self, slot: u32) {
        if let Some(place) = self.tried.get_mut(usize::from(self.record.attempts)) {
            *place = slot;
        }
        self.record.attempts = self.record.attempts.saturating_add(1);
    }
}

/// Short, and nothing in it that would have to be escaped anywhere.
fn is_plain_id(id: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:=+/@".contains(byte);
    (1..=128).contains(&id.len()) && id.iter().all(is_plain)
}

/// The fields of a request, for matching: as a backend gets them, so that no client takes a route by
/// what nobody behind the door can see.
pub(crate) struct FieldsOf<'a>(pub(crate) &'a Exchange);

impl Fields for FieldsOf<'_> {
    fn any(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        let FieldsOf(exchange) = *self;
        if name.eq_ignore_ascii_case("host") {
            return exchange.raw_host().is_some() && test(exchange.host());
        }
        // Of one hop, but a backend is asked for it.
        if name.eq_ignore_ascii_case("upgrade") {
            return exchange.head.upgrade.is_some_and(|protocol| test(exchange.text(protocol)));
        }
        exchange.head.fields.iter().any(|line| {
            exchange.text(line.name).eq_ignore_ascii_case(name.as_bytes())
                && !line.hop
                && (exchange.is_trusted || !line.known.is_of_proxies())
                && test(exchange.text(line.value))
        })
    }
}
