//! Requests that come when they come, whether or not those before them were answered, each over a
//! connection of its own: it waits in the queue of the listener while there is no door.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tests::drill::rounds;
use tests::rest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Of one request at a backend.
pub(crate) const SERVICE: Duration = Duration::from_millis(200);

/// Longest wait for an answer.
const LIMIT: Duration = Duration::from_secs(40);

/// One request that has ended.
#[derive(Debug, Clone)]
pub(crate) struct Went {
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
    /// The status, or what happened to the connection.
    pub(crate) outcome: Result<u16, String>,
}

/// How many come at which time: stretches of seconds, from one rate to another.
#[derive(Debug, Clone)]
pub(crate) struct Curve(pub(crate) Vec<(f64, f64, f64)>);

impl Curve {
    /// Calm, ten times as many, as long as it is loud, and calm again.
    pub(crate) fn match_night() -> Curve {
        let (calm, scale) = (rounds(12, 60) as f64, rounds(1, 6) as f64);
        let stretch = |seconds: f64, from: f64, to: f64| (seconds * scale, from * calm, to * calm);
        Curve(vec![
            stretch(4.0, 1.0, 1.0),
            stretch(rounds(8, 20) as f64, 1.0, 10.0),
            stretch(20.0, 10.0, 10.0),
            stretch(4.0, 10.0, 1.0),
            stretch(3.0, 1.0, 1.0),
        ])
    }

    pub(crate) fn rps(&self, at: Duration) -> Option<f64> {
        let mut left = at.as_secs_f64();
        for (seconds, from, to) in &self.0 {
            if left < *seconds {
                return Some(from + (to - from) * left / seconds);
            }
            left -= seconds;
        }
        None
    }

    /// When it is loudest: from, and how long.
    pub(crate) fn peak(&self) -> (Duration, Duration) {
        let from: f64 = self.0[..2].iter().map(|(seconds, ..)| seconds).sum();
        (Duration::from_secs_f64(from), Duration::from_secs_f64(self.0[2].0))
    }

    /// Instance-seconds that a pool needs which knew all of it before, beyond what is there anyway.
    pub(crate) fn need(&self, before: f64, per_instance: f64) -> f64 {
        let step = Duration::from_millis(100);
        let rates = (0u32..).map_while(|tick| self.rps(step * tick));
        let demand = rates.map(|rps| (rps * SERVICE.as_secs_f64() - before).max(0.0));
        demand.map(|demand| (demand / per_instance).ceil() * step.as_secs_f64()).sum()
    }
}

/// Lives through the whole curve, until the last answer.
pub(crate) async fn come(addr: SocketAddr, curve: &Curve) -> Vec<Went> {
    let (began, mut due, mut made) = (Instant::now(), 0.0, 0u64);
    let (all, mut requests, mut last) = (Arc::default(), JoinSet::new(), Duration::ZERO);
    while let Some(rps) = curve.rps(began.elapsed()) {
        let now = began.elapsed();
        due += rps * (now - last).as_secs_f64();
        last = now;
        while (made as f64) < due {
            requests.spawn(one(addr, Arc::clone(&all)));
            made += 1;
        }
        while requests.try_join_next().is_some() {}
        rest(Duration::from_millis(5)).await; // the rhythm of the crowd
    }
    while let Some(ended) = requests.join_next().await {
        ended.unwrap();
    }
    let all: Arc<Mutex<Vec<Went>>> = all;
    std::mem::take(&mut *all.lock().unwrap())
}

async fn one(addr: SocketAddr, all: Arc<Mutex<Vec<Went>>>) {
    let began = Instant::now();
    let outcome = match tokio::time::timeout(LIMIT, ask(addr)).await {
        Ok(outcome) => outcome.map_err(|error| error.to_string()),
        Err(_) => Err("no answer in time".to_owned()),
    };
    all.lock().unwrap().push(Went { began, ended: Instant::now(), outcome });
}

async fn ask(addr: SocketAddr) -> std::io::Result<u16> {
    let mut stream = TcpStream::connect(addr).await?;
    let path = format!("/slow?ms={}", SERVICE.as_millis());
    let request = format!("GET {path} HTTP/1.1\r\nHost: match\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let text = String::from_utf8_lossy(&answer);
    let status = text.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    status.ok_or_else(|| std::io::Error::other(format!("`{text}` is no answer")))
}
