//! Connections: who keeps them, in which order answers come, and what is seen of an end that came
//! too early.

use tests::backend::answer::Step;
use tests::door::one_pool;
use tests::wire::{Fault, Framing};
use tests::{Answer, Death, End, TestBackend, TestDoor};

const WORKERS: [usize; 2] = [1, 4];
const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

/// The configuration of `one_pool` with more lines for the listener.
fn with_listener(backend: &TestBackend, workers: usize, lines: &str) -> String {
    let bind = "bind = [\"127.0.0.1:0\"]\n";
    one_pool(&[backend], workers).replace(bind, &format!("{bind}{lines}\n"))
}

const LOG: &str = "[observe]\naccess_log = { to = \"stdout\" }\n";

#[tokio::test]
async fn connections_are_kept_on_both_sides() {
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        let door = TestDoor::in_front_of(&[&red], workers).await;
        let mut client = door.client().await;
        for _ in 0..50 {
            let response = client.get("/").await;
            assert_eq!((response.status, response.field("connection")), (200, None));
        }
        assert_eq!(red.connection_count(), 1);
        assert_eq!(
            client
                .request("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                .await
                .field("connection")
                .as_deref(),
            Some("close")
        );
        assert_eq!(client.ended().await, End::Fin);
        // What one client leaves is the next one's, on the same worker.
        for _ in 0..workers * 4 {
            door.client().await.get("/").await;
        }
        assert!(red.connection_count() <= workers);
    }
}

#[tokio::test]
async fn old_clients_keep_their_connection_only_when_they_ask() {
    let red = TestBackend::start("red").await;
    let door = TestDoor::in_front_of(&[&red], 1).await;
    let mut client = door.client().await;
    for _ in 0..3 {
        let response = client.request("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await;
        assert_eq!(response.field("connection").as_deref(), Some("keep-alive"));
        assert_eq!(response.framing, Framing::Length(3));
    }
    let last = client.request("POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi").await;
    assert_eq!(last.field("connection").as_deref(), Some("close"));
    assert_eq!(client.ended().await, End::Fin);
    assert_eq!(red.request(3).body.text(), "hi");
    assert!(red.requests().iter().all(|request| request.version() == "HTTP/1.1"));
    // A request without `Host` gets the backend's address.
    assert_eq!(red.request(0).field("host"), Some(red.addr().to_string()));
}

#[tokio::test]
async fn old_backends_are_used_again_only_when_they_offer_it() {
    let red = TestBackend::start("red").await;
    let door = TestDoor::in_front_of(&[&red], 1).await;
    let mut client = door.client().await;
    let offers = "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nold";
    red.answer(Answer::bytes([offers]));
    for _ in 0..3 {
        assert_eq!(client.get("/").await.text(), "old");
    }
    assert_eq!(red.connection_count(), 1);
    red.answer(Answer::bytes([offers.replace("keep-alive", "x")]));
    for _ in 0..3 {
        assert_eq!(client.get("/").await.text(), "old");
    }
    assert_eq!(red.connection_count(), 3);
    assert_eq!(red.closed(2).await, None);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        red.answer_by(|request| {
            Answer::text(&format!("{}+{}", request.target(), request.method()))
        });
        let door = TestDoor::in_front_of(&[&red], workers).await;
        let batch = "GET /1 HTTP/1.1\r\nHost: x\r\n\r\n\
                     POST /2 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n12345\
                     GET /3 HTTP/1.1\r\nHost: x\r\n\r\n\
                     PUT /4 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n\r\n\
                     HEAD /5 HTTP/1.1\r\nHost: x\r\n\r\n\
                     GET /6 HTTP/1.1\r\nHost: x\r\n\r\n";
        let mut client = door.client().await;
        for cut in (0..batch.len()).step_by(7) {
            client.send(&batch[..cut]).await;
            tokio::task::yield_now().await;
            client.send(&batch[cut..]).await;
            for expected in ["/1+GET", "/2+POST", "/3+GET", "/4+PUT"] {
                assert_eq!(client.read_response().await.text(), expected, "cut at {cut}");
            }
            let head = client.read_head_response().await;
            assert_eq!(head.field("content-length").as_deref(), Some("7"));
            assert_eq!(client.read_response().await.text(), "/6+GET");
        }
        let bodies = red.requests();
        let of = |target: &str| bodies.iter().find(|r| r.target() == target).unwrap().body.text();
        assert_eq!((of("/2"), of("/4")), ("12345".into(), "a".into()));
    }
}

#[tokio::test]
async fn a_thousand_pipelined_requests_are_answered_one_by_one() {
    let red = TestBackend::start("red").await;
    red.answer_by(|request| Answer::text(request.target()));
    let door = TestDoor::in_front_of(&[&red], 1).await;
    let mut client = door.client().await;
    let request = |n: usize| format!("GET /{n} HTTP/1.1\r\nHost: x\r\n\r\n");
    client.send((0..1000).map(request).collect::<String>()).await;
    for n in 0..1000 {
        assert_eq!(client.read_response().await.text(), format!("/{n}"));
    }
    assert_eq!(red.connection_count(), 1);
}

#[tokio::test]
async fn a_malformed_request_behind_a_good_one_gets_its_refusal_after_the_answer() {
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        let door = TestDoor::in_front_of(&[&red], workers).await;
        let mut client = door.client().await;
        client.send(format!("{GET}GET  /two HTTP/1.1\r\nHost: x\r\n\r\n{GET}")).await;
        assert_eq!(client.read_response().await.text(), "red");
        let refusal = client.read_response().await;
        assert_eq!(refusal.status, 400);
        assert_eq!(refusal.field("connection").as_deref(), Some("close"));
        client.half_close().await;
        assert_eq!(client.ended().await, End::Fin);
        assert_eq!(red.request_count(), 1);
    }
}

#[tokio::test]
async fn requests_behind_the_last_one_do_not_cost_its_answer() {
    let red = TestBackend::start_with("red", Answer::big(1 << 20)).await;
    let door = TestDoor::in_front_of(&[&red], 1).await;
    for _ in 0..20 {
        let mut client = door.client().await;
        let last = GET.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
        client.send(last + &GET.repeat(2000)).await;
        let response = client.read_response().await;
        assert!(response.body.is_pattern && response.body.len == 1 << 20);
    }
    assert_eq!(red.request_count(), 20);
}

#[tokio::test]
async fn a_client_that_has_closed_its_half_gets_its_answers() {
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        let door = TestDoor::in_front_of(&[&red], workers).await;
        red.answer(Answer::text("late").held());
        let mut client = door.client().await;
        client.send(format!("{GET}POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx")).await;
        client.half_close().await;
        red.completed(1).await;
        red.release_all();
        assert_eq!(client.read_response().await.text(), "late");
        assert_eq!(client.read_response().await.text(), "late");
        assert_eq!(client.ended().await, End::Fin);
    }
}

#[tokio::test]
async fn a_head_that_comes_slowly_is_refused_and_an_idle_connection_closed_silently() {
    let red = TestBackend::start("red").await;
    let lines = "timeouts = { request_headers = \"200ms\", idle = \"400ms\" }";
    let door = TestDoor::checked(&with_listener(&red, 1, lines), &[&red]).await;
    for before in ["", GET] {
        let mut slow = door.client().await;
        if !before.is_empty() {
            slow.send(before).await;
            slow.read_response().await;
        }
        slow.send("GET / HTTP/1.1\r\nHo").await;
        let response = slow.read_response().await;
        assert_eq!(response.status, 408);
        assert!(response.text().contains("request_timeout"));
        assert_eq!(response.field("connection").as_deref(), Some("close"));
        slow.half_close().await;
        assert_eq!(slow.ended().await, End::Fin);
    }
    let mut idle = door.client().await;
    assert_eq!(idle.ended().await, End::Fin);
    let mut idle = door.client().await;
    idle.get("/").await;
    assert_eq!(idle.ended().await, End::Fin);
}

#[tokio::test]
async fn heads_are_accepted_up_to_their_limits_and_refused_beyond() {
    let red = TestBackend::start("red").await;
    let lines = "max_header_size = \"4KiB\"\nmax_fields = 10\nmax_uri = \"256B\"";
    let door = TestDoor::checked(&with_listener(&red, 1, lines), &[&red]).await;
    let sized = |size: usize| {
        let head = "GET / HTTP/1.1\r\nHost: x\r\nX-Big: ";
        format!("{head}{}\r\n\r\n", "b".repeat(size - head.len() - 4))
    };
    let fields =
        |count: usize| format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(count - 1));
    let target = |size: usize| format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "p".repeat(size - 1));
    for (request, expected, word) in [
        (sized(4096), 200, "red"),
        (sized(4097), 431, "head_too_large"),
        (sized(400_000), 431, "head_too_large"),
        (fields(10), 200, "red"),
        (fields(11), 431, "head_too_large"),
        (target(256), 200, "red"),
        (target(257), 414, "uri_too_long"),
        (target(100_000), 414, "uri_too_long"),
    ] {
        for pieces in [1, 3] {
            let mut client = door.client().await;
            for piece in request.as_bytes().chunks(request.len().div_ceil(pieces)) {
                client.send(piece).await;
            }
            let response = client.read_response().await;
            assert_eq!(response.status, expected, "{} bytes", request.len());
            assert!(response.text().contains(word), "{}", response.text());
        }
    }
}

#[tokio::test]
async fn big_heads_pass_whole_in_both_directions() {
    let red = TestBackend::start("red").await;
    let door = TestDoor::in_front_of(&[&red], 1).await;
    let value = "v".repeat(30_000);
    let line = format!("X-Big: {value}");
    red.answer(Answer::full(200, &[&line, &line.replace("Big", "Two")], b"body"));
    let mut client = door.client().await;
    for _ in 0..3 {
        let request =
            format!("POST / HTTP/1.1\r\nHost: x\r\n{line}\r\nContent-Length: 3\r\n\r\nabc");
        let response = client.request(request).await;
        assert_eq!(
            (response.field("x-big"), response.field("x-two")),
            (Some(value.clone()), Some(value.clone()))
        );
        assert_eq!(response.text(), "body");
        let request = red.request(red.request_count() - 1);
        assert_eq!(
            (request.field("x-big").as_ref(), request.body.text().as_str()),
            (Some(&value), "abc")
        );
    }
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_its_body_is_seen_at_the_backend() {
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        let door = TestDoor::checked(&(one_pool(&[&red], workers) + LOG), &[&red]).await;
        for fields in ["Content-Length: 100", "Transfer-Encoding: chunked"] {
            for end in [End::Fin, End::Reset] {
                let mut client = door.client().await;
                client.send(format!("PUT / HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n5\r\nabc")).await;
                let number = red.request_count() + 1;
                red.received(number).await;
                match end {
                    End::Fin => drop(client),
                    End::Reset => client.reset(),
                }
                let connection = red.request(number - 1).connection;
                assert!(red.closed(connection).await.is_some(), "{fields} {end:?}");
                assert!(!red.request(number - 1).is_whole);
            }
        }
        door.logged("client_body_broken").await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_while_it_waits_frees_its_backend() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345".to_vec();
    let stream = Answer::steps([Step::Write(head), Step::Hold]);
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        let door = TestDoor::checked(&(one_pool(&[&red], workers) + LOG), &[&red]).await;
        for answer in [Answer::text("late").held(), stream.clone()] {
            // With the first request of its connection, and with a later one.
            for earlier in [0, 1] {
                let mut client = door.client().await;
                for _ in 0..earlier {
                    client.get("/").await;
                }
                let sent = red.request_count();
                red.answer_next(answer.clone());
                client.send(GET).await;
                red.received(sent + 1).await;
                let connection = red.request(sent).connection;
                client.reset();
                assert_eq!(red.closed(connection).await, Some(Fault::Closed));
            }
        }
        door.logged("\"outcome\":\"client_gone\"").await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_an_answer_frees_its_backend() {
    for workers in WORKERS {
        let red = TestBackend::start_with("red", Answer::big(64 << 20)).await;
        let door = TestDoor::checked(&(one_pool(&[&red], workers) + LOG), &[&red]).await;
        for end in [End::Fin, End::Reset] {
            let mut client = door.client().await;
            client.send(GET).await;
            client.read_head().await;
            client.read_exact(1000).await;
            let connection = red.request(red.request_count() - 1).connection;
            match end {
                End::Fin => drop(client),
                End::Reset => client.reset(),
            }
            assert!(red.closed(connection).await.is_some());
        }
        door.logged("\"outcome\":\"client_gone\"").await;
    }
}

/// Field, what comes after `ab` of the body, and how it ends.
const CUTS: [(&str, &str, Step); 12] = [
    ("Content-Length: 10", "12345", Step::Close),
    ("Content-Length: 10", "12345", Step::Reset),
    ("Transfer-Encoding: chunked", "5\r\n12345\r\n", Step::Close),
    ("Transfer-Encoding: chunked", "5\r\n12345\r\n", Step::Reset),
    ("Transfer-Encoding: chunked", "5\r\n123", Step::Close),
    ("Transfer-Encoding: chunked", "5\r\n12345\r\n0\r\n", Step::Close),
    ("Transfer-Encoding: chunked", "5\r\n12345\r\n0\r\nX-Sum: 5\r\n", Step::Close),
    ("Transfer-Encoding: chunked", "1\r\n1\r\nzz\r\n", Step::Hold),
    ("Transfer-Encoding: chunked", "1\r\n1xx\r\n0\r\n\r\n", Step::Hold),
    ("Transfer-Encoding: chunked", "1\r\n1\r\n10000000000000000\r\n", Step::Hold),
    ("Transfer-Encoding: chunked", "0\r\nX Bad: 5\r\n\r\n", Step::Hold),
    ("X-Framing: until close", "12345", Step::Reset),
];

#[tokio::test]
async fn an_answer_that_is_cut_never_ends_cleanly_for_the_client() {
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        let door = TestDoor::checked(&(one_pool(&[&red], workers) + LOG), &[&red]).await;
        for (field, rest, end) in CUTS {
            for version in ["HTTP/1.1", "HTTP/1.0"] {
                let first = if field.contains("chunked") { "2\r\nab\r\n" } else { "ab" };
                let head = format!("HTTP/1.1 200 OK\r\n{field}\r\n\r\n{first}").into_bytes();
                let rest = Step::Write(rest.into());
                red.answer_next(Answer::steps([Step::Write(head), Step::Hold, rest, end.clone()]));
                let mut client = door.client().await;
                client.send(GET.replace("HTTP/1.1", version)).await;
                let head = client.read_head().await;
                let framing = match head.framing().unwrap() {
                    // `ab` is taken below; a chunk is a whole one.
                    Some(Framing::Length(length)) => Framing::Length(length - 2),
                    Some(chunked) => chunked,
                    None => Framing::UntilClose,
                };
                let seen = if framing == Framing::Chunked { "2\r\nab\r\n" } else { "ab" };
                assert_eq!(client.read_exact(seen.len()).await, seen.as_bytes());
                red.release();
                let fault = client.read_cut_body(framing).await;
                assert_eq!(fault, Fault::Reset, "{field} {end:?} to {version}");
            }
        }
        door.logged("\"outcome\":\"answer_cut\"").await;
    }
}

#[tokio::test]
async fn a_backend_that_dies_in_the_middle_of_an_answer_cuts_it() {
    for death in [Death::Fin, Death::Reset] {
        let red = TestBackend::start("red").await;
        let door = TestDoor::in_front_of(&[&red], 1).await;
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345".to_vec();
        red.answer(Answer::steps([Step::Write(head), Step::Hold]));
        let mut client = door.client().await;
        client.send(GET).await;
        client.read_head().await;
        client.read_exact(5).await;
        red.kill(death).await;
        assert_eq!(client.ended().await, End::Reset);
    }
}
