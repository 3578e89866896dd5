//! How a door ends: not ready at once, deaf after its grace, gone with its last request.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test, in helpers too

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tests::crowd::plain;
use tests::door::one_pool;
use tests::{Answer, CEILING, TestBackend, TestClient, TestDoor, within};
use tokio::net::{TcpStream, UnixStream};

const WORKERS: [usize; 2] = [1, 4];

/// A door with this backend that leaves in this way.
fn config(backend: &TestBackend, workers: usize, drain: &str) -> String {
    let more = format!(
        "[drain]\n{drain}\n[admin]\nunix = \"admin.sock\"\n\
         [observe]\nmetrics = {{ listen = \"127.0.0.1:0\" }}\naccess_log = {{ to = \"stdout\" }}\n"
    );
    one_pool(&[backend], workers) + &more
}

/// A door with this grace, and where it says whether it is ready.
async fn door(backend: &TestBackend, workers: usize, grace: &str) -> (TestDoor, SocketAddr) {
    let text = config(backend, workers, &format!("grace = \"{grace}\""));
    let door = TestDoor::checked(&text, &[backend]).await;
    let address = door.metrics_addr();
    (door, address)
}

async fn readiness(address: SocketAddr) -> u16 {
    TestClient::connect(address)
        .await
        .request("GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .status
}

/// The request that runs is cut: whatever came is no answer of a backend, and the log says why.
async fn is_cut(mut running: TestClient, door: &TestDoor) {
    if let Ok(response) = running.try_read_response().await {
        assert_eq!(response.status, 503);
    }
    door.logged("\"outcome\":\"stopped\"").await;
}

/// Returns when nobody listens there.
async fn refused(address: SocketAddr) {
    let refused = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    within(CEILING, refused).await;
}

#[tokio::test]
async fn a_door_is_not_ready_at_once_and_deaf_after_its_grace() {
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        let (mut door, machines) = door(&red, workers, "700ms").await;
        let address = door.addr("web");
        assert_eq!(readiness(machines).await, 200);
        let begun = Instant::now();
        door.signal(Signal::TERM);
        door.logged("stopping").await;
        while readiness(machines).await != 503 {
            assert!(begun.elapsed() < CEILING);
        }
        // Who has not heard of it yet is served as before, and told that it was the last time.
        let answer = TestClient::connect(address).await.get("/").await;
        if begun.elapsed() < Duration::from_millis(600) {
            assert_eq!(answer.text(), "red");
            assert_eq!(answer.field("connection").as_deref(), Some("close"));
        }
        refused(address).await;
        let deaf = begun.elapsed();
        assert!(deaf >= Duration::from_millis(700) && deaf < CEILING, "{deaf:?}");
        assert_eq!(door.exited().await.code(), Some(0));
    }
}

#[tokio::test]
async fn a_second_signal_ends_a_grace_and_what_runs_in_it() {
    let red = TestBackend::start_with("red", Answer::text("never").held()).await;
    let (mut door, machines) = door(&red, 2, "1h").await;
    let mut running = door.client().await;
    running.send(plain(0)).await;
    red.received(1).await;
    door.signal(Signal::TERM);
    door.logged("a second signal ends them now").await;
    assert_eq!(readiness(machines).await, 503);
    // Orders are not taken any more, and nobody waits for that.
    let (code, _, err) = door.reload().await;
    assert_eq!(code, 1);
    assert!(err.contains("the door takes no orders now"), "{err}");
    door.signal(Signal::TERM);
    assert_eq!(door.exited().await.code(), Some(0));
    is_cut(running, &door).await;
}

#[tokio::test]
async fn a_door_ends_with_its_last_request_whoever_else_is_there() {
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        let (mut door, machines) = door(&red, workers, "0s").await;
        red.answer(Answer::text("late").held());
        let mut running = door.client().await;
        running.send(plain(0)).await;
        red.received(1).await;
        // Operators and scrapers that say nothing, and a client that goes on sending what nobody
        // wants to have any more.
        let _operator = UnixStream::connect(door.folder().join("admin.sock")).await.unwrap();
        let _scraper = TestClient::connect(machines).await;
        let mut half = door.client().await;
        half.send("GET / HTT").await;
        red.answer_next(Answer::text("early").early());
        let mut sending = door.client().await;
        sending.send("PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nbody").await;
        red.received(2).await;
        assert_eq!(sending.read_response().await.text(), "early");
        let sends = tokio::spawn(async move {
            let mut rhythm = tokio::time::interval(Duration::from_millis(20));
            while sending.try_send(b"x").await.is_ok() {
                rhythm.tick().await;
            }
        });
        door.signal(Signal::TERM);
        refused(door.addr("web")).await;
        assert!(running.is_quiet());
        red.release_all();
        assert_eq!(running.read_response().await.text(), "late");
        let last = Instant::now();
        assert_eq!(door.exited().await.code(), Some(0));
        // A second is promised; another is for a machine that compiles meanwhile.
        assert!(last.elapsed() < Duration::from_secs(2), "{:?}", last.elapsed());
        sends.await.unwrap();
    }
}

#[tokio::test]
async fn what_still_runs_after_the_limit_is_cut_and_a_reload_may_say_when() {
    let red = TestBackend::start_with("red", Answer::text("never").held()).await;
    let mut door = TestDoor::checked(&config(&red, 2, "limit = \"1h\""), &[&red]).await;
    let mut running = door.client().await;
    running.send(plain(0)).await;
    red.received(1).await;
    door.configure(&config(&red, 2, "limit = \"1s\""));
    let (code, _, err) = door.reload().await;
    assert_eq!(code, 0, "{err}");
    let begun = Instant::now();
    door.signal(Signal::TERM);
    assert_eq!(door.exited().await.code(), Some(0));
    // The limit, and a second to end in, on a machine that compiles meanwhile.
    let ended = begun.elapsed();
    assert!(
        ended >= Duration::from_secs(1) && ended < CEILING + Duration::from_secs(1),
        "{ended:?}"
    );
    is_cut(running, &door).await;
}

#[tokio::test]
async fn a_door_that_reads_a_file_without_end_is_stopped_all_the_same() {
    let red = TestBackend::start("red").await;
    let mut door = TestDoor::checked(&config(&red, 1, "grace = \"0s\""), &[&red]).await;
    let file = door.folder().join("tidegate.toml");
    std::fs::remove_file(&file).unwrap();
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &file, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    door.signal(Signal::HUP);
    // Can be opened once somebody reads from it.
    let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::NONBLOCK;
    let opened = async {
        loop {
            match rustix::fs::open(&file, flags, rustix::fs::Mode::empty()) {
                Ok(pipe) => return pipe,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    let _pipe = within(CEILING, opened).await;
    door.signal(Signal::TERM);
    assert_eq!(door.exited().await.code(), Some(0));
}
