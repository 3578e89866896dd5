//! Accepts connections of one admin address and speaks HTTP/1.1 on them.
//!
//! Limits: 64 connections at once, 16 KiB of head, 10 s for a head, 5 minutes for a connection. A
//! slow or silent client can hold a place for that long and nothing else.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use super::hand_over;
use super::orders::no_parameters;
use super::reload;
use super::resources;
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
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            tracing::warn!(
                %peer,
                limit = MAX_CONNECTIONS,
                "too many admin connections; one closed"
            );
            return;
        };
        let (shared, stopped) = (Arc::clone(&self.shared), self.stopped.clone());
        self.connections.spawn(connection(shared, stream, peer, stopped, place));
    }

    async fn end(mut self) {
        while self.connections.join_next().await.is_some() {}
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
    _place: OwnedSemaphorePermit,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (ask, mut asked) = watch::channel(false);
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let shared = Arc::clone(&shared);
        ask.send_replace(true);
        async move {
            let path = request.uri().path();
            if let (Side::Unix, reload::PATH | hand_over::UPGRADE) = (shared.side, path)
                && let Err(refusal) = no_parameters(request.uri().query().unwrap_or_default())
            {
                return Ok(resources::refused(&refusal));
            }
            Ok::<_, Infallible>(match shared.side {
                Side::Unix if path == reload::PATH => {
                    reload::answer(request.method(), peer, &*shared.source).await
                }
                Side::Unix if path == hand_over::UPGRADE => {
                    hand_over::upgrade(request.method(), peer, &*shared.source).await
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
