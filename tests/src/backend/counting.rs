//! Backends that count how many requests they have at the same time.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use crate::wire::Wire;

/// What backends that share it have, together: by the first segment of the path, and by `""` in
/// all.
#[derive(Debug, Clone, Default)]
pub struct Meter(Arc<Mutex<BTreeMap<String, Counts>>>);

/// Requests of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Now.
    pub now: usize,
    /// At once, so far.
    pub most: usize,
    /// Answered.
    pub served: usize,
}

impl Meter {
    /// Of paths that begin with `/kind/`, or of all.
    pub fn of(&self, kind: &str) -> Counts {
        self.counts().get(kind).copied().unwrap_or_default()
    }

    /// A backend that takes a moment for each request and then answers `in`. It ends with the
    /// runtime of the test; checks of its health are answered and not counted.
    pub async fn backend(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("a bound socket has an address");
        let meter = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(meter.clone().answer(stream));
            }
        });
        addr
    }

    async fn answer(self, stream: TcpStream) {
        let mut wire = Wire::new(stream);
        while let Ok(Some(head)) = wire.head().await {
            let path = head.start.split(' ').nth(1).unwrap_or_default().to_owned();
            if path != "/healthz" {
                let kinds = [String::new(), path.split('/').nth(1).unwrap_or_default().to_owned()];
                let kinds = if kinds[1].is_empty() { &kinds[..1] } else { &kinds[..] };
                self.enter(kinds);
                for _ in 0..3 {
                    tokio::task::yield_now().await;
                }
                self.leave(kinds);
            }
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nin";
            if wire.stream.write_all(answer).await.is_err() {
                return;
            }
        }
    }

    fn enter(&self, kinds: &[String]) {
        let mut all = self.counts();
        for kind in kinds {
            let counts = all.entry(kind.clone()).or_default();
            counts.now += 1;
            counts.most = counts.most.max(counts.now);
        }
    }

    fn leave(&self, kinds: &[String]) {
        let mut all = self.counts();
        for kind in kinds {
            let counts = all.entry(kind.clone()).or_default();
            counts.now -= 1;
            counts.served += 1;
        }
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<String, Counts>> {
        self.0.lock().expect("no test panics while it counts")
    }
}
