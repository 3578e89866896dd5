//! One probe: from an address to "passed" or why not.
//!
//! A fresh connection each time, because that is what a new client would meet. Reading is
//! bounded by [`HEAD_LIMIT`] and [`BODY_LIMIT`], waiting by one timeout over all phases, so a
//! backend can cost us neither memory nor time beyond its configuration.

use std::convert::Infallible;
use std::error::Error;
use std::future::{Future, pending};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, USER_AGENT};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::config::ProbeKind;
use crate::connect::refuse_ourselves;
use crate::deadline::Deadline;
use crate::error::{Phase, ProbeError};

mod grpc;

/// Most bytes of an answer's head, and of hyper's read buffer.
pub const HEAD_LIMIT: usize = 64 * 1024;

/// Most bytes of a body that are looked at.
pub const BODY_LIMIT: usize = 64 * 1024;

/// Asks `target` once and takes at most `timeout` for it.
///
/// # Errors
///
/// Why it did not pass; [`ProbeError::is_void`] tells those that say nothing about the backend.
pub async fn probe(
    target: SocketAddr,
    kind: &ProbeKind,
    timeout: Duration,
) -> Result<(), ProbeError> {
    let mut deadline = Deadline::after(timeout);
    match kind {
        ProbeKind::Tcp => connect(target, &mut deadline).await.map(drop),
        ProbeKind::Grpc { service, host } => {
            let call = grpc::Call::new(target, service, host.as_deref())?;
            let stream = connect(target, &mut deadline).await?;
            call.exchange(stream, &mut deadline).await
        }
        ProbeKind::Http { path, host, status, body_contains } => {
            let request = request(target, path, host.as_deref())?;
            let stream = connect(target, &mut deadline).await?;
            let expected = Expected { status, text: body_contains.as_deref() };
            exchange(stream, request, &expected, &mut deadline).await
        }
    }
}

/// What an answer must show to pass.
struct Expected<'a> {
    status: &'a [(u16, u16)],
    text: Option<&'a str>,
}

async fn connect(target: SocketAddr, deadline: &mut Deadline) -> Result<TcpStream, ProbeError> {
    let connecting = TcpStream::connect(target);
    let stream =
        deadline.within(Phase::Connect, connecting).await?.map_err(ProbeError::connecting)?;
    refuse_ourselves(stream, target).map_err(ProbeError::Connect)
}

/// Asked by path, with the address as host unless one is configured.
fn request(
    target: SocketAddr,
    path: &str,
    host: Option<&str>,
) -> Result<Request<Empty<Bytes>>, ProbeError> {
    let host = host.map_or_else(|| target.to_string(), str::to_owned);
    Request::get(path)
        .header(HOST, host)
        .header(USER_AGENT, "tidegate-health")
        .header(CONNECTION, "close")
        .body(Empty::new())
        .map_err(|error| ProbeError::Request(error.into()))
}

async fn exchange(
    stream: TcpStream,
    request: Request<Empty<Bytes>>,
    expected: &Expected<'_>,
    deadline: &mut Deadline,
) -> Result<(), ProbeError> {
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_LIMIT)
        .max_header_size(HEAD_LIMIT)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(protocol)?;
    // The connection's own error reaches us through the request or the body as well.
    let mut connection = pin!(async {
        let _ = connection.await;
        pending::<Infallible>().await
    });

    let answer = beside(connection.as_mut(), sender.send_request(request));
    let answer = deadline.within(Phase::Head, answer).await?.map_err(protocol)?;
    check_status(&answer, expected.status)?;

    let mut search = Search::of(expected.text);
    let reading = beside(connection.as_mut(), search.read(answer.into_body()));
    match deadline.within(Phase::Body, reading).await {
        Ok(read) => read?,
        // It goes on for longer than we look, and shows what it has to.
        Err(_) if search.is_done => {}
        Err(expired) => return Err(expired),
    }
    if search.is_done { Ok(()) } else { Err(ProbeError::Body) }
}

/// Runs `work` while the connection that it needs is driven in the same task: there is nothing
/// to join, and dropping the probe closes the connection.
async fn beside<T>(
    connection: Pin<&mut impl Future<Output = Infallible>>,
    work: impl Future<Output = T>,
) -> T {
    tokio::select! {
        done = work => done,
        never = connection => match never {},
    }
}

fn check_status(answer: &Response<Incoming>, ranges: &[(u16, u16)]) -> Result<(), ProbeError> {
    let status = answer.status().as_u16();
    if ranges.iter().any(|&(low, high)| (low..=high).contains(&status)) {
        Ok(())
    } else {
        Err(ProbeError::Status(status))
    }
}

/// What was seen of a body.
struct Search<'a> {
    text: &'a [u8],
    seen: Vec<u8>,
    /// The text is there, or none is looked for.
    is_done: bool,
}

impl<'a> Search<'a> {
    fn of(text: Option<&'a str>) -> Search<'a> {
        let text = text.unwrap_or_default().as_bytes();
        Search { text, seen: Vec::new(), is_done: text.is_empty() }
    }

    /// Reads to the end of the body, or to [`BODY_LIMIT`] of one that is longer. Also behind the
    /// text, and if there is none: who cuts an answer is not well, whatever its head says.
    async fn read(&mut self, mut body: Incoming) -> Result<(), ProbeError> {
        while self.seen.len() < BODY_LIMIT {
            let Some(frame) = body.frame().await else { return Ok(()) };
            if let Some(data) = frame.map_err(broken)?.data_ref() {
                self.look_at(data);
            }
        }
        Ok(())
    }

    fn look_at(&mut self, data: &[u8]) {
        // The text may begin in what came before, but only in its last bytes.
        let unsearched = self.seen.len().saturating_sub(self.text.len().saturating_sub(1));
        let room = BODY_LIMIT - self.seen.len();
        self.seen.extend_from_slice(&data[..data.len().min(room)]);
        let text = self.text;
        self.is_done = self.is_done
            || self.seen[unsearched..].windows(text.len()).any(|window| window == text);
    }
}

/// Of a body whose head was good.
fn broken(error: hyper::Error) -> ProbeError {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    match cause.map(io::Error::kind) {
        Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData) => protocol(error),
        _ => ProbeError::Cut(error.into()),
    }
}

fn protocol(error: hyper::Error) -> ProbeError {
    ProbeError::Protocol(error.into())
}

#[cfg(test)]
mod tests;
