//! Requests that are fine, and what is read from them.
use super::parse_request;
use crate::http1::head::{Framing, Limits, Method, RequestHead, Span, TargetForm, Version};
use crate::http1::name::Known;

const LIMITS: Limits = Limits { max_head: 4000, max_fields: 20, max_target: 1000 };

/// The head, after checking that no part of it passes for a whole one and that what follows it
/// is left alone.
fn parsed(bytes: &[u8]) -> RequestHead {
    let mut head = RequestHead::new();
    for cut in 0..bytes.len() {
        let early = parse_request(&bytes[..cut], &LIMITS, &mut head);
        assert_eq!(early, Ok(None), "{} cut at {cut}", bytes.escape_ascii());
    }
    for follows in [&b""[..], b"GET", b"\r\n", b"0123456789abcdef", b"Host: b\r\n\r\n", b"\0"] {
        let more = [bytes, follows].concat();
        let len = parse_request(&more, &LIMITS, &mut head);
        assert_eq!(len, Ok(Some(bytes.len())), "{}", more.escape_ascii());
        assert_eq!(head.len as usize, bytes.len());
    }
    head
}

fn with(fields: &str) -> (Vec<u8>, RequestHead) {
    let bytes = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n").into_bytes();
    let head = parsed(&bytes);
    (bytes, head)
}

/// The names of the fields that are not forwarded.
fn hops(bytes: &[u8], head: &RequestHead) -> Vec<String> {
    let hops = head.fields.iter().filter(|line| line.hop);
    hops.map(|line| String::from_utf8_lossy(line.name.of(bytes)).into_owned()).collect()
}

#[test]
fn a_plain_request_is_taken_apart() {
    let bytes = b"GET /a/b?c=d?e HTTP/1.1\r\nHost: www.example:8080\r\nX-Y:  z z \r\nA:\r\n\r\n";
    let head = parsed(bytes);
    let text = |span: Span| std::str::from_utf8(span.of(bytes)).unwrap();
    assert_eq!((head.method, text(head.method_span)), (Method::Get, "GET"));
    assert_eq!((head.form, head.version), (TargetForm::Origin, Version::Http11));
    assert_eq!((text(head.target), text(head.path)), ("/a/b?c=d?e", "/a/b"));
    assert_eq!(head.query.map(text), Some("c=d?e"));
    assert_eq!((head.host.map(text), head.authority), (Some("www.example:8080"), None));
    assert_eq!((head.framing, head.keep_alive), (Framing::None, true));
    let fields: Vec<_> =
        head.fields.iter().map(|f| (text(f.name), text(f.value), f.known)).collect();
    let host = ("Host", "www.example:8080", Known::Host);
    assert_eq!(fields, [host, ("X-Y", "z z", Known::Other), ("A", "", Known::Other)]);
}

#[test]
fn every_method_is_known_and_others_are_passed_on() {
    for (text, method) in super::METHODS {
        let text = std::str::from_utf8(text).unwrap();
        let target = if method == Method::Connect { "a:443" } else { "/" };
        let head = parsed(format!("{text} {target} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        assert_eq!(head.method, method);
        assert_eq!(head.method_span.len(), text.len());
    }
    for text in ["GETS", "PROPFIND", "M-SEARCH", "G", "POSTS", "X!#$%&'*+-.^_`|~0"] {
        let head = parsed(format!("{text} / HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        assert_eq!((head.method, head.method_span.len()), (Method::Other, text.len()));
    }
}

#[test]
fn each_form_of_target_has_its_parts() {
    let cases = [
        ("GET", "/", TargetForm::Origin, "/", None, None),
        ("GET", "/?", TargetForm::Origin, "/", Some(""), None),
        ("GET", "//b/c", TargetForm::Origin, "//b/c", None, None),
        ("OPTIONS", "*", TargetForm::Asterisk, "", None, None),
        ("GET", "http://a/b?c", TargetForm::Absolute, "/b", Some("c"), Some("a")),
        ("GET", "HTTPS://A:443/b", TargetForm::Absolute, "/b", None, Some("A:443")),
        ("GET", "http://a:80?c", TargetForm::Absolute, "", Some("c"), Some("a:80")),
        ("OPTIONS", "http://a", TargetForm::Absolute, "", None, Some("a")),
        ("GET", "http://a/?http://b/", TargetForm::Absolute, "/", Some("http://b/"), Some("a")),
        ("CONNECT", "a:443", TargetForm::Authority, "", None, Some("a:443")),
    ];
    for (method, target, form, path, query, authority) in cases {
        let bytes = format!("{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes();
        let head = parsed(&bytes);
        let text = |span: Span| std::str::from_utf8(span.of(&bytes)).unwrap();
        assert_eq!((head.form, text(head.path)), (form, path), "{target}");
        assert_eq!(
            (head.query.map(text), head.authority.map(text)),
            (query, authority),
            "{target}"
        );
    }
}

#[test]
fn the_body_ends_as_the_fields_say() {
    let framing = |fields| with(fields).1.framing;
    assert_eq!(framing("Content-Length: 0"), Framing::Length(0));
    assert_eq!(framing("content-length:   42  "), Framing::Length(42));
    assert_eq!(framing("CONTENT-LENGTH:9999999999999999999"), Framing::Length(9999999999999999999));
    assert_eq!(framing("Transfer-Encoding: chunked"), Framing::Chunked);
    assert_eq!(framing("transfer-encoding:CHUNKED "), Framing::Chunked);
    assert_eq!(framing("X: y"), Framing::None);
}

#[test]
fn the_connection_lasts_as_version_and_options_say() {
    for (version, option, expected) in [
        ("1.1", "", true),
        ("1.1", "close", false),
        ("1.1", "Keep-Alive", true),
        ("1.1", "keep-alive, CLOSE", false),
        ("1.1", ",, close ,", false),
        ("1.1", "closed", true),
        ("1.0", "", false),
        ("1.0", "keep-alive", true),
        ("1.0", "keep-alive, close", false),
        ("1.0", "x,\tkeep-alive", true),
    ] {
        let text = format!("GET / HTTP/{version}\r\nHost: a\r\nConnection: {option}\r\n\r\n");
        assert_eq!(parsed(text.as_bytes()).keep_alive, expected, "{version} {option}");
    }
}

#[test]
fn http_1_0_may_lack_host_and_has_no_upgrade_and_no_100() {
    let head = parsed(b"GET / HTTP/1.0\r\n\r\n");
    assert_eq!((head.version, head.host), (Version::Http10, None));
    let bytes = b"POST / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
        Expect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    let head = parsed(bytes);
    assert_eq!((head.upgrade, head.expect_continue), (None, false));
    let bytes = b"POST / HTTP/1.0\r\nExpect: 200-ok\r\nContent-Length: 5\r\n\r\n";
    assert!(!parsed(bytes).expect_continue);
}

#[test]
fn a_client_that_waits_for_100_is_seen_if_it_has_a_body() {
    let waits = |fields| with(fields).1.expect_continue;
    assert!(waits("Expect: 100-Continue\r\nContent-Length: 5"));
    assert!(waits("Transfer-Encoding: chunked\r\nExpect: 100-continue"));
    assert!(!waits("Expect: 100-continue"));
    assert!(!waits("Expect: 100-continue\r\nContent-Length: 0"));
}

#[test]
fn an_upgrade_needs_both_fields() {
    let upgrade = |fields: &str| {
        let (bytes, head) = with(fields);
        head.upgrade.map(|span| String::from_utf8_lossy(span.of(&bytes)).into_owned())
    };
    let both = "Connection: keep-alive, Upgrade\r\nUpgrade: ";
    assert_eq!(upgrade(&format!("{both}websocket")).as_deref(), Some("websocket"));
    assert_eq!(upgrade(&format!("{both}websocket\r\nUpgrade: x")), None);
    assert_eq!(upgrade(both), None);
    assert_eq!(upgrade("Upgrade: websocket"), None);
    // Nobody is asked for HTTP/2 in this way.
    assert_eq!(upgrade("Upgrade: h2c"), None);
    assert_eq!(upgrade("Connection: upgrade"), None);
    // Nor for anything behind a body: until that is through, nobody may change.
    let empty = format!("{both}websocket\r\nContent-Length: 0");
    assert_eq!(upgrade(&empty).as_deref(), Some("websocket"));
    assert_eq!(upgrade(&format!("{both}websocket\r\nContent-Length: 1")), None);
    assert_eq!(upgrade(&format!("{both}websocket\r\nTransfer-Encoding: chunked")), None);
}

#[test]
fn what_concerns_this_connection_is_marked() {
    let (bytes, head) = with(
        "Connection: close, X-Secret, te\r\nKeep-Alive: x\r\nProxy-Connection: x\r\nTE: trailers\r\n\
         Trailer: X\r\nUpgrade: x\r\nx-secret: y\r\nAccept: y\r\nProxy: x\r\nHTTP2-Settings: x\r\n\
         Transfer-Encoding: chunked\r\nX_Forwarded_For: 1.2.3.4\r\nX_Other: y",
    );
    let expected = "Connection Keep-Alive Proxy-Connection TE Upgrade x-secret Proxy HTTP2-Settings \
        Transfer-Encoding X_Forwarded_For";
    assert_eq!(hops(&bytes, &head).join(" "), expected);
    assert!(head.te_trailers);
}

#[test]
fn connection_may_name_fields_before_and_after_it_and_on_two_lines() {
    let (bytes, head) = with(
        "A: 1\r\nConnection: a\r\nConnection: b,X-Forwarded-For\r\nB: 2\r\n\
        X-Forwarded-For: 1",
    );
    assert_eq!(hops(&bytes, &head), ["A", "Connection", "Connection", "B", "X-Forwarded-For"]);
}

#[test]
fn trailers_are_wanted_only_if_te_says_so() {
    assert!(with("TE: gzip;q=0.5 , Trailers").1.te_trailers);
    assert!(!with("TE: trailer").1.te_trailers);
    assert!(!with("TE:").1.te_trailers);
}

#[test]
fn two_empty_lines_before_the_request_are_skipped() {
    let bytes = b"\r\n\r\nGET /a HTTP/1.1\r\nHost: a\r\n\r\n";
    let head = parsed(bytes);
    assert_eq!((head.method_span.of(bytes), head.path.of(bytes)), (&b"GET"[..], &b"/a"[..]));
}

#[test]
fn white_space_around_a_value_is_no_part_of_it() {
    for (line, value) in [
        ("X:", ""),
        ("X: ", ""),
        ("X: \t ", ""),
        ("X:y", "y"),
        ("X: y", "y"),
        ("X:yz", "yz"),
        ("X: yz ", "yz"),
        ("X: yz\t", "yz"),
        ("X:yz ", "yz"),
        ("X:  y z  ", "y z"),
        ("Accept-Language: de ", "de"),
    ] {
        let (bytes, head) = with(line);
        assert_eq!(head.fields[1].value.of(&bytes), value.as_bytes(), "{line:?}");
    }
}

#[test]
fn values_may_have_tabs_and_bytes_above_ascii_inside() {
    let (bytes, head) = with("X: \t a\tb\u{e9} \t");
    assert_eq!(head.fields[1].value.of(&bytes), "a\tb\u{e9}".as_bytes());
}

#[test]
fn a_reused_head_remembers_nothing() {
    let mut head = RequestHead::new();
    let full = b"CONNECT a:80 HTTP/1.0\r\nHost: a:80\r\nConnection: keep-alive\r\n\
        Content-Length: 5\r\nTE: trailers\r\n\r\n";
    parse_request(full, &LIMITS, &mut head).unwrap();
    let plain = b"GET / HTTP/1.1\r\nHost: b\r\n\r\n";
    parse_request(plain, &LIMITS, &mut head).unwrap();
    let mut fresh = RequestHead::new();
    parse_request(plain, &LIMITS, &mut fresh).unwrap();
    assert_eq!(format!("{head:?}"), format!("{fresh:?}"));
}
