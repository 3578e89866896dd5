//! One probe against every way a backend can answer or not.

use super::*;
use crate::test_backend::{Answer, TestBackend};

fn http(status: &[(u16, u16)], text: Option<&str>) -> ProbeKind {
    ProbeKind::Http {
        path: "/healthz".into(),
        host: None,
        status: status.to_vec(),
        body_contains: text.map(Into::into),
    }
}

/// One HTTP probe with 2xx expected and this text, against this answer.
async fn ask(answer: Answer, text: Option<&str>) -> Result<(), ProbeError> {
    let backend = TestBackend::start(answer).await;
    probe(backend.address, &http(&[(200, 299)], text), Duration::from_secs(5)).await
}

#[tokio::test]
async fn a_tcp_probe_passes_when_the_connection_is_accepted() {
    let backend = TestBackend::start(Answer::Close).await;
    probe(backend.address, &ProbeKind::Tcp, Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn a_closed_port_is_a_connect_error() {
    let mut backend = TestBackend::start(Answer::Close).await;
    backend.die().await;
    for kind in [ProbeKind::Tcp, http(&[(200, 299)], None)] {
        let error = probe(backend.address, &kind, Duration::from_secs(5)).await.unwrap_err();
        assert!(matches!(error, ProbeError::Connect(_)), "{error}");
    }
}

#[tokio::test]
async fn a_connection_to_our_own_end_is_no_listener() {
    let us = tokio::net::TcpSocket::new_v4().unwrap();
    us.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = us.local_addr().unwrap();
    let ourselves = us.connect(address).await.unwrap();
    assert_eq!(ourselves.peer_addr().unwrap(), address, "the kernel allows it");
    assert!(refuse_ourselves(ourselves, address).is_err());
}

#[tokio::test]
async fn an_http_probe_asks_for_the_path_and_says_who_it_is() {
    let mut backend = TestBackend::start(Answer::status(204, "")).await;
    probe(backend.address, &http(&[(204, 204)], None), Duration::from_secs(5)).await.unwrap();
    let head = backend.asked().await.to_lowercase();
    assert!(head.starts_with("get /healthz http/1.1\r\n"), "{head}");
    for field in
        [&format!("host: {}", backend.address), "user-agent: tidegate-health", "connection: close"]
    {
        assert!(head.contains(&format!("\r\n{field}\r\n")), "{field} in {head}");
    }
}

#[tokio::test]
async fn a_configured_host_is_sent_instead_of_the_address() {
    let mut backend = TestBackend::start(Answer::status(200, "")).await;
    let kind = ProbeKind::Http {
        path: "/".into(),
        host: Some("app.example".into()),
        status: vec![(200, 200)],
        body_contains: None,
    };
    probe(backend.address, &kind, Duration::from_secs(5)).await.unwrap();
    assert!(backend.asked().await.to_lowercase().contains("\r\nhost: app.example\r\n"));
}

#[tokio::test]
async fn only_the_expected_statuses_pass() {
    assert!(ask(Answer::status(200, ""), None).await.is_ok());
    assert!(ask(Answer::status(299, ""), None).await.is_ok());
    for other in [199, 300, 503] {
        let error = ask(Answer::status(other, ""), None).await.unwrap_err();
        // 199 is an interim answer that no final one follows.
        assert!(
            matches!(error, ProbeError::Status(found) if found == other)
                || (other == 199 && matches!(error, ProbeError::Protocol(_))),
            "{error}"
        );
    }
}

#[tokio::test]
async fn the_body_must_contain_the_text() {
    assert!(ask(Answer::status(200, "all ok here"), Some("ok")).await.is_ok());
    let error = ask(Answer::status(200, "all is lost"), Some("ok")).await.unwrap_err();
    assert!(matches!(error, ProbeError::Body), "{error}");
}

#[tokio::test]
async fn a_text_cut_by_a_chunk_is_found() {
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let body = b"3\r\nxre\r\n2\r\nad\r\n2\r\nyx\r\n0\r\n\r\n";
    let answer = Answer::Bytes([&head[..], &body[..]].concat());
    assert!(ask(answer, Some("ready")).await.is_ok());
}

#[tokio::test]
async fn a_text_behind_the_first_64_kib_is_not_looked_for() {
    let last = format!("{}ok", "x".repeat(BODY_LIMIT - 2));
    assert!(ask(Answer::status(200, &last), Some("ok")).await.is_ok());
    let beyond = format!("{}ok", "x".repeat(BODY_LIMIT - 1));
    let error = ask(Answer::status(200, &beyond), Some("ok")).await.unwrap_err();
    assert!(matches!(error, ProbeError::Body), "{error}");
}

#[tokio::test]
async fn what_is_not_http_is_a_protocol_error() {
    let endless_head = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(HEAD_LIMIT));
    let bad_chunk = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\nzz\r\n";
    for bytes in ["220 smtp ready\r\n", "", &endless_head, bad_chunk] {
        let answer = Answer::Bytes(bytes.as_bytes().to_vec());
        let error = ask(answer, Some("ok")).await.unwrap_err();
        assert!(matches!(error, ProbeError::Protocol(_)), "{error}");
    }
}

#[tokio::test]
async fn a_body_that_is_cut_fails_the_check_whatever_it_shows() {
    let sized = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n";
    let in_chunk = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nok";
    for bytes in [sized, chunked, in_chunk] {
        for text in [None, Some("ok"), Some("lost")] {
            let error = ask(Answer::Bytes(bytes.into()), text).await.unwrap_err();
            assert!(matches!(error, ProbeError::Cut(_)), "{bytes:?} {text:?}: {error}");
        }
    }
    // One that ends with its connection cannot be told from one that is cut.
    let until_close = "HTTP/1.1 200 OK\r\n\r\nok";
    assert!(ask(Answer::Bytes(until_close.into()), Some("ok")).await.is_ok());
}

#[tokio::test]
async fn of_a_body_without_end_as_much_is_read_as_is_looked_at() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let endless = format!("{head}{}", "3\r\nxok\r\n".repeat(BODY_LIMIT));
    for (text, passes) in [(None, true), (Some("ok"), true), (Some("lost"), false)] {
        let found = ask(Answer::Stall(endless.clone().into()), text).await;
        assert_eq!(found.is_ok(), passes, "{text:?}: {found:?}");
    }
}

#[tokio::test]
async fn a_path_that_does_not_fit_is_refused_before_anything_is_sent() {
    let kind = ProbeKind::Http {
        path: "/a b".into(),
        host: None,
        status: vec![(200, 200)],
        body_contains: None,
    };
    let nobody = "127.0.0.1:1".parse().unwrap();
    let error = probe(nobody, &kind, Duration::from_secs(5)).await.unwrap_err();
    assert!(matches!(error, ProbeError::Request(_)), "{error}");
}

// With a paused clock time is over as soon as nobody has anything to do, and never before: the
// next two are not late on a busy machine, and take no time on an idle one.

#[tokio::test(start_paused = true)]
async fn a_backend_that_never_answers_runs_into_the_timeout_of_the_head() {
    let backend = TestBackend::start(Answer::Silence).await;
    let kind = http(&[(200, 299)], None);
    let error = probe(backend.address, &kind, Duration::from_secs(5)).await.unwrap_err();
    assert!(matches!(error, ProbeError::Timeout { phase: Phase::Head, .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_passes_when_time_is_over_with_what_it_has_shown() {
    let half = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok";
    for text in [None, Some("ok")] {
        let backend = TestBackend::start(Answer::Stall(half.into())).await;
        let kind = http(&[(200, 299)], text);
        probe(backend.address, &kind, Duration::from_secs(5)).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_runs_into_the_timeout_of_the_body() {
    let half = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no";
    let backend = TestBackend::start(Answer::Stall(half.to_vec())).await;
    let kind = http(&[(200, 299)], Some("ok"));
    let error = probe(backend.address, &kind, Duration::from_secs(5)).await.unwrap_err();
    assert!(matches!(error, ProbeError::Timeout { phase: Phase::Body, .. }), "{error}");
}
