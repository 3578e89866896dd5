//! One client with one keep-alive connection, over TCP or the admin socket.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response, header};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::text;
use crate::admin::view::PoolView;

/// For one question, from connect to the last byte.
const LIMIT: Duration = Duration::from_secs(10);

/// An answer that is larger is none of ours.
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// Whom a client talks to.
#[derive(Debug, Clone)]
pub(super) enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

#[derive(Debug)]
pub(super) struct Client {
    place: Place,
    sender: Option<SendRequest<Full<Bytes>>>,
}

#[derive(Deserialize)]
struct Pools {
    pools: Vec<PoolView>,
}

impl Client {
    pub(super) fn new(place: Place) -> Client {
        Client { place, sender: None }
    }

    /// The whole answer, or a few words why there is none.
    pub(super) async fn ask(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Bytes>, String> {
        let answer = match tokio::time::timeout(LIMIT, self.exchange(request)).await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err(text::no_answer(LIMIT)),
        };
        if answer.is_err() {
            self.sender = None;
        }
        answer
    }

    /// All pools, asked of an admin listener.
    pub(super) async fn pools(&mut self) -> Result<Vec<PoolView>, String> {
        let answer = self.page("/v1/pools").await?;
        let pools: Pools = serde_json::from_slice(&answer).map_err(|error| error.to_string())?;
        Ok(pools.pools)
    }

    /// What a scraper gets, asked of an admin listener.
    pub(super) async fn metrics(&mut self) -> Result<String, String> {
        let answer = self.page("/metrics").await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    async fn page(&mut self, path: &str) -> Result<Bytes, String> {
        let request = Request::get(path).header(header::HOST, "localhost");
        let request = request.body(Full::default()).map_err(|error| error.to_string())?;
        Ok(self.ask(request).await?.into_body())
    }

    async fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Bytes>, AnyError> {
        // A connection that was closed while idle has carried nothing of this request yet.
        let is_open = match &mut self.sender {
            Some(sender) => sender.ready().await.is_ok(),
            None => false,
        };
        let sender = match self.sender.take() {
            Some(sender) if is_open => self.sender.insert(sender),
            _ => {
                let sender = self.connect().await?;
                self.sender.insert(sender)
            }
        };
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await?.to_bytes();
        Ok(Response::from_parts(head, body))
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, AnyError> {
        match &self.place {
            Place::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Ok(open(stream).await?)
            }
            Place::Unix(path) => Ok(open(UnixStream::connect(path).await?).await?),
        }
    }
}

async fn open<S>(stream: S) -> hyper::Result<SendRequest<Full<Bytes>>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the sender.
    tokio::spawn(connection);
    Ok(sender)
}
