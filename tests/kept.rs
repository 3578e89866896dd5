//! What operators have changed in a running door is so in the one that takes over from it.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test, in helpers too

use serde_json::Value;
use tests::door::one_pool;
use tests::{DeafBackend, TestBackend, TestDoor};

/// A door with a socket for operators, all of whose backends take requests.
async fn door(workers: usize, backends: &[&TestBackend]) -> TestDoor {
    let config = one_pool(backends, workers) + "[admin]\nunix = \"admin.sock\"\n";
    TestDoor::checked(&config, backends).await
}

/// What `tidegate backends` says of each, without what is of the moment.
async fn told_of_backends(door: &TestDoor) -> Vec<Value> {
    let (code, out, err) = door.ask(&["backends", "--json"]).await;
    assert_eq!(code, 0, "{err}");
    let backends = out.lines().map(|line| {
        let backend: Value = serde_json::from_str(line).unwrap();
        let keys = ["id", "address", "state", "is_written", "weight", "max_concurrency", "breaker"];
        keys.iter().map(|key| ((*key).to_owned(), backend[*key].clone())).collect()
    });
    backends.collect()
}

#[tokio::test]
async fn what_was_changed_at_run_time_is_so_after_hand_overs() {
    for workers in [1, 4] {
        let names = ["red", "blue", "held", "added"];
        let mut all = Vec::new();
        for name in names {
            all.push(TestBackend::start(name).await);
        }
        let written: Vec<&TestBackend> = all[..3].iter().collect();
        let mut doors = vec![door(workers, &written).await];
        let address = all[3].addr().to_string();
        for words in [
            &["backends", "add", "app/added", &address, "--weight", "3", "--zone", "z"][..],
            &["backends", "weight", "app/red", "2"],
            &["backends", "max-concurrency", "app/red", "50"],
            &["drain", "app/blue", "--wait"],
            &["backends", "breaker", "app/held", "open"],
        ] {
            let (code, _, err) = doors[0].ask(words).await;
            assert_eq!(code, 0, "{words:?}: {err}");
        }
        doors[0].logged("backend_in_rotation pool=app backend=added").await;
        let before = told_of_backends(&doors[0]).await;
        // The second hears it from one that has heard it itself.
        for _ in 0..2 {
            let successor = doors.last().unwrap().launch_successor().ready().await;
            assert_eq!(told_of_backends(&successor).await, before);
            let counts: Vec<usize> = all.iter().map(TestBackend::request_count).collect();
            let mut client = successor.client().await;
            for _ in 0..50 {
                assert_eq!(client.get("/").await.status, 200);
            }
            let got = all.iter().zip(counts).map(|(it, before)| it.request_count() - before);
            let got: Vec<usize> = got.collect();
            assert_eq!(got, [20, 0, 0, 30], "by weight, {names:?}");
            doors.push(successor);
        }
        // What an operator orders now goes to where it was handed.
        let last = doors.last().unwrap();
        let (code, _, err) = last.ask(&["backends", "remove", "app/added", "--yes"]).await;
        assert_eq!(code, 0, "{err}");
        assert_eq!(last.client().await.get("/").await.text(), "red");
    }
}

#[tokio::test]
async fn a_site_that_was_closed_stays_closed_over_a_hand_over() {
    let red = TestBackend::start("red").await;
    let door = door(1, &[&red]).await;
    assert_eq!(door.ask(&["maintenance", "on"]).await.0, 0);
    let successor = door.launch_successor().ready().await;
    assert_eq!(successor.client().await.get("/").await.status, 503);
    assert_eq!(successor.ask(&["maintenance", "off"]).await.0, 0);
    assert_eq!(successor.client().await.get("/").await.text(), "red");
}

#[tokio::test]
async fn an_order_that_a_successor_would_never_hear_of_ends_its_hand_over() {
    let red = TestBackend::start("red").await;
    let door = door(1, &[&red]).await;
    // It waits for the first check of a backend that is new to it.
    let deaf = DeafBackend::start();
    let entry = format!("backends = [{{ id = \"deaf\", address = \"{}\" }}, ", deaf.addr());
    let config = std::fs::read_to_string(door.folder().join("tidegate.toml")).unwrap();
    door.configure(
        &config.replace("backends = [", &entry).replace("interval", "timeout = \"4s\"\ninterval"),
    );
    let mut successor = door.launch_successor();
    successor.logged("hand_over_begun").await;
    assert_eq!(door.ask(&["backends", "weight", "app/red", "7"]).await.0, 0);
    door.logged("hand_over_failed").await;
    assert_eq!(successor.exited().await.code(), Some(1), "{}", successor.output());
    assert_eq!(told_of_backends(&door).await[0]["weight"], 7);
    assert_eq!(door.client().await.get("/").await.text(), "red");
}
