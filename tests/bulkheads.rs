//! Limits of routes and of whole pools, and what is reserved: no flood of one route takes what
//! another needs.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test, in helpers too

use tests::crowd::crowd;
use tests::door::one_pool;
use tests::{Answer, CEILING, Meter, TestBackend, TestClient, TestDoor, within};

const WORKERS: [usize; 2] = [1, 4];
const LOG: &str =
    "[observe]\naccess_log = { to = \"stdout\" }\nmetrics = { listen = \"127.0.0.1:0\" }\n";

/// Paths below `/write/`, with these limits, before the route that takes everything.
fn with_route(config: &str, limits: &str) -> String {
    let route = format!(
        "[[routes]]\nname = \"write\"\nmatch = {{ path_prefix = \"/write/\" }}\n\
         to = {{ pool = \"app\" }}\nlimits = {{ {limits} }}\n[[routes]]\n"
    );
    config.replacen("[[routes]]\n", &route, 1) + LOG + "[admin]\nunix = \"admin.sock\"\n"
}

/// Backends that answer when they are released.
async fn held(names: &[&str]) -> Vec<TestBackend> {
    let mut backends = Vec::new();
    for name in names {
        backends.push(TestBackend::start_with(name, Answer::text(name).held()).await);
    }
    backends
}

/// A door in front of one of them, with these settings of the pool.
async fn door_to(red: &TestBackend, workers: usize, pool: &str, limits: &str) -> TestDoor {
    let config = one_pool(&[red], workers);
    let config = config.replace("[pools.app]\n", &format!("[pools.app]\n{pool}\n"));
    TestDoor::checked(&with_route(&config, limits), &[red]).await
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")
}

async fn sent(door: &TestDoor, path: &str) -> TestClient {
    let mut client = door.client().await;
    client.send(get(path)).await;
    client
}

#[track_caller]
fn waiting(door: &TestDoor, count: usize) -> impl Future<Output = ()> {
    within(CEILING, async move {
        while door.metric("tidegate_queue_length{pool=\"app\"}").await != count as f64 {}
    })
}

/// A door in front of two backends that count, which has been through a crowd that reads and
/// writes by turns.
async fn after_a_crowd(workers: usize, pool: &str, limits: &str) -> Meter {
    let meter = Meter::default();
    let mut entries = Vec::new();
    for id in ["a", "b"] {
        let addr = meter.backend().await;
        entries.push(format!("{{ id = \"{id}\", address = \"{addr}\" }}"));
    }
    let backends = format!("backends = [{}]\n{pool}", entries.join(", "));
    let config = one_pool(&[], workers).replace("backends = []", &backends);
    let door = TestDoor::start(&with_route(&config, limits)).await;
    for id in ["a", "b"] {
        door.logged(&format!("backend_in_rotation pool=app backend={id}")).await;
    }
    let path = |number| if number % 2 == 0 { "/write/" } else { "/read/" };
    let tally = crowd(door.addr("web"), 100, 4_000, move |number| get(path(number))).await;
    assert_eq!(tally["in"], 4_000, "{tally:?}");
    let over =
        async { while door.metric("tidegate_requests_in_flight{pool=\"app\"}").await != 0.0 {} };
    within(CEILING, over).await;
    meter
}

#[tokio::test]
async fn a_route_never_has_more_in_flight_than_its_limit() {
    for workers in WORKERS {
        let meter = after_a_crowd(workers, "", "concurrency = 3").await;
        assert_eq!((meter.of("write").most, meter.of("write").served), (3, 2_000));
        assert!(meter.of("read").most > 3, "the others have no such limit");
    }
}

#[tokio::test]
async fn a_pool_never_has_more_in_flight_than_its_limit() {
    for workers in WORKERS {
        let limits = "limits = { concurrency = 5 }";
        let meter = after_a_crowd(workers, limits, "concurrency = 1000").await;
        assert_eq!((meter.of("").most, meter.of("").served), (5, 4_000), "over both backends");
    }
}

#[tokio::test]
async fn a_flood_never_takes_what_is_reserved() {
    for workers in WORKERS {
        let limits = "limits = { concurrency = 6 }";
        let meter = after_a_crowd(workers, limits, "reserve = \"50%\"").await;
        assert_eq!(meter.of("").most, 6);
        assert!(meter.of("read").most <= 3, "{meter:?}");
    }
}

#[tokio::test]
async fn who_has_a_reserve_is_served_while_a_flood_waits() {
    for workers in WORKERS {
        let red = held(&["red"]).await.remove(0);
        let pool = "max_concurrency = 4\nqueue = { max = 5 }";
        let door = door_to(&red, workers, pool, "reserve = \"25%\"").await;
        let mut flood = Vec::new();
        for number in 0..8 {
            flood.push(sent(&door, &format!("/read/{number}")).await);
        }
        red.received(3).await;
        waiting(&door, 5).await;
        assert_eq!(sent(&door, "/read/9").await.read_response().await.status, 503, "it is full");
        let mut write = sent(&door, "/write/").await;
        red.received(4).await;
        assert_eq!(red.request(3).target(), "/write/");
        red.release_all();
        for client in flood.iter_mut().chain([&mut write]) {
            assert_eq!(client.read_response().await.text(), "red");
        }
    }
}

#[tokio::test]
async fn who_waits_for_the_limit_of_its_route_is_in_nobody_elses_way() {
    for workers in WORKERS {
        let red = held(&["red"]).await.remove(0);
        let door = door_to(&red, workers, "max_concurrency = 3", "concurrency = 1").await;
        let mut writes = vec![sent(&door, "/write/1").await];
        red.received(1).await;
        for number in 2..=3 {
            writes.push(sent(&door, &format!("/write/{number}")).await);
            waiting(&door, number - 1).await;
        }
        let used = "tidegate_route_in_flight{route=\"write\"}";
        assert_eq!(door.metric(used).await, 1.0);
        assert_eq!(door.metric("tidegate_route_concurrency_limit{route=\"write\"}").await, 1.0);
        assert_eq!(door.metric("tidegate_concurrency_limit{pool=\"app\"}").await, 3.0);
        let mut reads = [sent(&door, "/read/1").await, sent(&door, "/read/2").await];
        red.received(3).await;
        assert!(red.requests()[1..].iter().all(|request| request.target().starts_with("/read/")));
        red.release_all();
        for client in writes.iter_mut().chain(&mut reads) {
            assert_eq!(client.read_response().await.status, 200);
        }
        let order: Vec<_> = red.requests()[3..].iter().map(|r| r.target().to_owned()).collect();
        assert_eq!(order, ["/write/2", "/write/3"]);
        within(CEILING, async { while door.metric(used).await != 0.0 {} }).await;
    }
}

#[tokio::test]
async fn without_a_queue_a_route_at_its_limit_hears_that_it_is_full_and_others_do_not() {
    for workers in WORKERS {
        let red = held(&["red"]).await.remove(0);
        let door = door_to(&red, workers, "queue = { max = 0 }", "concurrency = 1").await;
        let _first = sent(&door, "/write/1").await;
        red.received(1).await;
        let refused = sent(&door, "/write/2").await.read_response().await;
        assert_eq!(refused.status, 503);
        assert_eq!(refused.field("retry-after").as_deref(), Some("1"));
        let line = door.logged("\"path\":\"/write/2\"").await;
        assert!(line.contains("\"outcome\":\"full\""), "{line}");
        let _read = sent(&door, "/read/1").await;
        red.received(2).await;
    }
}

#[tokio::test]
async fn a_limit_that_is_changed_while_requests_run_holds_at_once() {
    for workers in WORKERS {
        let red = held(&["red"]).await.remove(0);
        let door = door_to(&red, workers, "", "concurrency = 2").await;
        let mut clients = vec![sent(&door, "/write/1").await, sent(&door, "/write/2").await];
        red.received(2).await;
        for number in 3..=5 {
            clients.push(sent(&door, &format!("/write/{number}")).await);
            waiting(&door, number - 2).await;
        }
        let config = with_route(&one_pool(&[&red], workers), "concurrency = 4");
        door.configure(&config);
        let (code, _, errors) = door.reload().await;
        assert_eq!(code, 0, "{errors}");
        // Two more go, and those who were inside before are still counted.
        red.received(4).await;
        waiting(&door, 1).await;
        assert_eq!(red.request_count(), 4);
        door.configure(&config.replace("concurrency = 4", "concurrency = 1"));
        assert_eq!(door.reload().await.0, 0);
        red.release();
        door.logged("\"outcome\":\"ok\"").await;
        waiting(&door, 1).await;
        assert_eq!(red.request_count(), 4, "three are more than one");
        red.release_all();
        for client in &mut clients {
            assert_eq!(client.read_response().await.status, 200);
        }
    }
}

#[tokio::test]
async fn who_waits_for_a_limit_that_is_taken_away_waits_no_longer() {
    for workers in WORKERS {
        let red = held(&["red"]).await.remove(0);
        let door = door_to(&red, workers, "", "concurrency = 1").await;
        let mut clients = vec![sent(&door, "/write/1").await];
        red.received(1).await;
        for number in 2..=4 {
            clients.push(sent(&door, &format!("/write/{number}")).await);
            waiting(&door, number - 1).await;
        }
        door.configure(&with_route(&one_pool(&[&red], workers), ""));
        let (code, _, errors) = door.reload().await;
        assert_eq!(code, 0, "{errors}");
        red.received(4).await;
        red.release_all();
        for client in &mut clients {
            assert_eq!(client.read_response().await.status, 200);
        }
    }
}

/// Two backends, and where the limits that a request has passed are: its route's, or its pool's.
async fn with_two(workers: usize, limit: &str, cap: &str) -> (TestDoor, TestBackend, TestBackend) {
    let red = TestBackend::start("red").await;
    let blue = TestBackend::start("blue").await;
    let config = one_pool(&[&red, &blue], workers);
    let config = config.replace("[pools.app]\n", &format!("[pools.app]\n{cap}\n"));
    let limit_one = "[pools.app]\nlimits = { concurrency = 1 }\n";
    let config = match limit {
        "pool" => with_route(&config, "").replace("[pools.app]\n", limit_one),
        "route" => with_route(&config, "concurrency = 1"),
        _ => with_route(&config, ""),
    };
    let door = TestDoor::checked(&config, &[&red, &blue]).await;
    (door, red, blue)
}

#[tokio::test]
async fn a_request_that_is_tried_again_does_not_stand_in_its_own_way() {
    for workers in WORKERS {
        for limit in ["route", "pool"] {
            let (door, red, _blue) = with_two(workers, limit, "").await;
            red.answer(Answer::status(503));
            // Whichever is asked first.
            for _ in 0..4 {
                let answer = door.client().await.request(get("/write/")).await;
                assert_eq!((answer.status, &*answer.text()), (200, "blue"), "{limit}");
            }
            assert!(red.request_count() > 0);
            // One that hangs, and is found out by its checks.
            red.answer(Answer::text("red").held());
            let asked = red.request_count();
            let mut client = door.client().await;
            let hangs = async {
                loop {
                    client.send(get("/write/")).await;
                    tokio::select! {
                        () = red.received(asked + 1) => return,
                        _ = client.read_response() => {}
                    }
                }
            };
            within(CEILING, hangs).await;
            red.answer_probes("/healthz", 503);
            assert_eq!(client.read_response().await.text(), "blue", "{limit}");
            red.release_all();
        }
    }
}

#[tokio::test]
async fn who_waits_at_a_backend_that_is_not_well_goes_first_where_others_wait() {
    for workers in WORKERS {
        let (door, red, blue) = with_two(workers, "none", "max_concurrency = 1").await;
        red.answer(Answer::text("red").held());
        blue.answer(Answer::text("blue").held());
        let mut clients = [sent(&door, "/").await, sent(&door, "/").await];
        red.received(1).await;
        blue.received(1).await;
        let mut waits = sent(&door, "/").await;
        waiting(&door, 1).await;
        red.answer_probes("/healthz", 503);
        waiting(&door, 2).await;
        blue.release();
        blue.received(2).await;
        blue.release();
        let [first, second] = &mut clients;
        assert_eq!(first.read_response().await.text(), "blue");
        assert_eq!(second.read_response().await.text(), "blue");
        blue.release();
        assert_eq!(waits.read_response().await.text(), "blue");
        red.release_all();
    }
}

#[tokio::test]
async fn who_has_nowhere_to_wait_stays_where_an_answer_may_still_come() {
    for workers in WORKERS {
        let cap = "max_concurrency = 1\nqueue = { max = 1 }";
        let (door, red, blue) = with_two(workers, "none", cap).await;
        red.answer(Answer::text("red").held());
        blue.answer(Answer::text("blue").held());
        let clients = [sent(&door, "/").await, sent(&door, "/").await];
        red.received(1).await;
        blue.received(1).await;
        let waits = sent(&door, "/").await;
        waiting(&door, 1).await;
        red.answer_probes("/healthz", 503);
        door.logged("backend_unhealthy").await;
        // Longer than until it has looked: failing checks come four times a second at most.
        within(2 * CEILING, red.probed(red.probe_count() + 8)).await;
        red.release_all();
        blue.release_all();
        let mut texts = Vec::new();
        for mut client in clients.into_iter().chain([waits]) {
            texts.push(client.read_response().await.text());
        }
        texts.sort();
        assert_eq!(texts, ["blue", "blue", "red"]);
    }
}
