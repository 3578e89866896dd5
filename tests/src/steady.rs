//! A steady stream of requests over kept connections, while something happens to the backends.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::client::TestClient;
use crate::{CEILING, within};

/// Requests under way until [`Steady::stop`].
#[derive(Debug)]
pub struct Steady {
    stop: watch::Sender<bool>,
    clients: JoinSet<Went>,
}

/// How the requests went.
#[derive(Debug, Default)]
pub struct Went {
    /// Answers by status.
    pub statuses: BTreeMap<u16, usize>,
    /// Requests that no whole answer came to, and why.
    pub faults: Vec<String>,
    /// When each answer of this backend began and how long it took, by the text of its body.
    pub times: Vec<(Instant, Duration, String)>,
}

impl Steady {
    /// `GET /` over so many connections, together about so many requests a second, as far as the
    /// machine can.
    pub fn start(addr: SocketAddr, connections: u32, rps: u32) -> Steady {
        let (stop, stopped) = watch::channel(false);
        let pause = Duration::from_secs(1) * connections / rps;
        let mut clients = JoinSet::new();
        for _ in 0..connections {
            clients.spawn(client(addr, pause, stopped.clone()));
        }
        Steady { stop, clients }
    }

    /// Lets the last requests end.
    pub async fn stop(mut self) -> Went {
        self.stop.send_replace(true);
        let mut all = Went::default();
        while let Some(went) = within(CEILING * 8, self.clients.join_next()).await {
            let went = went.expect("a client of the load fails with the test");
            for (status, count) in went.statuses {
                *all.statuses.entry(status).or_default() += count;
            }
            all.faults.extend(went.faults);
            all.times.extend(went.times);
        }
        all
    }
}

impl Went {
    /// Answers with this status.
    pub fn count(&self, status: u16) -> usize {
        self.statuses.get(&status).copied().unwrap_or_default()
    }

    /// All requests.
    pub fn all(&self) -> usize {
        self.statuses.values().sum::<usize>() + self.faults.len()
    }

    /// Fails the test if anything but 200 came.
    #[track_caller]
    pub fn was_served(&self) {
        assert!(self.faults.is_empty(), "{:?} and {:?}", self.faults, self.statuses);
        assert_eq!(self.count(200), self.all(), "{:?}", self.statuses);
    }
}

async fn client(addr: SocketAddr, pause: Duration, stopped: watch::Receiver<bool>) -> Went {
    let mut went = Went::default();
    let mut pace = interval(pause.max(Duration::from_micros(1)));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut connection = None;
    while !*stopped.borrow() {
        pace.tick().await;
        let mut client = match connection.take() {
            Some(client) => client,
            None => TestClient::connect(addr).await,
        };
        let begun = Instant::now();
        let sent = client.try_send("GET / HTTP/1.1\r\nHost: test\r\n\r\n").await;
        let answer = tokio::time::timeout(CEILING * 7, client.try_read_response()).await;
        match (sent, answer) {
            (Ok(()), Ok(Ok(response))) => {
                *went.statuses.entry(response.status).or_default() += 1;
                if response.status == 200 {
                    went.times.push((begun, begun.elapsed(), response.text()));
                }
                let closes = response.field("connection").is_some_and(|value| value == "close");
                connection = (!closes).then_some(client);
            }
            (_, answer) => went.faults.push(format!("{answer:?}")),
        }
    }
    went
}
