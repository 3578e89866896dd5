//! Connections to backends: when one is used again, when another backend is asked, and which limit
//! in time ends a request.

use std::net::SocketAddr;
use std::time::Duration;

use rustix::process::Signal;
use tests::backend::answer::Step;
use tests::door::one_pool;
use tests::{Answer, CEILING, DeafBackend, Death, Response, TestBackend, TestDoor, rest, within};

const WORKERS: [usize; 2] = [1, 4];
const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody";
const LOG: &str = "[observe]\naccess_log = { to = \"stdout\" }\n";

fn with_upstream(backend: &TestBackend, line: &str) -> String {
    one_pool(&[backend], 1)
        .replace("[pools.app.health]", &format!("upstream = {{ {line} }}\n[pools.app.health]"))
}

fn with_timeouts(backends: &[&TestBackend], workers: usize, line: &str) -> String {
    one_pool(backends, workers) + &format!("timeouts = {{ {line} }}\n{LOG}")
}

#[tokio::test]
async fn a_connection_that_the_backend_has_closed_while_idle_is_not_used() {
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        let door = TestDoor::in_front_of(&[&red], workers).await;
        for request in [GET, POST] {
            for _ in 0..10 {
                red.answer_next(Answer::text("last").close_after());
                let mut client = door.client().await;
                let sent = red.request_count();
                assert_eq!(client.get("/").await.text(), "last");
                red.closed(red.request(sent).connection).await;
                assert_eq!(client.request(request).await.text(), "red");
            }
        }
        assert_eq!(red.request_count(), 40);
    }
}

/// The backend takes the request and closes: no idle check can foresee it.
#[tokio::test]
async fn a_reused_connection_that_dies_before_its_answer_costs_only_what_may_not_be_repeated() {
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        let door = TestDoor::in_front_of(&[&red], workers).await;
        for (end, method, body, expected) in [
            (Step::Close, "GET", "", 200),
            (Step::Reset, "GET", "", 200),
            (Step::Close, "DELETE", "", 200),
            (Step::Reset, "PUT", "Content-Length: 0\r\n", 200),
            (Step::Close, "POST", "Content-Length: 0\r\n", 502),
            (Step::Reset, "POST", "Content-Length: 0\r\n", 502),
            (Step::Close, "PATCH", "", 502),
            (Step::Close, "BREW", "", 502),
        ] {
            let mut client = door.client().await;
            client.get("/").await;
            rest(Duration::from_millis(50)).await;
            let sent = red.request_count();
            red.answer_next(Answer::steps([Step::ReadBody, end.clone()]));
            let request = format!("{method} / HTTP/1.1\r\nHost: x\r\n{body}\r\n");
            let response = client.request(request).await;
            assert_eq!(response.status, expected, "{method} {end:?}");
            let asked = red.requests()[sent..].iter().filter(|r| r.method() == method).count();
            assert_eq!(asked, if expected == 200 { 2 } else { 1 }, "{method} {end:?}");
            if expected == 502 {
                assert!(response.text().contains("backend_reset"), "{}", response.text());
            }
            assert!(red.request(sent).place > 0, "the connection was a used one");
        }
    }
}

#[tokio::test]
async fn a_fresh_connection_that_dies_is_not_tried_again_at_the_same_backend() {
    let red = TestBackend::start_with("red", Answer::reset()).await;
    let door = TestDoor::in_front_of(&[&red], 1).await;
    assert_eq!(door.client().await.get("/").await.status, 502);
    assert_eq!(red.request_count(), 1);
}

#[tokio::test]
async fn a_request_that_may_be_repeated_moves_on_to_another_backend() {
    for workers in WORKERS {
        let (red, blue) = (TestBackend::start("red").await, TestBackend::start("blue").await);
        let door = TestDoor::in_front_of(&[&red, &blue], workers).await;
        red.answer(Answer::reset());
        for (request, moves_on) in [(GET, true), (POST, false)] {
            let mut refused = 0;
            for _ in 0..20 {
                let sent = red.request_count();
                let response = door.client().await.request(request).await;
                if response.status == 502 {
                    refused += 1;
                    assert_eq!(red.request_count(), sent + 1, "never sent twice");
                } else {
                    assert_eq!(response.text(), "blue");
                }
            }
            assert_eq!(refused > 0, !moves_on, "{request:?}: {refused} of 20");
        }
    }
}

#[tokio::test]
async fn nobody_notices_a_backend_that_refuses_connections() {
    for workers in WORKERS {
        let (red, blue) = (TestBackend::start("red").await, TestBackend::start("blue").await);
        // No check finds out during the test.
        let configuration = one_pool(&[&red, &blue], workers).replace("50ms", "1h");
        let door = TestDoor::start(&configuration).await;
        red.probed(1).await;
        blue.probed(1).await;
        until_both_answer(&door, &red, &blue).await;
        red.kill(Death::Reset).await;
        for request in [GET, POST].repeat(10) {
            assert_eq!(door.client().await.request(request).await.text(), "blue");
        }
    }
}

async fn until_both_answer(door: &TestDoor, red: &TestBackend, blue: &TestBackend) {
    within(CEILING, async {
        while red.request_count() == 0 || blue.request_count() == 0 {
            door.client().await.get("/").await;
        }
    })
    .await;
}

/// The request, the answer, and the word for it in body and log.
async fn ends_with(door: &TestDoor, request: &str, word: &str) -> Response {
    let response = door.client().await.request(request).await;
    let status = if word == "connect_failed" { 502 } else { 504 };
    assert_eq!(response.status, status, "{}", response.text());
    assert!(response.text().contains(word), "no {word} in {}", response.text());
    door.logged(&format!("\"outcome\":\"{word}\"")).await;
    response
}

/// A door whose only backend is at this address. The checks ask another port, where all is well.
async fn door_to(addr: SocketAddr, red: &TestBackend, workers: usize) -> TestDoor {
    let address = format!("address = \"{}\"", red.addr());
    let health = format!("[pools.app.health]\nport = {}", red.addr().port());
    let configuration = with_timeouts(&[red], workers, "connect = \"100ms\"")
        .replace(&address, &format!("address = \"{addr}\""))
        .replace("[pools.app.health]", &health);
    TestDoor::checked(&configuration, &[red]).await
}

#[tokio::test]
async fn a_connect_that_hangs_ends_with_its_limit() {
    let red = TestBackend::start("red").await;
    let deaf = DeafBackend::start();
    let door = door_to(deaf.addr(), &red, 1).await;
    for request in [GET, POST] {
        ends_with(&door, request, "connect_timeout").await;
    }
    assert_eq!(red.request_count(), 0);
}

#[tokio::test]
async fn a_connect_that_is_refused_by_the_only_backend_is_told_so() {
    for workers in WORKERS {
        let (red, dead) = (TestBackend::start("red").await, TestBackend::start("dead").await);
        dead.kill(Death::Reset).await;
        let door = door_to(dead.addr(), &red, workers).await;
        for request in [GET, POST] {
            ends_with(&door, request, "connect_failed").await;
        }
        assert_eq!(red.request_count(), 0);
    }
}

#[tokio::test]
async fn each_limit_until_the_answer_has_its_own_word() {
    for workers in WORKERS {
        for (limits, word, requests) in [
            ("attempt = \"100ms\"", "attempt_timeout", [GET, POST]),
            ("first_byte = \"100ms\"", "first_byte_timeout", [GET, POST]),
            ("total = \"100ms\"", "total_timeout", [GET, POST]),
            ("attempt = \"150ms\", first_byte = \"100ms\"", "first_byte_timeout", [GET, POST]),
        ] {
            let red = TestBackend::start_with("red", Answer::text("late").held()).await;
            let door = TestDoor::checked(&with_timeouts(&[&red], workers, limits), &[&red]).await;
            for request in requests {
                ends_with(&door, request, word).await;
            }
            assert_eq!(red.request_count(), 2, "{limits}");
            assert!(red.closed(1).await.is_some());
        }
    }
}

#[tokio::test]
async fn a_route_has_limits_of_its_own_and_the_rest_from_the_defaults() {
    let red = TestBackend::start_with("red", Answer::text("late").held()).await;
    let own = "[[routes]]\nname = \"own\"\nmatch = { path = \"/own\" }\nto = { pool = \"app\" }\n\
               timeouts = { attempt = \"100ms\" }\n[[routes]]\nname = \"all\"";
    let defaults = "[defaults.timeouts]\nattempt = \"1h\"\ntotal = \"300ms\"\n";
    let configuration = one_pool(&[&red], 1).replace("[[routes]]\nname = \"all\"", own);
    let door = TestDoor::checked(&(configuration + defaults + LOG), &[&red]).await;
    ends_with(&door, "POST /own HTTP/1.1\r\nHost: x\r\n\r\n", "attempt_timeout").await;
    ends_with(&door, POST, "total_timeout").await;
}

/// The door, not the backend, had no time: its limits start again.
#[tokio::test]
async fn a_limit_that_the_door_itself_slept_through_is_no_fault_of_the_backends() {
    for limits in ["attempt = \"500ms\"", "first_byte = \"500ms\""] {
        let red = TestBackend::start_with("red", Answer::text("late").held()).await;
        let configuration = with_timeouts(&[&red], 1, limits).replace("50ms", "10s");
        let door = TestDoor::start(&configuration).await;
        door.logged("backend_in_rotation").await;
        let mut client = door.client().await;
        client.send(POST).await;
        red.received(1).await;
        door.signal(Signal::STOP);
        rest(Duration::from_millis(900)).await;
        door.signal(Signal::CONT);
        // Long after the limit, soon after the end of the sleep.
        rest(Duration::from_millis(100)).await;
        red.release_all();
        assert_eq!(client.read_response().await.text(), "late", "{limits}");
    }
}

#[tokio::test]
async fn an_attempt_that_takes_too_long_moves_on_if_it_may_be_repeated() {
    let (red, blue) = (TestBackend::start("red").await, TestBackend::start("blue").await);
    red.answer(Answer::text("late").held());
    let configuration = with_timeouts(&[&red, &blue], 1, "attempt = \"100ms\"");
    let door = TestDoor::checked(&configuration, &[&red, &blue]).await;
    for _ in 0..4 {
        assert_eq!(door.client().await.get("/").await.text(), "blue");
    }
    assert!(red.request_count() > 0);
}

#[tokio::test]
async fn a_body_that_takes_its_time_does_not_use_up_the_backends() {
    let red = TestBackend::start("red").await;
    let limits = "attempt = \"200ms\", first_byte = \"200ms\"";
    let door = TestDoor::checked(&with_timeouts(&[&red], 1, limits), &[&red]).await;
    let mut client = door.client().await;
    client.send("PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 40\r\n\r\n").await;
    // A slow uplink: longer than either limit in all.
    for _ in 0..8 {
        rest(Duration::from_millis(100)).await;
        client.send("slow ").await;
    }
    assert_eq!(client.read_response().await.text(), "red");

    // From the last byte on it is the backend's time.
    red.answer(Answer::text("late").held());
    client.send("PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nslow ").await;
    rest(Duration::from_millis(100)).await;
    client.send("slow ").await;
    let response = client.read_response().await;
    assert_eq!(response.status, 504);
    let words = ["attempt_timeout", "first_byte_timeout"];
    assert!(words.iter().any(|word| response.text().contains(word)), "{}", response.text());
}

#[tokio::test]
async fn silence_in_the_middle_of_a_body_ends_it() {
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        let limit = "idle_stream = \"200ms\"";
        let door = TestDoor::checked(&with_timeouts(&[&red], workers, limit), &[&red]).await;
        // Of the client.
        let mut client = door.client().await;
        client.send("PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345").await;
        let response = client.read_response().await;
        assert!(response.text().contains("stream_idle"), "{}", response.text());
        assert!(red.closed(0).await.is_some());
        // Of the backend.
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345".to_vec();
        red.answer_next(Answer::steps([Step::Write(head), Step::Hold]));
        let mut client = door.client().await;
        client.send(GET).await;
        let (part, _) = client.read_cut_response().await;
        assert_eq!(part.text(), "12345");
        door.logged("\"outcome\":\"stream_idle\"").await;
    }
}

#[tokio::test]
async fn a_total_limit_cuts_an_answer_that_flows() {
    let red = TestBackend::start("red").await;
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345".to_vec();
    red.answer(Answer::steps([Step::Write(head), Step::Hold]));
    let door = TestDoor::checked(&with_timeouts(&[&red], 1, "total = \"200ms\""), &[&red]).await;
    let mut client = door.client().await;
    client.send(GET).await;
    assert_eq!(client.read_cut_response().await.0.text(), "12345");
    door.logged("\"outcome\":\"total_timeout\"").await;
}

#[tokio::test]
async fn idle_connections_live_no_longer_than_both_sides_want() {
    for (line, field, place) in [
        ("max_requests = 3", "X-A: b", [0, 1, 2, 0]),
        ("idle = \"1ms\"", "X-A: b", [0, 0, 0, 0]),
        ("max_age = \"1ms\"", "X-A: b", [0, 0, 0, 0]),
        ("max_idle = 0", "X-A: b", [0, 0, 0, 0]),
        ("idle = \"1m\"", "Keep-Alive: timeout=0", [0, 0, 0, 0]),
        ("idle = \"1m\"", "Keep-Alive: timeout=9, max=5", [0, 1, 2, 3]),
        ("idle = \"1m\"", "Connection: close", [0, 0, 0, 0]),
    ] {
        let red = TestBackend::start_with("red", Answer::full(200, &[field], b"ok")).await;
        let door = TestDoor::checked(&with_upstream(&red, line), &[&red]).await;
        let mut client = door.client().await;
        for expected in place {
            assert_eq!(client.get("/").await.text(), "ok");
            rest(Duration::from_millis(15)).await;
            let request = red.request(red.request_count() - 1);
            assert_eq!(request.place, expected, "{line}, {field}");
        }
    }
}

#[tokio::test]
async fn what_the_backend_promises_shortens_the_idle_life() {
    let red =
        TestBackend::start_with("red", Answer::full(200, &["Keep-Alive: timeout=1"], b"ok")).await;
    let door = TestDoor::checked(&with_upstream(&red, "idle = \"1m\""), &[&red]).await;
    let mut client = door.client().await;
    client.get("/").await;
    // The door closes it itself, before the backend would, and without another request.
    assert_eq!(red.closed(0).await, None);
    client.get("/").await;
    assert_eq!(red.connection_count(), 2);
}

#[tokio::test]
async fn what_may_not_be_repeated_takes_a_connection_that_has_rested_a_little_or_a_fresh_one() {
    let red = TestBackend::start("red").await;
    let door = TestDoor::in_front_of(&[&red], 1).await;
    let mut client = door.client().await;
    client.get("/").await;
    rest(Duration::from_millis(100)).await;
    client.request(POST).await;
    assert_eq!(red.request(1).place, 1, "it has rested");
    // At once: nobody can know yet whether the backend closes it.
    within(CEILING, async {
        while red.connection_count() == 1 {
            client.request(POST).await;
        }
    })
    .await;
    rest(Duration::from_millis(1_200)).await;
    client.request(POST).await;
    let last = || red.request(red.request_count() - 1);
    assert_eq!(last().place, 0, "it has rested for too long");
    client.get("/").await;
    assert!(last().place > 0, "what may be repeated takes any");
}

#[tokio::test]
async fn a_backend_gets_requests_only_between_a_pass_and_a_failure_of_its_checks() {
    for workers in WORKERS {
        let (red, blue) = (TestBackend::start("red").await, TestBackend::start("blue").await);
        red.answer_probes("/healthz", 503);
        let configuration = one_pool(&[&red, &blue], workers).replace("50ms", "20ms");
        let door = TestDoor::start(&configuration).await;
        red.probed(3).await;
        blue.probed(3).await;
        for _ in 0..20 {
            assert_eq!(door.client().await.get("/").await.text(), "blue");
        }
        assert_eq!(red.request_count(), 0, "a new backend is down until a check has passed");

        red.answer_probes("/healthz", 200);
        until_both_answer(&door, &red, &blue).await;

        blue.answer_probes("/healthz", 503);
        red.answer_probes("/healthz", 503);
        door.logged("backend_unhealthy").await;
        within(CEILING, async { while door.client().await.get("/").await.status == 200 {} }).await;
        let sent = red.request_count() + blue.request_count();
        let response = door.client().await.get("/").await;
        assert_eq!(response.status, 503);
        assert!(response.text().contains("no_healthy_backend"));
        assert!(response.field("retry-after").is_some());
        assert_eq!(red.request_count() + blue.request_count(), sent);
    }
}
