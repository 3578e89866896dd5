//! Answers: JSON, text, and problem documents.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;

/// A whole answer.
pub(super) type Answer = Response<Full<Bytes>>;

const JSON: &str = "application/json";
pub(super) const PLAIN: &str = "text/plain; charset=utf-8";

/// RFC 9457. The type is `about:blank`: the status says all that a program can act on.
#[derive(Serialize)]
struct Problem<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    title: &'a str,
    status: u16,
    detail: &'a str,
}

/// Why not, as RFC 9457 has it.
pub(super) fn problem(status: StatusCode, detail: &str) -> Answer {
    let title = status.canonical_reason().unwrap_or_default();
    let body = Problem { kind: "about:blank", title, status: status.as_u16(), detail };
    with_type(status, "application/problem+json", &body)
}

/// To whoever asks for a deed as if it were a page.
pub(super) fn only_post() -> Answer {
    let mut answer = problem(StatusCode::METHOD_NOT_ALLOWED, "this is asked for with POST");
    answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
    answer
}

/// A value, as JSON.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    with_type(status, JSON, value)
}

fn with_type(status: StatusCode, kind: &'static str, value: &impl Serialize) -> Answer {
    match serde_json::to_string_pretty(value) {
        Ok(body) => text(status, kind, body + "\n"),
        // Only a map with keys that are no text could do that, and no view has one.
        Err(error) => {
            tracing::error!(%error, "an answer could not be written as JSON");
            text(StatusCode::INTERNAL_SERVER_ERROR, PLAIN, "internal error\n".into())
        }
    }
}

/// Text of some kind.
pub(super) fn text(status: StatusCode, kind: &'static str, body: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

/// 405, with what is allowed.
pub(super) fn not_allowed(allowed: &'static str) -> Answer {
    let detail = match allowed {
        "GET, HEAD" => "this page can only be read".to_owned(),
        _ => format!("allowed here: {allowed}"),
    };
    let mut answer = problem(StatusCode::METHOD_NOT_ALLOWED, &detail);
    answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    answer
}

/// The same answer, as the last of its connection: the rest of a body is not read.
pub(super) fn closing(mut answer: Answer) -> Answer {
    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    answer
}
