//! From a request to an answer, without a socket in between.

use std::fmt;
use std::net::SocketAddr;

use hyper::body::Body;
use hyper::header::{self, HeaderMap};
use hyper::{Method, Request, StatusCode};
use serde::Serialize;

use super::answer::{Answer, PLAIN, closing, json, not_allowed, problem, text};
use super::orders::Resource;
use super::serve::Shared;
use super::{Source, events, resources};

/// The bodies of requests for pages have no meaning; one that is larger is not even waited for.
const MAX_BODY_BYTES: u64 = 64 * 1024;

/// The Prometheus text format.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// By which address a request came, which decides what it may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// `[admin] unix`
    Unix,
    /// `[admin] listen`
    Loopback,
    /// `[observe] metrics.listen`
    Metrics,
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub(super) enum Peer {
    /// As the kernel says.
    Unix {
        uid: u32,
        pid: Option<i32>,
    },
    Tcp(SocketAddr),
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Unix { uid, pid: Some(pid) } => write!(f, "uid {uid}, pid {pid}"),
            Peer::Unix { uid, pid: None } => write!(f, "uid {uid}"),
            Peer::Tcp(addr) => addr.fmt(f),
        }
    }
}

/// Always an answer.
pub(super) async fn respond<B: Body>(shared: &Shared, peer: Peer, request: Request<B>) -> Answer
where
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let Shared { side, address, .. } = *shared;
    let (method, path) = (request.method(), request.uri().path());
    if let (Side::Loopback, Some(address)) = (side, address)
        && let Some(why) = foreign(&request, address)
    {
        tracing::warn!(%peer, ?path, why, "admin request refused");
        return problem(StatusCode::FORBIDDEN, why);
    }
    let is_shown = |page: &Page| side != Side::Metrics || page.is_for_machines();
    let Some(page) = Page::of(path).filter(is_shown) else {
        if let Some(resource) = Resource::of(path).filter(|_| side != Side::Metrics) {
            return resources::answer(shared, peer, resource, request).await;
        }
        return problem(StatusCode::NOT_FOUND, "there is nothing at this path");
    };
    if request.body().size_hint().upper().is_none_or(|bytes| bytes > MAX_BODY_BYTES) {
        return closing(problem(StatusCode::PAYLOAD_TOO_LARGE, "no request here has a body"));
    }
    if method != Method::GET && method != Method::HEAD {
        tracing::info!(%peer, %method, ?path, "admin request refused: pages are read only");
        return not_allowed("GET, HEAD");
    }
    tracing::debug!(%peer, ?path, "admin request");
    let query = request.uri().query().unwrap_or_default();
    match page {
        Page::Events => events::answer(query, shared.source.events(), shared.stopped.clone()).await,
        page => page.answer(query, &*shared.source),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Page {
    Status,
    Pools,
    Routes,
    Config,
    Events,
    Metrics,
    Live,
    Ready,
    Started,
}

impl Page {
    fn of(path: &str) -> Option<Page> {
        Some(match path {
            "/v1/status" => Page::Status,
            "/v1/pools" => Page::Pools,
            "/v1/routes" => Page::Routes,
            "/v1/config" => Page::Config,
            "/v1/events" => Page::Events,
            "/metrics" => Page::Metrics,
            "/livez" => Page::Live,
            "/readyz" => Page::Ready,
            "/startupz" => Page::Started,
            _ => return None,
        })
    }

    /// Whether scrapers may see it, who may be anybody on the LAN.
    fn is_for_machines(self) -> bool {
        matches!(self, Page::Metrics | Page::Live | Page::Ready | Page::Started)
    }

    fn answer(self, query: &str, source: &dyn Source) -> Answer {
        match self {
            Page::Events => json(StatusCode::OK, &source.events().since(0, usize::MAX)),
            Page::Status => {
                let mut status = source.status();
                status.summary = status.sentence(&source.pools());
                json(StatusCode::OK, &status)
            }
            Page::Pools => json(StatusCode::OK, &Pools { pools: source.pools() }),
            Page::Routes => json(StatusCode::OK, &Routes { routes: source.routes() }),
            Page::Config => text(StatusCode::OK, "application/toml", source.config()),
            Page::Metrics => text(StatusCode::OK, METRICS, source.metrics()),
            Page::Live => text(StatusCode::OK, PLAIN, "ok\n".into()),
            Page::Ready => ready(source.ready(), query),
            Page::Started if source.has_started() => text(StatusCode::OK, PLAIN, "ok\n".into()),
            Page::Started => {
                text(StatusCode::SERVICE_UNAVAILABLE, PLAIN, "not started yet\n".into())
            }
        }
    }
}

#[derive(Serialize)]
struct Pools<T> {
    pools: T,
}

#[derive(Serialize)]
struct Routes<T> {
    routes: T,
}

/// Why a request over TCP is none of a user of this machine: a page of the web can make a browser
/// send one (cross-origin), and with a name of its own that resolves to us (DNS rebinding) also
/// read the answer. The first shows in `Origin`, the second in `Host`.
fn foreign<B>(request: &Request<B>, address: SocketAddr) -> Option<&'static str> {
    if request.headers().contains_key(header::ORIGIN) {
        return Some("requests of web pages are not answered");
    }
    let target_is_foreign =
        request.uri().authority().is_some_and(|authority| !is_local(authority.as_str(), address));
    if target_is_foreign || !host(request.headers()).is_some_and(|host| is_local(host, address)) {
        return Some("ask for localhost, 127.0.0.1 or [::1], with this port");
    }
    None
}

/// The value of `Host` if there is exactly one.
fn host(headers: &HeaderMap) -> Option<&str> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next()?.to_str().ok()?;
    hosts.next().is_none().then_some(host)
}

fn is_local(authority: &str, address: SocketAddr) -> bool {
    let port = address.port();
    let name = authority.strip_suffix(&format!(":{port}"));
    let name = name.or_else(|| (port == 80).then_some(authority)).unwrap_or_default();
    ["localhost", "127.0.0.1", "[::1]"].iter().any(|local| name.eq_ignore_ascii_case(local))
}

fn ready(ready: Result<(), Vec<String>>, query: &str) -> Answer {
    let is_verbose = query.split('&').any(|part| part == "verbose" || part.starts_with("verbose="));
    match ready {
        Ok(()) => text(StatusCode::OK, PLAIN, "ready\n".into()),
        Err(reasons) => {
            let mut body = String::from("not ready\n");
            for reason in reasons.iter().filter(|_| is_verbose) {
                body.push_str(&format!("- {reason}\n"));
            }
            text(StatusCode::SERVICE_UNAVAILABLE, PLAIN, body)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(authority: &str, port: u16, expected: bool) {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        assert_eq!(is_local(authority, address), expected, "{authority} at {port}");
    }

    #[test]
    fn only_names_of_this_machine_with_our_port_are_local() {
        for name in ["localhost", "LOCALHOST", "127.0.0.1", "[::1]"] {
            check(&format!("{name}:9901"), 9901, true);
            check(name, 80, true);
            check(name, 9901, false);
            check(&format!("{name}:9902"), 9901, false);
        }
        let foreign = [
            "evil.example:9901",
            "localhost.evil.example:9901",
            "localhost.:9901",
            "127.0.0.1.nip.io:9901",
            "::1:9901",
            "127.1:9901",
            "localhost:9901:9901",
            ":9901",
            "",
            "user@localhost:9901",
        ];
        for name in foreign {
            check(name, 9901, false);
        }
    }
}
