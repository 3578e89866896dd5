//! Pools and backends by their paths: read by everybody who may read, changed over the Unix
//! socket only, because only there the kernel says who asks.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body;
use hyper::{Method, Request, StatusCode};

use super::answer::{Answer, PLAIN, closing, json, not_allowed, problem, text};
use super::orders::{self, Done, Refusal, Resource};
use super::respond::{Peer, Side};
use super::serve::Shared;

/// More is no order of ours.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// For a whole body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) async fn answer<B: Body>(
    shared: &Shared,
    peer: Peer,
    resource: Resource,
    request: Request<B>,
) -> Answer
where
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (head, body) = request.into_parts();
    if !resource.allows(&head.method) {
        return not_allowed(resource.allowed());
    }
    if head.method == Method::GET || head.method == Method::HEAD {
        return read(shared, &resource).unwrap_or_else(|refusal| refused(&refusal));
    }
    if shared.side != Side::Unix {
        tracing::info!(%peer, path = ?head.uri.path(), "admin request refused: not over the socket");
        return closing(problem(
            StatusCode::FORBIDDEN,
            "changes are taken over the Unix socket (`[admin] unix`) only",
        ));
    }
    let body = match received(body).await {
        Ok(body) => body,
        Err(answer) => return answer,
    };
    let order = resource.order(&head.method, head.uri.query().unwrap_or_default(), &body);
    match order.and_then(|order| shared.source.order(order, peer.to_string())) {
        Ok(Done::Backend(status, backend)) => json(status, &*backend),
        Ok(Done::Gone) => text(StatusCode::NO_CONTENT, PLAIN, String::new()),
        Ok(Done::Maintenance(switch)) => json(StatusCode::OK, &switch),
        Ok(Done::Resized(order)) => json(StatusCode::OK, &order),
        Err(refusal) => {
            let why = &refusal.detail;
            tracing::info!(%peer, path = ?head.uri.path(), why, "admin order refused");
            refused(&refusal)
        }
    }
}

/// The reason of an order to the door itself, which says nothing else; or how it is refused.
pub(super) async fn why<B: Body>(request: Request<B>) -> Result<Option<String>, Answer>
where
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (head, body) = request.into_parts();
    let body = received(body).await?;
    let why = orders::why(head.uri.query().unwrap_or_default(), &body);
    why.map_err(|refusal| refused(&refusal))
}

async fn received<B: Body>(body: B) -> Result<Bytes, Answer>
where
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    match tokio::time::timeout(BODY_TIMEOUT, whole(body)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(why)) => Err(closing(problem(StatusCode::BAD_REQUEST, why))),
        Err(_) => Err(closing(problem(StatusCode::REQUEST_TIMEOUT, "the body did not come"))),
    }
}

async fn whole<B: Body>(body: B) -> Result<Bytes, &'static str>
where
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    match Limited::new(body, MAX_BODY_BYTES).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err("the body is longer than 64 KiB"),
        Err(_) => Err("the body ended too early or is malformed"),
    }
}

fn read(shared: &Shared, resource: &Resource) -> Result<Answer, Refusal> {
    let source = &shared.source;
    match resource {
        Resource::Backend(pool, id) => Ok(json(StatusCode::OK, &source.backend(pool, id)?)),
        Resource::Pool(name) | Resource::Backends(name) => {
            let found = source.pools().into_iter().find(|pool| pool.name == *name);
            let found = found.ok_or_else(|| {
                Refusal::unknown(format!("no pool `{name}`; `/v1/pools` lists those there are"))
            })?;
            Ok(json(StatusCode::OK, &found))
        }
        Resource::Maintenance(route) => {
            Ok(json(StatusCode::OK, &source.maintenance(route.as_deref())?))
        }
        Resource::Override(name) => {
            let found = source.pools().into_iter().find(|pool| pool.name == *name);
            let scaler = found.and_then(|pool| pool.scaler).ok_or_else(|| {
                Refusal::unknown(format!("no scaled pool `{name}`; `/v1/pools` says which are"))
            })?;
            Ok(json(StatusCode::OK, &scaler.order))
        }
        // Not readable.
        Resource::Drain(..) | Resource::Undrain(..) | Resource::Breaker(..) => {
            Ok(not_allowed(resource.allowed()))
        }
    }
}

pub(super) fn refused(refusal: &Refusal) -> Answer {
    problem(refusal.status, &refusal.detail)
}
