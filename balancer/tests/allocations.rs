//! How often a request allocates: counted over the whole process, with a real door, a real
//! client and a real backend that themselves allocate nothing per request.
//!
//! Without the test harness, which allocates beside the test and would be counted.

#![allow(clippy::print_stdout)] // it is its own harness
#![allow(clippy::cast_precision_loss)] // small counts

use std::alloc::System;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use balancer::door::Capacity;
use balancer::{Door, Stage, sample};
use health::Report;
use policies::backend::{BackendId, BackendKey, PoolName};
use policies::health::Verdict;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// One allocation for the future of a request; half of one for what is not per request (the
/// sweep of idle connections once a second, growth of a buffer).
const CEILING: f64 = 1.5;
const REQUESTS: usize = 2_000;

const REQUEST: &[u8] = b"GET /some/path?and=query HTTP/1.1\r\nHost: www.example.org\r\n\
    User-Agent: test\r\nAccept: */*\r\nCookie: a=b; c=d\r\n\r\n";
const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello";

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(count());
}

async fn count() {
    let backend = start_backend();
    let config = sample::door(1, &[backend]);
    let sockets = balancer::sockets::Sockets::bind(&config.listeners, 1).expect("a free port");
    let capacity = Capacity { connections: vec![100], refused_per_worker: 1 };
    let door = Door::start(config, sockets, None, capacity).await.expect("a door");
    door.advance(balancer::Stage::Running);
    let key = BackendKey { pool: PoolName("app".into()), backend: BackendId("b0".into()) };
    door.roster().report(Report {
        key,
        address: backend,
        epoch: 0,
        verdict: Verdict::Healthy,
        reason: None,
        probe_ms: 0,
    });

    let mut client = TcpStream::connect(door.addresses()[0][0]).expect("the door listens");
    let mut answer = [0; 4096];
    ask(&mut client, &mut answer, 200);
    // The quietest of a few rounds: what else the process does is not the request's.
    let per_request = (0..5).map(|_| {
        let region = Region::new(ALLOCATOR);
        ask(&mut client, &mut answer, REQUESTS);
        let change = region.change();
        (change.allocations + change.reallocations) as f64 / REQUESTS as f64
    });
    let per_request = per_request.fold(f64::INFINITY, f64::min);
    println!("allocations per request: {per_request:.3}");
    assert!(per_request <= CEILING, "{per_request:.3} allocations per request, {CEILING} allowed");
    assert!(per_request > 0.0, "the counter does not count");

    drop(client);
    door.advance(Stage::Now);
    door.ended().await;
    println!("1 passed, 0 failed");
}

fn ask(client: &mut TcpStream, answer: &mut [u8], times: usize) {
    for _ in 0..times {
        client.write_all(REQUEST).expect("sent");
        let mut have = 0;
        while !answer[..have].ends_with(b"hello") {
            let count = client.read(&mut answer[have..]).expect("an answer");
            assert!(count > 0, "the door closed the connection");
            have += count;
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
    }
}

/// Answers every request that comes in one piece; one connection at a time.
fn start_backend() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        let mut request = [0; 4096];
        while let Ok((mut stream, _)) = listener.accept() {
            while matches!(stream.read(&mut request), Ok(1..)) {
                if stream.write_all(ANSWER).is_err() {
                    break;
                }
            }
        }
    });
    address
}
