//! Clients that mean no good, or more than the door has: the others do not notice, memory and
//! descriptors are bounded, and once they have gone nothing is left of them.
//!
//! `TIDEGATE_DRILL=1` runs the long forms, and the 10 GiB (`make hostile`).

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test, in helpers too

use std::process::Command;
use std::time::{Duration, Instant};

use tests::door::{binary, one_pool};
use tests::drill::{is_drill, raise_limit, rounds, tell};
use tests::load::plain_backend;
use tests::proc::{descriptors, own_memory, status};
use tests::{Answer, CEILING, End, TestBackend, TestClient, TestDoor, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

/// `one_pool` with checks that bear with a test that keeps the machine busy.
fn patient(backends: &[&TestBackend], workers: usize) -> String {
    let health = "[pools.app.health]\n";
    one_pool(backends, workers).replace(health, &format!("{health}timeout = \"5s\"\n"))
}

/// `one_pool` with more lines for the listener, and for the route at the end.
async fn door(red: &TestBackend, workers: usize, listener: &str, route: &str) -> TestDoor {
    let bind = "bind = [\"127.0.0.1:0\"]\n";
    let config = patient(&[red], workers).replace(bind, &format!("{bind}{listener}\n"))
        + route
        + "\n[observe]\nmetrics = { listen = \"127.0.0.1:0\" }\n";
    TestDoor::checked(&config, &[red]).await
}

/// How many requests have ended, as the metrics tell; they are added up once a second.
async fn finished(door: &TestDoor) -> f64 {
    let text = door.metrics().await;
    let lines = text.lines().filter(|line| line.starts_with("tidegate_requests_total"));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

/// Waits until something about the door is as it should be.
async fn settles(what: &str, limit: Duration, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + limit;
    while !is_so() {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await; // a poll with a ceiling
    }
}

/// The slowest of so many requests, one after another, that a good client sends.
async fn slowest_of(door: &TestDoor, count: usize) -> Duration {
    let mut client = door.client().await;
    let mut all = Vec::new();
    for _ in 0..count {
        let asked = Instant::now();
        assert_eq!(client.get("/").await.text(), "red");
        all.push(asked.elapsed());
    }
    all.sort_unstable();
    // The 99th of a hundred: one pause of the machine is no fault of the door.
    all[count * 99 / 100 - 1]
}

/// A good client is served while others are there, as quickly as a busy machine allows; in a drill
/// no slower than twice what it was at rest.
async fn is_unharmed(door: &TestDoor, at_rest: Duration) {
    let now = slowest_of(door, rounds(100, 2_000)).await;
    let limit = if is_drill() { (at_rest * 2).max(Duration::from_millis(2)) } else { CEILING };
    assert!(now <= limit, "{now:?}, at rest it was {at_rest:?}");
}

async fn crowd(door: &TestDoor, count: usize, begin: &[u8]) -> Vec<TestClient> {
    let mut clients = Vec::new();
    for _ in 0..count {
        let mut client = door.client().await;
        client.ceiling = CEILING * 12;
        client.send(begin).await;
        clients.push(client);
    }
    clients
}

#[tokio::test]
async fn slow_heads_are_told_so_and_cost_the_others_nothing() {
    for workers in [1, 4] {
        let red = TestBackend::start("red").await;
        let door = door(&red, workers, "timeouts = { request_headers = \"3s\" }", "").await;
        let at_rest = slowest_of(&door, rounds(100, 2_000)).await;
        let before = descriptors(&door);
        let slow = crowd(&door, rounds(100, 2_000), b"GET / HTTP/1.1\r\nHost: x\r\nX: ").await;
        is_unharmed(&door, at_rest).await;
        for mut client in slow {
            assert_eq!(client.read_response().await.status, 408);
            assert_eq!(client.ended().await, End::Fin);
        }
        settles("descriptors are given back", CEILING, || descriptors(&door) <= before + workers)
            .await;
    }
}

#[tokio::test]
async fn slow_bodies_end_and_cost_the_others_nothing() {
    for workers in [1, 4] {
        let red = TestBackend::start("red").await;
        let door = door(&red, workers, "", "timeouts = { idle_stream = \"3s\" }").await;
        let at_rest = slowest_of(&door, rounds(100, 2_000)).await;
        let begin = b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n0123456789";
        let slow = crowd(&door, rounds(50, 500), begin).await;
        is_unharmed(&door, at_rest).await;
        for mut client in slow {
            // Told so, and visibly not served.
            let status = client.try_read_response().await.map(|response| response.status);
            assert!(!matches!(status, Ok(200)), "{status:?}");
        }
        assert!(red.requests().iter().all(|one| one.method() != "PUT" || !one.is_whole));
    }
}

#[tokio::test]
async fn clients_that_do_not_read_are_left_and_free_their_backend() {
    for workers in [1, 4] {
        let red = TestBackend::start("red").await;
        red.answer_by(|request| match request.target() {
            "/big" => Answer::big(32 << 20),
            _ => Answer::text("red"),
        });
        let door = door(&red, workers, "", "timeouts = { idle_stream = \"2s\" }").await;
        let at_rest = slowest_of(&door, 100).await;
        let before = descriptors(&door);
        let big = b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n";
        let deaf = crowd(&door, rounds(20, 200), big).await;
        is_unharmed(&door, at_rest).await;
        // Counted when it ends, however it ends.
        let all = 100 + rounds(100, 2_000) + deaf.len();
        within(CEILING * 4, async { while finished(&door).await < all as f64 {} }).await;
        settles("deaf clients are left", CEILING * 4, || descriptors(&door) <= before + workers)
            .await;
        for mut client in deaf {
            let is_whole = client.response(false).await.is_ok_and(|answer| answer.status == 200);
            assert!(!is_whole, "it looks whole");
        }
    }
}

#[tokio::test]
async fn thousands_that_say_nothing_are_cheap() {
    // Of a door that has not had more: what has left leaves room behind.
    let few = rounds(200, 1_000);
    let count = rounds(1_000, raise_limit() - few);
    let red = TestBackend::start("red").await;
    let door = door(&red, 1, "timeouts = { idle = \"10m\" }", "").await;
    let at_rest = slowest_of(&door, rounds(100, 2_000)).await;
    let mut idle = connected(&door, few).await;
    let memory = own_memory(&door);
    idle.extend(connected(&door, count).await);
    let each = (own_memory(&door).saturating_sub(memory) << 10) / count as u64;
    tell(&format!("{} idle connections: {each} bytes for each of the last {count}", idle.len()));
    // 1.6 KiB is for the shipped program; one that is not optimised needs more.
    let most = if cfg!(debug_assertions) { 4 << 10 } else { (16 << 10) / 10 };
    assert!((100..=most).contains(&each), "{each} bytes for each");
    is_unharmed(&door, at_rest).await;
    for client in &mut idle {
        ask(client).await;
    }
}

/// So many connections, each after its first request.
async fn connected(door: &TestDoor, count: usize) -> Vec<TcpStream> {
    let mut streams = Vec::new();
    for _ in 0..count {
        let mut stream = TcpStream::connect(door.addr("web")).await.unwrap();
        ask(&mut stream).await;
        streams.push(stream);
    }
    streams
}

/// Without a buffer of its own, of which thousands would be many.
async fn ask(stream: &mut TcpStream) {
    stream.write_all(GET.as_bytes()).await.unwrap();
    let mut answer = [0; 1024];
    let count = within(CEILING, stream.read(&mut answer)).await.unwrap();
    assert!(answer[..count].starts_with(b"HTTP/1.1 200 OK\r\n"));
}

#[tokio::test]
async fn a_flood_of_requests_waits_with_its_sender() {
    for workers in [1, 4] {
        let red = TestBackend::start("red").await;
        let door = door(&red, workers, "", "").await;
        slowest_of(&door, 100).await;
        let before = status(&door, "VmHWM");
        let mut floods = JoinSet::new();
        for _ in 0..4 {
            let mut stream = TcpStream::connect(door.addr("web")).await.unwrap();
            // It never reads: writing stops when every buffer on the way is full.
            floods.spawn(async move {
                let batch = GET.repeat(1_000);
                let flood = async { while stream.write_all(batch.as_bytes()).await.is_ok() {} };
                let _ = tokio::time::timeout(Duration::from_secs(2), flood).await;
            });
        }
        assert!(slowest_of(&door, 100).await < CEILING);
        floods.join_all().await;
        let grown = status(&door, "VmHWM") - before;
        assert!(grown <= 8 << 10, "grown by {grown} KiB");
        assert!(slowest_of(&door, 100).await < CEILING);
    }
}

#[tokio::test]
async fn nothing_is_left_of_clients_that_leave_in_the_middle() {
    for workers in [1, 4] {
        let red = TestBackend::start("red").await;
        red.answer_by(|request| match request.target() {
            "/big" => Answer::big(8 << 20),
            _ => Answer::text("red"),
        });
        let door = door(&red, workers, "", "").await;
        let at_rest = slowest_of(&door, 100).await;
        let before = descriptors(&door);
        for begin in [
            &b"GET / HTT"[..],
            b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n0123456789",
            b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n0123456789",
            b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n",
        ] {
            for client in crowd(&door, rounds(50, 2_000), begin).await {
                client.reset();
            }
        }
        settles("descriptors are given back", CEILING * 4, || {
            descriptors(&door) <= before + workers
        })
        .await;
        assert!(red.requests().iter().all(|one| one.method() != "PUT" || !one.is_whole));
        is_unharmed(&door, at_rest).await;
    }
}

/// More clients than descriptors: some are told so, some wait in the kernel's queue, nobody harms
/// those that are in, and as soon as there is room everybody is served.
#[tokio::test]
async fn a_door_out_of_descriptors_lives_and_recovers_at_once() {
    for workers in [1, 4] {
        let red = TestBackend::start("red").await;
        let mut shell = Command::new("sh");
        shell.arg("-c").arg("ulimit -n 256; exec \"$0\" \"$@\"").arg(binary());
        let mut door = TestDoor::launch_as(shell, &patient(&[&red], workers)).ready().await;
        door.logged("backend_in_rotation").await;
        let mut inside = door.client().await;
        assert_eq!(inside.get("/").await.status, 200);
        for _ in 0..rounds(2, 20) {
            let mut crowd = JoinSet::new();
            let addr = door.addr("web");
            for _ in 0..700 {
                crowd.spawn(async move {
                    let mut client = TestClient::connect(addr).await;
                    // Served, refused in words, or closed: all in order, while there is no room.
                    let _ = client.try_send(GET).await;
                    let answer = tokio::time::timeout(CEILING, client.try_read_response()).await;
                    (client, matches!(answer, Ok(Ok(response)) if response.status == 200))
                });
            }
            let all = within(CEILING * 6, crowd.join_all()).await;
            let served = all.iter().filter(|(_, is_served)| *is_served).count();
            assert!(served >= 20, "{served} of 700");
            // It goes on, be it told that there is nothing left for a connection to a backend.
            assert!(matches!(inside.get("/").await.status, 200 | 502 | 503));
            let left = Instant::now();
            drop(all);
            let recovered = async {
                loop {
                    let mut client = TestClient::connect(addr).await;
                    let _ = client.try_send(GET).await;
                    if client.try_read_response().await.is_ok_and(|answer| answer.status == 200) {
                        break;
                    }
                }
            };
            within(CEILING, recovered).await;
            let took = left.elapsed();
            let limit = if is_drill() { Duration::from_secs(1) } else { CEILING };
            assert!(took <= limit, "recovered after {took:?}");
        }
        // Want of descriptors is no fault of the backend.
        let is_blamed =
            |line: &str| line.contains("backend_unhealthy") && line.contains("os error 24");
        assert!(!door.output().lines().any(is_blamed), "{}", door.output());
        door.signal(rustix::process::Signal::TERM);
        drop(inside);
        assert_eq!(door.exited().await.code(), Some(0));
    }
}

/// A backend that swallows a body of any length, and answers with one of the length asked for.
async fn bulk_backend() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(bulk(stream));
        }
    });
    addr
}

async fn bulk(mut stream: TcpStream) -> std::io::Result<()> {
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = stream.read(&mut buffer).await?;
        let head = String::from_utf8_lossy(&buffer[..count]).into_owned();
        let Some((head, body)) = head.split_once("\r\n\r\n") else { return Ok(()) };
        let number =
            |text: &str| text.split(' ').next().and_then(|digits| digits.trim().parse().ok());
        let sent: u64 = head
            .split("Content-Length: ")
            .nth(1)
            .and_then(|rest| number(rest.lines().next()?))
            .unwrap_or(0);
        let wanted: u64 = head.split("GET /").nth(1).and_then(number).unwrap_or(2);
        let mut left = sent.saturating_sub(body.len() as u64);
        while left > 0 {
            left = left.saturating_sub(stream.read(&mut buffer).await? as u64);
        }
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {wanted}\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        pour(&mut stream, &buffer, wanted).await?;
    }
}

async fn pour(stream: &mut TcpStream, buffer: &[u8], length: u64) -> std::io::Result<()> {
    let mut left = length;
    while left > 0 {
        let piece = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        stream.write_all(&buffer[..piece]).await?;
        left -= piece as u64;
    }
    Ok(())
}

async fn drain(stream: &mut TcpStream, buffer: &mut [u8], length: u64) {
    let mut left = length;
    while left > 0 {
        let count = stream.read(buffer).await.unwrap();
        assert!(count > 0, "cut with {left} bytes to come");
        left = left.saturating_sub(count as u64);
    }
}

/// Up and down through one door, and nothing of it stays.
async fn stream_through(door: &TestDoor, length: u64) {
    let mut stream = TcpStream::connect(door.addr("web")).await.unwrap();
    let mut buffer = vec![0; 1 << 20];
    let put = format!("PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(put.as_bytes()).await.unwrap();
    pour(&mut stream, &buffer, length).await.unwrap();
    assert!(stream.read(&mut buffer).await.unwrap() > 0);
    let get = format!("GET /{length} HTTP/1.1\r\nHost: x\r\n\r\n");
    stream.write_all(get.as_bytes()).await.unwrap();
    // The head is in addition; whatever is left of the body goes with the connection.
    drain(&mut stream, &mut buffer, length).await;
}

#[tokio::test]
async fn gibibytes_leave_the_memory_as_it_was() {
    let bulk = bulk_backend().await;
    let config = one_pool(&[], 1)
        .replace(
            "backends = []",
            &format!("backends = [{{ id = \"bulk\", address = \"{bulk}\" }}]"),
        )
        .replace(
            "[pools.app.health]\n",
            &format!("[pools.app.health]\nport = {}\n", plain_backend().port()),
        );
    let door = TestDoor::start(&config).await;
    door.logged("backend_in_rotation").await;
    stream_through(&door, 64 << 20).await;
    let before = status(&door, "VmHWM");
    let length = if is_drill() { 10 << 30 } else { 256 << 20 };
    within(Duration::from_secs(1_200), stream_through(&door, length)).await;
    let grown = status(&door, "VmHWM") - before;
    assert!(grown <= 4 << 10, "grown by {grown} KiB");
}
