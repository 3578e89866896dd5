//! What the reader accepts and what it refuses.

use super::*;

#[track_caller]
fn refuses(head: &str, why: &str) {
    let parsed = Head::parse(head.as_bytes()).and_then(|head| head.framing());
    let Err(Fault::Malformed(text)) = parsed else {
        panic!("accepted {head:?}: {parsed:?}");
    };
    assert!(text.starts_with(why), "{text}");
}

async fn read_body(framing: Framing, bytes: &[u8]) -> (Body, Result<(), Fault>) {
    let mut body = Body::default();
    let ended = Wire::new(bytes).body(framing, &mut body).await;
    (body, ended)
}

#[test]
fn a_head_is_kept_byte_for_byte() {
    let bytes = b"GET /a HTTP/1.1\r\nHost:  b \r\nX-A: 1\r\nx-a: 2\r\n\r\n";
    let head = Head::parse(bytes).unwrap();
    assert_eq!(head.bytes, bytes);
    assert_eq!(head.start, "GET /a HTTP/1.1");
    assert_eq!(head.field("host").as_deref(), Some("b"));
    assert_eq!(head.all("X-a"), ["1", "2"]);
}

#[test]
fn a_head_that_two_readers_could_take_differently_is_refused() {
    refuses("GET / HTTP/1.1\nHost: a\r\n\r\n", "a bare CR or LF");
    refuses("GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", "a bare CR or LF");
    refuses("GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", "no colon");
    refuses("GET / HTTP/1.1\r\nHost : a\r\n\r\n", "a field name that is no token");
    refuses("GET / HTTP/1.1\r\nContent-Length: +1\r\n\r\n", "framing");
    refuses("GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", "framing");
    refuses("GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "framing");
    refuses("GET / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "framing");
}

#[tokio::test]
async fn chunks_are_joined_and_their_sizes_and_trailers_told() {
    let bytes = b"3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 5\r\n\r\n";
    let (body, ended) = read_body(Framing::Chunked, bytes).await;
    assert_eq!(ended, Ok(()));
    assert_eq!(body.text(), "abcde");
    assert_eq!(body.chunks, [3, 2]);
    assert_eq!(body.trailers, [("X-Sum".to_owned(), "5".to_owned())]);
}

#[tokio::test]
async fn a_broken_chunk_is_malformed_and_a_missing_one_is_an_early_end() {
    for bytes in [
        &b"+3\r\nabc\r\n0\r\n\r\n"[..],
        b"0x3\r\nabc\r\n0\r\n\r\n",
        b"3\nabc\r\n",
        b"3\r\nabcd\r\n0\r\n\r\n",
        b"\r\n",
    ] {
        let (_, ended) = read_body(Framing::Chunked, bytes).await;
        assert!(matches!(ended, Err(Fault::Malformed(_))), "{}", bytes.escape_ascii());
    }
    let (body, ended) = read_body(Framing::Chunked, b"3\r\nabc\r\n").await;
    assert_eq!(ended, Err(Fault::Closed));
    assert_eq!(body.text(), "abc");
}

#[tokio::test]
async fn a_body_shorter_than_its_length_is_an_early_end() {
    let (body, ended) = read_body(Framing::Length(4), b"abc").await;
    assert_eq!((ended, body.len), (Err(Fault::Closed), 3));
    let (body, ended) = read_body(Framing::UntilClose, b"abc").await;
    assert_eq!((ended, body.len), (Ok(()), 3));
}

#[tokio::test]
async fn a_large_body_is_told_from_one_with_a_block_lost_or_moved() {
    let length = 3 * KEPT as u64;
    let mut whole = Vec::new();
    while (whole.len() as u64) < length {
        let at = whole.len() as u64;
        whole.extend_from_slice(pattern(at, length - at));
    }
    let (body, _) = read_body(Framing::Length(length), &whole).await;
    assert!(body.is_pattern);
    assert_eq!(body.len, length);

    let mut moved = whole.clone();
    moved.copy_within(4096..8192, 131_072);
    let (body, _) = read_body(Framing::Length(length), &moved).await;
    assert!(!body.is_pattern);

    let lost = [&whole[..65_536], &whole[131_072..]].concat();
    let (body, _) = read_body(Framing::UntilClose, &lost).await;
    assert!(!body.is_pattern);
    assert_eq!(pattern(65_536, 100), &whole[65_536..65_636]);
}
