//! The load generator. Closed loop: each connection asks again as soon as it has its answer. With
//! `--rate`, open loop: request `i` is due at `start + i / rate`, and its latency counts from then
//! whether or not a connection was free, so that a door that stalls cannot hide it. With
//! `--lockstep`, all connections ask together, once all have their answers: what a door does then
//! depends little on how fast the others are, which makes counts repeatable.

use std::io;
use std::net::SocketAddrV4;
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use crate::args::Args;
use crate::histogram::Histogram;
use crate::http::{field, head_end, number};
use crate::net::{EDGES, ENDED, Epoll, EventFlags, READABLE, connect};

/// Longest run, in ms: a forgotten load must not keep a machine busy.
const LONGEST_MS: u64 = 300_000;
/// Pause before a client whose connection failed tries again.
const RECONNECT: Duration = Duration::from_millis(1);
/// Most body bytes thrown away at once.
const SINK: usize = 1 << 20;
/// Bytes read at once while a head is awaited: all of a small answer, little of a large body.
const HEAD_READ: usize = 4096;

/// Runs until `--ms` are over or `--max` requests are done; prints one JSON object.
///
/// # Errors
/// Bad arguments, or an answer without Content-Length.
pub(crate) fn run(args: &Args) -> io::Result<()> {
    // Without this the kernel adds up to 50 µs to every wait for a due time.
    rustix::thread::set_current_timer_slack(NonZeroU64::new(1))?;
    let plan = Plan::new(args)?;
    let mut load = Load::new(plan)?;
    load.start()?;
    while load.is_going() {
        load.turn()?;
    }
    load.report();
    Ok(())
}

/// What was asked for. Times in nanoseconds.
struct Plan {
    addr: SocketAddrV4,
    request: Vec<u8>,
    conns: usize,
    /// A new connection per request.
    is_churn: bool,
    is_lockstep: bool,
    /// Requests per second, 0 for a closed loop.
    rate: u64,
    requests: u64,
    stop_at: u64,
    measure_from: u64,
}

impl Plan {
    fn new(args: &Args) -> io::Result<Plan> {
        let addr = args.addr()?;
        Ok(Plan {
            addr,
            request: request(args, addr)?,
            conns: args.number("conns", 64)?,
            is_churn: args.has("churn"),
            is_lockstep: args.has("lockstep"),
            rate: args.number("rate", 0)?,
            requests: args.number("max", u64::MAX)?,
            stop_at: args.number("ms", 5000)?.min(LONGEST_MS) * 1_000_000,
            measure_from: args.number::<u64>("warm-ms", 0)? * 1_000_000,
        })
    }

    /// When request `index` of an open loop is due.
    fn due(&self, index: u64) -> u64 {
        (u128::from(index) * 1_000_000_000 / u128::from(self.rate)) as u64
    }
}

fn request(args: &Args, addr: SocketAddrV4) -> io::Result<Vec<u8>> {
    let (path, host) = (args.text("path", "/t"), args.text("host", "127.0.0.1"));
    let host = if args.has("host") { host.to_owned() } else { addr.to_string() };
    let body: usize = args.number("post", 0)?;
    let method = if body > 0 { "POST" } else { "GET" };
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: kit/0.1\r\n");
    head += "Accept: */*\r\nAccept-Encoding: gzip, br\r\n";
    if body > 0 {
        head += &format!("Content-Type: text/plain\r\nContent-Length: {body}\r\n");
    }
    if args.has("churn") {
        head += "Connection: close\r\n";
    }
    let mut request = (head + "\r\n").into_bytes();
    request.resize(request.len() + body, b'b');
    Ok(request)
}

/// One client. Idle while it owes no request.
struct Client {
    socket: Option<OwnedFd>,
    is_connecting: bool,
    /// When the request under way was due.
    busy_since: Option<u64>,
    /// Body bytes still to come, once the head is in.
    body_left: Option<u64>,
    /// A head that came in pieces, so far.
    head: Vec<u8>,
    /// In `Load::free`.
    is_free: bool,
}

struct Load {
    plan: Plan,
    clock: Instant,
    epoll: Epoll,
    clients: Vec<Client>,
    /// Clients of an open loop that wait for a request, or of lockstep for the others.
    free: Vec<usize>,
    /// Clients whose connection failed in this turn.
    lost: Vec<usize>,
    /// Requests handed out, and of an open loop those that are due.
    issued: u64,
    due: u64,
    done: u64,
    errors: u64,
    bad_status: u64,
    latencies: Histogram,
    head_buffer: Vec<u8>,
    sink: Vec<u8>,
}

impl Load {
    fn new(plan: Plan) -> io::Result<Load> {
        let idle = || Client {
            socket: None,
            is_connecting: false,
            busy_since: None,
            body_left: None,
            head: Vec::new(),
            is_free: false,
        };
        Ok(Load {
            clients: std::iter::repeat_with(idle).take(plan.conns).collect(),
            plan,
            clock: Instant::now(),
            epoll: Epoll::new()?,
            free: Vec::new(),
            lost: Vec::new(),
            issued: 0,
            due: 0,
            done: 0,
            errors: 0,
            bad_status: 0,
            latencies: Histogram::new(),
            head_buffer: vec![0; HEAD_READ],
            sink: vec![0; SINK],
        })
    }

    fn now(&self) -> u64 {
        self.clock.elapsed().as_nanos() as u64
    }

    fn start(&mut self) -> io::Result<()> {
        for client in 0..self.plan.conns {
            if self.plan.rate == 0 {
                self.next(client)?;
            } else {
                if !self.plan.is_churn {
                    self.open(client)?;
                }
                self.release(client);
            }
        }
        Ok(())
    }

    fn is_going(&self) -> bool {
        self.done + self.errors < self.plan.requests && self.now() < self.plan.stop_at
    }

    /// One wait, and what became possible by it.
    fn turn(&mut self) -> io::Result<()> {
        if self.plan.rate > 0 {
            self.hand_out()?;
        }
        let wake_at = if self.plan.rate > 0 && self.due < self.plan.requests {
            self.plan.due(self.due).min(self.plan.stop_at)
        } else {
            self.plan.stop_at
        };
        let mut limit = Duration::from_nanos(wake_at.saturating_sub(self.now()));
        if !self.lost.is_empty() {
            limit = limit.min(RECONNECT);
        }
        for index in 0..self.epoll.wait(Some(limit))? {
            let (client, flags) = self.epoll.event(index);
            self.advance(client, flags)?;
        }
        for client in std::mem::take(&mut self.lost) {
            self.go_on(client)?;
        }
        Ok(())
    }

    /// What a client does once its request is over.
    fn go_on(&mut self, client: usize) -> io::Result<()> {
        if self.plan.rate == 0 && !self.plan.is_lockstep {
            return self.next(client);
        }
        self.release(client);
        if self.plan.is_lockstep && self.free.len() == self.plan.conns {
            for client in std::mem::take(&mut self.free) {
                self.clients[client].is_free = false;
                self.next(client)?;
            }
        }
        Ok(())
    }

    /// Open loop: gives the requests that are due to the clients that are free.
    fn hand_out(&mut self) -> io::Result<()> {
        let now = self.now();
        while self.due < self.plan.requests && self.plan.due(self.due) <= now {
            self.due += 1;
        }
        while self.issued < self.due {
            let Some(client) = self.free.pop() else { break };
            self.clients[client].is_free = false;
            let due = self.plan.due(self.issued);
            self.issued += 1;
            self.ask(client, due)?;
        }
        Ok(())
    }

    fn advance(&mut self, index: usize, flags: EventFlags) -> io::Result<()> {
        let client = &mut self.clients[index];
        if client.socket.is_none() {
            return Ok(());
        }
        if client.is_connecting && flags.intersects(EventFlags::OUT | ENDED) {
            client.is_connecting = false;
            if client.busy_since.is_some() {
                self.send(index);
            }
        }
        if flags.intersects(READABLE) && self.read(index)? {
            self.go_on(index)?;
        }
        Ok(())
    }

    /// Closed loop: the next request, if there is one left.
    fn next(&mut self, client: usize) -> io::Result<()> {
        if self.issued < self.plan.requests {
            self.issued += 1;
            self.ask(client, self.now())?;
        }
        Ok(())
    }

    fn release(&mut self, index: usize) {
        if !self.clients[index].is_free {
            self.clients[index].is_free = true;
            self.free.push(index);
        }
    }

    fn ask(&mut self, index: usize, due: u64) -> io::Result<()> {
        self.clients[index].busy_since = Some(due);
        if self.clients[index].socket.is_none() {
            self.open(index)?;
        }
        if !self.clients[index].is_connecting {
            self.send(index);
        }
        Ok(())
    }

    fn open(&mut self, index: usize) -> io::Result<()> {
        let Ok(socket) = connect(&self.plan.addr, self.plan.is_churn) else {
            self.fail(index);
            return Ok(());
        };
        self.epoll.add(&socket, EDGES, index)?;
        self.clients[index].socket = Some(socket);
        self.clients[index].is_connecting = true;
        Ok(())
    }

    /// A request that does not fit into an idle socket counts as failed, like any other trouble.
    fn send(&mut self, index: usize) {
        let Some(socket) = &self.clients[index].socket else { return };
        let sent = rustix::net::send(socket, &self.plan.request, SendFlags::NOSIGNAL);
        if sent != Ok(self.plan.request.len()) {
            self.fail(index);
        }
    }

    fn fail(&mut self, index: usize) {
        if self.clients[index].busy_since.is_some() {
            self.errors += 1;
        }
        self.close(index);
        self.lost.push(index);
    }

    fn close(&mut self, index: usize) {
        let client = &mut self.clients[index];
        client.socket = None;
        client.is_connecting = false;
        client.busy_since = None;
        client.body_left = None;
        client.head.clear();
    }

    /// Reads what there is; true when the client can have its next request.
    fn read(&mut self, index: usize) -> io::Result<bool> {
        loop {
            let client = &mut self.clients[index];
            let Some(socket) = &client.socket else { return Ok(false) };
            let got = match client.body_left {
                // The kernel throws the body away without copying it.
                Some(left) => {
                    let length = left.min(SINK as u64) as usize;
                    rustix::net::recv(socket, &mut self.sink[..length], RecvFlags::TRUNC)
                }
                None => rustix::net::recv(socket, &mut self.head_buffer[..], RecvFlags::empty()),
            };
            let got = match got {
                Ok((_, got)) if got > 0 => got,
                Err(Errno::WOULDBLOCK) => return Ok(false),
                Ok(_) | Err(_) => {
                    self.fail(index);
                    return Ok(false);
                }
            };
            let left = match client.body_left {
                Some(left) => Some(left - got as u64),
                None => client.take_head(&self.head_buffer[..got], &mut self.bad_status)?,
            };
            client.body_left = left;
            if left == Some(0) {
                self.finish(index);
                return Ok(true);
            }
        }
    }

    fn finish(&mut self, index: usize) {
        let now = self.now();
        let client = &mut self.clients[index];
        client.body_left = None;
        if let Some(due) = client.busy_since.take()
            && due >= self.plan.measure_from
        {
            self.latencies.add(now.saturating_sub(due));
        }
        self.done += 1;
        if self.plan.is_churn {
            self.close(index);
        }
    }

    fn report(&self) {
        let secs = self.now() as f64 / 1e9;
        let us = |share| self.latencies.quantile(share) as f64 / 1000.0;
        println!(
            "{{\"requests\":{},\"errors\":{},\"bad_status\":{},\"unsent\":{},\"secs\":{secs:.4},\
             \"rps\":{:.1},\"p50_us\":{:.1},\"p90_us\":{:.1},\"p99_us\":{:.1},\"p999_us\":{:.1},\
             \"max_us\":{:.1}}}",
            self.done,
            self.errors,
            self.bad_status,
            self.due.saturating_sub(self.issued),
            self.done as f64 / secs,
            us(0.5),
            us(0.9),
            us(0.99),
            us(0.999),
            self.latencies.largest() as f64 / 1000.0
        );
    }
}

impl Client {
    /// Adds to the head; the bytes of the body still to come once the head is whole.
    fn take_head(&mut self, new: &[u8], bad_status: &mut u64) -> io::Result<Option<u64>> {
        if !self.head.is_empty() {
            self.head.extend_from_slice(new);
            let joined = std::mem::take(&mut self.head);
            return self.take_head(&joined, bad_status);
        }
        let Some(end) = head_end(new) else {
            self.head.extend_from_slice(new);
            return Ok(None);
        };
        if new.get(9..12) != Some(b"200") {
            *bad_status += 1;
        }
        let Some(length) = field(&new[..end], "Content-Length") else {
            return Err(io::Error::other("an answer without Content-Length"));
        };
        number(length)
            .checked_sub((new.len() - end) as u64)
            .map(Some)
            .ok_or_else(|| io::Error::other("more bytes than Content-Length said"))
    }
}
