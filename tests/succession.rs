//! What two processes owe each other while both live: the one that has taken over, and the one from
//! which it did.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test, in helpers too

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tests::door::one_pool;
use tests::elastic::{Elastic, PATIENCE, config};
use tests::{Answer, TestBackend, TestClient, TestDoor};

const ADMIN: &str = "[admin]\nunix = \"admin.sock\"\n";

/// A door in front of these.
async fn door(workers: usize, backends: &[&TestBackend]) -> TestDoor {
    TestDoor::checked(&(one_pool(backends, workers) + ADMIN), backends).await
}

/// Connections that have been answered once, and that the door keeps.
async fn kept(door: &TestDoor, count: usize) -> Vec<TestClient> {
    let mut clients = Vec::new();
    for _ in 0..count {
        let mut client = door.client().await;
        assert_eq!(client.get("/").await.status, 200);
        clients.push(client);
    }
    clients
}

async fn state(door: &TestDoor, id: &str) -> String {
    let (_, out, err) = door.ask(&["backends", "--json"]).await;
    let all = out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let one = all.into_iter().find(|one| one["id"] == id).unwrap_or_else(|| panic!("{out}{err}"));
    one["state"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn what_has_drained_gets_nothing_over_connections_that_older_processes_keep() {
    for workers in [1, 4] {
        let red = TestBackend::start("red").await;
        let blue = TestBackend::start("blue").await;
        let mut first = door(workers, &[&red, &blue]).await;
        let mut clients = kept(&first, 6).await;
        let mut second = first.launch_successor().ready().await;
        clients.extend(kept(&second, 6).await);
        let third = second.launch_successor().ready().await;
        let (code, _, err) = third.ask(&["drain", "app/red", "--wait"]).await;
        assert_eq!(code, 0, "{err}");
        assert!(!third.output().contains("predecessor_ended"), "{}", third.output());
        let before = red.request_count();
        for client in &mut clients {
            let answer = client.get("/").await;
            assert_eq!((answer.status, answer.text().as_str()), (200, "blue"));
            assert_eq!(answer.field("connection").as_deref(), Some("close"));
        }
        assert_eq!(red.request_count(), before);
        first.exited().await;
        second.exited().await;
        third.logged("predecessor_ended").await;
    }
}

#[tokio::test]
async fn a_backend_that_is_wanted_again_is_so_in_an_older_process_too() {
    let red = TestBackend::start("red").await;
    let blue = TestBackend::start("blue").await;
    let old = door(2, &[&red]).await;
    let mut client = kept(&old, 1).await.remove(0);
    let new = old.launch_successor().ready().await;
    assert_eq!(new.ask(&["drain", "app/red", "--wait"]).await.0, 0);
    assert_eq!(new.ask(&["undrain", "app/red"]).await.0, 0);
    // Who has heard of a later drain has heard of this before.
    let (code, _, err) = new.ask(&["backends", "add", "app/blue", &blue.addr().to_string()]).await;
    assert_eq!(code, 0, "{err}");
    assert_eq!(new.ask(&["drain", "app/blue", "--wait"]).await.0, 0);
    assert_eq!(client.get("/").await.text(), "red");
}

#[tokio::test]
async fn nothing_has_drained_before_an_older_process_knows_of_it() {
    let red = TestBackend::start("red").await;
    let blue = TestBackend::start("blue").await;
    let mut old = door(1, &[&red, &blue]).await;
    let mut clients = kept(&old, 2).await;
    let new = old.launch_successor().ready().await;
    old.logged("handed_over").await;
    old.signal(Signal::STOP);
    assert_eq!(new.ask(&["drain", "app/red"]).await.0, 0);
    red.probed(red.probe_count() + 20).await;
    assert_eq!(state(&new, "red").await, "draining");
    old.signal(Signal::CONT);
    new.logged("backend_drained pool=app backend=red").await;
    for client in &mut clients {
        assert_eq!(client.get("/").await.text(), "blue");
    }
    old.exited().await;
}

#[tokio::test]
async fn a_new_process_that_was_stopped_still_knows_what_the_old_one_does() {
    let red = TestBackend::start_with("red", Answer::text("red").held()).await;
    let old = door(1, &[&red]).await;
    let mut client = old.client().await;
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    red.received(1).await;
    let new = old.launch_successor().ready().await;
    assert_eq!(new.ask(&["drain", "app/red"]).await.0, 0);
    new.signal(Signal::STOP);
    red.release_all();
    assert_eq!(client.read_response().await.status, 200);
    new.signal(Signal::CONT);
    new.logged("backend_drained pool=app backend=red from=draining to=drained waited_for=1").await;
}

/// What the pool is pinned to, as the door says.
async fn pinned(door: &TestDoor) -> Option<String> {
    let (_, status, err) = door.ask(&["status"]).await;
    assert!(status.contains("burst"), "{status}{err}");
    status.lines().find(|line| line.starts_with("pinned to")).map(str::to_owned)
}

#[tokio::test]
async fn an_order_of_the_last_moment_goes_on_or_ends_the_hand_over() {
    let text = config("127.60.82.0/28", 3) + ADMIN;
    let mut running = Elastic(TestDoor::start(&text).await);
    for instances in ["1", "2", "1", "2"] {
        let pin = ["pin", "burst", instances, "--for", "1h", "--reason", "load test"];
        let (code, _, err) = running.0.ask(&pin).await;
        assert_eq!(code, 0, "{err}");
        // Repeated, as it says, at most until the turn that takes the order has come.
        let successor = loop {
            let failed = running.0.times("an operator changed something");
            let mut successor = running.0.launch_successor();
            tokio::select! {
                () = async { drop(running.0.logged("handed_over").await) } => {
                    break successor.ready().await;
                }
                _ = successor.exited() => {
                    running.0.logged_times("an operator changed something", failed + 1).await;
                }
            }
        };
        successor.logged_in(PATIENCE, "instance_adopted", 0).await;
        let told = pinned(&successor).await;
        let wanted = format!("pinned to {instances} until");
        assert!(told.as_ref().is_some_and(|told| told.starts_with(&wanted)), "{told:?}");
        running = Elastic(successor);
    }
}

#[tokio::test]
async fn an_order_holds_over_a_hand_over_and_ends_when_it_was_to() {
    let text = config("127.60.82.16/28", 3) + ADMIN;
    let old = Elastic(TestDoor::start(&text).await);
    let pin = ["pin", "burst", "1", "--for", "20s", "--reason", "load test"];
    assert_eq!(old.0.ask(&pin).await.0, 0);
    old.0.logged_in(PATIENCE, "instance_serves", 1).await;
    let before = pinned(&old.0).await;
    let new = Elastic(old.0.launch_successor().ready().await);
    if before.is_some() {
        let told = async {
            while pinned(&new.0).await.is_none() {
                assert_eq!(new.0.times("override_ended"), 0);
            }
            pinned(&new.0).await
        };
        assert_eq!(tokio::time::timeout(Duration::from_secs(20), told).await.unwrap(), before);
    }
    new.0.logged_in(PATIENCE, "override_ended pool=burst from=pin 1 reason=\"expired\"", 1).await;
    new.0.logged_in(PATIENCE, "instance_gone", 1).await;
}
