//! `POST /v1/upgrade` and `POST /v1/hand-over`, on the Unix socket only.
//!
//! The first has the door start its program anew, the second comes from that new process: its
//! connection becomes the line over which the sockets go (`crate::hand_over`).

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;

use super::Source;
use super::answer::{Answer, json, only_post, problem};
use super::resources;
use super::respond::Peer;
use crate::hand_over::{Line, PROTOCOL};

/// Where an upgrade is asked for.
pub(super) const UPGRADE: &str = "/v1/upgrade";

/// An upgrade that was carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpgradeView {
    /// The process that serves now.
    pub pid: u32,
    /// Of its program.
    pub version: String,
    /// The process that served before and lets its last requests end.
    pub previous_pid: u32,
}

/// Why the same process goes on serving.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpgradeError {
    /// The new process did not get as far.
    #[error("{0}")]
    Failed(String),
    /// The door is starting or stopping, or hands over already.
    #[error("the door takes no orders now; it is starting, stopping or handing over")]
    Busy,
}

/// An upgrade under way.
pub type Upgrading = Pin<Box<dyn Future<Output = Result<UpgradeView, UpgradeError>> + Send>>;

/// Upgrades, or says why not: 409.
pub(super) async fn upgrade(request: Request<Incoming>, peer: Peer, source: &dyn Source) -> Answer {
    if request.method() != Method::POST {
        return only_post();
    }
    let reason = match resources::why(request).await {
        Ok(reason) => reason,
        Err(refused) => return refused,
    };
    tracing::info!(actor = %peer, reason, "upgrade_asked");
    match source.upgrade().await {
        Ok(view) => json(StatusCode::OK, &view),
        Err(error) => problem(StatusCode::CONFLICT, &error.to_string()),
    }
}

/// Makes the connection a line to a successor.
pub(super) fn begin(
    mut request: Request<Incoming>,
    peer: Peer,
    source: &Arc<dyn Source>,
) -> Answer {
    if request.method() != Method::POST {
        return only_post();
    }
    if !may_succeed(peer) {
        let why = "only a process of the same user, or root, may take over";
        return problem(StatusCode::FORBIDDEN, why);
    }
    let asked = request.headers().get(header::UPGRADE);
    if asked.is_none_or(|asked| asked.as_bytes() != PROTOCOL.as_bytes()) {
        let why = format!("this door hands over by `{PROTOCOL}`; restart it for another program");
        return problem(StatusCode::UPGRADE_REQUIRED, &why);
    }
    let source = Arc::clone(source);
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        // Otherwise it has gone again.
        let Ok(upgraded) = upgraded.await else { return };
        let Ok(parts) = upgraded.downcast::<TokioIo<UnixStream>>() else { return };
        source.hand_over(Line::new(parts.io.into_inner(), parts.read_buf));
    });
    switching()
}

fn switching() -> Answer {
    let mut answer = Response::new(Full::new(Bytes::new()));
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    answer.headers_mut().insert(header::UPGRADE, HeaderValue::from_static(PROTOCOL));
    answer
}

/// The descriptors and keys that it gets are the door itself.
fn may_succeed(peer: Peer) -> bool {
    match peer {
        Peer::Unix { uid, .. } => uid == 0 || uid == rustix::process::geteuid().as_raw(),
        Peer::Tcp(_) => false,
    }
}
