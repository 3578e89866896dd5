//! Accepts connections of one admin address and speaks HTTP/1.1 on them.
//!
//! Limits: 64 connections at once, 16 KiB of head, 10 s for a head, 5 minutes for a connection. Where
//! all places are taken, the oldest client that asks for nothing at the moment gives up its own, so
//! that silent ones keep nobody out.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, watch};
use tokio::task::{AbortHandle, JoinSet};

use super::hand_over;
use super::reload;
use super::respond::{self, Peer, Side};
use super::{GRACE, MAX_CONNECTIONS, Source};

const MAX_HEAD_BYTES: usize = 16 * 1024;
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(300);

/// After an accept that failed, for want of descriptors above all.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// One address, and all that its connections share.
pub(super) struct Desk {
    shared: Arc<Shared>,
    places: Arc<Semaphore>,
    stopped: watch::Receiver<bool>,
    connections: JoinSet<()>,
    /// The oldest first; with those that have ended since.
    held: VecDeque<Held>,
}

/// A connection that has a place.
struct Held {
    task: AbortHandle,
    is_asking: Arc<AtomicBool>,
}

pub(super) struct Shared {
    pub(super) side: Side,
    /// Our own, where requests come over TCP.
    pub(super) address: Option<SocketAddr>,
    pub(super) source: Arc<dyn Source>,
    pub(super) stopped: watch::Receiver<bool>,
}

impl Desk {
    pub(super) fn new(
        side: Side,
        address: Option<SocketAddr>,
        source: Arc<dyn Source>,
        stopped: watch::Receiver<bool>,
    ) -> Desk {
        Desk {
            shared: Arc::new(Shared { side, address, source, stopped: stopped.clone() }),
            places: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            stopped,
            connections: JoinSet::new(),
            held: VecDeque::new(),
        }
    }

    pub(super) async fn tcp(mut self, listener: Arc<TcpListener>) {
        while let Some(accepted) = self.next(listener.accept()).await {
            if let Some((stream, addr)) = accepted {
                self.serve(stream, Peer::Tcp(addr));
            }
        }
        self.end().await;
    }

    pub(super) async fn unix(mut self, listener: Arc<UnixListener>) {
        while let Some(accepted) = self.next(listener.accept()).await {
            if let Some((stream, _)) = accepted {
                // The kernel fills it in at connect; without it there is nobody to name.
                let peer = match stream.peer_cred() {
                    Ok(cred) => Peer::Unix { uid: cred.uid(), pid: cred.pid() },
                    Err(error) => {
                        tracing::warn!(%error, "admin connection without credentials closed");
                        continue;
                    }
                };
                self.serve(stream, peer);
            }
        }
        self.end().await;
    }

    /// What was accepted, `Some(None)` after a failure, `None` when it is time to stop. Cancelling
    /// an accept loses no connection: it stays in the queue.
    async fn next<T>(&mut self, accept: impl Future<Output = io::Result<T>>) -> Option<Option<T>> {
        let accepted = tokio::select! {
            biased;
            () = told(&mut self.stopped) => return None,
            accepted = accept => accepted,
        };
        // Reaps those that have ended, so that the set does not grow.
        while self.connections.try_join_next().is_some() {}
        match accepted {
            Ok(accepted) => Some(Some(accepted)),
            Err(error) => {
                tracing::warn!(%error, "admin connection not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                Some(None)
            }
        }
    }

    fn serve<S>(&mut self, stream: S, peer: Peer)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.held.retain(|held| !held.task.is_finished());
        if self.held.len() >= MAX_CONNECTIONS && !self.close_silent() {
            tracing::warn!(
                %peer,
                limit = MAX_CONNECTIONS,
                "too many admin connections; one closed"
            );
            return;
        }
        let is_asking = Arc::new(AtomicBool::new(false));
        let (shared, stopped) = (Arc::clone(&self.shared), self.stopped.clone());
        let carried = connection(shared, stream, peer, stopped, Arc::clone(&is_asking));
        let places = Arc::clone(&self.places);
        let task = self.connections.spawn(async move {
            // At once, but for the moment until one that was closed has ended.
            let Ok(_place) = places.acquire_owned().await else { return };
            carried.await;
        });
        self.held.push_back(Held { task, is_asking });
    }

    /// Closes the oldest connection on which nothing is asked; `false` if there is none.
    fn close_silent(&mut self) -> bool {
        let is_silent = |held: &Held| !held.is_asking.load(Ordering::Relaxed);
        let silent = self.held.iter().position(is_silent).and_then(|at| self.held.remove(at));
        silent.inspect(|held| held.task.abort()).is_some()
    }

    async fn end(mut self) {
        while self.connections.join_next().await.is_some() {}
    }
}

/// Something is asked on a connection for as long as this lives.
struct Asking(Arc<AtomicBool>);

impl Asking {
    fn on(is_asking: &Arc<AtomicBool>) -> Asking {
        is_asking.store(true, Ordering::Relaxed);
        Asking(Arc::clone(is_asking))
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Returns when it is time to stop, also if nobody is left to say so.
async fn told(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await;
}

async fn connection<S>(
    shared: Arc<Shared>,
    stream: S,
    peer: Peer,
    mut stopped: watch::Receiver<bool>,
    is_asking: Arc<AtomicBool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (ask, mut asked) = watch::channel(false);
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let shared = Arc::clone(&shared);
        ask.send_replace(true);
        let is_asking = Asking::on(&is_asking);
        async move {
            let _is_asking = is_asking;
            let path = request.uri().path();
            Ok::<_, Infallible>(match shared.side {
                Side::Unix if path == reload::PATH => {
                    reload::answer(request, peer, &*shared.source).await
                }
                Side::Unix if path == hand_over::UPGRADE => {
                    hand_over::upgrade(request, peer, &*shared.source).await
                }
                Side::Unix if path == crate::hand_over::PATH => {
                    hand_over::begin(request, peer, &shared.source)
                }
                _ => respond::respond(&shared, peer, request).await,
            })
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_header_size(MAX_HEAD_BYTES)
        .max_headers(64)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // What goes wrong on it is the client's affair: there is nobody left to tell.
        _ = connection.as_mut() => return,
        () = told(&mut stopped) => {}
        () = tokio::time::sleep(CONNECTION_TIMEOUT) => {}
    }
    // Whoever was accepted just now may ask once: a successor answers the next.
    let first = async { drop(asked.wait_for(|asked| *asked).await) };
    tokio::select! {
        _ = connection.as_mut() => return,
        () = first => {}
        () = tokio::time::sleep(GRACE) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(GRACE, connection).await;
}
