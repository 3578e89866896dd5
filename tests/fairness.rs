//! One client cannot keep a worker from the others.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tests::door::TestDoor;
use tests::{CEILING, within};

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
respond = { status = 200, body = "pong~" }
"#;

/// A client that sends requests without pause and takes the answers as fast as they come.
struct Flood {
    stream: TcpStream,
    answered: Arc<AtomicUsize>,
    threads: [JoinHandle<()>; 2],
}

impl Flood {
    fn start(addr: SocketAddr) -> Flood {
        let stream = TcpStream::connect(addr).expect("the door listens");
        let mut requests = stream.try_clone().expect("a descriptor");
        let mut answers = stream.try_clone().expect("a descriptor");
        let batch = b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n".repeat(2000);
        let answered = Arc::<AtomicUsize>::default();
        let count = answered.clone();
        let send = move || while requests.write_all(&batch).is_ok() {};
        let read = move || {
            let mut piece = vec![0; 1 << 20];
            while let Ok(length @ 1..) = answers.read(&mut piece) {
                // Nowhere in an answer but at its end.
                let ends = piece[..length].iter().filter(|byte| **byte == b'~').count();
                count.fetch_add(ends, Ordering::Relaxed);
            }
        };
        Flood { stream, answered, threads: [std::thread::spawn(send), std::thread::spawn(read)] }
    }

    fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }

    /// Waits for a further answer: it is a flood yet.
    async fn goes_on(&self) {
        let before = self.answered();
        within(CEILING, async {
            while self.answered() == before {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    fn end(self) {
        self.stream.shutdown(Shutdown::Both).expect("the door has not closed it");
        for thread in self.threads {
            thread.join().expect("the client ends");
        }
    }
}

#[tokio::test]
async fn a_client_that_never_pauses_does_not_keep_the_worker() {
    let door = TestDoor::start(DOOR).await;
    let flood = Flood::start(door.addr("web"));
    flood.goes_on().await;
    let begun = Instant::now();
    let (mut slowest, mut asked) = (Duration::ZERO, 0);
    while begun.elapsed() < Duration::from_secs(2) {
        let before = Instant::now();
        let mut client = door.client().await;
        assert_eq!(client.get("/ping").await.text(), "pong~");
        slowest = slowest.max(before.elapsed());
        asked += 1;
    }
    flood.goes_on().await;
    let answered = flood.answered();
    flood.end();
    assert!(slowest < Duration::from_secs(1), "another client waited for {slowest:?}");
    assert!(answered > 2 * asked, "no flood: {answered} answers beside {asked}");
}
