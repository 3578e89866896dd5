//! GET and POST in turns over kept connections, each POST with an id of its own, until told to
//! stop; and an account of what failed and when.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::load::{ANSWER, one};

/// How the clients of a mixed load behave.
#[derive(Debug, Clone, Copy)]
pub struct Rhythm {
    /// Clients, each with a connection of its own.
    pub clients: usize,
    /// Requests that a client sends one behind the other.
    pub burst: usize,
    /// Between two bursts; each client differs by up to a quarter.
    pub pause: Duration,
}

/// A request that was not answered with 200.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Of a POST; empty for a GET.
    pub id: String,
    /// When it was sent.
    pub sent: Instant,
    /// When it was known to have failed.
    pub ended: Instant,
    /// What came instead.
    pub why: String,
}

/// What one client, or all of them, did.
#[derive(Debug, Default)]
pub struct Account {
    /// GETs answered.
    pub gets: usize,
    /// The longest that one of them took.
    pub slowest_get: Duration,
    /// When each of them was sent, and how long it took.
    pub took: Vec<(Instant, Duration)>,
    /// Ids of the POSTs answered.
    pub posts: BTreeSet<String>,
    /// Everything else.
    pub failures: Vec<Failure>,
}

impl Account {
    /// GETs that failed.
    pub fn failed_gets(&self) -> Vec<&Failure> {
        self.failures.iter().filter(|failure| failure.id.is_empty()).collect()
    }

    /// POSTs that failed.
    pub fn failed_posts(&self) -> Vec<&Failure> {
        self.failures.iter().filter(|failure| !failure.id.is_empty()).collect()
    }

    /// Of 100 GETs sent in that time, 99 took no longer than this.
    pub fn p99(&self, from: Instant, until: Instant) -> Duration {
        let sent = self.took.iter().filter(|(sent, _)| (from..until).contains(sent));
        let mut took: Vec<Duration> = sent.map(|(_, took)| *took).collect();
        took.sort_unstable();
        took[took.len() * 99 / 100]
    }

    fn succeeded(&mut self, id: String, sent: Instant) {
        if id.is_empty() {
            self.gets += 1;
            let took = sent.elapsed();
            self.slowest_get = self.slowest_get.max(took);
            self.took.push((sent, took));
        } else {
            self.posts.insert(id);
        }
    }

    fn failed(&mut self, id: String, sent: Instant, why: String) {
        self.failures.push(Failure { id, sent, ended: Instant::now(), why });
    }
}

/// Clients at work.
#[derive(Debug)]
pub struct Mixed {
    clients: JoinSet<Account>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    must_stop: AtomicBool,
    ended: AtomicUsize,
}

impl Mixed {
    /// Begins.
    pub fn start(addr: SocketAddr, rhythm: Rhythm) -> Mixed {
        let shared = Arc::<Shared>::default();
        let mut clients = JoinSet::new();
        for number in 0..rhythm.clients {
            clients.spawn(client(addr, number, rhythm, shared.clone()));
        }
        Mixed { clients, shared }
    }

    /// Waits for so many further requests to end, well or not.
    pub async fn goes_on(&self, more: usize) {
        let ended = || self.shared.ended.load(Ordering::Relaxed);
        let wanted = ended() + more;
        let (mut last, mut moved) = (ended(), Instant::now());
        while ended() < wanted {
            if ended() > last {
                (last, moved) = (ended(), Instant::now());
            }
            assert!(moved.elapsed() < ANSWER, "the load stands still");
            tokio::time::sleep(Duration::from_millis(1)).await; // a poll with a ceiling
        }
    }

    /// Ends the load after the requests under way.
    pub async fn stop(mut self) -> Account {
        self.shared.must_stop.store(true, Ordering::Relaxed);
        let mut sum = Account::default();
        while let Some(account) = self.clients.join_next().await {
            let account = account.expect("no client panics");
            sum.gets += account.gets;
            sum.slowest_get = sum.slowest_get.max(account.slowest_get);
            sum.took.extend(account.took);
            sum.posts.extend(account.posts);
            sum.failures.extend(account.failures);
        }
        sum
    }
}

async fn client(addr: SocketAddr, number: usize, rhythm: Rhythm, shared: Arc<Shared>) -> Account {
    let mut account = Account::default();
    let mut kept: Option<TcpStream> = None;
    let pause = rhythm.pause + rhythm.pause * u32::try_from(number % 16).unwrap_or(0) / 64;
    for turn in 0_usize.. {
        if shared.must_stop.load(Ordering::Relaxed) || account.failures.len() >= 200 {
            break;
        }
        // Half of the clients begin with the other method.
        let is_post = (turn + number) % 2 == 1;
        let id = if is_post { format!("{number}-{turn}") } else { String::new() };
        let request = match is_post {
            true => format!(
                "POST / HTTP/1.1\r\nHost: test\r\nX-Id: {id}\r\nContent-Length: 4\r\n\r\nbody"
            ),
            false => "GET / HTTP/1.1\r\nHost: test\r\n\r\n".to_owned(),
        };
        let sent = Instant::now();
        let answered = one(addr, kept.take(), request.as_bytes());
        match tokio::time::timeout(2 * ANSWER, answered).await {
            Ok(Ok(stream)) => {
                kept = stream;
                account.succeeded(id, sent);
            }
            Ok(Err(why)) => account.failed(id, sent, why),
            Err(_) => account.failed(id, sent, "no answer".to_owned()),
        }
        shared.ended.fetch_add(1, Ordering::Relaxed);
        if !pause.is_zero() && turn % rhythm.burst == rhythm.burst - 1 {
            tokio::time::sleep(pause).await; // the rate of the load
        }
    }
    account
}
