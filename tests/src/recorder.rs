//! A backend that keeps every byte and judges none of them.
//!
//! It answers 200 whenever a strict reader has found a whole request, so that the door goes on;
//! what no strict reader takes is kept all the same, and its connection is held open in silence.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::wire::{Body, Fault, Framing, Wire};
use crate::within;

/// Every byte that came, by connection.
#[derive(Debug)]
pub struct Recorder {
    addr: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    streams: Mutex<Vec<Vec<u8>>>,
    /// Moves with every byte.
    version: watch::Sender<u64>,
}

/// How much had come at a moment.
#[derive(Debug, Clone)]
pub struct Mark(Vec<usize>);

impl Recorder {
    /// Listens on a port of its own, for as long as the test lasts.
    pub async fn start() -> Recorder {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port of our own");
        let addr = listener.local_addr().expect("a bound socket has an address");
        let streams = Mutex::default();
        let shared = Arc::new(Shared { streams, version: watch::Sender::new(0) });
        let ours = shared.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = ours.update(|streams| {
                    streams.push(Vec::new());
                    streams.len() - 1
                });
                tokio::spawn(serve(Tap { stream, number, shared: ours.clone() }));
            }
        });
        Recorder { addr, shared }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// From here on.
    pub fn mark(&self) -> Mark {
        Mark(self.shared.read(|streams| streams.iter().map(Vec::len).collect()))
    }

    /// What has come since, connection after connection.
    pub fn since(&self, mark: &Mark) -> Vec<u8> {
        self.shared.read(|streams| {
            let from = |at: usize| mark.0.get(at).copied().unwrap_or(0);
            streams.iter().enumerate().flat_map(|(at, bytes)| &bytes[from(at)..]).copied().collect()
        })
    }

    /// The same, apart by connection, without those on which nothing has come.
    pub fn streams_since(&self, mark: &Mark) -> Vec<Vec<u8>> {
        let from = |at: usize| mark.0.get(at).copied().unwrap_or(0);
        let mut new = self.shared.read(|streams| {
            let rest = streams.iter().enumerate().map(|(at, bytes)| bytes[from(at)..].to_vec());
            rest.collect::<Vec<_>>()
        });
        new.retain(|bytes| !bytes.is_empty());
        new
    }

    /// Waits until at least so many bytes have come since.
    #[track_caller]
    pub fn receives(&self, mark: &Mark, count: usize, limit: Duration) -> impl Future<Output = ()> {
        within(limit, async move {
            let mut versions = self.shared.version.subscribe();
            while self.since(mark).len() < count {
                versions.changed().await.expect("the sender lives in `self`");
            }
        })
    }

    /// Every byte of every connection.
    pub fn streams(&self) -> Vec<Vec<u8>> {
        self.shared.read(Clone::clone)
    }
}

impl Shared {
    fn read<T>(&self, look: impl FnOnce(&Vec<Vec<u8>>) -> T) -> T {
        look(&self.streams.lock().expect("nobody panics with the bytes in hand"))
    }

    fn update<T>(&self, change: impl FnOnce(&mut Vec<Vec<u8>>) -> T) -> T {
        let changed =
            change(&mut self.streams.lock().expect("nobody panics with the bytes in hand"));
        self.version.send_modify(|version| *version += 1);
        changed
    }
}

async fn serve(tap: Tap) {
    let mut wire = Wire::new(tap);
    while answer(&mut wire).await.is_ok() {}
    // Whatever follows is kept too.
    let _ = wire.rest().await;
}

async fn answer(wire: &mut Wire<Tap>) -> Result<(), Fault> {
    let head = wire.head().await?.ok_or(Fault::Closed)?;
    let framing = head.framing()?.unwrap_or(Framing::Length(0));
    wire.body(framing, &mut Body::default()).await?;
    let body = if head.start.starts_with("HEAD ") { "" } else { "ok" };
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{body}");
    wire.stream.stream.write_all(answer.as_bytes()).await.map_err(|_| Fault::Reset)
}

/// The stream, with every byte that is read from it written down.
struct Tap {
    stream: TcpStream,
    number: usize,
    shared: Arc<Shared>,
}

impl AsyncRead for Tap {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        let read = &buffer.filled()[before..];
        if !read.is_empty() {
            self.shared.update(|streams| streams[self.number].extend_from_slice(read));
        }
        polled
    }
}
