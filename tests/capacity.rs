//! Caps: no backend has more requests than it may have, whoever asks and however many at once.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test, in helpers too

use tests::crowd::{crowd, plain};
use tests::door::one_pool;
use tests::{Answer, CEILING, Meter, TestBackend, TestDoor, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

const WORKERS: [usize; 2] = [1, 4];
const LOG: &str =
    "[observe]\naccess_log = { to = \"stdout\" }\nmetrics = { listen = \"127.0.0.1:0\" }\n";

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

const OF_BACKEND: &str = "tidegate_backend_in_flight{pool=\"app\",backend=\"red\"}";
const OF_CLIENTS: &str = "tidegate_requests_in_flight{pool=\"app\"}";
const WAITING: &str = "tidegate_queue_length{pool=\"app\"}";

/// Asks for an answer of so many bytes and reads nothing of it.
async fn slow_client(door: &TestDoor, length: usize) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(64 * 1024).unwrap();
    let mut stream = socket.connect(door.addr("web")).await.unwrap();
    let request = format!("GET /{length} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// A client with a long answer has the only place and another waits for it. The first reads until
/// the place is free; whether it has been served by then, and what it has read.
async fn read_until_free(door: &TestDoor, red: &TestBackend, length: usize) -> (TcpStream, usize) {
    let mut slow = slow_client(door, length).await;
    red.received(red.request_count() + 1).await;
    let mut next = door.client().await;
    next.send(plain(0)).await;
    within(CEILING, async { while door.metric(WAITING).await != 1.0 {} }).await;
    let (mut taken, mut piece) = (0, vec![0; 64 * 1024]);
    while door.metric(WAITING).await == 1.0 {
        taken += within(CEILING, slow.read(&mut piece)).await.unwrap();
    }
    assert_eq!(next.read_response().await.text(), "red");
    within(CEILING, async { while door.metric(OF_BACKEND).await != 0.0 {} }).await;
    (slow, taken)
}

#[tokio::test]
async fn a_place_is_free_when_the_backend_is_done_and_not_when_the_client_is() {
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        red.answer_by(|request| match request.target()[1..].parse() {
            Ok(length) => Answer::big(length),
            Err(_) => Answer::text("red"),
        });
        let config = one_pool(&[&red], workers)
            .replace("[pools.app]\n", "[pools.app]\nmax_concurrency = 1\n");
        let door = TestDoor::checked(&(config + LOG), &[&red]).await;
        // Where the end of an answer falls in what the kernel takes at once is chance.
        let mut found = false;
        for length in (0..40).map(|turn| (6 << 20) + turn * 150_000) {
            let (mut slow, taken) = read_until_free(&door, &red, length).await;
            // Not for a moment only, as long as the client does not read.
            let mut is_owed = true;
            for _ in 0..20 {
                is_owed &= door.metric(OF_CLIENTS).await == 1.0;
            }
            let mut rest = Vec::new();
            within(CEILING, slow.read_to_end(&mut rest)).await.unwrap();
            assert!(taken + rest.len() > length, "head and body are whole");
            within(CEILING, async { while door.metric(OF_CLIENTS).await != 0.0 {} }).await;
            found |= is_owed;
            if found {
                break;
            }
        }
        assert!(found, "the place was never free before the client had everything");
    }
}
