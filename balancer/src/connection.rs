//! One client connection: request after request, until either side has had enough.

use std::net::{IpAddr, TcpStream};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::config::ListenerConfig;
use crate::exchange::Exchange;
use crate::front::http1::{HeadRead, Http1Front};
use crate::http1::Limits;
use crate::listener::Place;
use crate::outcome::Outcome;
use crate::proxy::{self, Entry};
use crate::reason::Reason;
use crate::socket::Socket;
use crate::timer::Timer;
use crate::wire::Wire;
use crate::worker::{Open, Worker};
use introduction::{Introduction, introduce};

mod introduction;

/// Who has connected.
pub(crate) struct Client {
    /// Place of the listener in the configuration.
    pub(crate) listener: u16,
    /// The other end, or whom a trusted proxy speaks for.
    pub(crate) peer: IpAddr,
    /// Whether it is a trusted proxy, which has to say first whom it speaks for.
    pub(crate) is_proxy: bool,
    /// `None`: the listener is full, and this connection gets an answer that says so.
    pub(crate) place: Option<Place>,
}

impl Client {
    /// How long it is waited for: who has no place is not kept for long.
    fn patience(&self, time: Duration) -> Duration {
        if self.place.is_some() { time } else { time.min(UNWELCOME_TIME) }
    }
}

/// How long a client beyond the limits is waited for, to be told so.
const UNWELCOME_TIME: Duration = Duration::from_secs(1);

/// How long a client that is still sending after its last answer is read from: in all, and without
/// anything coming. Who writes a whole upload before looking for an answer must get it too.
const LINGER_TIME: Duration = Duration::from_secs(15);
const LINGER_QUIET: Duration = Duration::from_secs(2);
/// The same of a door that stops, which ends within a second after its last answer.
const LINGER_STOPPING: Duration = Duration::from_millis(500);
/// How long a head that has begun is waited for by one that stops.
const LAST_HEAD: Duration = Duration::from_millis(500);

/// What waiting for a request came to.
enum Arrival {
    /// A request.
    Whole(Box<Exchange>),
    /// Something that gets an answer and the end of the connection.
    Refused(Box<Exchange>, Outcome, u16),
    /// Nothing to answer.
    Gone,
}

/// Talks to one client to the end.
pub(crate) async fn converse(
    worker: Rc<Worker>,
    stream: TcpStream,
    mut client: Client,
    _open: Open,
) {
    let mut front = Http1Front::new(Wire::new(Socket::plain(stream)));
    let timer = worker.timers.timer();
    std::future::poll_fn(|cx| {
        timer.owned_by(cx.waker());
        Poll::Ready(())
    })
    .await;
    let introduction = match client.is_proxy {
        // Boxed: it is rare, and an idle client would own the room for it.
        true => Box::pin(introduce(&worker, &mut front, &timer, &mut client)).await,
        false => Introduction::Made,
    };
    let may_be_sending = match introduction {
        Introduction::Made => talk(&worker, &mut front, &timer, &client).await,
        Introduction::Refused => true,
        Introduction::Missed => false,
    };
    if may_be_sending && !front.is_cut() {
        linger(&worker, &mut front, &timer).await;
    }
}

/// Serves requests until the connection is to end; whether the client may still be sending.
async fn talk(worker: &Worker, front: &mut Http1Front, timer: &Timer, client: &Client) -> bool {
    let entry = Entry { listener: client.listener, peer: client.peer };
    worker.timers.read_clock();
    loop {
        // A client that sends faster than it is answered never waits, and a socket outside the
        // poll set spends none of the task's budget: without this it could keep the worker.
        tokio::task::coop::consume_budget().await;
        match next_request(worker, front, timer, client).await {
            Arrival::Gone => return false,
            Arrival::Refused(mut exchange, outcome, status) => {
                let told = proxy::turn_away(worker, front, &mut exchange, timer, outcome, status);
                Box::pin(told).await;
                worker.give_back(exchange);
                return true;
            }
            Arrival::Whole(mut exchange) => {
                // Boxed: the room for a request under way would be most of what an idle client
                // owns. One small allocation per request buys half a KiB per connection.
                Box::pin(proxy::serve(worker, front, &mut exchange, timer, entry)).await;
                worker.give_back(exchange);
            }
        }
        if !front.may_go_on() {
            return front.has_more();
        }
    }
}

/// Waits for a request, holding nothing but what has come of its head.
async fn next_request(
    worker: &Worker,
    front: &mut Http1Front,
    timer: &Timer,
    client: &Client,
) -> Arrival {
    let idle = {
        let view = worker.view();
        view.snapshot.config.listeners[usize::from(client.listener)].idle_timeout
    };
    timer.set(client.patience(idle));
    std::future::poll_fn(|cx| poll_request(worker, front, timer, client, cx)).await
}

fn poll_request(
    worker: &Worker,
    front: &mut Http1Front,
    timer: &Timer,
    client: &Client,
    cx: &mut Context<'_>,
) -> Poll<Arrival> {
    let was_in_head = front.is_in_head();
    // Each time: a reload while the client was silent holds for what it sends now.
    let view = worker.view();
    let listener = &view.snapshot.config.listeners[usize::from(client.listener)];
    front.is_last = listener.is_leaving;
    let mut exchange = worker.take_exchange();
    let read = {
        let mut window = worker.window.borrow_mut();
        front.poll_head(cx, &mut exchange, &mut window, &limits_of(listener))
    };
    let (outcome, status, reason) = match read {
        Poll::Ready(HeadRead::Closed) => {
            worker.give_back(exchange);
            return Poll::Ready(Arrival::Gone);
        }
        Poll::Ready(HeadRead::Whole) => {
            begin(worker, &mut exchange, client);
            return match client.place {
                Some(_) => Poll::Ready(Arrival::Whole(exchange)),
                None => Poll::Ready(Arrival::Refused(exchange, Outcome::TooManyConnections, 503)),
            };
        }
        Poll::Ready(HeadRead::Malformed(malformed)) => {
            let status = malformed.status();
            (Outcome::of_malformed(status), status, Some(Reason::Head(malformed)))
        }
        Poll::Ready(HeadRead::Cut) => (Outcome::ClientGone, 0, None),
        Poll::Pending if timer.is_due() && was_in_head => (Outcome::RequestTimeout, 408, None),
        Poll::Pending => {
            worker.give_back(exchange);
            if timer.is_due() || (worker.is_draining() && !front.is_in_head()) {
                return Poll::Ready(Arrival::Gone);
            }
            if front.is_in_head() && !was_in_head {
                worker.timers.read_clock();
                timer.set(client.patience(listener.request_head_timeout));
            }
            if worker.is_draining() {
                // What has begun may come, but nobody's head keeps a door that stops.
                worker.timers.read_clock();
                timer.set_no_later(worker.timers.after(LAST_HEAD));
            }
            return Poll::Pending;
        }
    };
    exchange.forget_head();
    begin(worker, &mut exchange, client);
    exchange.record.reason = reason;
    Poll::Ready(Arrival::Refused(exchange, outcome, status))
}

fn begin(worker: &Worker, exchange: &mut Exchange, client: &Client) {
    let now = worker.timers.read_clock();
    exchange.begin(now, worker.timers.now(), client.listener, client.peer);
    exchange.request_id = worker.fresh_id();
}

pub(crate) fn limits_of(listener: &ListenerConfig) -> Limits {
    Limits {
        max_head: listener.max_header_size,
        max_fields: listener.max_fields,
        max_target: listener.max_uri,
    }
}

/// After the last answer to a client that may still be sending: tells it that nothing more will
/// come and reads on for a while, because closing at once would send a reset that can overtake
/// the answer (RFC 9112 §9.6).
async fn linger(worker: &Worker, front: &mut Http1Front, timer: &Timer) {
    front.wire.socket.shutdown_write();
    worker.timers.read_clock();
    let mut last = worker.timers.after(LINGER_TIME);
    let mut is_short = false;
    loop {
        if worker.is_draining() && !is_short {
            is_short = true;
            last = worker.timers.after(LINGER_STOPPING).min(last);
        }
        timer.set_at(worker.timers.after(LINGER_QUIET).min(last));
        let has_come = std::future::poll_fn(|cx| {
            match front.poll_discard(cx, &mut worker.window.borrow_mut()) {
                Poll::Pending if timer.is_due() || worker.is_stopping_now() => Poll::Ready(false),
                // Once more, with less time.
                Poll::Pending if worker.is_draining() && !is_short => Poll::Ready(true),
                other => other,
            }
        });
        let has_come = has_come.await;
        worker.timers.read_clock();
        if !has_come || worker.timers.now() >= last {
            return;
        }
    }
}
