//! The call against a real server of HTTP/2 and against what is none.

use std::convert::Infallible;
use std::time::Duration;

use hyper::server::conn::http2 as server;
use hyper::service::service_fn;
use tokio::net::TcpListener;

use super::*;
use crate::config::ProbeKind;
use crate::probe::probe;
use crate::test_backend::{Answer, TestBackend};

/// What a server tells.
#[derive(Clone, Copy)]
struct Told {
    status: u16,
    message: &'static [u8],
    grpc_status: Option<&'static str>,
}

const SERVING: Told =
    Told { status: 200, message: b"\0\0\0\0\x02\x08\x01", grpc_status: Some("0") };

/// Answers one connection like `told`, whatever is asked; gives back what was asked.
async fn serve(listener: TcpListener, told: Told) -> Vec<u8> {
    let (stream, _) = listener.accept().await.unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    let service = service_fn(move |request: Request<Incoming>| {
        let seen = Arc::clone(&seen);
        async move {
            let line = format!(
                "{} {} te={:?} ",
                request.method(),
                request.uri(),
                request.headers().get(TE).unwrap()
            );
            let body = request.into_body().collect().await.unwrap().to_bytes();
            *seen.lock().unwrap() = [line.as_bytes(), &body].concat();
            let mut trailers = HeaderMap::new();
            if let Some(value) = told.grpc_status {
                trailers.insert("grpc-status", value.parse().unwrap());
            }
            let body = Full::new(Bytes::from_static(told.message));
            let body = body.with_trailers(async move { Some(Ok(trailers)) });
            Ok::<_, Infallible>(Response::builder().status(told.status).body(body).unwrap())
        }
    });
    let tasks = Tasks::default();
    let connection =
        server::Builder::new(tasks.handle()).serve_connection(TokioIo::new(stream), service);
    let _ = connection.await;
    let mut asked = asked.lock().unwrap();
    std::mem::take(&mut *asked)
}

/// One check of `service` against a server that tells this.
async fn ask(told: Told, service: &str) -> (Result<(), ProbeError>, Vec<u8>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(serve(listener, told));
    let kind = ProbeKind::Grpc { service: service.into(), host: Some("app.example".into()) };
    let result = probe(address, &kind, Duration::from_secs(10)).await;
    (result, server.await.unwrap())
}

#[tokio::test]
async fn a_service_that_serves_passes_and_is_asked_by_its_name() {
    let (result, asked) = ask(SERVING, "shop.Cart").await;
    result.unwrap();
    let expected = "POST http://app.example/grpc.health.v1.Health/Check te=\"trailers\" \
                    \0\0\0\0\u{b}\n\tshop.Cart";
    assert_eq!(String::from_utf8(asked).unwrap(), expected);
}

#[tokio::test]
async fn a_service_that_does_not_serve_fails_with_its_status() {
    for (message, word) in
        [(&b"\0\0\0\0\x02\x08\x02"[..], "NOT_SERVING"), (b"\0\0\0\0\0", "UNKNOWN")]
    {
        let (result, _) = ask(Told { message, ..SERVING }, "").await;
        assert!(matches!(result, Err(ProbeError::NotServing(found)) if found == word));
    }
}

#[tokio::test]
async fn a_call_that_was_not_done_fails_whatever_its_message_says() {
    let (result, _) = ask(Told { grpc_status: Some("12"), ..SERVING }, "").await;
    assert!(matches!(result, Err(ProbeError::GrpcStatus(status)) if status == "12"));
    let (result, _) = ask(Told { grpc_status: None, ..SERVING }, "").await;
    assert!(matches!(result, Err(ProbeError::Grpc(_))));
    let (result, _) = ask(Told { status: 503, ..SERVING }, "").await;
    assert!(matches!(result, Err(ProbeError::Status(503))));
}

#[tokio::test]
async fn a_message_over_the_limit_fails() {
    static LONG: [u8; message::LONGEST + 1] = [0; message::LONGEST + 1];
    let (result, _) = ask(Told { message: &LONG, ..SERVING }, "").await;
    assert!(matches!(result, Err(ProbeError::Grpc(_))));
}

#[tokio::test]
async fn a_backend_that_speaks_no_http2_fails() {
    for answer in
        [Answer::status(200, "fine"), Answer::Bytes(b"220 smtp ready\r\n".to_vec()), Answer::Close]
    {
        let backend = TestBackend::start(answer).await;
        let kind = ProbeKind::Grpc { service: "".into(), host: None };
        let error = probe(backend.address, &kind, Duration::from_secs(10)).await.unwrap_err();
        assert!(matches!(error, ProbeError::Grpc(_)), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_never_answers_runs_into_the_timeout_and_leaves_no_task() {
    let backend = TestBackend::start(Answer::Silence).await;
    let kind = ProbeKind::Grpc { service: "".into(), host: None };
    let before = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let error = probe(backend.address, &kind, Duration::from_secs(5)).await.unwrap_err();
    assert!(matches!(error, ProbeError::Timeout { phase: Phase::Head, .. }), "{error}");
    tokio::time::sleep(Duration::from_millis(1)).await;
    let after = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    assert!(after <= before + 1, "only the backend's own connection is left: {before}, {after}");
}
