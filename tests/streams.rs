//! WebSockets and event streams beside requests: a cap of their own, and a small part of demand.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test, in helpers too

use tests::backend::answer::Step;
use tests::door::one_pool;
use tests::{Answer, CEILING, TestBackend, TestClient, TestDoor, within};

const WORKERS: [usize; 2] = [1, 4];
const LOG: &str = "[observe]\naccess_log = { to = \"stdout\" }\n\
    metrics = { listen = \"127.0.0.1:0\" }\n[admin]\nlisten = \"127.0.0.1:0\"\n";
const WEBSOCKET: &str = "GET /chat HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";
const EVENTS: &str = "GET /events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n";
/// As somebody who does not say what it wants.
const UNSAID: &str = "GET /events HTTP/1.1\r\nHost: x\r\n\r\n";

/// Switches to WebSocket, streams events without end, and answers all else.
async fn backend(name: &str) -> TestBackend {
    let red = TestBackend::start(name).await;
    red.answer_by(|request| match request.target() {
        "/chat" => Answer::upgrade("websocket"),
        "/events" => {
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                Transfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n";
            Answer::steps([Step::ReadBody, Step::Write(head.into()), Step::Hold])
        }
        _ => Answer::text("red"),
    });
    red
}

async fn door(backends: &[&TestBackend], workers: usize, pool: &str) -> TestDoor {
    let config = one_pool(backends, workers);
    let config = config.replace("[pools.app]\n", &format!("[pools.app]\n{pool}\n"));
    TestDoor::checked(&(config + LOG), backends).await
}

async fn sent(door: &TestDoor, request: &str) -> TestClient {
    let mut client = door.client().await;
    client.send(request).await;
    client
}

async fn websocket(door: &TestDoor) -> TestClient {
    let mut client = door.client().await;
    assert_eq!(client.request(WEBSOCKET).await.status, 101);
    client
}

/// An event stream whose first event has come.
async fn events(door: &TestDoor, request: &str) -> TestClient {
    let mut client = sent(door, request).await;
    let head = client.read_head().await;
    assert!(head.text().contains("text/event-stream"), "{}", head.text());
    assert_eq!(client.read_exact(14).await, b"9\r\ndata: 1\n\n\r\n");
    client
}

#[track_caller]
fn becomes<'a>(door: &'a TestDoor, series: &'a str, value: f64) -> impl Future<Output = ()> + 'a {
    within(CEILING, async move { while door.metric(series).await != value {} })
}

const QUEUE: &str = "tidegate_queue_length{pool=\"app\"}";
const STREAMS: &str = "tidegate_backend_streams{pool=\"app\",backend=\"red\"}";
const AT_BACKEND: &str = "tidegate_backend_in_flight{pool=\"app\",backend=\"red\"}";
const IN_FLIGHT: &str = "tidegate_requests_in_flight{pool=\"app\"}";

#[tokio::test]
async fn streams_take_no_place_of_a_request_and_have_a_cap_of_their_own() {
    for workers in WORKERS {
        for request in [WEBSOCKET, EVENTS] {
            let red = backend("red").await;
            let door = door(&[&red], workers, "max_concurrency = 1\nmax_streams = 2").await;
            let mut open = Vec::new();
            for _ in 0..2 {
                open.push(match request {
                    WEBSOCKET => websocket(&door).await,
                    _ => events(&door, request).await,
                });
            }
            becomes(&door, STREAMS, 2.0).await;
            becomes(&door, AT_BACKEND, 0.0).await;
            assert_eq!(door.client().await.get("/").await.text(), "red");
            let mut third = sent(&door, request).await;
            becomes(&door, QUEUE, 1.0).await;
            // Nobody stands behind it who wants no stream.
            assert_eq!(door.client().await.get("/").await.text(), "red");
            assert_eq!(red.request_count(), 4, "the third was never sent");
            open.remove(0).reset();
            red.received(5).await;
            if request == WEBSOCKET {
                assert_eq!(third.read_response().await.status, 101);
            } else {
                assert!(third.read_head().await.text().starts_with("HTTP/1.1 200"));
            }
            becomes(&door, QUEUE, 0.0).await;
            open.into_iter().chain([third]).for_each(TestClient::reset);
            becomes(&door, STREAMS, 0.0).await;
            becomes(&door, IN_FLIGHT, 0.0).await;
        }
    }
}

#[tokio::test]
async fn an_event_stream_that_nobody_announced_is_known_by_its_answer() {
    for workers in WORKERS {
        let red = backend("red").await;
        let door = door(&[&red], workers, "max_concurrency = 1\nmax_streams = 1").await;
        let _first = events(&door, UNSAID).await;
        becomes(&door, STREAMS, 1.0).await;
        assert_eq!(door.client().await.get("/").await.text(), "red");
        // There is no room for another: it keeps the place of a request, so no cap is exceeded.
        let second = events(&door, UNSAID).await;
        assert_eq!((door.metric(STREAMS).await, door.metric(AT_BACKEND).await), (1.0, 1.0));
        let mut waits = sent(&door, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        becomes(&door, QUEUE, 1.0).await;
        second.reset();
        assert_eq!(waits.read_response().await.text(), "red");
    }
}

#[tokio::test]
async fn the_cap_on_streams_is_exact_when_everybody_comes_at_once() {
    for workers in WORKERS {
        let (red, blue) = (backend("red").await, backend("blue").await);
        let door = door(&[&red, &blue], workers, "max_streams = 7").await;
        let mut clients = Vec::new();
        for _ in 0..60 {
            clients.push(sent(&door, WEBSOCKET).await);
        }
        becomes(&door, QUEUE, 46.0).await;
        red.received(7).await;
        blue.received(7).await;
        assert_eq!((red.request_count(), blue.request_count()), (7, 7));
    }
}

#[tokio::test]
async fn without_a_queue_a_stream_too_many_hears_that_it_is_full() {
    for workers in WORKERS {
        let red = backend("red").await;
        let door = door(&[&red], workers, "max_streams = 1\nqueue = { max = 0 }").await;
        let _open = websocket(&door).await;
        let refused = door.client().await.request(WEBSOCKET).await;
        assert_eq!(refused.status, 503);
        let line = door.logged("\"status\":503").await;
        assert!(line.contains("\"outcome\":\"full\""), "{line}");
    }
}

#[tokio::test]
async fn an_upgrade_that_is_refused_gives_its_place_as_a_stream_back() {
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        let door = door(&[&red], workers, "max_streams = 1").await;
        for _ in 0..3 {
            assert_eq!(door.client().await.request(WEBSOCKET).await.text(), "red");
        }
        becomes(&door, STREAMS, 0.0).await;
    }
}

#[tokio::test]
async fn idle_streams_are_a_small_part_of_demand() {
    const COUNT: usize = 60;
    let red = backend("red").await;
    let door = door(&[&red], 4, "stream_weight = 0.05").await;
    let mut open = Vec::new();
    for _ in 0..COUNT {
        open.push(websocket(&door).await);
    }
    becomes(&door, STREAMS, COUNT as f64).await;
    assert_eq!(door.metric(IN_FLIGHT).await, 0.0);
    let output = door.output();
    let admin = output.lines().find_map(|line| line.strip_prefix("admin http://")).unwrap();
    let admin = admin.split('/').next().unwrap();
    let request = format!("GET /v1/pools HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
    let admin = admin.parse().unwrap();
    within(CEILING, async {
        loop {
            let text = TestClient::connect(admin).await.request(&request).await.text();
            let pools: serde_json::Value = serde_json::from_str(&text).unwrap();
            let pools = pools.get("pools").unwrap_or(&pools).clone();
            let concurrency = pools[0]["demand"]["concurrency"].as_f64().unwrap();
            assert!(concurrency <= 10.0, "{text}");
            if (concurrency - 3.0).abs() < 1e-9 {
                break;
            }
        }
    })
    .await;
    drop(open);
    becomes(&door, STREAMS, 0.0).await;
}
