//! What a trusted proxy is believed beyond `X-Forwarded-For`: `Forwarded`, and a trace that goes on.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test, in helpers too

use tests::door::one_pool;
use tests::{Received, TestBackend, TestClient, TestDoor};

const WORKERS: [usize; 2] = [1, 4];

/// A door that trusts 127.0.0.1 and 10.0.0.0/8, with more lines for its route.
async fn trusting(red: &TestBackend, workers: usize, route: &str) -> TestDoor {
    let bind = "bind = [\"127.0.0.1:0\"]\n";
    let trusted = format!("{bind}trusted_proxies = [\"127.0.0.1\", \"10.0.0.0/8\"]\n");
    let config = (one_pool(&[red], workers) + route).replace(bind, &trusted);
    TestDoor::checked(&config, &[red]).await
}

/// Who counts as the client, seen by a rule that lets only 8.8.8.8 and 2001:db8::8 through.
#[tokio::test]
async fn the_client_is_whom_forwarded_names_where_there_is_no_x_forwarded_for() {
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        let allow = "allow = [\"8.8.8.8\", \"2001:db8::8\"]\n";
        let door = trusting(&red, workers, allow).await;
        for (source, lines, expected) in [
            ("127.0.0.1", "Forwarded: for=8.8.8.8", 200),
            (
                "127.0.0.1",
                "Forwarded: for=6.6.6.6, for=\"8.8.8.8:1\";proto=https, for=10.0.0.1",
                200,
            ),
            ("127.0.0.1", "Forwarded: for=\"[2001:DB8::8]:4711\"", 200),
            ("127.0.0.1", "Forwarded: for=8.8.8.8\r\nForwarded: for=10.0.0.1", 200),
            ("127.0.0.1", "Forwarded: for=8.8.8.8, for=6.6.6.6", 403),
            ("127.0.0.1", "Forwarded: for=8.8.8.8, for=unknown", 403),
            ("127.0.0.1", "Forwarded: for=8.8.8.8, for=_hidden, for=10.0.0.1", 403),
            ("127.0.0.1", "Forwarded: for=8.8.8.8;x=\", for=6.6.6.6", 403),
            ("127.0.0.1", "Forwarded: 8.8.8.8", 403),
            // The older field holds where both are there, also if it names nobody.
            ("127.0.0.1", "Forwarded: for=6.6.6.6\r\nX-Forwarded-For: 8.8.8.8", 200),
            ("127.0.0.1", "X-Forwarded-For: 6.6.6.6\r\nForwarded: for=8.8.8.8", 403),
            ("127.0.0.1", "X-Forwarded-For: unknown\r\nForwarded: for=8.8.8.8", 403),
            // Not a trusted peer.
            ("127.0.0.2", "Forwarded: for=8.8.8.8", 403),
        ] {
            let addr = door.addr("web");
            let mut client = TestClient::connect_from(source.parse().unwrap(), addr).await;
            let request = format!("GET / HTTP/1.1\r\nHost: x\r\n{lines}\r\n\r\n");
            assert_eq!(client.request(request).await.status, expected, "{source}: {lines:?}");
        }
    }
}

/// Routes by fields see what a backend would get: nothing of one hop, nothing that a client says in
/// the name of a proxy, and the host in normal form.
#[tokio::test]
async fn no_route_is_taken_by_what_no_backend_sees() {
    const LAST: &str = "[[routes]]\nname = \"all\"";
    let red = TestBackend::start("red").await;
    let mut config = one_pool(&[&red], 1).replace(
        "bind = [\"127.0.0.1:0\"]\n",
        "bind = [\"127.0.0.1:0\"]\ntrusted_proxies = [\"127.0.0.1\"]\n",
    );
    for (name, field) in [
        ("tier", "x-tier = \"gold\""),
        ("te", "te = \"trailers, x\""),
        ("ssl", "x-forwarded-ssl = \"on\""),
        ("proto", "x-forwarded-proto = \"https\""),
        ("host", "host = { regex = \"^shop[.]example$\" }"),
        ("socket", "upgrade = \"websocket\""),
    ] {
        let body = format!("respond = {{ status = 418, body = \"{name}\" }}");
        let route = format!(
            "[[routes]]\nname = \"{name}\"\nmatch = {{ path = \"/\", header = {{ {field} }} }}\n"
        );
        config = config.replace(LAST, &format!("{route}{body}\n{LAST}"));
    }
    let door = TestDoor::checked(&config, &[&red]).await;
    for (source, lines, expected) in [
        ("127.0.0.2", "Host: x\r\nX-Tier: gold", "tier"),
        ("127.0.0.2", "Host: x\r\nX-Tier: gold\r\nConnection: X-Tier", "red"),
        ("127.0.0.2", "Host: x\r\nTE: trailers, x", "red"),
        ("127.0.0.2", "Host: x\r\nX-Forwarded-Ssl: on", "red"),
        ("127.0.0.1", "Host: x\r\nX-Forwarded-Ssl: on", "ssl"),
        ("127.0.0.2", "Host: x\r\nX-Forwarded-Proto: https", "red"),
        ("127.0.0.1", "Host: x\r\nX-Forwarded-Proto: https", "proto"),
        ("127.0.0.2", "Host: Shop.EXAMPLE.:8080", "host"),
        ("127.0.0.2", "Host: myshop.example", "red"),
        ("127.0.0.2", "Host: x\r\nUpgrade: websocket\r\nConnection: upgrade", "socket"),
        ("127.0.0.2", "Host: x\r\nUpgrade: websocket", "red"),
    ] {
        let addr = door.addr("web");
        let mut client = TestClient::connect_from(source.parse().unwrap(), addr).await;
        let response = client.request(format!("GET / HTTP/1.1\r\n{lines}\r\n\r\n")).await;
        assert_eq!(response.text(), expected, "{source}: {lines:?}");
    }
}

/// What stands behind us and reads the older fields is told the same.
#[tokio::test]
async fn whom_forwarded_names_is_in_the_older_fields_too() {
    let red = TestBackend::start("red").await;
    let door = trusting(&red, 1, "").await;
    let mut client = door.client().await;
    for (lines, client_is, proto) in [
        ("Forwarded: for=\"[2001:db8::8]:1\";proto=https", "2001:db8::8, 127.0.0.1", "https"),
        ("Forwarded: for=8.8.8.8;proto=https, for=10.0.0.1", "8.8.8.8, 127.0.0.1", "https"),
        ("Forwarded: for=unknown;proto=https", "127.0.0.1", "http"),
        ("Forwarded: for=8.8.8.8\r\nX-Forwarded-Proto: https", "8.8.8.8, 127.0.0.1", "https"),
        ("X-Forwarded-For: 8.8.8.8\r\nForwarded: for=a;proto=https", "8.8.8.8, 127.0.0.1", "http"),
        ("X-None: 1", "127.0.0.1", "http"),
    ] {
        let request = sent(&mut client, &red, &format!("{lines}\r\n")).await;
        assert_eq!(request.head.all("x-forwarded-for"), [client_is], "{lines}");
        assert_eq!(request.head.all("x-forwarded-proto"), [proto], "{lines}");
    }
}

/// And what reads the newer field is told whom the older ones name.
#[tokio::test]
async fn whom_x_forwarded_for_names_is_in_forwarded_too() {
    let older = "X-Forwarded-For: 6.6.6.6, 8.8.8.8\r\nX-Forwarded-Proto: HTTPS";
    for style in ["forwarded", "both"] {
        let red = TestBackend::start("red").await;
        let route = "bind = [\"127.0.0.1:0\"]\ntrusted_proxies = [\"127.0.0.1\"]\n";
        let style = format!("{route}forwarded = \"{style}\"\n");
        let config = one_pool(&[&red], 1).replace("bind = [\"127.0.0.1:0\"]\n", &style);
        let door = TestDoor::checked(&config, &[&red]).await;
        let mut client = door.client().await;
        let ours = "for=127.0.0.1;proto=http;host=\"x\"";
        for (lines, earlier) in [
            (older, "for=8.8.8.8;proto=https, "),
            ("X-Forwarded-For: 2001:db8::8", "for=\"[2001:db8::8]\";proto=http, "),
            ("X-Forwarded-For: 8.8.8.8\r\nX-Forwarded-Proto: a;b", "for=8.8.8.8;proto=http, "),
            ("X-Forwarded-For: 8.8.8.8\r\nForwarded: for=8.8.8.8", "for=8.8.8.8;proto=http, "),
            ("X-Forwarded-For: unknown", ""),
        ] {
            let request = sent(&mut client, &red, &format!("{lines}\r\n")).await;
            assert_eq!(request.head.all("forwarded"), [format!("{earlier}{ours}")], "{lines}");
            // Never without us.
            let all = request.head.all("x-forwarded-for");
            assert!(all.iter().all(|value| value.ends_with(", 127.0.0.1")), "{style}: {all:?}");
            assert_eq!(all.len(), usize::from(style.contains("both")), "{lines}");
        }
    }
}

/// A proxy may add to the one field and pass on what its client wrote into the other.
#[tokio::test]
async fn the_backend_reads_of_nobody_whom_the_door_does_not_go_by() {
    let red = TestBackend::start("red").await;
    for style in ["x-forwarded", "forwarded", "both"] {
        let bind = "bind = [\"127.0.0.1:0\"]\n";
        let trusted = format!("{bind}trusted_proxies = [\"127.0.0.1\"]\nforwarded = \"{style}\"\n");
        let config = one_pool(&[&red], 1).replace(bind, &trusted);
        let door = TestDoor::checked(&config, &[&red]).await;
        let mut client = door.client().await;
        for (lines, older, newer) in [
            (
                "X-Forwarded-For: 8.8.8.8\r\nForwarded: for=6.6.6.6\r\n",
                "8.8.8.8, ",
                "for=8.8.8.8;proto=http, ",
            ),
            ("Forwarded: for=8.8.8.8\r\nForwarded:\r\n", "8.8.8.8, ", "for=8.8.8.8, "),
            ("Forwarded: for=8.8.8.8, for=\"6.6.6.6\r\n", "", ""),
            (
                "Forwarded: for=6.6.6.6;x=\"\r\nForwarded: for=8.8.8.8\r\n",
                "8.8.8.8, ",
                "for=8.8.8.8;proto=http, ",
            ),
            ("X-Forwarded: for=6.6.6.6\r\n", "", ""),
        ] {
            let request = sent(&mut client, &red, lines).await;
            let own = (style != "forwarded").then(|| format!("{older}127.0.0.1"));
            assert_eq!(
                request.head.all("x-forwarded-for"),
                Vec::from_iter(own),
                "{style}: {lines:?}"
            );
            let own = (style != "x-forwarded")
                .then(|| format!("{newer}for=127.0.0.1;proto=http;host=\"x\""));
            assert_eq!(request.head.all("forwarded"), Vec::from_iter(own), "{style}: {lines:?}");
        }
    }
}

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[tokio::test]
async fn a_trace_that_cannot_be_continued_is_begun_anew() {
    let red = TestBackend::start("red").await;
    let door = trusting(&red, 1, "").await;
    let mut client = door.client().await;
    for lines in [
        "traceparent: 00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01".to_owned(),
        "traceparent: 00-00000000000000000000000000000000-b7ad6b7169203331-01".to_owned(),
        "traceparent: 00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01".to_owned(),
        format!("traceparent: ff-{TRACE}"),
        format!("traceparent: 00-{TRACE}-more"),
        format!("traceparent: 00-{TRACE}\r\ntraceparent: 00-{TRACE}"),
        "traceparent: \"<\"".to_owned(),
        "traceparent:".to_owned(),
        "x-none: 1".to_owned(),
    ] {
        let request = sent(&mut client, &red, &format!("{lines}\r\ntracestate: a=1\r\n")).await;
        let id = request.field("x-request-id").unwrap();
        let fresh = format!("00-{id}-{}-00", &id[16..]);
        assert_eq!(request.field("traceparent"), Some(fresh), "{lines}");
        assert_eq!(request.field("tracestate"), None, "{lines}");
    }
    for value in [format!("00-{TRACE}"), format!("cc-{TRACE}-more")] {
        let lines = format!("traceparent: {value}\r\ntracestate: a=1\r\ntracestate: b=2\r\n");
        let request = sent(&mut client, &red, &lines).await;
        assert_eq!(request.head.all("traceparent"), [value]);
        assert_eq!(request.head.all("tracestate"), ["a=1", "b=2"]);
    }
}

async fn sent(client: &mut TestClient, red: &TestBackend, lines: &str) -> Received {
    let response = client.request(format!("GET / HTTP/1.1\r\nHost: x\r\n{lines}\r\n")).await;
    assert_eq!(response.status, 200, "{lines:?}: {}", response.text());
    red.request(red.request_count() - 1)
}

/// HTTP/1.0 knows no expectations (RFC 9110 §10.1.1): no answer to one, and none at the backend.
#[tokio::test]
async fn an_expectation_of_http_1_0_is_as_if_it_were_not_there() {
    let red = TestBackend::start("red").await;
    let door = TestDoor::in_front_of(&[&red], 1).await;
    for expectation in ["100-continue", "200-ok", ""] {
        let request = format!(
            "POST / HTTP/1.0\r\nHost: x\r\nExpect: {expectation}\r\nContent-Length: 3\r\n\r\nabc"
        );
        let response = door.client().await.request(request).await;
        assert_eq!((response.status, response.interim.len()), (200, 0), "{expectation}");
        let request = red.request(red.request_count() - 1);
        assert_eq!((request.field("expect"), request.body.text()), (None, "abc".into()));
    }
}

#[tokio::test]
async fn the_page_of_a_refusal_is_what_the_client_would_rather_have() {
    let red = TestBackend::start("red").await;
    let door = TestDoor::in_front_of(&[&red], 1).await;
    for (accept, expected) in [
        ("text/html;q=0.5, application/json", "application/problem+json"),
        ("application/json;q=0, */*", "text/html; charset=utf-8"),
        ("text/html\r\nAccept: application/json", "text/html; charset=utf-8"),
        ("application/json\r\nAccept: */*;q=0.1", "application/problem+json"),
    ] {
        let request = format!("GET /%2f HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n\r\n");
        let response = door.client().await.request(request).await;
        assert_eq!(response.status, 400);
        assert_eq!(response.field("content-type").as_deref(), Some(expected), "{accept}");
    }
}
