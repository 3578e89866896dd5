//! What the door keeps in memory of the bodies that pass through it: next to nothing, also when
//! one end stands still.

use std::time::Duration;

use tests::door::one_pool;
use tests::proc::status;
use tests::wire::pattern;
use tests::{Answer, CEILING, TestBackend, TestClient, TestDoor};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

const HUGE: u64 = 512 << 20;
const WARM: u64 = 32 << 20;

/// Most memory that the process has had so far, in KiB.
fn peak(door: &TestDoor) -> u64 {
    status(door, "VmHWM")
}

async fn upload(door: &TestDoor, length: u64) {
    let mut client = door.client().await;
    client.ceiling = CEILING * 12;
    client.send(format!("PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n")).await;
    client.send_pattern(length).await;
    assert_eq!(client.read_response().await.status, 200);
}

async fn upload_in_chunks(door: &TestDoor, length: u64) {
    let mut client = door.client().await;
    client.ceiling = CEILING * 12;
    client.send("PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    client.send(format!("{length:x}\r\n")).await;
    client.send_pattern(length).await;
    client.send("\r\n0\r\n\r\n").await;
    assert_eq!(client.read_response().await.status, 200);
}

async fn download(door: &TestDoor, length: u64) {
    let mut client = door.client().await;
    client.ceiling = CEILING * 12;
    let response = client.get(&format!("/{length}")).await;
    assert!(response.body.is_pattern && response.body.len == length);
}

#[tokio::test]
async fn half_a_gibibyte_each_way_leaves_the_memory_as_it_was() {
    let red = TestBackend::start("red").await;
    red.answer_by(|request| match request.target()[1..].parse() {
        Ok(length) => Answer::big(length),
        Err(_) => Answer::text("red"),
    });
    let door = TestDoor::in_front_of(&[&red], 1).await;
    for _ in 0..2 {
        upload(&door, WARM).await;
        upload_in_chunks(&door, WARM).await;
        download(&door, WARM).await;
    }
    let before = peak(&door);
    upload(&door, HUGE / 2).await;
    upload_in_chunks(&door, HUGE / 2).await;
    download(&door, HUGE).await;
    let grown = peak(&door) - before;
    assert!(grown <= 2 << 10, "grown by {grown} KiB");
    assert!(red.requests().iter().all(|request| request.body.is_pattern && request.is_whole));
}

const STALLED: usize = 16;

/// Each stalled transfer may cost what one read takes, and its left-over of another.
const EACH_KIB: u64 = 1 << 10;

#[tokio::test]
async fn a_client_that_does_not_read_stops_its_backend() {
    let red = TestBackend::start_with("red", Answer::big(WARM)).await;
    let door = TestDoor::in_front_of(&[&red], 1).await;
    download(&door, WARM).await;
    let before = peak(&door);
    let mut clients = Vec::new();
    for _ in 0..STALLED {
        let mut client = door.client().await;
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        clients.push(client);
    }
    red.received(1 + STALLED).await;
    // Each of them has more to take than all buffers between can hold, so all stand still.
    settled(&door).await;
    let grown = peak(&door) - before;
    assert!(grown <= EACH_KIB * STALLED as u64, "grown by {grown} KiB");
    for mut client in clients {
        client.ceiling = CEILING * 4;
        let response = client.read_response().await;
        assert!(response.body.is_pattern && response.body.len == WARM);
    }
}

/// A backend with small buffers that reads nothing until it is told to.
fn small_listener() -> TcpListener {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(64 << 10).expect("an option of every socket");
    socket.bind(([127, 0, 0, 1], 0).into()).expect("a port of our own");
    socket.listen(1024).expect("a bound socket listens")
}

#[tokio::test]
async fn a_backend_that_does_not_read_stops_its_clients() {
    let probed = TestBackend::start("red").await;
    let listener = small_listener();
    let health = format!("[pools.app.health]\nport = {}", probed.addr().port());
    let address = format!("address = \"{}\"", probed.addr());
    let stalled = format!("address = \"{}\"", listener.local_addr().unwrap());
    let configuration =
        one_pool(&[&probed], 1).replace(&address, &stalled).replace("[pools.app.health]", &health);
    let door = TestDoor::checked(&configuration, &[&probed]).await;
    let mut transfers = vec![start(&door, &listener).await];
    settled(&door).await;
    finish(transfers.remove(0)).await;

    let before = peak(&door);
    for _ in 0..STALLED {
        transfers.push(start(&door, &listener).await);
    }
    settled(&door).await;
    let grown = peak(&door) - before;
    assert!(grown <= EACH_KIB * STALLED as u64, "grown by {grown} KiB");
    for transfer in transfers {
        finish(transfer).await;
    }
}

struct Transfer {
    backend: TcpStream,
    sending: tokio::task::JoinHandle<TestClient>,
}

/// A client that sends as fast as it can, and the connection on which the backend has it.
async fn start(door: &TestDoor, listener: &TcpListener) -> Transfer {
    let mut client = door.client().await;
    client.ceiling = CEILING * 12;
    let sending = tokio::spawn(async move {
        client.send(format!("PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: {WARM}\r\n\r\n")).await;
        client.send_pattern(WARM).await;
        client
    });
    let (backend, _) = tests::within(CEILING, listener.accept()).await.expect("a connection");
    Transfer { backend, sending }
}

/// Reads what has stood still: nothing of it is lost.
async fn finish(mut transfer: Transfer) {
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 256 << 10];
    let head = loop {
        let count = transfer.backend.read(&mut buffer).await.expect("no reset");
        assert!(count > 0);
        bytes.extend_from_slice(&buffer[..count]);
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let mut body = bytes.split_off(head);
    let mut at = 0;
    loop {
        for run in body.chunks(60_000) {
            assert!(pattern(at, run.len() as u64) == run, "at {at}");
            at += run.len() as u64;
        }
        if at == WARM {
            break;
        }
        let count = transfer.backend.read(&mut buffer).await.expect("no reset");
        assert!(count > 0, "cut at {at}");
        body = buffer[..count].to_vec();
    }
    let answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
    transfer.backend.write_all(answer).await.expect("no reset");
    assert_eq!(transfer.sending.await.expect("all is sent").read_response().await.text(), "ok");
}

/// Waits until the door has used next to no processor time for a while: what it has to do, it has
/// done.
async fn settled(door: &TestDoor) {
    let mut turns = tokio::time::interval(Duration::from_millis(100));
    let (mut last, mut still) = (0, 0);
    let ceiling = tokio::time::Instant::now() + CEILING * 4;
    while still < 3 {
        assert!(tokio::time::Instant::now() < ceiling, "the door does not come to rest");
        turns.tick().await;
        let now = ticks(door);
        still = if now <= last + 1 { still + 1 } else { 0 };
        last = now;
    }
}

/// Processor time of the process so far, in hundredths of a second.
fn ticks(door: &TestDoor) -> u64 {
    let stat =
        std::fs::read_to_string(format!("/proc/{}/stat", door.pid())).expect("a running door");
    // The name, which may hold spaces, ends at the last parenthesis; then utime is the 12th.
    let fields = stat.rsplit_once(')').expect("a name").1.split_whitespace();
    fields.skip(11).take(2).map(|field| field.parse::<u64>().expect("a number")).sum()
}
