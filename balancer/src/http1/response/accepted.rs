//! Answers that are fine, and what is read from them.
use super::parse_response;
use crate::http1::head::{Framing, Limits, Method, ResponseHead, Version};
use crate::http1::name::Known;

const LIMITS: Limits = Limits { max_head: 4000, max_fields: 20, max_target: 0 };

/// The head, after checking that no part of it passes for a whole one.
fn parsed(bytes: &[u8], to: Method) -> ResponseHead {
    let mut head = ResponseHead::new();
    for cut in 0..bytes.len() {
        let early = parse_response(&bytes[..cut], to, &LIMITS, &mut head);
        assert_eq!(early, Ok(None), "{} cut at {cut}", bytes.escape_ascii());
    }
    for follows in [&b""[..], b"HTTP/1.1 200 OK\r\n\r\n", b"\r\n"] {
        let more = [bytes, follows].concat();
        let len = parse_response(&more, to, &LIMITS, &mut head);
        assert_eq!(len, Ok(Some(bytes.len())), "{}", more.escape_ascii());
        assert_eq!(head.len as usize, bytes.len());
    }
    head
}

#[test]
fn a_status_line_may_have_any_reason_or_none() {
    for (line, status, reason) in [
        ("HTTP/1.1 200 OK", 200, "OK"),
        ("HTTP/1.1 404 Not\tFound \u{e9}", 404, "Not\tFound \u{e9}"),
        ("HTTP/1.1 599 ", 599, ""),
        ("HTTP/1.1 204", 204, ""),
        ("HTTP/1.0 301  x", 301, " x"),
    ] {
        let bytes = format!("{line}\r\n\r\n").into_bytes();
        let head = parsed(&bytes, Method::Get);
        assert_eq!((head.status, head.reason.of(&bytes)), (status, reason.as_bytes()));
    }
}

/// RFC 9112 §6.3, in its order.
#[test]
fn the_body_ends_as_request_status_and_fields_say() {
    let cases = [
        (Method::Head, "200", "Content-Length: 5", Framing::None, true),
        (Method::Head, "200", "Transfer-Encoding: chunked", Framing::None, true),
        (Method::Head, "200", "X: y", Framing::None, true),
        (Method::Get, "304", "Content-Length: 5", Framing::None, true),
        (Method::Get, "204", "X: y", Framing::None, true),
        (Method::Get, "204", "Content-Length: 0", Framing::None, true),
        (Method::Get, "204", "Content-Length: 5", Framing::None, false),
        (Method::Get, "204", "Transfer-Encoding: chunked", Framing::None, false),
        (Method::Get, "100", "X: y", Framing::None, true),
        (Method::Get, "103", "Content-Length: 5", Framing::None, false),
        (Method::Connect, "200", "Content-Length: 5", Framing::None, false),
        (Method::Connect, "407", "Content-Length: 5", Framing::Length(5), true),
        (Method::Get, "200", "Transfer-Encoding: Chunked", Framing::Chunked, true),
        (Method::Get, "200", "Content-Length: 0", Framing::Length(0), true),
        (Method::Get, "200", "Content-Length: 00012", Framing::Length(12), true),
        (Method::Post, "500", "Content-Length: 5", Framing::Length(5), true),
        (Method::Get, "200", "X: y", Framing::UntilClose, false),
        (Method::Get, "200", "Connection: keep-alive", Framing::UntilClose, false),
        (Method::Get, "205", "X: y", Framing::UntilClose, false),
    ];
    for (to, status, field, framing, keep_alive) in cases {
        let head = parsed(format!("HTTP/1.1 {status} x\r\n{field}\r\n\r\n").as_bytes(), to);
        assert_eq!(
            (head.framing, head.keep_alive),
            (framing, keep_alive),
            "{to:?} {status} {field}"
        );
    }
}

#[test]
fn a_length_where_none_may_be_is_not_forwarded() {
    for (to, status, expected) in [
        (Method::Get, "204", true),
        (Method::Get, "103", true),
        (Method::Connect, "200", true),
        (Method::Get, "304", false),
        (Method::Head, "200", false),
        (Method::Get, "200", false),
    ] {
        let bytes = format!("HTTP/1.1 {status} x\r\nContent-Length: 5\r\n\r\n").into_bytes();
        let head = parsed(&bytes, to);
        assert_eq!((head.fields[0].known, head.fields[0].hop), (Known::ContentLength, expected));
    }
}

#[test]
fn the_connection_lasts_as_version_and_options_say() {
    for (version, option, expected) in [
        ("1.1", "x", true),
        ("1.1", "close", false),
        ("1.0", "x", false),
        ("1.0", "Keep-Alive", true),
        ("1.0", "keep-alive, close", false),
    ] {
        let text =
            format!("HTTP/{version} 200 x\r\nContent-Length: 0\r\nConnection: {option}\r\n\r\n");
        let head = parsed(text.as_bytes(), Method::Get);
        assert_eq!(head.keep_alive, expected, "{version} {option}");
        assert_eq!(head.version == Version::Http11, version == "1.1");
    }
}

#[test]
fn the_idle_time_of_the_backend_is_read() {
    for (value, expected) in [
        ("timeout=5", Some(5)),
        ("max=100, Timeout=15", Some(15)),
        ("timeout=5, timeout=6", Some(5)),
        ("timeout=", None),
        ("timeout=-1", None),
        ("timeout=x", None),
        ("timeout=5000000000", None),
        ("max=5", None),
        ("5", None),
    ] {
        let text = format!("HTTP/1.1 200 x\r\nKeep-Alive: {value}\r\n\r\n");
        let head = parsed(text.as_bytes(), Method::Get);
        assert_eq!(head.keep_alive_timeout, expected, "{value}");
        assert!(head.fields[0].hop);
    }
}

#[test]
fn a_101_says_to_what_and_nothing_else_upgrades() {
    let fields = "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let bytes = format!("HTTP/1.1 101 x\r\n{fields}").into_bytes();
    let head = parsed(&bytes, Method::Get);
    assert_eq!(head.upgrade.map(|span| span.of(&bytes)), Some(&b"websocket"[..]));
    assert_eq!(head.framing, Framing::None);
    let head = parsed(format!("HTTP/1.1 426 x\r\n{fields}").as_bytes(), Method::Get);
    assert_eq!(head.upgrade, None);
}

#[test]
fn fields_of_requests_mean_nothing_here_and_named_ones_are_marked() {
    let bytes = b"HTTP/1.1 200 x\r\nHost: a b\r\nHost: c\r\nExpect: x\r\nConnection: a\r\nA: b\r\n\
        Proxy-Authenticate: x\r\nSet-Cookie: a\r\nContent-Length: 0\r\n\r\n";
    let head = parsed(bytes, Method::Get);
    let hops: Vec<_> = head.fields.iter().filter(|f| f.hop).map(|f| f.name.of(bytes)).collect();
    assert_eq!(hops, [&b"Connection"[..], b"A", b"Proxy-Authenticate"]);
}
