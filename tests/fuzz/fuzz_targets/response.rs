//! Any bytes as what a backend answers: whatever the codec takes, `httparse` takes in the same way,
//! with one length, wherever it was cut into pieces; and nothing panics.
//!
//! ```text
//! make fuzz                       # or, with cargo-fuzz:
//! cd tests && cargo +nightly fuzz run response --no-default-features -- -max_total_time=600
//! ```

#![no_main]

mod chunks;

use balancer::http1::{Framing, Limits, Method, ResponseHead, parse_response};
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits { max_head: 4096, max_fields: 100, max_target: 0 };

fuzz_target!(|bytes: &[u8]| {
    let Some(([to, cut_high, cut_low], answer)) = bytes.split_first_chunk::<3>() else { return };
    let to = match to % 3 {
        0 => Method::Get,
        1 => Method::Head,
        _ => Method::Connect,
    };
    let cut = usize::from(u16::from_be_bytes([*cut_high, *cut_low])) % (answer.len() + 1);
    let mut head = ResponseHead::new();
    let whole = parse_response(answer, to, &LIMITS, &mut head);
    match parse_response(&answer[..cut], to, &LIMITS, &mut ResponseHead::new()) {
        Ok(None) => {}
        early => assert_eq!(early, whole, "{}", answer.escape_ascii()),
    }
    let Ok(Some(len)) = whole else { return };
    check_head(answer, len, &head);
    if head.framing == Framing::Chunked {
        chunks::whole(&answer[len..], cut);
    }
});

/// The same status and lines to another parser, and one way to find the end.
fn check_head(answer: &[u8], len: usize, head: &ResponseHead) {
    let mut fields = [httparse::EMPTY_HEADER; 128];
    let mut other = httparse::Response::new(&mut fields);
    let parsed = other.parse(answer);
    assert_eq!(parsed, Ok(httparse::Status::Complete(len)), "{}", answer.escape_ascii());
    assert_eq!(other.code, Some(head.status));
    assert_eq!(other.headers.len(), head.fields.len());
    for (line, field) in head.fields.iter().zip(other.headers.iter()) {
        assert_eq!(line.name.of(answer), field.name.as_bytes());
        assert_eq!(line.value.of(answer), field.value.trim_ascii());
    }
    let count =
        |name: &str| other.headers.iter().filter(|f| f.name.eq_ignore_ascii_case(name)).count();
    assert!(count("content-length") + count("transfer-encoding") <= 1);
    if let Framing::UntilClose = head.framing {
        assert!(!head.keep_alive && count("content-length") == 0);
    }
}
