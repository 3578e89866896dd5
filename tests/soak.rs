//! Hours of traffic in short: backends die and come back while a thousand requests a second go on.
//!
//! `TIDEGATE_DRILL=1` soaks for half an hour, or for `TIDEGATE_SOAK_MINUTES` (`make soak`).

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test, in helpers too

use std::time::{Duration, Instant};

use tests::drill::{Process, configuration, is_drill, rounds, tell};
use tests::mixed::{Failure, Mixed, Rhythm};
use tests::operator::Operator;
use tests::proc::{descriptors, status};
use tests::{CEILING, TestDoor, within};

/// For how long.
fn duration() -> Duration {
    if !is_drill() {
        return Duration::from_secs(4);
    }
    let minutes = std::env::var("TIDEGATE_SOAK_MINUTES").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(60 * minutes.unwrap_or(30))
}

/// A time in which a backend died.
struct Death {
    begun: Instant,
    over: Instant,
}

/// Resident memory in KiB.
fn resident(door: &TestDoor) -> f64 {
    status(door, "VmRSS") as f64
}

/// The slope of the line with the least squares, of points of hours and KiB, in MiB an hour.
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let above: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    let below: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    if below == 0.0 { 0.0 } else { above / below / 1024.0 }
}

/// More than the events that a door keeps for `/v1/events`.
const MANY: usize = 3_000;

/// As many events as the door keeps, as long as those of a death: the memory that they need stays
/// theirs, and is no leak.
async fn fill_events(operator: &Operator) {
    for told in 0.. {
        let events = operator.get("/v1/events?limit=0").await;
        if events["missed"] != 0 && told % 2 == 0 {
            return;
        }
        assert!(told < MANY, "orders are no events: {events}");
        let order = if told % 2 == 0 { "drain" } else { "undrain" };
        let path = format!("/v1/pools/app/backends/a/{order}");
        let (status, answer) = operator.ask("POST", &path, r#"{"reason": "soak"}"#).await;
        assert_eq!(status, 200, "{answer}");
    }
}

#[test]
fn a_slope_is_that_of_the_line_through_the_points() {
    let line: Vec<_> =
        (0..10).map(|hour| (f64::from(hour), 100.0 + 2048.0 * f64::from(hour))).collect();
    assert!((slope(&line) - 2.0).abs() < 1e-9);
    assert!(slope(&[(1.0, 5.0), (1.0, 9.0)]).abs() < 1e-9);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_soak_loses_nothing_and_leaves_nothing_behind() {
    let mut backends = ["a", "b", "c"].map(|name| Process::start(name, &[]));
    let all: Vec<&Process> = backends.iter().collect();
    let operator = Operator::alone();
    let door = TestDoor::start(&operator.with_socket(&configuration(&all, 2, ""))).await;
    for backend in &backends {
        door.logged(&format!("backend_in_rotation pool=app backend={}", backend.name())).await;
    }
    if is_drill() {
        fill_events(&operator).await;
    }
    let at_start = descriptors(&door);
    let rhythm = Rhythm { clients: rounds(20, 80), burst: 1, pause: Duration::from_millis(70) };
    let load = Mixed::start(door.addr("web"), rhythm);
    let (begun, mut deaths, mut memory) = (Instant::now(), Vec::new(), Vec::new());
    let mut turn = 0;
    while begun.elapsed() < duration() {
        load.goes_on(rounds(100, 3_000)).await;
        // As programs are stopped, and as they die.
        let backend = &mut backends[turn % 3];
        let death = Instant::now();
        if turn % 2 == 0 {
            backend.kill()
        } else {
            backend.end()
        }
        deaths.push(Death { begun: death, over: Instant::now() });
        load.goes_on(rounds(100, 3_000)).await;
        backend.revive();
        backend.takes_requests().await;
        memory.push((begun.elapsed().as_secs_f64() / 3600.0, resident(&door)));
        turn += 1;
    }
    let account = load.stop().await;
    let count = account.gets + account.posts.len();
    // What a process needs at first, it keeps: the first quarter is not counted.
    let slope = slope(&memory[memory.len() / 4..]);
    tell(&format!(
        "{count} requests, {:.0} a second, {turn} deaths, {} POSTs that were under way in one lost; \
         {slope:+.2} MiB/h, now {:.1} MiB; {at_start} descriptors at first",
        count as f64 / begun.elapsed().as_secs_f64(),
        account.failures.len(),
        resident(&door) / 1024.0,
    ));
    let was_under_way = |failure: &&Failure| {
        deaths.iter().any(|death| failure.sent <= death.over && failure.ended >= death.begun)
    };
    let gets = account.failed_gets();
    assert!(gets.is_empty(), "{gets:#?}");
    let not_owed: Vec<_> = account.failures.iter().filter(|it| !was_under_way(it)).collect();
    assert!(not_owed.is_empty(), "{not_owed:#?}");
    if is_drill() && duration() >= Duration::from_secs(600) {
        assert!(slope < 2.0, "{slope} MiB/h: {memory:?}");
    }
    // Connections to backends close when they have been idle for long enough.
    within(4 * CEILING, async {
        while descriptors(&door) > at_start {
            tokio::time::sleep(Duration::from_millis(10)).await; // a poll with a ceiling
        }
    })
    .await;
    assert!(door.stop().await.success());
}
