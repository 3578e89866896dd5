//! The gRPC check: `grpc.health.v1.Health/Check` over HTTP/2 with prior knowledge
//! (<https://github.com/grpc/grpc/blob/master/doc/health-checking.md>).
//!
//! The message is one text out and one number back, so it is written and read here
//! (`message.rs`) rather than by a generated library.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http2;
use hyper::header::{CONTENT_TYPE, TE, USER_AGENT};
use hyper::{HeaderMap, Request, Response, Version};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::deadline::Deadline;
use crate::error::{Phase, ProbeError};

mod message;

/// Most bytes of the answer's fields, and of its trailers.
const HEAD_LIMIT: u32 = 16 * 1024;

/// The name of the call.
const CHECK: &str = "/grpc.health.v1.Health/Check";

/// The call as it will be sent.
pub(super) struct Call(Request<Full<Bytes>>);

impl Call {
    /// About `service`, with the address as authority unless one is configured.
    pub(super) fn new(
        target: SocketAddr,
        service: &str,
        host: Option<&str>,
    ) -> Result<Call, ProbeError> {
        let authority = host.map_or_else(|| target.to_string(), str::to_owned);
        Request::post(format!("http://{authority}{CHECK}"))
            .version(Version::HTTP_2)
            .header(CONTENT_TYPE, "application/grpc")
            .header(TE, "trailers")
            .header(USER_AGENT, "tidegate-health")
            .body(Full::new(message::request(service).into()))
            .map(Call)
            .map_err(|error| ProbeError::Request(error.into()))
    }

    /// Sends it over `stream` and judges the answer.
    pub(super) async fn exchange(
        self,
        stream: TcpStream,
        deadline: &mut Deadline,
    ) -> Result<(), ProbeError> {
        let tasks = Tasks::default();
        let answer = async {
            let (mut sender, connection) = http2::Builder::new(tasks.handle())
                .max_header_list_size(HEAD_LIMIT)
                .handshake(TokioIo::new(stream))
                .await?;
            // Its own error reaches us through the request or the body as well.
            hyper::rt::Executor::execute(&tasks.handle(), async { drop(connection.await) });
            sender.send_request(self.0).await
        };
        let answer = deadline.within(Phase::Head, answer).await?.map_err(protocol)?;
        deadline.within(Phase::Body, judge(answer)).await?
    }
}

/// Passes when the call was done and the service serves.
async fn judge(answer: Response<Incoming>) -> Result<(), ProbeError> {
    let status = answer.status().as_u16();
    if status != 200 {
        return Err(ProbeError::Status(status));
    }
    let (head, mut body) = answer.into_parts();
    // An answer without a message may carry its trailers in the head.
    let mut told = grpc_status(&head.headers);
    let mut message = Vec::new();
    while let Some(frame) = body.frame().await {
        match frame.map_err(protocol)?.into_data() {
            Ok(data) => message.extend_from_slice(&data),
            Err(frame) => {
                told = frame.trailers_ref().and_then(grpc_status).or(told);
            }
        }
        if message.len() > message::LONGEST {
            return Err(ProbeError::Grpc("the message is too long".into()));
        }
    }
    match told.as_deref() {
        Some("0") => {}
        Some(other) => return Err(ProbeError::GrpcStatus(other.to_owned())),
        None => return Err(ProbeError::Grpc("`grpc-status` is missing".into())),
    }
    match message::serving_status(&message) {
        Some(message::SERVING) => Ok(()),
        Some(number) => Err(ProbeError::NotServing(message::word(number))),
        None => Err(ProbeError::Grpc("the message is no `HealthCheckResponse`".into())),
    }
}

/// Shortened: it goes into a log line.
fn grpc_status(fields: &HeaderMap) -> Option<String> {
    let value = fields.get("grpc-status")?;
    Some(String::from_utf8_lossy(&value.as_bytes()[..value.len().min(16)]).into_owned())
}

fn protocol(error: hyper::Error) -> ProbeError {
    ProbeError::Grpc(error.into())
}

/// What hyper starts beside a connection of HTTP/2. It ends with this value: the tasks hold
/// handles themselves, so that the set would otherwise outlive the probe.
#[derive(Default)]
struct Tasks(Arc<Mutex<JoinSet<()>>>);

/// For hyper.
#[derive(Clone)]
struct Handle(Arc<Mutex<JoinSet<()>>>);

impl Tasks {
    fn handle(&self) -> Handle {
        Handle(Arc::clone(&self.0))
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }
}

impl<F> hyper::rt::Executor<F> for Handle
where
    F: Future + Send + 'static,
{
    fn execute(&self, work: F) {
        let work = async { drop(work.await) };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).spawn(work);
    }
}

#[cfg(test)]
mod tests;
