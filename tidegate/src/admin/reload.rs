//! `POST /v1/reload`, on the Unix socket only: the file is read again and taken up whole, or not at
//! all. The answer comes when every worker works by it.

use std::pin::Pin;

use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use serde::{Deserialize, Serialize};

use super::Source;
use super::answer::{Answer, json, only_post, problem};
use super::resources;
use super::respond::Peer;

/// What a reload came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadView {
    /// Grows by one with every configuration, from 1 at the start.
    pub generation: u64,
    /// Whether every worker has said that it works by it. If not, one of them is stuck.
    pub is_acknowledged: bool,
    /// What is different, line by line; empty if nothing is.
    pub changes: String,
    /// What was changed in the file and holds only after a restart, one sentence each.
    pub needs_restart: Vec<String>,
    /// What the check warns of, as text.
    pub warnings: String,
}

/// Why everything is as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReloadError {
    /// All problems of the configuration, as text.
    #[error("{0}")]
    Invalid(String),
    /// It is valid, but something could not be opened or started.
    #[error("{0}")]
    Failed(String),
    /// The door is starting or stopping.
    #[error("the door takes no orders now; it is starting or stopping")]
    Busy,
}

/// A reload under way.
pub type Reloading = Pin<Box<dyn Future<Output = Result<ReloadView, ReloadError>> + Send>>;

/// Where it is asked for.
pub(super) const PATH: &str = "/v1/reload";

/// Reloads, or says why not: 422 for a configuration with problems, 409 for anything else.
pub(super) async fn answer(request: Request<Incoming>, peer: Peer, source: &dyn Source) -> Answer {
    if request.method() != Method::POST {
        return only_post();
    }
    let reason = match resources::why(request).await {
        Ok(reason) => reason,
        Err(refused) => return refused,
    };
    tracing::info!(actor = %peer, reason, "reload_asked");
    match source.reload().await {
        Ok(view) => json(StatusCode::OK, &view),
        Err(error @ ReloadError::Invalid(_)) => {
            problem(StatusCode::UNPROCESSABLE_ENTITY, &error.to_string())
        }
        Err(error) => problem(StatusCode::CONFLICT, &error.to_string()),
    }
}
