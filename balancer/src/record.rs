//! What a worker writes to the access log of a request that has ended.

use crate::access_log::{AccessLog, Record};
use crate::exchange::Exchange;
use crate::http1::{Known, Version};
use crate::reason::Reason;
use crate::stats::Protocol;
use crate::view::View;
use crate::worker::Worker;

/// Formats and pushes the line. Names come from the generation that the request ran under.
pub(crate) fn write(
    log: &mut AccessLog,
    worker: &Worker,
    view: &View,
    exchange: &Exchange,
    total_us: u32,
) {
    let config = &view.snapshot.config;
    let record = &exchange.record;
    let backend = record.backend.as_ref().map(|slot| &*slot.key.backend.0);
    log.write(&Record {
        unix_ms: worker.unix_millis(record.started),
        trace_id: trace_id(exchange),
        request_id: exchange.id(),
        listener: &config.listeners[usize::from(record.listener)].name,
        route: record.route.map(|place| &*config.routes[usize::from(place)].route.name),
        pool: record.pool.map(|place| &*config.pools[usize::from(place)].name.0),
        backend,
        client: exchange.client,
        method: exchange.text(exchange.head.method_span),
        host: exchange.host(),
        path: exchange.path(),
        query: exchange.head.query.map(|span| exchange.text(span)),
        protocol: match exchange.head.version {
            Version::Http10 => Protocol::Http10,
            Version::Http11 => Protocol::Http11,
        },
        status: record.status,
        outcome: record.outcome,
        reason: record.reason.map(Reason::word),
        bytes_in: record.bytes_in,
        bytes_out: record.bytes_out,
        queue_us: record.queue_us,
        connect_us: record.connect_us,
        ttfb_us: record.first_byte_us,
        total_us: u64::from(total_us),
        retries: u32::from(record.attempts.saturating_sub(1)),
        user_agent: exchange.field(Known::UserAgent),
        referer: exchange.field(Known::Referer),
    });
}

/// The trace that a trusted proxy's request belongs to, else the one that we began.
fn trace_id(exchange: &Exchange) -> Option<&[u8]> {
    exchange.trace().and_then(|value| value.get(3..35)).or(Some(&exchange.request_id))
}
