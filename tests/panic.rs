//! A pool of which too few backends are healthy: who gets requests, and what is told of it.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test, in helpers too

use std::time::Duration;

use tests::door::one_pool;
use tests::steady::Steady;
use tests::{Answer, TestBackend, TestDoor};

const WORKERS: [usize; 2] = [1, 4];
const WELL: u16 = 200;
const UNWELL: u16 = 503;

async fn backends(prefix: &str, count: usize) -> Vec<TestBackend> {
    let mut backends = Vec::new();
    for number in 0..count {
        backends.push(TestBackend::start(&format!("{prefix}{number}")).await);
    }
    backends
}

fn checks(backends: &[TestBackend], status: u16) {
    backends.iter().for_each(|backend| backend.answer_probes("/healthz", status));
}

/// A pool `app` of these that panics below one half.
fn config(backends: &[&TestBackend], workers: usize) -> String {
    // Patient, since forty backends and their door share a busy machine.
    one_pool(backends, workers)
        .replace("interval = \"50ms\"", "interval = \"150ms\"\ntimeout = \"3s\"")
        .replace("healthy_after = 1", "healthy_after = 1\nmin_healthy = \"50%\"")
}

fn requests(backends: &[TestBackend]) -> usize {
    backends.iter().map(TestBackend::request_count).sum()
}

#[tokio::test]
async fn members_that_join_are_no_reason_to_panic_and_get_no_request() {
    for workers in WORKERS {
        let (serving, joining) = (backends("serving", 10).await, backends("joining", 30).await);
        checks(&joining, UNWELL);
        let all: Vec<&TestBackend> = serving.iter().chain(&joining).collect();
        let door = TestDoor::checked(&config(&all, workers), &all).await;
        let load = Steady::start(door.addr("web"), 20, 300);
        for backend in &serving {
            backend.received(10).await;
        }
        for backend in &joining {
            backend.probed(backend.probe_count() + 3).await;
        }
        // Nine more of the ten fail: those that join are no help, and not asked to be.
        checks(&serving[1..], UNWELL);
        door.logged("pool_panicked").await;
        serving[9].received(serving[9].request_count() + 10).await;
        checks(&serving, WELL);
        door.logged("pool_calmed").await;
        load.stop().await.was_served();
        assert_eq!(requests(&joining), 0);
        assert_eq!((door.times("pool_panicked"), door.times("pool_calmed")), (1, 1));
    }
}

#[tokio::test]
async fn five_of_six_down_and_nothing_behind_is_a_panic_entered_and_left_once() {
    for workers in WORKERS {
        let six = backends("b", 6).await;
        let all: Vec<&TestBackend> = six.iter().collect();
        let door = TestDoor::checked(&config(&all, workers), &all).await;
        let load = Steady::start(door.addr("web"), 12, 600);
        six[5].received(10).await;
        checks(&six[1..], UNWELL);
        let line = door.logged("pool_panicked").await;
        assert!(line.contains("pool=app") && line.contains("members=6"), "{line}");
        // What their checks say is not believed: they get requests as before.
        for backend in &six {
            backend.received(backend.request_count() + 10).await;
        }
        checks(&six[1..], WELL);
        door.logged("pool_calmed").await;
        for backend in &six {
            backend.received(backend.request_count() + 10).await;
        }
        load.stop().await.was_served();
        assert_eq!((door.times("pool_panicked"), door.times("pool_calmed")), (1, 1));
    }
}

#[tokio::test]
async fn all_down_is_no_panic_but_an_answer_at_once() {
    let two = backends("b", 2).await;
    let all: Vec<&TestBackend> = two.iter().collect();
    let door = TestDoor::checked(&config(&all, 1), &all).await;
    checks(&two, UNWELL);
    door.logged_times("backend_out_of_rotation", 2).await;
    for backend in &two {
        backend.probed(backend.probe_count() + 3).await;
    }
    let before = requests(&two);
    let mut client = door.client().await;
    let response = client.request("GET / HTTP/1.1\r\nHost: test\r\n\r\n").await;
    assert_eq!((response.status, requests(&two)), (503, before));
}

#[tokio::test]
async fn five_of_six_down_with_room_behind_moves_the_traffic_and_is_no_panic() {
    for workers in WORKERS {
        let (six, spare) = (backends("b", 6).await, backends("spare", 2).await);
        for backend in six.iter().chain(&spare) {
            backend.answer(Answer::text(backend.name()).after(Duration::from_millis(10)));
        }
        let all: Vec<&TestBackend> = six.iter().collect();
        let list: Vec<String> = spare
            .iter()
            .map(|one| format!("{{ id = \"{}\", address = \"{}\" }}", one.name(), one.addr()))
            .collect();
        let behind = format!(
            "[pools.spare]\nbackends = [{}]\nhealth = {{ path = \"/healthz\", interval = \"50ms\" }}\n",
            list.join(", ")
        );
        let config = config(&all, workers)
            .replace("[pools.app]\n", &format!("{behind}[pools.app]\nmax_concurrency = 2\n"))
            .replace("{ pool = \"app\" }", "{ waterfall = [\"app\", \"spare\"] }");
        let every: Vec<&TestBackend> = six.iter().chain(&spare).collect();
        let door = TestDoor::checked(&config, &every).await;
        let load = Steady::start(door.addr("web"), 10, 500);
        six[5].received(10).await;
        checks(&six[1..], UNWELL);
        door.logged_times("backend_out_of_rotation", 5).await;
        for backend in &spare {
            backend.received(backend.request_count() + 20).await;
        }
        load.stop().await.was_served();
        assert_eq!(door.times("pool_panicked"), 0);
    }
}
