//! Any bytes as what a client sends: whatever the codec takes, every other reader takes in the same
//! way, wherever it was cut into pieces; and nothing panics.
//!
//! ```text
//! make fuzz                       # or, with cargo-fuzz:
//! cd tests && cargo +nightly fuzz run request --no-default-features -- -max_total_time=600
//! ```

#![no_main]

mod chunks;
#[path = "../../src/readings.rs"]
mod readings;

use balancer::http1::{Framing, Limits, Malformed, RequestHead, parse_request};
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits { max_head: 4096, max_fields: 100, max_target: 2048 };

fuzz_target!(|bytes: &[u8]| {
    // The first two bytes say where the rest is cut.
    let Some((cut, stream)) = bytes.split_first_chunk::<2>() else { return };
    let cut = usize::from(u16::from_le_bytes(*cut));
    let mut at = 0;
    // Every round takes at least a head.
    while at < stream.len() {
        let rest = &stream[at..];
        let mut head = RequestHead::new();
        let verdict = parse_request(rest, &LIMITS, &mut head);
        check_parts(rest, cut, verdict);
        let Ok(Some(len)) = verdict else { break };
        let Some(body) = body(&rest[len..], head.framing, cut) else {
            break;
        };
        at += len + body;
    }
    check_readers(&stream[..at]);
});

/// A verdict is final, and the same for any part that allows one.
fn check_parts(rest: &[u8], cut: usize, whole: Result<Option<usize>, Malformed>) {
    let part = &rest[..cut % (rest.len() + 1)];
    match parse_request(part, &LIMITS, &mut RequestHead::new()) {
        Ok(None) => {
            assert!(whole.is_err() || whole.is_ok_and(|len| len.is_none_or(|len| len > part.len())))
        }
        early => assert_eq!(early, whole, "{}", rest.escape_ascii()),
    }
}

/// Bytes of the body; `None` where it is malformed or not whole.
fn body(rest: &[u8], framing: Framing, cut: usize) -> Option<usize> {
    match framing {
        Framing::None => Some(0),
        Framing::Length(length) => {
            usize::try_from(length).ok().filter(|length| *length <= rest.len())
        }
        Framing::Chunked => chunks::whole(rest, cut),
        Framing::UntilClose => unreachable!("no request ends with its connection"),
    }
}

/// All whole requests that were taken are read alike by everybody.
fn check_readers(taken: &[u8]) {
    if let Err(why) = readings::agreed(taken) {
        panic!("{why}\n{}", taken.escape_ascii());
    }
}
