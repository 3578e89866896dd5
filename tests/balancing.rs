//! Which backend takes a request, counted at the backends.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test, in helpers too

use std::collections::{BTreeMap, BTreeSet};

use tests::crowd::{Tally, crowd, plain};
use tests::door::one_pool;
use tests::{Answer, CEILING, Death, TestBackend, TestClient, TestDoor, within};

const WORKERS: [usize; 2] = [1, 4];

/// Connections of a crowd: enough that each of four workers has some.
const CLIENTS: usize = 16;

const NAMES: [&str; 17] =
    ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q"];

async fn backends(count: usize) -> Vec<TestBackend> {
    let mut all = Vec::new();
    for name in &NAMES[..count] {
        all.push(TestBackend::start(name).await);
    }
    all
}

/// A door whose only pool has these backends and these further keys.
async fn door(backends: &[TestBackend], workers: usize, keys: &str) -> TestDoor {
    door_with(backends, workers, |config| {
        config.replace("[pools.app]\n", &format!("[pools.app]\n{keys}\n"))
    })
    .await
}

async fn door_with(
    backends: &[TestBackend],
    workers: usize,
    edit: impl FnOnce(String) -> String,
) -> TestDoor {
    let all: Vec<&TestBackend> = backends.iter().collect();
    // Who is found healthy a moment later shall not have less meanwhile.
    let at_once = "healthy_after = 1\nslow_start = \"0s\"";
    let config = edit(one_pool(&all, workers).replace("healthy_after = 1", at_once));
    let has_weight = |backend: &&TestBackend| {
        !config.contains(&format!("{{ id = \"{}\", weight = 0,", backend.name()))
    };
    let expected: Vec<&TestBackend> = all.into_iter().filter(has_weight).collect();
    TestDoor::checked(&config, &expected).await
}

/// One more key for the backend of that name.
fn backend_key(config: &str, name: &str, key: &str) -> String {
    let entry = format!("{{ id = \"{name}\", ");
    assert!(config.contains(&entry), "no `{name}` in\n{config}");
    config.replace(&entry, &format!("{entry}{key}, "))
}

#[track_caller]
fn assert_shares(tally: &Tally, shares: &[(&str, usize)]) {
    let all: usize = tally.values().sum();
    for (name, expected) in shares {
        let got = tally.get(*name).copied().unwrap_or_default();
        let off = got.abs_diff(*expected);
        assert!(off * 50 <= all, "`{name}` got {got} of {all}, not {expected}: {tally:?}");
    }
}

#[tokio::test]
async fn round_robin_is_even() {
    for workers in WORKERS {
        let all = backends(4).await;
        let door = door(&all, workers, "balance = \"round_robin\"").await;
        let tally = crowd(door.addr("web"), CLIENTS, 2_000, plain).await;
        assert_shares(&tally, &[("a", 500), ("b", 500), ("c", 500), ("d", 500)]);
        assert_eq!(tally.values().sum::<usize>(), 2_000, "{tally:?}");
    }
}

#[tokio::test]
async fn weights_are_kept_and_a_weight_of_zero_takes_nothing() {
    for workers in WORKERS {
        for rule in ["round_robin", "least_requests"] {
            let all = backends(4).await;
            let door = door_with(&all, workers, |config| {
                let mut config = config
                    .replace("[pools.app]\n", &format!("[pools.app]\nbalance = \"{rule}\"\n"));
                for (name, weight) in [("a", 5), ("b", 3), ("c", 2), ("d", 0)] {
                    config = backend_key(&config, name, &format!("weight = {weight}"));
                }
                config
            })
            .await;
            let tally = crowd(door.addr("web"), CLIENTS, 2_000, plain).await;
            assert_shares(&tally, &[("a", 1_000), ("b", 600), ("c", 400)]);
            assert_eq!(all[3].request_count(), 0);
        }
    }
}

/// Sends held requests, each on a connection of its own, and each only when the one before it is
/// at its backend. Returns how many each backend has.
async fn hold(door: &TestDoor, all: &[TestBackend], count: usize) -> (Vec<TestClient>, Vec<usize>) {
    all.iter().for_each(|backend| backend.answer(Answer::text("held").held()));
    let in_all = || all.iter().map(TestBackend::request_count).sum::<usize>();
    let mut clients = Vec::new();
    for number in 0..count {
        let mut client = door.client().await;
        client.send(plain(number)).await;
        clients.push(client);
        let arrived = async {
            while in_all() <= number {
                tokio::task::yield_now().await;
            }
        };
        within(CEILING, arrived).await;
    }
    (clients, all.iter().map(TestBackend::request_count).collect())
}

#[tokio::test]
async fn least_requests_fills_the_emptiest_whatever_worker_asks() {
    for workers in WORKERS {
        let all = backends(3).await;
        let door = door(&all, workers, "balance = \"least_requests\"").await;
        let (mut clients, counts) = hold(&door, &all, 15).await;
        assert_eq!(counts, [5, 5, 5]);
        all.iter().for_each(TestBackend::release_all);
        for client in &mut clients {
            assert_eq!(client.read_response().await.text(), "held");
        }
    }
}

#[tokio::test]
async fn a_stalled_backend_gets_no_more_than_its_share_of_what_is_in_flight() {
    for workers in WORKERS {
        for rule in ["least_requests", "two_choices", "peak_ewma"] {
            let all = backends(3).await;
            let door = door(&all, workers, &format!("balance = \"{rule}\"")).await;
            all[0].answer(Answer::text("a").held());
            let mut clients = Vec::new();
            for _ in 0..12 {
                clients.push(door.client().await);
            }
            // Each client sends again as soon as it is answered, until 600 answers are there.
            let mut answers = 0;
            let mut stuck = BTreeSet::new();
            while answers < 600 {
                let before = answers;
                for (number, client) in clients.iter_mut().enumerate() {
                    if stuck.contains(&number) {
                        continue;
                    }
                    let held = all[0].request_count();
                    client.send(plain(number)).await;
                    tokio::select! {
                        response = client.read_response() => {
                            assert_eq!(response.status, 200);
                            answers += 1;
                        }
                        () = all[0].received(held + 1) => {
                            stuck.insert(number);
                        }
                    }
                }
                assert!(answers > before, "{rule} gave everything to the stalled one");
            }
            // One at a time is under way besides: the stalled one loses every comparison. Where
            // latency counts too, how much it may have follows from that of the others.
            let most = if rule == "peak_ewma" { 10 } else { 4 };
            assert!(stuck.len() <= most, "{rule}: {} stuck", stuck.len());
            all[0].release_all();
            for number in stuck {
                assert_eq!(clients[number].read_response().await.text(), "a");
            }
        }
    }
}

#[tokio::test]
async fn seventeen_backends_without_a_rule_are_loaded_alike() {
    for workers in WORKERS {
        let all = backends(17).await;
        let door = door(&all, workers, "").await;
        let (_clients, counts) = hold(&door, &all, 68).await;
        // Two choices: four on average, and hardly ever more than two above it.
        let most = counts.iter().max().unwrap();
        assert!(counts.iter().all(|&count| count > 0) && *most <= 7, "{counts:?}");
    }
}

#[tokio::test]
async fn the_first_takes_everything_while_it_has_room() {
    for workers in WORKERS {
        let all = backends(3).await;
        let door = door(&all, workers, "balance = \"first\"\nmax_concurrency = 2").await;
        let mut client = door.client().await;
        for _ in 0..20 {
            assert_eq!(client.get("/").await.text(), "a");
        }
        let before = all[0].request_count();
        all.iter().for_each(|backend| backend.answer(Answer::text("held").held()));
        let mut clients = Vec::new();
        for (place, count) in [(0, 1), (0, 2), (1, 1), (1, 2), (2, 1), (2, 2)] {
            let mut client = door.client().await;
            client.send(plain(0)).await;
            clients.push(client);
            all[place].received(count + if place == 0 { before } else { 0 }).await;
        }
        all.iter().for_each(TestBackend::release_all);
        for client in &mut clients {
            assert_eq!(client.read_response().await.text(), "held");
        }
        all[0].answer(Answer::text("a"));
        all[1].answer(Answer::text("b"));
        all[0].kill(Death::Fin).await;
        assert_eq!(client.get("/").await.text(), "b");
    }
}

/// Where each key goes, which must be one place.
fn places(all: &[TestBackend]) -> BTreeMap<String, String> {
    let mut places = BTreeMap::new();
    for backend in all {
        for request in backend.requests() {
            let name = backend.name().to_owned();
            let known = places.insert(request.target().to_owned(), name.clone());
            assert!(known.is_none_or(|known| known == name), "`{}` moved", request.target());
        }
    }
    places
}

#[tokio::test]
async fn the_same_key_goes_to_the_same_backend_whatever_worker_and_connection() {
    for (hash_by, header) in [
        ("{ header = \"x-user\" }", "X-User: KEY"),
        ("{ cookie = \"user\" }", "Cookie: a=b; user=KEY; user=other"),
        ("\"path\"", "X-Nothing: 1"),
    ] {
        let mut by_workers = Vec::new();
        for workers in WORKERS {
            let all = backends(4).await;
            let keys = format!("balance = \"consistent_hash\"\nhash_by = {hash_by}");
            let door = door(&all, workers, &keys).await;
            let write = move |number: usize| {
                let key = number % 200;
                let header = header.replace("KEY", &format!("u{key}"));
                format!("GET /{key} HTTP/1.1\r\nHost: x\r\n{header}\r\n\r\n")
            };
            // One at a time: the load is bounded, and a crowd would spill.
            crowd(door.addr("web"), 1, 600, write).await;
            crowd(door.addr("web"), 1, 200, write).await;
            crowd(door.addr("web"), 1, 200, write).await;
            let before = places(&all);
            assert_eq!(before.len(), 200);
            for backend in &all {
                let keys = before.values().filter(|name| *name == backend.name()).count();
                assert!((25..=80).contains(&keys), "`{}` has {keys} of 200", backend.name());
            }
            // Only the keys of a backend that goes move.
            all[3].kill(Death::Fin).await;
            crowd(door.addr("web"), 1, 200, write).await;
            let after = places(&all[..3]);
            let moved = |(key, name): &(&String, &String)| after[*key] != **name;
            assert!(before.iter().filter(moved).all(|(_, name)| name == "d"));
            by_workers.push(before);
        }
        assert_eq!(by_workers[0], by_workers[1], "places do not depend on workers");
    }
}

#[tokio::test]
async fn a_client_address_is_a_key_too() {
    for workers in WORKERS {
        let all = backends(3).await;
        let keys = "balance = \"consistent_hash\"\nhash_by = \"client_address\"";
        let door = door(&all, workers, keys).await;
        for last in 1..=20 {
            for _ in 0..3 {
                let source = [127, 0, 1, last].into();
                let mut client = TestClient::connect_from(source, door.addr("web")).await;
                let get = format!("GET /{last} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
                assert_eq!(client.request(get).await.status, 200);
                // Only then has the request ended, and its place at the backend is free again.
                client.ended().await;
            }
        }
        let used: BTreeSet<String> = places(&all).into_values().collect();
        assert_eq!(used.len(), 3);
    }
}

#[tokio::test]
async fn requests_stay_in_the_zone_of_the_door_until_nobody_is_left_there() {
    for workers in WORKERS {
        let all = backends(4).await;
        let door = door_with(&all, workers, |config| {
            let mut config = config.replace("[site]\n", "[site]\nzone = \"east\"\n");
            for (name, zone) in [("a", "west"), ("b", "east"), ("c", "east"), ("d", "west")] {
                config = backend_key(&config, name, &format!("zone = \"{zone}\""));
            }
            config
        })
        .await;
        let tally = crowd(door.addr("web"), CLIENTS, 400, plain).await;
        assert_eq!(tally.keys().collect::<Vec<_>>(), ["b", "c"]);
        assert_shares(&tally, &[("b", 200), ("c", 200)]);
        for (place, name) in [(1, "b"), (2, "c")] {
            all[place].kill(Death::Fin).await;
            door.logged(&format!("backend_unhealthy pool=app backend={name}")).await;
        }
        let tally = crowd(door.addr("web"), CLIENTS, 400, plain).await;
        assert_eq!(tally.keys().collect::<Vec<_>>(), ["a", "d"]);
    }
}

#[tokio::test]
async fn a_full_zone_spills_into_the_others() {
    for workers in WORKERS {
        let all = backends(2).await;
        let door = door_with(&all, workers, |config| {
            let config = config.replace("[site]\n", "[site]\nzone = \"east\"\n");
            let config = config.replace("[pools.app]\n", "[pools.app]\nmax_concurrency = 4\n");
            let config = backend_key(&config, "a", "zone = \"east\"");
            backend_key(&config, "b", "zone = \"west\"")
        })
        .await;
        let (_clients, counts) = hold(&door, &all, 8).await;
        assert_eq!(counts, [4, 4]);
    }
}

#[tokio::test]
async fn nobody_is_asked_who_is_down_and_a_new_one_starts_down() {
    for workers in WORKERS {
        let all = backends(3).await;
        all[2].answer_probes("/healthz", 500);
        let config = one_pool(&all.iter().collect::<Vec<_>>(), workers);
        let door = TestDoor::checked(&config, &[&all[0], &all[1]]).await;
        crowd(door.addr("web"), CLIENTS, 300, plain).await;
        assert_eq!(all[2].request_count(), 0);
        all[2].answer_probes("/healthz", 200);
        door.logged("backend_in_rotation pool=app backend=c").await;
        let tally = crowd(door.addr("web"), CLIENTS, 300, plain).await;
        assert!(tally["c"] >= 90, "{tally:?}");
    }
}

#[tokio::test]
async fn a_backend_that_dies_under_load_costs_no_request() {
    for workers in WORKERS {
        let all = backends(3).await;
        let door = door(&all, workers, "").await;
        let load = crowd(door.addr("web"), CLIENTS, 3_000, plain);
        let murder = async {
            all[0].received(300).await;
            all[0].kill(Death::Fin).await;
        };
        let (tally, ()) = tokio::join!(load, murder);
        assert_eq!(tally.values().sum::<usize>(), 3_000);
        assert!(!tally.keys().any(|answer| answer.starts_with("status")), "{tally:?}");
    }
}
