//! What is tried again, what is not, and what it costs the backends.

use std::time::Duration;

use tests::backend::answer::Step;
use tests::crowd::{crowd, plain};
use tests::door::one_pool;
use tests::{Answer, CEILING, Death, TestBackend, TestDoor, rest, within};

const WORKERS: [usize; 2] = [1, 4];

fn with_retries(backends: &[&TestBackend], workers: usize, retries: &str) -> String {
    one_pool(backends, workers) + &format!("retries = {{ {retries} }}\n")
}

fn request(method: &str, fields: &str, body: &str) -> String {
    let length = match body {
        "" => String::new(),
        body => format!("Content-Length: {}\r\n", body.len()),
    };
    format!("{method} / HTTP/1.1\r\nHost: x\r\n{fields}{length}\r\n{body}")
}

async fn pair() -> (TestBackend, TestBackend) {
    (TestBackend::start("red").await, TestBackend::start("blue").await)
}

#[tokio::test]
async fn an_answer_that_another_backend_may_better_is_given_up_for_it() {
    for workers in WORKERS {
        for status in [502, 503, 504] {
            let (red, blue) = pair().await;
            red.answer(Answer::status(status));
            let door = TestDoor::in_front_of(&[&red, &blue], workers).await;
            for method in ["GET", "DELETE", "PUT"] {
                for _ in 0..6 {
                    let mut client = door.client().await;
                    let response = client.request(request(method, "", "")).await;
                    assert_eq!(response.text(), "blue", "{method} {status}");
                }
            }
            assert!(red.request_count() > 0, "{status}");
        }
    }
}

#[tokio::test]
async fn an_answer_without_a_better_one_reaches_the_client_whole() {
    let (red, blue) = pair().await;
    let body = "x".repeat(100_000);
    for backend in [&red, &blue] {
        backend.answer(Answer::full(503, &["X-Mine: yes"], body.as_bytes()));
    }
    let door = TestDoor::in_front_of(&[&red, &blue], 1).await;
    let mut client = door.client().await;
    let response = client.get("/").await;
    assert_eq!((response.status, response.text().len()), (503, body.len()));
    assert_eq!(response.field("x-mine").as_deref(), Some("yes"));
    assert_eq!(red.request_count() + blue.request_count(), 2);

    // A single backend, and nothing is asked twice.
    let door = TestDoor::in_front_of(&[&red], 1).await;
    let sent = red.request_count();
    let mut client = door.client().await;
    for _ in 0..3 {
        let response = client.get("/").await;
        assert_eq!((response.status, response.text().len()), (503, body.len()));
    }
    assert_eq!(red.request_count(), sent + 3);
}

#[tokio::test]
async fn a_post_is_never_sent_twice_whatever_the_backend_does_with_it() {
    for workers in WORKERS {
        let (red, blue) = pair().await;
        let door = TestDoor::in_front_of(&[&red, &blue], workers).await;
        for answer in [Answer::reset(), Answer::close(), Answer::status(503)] {
            red.answer(answer.clone());
            blue.answer(answer);
            for number in 0..20 {
                // A key says nothing unless the route names the method.
                let key = format!("Idempotency-Key: {number}\r\n");
                let fields = if number % 2 == 0 { &key } else { "" };
                let sent = red.request_count() + blue.request_count();
                let response = door.client().await.request(request("POST", fields, "body")).await;
                assert!(matches!(response.status, 502 | 503), "{}", response.status);
                assert_eq!(red.request_count() + blue.request_count(), sent + 1);
            }
        }
    }
}

#[tokio::test]
async fn a_post_with_a_key_is_sent_again_with_its_body_where_the_route_says_so() {
    for workers in WORKERS {
        let (red, blue) = pair().await;
        red.answer(Answer::reset());
        let configuration = with_retries(&[&red, &blue], workers, "methods = [\"GET\", \"POST\"]");
        let door = TestDoor::checked(&configuration, &[&red, &blue]).await;
        let chunked = "POST / HTTP/1.1\r\nHost: x\r\nIdempotency-Key: 7\r\n\
                       Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n";
        let with_key = request("POST", "Idempotency-Key: 7\r\n", "body");
        for text in [with_key.as_str(), chunked] {
            for _ in 0..8 {
                let seen = blue.request_count();
                let response = door.client().await.request(text).await;
                assert_eq!(response.text(), "blue");
                assert_eq!(blue.request_count(), seen + 1);
                assert_eq!(blue.request(seen).body.bytes(), b"body");
            }
        }
        assert!(red.request_count() > 0);
        // Without a key, or with one that stays here, and with a method that is not named.
        let kept = request("POST", "Idempotency-Key: 7\r\nConnection: idempotency-key\r\n", "body");
        for text in [request("POST", "", "body"), kept, request("DELETE", "", "")] {
            let mut failed = 0;
            for _ in 0..8 {
                failed += usize::from(door.client().await.request(&text).await.status == 502);
            }
            assert!(failed > 0, "{text}");
        }
    }
}

#[tokio::test]
async fn a_body_too_large_to_be_kept_is_sent_once() {
    let (red, blue) = pair().await;
    red.answer(Answer::reset());
    let door = TestDoor::in_front_of(&[&red, &blue], 1).await;
    let body = "x".repeat(20_000);
    let mut failed = 0;
    for _ in 0..8 {
        let sent = red.request_count();
        let response = door.client().await.request(request("PUT", "", &body)).await;
        if response.status == 502 {
            failed += 1;
            assert_eq!(red.request_count(), sent + 1);
        } else {
            assert_eq!(response.text(), "blue");
        }
    }
    assert!(failed > 0);
}

#[tokio::test]
async fn only_what_is_named_is_tried_again() {
    for (retries, answer, expected) in [
        ("on = [\"503\"]", Answer::status(503), 200),
        ("on = [\"503\"]", Answer::status(502), 502),
        ("on = [\"500\"]", Answer::status(500), 200),
        ("max = 1", Answer::status(500), 500),
        ("on = [\"503\"]", Answer::reset(), 502),
        ("on = [\"reset_before_headers\"]", Answer::status(503), 503),
        ("on = [\"reset_before_headers\"]", Answer::reset(), 200),
        ("on = []", Answer::reset(), 502),
        ("max = 0", Answer::status(503), 503),
        ("budget = \"0%\"", Answer::status(503), 503),
        ("methods = [\"HEAD\"]", Answer::reset(), 502),
    ] {
        let (red, blue) = pair().await;
        red.answer(answer);
        let configuration = with_retries(&[&red, &blue], 1, retries);
        let door = TestDoor::checked(&configuration, &[&red, &blue]).await;
        let mut worst = 200;
        for _ in 0..6 {
            worst = worst.max(door.client().await.get("/").await.status);
        }
        assert_eq!(worst, expected, "{retries}");
    }
}

#[tokio::test]
async fn the_same_backend_is_asked_again_only_if_the_route_allows_it_and_there_is_no_other() {
    for (retries, expected) in [("other_backend = true", 502), ("other_backend = false", 200)] {
        let red = TestBackend::start("red").await;
        let door = TestDoor::checked(&with_retries(&[&red], 1, retries), &[&red]).await;
        red.answer_next(Answer::reset());
        assert_eq!(door.client().await.get("/").await.status, expected, "{retries}");
    }
}

/// All backends accept and fail, so every request could cost two.
#[tokio::test]
async fn a_total_outage_costs_at_most_a_fifth_more_requests() {
    for workers in WORKERS {
        for answer in [Answer::status(503), Answer::reset()] {
            let (red, blue) = pair().await;
            let door = TestDoor::in_front_of(&[&red, &blue], workers).await;
            // Some traffic that earns tokens.
            crowd(door.addr("web"), 4, 400, plain).await;
            red.answer(answer.clone());
            blue.answer(answer);
            let before = red.request_count() + blue.request_count();
            let tally = crowd(door.addr("web"), 8, 1_000, plain).await;
            assert!(tally.keys().all(|key| key.starts_with("status 50")), "{tally:?}");
            let cost = red.request_count() + blue.request_count() - before;
            assert!((1_000..=1_200).contains(&cost), "{cost} requests for 1,000");
        }
    }
}

/// Nobody knows of a second attempt that it does not help before it has hung as long as the first.
#[tokio::test]
async fn a_total_outage_in_which_backends_hang_costs_no_more() {
    for workers in WORKERS {
        let (red, blue) = pair().await;
        let limit = "timeouts = { attempt = \"400ms\" }\n";
        let configuration = one_pool(&[&red, &blue], workers) + limit;
        let door = TestDoor::checked(&configuration, &[&red, &blue]).await;
        for backend in [&red, &blue] {
            backend.answer(Answer::text("late").held());
        }
        // All of them come before the first retry has failed.
        let tally = crowd(door.addr("web"), 100, 100, plain).await;
        assert!(tally.keys().all(|key| key.starts_with("status 50")), "{tally:?}");
        let cost = red.request_count() + blue.request_count();
        assert!((101..=120).contains(&cost), "{cost} requests for 100");
    }
}

/// How often a request is sent in all whose kept connections answer so, and so do new ones.
async fn sends_over_kept_connections(retries: &str, answer: Answer) -> usize {
    let (red, blue) = pair().await;
    let configuration = with_retries(&[&red, &blue], 1, retries);
    let door = TestDoor::checked(&configuration, &[&red, &blue]).await;
    for backend in [&red, &blue] {
        let answer = answer.clone();
        backend.answer_by(move |request| match request.method() {
            "DELETE" => answer.clone(),
            _ => Answer::text("kept"),
        });
    }
    let mut client = door.client().await;
    within(CEILING, async {
        while red.request_count() == 0 || blue.request_count() == 0 {
            client.get("/").await;
        }
    })
    .await;
    rest(Duration::from_millis(50)).await;
    let response = client.request(request("DELETE", "", "")).await;
    assert_eq!(response.status, 502, "{retries}");
    let of = |backend: &TestBackend| {
        backend.requests().iter().filter(|request| request.method() == "DELETE").count()
    };
    of(&red) + of(&blue)
}

/// It takes the request and closes, which nobody can tell from a connection that was idle too long.
#[tokio::test]
async fn a_request_that_kept_connections_close_upon_is_sent_as_often_as_the_route_says() {
    for (retries, expected) in [
        // Over the kept connection, over a new one, and to the other backend.
        ("max = 1", 3),
        ("max = 5", 3),
        ("max = 0", 1),
        ("on = []", 1),
        ("on = [\"503\"]", 1),
        ("methods = [\"GET\"]", 1),
        ("budget = \"0%\"", 1),
    ] {
        let sends = sends_over_kept_connections(retries, Answer::close()).await;
        assert_eq!(sends, expected, "{retries}");
    }
}

/// Who has sent an interim answer has read the request: its connection was not closed before.
#[tokio::test]
async fn a_close_behind_an_interim_answer_is_a_failed_attempt_also_over_a_kept_connection() {
    let interim = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n";
    for (retries, expected) in [("max = 0", 1), ("max = 1", 2)] {
        let answer = Answer::steps([Step::ReadBody, Step::Write(interim.into()), Step::Close]);
        assert_eq!(sends_over_kept_connections(retries, answer).await, expected, "{retries}");
    }
}

#[tokio::test]
async fn a_backend_that_closes_each_kept_connection_costs_no_request_and_no_more_than_the_budget() {
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        let door = TestDoor::in_front_of(&[&red], workers).await;
        red.answer_by(|request| match request.place {
            0 => Answer::text("first"),
            _ => Answer::close(),
        });
        let mut client = door.client().await;
        for _ in 0..300 {
            assert_eq!(client.request(request("DELETE", "", "")).await.text(), "first");
        }
        let cost = red.request_count();
        assert!((301..=330).contains(&cost), "{cost} requests for 300");
    }
}

/// Many at once find one of two backends hanging: the other answers, so each of them is helped.
#[tokio::test]
async fn one_backend_that_hangs_costs_nobody_an_answer() {
    for workers in WORKERS {
        let (red, blue) = pair().await;
        let configuration =
            one_pool(&[&red, &blue], workers) + "timeouts = { attempt = \"400ms\" }\n";
        let door = TestDoor::checked(&configuration, &[&red, &blue]).await;
        red.answer(Answer::text("late").held());
        let tally = crowd(door.addr("web"), 40, 40, plain).await;
        assert_eq!(tally["blue"], 40, "{tally:?}");
    }
}

/// Each pool of a waterfall is paid back what it has paid.
#[tokio::test]
async fn a_retry_that_moves_to_the_next_pool_is_paid_by_the_first() {
    for workers in WORKERS {
        let (red, blue) = pair().await;
        let entry =
            |backend: &TestBackend| format!("backends = [{{ address = \"{}\" }}]", backend.addr());
        let configuration = one_pool(&[&red], workers)
            .replace("to = { pool = \"app\" }", "to = { waterfall = [\"app\", \"next\"] }")
            + "timeouts = { attempt = \"150ms\" }\n"
            + &format!(
                "[pools.next]\n{}\n[pools.next.health]\npath = \"/healthz\"\ninterval = \"50ms\"\n\
                 healthy_after = 1\n[pools.app.outlier]\nmax_ejected = \"0%\"\n",
                entry(&blue)
            );
        let door = TestDoor::checked(&configuration, &[&red, &blue]).await;
        red.answer(Answer::text("late").held());
        let mut client = door.client().await;
        for number in 0..12 {
            assert_eq!(client.get("/").await.text(), "blue", "{number}");
        }
    }
}

/// What a retry has paid ahead is there again when its answer begins: a long body keeps nothing.
#[tokio::test]
async fn retries_with_long_answers_leave_the_budget_to_others() {
    let (red, blue) = pair().await;
    let configuration = one_pool(&[&red, &blue], 1)
        .replace("[pools.app]\n", "[pools.app]\nbalance = \"first\"\n")
        + "timeouts = { attempt = \"100ms\" }\n[pools.app.outlier]\nmax_ejected = \"0%\"\n";
    let door = TestDoor::checked(&configuration, &[&red, &blue]).await;
    red.answer(Answer::text("late").held());
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbl";
    blue.answer(Answer::steps([Step::Write(head.into()), Step::Hold, Step::Write("ue".into())]));
    let mut clients = Vec::new();
    for number in 0..12 {
        let mut client = door.client().await;
        client.send(request("GET", "", "")).await;
        assert_eq!(client.read_head().await.start, "HTTP/1.1 200 OK", "{number}");
        clients.push(client);
    }
    blue.release_all();
    for client in &mut clients {
        assert_eq!(client.read_exact(4).await, b"blue");
    }
}

#[tokio::test]
async fn nothing_is_tried_again_once_part_of_an_answer_is_out() {
    let (red, blue) = pair().await;
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345".to_vec();
    for backend in [&red, &blue] {
        backend.answer(Answer::steps([Step::ReadBody, Step::Write(head.clone()), Step::Reset]));
    }
    let door = TestDoor::in_front_of(&[&red, &blue], 1).await;
    let mut client = door.client().await;
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(client.read_cut_response().await.0.text(), "12345");
    assert_eq!(red.request_count() + blue.request_count(), 1);
}

/// A process that hangs keeps its connections: nothing but its checks tells that it is gone.
#[tokio::test]
async fn what_waits_for_a_backend_that_is_found_unhealthy_moves_on_if_it_may() {
    for workers in WORKERS {
        let (red, blue) = pair().await;
        let turns = "kind = \"static\"\nbalance = \"round_robin\"";
        let configuration = one_pool(&[&red, &blue], workers).replace("kind = \"static\"", turns);
        let door = TestDoor::checked(&configuration, &[&red, &blue]).await;
        red.answer(Answer::text("late").held());
        let mut waiting = Vec::new();
        for text in [request("GET", "", ""), request("POST", "", "body")] {
            let seen = red.request_count();
            for _ in 0..100 {
                let sent = red.request_count() + blue.request_count();
                let mut client = door.client().await;
                client.send(&text).await;
                within(CEILING, async {
                    while red.request_count() + blue.request_count() == sent {
                        tokio::task::yield_now().await;
                    }
                })
                .await;
                if red.request_count() > seen {
                    waiting.push(client);
                    break;
                }
            }
        }
        let [get, post] = &mut waiting[..] else { panic!("both are at red") };
        red.answer_probes("/healthz", 503);
        assert_eq!(get.read_response().await.text(), "blue");
        red.release_all();
        assert_eq!(post.read_response().await.text(), "late");
        assert_eq!(red.request_count(), 2);
    }
}

#[tokio::test]
async fn a_further_attempt_is_counted_once_whatever_ends_it() {
    for workers in WORKERS {
        let (red, blue) = pair().await;
        // No check finds out during the test.
        let config = one_pool(&[&red, &blue], workers).replace("50ms", "1h");
        let metrics = "[observe]\nmetrics = { listen = \"127.0.0.1:0\" }\n";
        let door = TestDoor::start(&(config + metrics)).await;
        red.probed(1).await;
        blue.probed(1).await;
        let mut client = door.client().await;
        within(CEILING, async {
            while red.request_count() == 0 || blue.request_count() == 0 {
                client.get("/").await;
            }
        })
        .await;
        // One says 503 and the other refuses connections: whichever is asked first, the further
        // attempt does not help. A failed one that was paid empties the budget, so it is not
        // asked for more than once.
        red.answer(Answer::status(503));
        blue.kill(Death::Reset).await;
        for _ in 0..2 {
            client.get("/").await;
        }
        let series =
            |outcome| format!("tidegate_retries_total{{pool=\"app\",outcome=\"{outcome}\"}}");
        // Counted when the attempt is over, which is after its answer.
        within(CEILING, async { while door.metric(&series("failed")).await < 2.0 {} }).await;
        assert_eq!(door.metric(&series("failed")).await, 2.0);
        assert_eq!(door.metric(&series("ok")).await, 0.0);
    }
}
