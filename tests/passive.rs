//! What follows from how backends answer: who is taken out, for how long, and who never is.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test, in helpers too

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tests::door::one_pool;
use tests::steady::Steady;
use tests::{Answer, TestBackend, TestDoor};

const WORKERS: [usize; 2] = [1, 4];

async fn three() -> [TestBackend; 3] {
    [
        TestBackend::start("red").await,
        TestBackend::start("green").await,
        TestBackend::start("blue").await,
    ]
}

/// A door in front of all of them, once each was checked, with these lines added.
async fn door(backends: &[TestBackend], workers: usize, more: &str) -> TestDoor {
    let backends: Vec<&TestBackend> = backends.iter().collect();
    TestDoor::checked(&(one_pool(&backends, workers) + more), &backends).await
}

/// Waits for an event about a backend.
async fn told(door: &TestDoor, event: &str, backend: &str) -> String {
    let line = door.logged(event).await;
    assert!(line.contains(&format!("backend={backend}")), "{line}");
    line
}

#[tokio::test]
async fn a_backend_with_a_fifth_of_500s_is_out_in_time_and_returns_by_a_check() {
    for workers in WORKERS {
        let backends = three().await;
        let [red, ..] = &backends;
        let door = door(&backends, workers, "[pools.app.outlier]\neject_for = \"700ms\"\n").await;
        let load = Steady::start(door.addr("web"), 12, 600);
        red.received(100).await;
        let count = AtomicUsize::new(0);
        red.answer_by(move |_| match count.fetch_add(1, Ordering::Relaxed) % 5 {
            0 => Answer::status(500),
            _ => Answer::text("red"),
        });
        let begun = Instant::now();
        let line = told(&door, "backend_ejected", "red").await;
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(4), "{took:?}: {line}");
        assert!(line.contains("error_rate") || line.contains("consecutive"), "{line}");
        let probes = red.probe_count();
        red.answer(Answer::text("red"));
        told(&door, "backend_readmitted", "red").await;
        assert!(red.probe_count() > probes, "it came back without a check");
        let before = red.request_count();
        red.received(before + 50).await;
        let went = load.stop().await;
        assert!(went.faults.is_empty(), "{:?}", went.faults);
        assert_eq!(went.count(200) + went.count(500), went.all(), "{:?}", went.statuses);
        assert_eq!(door.times("backend_ejected"), 1);
    }
}

#[tokio::test]
async fn a_backend_that_resets_every_request_costs_no_client_one() {
    for workers in WORKERS {
        let backends = three().await;
        let [red, ..] = &backends;
        // A third of all fails until it is out, on a slow machine for longer than 10 % can pay.
        let paid = "retries = { budget = \"100%\" }\n[pools.app.outlier]\neject_for = \"1m\"\n";
        let door = door(&backends, workers, paid).await;
        let load = Steady::start(door.addr("web"), 12, 600);
        // Two seconds: what the first has earned is paid in at its end.
        red.received(400).await;
        red.answer(Answer::reset());
        told(&door, "backend_ejected", "red").await;
        let went = load.stop().await;
        went.was_served();
    }
}

#[tokio::test]
async fn a_backend_fifty_times_slower_than_its_pool_is_out_within_ten_seconds() {
    for workers in WORKERS {
        let backends = three().await;
        let [red, green, blue] = &backends;
        for backend in &backends {
            backend.answer(Answer::text(backend.name()).after(Duration::from_millis(20)));
        }
        let door = door(&backends, workers, "[pools.app.outlier]\neject_for = \"1m\"\n").await;
        let load = Steady::start(door.addr("web"), 30, 600);
        red.received(50).await;
        red.answer(Answer::text("red").after(Duration::from_secs(1)));
        let begun = Instant::now();
        let mut told = door.output().contains("backend_ejected");
        while !told && begun.elapsed() < Duration::from_secs(10) {
            let (one, other) = (green.request_count(), blue.request_count());
            green.received(one + 20).await;
            blue.received(other + 20).await;
            told = door.output().contains("backend_ejected");
        }
        assert!(told, "nothing was told within {:?}", begun.elapsed());
        let line = door.logged("backend_ejected").await;
        assert!(line.contains("backend=red") && line.contains("slow"), "{line}");
        load.stop().await.was_served();
    }
}

#[tokio::test]
async fn clients_that_leave_or_send_broken_bodies_mark_nobody() {
    for workers in WORKERS {
        let backends = three().await;
        let strict = "[pools.app.outlier]\nconsecutive_5xx = 1\n\
                      error_rate = { above = \"1%\", min_requests = 1 }\n";
        let door = door(&backends, workers, strict).await;
        for _ in 0..40 {
            let mut broken = door.client().await;
            broken
                .send("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n")
                .await;
            broken.send("5\r\nhello\r\nzz\r\n").await;
            let _ = broken.try_read_response().await;
            let mut leaving = door.client().await;
            leaving.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\n\r\nab").await;
            leaving.reset();
        }
        for backend in &backends {
            backend.answer(Answer::text(backend.name()).held());
        }
        let arrived = || backends.iter().map(TestBackend::request_count).sum::<usize>();
        for _ in 0..20 {
            let before = arrived();
            let mut waiting = door.client().await;
            waiting.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n").await;
            tests::within(tests::CEILING, async {
                while arrived() == before {
                    tokio::task::yield_now().await;
                }
            })
            .await;
            waiting.reset();
        }
        for backend in &backends {
            backend.release_all();
            backend.answer(Answer::text(backend.name()));
            let _ = backend.take_malformed();
        }
        let served = Steady::start(door.addr("web"), 6, 300);
        for backend in &backends {
            let count = backend.request_count();
            backend.received(count + 100).await;
        }
        served.stop().await.was_served();
        assert_eq!(door.times("backend_ejected"), 0);
    }
}

#[tokio::test]
async fn a_pool_never_loses_its_last_backend_nor_more_than_its_share() {
    for workers in WORKERS {
        let backends = three().await;
        for backend in &backends {
            backend.answer(Answer::status(500));
        }
        let door = door(&backends, workers, "").await;
        let load = Steady::start(door.addr("web"), 6, 300);
        door.logged("backend_ejected").await;
        let sum = || backends.iter().map(TestBackend::request_count).sum::<usize>();
        let enough = sum() + 400;
        tests::within(tests::CEILING * 2, async {
            while sum() < enough {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let went = load.stop().await;
        assert_eq!(went.count(500), went.all(), "503 although backends are left: {went:?}");
        assert_eq!(door.times("backend_ejected"), 1, "30 % of three is one");
    }
}

#[tokio::test]
async fn an_answer_cut_short_is_held_against_the_backend() {
    let backends = three().await;
    let [red, ..] = &backends;
    red.answer(Answer::cut(10, 5));
    let door = door(&backends, 1, "").await;
    let load = Steady::start(door.addr("web"), 6, 300);
    told(&door, "backend_ejected", "red").await;
    load.stop().await;
}
