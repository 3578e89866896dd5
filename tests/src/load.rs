//! Load that goes on beside a test until it is told to stop, and counts what fails.
//!
//! Every request that is not answered whole with 200 is a failure, with its reason; a connection
//! that the door announced to close (`Connection: close`) is none. The backends here keep no record:
//! they are for numbers, [`crate::TestBackend`] is for looking.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Longest wait for one answer, on a machine that compiles something else meanwhile.
pub(crate) const ANSWER: Duration = Duration::from_secs(20);

/// How a client of the load behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// One request after another over one connection, as long as the door lets it.
    Kept,
    /// A new connection for each request.
    Fresh,
}

/// Clients at work.
#[derive(Debug)]
pub struct Load {
    clients: JoinSet<Vec<String>>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    must_stop: AtomicBool,
    answered: AtomicUsize,
}

impl Load {
    /// So many clients, each as fast as it is answered, or with a pause after each answer.
    pub fn start(addr: SocketAddr, count: usize, manner: Manner, pause: Duration) -> Load {
        Load::start_at(addr, "/", count, manner, pause)
    }

    /// The same for a path other than `/`.
    pub fn start_at(
        addr: SocketAddr,
        path: &str,
        count: usize,
        manner: Manner,
        pause: Duration,
    ) -> Load {
        let request: Arc<str> = format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").into();
        let shared = Arc::<Shared>::default();
        let mut clients = JoinSet::new();
        for _ in 0..count {
            clients.spawn(client(addr, Arc::clone(&request), manner, pause, shared.clone()));
        }
        Load { clients, shared }
    }

    /// Whole answers so far.
    pub fn answered(&self) -> usize {
        self.shared.answered.load(Ordering::Relaxed)
    }

    /// Waits for so many further answers.
    pub async fn goes_on(&self, more: usize) {
        let wanted = self.answered() + more;
        let deadline = tokio::time::Instant::now() + ANSWER;
        while self.answered() < wanted {
            assert!(tokio::time::Instant::now() < deadline, "the load stands still");
            tokio::time::sleep(Duration::from_millis(1)).await; // a poll with a ceiling
        }
    }

    /// Ends the load after the requests under way: how many were answered, and each failure.
    pub async fn stop(mut self) -> (usize, Vec<String>) {
        self.shared.must_stop.store(true, Ordering::Relaxed);
        let mut failures = Vec::new();
        while let Some(failed) = self.clients.join_next().await {
            failures.extend(failed.expect("no client panics"));
        }
        (self.answered(), failures)
    }

    /// Ends the load. Fails the test if a request failed or fewer were answered; how many were.
    #[track_caller]
    pub fn none_failed(self, at_least: usize) -> impl Future<Output = usize> {
        let caller = Location::caller();
        async move {
            let (answered, failures) = self.stop().await;
            let shown = &failures[..failures.len().min(10)];
            let count = failures.len();
            assert!(count == 0, "{count} of {answered} failed, {caller}: {shown:#?}");
            assert!(answered >= at_least, "only {answered}, {caller}");
            answered
        }
    }
}

async fn client(
    addr: SocketAddr,
    request: Arc<str>,
    manner: Manner,
    pause: Duration,
    shared: Arc<Shared>,
) -> Vec<String> {
    let mut failures = Vec::new();
    let mut kept = None;
    while !shared.must_stop.load(Ordering::Relaxed) {
        match tokio::time::timeout(ANSWER, one(addr, kept.take(), request.as_bytes())).await {
            Ok(Ok(stream)) => {
                shared.answered.fetch_add(1, Ordering::Relaxed);
                kept = stream.filter(|_| manner == Manner::Kept);
            }
            Ok(Err(failure)) => failures.push(failure),
            Err(_) => failures.push("no answer in time".to_owned()),
        }
        if failures.len() >= 50 {
            break;
        }
        if !pause.is_zero() {
            tokio::time::sleep(pause).await; // the rate of the load
        }
    }
    failures
}

/// One request; the connection if it may be used again.
pub(crate) async fn one(
    addr: SocketAddr,
    kept: Option<TcpStream>,
    request: &[u8],
) -> Result<Option<TcpStream>, String> {
    let word = if kept.is_some() { "kept" } else { "new" };
    let say = |what: &str| {
        let what = what.to_owned();
        move |error: io::Error| format!("{what} ({word} connection): {error}")
    };
    let mut stream = match kept {
        Some(stream) => stream,
        None => TcpStream::connect(addr).await.map_err(say("connect"))?,
    };
    stream.write_all(request).await.map_err(say("send"))?;
    let mut answer = Vec::with_capacity(512);
    loop {
        let count = stream.read_buf(&mut answer).await.map_err(say("receive"))?;
        if count == 0 {
            let error = io::Error::from(ErrorKind::UnexpectedEof);
            return Err(say(&format!("receive after {} bytes", answer.len()))(error));
        }
        let text = String::from_utf8_lossy(&answer).to_ascii_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
        let length: usize = length.and_then(|digits| digits.parse().ok()).unwrap_or(0);
        if body.len() < length {
            continue;
        }
        if !head.starts_with("http/1.1 200") {
            return Err(format!(
                "({word} connection) {}: {body}",
                head.lines().next().unwrap_or("")
            ));
        }
        return Ok((!head.contains("connection: close")).then_some(stream));
    }
}

/// A backend that answers everything with 200 and forgets it, on a runtime and thread of its own.
/// It ends with the test.
pub fn plain_backend() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.set_nonblocking(true).expect("an option of every socket");
    let addr = listener.local_addr().expect("a bound socket has an address");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let listener = TcpListener::from_std(listener).expect("a listening socket");
            loop {
                if let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(answer(stream));
                }
            }
        });
    });
    addr
}

async fn answer(mut stream: TcpStream) -> io::Result<()> {
    let mut seen = Vec::new();
    while stream.read_buf(&mut seen).await? > 0 {
        while let Some(end) = seen.windows(4).position(|four| four == b"\r\n\r\n") {
            seen.drain(..end + 4);
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await?;
        }
    }
    Ok(())
}
