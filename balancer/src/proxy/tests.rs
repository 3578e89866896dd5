//! `serve` with a client in memory and a real backend: the request path without HTTP/1.1 on its
//! client side.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;

use health::Report;
use policies::backend::{BackendId, BackendKey, PoolName};
use policies::health::Verdict;

use super::{Entry, serve};
use crate::config::DoorConfig;
use crate::exchange::Exchange;
use crate::front::memory::MemoryFront;
use crate::http1::{Framing, Limits, parse_request};
use crate::outcome::Outcome;
use crate::roster::Roster;
use crate::shared::Shared;
use crate::stats::Registry;
use crate::worker::Worker;

/// Answers the first request on each of its connections with these bytes, then closes.
fn backend(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut request = Vec::new();
            let mut piece = [0; 1024];
            while !request.windows(4).any(|four| four == b"\r\n\r\n") {
                match stream.read(&mut piece) {
                    Ok(count @ 1..) => request.extend_from_slice(&piece[..count]),
                    _ => break,
                }
            }
            let _ = stream.write_all(answer);
        }
    });
    address
}

/// Serves one request under this configuration; all its backends are healthy.
fn check(config: DoorConfig, request: &[u8], body: &[&[u8]]) -> (MemoryFront, Outcome) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .unwrap();
    let body = body.iter().map(|piece| piece.to_vec()).collect();
    let mut front = MemoryFront { body, ..MemoryFront::default() };
    runtime.block_on(async {
        let worker = worker(config);
        let mut exchange = Exchange::new();
        let limits = Limits { max_head: 4096, max_fields: 50, max_target: 1024 };
        let length = parse_request(request, &limits, &mut exchange.head).unwrap().unwrap();
        exchange.take_head(&request[..length]);
        let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
        exchange.begin(worker.timers.read_clock(), worker.timers.now(), 0, peer);
        let timer = worker.timers.timer();
        let entry = Entry { listener: 0, peer };
        serve(&worker, &mut front, &mut exchange, &timer, entry).await;
        let outcome = exchange.record.outcome;
        (front, outcome)
    })
}

fn worker(config: DoorConfig) -> Rc<Worker> {
    let config = Arc::new(config);
    let roster = Roster::new(Arc::clone(&config));
    for backend in &config.pools[0].backends {
        let policies::backend::Address::Socket(address) = backend.address else { continue };
        roster.report(Report {
            key: BackendKey {
                pool: PoolName("app".into()),
                backend: BackendId(backend.id.0.clone()),
            },
            address,
            epoch: 0,
            verdict: Verdict::Healthy,
            reason: None,
            probe_ms: 0,
        });
    }
    let shared = Shared {
        snapshot: roster.published(),
        registry: Registry::new(),
        refused_per_worker: 1.into(),
        exhaustions: 0.into(),
    };
    Worker::new(0, Arc::new(shared))
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn an_answer_reaches_a_client_that_speaks_no_http1() {
    let backend = backend(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    let (front, outcome) = check(crate::sample::door(1, &[backend]), GET, &[]);
    assert_eq!((front.statuses, front.got, front.is_whole), (vec![200], b"hello".to_vec(), true));
    assert_eq!((front.framing, outcome), (Some(Framing::Length(5)), Outcome::Ok));
}

#[test]
fn chunks_arrive_as_plain_bytes() {
    let backend = backend(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
    );
    let (front, outcome) = check(crate::sample::door(1, &[backend]), GET, &[]);
    assert_eq!((front.got, front.is_whole, outcome), (b"hello".to_vec(), true, Outcome::Ok));
}

#[test]
fn an_answer_cut_short_is_cut_for_the_client_too() {
    let backend = backend(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello");
    let (front, outcome) = check(crate::sample::door(1, &[backend]), GET, &[]);
    assert_eq!((front.is_whole, front.is_cut, outcome), (false, true, Outcome::AnswerCut));
}

#[test]
fn nobody_to_ask_is_a_503() {
    let (front, outcome) = check(crate::sample::door(1, &[]), GET, &[]);
    assert_eq!((front.statuses, front.is_whole), (vec![503], true));
    assert_eq!(outcome, Outcome::NoHealthyBackend);
}

#[test]
fn a_backend_that_hangs_up_is_left_for_another() {
    let (dead, well) = (backend(b""), backend(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
    for first in [[dead, well], [well, dead]] {
        let (front, outcome) = check(crate::sample::door(1, &first), GET, &[]);
        assert_eq!((front.got, outcome), (b"ok".to_vec(), Outcome::Ok));
    }
}

#[test]
fn a_post_is_never_sent_twice() {
    let (dead, also) = (backend(b""), backend(b""));
    let request = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n";
    let (front, outcome) = check(crate::sample::door(1, &[dead, also]), request, &[b"body"]);
    assert_eq!((front.statuses, outcome), (vec![502], Outcome::BackendReset));
}

#[test]
fn a_body_above_the_limit_is_refused_before_it_is_read() {
    let backend = backend(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let mut config = crate::sample::door(1, &[backend]);
    config.listeners[0].max_body = Some(3);
    let request = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n";
    let (front, outcome) = check(config, request, &[b"body"]);
    assert_eq!((front.statuses, outcome), (vec![413], Outcome::BodyTooLarge));
    assert_eq!(front.body.len(), 1);
}
