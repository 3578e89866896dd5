//! The two ends of the harness against each other, without a door between them.

use super::*;
use crate::client::{End, TestClient};
use answer::Step;

#[tokio::test]
async fn a_backend_answers_with_its_name_and_remembers_the_bytes() {
    let red = TestBackend::start("red").await;
    let mut client = TestClient::connect(red.addr()).await;
    let sent = "POST /a?b HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc";
    let response = client.request(sent).await;
    assert_eq!((response.status, response.text().as_str()), (200, "red"));

    red.completed(1).await;
    let request = red.request(0);
    assert_eq!((request.method(), request.target()), ("POST", "/a?b"));
    assert_eq!(request.body.text(), "abc");
    assert!(sent.as_bytes().starts_with(&request.head.bytes));
    assert_eq!(red.bytes_of(0), sent.as_bytes());
}

#[tokio::test]
async fn requests_and_connections_are_counted_and_probes_apart() {
    let red = TestBackend::start("red").await;
    let mut probe = TestClient::connect(red.addr()).await;
    assert_eq!(probe.get("/healthz").await.status, 200);
    red.answer_probes("/ping", 503);
    assert_eq!(probe.get("/ping").await.status, 503);

    let mut client = TestClient::connect(red.addr()).await;
    client.get("/healthz?no-probe").await;
    client.get("/").await;
    red.probed(2).await;
    assert_eq!((red.request_count(), red.connection_count(), red.probe_count()), (2, 1, 2));
    assert_eq!((red.request(1).connection, red.request(1).place), (0, 1));
}

#[tokio::test]
async fn answers_for_the_next_request_are_used_up_and_then_the_usual_one_comes_back() {
    let red = TestBackend::start("red").await;
    red.answer_next(Answer::status(503));
    red.answer_next(Answer::chunked(&["ab", "c"], &["X-Sum: 3"]));
    let mut client = TestClient::connect(red.addr()).await;
    assert_eq!(client.get("/").await.status, 503);
    let chunked = client.get("/").await;
    assert_eq!((chunked.text().as_str(), &chunked.body.chunks[..]), ("abc", &[2, 1][..]));
    assert_eq!(chunked.body.trailers.len(), 1);
    assert_eq!(client.get("/").await.text(), "red");

    red.answer_by(|request| Answer::text(request.target()));
    assert_eq!(client.get("/echo").await.text(), "/echo");
}

#[tokio::test]
async fn a_held_answer_waits_for_its_release() {
    let red = TestBackend::start_with("red", Answer::text("late").held()).await;
    let mut client = TestClient::connect(red.addr()).await;
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    red.completed(1).await;
    assert!(client.is_quiet());
    red.release();
    assert_eq!(client.read_response().await.text(), "late");
    assert!(!red.shared.ledger.read(|state| state.connections[0].ended.is_some()));
}

#[tokio::test]
async fn a_client_that_leaves_while_it_is_held_is_noticed() {
    let red = TestBackend::start_with("red", Answer::text("late").held()).await;
    for (leaves, ended) in [(End::Fin, Fault::Closed), (End::Reset, Fault::Reset)] {
        let mut client = TestClient::connect(red.addr()).await;
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let seen = red.request_count() + 1;
        red.completed(seen).await;
        match leaves {
            End::Fin => drop(client),
            End::Reset => client.reset(),
        }
        assert_eq!(red.closed(seen - 1).await, Some(ended));
    }
}

#[tokio::test]
async fn a_head_request_gets_no_body_and_an_expectation_its_100() {
    let red = TestBackend::start("red").await;
    let mut client = TestClient::connect(red.addr()).await;
    let head_request = "HEAD / HTTP/1.1\r\nHost: x\r\n\r\n";
    let head = client.request(head_request).await;
    assert_eq!((head.field("content-length").as_deref(), head.body.len), (Some("3"), 0));
    red.answer_next(Answer::chunked(&["abc"], &[]));
    assert_eq!(client.request(head_request).await.status, 200);

    let put = "PUT / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    client.send(put).await;
    assert_eq!(client.read_head().await.start, "HTTP/1.1 100 Continue");
    client.send("ok").await;
    assert_eq!(client.read_response().await.text(), "red");

    // Who does not wait for the 100 finds it before the answer.
    client.send(put).await;
    red.received(4).await;
    client.send("ok").await;
    let response = client.read_response().await;
    assert_eq!((response.status, response.interim.len()), (200, 1));
    assert_eq!(
        red.bytes_of(0),
        [head_request, head_request, put, "ok", put, "ok"].concat().as_bytes()
    );
}

#[tokio::test]
async fn a_big_body_arrives_as_the_pattern_both_ways() {
    let red = TestBackend::start_with("red", Answer::big(5 << 20)).await;
    let mut client = TestClient::connect(red.addr()).await;
    client.send(format!("PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", 4 << 20)).await;
    client.send_pattern(4 << 20).await;
    let response = client.read_response().await;
    assert!(response.body.is_pattern);
    assert_eq!(response.body.len, 5 << 20);
    red.completed(1).await;
    assert!(red.request(0).body.is_pattern);
    assert_eq!(red.request(0).body.len, 4 << 20);
}

#[tokio::test]
async fn connections_end_as_the_script_says() {
    let red = TestBackend::start("red").await;
    let request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    for (answer, end) in [(Answer::close(), End::Fin), (Answer::reset(), End::Reset)] {
        red.answer_next(answer);
        let mut client = TestClient::connect(red.addr()).await;
        client.send(request).await;
        assert_eq!(client.ended().await, end);
    }

    red.answer_next(Answer::cut(10, 4));
    let mut client = TestClient::connect(red.addr()).await;
    client.send(request).await;
    let (part, fault) = client.read_cut_response().await;
    assert_eq!((part.body.len, fault), (4, Fault::Closed));

    red.answer_next(Answer::until_close("all"));
    let mut client = TestClient::connect(red.addr()).await;
    let response = client.request(request).await;
    assert_eq!(
        (response.text().as_str(), response.framing),
        ("all", crate::wire::Framing::UntilClose)
    );

    red.answer_next(Answer::text("bye").close_after());
    let mut client = TestClient::connect(red.addr()).await;
    assert_eq!(client.request(request).await.text(), "bye");
    assert_eq!(client.ended().await, End::Fin);
}

#[tokio::test]
async fn an_upgraded_connection_echoes_until_its_half_is_closed() {
    let red = TestBackend::start_with("red", Answer::upgrade("echo")).await;
    let mut client = TestClient::connect(red.addr()).await;
    let response = client.get("/").await;
    assert_eq!(response.status, 101);
    client.send("hello").await;
    assert_eq!(client.read_exact(5).await, b"hello");
    client.half_close().await;
    assert_eq!(client.ended().await, End::Fin);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_and_written_pieces_arrive() {
    let red = TestBackend::start("red").await;
    red.answer_next(Answer::bytes(["HTTP/1.1 200 OK\r\nContent-", "Length: 1\r\n\r\n", "1"]));
    red.answer_next(Answer::steps([Step::ReadBody]).then(Step::Write(
        b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2".to_vec(),
    )));
    let mut client = TestClient::connect(red.addr()).await;
    client.send("GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(client.read_response().await.text(), "1");
    let second = client.read_response().await;
    assert_eq!((second.text().as_str(), second.interim.len()), ("2", 1));
}

#[tokio::test]
async fn a_dead_backend_refuses_and_comes_back_on_its_port() {
    let red = TestBackend::start("red").await;
    for (death, end) in [(Death::Fin, End::Fin), (Death::Reset, End::Reset)] {
        let mut client = TestClient::connect(red.addr()).await;
        client.get("/").await;
        red.kill(death).await;
        assert_eq!(client.ended().await, end);
        let refused = tokio::net::TcpStream::connect(red.addr()).await.unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);

        red.revive();
        let mut client = TestClient::connect(red.addr()).await;
        assert_eq!(client.get("/").await.text(), "red");
    }
    assert_eq!(red.request_count(), 4);
}

#[tokio::test]
async fn what_is_not_strict_http_is_told_and_fails_the_test() {
    let red = TestBackend::start("red").await;
    let mut client = TestClient::connect(red.addr()).await;
    client.send("GET  / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    client.ended().await;
    red.wait("to see it", |state| state.running == 1).await;
    let malformed = red.take_malformed();
    assert_eq!(malformed, ["a request line in `GET  / HTTP/1.1`"]);

    let mut client = TestClient::connect(red.addr()).await;
    client.send("GET / HTTP/1.1\nHost: x\r\n\r\n").await;
    client.ended().await;
    red.wait("to see it", |state| state.running == 1).await;
    let dropped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(red)));
    assert!(dropped.is_err());
}

#[tokio::test]
#[should_panic(expected = "`red` waited in vain to receive requests")]
async fn a_wait_in_vain_names_what_it_waited_for() {
    let red = TestBackend::start("red").await;
    let limit = Duration::from_millis(1);
    red.wait_up_to(limit, "to receive requests", |state| !state.requests.is_empty()).await;
}
