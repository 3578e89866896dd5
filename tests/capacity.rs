//! Caps: no backend has more requests than it may have, whoever asks and however many at once.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test, in helpers too

use tests::crowd::{crowd, plain};
use tests::door::one_pool;
use tests::{Answer, CEILING, Meter, TestBackend, TestDoor, within};

const WORKERS: [usize; 2] = [1, 4];
const LOG: &str = "[observe]\naccess_log = { to = \"stdout\" }\n";

#[tokio::test]
async fn without_a_queue_a_backend_at_its_cap_gets_no_more_and_the_client_hears_that_it_is_full() {
    for workers in WORKERS {
        let red = TestBackend::start_with("red", Answer::text("red").held()).await;
        let config = one_pool(&[&red], workers)
            .replace("[pools.app]\n", "[pools.app]\nmax_concurrency = 2\nqueue = { max = 0 }\n");
        let door = TestDoor::checked(&(config + LOG), &[&red]).await;
        let mut held = [door.client().await, door.client().await];
        for (number, client) in held.iter_mut().enumerate() {
            client.send(plain(0)).await;
            red.received(number + 1).await;
        }
        for number in 0..10 {
            let path = format!("/third/{number}");
            let response = door.client().await.get(&path).await;
            assert_eq!(response.status, 503);
            assert!(response.text().contains("full"), "{}", response.text());
            assert_eq!(response.field("retry-after").as_deref(), Some("1"));
            let line = door.logged(&format!("\"path\":\"{path}\"")).await;
            assert!(line.contains("\"outcome\":\"full\""), "{line}");
        }
        red.release();
        red.release();
        for client in &mut held {
            assert_eq!(client.read_response().await.text(), "red");
        }
        // The places are free again, also that of a client who left.
        let mut leaving = door.client().await;
        red.answer_next(Answer::text("first"));
        assert_eq!(leaving.get("/").await.text(), "first");
        leaving.send(plain(0)).await;
        red.received(4).await;
        leaving.reset();
        assert!(red.closed(red.request(3).connection).await.is_some());
        red.release_all();
        let mut client = door.client().await;
        within(CEILING, async { while client.get("/").await.status != 200 {} }).await;
    }
}

#[tokio::test]
async fn a_cap_is_exact_when_everybody_comes_at_once() {
    for workers in WORKERS {
        let (red, blue) = (TestBackend::start("red").await, TestBackend::start("blue").await);
        let config = one_pool(&[&red, &blue], workers)
            .replace("[pools.app]\n", "[pools.app]\nmax_concurrency = 7\nqueue = { max = 0 }\n");
        let door = TestDoor::checked(&(config + LOG), &[&red, &blue]).await;
        for backend in [&red, &blue] {
            backend.answer(Answer::text("in").held());
        }
        let load = crowd(door.addr("web"), 200, 200, plain);
        let release = async {
            red.received(7).await;
            blue.received(7).await;
            // All others have been refused before anybody leaves.
            let refused = || door.output().matches("\"outcome\":\"full\"").count();
            within(CEILING, async {
                while refused() < 186 {
                    tokio::task::yield_now().await
                }
            })
            .await;
            assert_eq!((red.request_count(), blue.request_count()), (7, 7));
            red.release_all();
            blue.release_all();
        };
        let (tally, ()) = tokio::join!(load, release);
        assert_eq!((tally["in"], tally["status 503"]), (14, 186));
    }
}

#[tokio::test]
async fn a_cap_holds_while_requests_come_and_go() {
    for workers in WORKERS {
        let meter = Meter::default();
        let entry = format!("{{ id = \"c\", address = \"{}\" }}", meter.backend().await);
        let config = one_pool(&[], workers)
            .replace("backends = []", &format!("max_concurrency = 3\nbackends = [{entry}]"));
        let door = TestDoor::start(&config).await;
        door.logged("backend_in_rotation pool=app backend=c").await;
        let tally = crowd(door.addr("web"), 200, 4_000, plain).await;
        assert_eq!(tally["in"], meter.of("").served);
        assert_eq!(tally.values().sum::<usize>(), 4_000, "{tally:?}");
        assert!(tally.keys().all(|key| key == "in" || key == "status 503"), "{tally:?}");
        assert_eq!(meter.of("").most, 3, "the cap is reached and not passed");
    }
}
