//! One client cannot keep a worker from the others.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tests::door::TestDoor;

const DOOR: &str = r#"
schema = 1
workers = 1
[site]
name = "test"
[listeners.web]
bind = ["127.0.0.1:0"]
[[routes]]
name = "ping"
match = { path = "/ping" }
respond = { status = 200, body = "pong" }
"#;

/// Sends requests without pause and takes the answers as fast as they come.
fn pour(addr: SocketAddr, stop: &Arc<AtomicBool>) -> Vec<std::thread::JoinHandle<()>> {
    let stream = TcpStream::connect(addr).expect("the door listens");
    let mut requests = stream.try_clone().expect("a descriptor");
    let mut answers = stream;
    answers.set_read_timeout(Some(Duration::from_millis(200))).expect("a limit");
    requests.set_write_timeout(Some(Duration::from_millis(200))).expect("a limit");
    let batch = b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n".repeat(2000);
    let (sending, reading) = (stop.clone(), stop.clone());
    let send = move || while !sending.load(Ordering::Relaxed) && requests.write(&batch).is_ok() {};
    let read = move || {
        let mut piece = vec![0; 1 << 20];
        while !reading.load(Ordering::Relaxed) && matches!(answers.read(&mut piece), Ok(1..)) {}
    };
    vec![std::thread::spawn(send), std::thread::spawn(read)]
}

#[tokio::test]
async fn a_client_that_never_pauses_does_not_keep_the_worker() {
    let door = TestDoor::start(DOOR).await;
    let stop = Arc::new(AtomicBool::new(false));
    let pouring = pour(door.addr("web"), &stop);
    let begun = Instant::now();
    let mut slowest = Duration::ZERO;
    while begun.elapsed() < Duration::from_secs(2) {
        let asked = Instant::now();
        let mut client = door.client().await;
        assert_eq!(client.get("/ping").await.text(), "pong");
        slowest = slowest.max(asked.elapsed());
    }
    stop.store(true, Ordering::Relaxed);
    for thread in pouring {
        thread.join().expect("the client ends");
    }
    assert!(slowest < Duration::from_secs(1), "another client waited for {slowest:?}");
}
