//! What changes the size of a pool besides its demand: the clock, operators, and trouble.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test, in helpers too

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rustix::process::Signal;
use serde_json::Value;
use tests::door::one_pool;
use tests::elastic::{Elastic, PATIENCE, ask, config};
use tests::load::{Load, Manner};
use tests::operator::Operator;
use tests::{Answer, TestBackend, TestDoor};

const ADMIN: &str = "[admin]\nunix = \"admin.sock\"\n";

/// A first launch waits until calls of an earlier life must have ended, and so must the lead.
const LEAD: SignedDuration = SignedDuration::from_secs(10);
const UNTIL_OPEN: SignedDuration = SignedDuration::from_secs(25);

/// The records of the journal.
fn records(door: &TestDoor) -> Vec<Value> {
    let lines = ask(door, &["decisions", "--json", "--config"]);
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// When the journal first noted something of this kind.
fn first(records: &[Value], kind: &str) -> Timestamp {
    let has = |record: &&Value| {
        let events = record["events"].as_array();
        events.is_some_and(|events| events.iter().any(|event| event["event"] == kind))
    };
    records.iter().find(has).unwrap()["at"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_window_finds_its_instances_serving_when_it_opens() {
    let second = Timestamp::now().as_second();
    let from = Timestamp::from_second(second).unwrap() + UNTIL_OPEN;
    let time = |at: Timestamp| at.to_string().trim_end_matches('Z').to_owned();
    let text = config("127.60.81.0/28", 4)
        .replace("boot = {", "boot = { learn = false, assume = \"10s\",")
        .replace("health = {", "health = { slow_start = \"0s\",")
        + &format!(
            "[[scalers.burst.windows]]\nname = \"sale\"\nfrom = {}\nto = {}\nfloor = 2\n",
            time(from),
            time(from + SignedDuration::from_secs(3600)),
        )
        + ADMIN;
    let elastic = Elastic(TestDoor::start(&text).await);
    let door = &elastic.0;
    let (_, status, _) = door.ask(&["status"]).await;
    assert!(status.contains("window sale: opens"), "{status}");
    assert!(status.contains("at least 2 (") && status.contains("tidegate.toml:"), "{status}");

    door.logged_in(PATIENCE, "instance_serves", 2).await;
    let serves = Timestamp::now();
    let (_, status, _) = door.ask(&["status"]).await;
    assert!(status.contains("size: 2 wanted, 2 needed"), "{status}");
    let records = records(door);
    let launched = first(&records, "launch_answered");
    assert!(launched >= from - LEAD, "{launched} is more than a lead before {from}");
    assert!(serves <= from, "{serves}, and it opened at {from}");
    let why = ask(door, &["why", "burst", "--config"]);
    assert!(why.contains("window sale") && why.contains("tidegate.toml:"), "{why}");
}

#[tokio::test]
async fn a_pin_holds_over_a_crash_and_is_told_until_it_ends() {
    let text = config("127.60.81.16/28", 4) + ADMIN;
    let mut elastic = Elastic(TestDoor::start(&text).await);
    let (code, _, err) = elastic.0.ask(&["pin", "burst", "2", "--for", "1h"]).await;
    assert_eq!(code, 2, "without a reason: {err}");
    let pin = ["pin", "burst", "2", "--for", "1h", "--reason", "load test"];
    let (code, out, err) = elastic.0.ask(&pin).await;
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("pool burst is pinned to 2 until"), "{out}");
    elastic.0.logged("override_set pool=burst to=pin 2").await;
    elastic.0.logged_in(PATIENCE, "instance_serves", 2).await;
    let why = ask(&elastic.0, &["why", "burst", "--config"]);
    assert!(why.contains("pin ") && why.contains("load test"), "{why}");

    elastic.0.signal(Signal::KILL);
    elastic.0.exited().await;
    let again = Elastic(elastic.0.launch_again().ready().await);
    let door = &again.0;
    door.logged_in(PATIENCE, "instance_adopted", 0).await;
    let (_, status, _) = door.ask(&["status"]).await;
    let told = status.lines().find(|line| line.starts_with("pinned to 2 until")).unwrap();
    assert!(told.ends_with(": load test") && told.contains("by uid "), "{told}");
    // Its two go on, and are not launched again.
    door.logged_in(PATIENCE, "backend_in_rotation", 2).await;

    let (code, _, err) = door.ask(&["resume", "burst"]).await;
    assert_eq!(code, 0, "{err}");
    door.logged("override_ended pool=burst from=pin 2").await;
    door.logged_in(PATIENCE, "instance_gone", 2).await;
    assert_eq!(door.times("instance_started"), 0, "none was launched twice");
}

#[tokio::test]
async fn a_pause_holds_whatever_is_asked_for_and_ends_by_itself() {
    let text = config("127.60.81.32/28", 2) + ADMIN;
    let elastic = Elastic(TestDoor::start(&text).await);
    let door = &elastic.0;
    for wrong in [
        &["pause", "burst", "--for", "0s", "--why", "x"][..],
        &["pause", "burst", "--for", "40d", "--why", "x"],
        &["pause", "burst", "--for", "soon", "--why", "x"],
        &["pause", "burst", "--for", "1h", "--why", " "],
        &["pause", "brust", "--for", "1h", "--why", "x"],
    ] {
        let (code, out, err) = door.ask(wrong).await;
        assert_eq!(code, 1, "{wrong:?}: {out}{err}");
    }
    let (code, _, err) = door.ask(&["pause", "burst", "--for", "10s", "--why", "surgery"]).await;
    assert_eq!(code, 0, "{err}");
    door.logged("override_set pool=burst to=pause").await;
    let load = Load::start_at(door.addr("web"), "/slow?ms=50", 4, Manner::Kept, Duration::ZERO);
    door.logged_in(PATIENCE, "reason=\"paused\"", 1).await;
    let (_, status, _) = door.ask(&["status"]).await;
    assert!(status.contains("held: paused until"), "{status}");
    door.logged_in(PATIENCE, "override_ended pool=burst from=pause reason=\"expired\"", 1).await;
    // The turn in which it ends acts before it tells.
    let told = |word: &str| {
        let output = door.output();
        let line = output.lines().find(|line| line.contains(word))?;
        line.split(' ').next()?.parse::<jiff::Timestamp>().ok()
    };
    let ended = told("override_ended").unwrap();
    let begins_before = |at: jiff::Timestamp| ended.duration_since(at).as_millis() > 500;
    assert!(!told("instance_started").is_some_and(begins_before), "{}", door.output());
    // Those who waited are served now.
    load.goes_on(20).await;
    let (_, failures) = load.stop().await;
    assert_eq!(failures, Vec::<String>::new());
}

#[tokio::test]
async fn neither_retries_of_the_door_nor_its_checks_are_demand() {
    let backends = [TestBackend::start("red").await, TestBackend::start("blue").await];
    let [red, blue] = &backends;
    red.answer_by(|request| match request.target() {
        "/healthz" => Answer::text("well"),
        _ => Answer::status(503),
    });
    let text = one_pool(&[red, blue], 1)
        .replace("interval = \"50ms\"", "interval = \"20ms\"")
        .replace("[pools.app.health]", "outlier = { max_ejected = \"0%\" }\n[pools.app.health]")
        + "retries = { max = 1, budget = \"100%\" }\n";
    let (door, operator) = Operator::of(&text, &[red, blue]).await;
    let pause = Duration::from_millis(100);
    let load = Load::start(door.addr("web"), 10, Manner::Kept, pause);
    // Ten clients a tenth of a second apart are 100 requests a second, and a few at the edges.
    for _ in 0..5 {
        let pools = operator.until("/v1/pools", |json| rate(json) > 20.0).await;
        assert!(rate(&pools) <= 115.0, "{pools:#}");
        red.received(red.request_count() + 40).await;
    }
    load.stop().await;
    let status = operator.get("/v1/status").await;
    let answered = usize::try_from(status["requests"].as_u64().unwrap()).unwrap();
    let tries = red.request_count() + blue.request_count();
    assert!(tries * 10 > answered * 13, "{tries} tries of {answered} requests: too few to tell");
}

/// Requests a second that wanted the first pool.
fn rate(pools: &Value) -> f64 {
    pools["pools"][0]["demand"]["arrivals_rps"].as_f64().unwrap_or_default()
}

#[tokio::test]
async fn traffic_that_falls_together_with_errors_is_no_reason_to_shrink() {
    let red = TestBackend::start("red").await;
    red.answer_by(|request| match request.target() {
        "/healthz" => Answer::text("well"),
        _ => Answer::status(500),
    });
    let onprem = format!(
        "[pools.onprem]\nbackends = [{{ id = \"red\", address = \"{}\" }}]\nmax_concurrency = 1\n\
         outlier = {{ max_ejected = \"0%\" }}\n",
        red.addr()
    );
    let routes = "[[routes]]\nname = \"onprem\"\nmatch = { path = \"/red\" }\n\
                  to = { pool = \"onprem\" }\n[[routes]]\nname = \"all\"";
    let text = config("127.60.81.48/28", 3)
        .replacen("[[routes]]\nname = \"all\"", routes, 1)
        .replace("kind = \"elastic\"", "kind = \"elastic\"\ntier = 1")
        .replace("down = {", "down = { freeze_if = [\"outage_suspected\"],")
        + &onprem;
    let elastic = Elastic(TestDoor::start(&text).await);
    let door = &elastic.0;
    let crowd = Load::start_at(door.addr("web"), "/slow?ms=50", 8, Manner::Kept, Duration::ZERO);
    door.logged_in(PATIENCE, "instance_serves", 3).await;
    crowd.goes_on(400).await;
    let pause = Duration::from_millis(100);
    let broken = Load::start_at(door.addr("web"), "/red", 1, Manner::Kept, pause);
    let seen = red.request_count();
    red.received(seen + 3).await;
    crowd.stop().await;
    door.logged_in(PATIENCE, "frozen by `outage_suspected`", 1).await;
    // For longer than `down.stable_for`.
    let seen = red.request_count();
    red.received(seen + 40).await;
    assert_eq!(door.times("scale_in_decided"), 0);
    broken.stop().await;
}
