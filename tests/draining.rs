//! A drain that has taken long enough: what still streams is cut, and what ends by itself ends.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test, in helpers too

use std::time::Duration;

use tests::backend::answer::Step;
use tests::door::one_pool;
use tests::load::{Load, Manner};
use tests::operator::{Operator, over_unix};
use tests::{Answer, CEILING, DeafBackend, Death, End, TestBackend, TestClient, TestDoor, within};

const WORKERS: [usize; 2] = [1, 4];
const RED: &str = "/v1/pools/app/backends/red";
const EVENT: &[u8] = b"5\r\nevent\r\n";

/// One pool of these, with `drain = { ... }`, and its door once all of them serve.
async fn door(drain: &str, backends: &[&TestBackend], workers: usize) -> (TestDoor, Operator) {
    door_of(&format!("drain = {{ {drain} }}\n"), backends, workers).await
}

/// The same with these lines of the pool.
async fn door_of(pool: &str, backends: &[&TestBackend], workers: usize) -> (TestDoor, Operator) {
    let pool = format!("kind = \"static\"\n{pool}");
    let config = one_pool(backends, workers).replace("kind = \"static\"\n", &pool);
    let (door, operator) = Operator::of(&config, backends).await;
    for backend in backends {
        let path = format!("/v1/pools/app/backends/{}", backend.name());
        operator.until(&path, |now| now["state"] == "serving").await;
    }
    (door, operator)
}

/// Echoes over a tunnel, streams events, or holds an answer back, by the path.
fn answer_by_path(backend: &TestBackend) {
    backend.answer_by(|request| match request.head.start.split(' ').nth(1).unwrap() {
        "/chat" => Answer::upgrade("websocket"),
        "/events" => {
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                        Transfer-Encoding: chunked\r\n\r\n";
            Answer::steps([Step::Write(head.into()), Step::Write(EVENT.to_vec()), Step::Hold])
        }
        "/slow" => Answer::text("late").held(),
        _ => Answer::text("red"),
    });
}

async fn tunnel(door: &TestDoor) -> TestClient {
    let mut client = door.client().await;
    client.ceiling = CEILING * 4;
    let chat = "GET /chat HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(client.request(chat).await.status, 101);
    client
}

async fn events(door: &TestDoor) -> TestClient {
    let mut client = door.client().await;
    client.ceiling = CEILING * 4;
    client.send("GET /events HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(client.read_head().await.start, "HTTP/1.1 200 OK");
    assert_eq!(client.read_exact(EVENT.len()).await, EVENT);
    client
}

async fn slow(door: &TestDoor, red: &TestBackend) -> TestClient {
    let (mut client, before) = (door.client().await, red.request_count());
    client.ceiling = CEILING * 4;
    client.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await;
    red.received(before + 1).await;
    client
}

/// How many requests ended with this outcome.
async fn ended(operator: &Operator, outcome: &str) -> usize {
    let request = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
    let (_, text) = over_unix(&operator.socket(), request).await;
    let name = format!("tidegate_request_outcomes_total{{outcome=\"{outcome}\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&name));
    line.map_or(0, |count| count.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_are_cut_when_a_drain_has_waited_for_them_and_a_request_is_not() {
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        answer_by_path(&red);
        let (door, operator) = door("wait_streams = \"500ms\"", &[&red], workers).await;
        let mut streams = Vec::new();
        for _ in 0..3 {
            streams.push(tunnel(&door).await);
        }
        streams.push(events(&door).await);
        let mut slow = slow(&door, &red).await;
        let run = operator.command(&["drain", "app/red", "--wait"]);
        let wait = tokio::spawn(run);
        for stream in &mut streams {
            // Visibly cut, not as if the stream were whole.
            assert_eq!(stream.ended().await, End::Reset);
        }
        let told = operator.told("drain_closes_streams").await;
        assert_eq!((&told["backend"], &told["level"]), (&"red".into(), &"info".into()));
        let now = operator.get(RED).await;
        assert_eq!((&now["state"], &now["in_flight"]), (&"draining".into(), &1.into()));
        assert_eq!(now["drain"]["cut"], 4);
        red.release_all();
        assert_eq!(slow.read_response().await.text(), "late");
        let output = within(CEILING * 2, wait).await.unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(
            text.ends_with("app/red drained; it waited for 5 requests, 4 of them were cut\n"),
            "{text}"
        );
        let told = operator.told("backend_drained").await;
        let fields = (&told["fields"]["waited_for"], &told["fields"]["cut"]);
        assert_eq!(fields, (&5.into(), &4.into()));
        assert_eq!(ended(&operator, "drained").await, 4);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_cut_only_where_its_wait_is_limited() {
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        answer_by_path(&red);
        let drain = "wait_inflight = \"500ms\", wait_streams = \"1h\"";
        let (door, operator) = door(drain, &[&red], workers).await;
        let mut chat = tunnel(&door).await;
        let mut slow = slow(&door, &red).await;
        assert_eq!(operator.ask("POST", &format!("{RED}/drain"), "").await.0, 200);
        assert_eq!(slow.read_response().await.status, 503);
        let told = operator.told("drain_ran_out").await;
        assert_eq!((&told["backend"], &told["level"]), (&"red".into(), &"warn".into()));
        // Its own wait is longer.
        chat.send("still").await;
        assert_eq!(chat.read_exact(5).await, b"still");
        let now = operator.get(RED).await;
        assert_eq!((&now["in_flight"], &now["streams"]), (&0.into(), &1.into()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_cut_goes_to_another_backend_if_it_may() {
    for workers in WORKERS {
        let (red, blue) = (TestBackend::start("red").await, TestBackend::start("blue").await);
        answer_by_path(&red);
        let pool = "balance = \"round_robin\"\ndrain = { wait_inflight = \"500ms\" }\n";
        let (door, operator) = door_of(pool, &[&red, &blue], workers).await;
        let mut cut = Vec::new();
        for method in ["GET", "POST"] {
            let before = red.request_count();
            for _ in 0..100 {
                let sent = red.request_count() + blue.request_count();
                let mut client = door.client().await;
                client.ceiling = CEILING * 4;
                let length = "Content-Length: 0\r\n\r\n";
                client.send(format!("{method} /slow HTTP/1.1\r\nHost: x\r\n{length}")).await;
                within(CEILING, async {
                    while red.request_count() + blue.request_count() == sent {
                        tokio::task::yield_now().await;
                    }
                })
                .await;
                if red.request_count() > before {
                    cut.push(client);
                    break;
                }
            }
        }
        let [get, post] = &mut cut[..] else { panic!("both are at red") };
        assert_eq!(operator.ask("POST", &format!("{RED}/drain"), "").await.0, 200);
        assert_eq!(get.read_response().await.text(), "blue");
        assert_eq!(post.read_response().await.status, 503);
        operator.until(RED, |now| now["state"] == "drained").await;
        assert_eq!(operator.get(RED).await["drain"]["cut"], 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_that_is_taken_back_cuts_nothing() {
    let red = TestBackend::start("red").await;
    answer_by_path(&red);
    let (door, operator) = door("wait_streams = \"800ms\"", &[&red], 2).await;
    let mut chat = tunnel(&door).await;
    let order = async |verb: &str| operator.ask("POST", &format!("{RED}/{verb}"), "").await.0;
    assert_eq!((order("drain").await, order("undrain").await), (200, 200));
    // Checks come 50 ms apart: more than the wait, a look and all of the spread.
    red.probed(red.probe_count() + 70).await;
    chat.send("still").await;
    assert_eq!(chat.read_exact(5).await, b"still");
    assert_eq!(ended(&operator, "drained").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_ends_once_it_is_drained_costs_no_request() {
    for workers in WORKERS {
        let (red, blue) = (TestBackend::start("red").await, TestBackend::start("blue").await);
        let (door, operator) = door("", &[&red, &blue], workers).await;
        let load = Load::start(door.addr("web"), 8, Manner::Kept, Duration::from_millis(2));
        for _ in 0..5 {
            load.goes_on(100).await;
            let output = operator.command(&["drain", "app/red", "--wait"]).await;
            assert!(output.status.success(), "{output:?}");
            let now = operator.get(RED).await;
            assert_eq!((&now["state"], &now["in_flight"]), (&"drained".into(), &0.into()));
            red.kill(Death::Reset).await;
            load.goes_on(50).await;
            red.revive();
            assert_eq!(operator.ask("POST", &format!("{RED}/undrain"), "").await.0, 200);
            let before = red.request_count();
            red.received(before + 10).await;
        }
        let (answered, failures) = load.stop().await;
        assert!(failures.is_empty(), "of {answered}: {failures:#?}");
        let pool = operator.get("/v1/pools/app").await;
        assert_eq!(pool["in_flight"], 0);
    }
}

#[tokio::test]
async fn who_still_connects_when_a_drain_ends_goes_elsewhere() {
    for workers in WORKERS {
        let (red, blue) = (TestBackend::start("red").await, TestBackend::start("blue").await);
        let deaf = DeafBackend::start();
        let drain = "kind = \"static\"\ndrain = { wait_inflight = \"100ms\" }\n";
        let health = format!("[pools.app.health]\nport = {}", blue.addr().port());
        let config = one_pool(&[&red, &blue], workers)
            .replace("kind = \"static\"\n", drain)
            .replace(&red.addr().to_string(), &deaf.addr().to_string())
            .replace("[pools.app.health]", &health);
        let config = config + "timeouts = { connect = \"20s\" }\n";
        let (door, operator) = Operator::of(&config, &[&blue]).await;
        operator.until(RED, |now| now["state"] == "serving").await;
        // More than workers, so that some ask both.
        let mut clients = Vec::new();
        for _ in 0..2 * workers + 2 {
            let mut client = door.client().await;
            client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
            clients.push(client);
        }
        operator.until(RED, |now| now["in_flight"].as_u64() > Some(0)).await;
        let (status, _) = operator.ask("POST", &format!("{RED}/drain"), "").await;
        assert!(status < 300, "{status}");
        for client in &mut clients {
            assert_eq!(client.read_response().await.text(), "blue");
        }
        assert_eq!(red.request_count(), 0);
    }
}
