//! Breakers over real sockets: what opens them, how many probes get through, how they close.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test, in helpers too

use std::time::Duration;

use tests::door::one_pool;
use tests::operator::Operator;
use tests::steady::Steady;
use tests::{Answer, TestBackend, TestDoor};

const WORKERS: [usize; 2] = [1, 4];

/// A pool of these whose breakers are quick, and from which nobody is ejected.
async fn door(backends: &[&TestBackend], workers: usize, breaker: &str) -> TestDoor {
    let more =
        format!("[pools.app.outlier]\nmax_ejected = \"0%\"\n[pools.app.breaker]\n{breaker}\n");
    // A busy machine is no reason to find a backend unhealthy here.
    let patient = one_pool(backends, workers)
        .replace("healthy_after = 1", "healthy_after = 1\ntimeout = \"3s\"");
    TestDoor::checked(&(patient + &more), backends).await
}

#[tokio::test]
async fn an_open_breaker_lets_nothing_through_and_a_half_open_one_exactly_its_probes() {
    for workers in WORKERS {
        let red = TestBackend::start_with("red", Answer::status(500)).await;
        let breaker = "open_for = \"400ms\"\nhalf_open = { probes = 3, close_after = 3 }";
        let door = door(&[&red], workers, breaker).await;
        let load = Steady::start(door.addr("web"), 12, 400);
        let line = door.logged("breaker_opened").await;
        assert!(line.contains("failure_rate") && line.contains("backend=red"), "{line}");
        door.logged_times("breaker_half_opened", 1).await;
        let before = red.request_count();
        assert!(before < 200, "it went on for long: {before}");
        // Whatever comes after the first opening is a probe: at most three each time (one that fails
        // opens it again before another has begun), and no other.
        door.logged_times("breaker_opened", 4).await;
        let opened = door.times("breaker_opened");
        let probes = red.request_count() - before;
        assert!(probes + 1 >= opened && probes <= 3 * opened, "{probes} in {opened} times");

        red.answer(Answer::text("red"));
        let line = door.logged("breaker_closed").await;
        assert!(line.contains("half_open") && line.contains("probes"), "{line}");
        red.received(red.request_count() + 10).await;
        let went = load.stop().await;
        assert!(went.faults.is_empty(), "{:?}", went.faults);
        assert_eq!(went.count(200) + went.count(500) + went.count(503), went.all(), "{went:?}");
    }
}

#[tokio::test]
async fn most_answers_slow_opens_it_and_the_others_carry_the_load() {
    for workers in WORKERS {
        let [red, green] = [TestBackend::start("red").await, TestBackend::start("green").await];
        let breaker =
            "open_on = { slow_rate = \"60%\", slower_than = \"180ms\" }\nopen_for = \"1m\"";
        let door = door(&[&red, &green], workers, breaker).await;
        let load = Steady::start(door.addr("web"), 20, 400);
        red.received(10).await;
        // In the same bucket of a histogram as what is not slow.
        red.answer(Answer::text("red").after(Duration::from_millis(210)));
        let line = door.logged("breaker_opened").await;
        assert!(line.contains("backend=red") && line.contains("slow_rate"), "{line}");
        green.received(green.request_count() + 20).await;
        let before = red.request_count();
        green.received(green.request_count() + 20).await;
        assert_eq!(red.request_count(), before);
        load.stop().await.was_served();
    }
}

#[tokio::test]
async fn without_a_breaker_in_the_configuration_there_is_none() {
    let red = TestBackend::start_with("red", Answer::status(500)).await;
    let door = TestDoor::checked(&one_pool(&[&red], 1), &[&red]).await;
    let load = Steady::start(door.addr("web"), 6, 300);
    red.received(60).await;
    let went = load.stop().await;
    assert_eq!(went.count(500), went.all(), "{:?}", went.statuses);
    assert_eq!(door.times("breaker_opened"), 0);
}

#[tokio::test]
async fn an_operator_holds_a_breaker_open_and_lets_it_go() {
    let [red, green] = [TestBackend::start("red").await, TestBackend::start("green").await];
    let (door, operator) = Operator::of(&one_pool(&[&red, &green], 4), &[&red, &green]).await;
    let path = "/v1/pools/app/backends/red/breaker";
    let why = "{\"hold\": \"open\", \"reason\": \"disk\"}";
    let (status, backend) = operator.ask("POST", path, why).await;
    assert_eq!(status, 200, "{backend}");
    assert_eq!((&backend["state"], &backend["breaker"]), (&"open".into(), &"held_open".into()));
    let told = operator.told("breaker_opened").await;
    assert_eq!((&told["backend"], &told["reason"]), (&"red".into(), &"disk".into()));
    assert!(told["actor"].as_str().unwrap().contains("uid"), "{told}");

    let load = Steady::start(door.addr("web"), 6, 300);
    green.received(15).await;
    assert_eq!(red.request_count(), 0);
    let let_go = operator.command(&["backends", "breaker", "app/red", "auto"]).await;
    assert!(let_go.status.success(), "{let_go:?}");
    red.received(1).await;
    load.stop().await.was_served();

    assert_eq!(operator.ask("POST", path, "{\"hold\": \"ajar\"}").await.0, 422);
    let nobody = "/v1/pools/app/backends/nobody/breaker";
    assert_eq!(operator.ask("POST", nobody, why).await.0, 404);
}
