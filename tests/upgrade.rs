//! WebSocket and what else begins with `Upgrade`: after a 101 bytes pass both ways as they are.

use tests::backend::answer::Step;
use tests::door::one_pool;
use tests::wire::{Fault, pattern};
use tests::{Answer, End, Response, TestBackend, TestClient, TestDoor, within};

const WORKERS: [usize; 2] = [1, 4];
const WEBSOCKET: &str = "GET /chat HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";
const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\n\
    Connection: upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
const LOG: &str = "[observe]\naccess_log = { to = \"stdout\" }\n";

async fn opened(door: &TestDoor) -> (TestClient, Response) {
    let mut client = door.client().await;
    let response = client.request(WEBSOCKET).await;
    assert_eq!(response.status, 101);
    (client, response)
}

#[tokio::test]
async fn an_upgrade_is_passed_on_with_what_belongs_to_it() {
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        red.answer(Answer::steps([Step::Write(SWITCHED.into()), Step::Echo]));
        let door = TestDoor::in_front_of(&[&red], workers).await;
        let (_client, response) = opened(&door).await;
        let request = red.request(0);
        for head in [&request.head, &response.head] {
            assert_eq!(head.field("connection").as_deref(), Some("upgrade"));
            assert_eq!(head.field("upgrade").unwrap().to_lowercase(), "websocket");
        }
        let key = request.field("sec-websocket-key");
        assert_eq!(key.as_deref(), Some("dGhlIHNhbXBsZSBub25jZQ=="));
        assert_eq!(request.field("sec-websocket-version").as_deref(), Some("13"));
        let accept = response.field("sec-websocket-accept");
        assert_eq!(accept.as_deref(), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    }
}

#[tokio::test]
async fn bytes_pass_both_ways_and_interleave() {
    for workers in WORKERS {
        let red = TestBackend::start_with("red", Answer::upgrade("websocket")).await;
        let door = TestDoor::in_front_of(&[&red], workers).await;
        let (mut client, _) = opened(&door).await;
        let mut at = 0;
        for length in [1, 2, 125, 126, 4096, 65_521, 1, 30_000] {
            let sent = pattern(at, length);
            client.send(sent).await;
            assert_eq!(client.read_exact(sent.len()).await, sent, "{length} at {at}");
            at += length;
        }
        // What would be HTTP is not looked at.
        let http = "\r\n\r\nHTTP/1.1 200 OK\r\n\r\nGET / HTTP/1.1\r\n\r\n0\r\n\r\n\0\r\n";
        client.send(http).await;
        assert_eq!(client.read_exact(http.len()).await, http.as_bytes());
        client.half_close().await;
        assert_eq!(client.ended().await, End::Fin);
        assert_eq!(red.closed(0).await, None);
        assert_eq!(red.request_count(), 1);
    }
}

#[tokio::test]
async fn a_stream_in_each_direction_arrives_byte_for_byte_at_once() {
    const LENGTH: u64 = 16 << 20;
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        let switched = SWITCHED.replace("WebSocket", "websocket").into_bytes();
        red.answer(Answer::steps([Step::Write(switched), Step::Fill(LENGTH), Step::Echo]));
        let door = TestDoor::in_front_of(&[&red], workers).await;
        let (mut client, _) = opened(&door).await;
        // The backend sends all of its stream before it takes any of ours.
        let sent = pattern(7, 50_000);
        client.send(sent).await;
        let mut at = 0;
        while at < LENGTH {
            let run = pattern(at, LENGTH - at);
            assert!(client.read_exact(run.len()).await == run, "at {at}");
            at += run.len() as u64;
        }
        assert_eq!(client.read_exact(sent.len()).await, sent);
    }
}

#[tokio::test]
async fn bytes_that_come_with_the_heads_are_not_lost() {
    let red = TestBackend::start("red").await;
    let door = TestDoor::in_front_of(&[&red], 1).await;
    let wire = format!("{SWITCHED}first from the backend");
    for cut in 1..wire.len() {
        let pieces = [&wire[..cut], &wire[cut..]].map(|piece| Step::Write(piece.into()));
        red.answer_next(Answer::steps(pieces).then(Step::Echo));
        let mut client = door.client().await;
        client.send(format!("{WEBSOCKET}first from the client")).await;
        assert_eq!(client.read_response().await.status, 101);
        let expected = "first from the backendfirst from the client";
        let got = client.read_exact(expected.len()).await;
        assert_eq!(String::from_utf8(got).unwrap(), expected, "cut at {cut}");
    }
}

#[tokio::test]
async fn each_side_may_close_its_half_and_still_read() {
    let red = TestBackend::start("red").await;
    let door = TestDoor::in_front_of(&[&red], 1).await;
    let switched = || Step::Write(SWITCHED.into());
    // The client first: the backend still has a lot to say.
    const LENGTH: u64 = 4 << 20;
    red.answer_next(Answer::steps([switched(), Step::Fill(LENGTH), Step::Close]));
    let (mut client, _) = opened(&door).await;
    client.half_close().await;
    let rest = client.read_to_end().await;
    assert_eq!(rest.len() as u64, LENGTH);

    // The backend first.
    red.answer_next(Answer::steps([switched(), Step::Write(b"bye".to_vec()), Step::Close]));
    let (mut client, _) = opened(&door).await;
    assert_eq!(client.read_exact(3).await, b"bye");
    assert_eq!(client.ended().await, End::Fin);
}

#[tokio::test]
async fn a_reset_of_one_side_is_one_for_the_other() {
    let red = TestBackend::start_with("red", Answer::upgrade("websocket")).await;
    let door = TestDoor::checked(&(one_pool(&[&red], 1) + LOG), &[&red]).await;
    let (mut client, _) = opened(&door).await;
    client.send("x").await;
    client.read_exact(1).await;
    client.reset();
    assert_eq!(red.closed(0).await, Some(Fault::Reset));
    door.logged("\"outcome\":\"client_gone\"").await;

    let switched = Step::Write(SWITCHED.into());
    red.answer_next(Answer::steps([switched, Step::Hold, Step::Reset]));
    let (mut client, _) = opened(&door).await;
    red.release();
    assert_eq!(client.ended().await, End::Reset);
    door.logged("\"outcome\":\"answer_cut\"").await;
}

#[tokio::test]
async fn a_tunnel_without_a_byte_is_closed_after_its_limit() {
    let red = TestBackend::start_with("red", Answer::upgrade("websocket")).await;
    let route = "timeouts = { idle_stream = \"300ms\" }\n";
    let door = TestDoor::checked(&(one_pool(&[&red], 1) + route + LOG), &[&red]).await;
    let (mut client, _) = opened(&door).await;
    // Longer than the limit in all, and never silent for so long.
    let begun = tokio::time::Instant::now();
    let mut turns = tokio::time::interval(std::time::Duration::from_millis(50));
    while begun.elapsed().as_millis() < 600 {
        client.send("ping").await;
        assert_eq!(client.read_exact(4).await, b"ping");
        turns.tick().await;
    }
    client.ended().await;
    red.closed(0).await;
    door.logged("\"outcome\":\"stream_idle\"").await;
}

#[tokio::test]
async fn a_backend_may_refuse_an_upgrade() {
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        let door = TestDoor::in_front_of(&[&red], workers).await;
        let mut client = door.client().await;
        for status in [200, 400, 426] {
            red.answer_next(Answer::full(status, &[], b"no"));
            let response = client.request(WEBSOCKET).await;
            assert_eq!((response.status, response.text().as_str()), (status, "no"));
            assert_eq!(response.field("upgrade"), None);
        }
        assert_eq!(client.get("/").await.text(), "red");
        assert_eq!(red.connection_count(), 1);
    }
}

#[tokio::test]
async fn a_backend_changes_to_nothing_but_what_was_asked_for() {
    let red = TestBackend::start("red").await;
    let door = TestDoor::in_front_of(&[&red], 1).await;
    let mut client = door.client().await;
    for (asked, got, expected) in
        [("a, websocket", "websocket", 101), ("websocket", "other", 502), ("websocket", "web", 502)]
    {
        red.answer_next(Answer::upgrade(got));
        let response =
            client.request(WEBSOCKET.replace(": websocket", &format!(": {asked}"))).await;
        assert_eq!(response.status, expected, "{got} for {asked}");
        if expected == 101 {
            client = door.client().await;
        }
    }
}

#[tokio::test]
async fn a_101_before_the_body_is_through_is_no_answer() {
    let red = TestBackend::start("red").await;
    let door = TestDoor::in_front_of(&[&red], 1).await;
    red.answer_next(Answer::upgrade("websocket").early());
    let mut client = door.client().await;
    let request =
        WEBSOCKET.replace("GET", "POST").replace("\r\n\r\n", "\r\nContent-Length: 9\r\n\r\n");
    client.send(request).await;
    assert_eq!(client.read_response().await.status, 502);
}

/// Whoever sends a body slowly, or never all of it, must not make a backend look as if it had
/// changed unasked: it is asked only when it has all of the request (RFC 9110 §7.8).
#[tokio::test]
async fn a_request_with_a_body_asks_for_no_upgrade() {
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        let door = TestDoor::in_front_of(&[&red], workers).await;
        for rest in [
            "Content-Length: 9\r\n\r\nabc",
            "Content-Length: 3\r\n\r\nabc",
            "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
            "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        ] {
            let seen = red.request_count();
            red.answer_next(Answer::text("plain").early());
            let mut client = door.client().await;
            client.send(WEBSOCKET.replace("\r\n\r\n", &format!("\r\n{rest}"))).await;
            assert_eq!(client.read_response().await.text(), "plain", "{rest:?}");
            let request = red.request(seen);
            assert_eq!(request.field("upgrade"), None, "{rest:?}");
            assert_eq!(request.field("connection"), None, "{rest:?}");
        }
        // A length of nothing is no body.
        red.answer_next(Answer::upgrade("websocket"));
        let empty = WEBSOCKET.replace("\r\n\r\n", "\r\nContent-Length: 0\r\n\r\n");
        let mut client = door.client().await;
        assert_eq!(client.request(empty).await.status, 101);
        client.send("hello").await;
        assert_eq!(client.read_exact(5).await, b"hello");
    }
}

#[tokio::test]
async fn many_tunnels_are_open_at_once() {
    let red = TestBackend::start_with("red", Answer::upgrade("websocket")).await;
    let door = TestDoor::in_front_of(&[&red], 4).await;
    let mut clients = Vec::new();
    for _ in 0..100 {
        clients.push(opened(&door).await.0);
    }
    for (number, client) in clients.iter_mut().enumerate() {
        let word = format!("I am {number}.");
        client.send(&word).await;
        let read = within(client.ceiling, client.read_exact(word.len())).await;
        assert_eq!(read, word.as_bytes());
    }
    assert_eq!(red.connection_count(), 100);
}

#[tokio::test]
async fn te_of_a_request_that_upgrades_is_named_in_connection() {
    let red = TestBackend::start("red").await;
    let door = TestDoor::in_front_of(&[&red], 1).await;
    let mut client = door.client().await;
    let request = WEBSOCKET.replace("keep-alive, Upgrade", "TE, Upgrade\r\nTE: trailers");
    client.request(request).await;
    let got = red.request(0);
    assert_eq!(got.field("te").as_deref(), Some("trailers"));
    assert_eq!(got.field("connection").as_deref(), Some("upgrade, te"));
}
