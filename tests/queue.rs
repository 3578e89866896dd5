//! Requests that wait at the door: order, priorities, limits, and that no place stays free while
//! somebody waits.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test, in helpers too

use std::time::{Duration, Instant};

use tests::crowd::{crowd, plain};
use tests::door::one_pool;
use tests::{Answer, CEILING, TestBackend, TestClient, TestDoor, within};

const WORKERS: [usize; 2] = [1, 4];
const LOG: &str =
    "[observe]\naccess_log = { to = \"stdout\" }\nmetrics = { listen = \"127.0.0.1:0\" }\n";

/// One backend with one place whose answers wait to be released, and these settings of the pool.
async fn full_with(workers: usize, pool: &str) -> (TestBackend, TestDoor, TestClient) {
    let red = TestBackend::start_with("red", Answer::text("red").held()).await;
    let pool = format!("[pools.app]\nmax_concurrency = 1\n{pool}\n");
    let config = one_pool(&[&red], workers).replace("[pools.app]\n", &pool) + ROUTES + LOG;
    let door = TestDoor::checked(&in_order(&config), &[&red]).await;
    let mut first = door.client().await;
    first.send(get("/first")).await;
    red.received(1).await;
    (red, door, first)
}

async fn full(workers: usize) -> (TestBackend, TestDoor, TestClient) {
    full_with(workers, "").await
}

const ROUTES: &str = r#"
[[routes]]
name = "critical"
match = { path_prefix = "/critical/" }
priority = "critical"
to = { pool = "app" }
[[routes]]
name = "low"
match = { path_prefix = "/low/" }
priority = "low"
to = { pool = "app" }
"#;

/// Puts the route that takes everything behind the others.
fn in_order(config: &str) -> String {
    let all = config.find("[[routes]]").unwrap();
    let rest = config.find("[[routes]]\nname = \"critical\"").unwrap();
    let end = config.find("[observe]").unwrap();
    [&config[..all], &config[rest..end], &config[all..rest], &config[end..]].concat()
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")
}

/// Waits until so many requests wait.
#[track_caller]
fn waiting(door: &TestDoor, count: usize) -> impl Future<Output = ()> {
    within(CEILING, async move {
        while door.metric("tidegate_queue_length{pool=\"app\"}").await != count as f64 {}
    })
}

/// A client whose request for this path is the last in line.
async fn in_line(door: &TestDoor, path: &str, place: usize) -> TestClient {
    let mut client = door.client().await;
    client.send(get(path)).await;
    waiting(door, place).await;
    client
}

/// Lets the backend finish one request after the other; which paths it got, in order.
async fn serve(red: &TestBackend, count: usize) -> Vec<String> {
    for number in 1..=count {
        red.received(number).await;
        red.release();
    }
    red.completed(count).await;
    red.requests().iter().map(|request| request.target().to_owned()).collect()
}

#[tokio::test]
async fn who_finds_every_place_taken_waits_and_is_served_in_order() {
    for workers in WORKERS {
        let (red, door, mut first) = full(workers).await;
        let mut clients = Vec::new();
        let paths: Vec<String> = (1..=12).map(|number| format!("/{number}")).collect();
        for (place, path) in paths.iter().enumerate() {
            clients.push(in_line(&door, path, place + 1).await);
        }
        assert_eq!(red.request_count(), 1, "no more than it may have");
        let served = serve(&red, 13).await;
        assert_eq!(served[0], "/first");
        assert_eq!(served[1..], paths);
        assert_eq!(first.read_response().await.text(), "red");
        for client in &mut clients {
            assert_eq!(client.read_response().await.text(), "red");
        }
        waiting(&door, 0).await;
        let line = door.logged("\"path\":\"/12\"").await;
        assert!(line.contains("\"t_queue_ms\":") && line.contains("\"outcome\":\"ok\""), "{line}");
        let line = door.logged("\"path\":\"/first\"").await;
        assert!(!line.contains("t_queue_ms"), "{line}");
        let waited = door.metric("tidegate_queue_wait_seconds_count{pool=\"app\"}").await;
        assert_eq!(waited, 12.0);
    }
}

#[tokio::test]
async fn the_more_important_overtake_and_the_less_important_still_come() {
    for workers in WORKERS {
        let (red, door, _first) = full(workers).await;
        let mut clients = Vec::new();
        let mut paths = vec!["/low/1".to_owned(), "/low/2".to_owned(), "/1".to_owned()];
        paths.extend((1..=10).map(|number| format!("/critical/{number}")));
        for (place, path) in paths.iter().enumerate() {
            clients.push(in_line(&door, path, place + 1).await);
        }
        let served = serve(&red, 14).await;
        let turns: String = served[1..].iter().map(|path| turn(path)).collect();
        // Eight turns for critical, four for normal, one for low; then the same again.
        assert_eq!(turns, "ccccccccnlccl");
    }
}

fn turn(path: &str) -> char {
    match path {
        path if path.starts_with("/critical/") => 'c',
        path if path.starts_with("/low/") => 'l',
        _ => 'n',
    }
}

#[tokio::test]
async fn a_full_queue_sends_the_newcomer_away_or_somebody_less_important() {
    for workers in WORKERS {
        let (red, door, _first) = full_with(workers, "queue = { max = 2 }").await;
        let mut low = in_line(&door, "/low/1", 1).await;
        let _normal = in_line(&door, "/1", 2).await;
        assert_eq!(door.client().await.get("/low/2").await.status, 503, "the newcomer");
        let mut critical = door.client().await;
        critical.send(get("/critical/1")).await;
        let displaced = low.read_response().await;
        assert_eq!(displaced.status, 503);
        assert_eq!(displaced.field("retry-after").as_deref(), Some("1"));
        let line = door.logged("\"path\":\"/low/1\"").await;
        assert!(line.contains("\"outcome\":\"queue_full\""), "{line}");
        let shed = "tidegate_shed_total{pool=\"app\",reason=\"displaced\"}";
        assert_eq!(door.metric(shed).await, 1.0);
        assert_eq!(serve(&red, 3).await, ["/first", "/critical/1", "/1"]);
    }
}

#[tokio::test]
async fn a_queue_that_is_full_of_equals_answers_503_at_once() {
    for workers in WORKERS {
        let (red, door, _first) = full_with(workers, "queue = { max = 2 }").await;
        let mut waiting = [in_line(&door, "/1", 1).await, in_line(&door, "/2", 2).await];
        let refused = door.client().await.get("/3").await;
        assert_eq!(refused.status, 503);
        assert_eq!(refused.field("retry-after").as_deref(), Some("1"));
        let line = door.logged("\"path\":\"/3\"").await;
        assert!(line.contains("\"outcome\":\"queue_full\""), "{line}");
        let shed = "tidegate_shed_total{pool=\"app\",reason=\"queue_full\"}";
        assert_eq!(door.metric(shed).await, 1.0);
        assert_eq!(serve(&red, 3).await, ["/first", "/1", "/2"]);
        for client in &mut waiting {
            assert_eq!(client.read_response().await.status, 200);
        }
    }
}

#[tokio::test]
async fn heads_that_wait_are_bounded_in_bytes() {
    let (red, door, _first) = full_with(4, "queue = { bytes = \"2KiB\" }").await;
    let long = format!("/{}", "x".repeat(1_500));
    let _waiting = in_line(&door, &long, 1).await;
    assert_eq!(door.client().await.get(&long).await.status, 503);
    let _also = in_line(&door, "/short", 2).await;
    assert_eq!(serve(&red, 3).await[1..], [long, "/short".to_owned()]);
}

#[tokio::test]
async fn who_waits_too_long_is_told_so() {
    for workers in WORKERS {
        let (red, door, _first) = full_with(workers, "queue = { time = \"1s\" }").await;
        let begun = Instant::now();
        let response = door.client().await.get("/late").await;
        assert!(begun.elapsed() >= Duration::from_secs(1));
        assert_eq!(response.status, 503);
        assert_eq!(response.field("retry-after").as_deref(), Some("1"));
        let line = door.logged("\"path\":\"/late\"").await;
        assert!(line.contains("\"outcome\":\"queue_timeout\""), "{line}");
        let shed = "tidegate_shed_total{pool=\"app\",reason=\"queue_timeout\"}";
        assert_eq!(door.metric(shed).await, 1.0);
        waiting(&door, 0).await;
        // Its place in line is gone: the next in line is the next to be served.
        let mut next = in_line(&door, "/next", 1).await;
        assert_eq!(serve(&red, 2).await, ["/first", "/next"]);
        assert_eq!(next.read_response().await.text(), "red");
    }
}

#[tokio::test]
async fn a_client_that_leaves_gives_its_place_in_line_back() {
    for workers in WORKERS {
        let (red, door, _first) = full_with(workers, "queue = { max = 3 }").await;
        let reset = in_line(&door, "/reset", 1).await;
        let closed = in_line(&door, "/closed", 2).await;
        let mut stays = in_line(&door, "/stays", 3).await;
        reset.reset();
        waiting(&door, 2).await;
        drop(closed);
        waiting(&door, 1).await;
        for path in ["/reset", "/closed"] {
            let line = door.logged(&format!("\"path\":\"{path}\"")).await;
            assert!(line.contains("\"outcome\":\"client_gone\""), "{line}");
        }
        assert_eq!(serve(&red, 2).await, ["/first", "/stays"]);
        assert_eq!(stays.read_response().await.status, 200);
    }
}

#[tokio::test]
async fn a_client_that_has_said_all_and_waits_is_served() {
    for workers in WORKERS {
        let (red, door, _first) = full(workers).await;
        let mut half = in_line(&door, "/half", 1).await;
        half.half_close().await;
        assert_eq!(half.read_head().await.start, "HTTP/1.1 100 Continue", "it is asked");
        let mut old = door.client().await;
        old.send("GET /old HTTP/1.0\r\nHost: test\r\n\r\n").await;
        waiting(&door, 2).await;
        old.half_close().await;
        assert_eq!(serve(&red, 3).await, ["/first", "/half", "/old"]);
        assert_eq!(half.read_response().await.text(), "red");
        assert_eq!(old.read_response().await.text(), "red");
    }
}

#[tokio::test]
async fn nobody_waits_where_nothing_can_come() {
    let red = TestBackend::start("red").await;
    red.answer_probes("/healthz", 500);
    let door = TestDoor::checked(&one_pool(&[&red], 4), &[&red]).await;
    let begun = Instant::now();
    assert_eq!(door.client().await.get("/").await.status, 503);
    assert!(begun.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn who_waits_is_told_when_the_last_backend_goes() {
    let (red, door, _first) = full(4).await;
    let mut waits = in_line(&door, "/waits", 1).await;
    red.answer_probes("/healthz", 500);
    assert_eq!(waits.read_response().await.status, 503);
    let line = door.logged("\"path\":\"/waits\"").await;
    assert!(line.contains("\"outcome\":\"no_healthy_backend\""), "{line}");
}

#[tokio::test]
async fn who_waits_is_served_by_a_backend_that_comes() {
    for workers in WORKERS {
        let red = TestBackend::start_with("red", Answer::text("red").held()).await;
        let blue = TestBackend::start("blue").await;
        blue.answer_probes("/healthz", 500);
        let config = one_pool(&[&red, &blue], workers)
            .replace("[pools.app]\n", "[pools.app]\nmax_concurrency = 1\n");
        let config = in_order(&(config + ROUTES + LOG));
        let door = TestDoor::checked(&config, &[&red, &blue]).await;
        let mut first = door.client().await;
        first.send(get("/first")).await;
        red.received(1).await;
        let mut waits = in_line(&door, "/waits", 1).await;
        blue.answer_probes("/healthz", 200);
        assert_eq!(waits.read_response().await.text(), "blue");
        red.release_all();
        assert_eq!(first.read_response().await.text(), "red");
    }
}

#[tokio::test]
async fn nobody_is_sent_away_while_there_is_room_to_wait() {
    for workers in WORKERS {
        let (red, blue) = (TestBackend::start("red").await, TestBackend::start("blue").await);
        let config = one_pool(&[&red, &blue], workers)
            .replace("[pools.app]\n", "[pools.app]\nmax_concurrency = 1\n");
        let door = TestDoor::checked(&config, &[&red, &blue]).await;
        let tally = crowd(door.addr("web"), 200, 4_000, plain).await;
        assert_eq!(tally["red"] + tally["blue"], 4_000, "{tally:?}");
    }
}
