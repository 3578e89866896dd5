//! The PROXY protocol header, before the first request of a connection that a trusted proxy has made:
//! from then on the client that it names is the other end.

use std::task::{Context, Poll};

use super::{Client, begin};
use crate::front::http1::Http1Front;
use crate::outcome::Outcome;
use crate::proxy;
use crate::proxy_protocol::{self, BadHeader, Header, LARGEST};
use crate::reason::Reason;
use crate::timer::Timer;
use crate::worker::Worker;

/// What waiting for the header came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Introduction {
    /// The client is known, and may send requests.
    Made,
    /// It was told why not.
    Refused,
    /// There is nobody to tell.
    Missed,
}

/// Reads the header and puts the client that it names in the place of the proxy.
pub(super) async fn introduce(
    worker: &Worker,
    front: &mut Http1Front,
    timer: &Timer,
    client: &mut Client,
) -> Introduction {
    let limit = {
        let view = worker.view();
        view.snapshot.config.listeners[usize::from(client.listener)].request_head_timeout
    };
    worker.timers.read_clock();
    timer.set(limit);
    match std::future::poll_fn(|cx| poll_header(worker, front, timer, cx)).await {
        Ok(header) => {
            let peer = header.source.map_or(client.peer, |source| source.ip().to_canonical());
            client.peer = peer;
            match client.place.as_mut().is_none_or(|place| place.count(peer)) {
                true => Introduction::Made,
                false => {
                    refuse(worker, front, timer, client, Outcome::TooManyConnections, None).await
                }
            }
        }
        Err(Some(bad)) => {
            let reason = Some(Reason::ProxyHeader(bad));
            refuse(worker, front, timer, client, Outcome::BadRequest, reason).await
        }
        Err(None) => Introduction::Missed,
    }
}

async fn refuse(
    worker: &Worker,
    front: &mut Http1Front,
    timer: &Timer,
    client: &Client,
    outcome: Outcome,
    reason: Option<Reason>,
) -> Introduction {
    let mut exchange = worker.take_exchange();
    exchange.forget_head();
    begin(worker, &mut exchange, client);
    exchange.record.reason = reason;
    proxy::turn_away(worker, front, &mut exchange, timer, outcome, outcome.status()).await;
    worker.give_back(exchange);
    Introduction::Refused
}

/// `Err(None)`: the proxy has left, or said nothing for too long.
fn poll_header(
    worker: &Worker,
    front: &mut Http1Front,
    timer: &Timer,
    cx: &mut Context<'_>,
) -> Poll<Result<Header, Option<BadHeader>>> {
    let mut window = worker.window.borrow_mut();
    let mut look = front.wire.unstash(&mut window);
    loop {
        if look {
            match proxy_protocol::parse(window.data()) {
                Ok(Some(header)) => {
                    window.skip(header.len);
                    front.wire.stash(window.data());
                    return Poll::Ready(Ok(header));
                }
                Ok(None) => {}
                Err(bad) => return Poll::Ready(Err(Some(bad))),
            }
        }
        let room = LARGEST.saturating_sub(window.len()).max(1);
        match front.wire.poll_more(cx, &mut window, room) {
            Poll::Ready(Ok(1..)) => look = true,
            Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(None)),
            Poll::Pending => {
                let is_over = timer.is_due() || (worker.is_draining() && window.is_empty());
                front.wire.stash(window.data());
                return if is_over { Poll::Ready(Err(None)) } else { Poll::Pending };
            }
        }
    }
}
