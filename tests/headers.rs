//! What backends and clients are told in fields, and that nothing of a client can pass for ours.

use tests::door::one_pool;
use tests::{Answer, Received, Response, TestBackend, TestClient, TestDoor};

const WORKERS: [usize; 2] = [1, 4];
const TRUSTED: &str = "trusted_proxies = [\"127.0.0.1\", \"10.0.0.0/8\"]";

/// The configuration of `one_pool` with more lines for the listener and for the route.
fn with(backend: &TestBackend, workers: usize, listener: &str, route: &str) -> String {
    let bind = "bind = [\"127.0.0.1:0\"]\n";
    let configuration = one_pool(&[backend], workers) + route;
    configuration.replace(bind, &format!("{bind}{listener}\n"))
}

/// Sends a GET with these field lines and returns what the backend got.
async fn forwarded(client: &mut TestClient, backend: &TestBackend, lines: &str) -> Received {
    let response = client.request(format!("GET / HTTP/1.1\r\nHost: x\r\n{lines}\r\n")).await;
    assert_eq!(response.status, 200, "{lines:?}: {}", response.text());
    backend.request(backend.request_count() - 1)
}

fn fields(request: &Received, name: &str) -> Vec<String> {
    request.head.all(name)
}

#[tokio::test]
async fn a_backend_gets_what_the_client_sent_and_ours_and_nothing_else() {
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        let door = TestDoor::in_front_of(&[&red], workers).await;
        let mut client = door.client().await;
        let lines = "Accept: a\r\nX-One: 1\r\naccept: b\r\nX-Empty:\r\nX-Odd:  a\tb  \r\n\
                     Cookie: c=d\r\nCookie: e=f\r\n";
        let request = forwarded(&mut client, &red, lines).await;
        let id = request.field("x-request-id").unwrap();
        assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let trace = format!("traceparent: 00-{id}-{}-00", &id[16..]);
        let expected = [
            "GET / HTTP/1.1",
            "host: x",
            "Accept: a",
            "X-One: 1",
            "accept: b",
            "X-Empty:",
            "X-Odd:  a\tb  ",
            "Cookie: c=d",
            "Cookie: e=f",
            "x-forwarded-for: 127.0.0.1",
            "x-forwarded-proto: http",
            "x-forwarded-host: x",
            "via: 1.1 test",
            &format!("x-request-id: {id}"),
            &trace,
            "",
            "",
        ];
        assert_eq!(request.head.text(), expected.join("\r\n"));
    }
}

const DATE: &str = "Date: Sun, 06 Nov 1994 08:49:37 GMT";

#[tokio::test]
async fn an_answer_gets_the_date_that_it_lacks_and_both_ways_the_version_that_came() {
    let red = TestBackend::start("red").await;
    let door = TestDoor::in_front_of(&[&red], 1).await;
    let mut client = door.client().await;
    let now = client.get("/").await;
    let date = now.field("date").unwrap();
    assert!(date.len() == 29 && date.ends_with(" GMT") && !date.contains(" 1970 "), "{date}");
    assert_eq!(now.field("via").unwrap(), "1.1 test");

    red.answer_next(Answer::bytes(["HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"]));
    assert_eq!(client.get("/").await.field("via").unwrap(), "1.0 test");
    let old = door.client().await.request("GET /old HTTP/1.0\r\nHost: x\r\n\r\n").await;
    assert_eq!(old.status, 200);
    let vias: Vec<_> = red.requests().iter().map(|one| one.field("via").unwrap()).collect();
    assert_eq!(vias, ["1.1 test", "1.1 test", "1.0 test"]);
}

#[tokio::test]
async fn a_client_gets_what_the_backend_sent_and_ours_and_nothing_else() {
    let red = TestBackend::start("red").await;
    let lines =
        ["Server: s", "Set-Cookie: a=b", "Set-Cookie: c=d", "Connection: X-Hop", "X-Hop: 1"];
    let more = [
        "Keep-Alive: timeout=5",
        "Proxy-Connection: x",
        "X-Request-Id: theirs",
        "Via: 1.0 b",
        DATE,
    ];
    red.answer(Answer::full(200, &[&lines[..], &more[..]].concat(), b"ok"));
    let door = TestDoor::in_front_of(&[&red], 1).await;
    let response = door.client().await.get("/").await;
    let id = red.request(0).field("x-request-id").unwrap();
    let expected = [
        "HTTP/1.1 200 OK",
        "Server: s",
        "Set-Cookie: a=b",
        "Set-Cookie: c=d",
        "Via: 1.0 b",
        DATE,
        "Content-Length: 2",
        "via: 1.1 test",
        &format!("x-request-id: {id}"),
        "",
        "",
    ];
    assert_eq!(response.head.text(), expected.join("\r\n"));
}

/// RFC 9110 §15.5.22: it must say to what, although the field is one of a single hop elsewhere.
#[tokio::test]
async fn a_426_says_what_to_change_to() {
    let red = TestBackend::start("red").await;
    let door = TestDoor::in_front_of(&[&red], 1).await;
    let mut client = door.client().await;
    for (status, lines, expected) in [
        (426, ["Connection: upgrade", "Upgrade: websocket"], (Some("upgrade"), Some("websocket"))),
        (426, ["Connection: upgrade", "Upgrade: h2c"], (None, None)),
        (
            426,
            ["Connection: upgrade", "Upgrade: h2c, websocket"],
            (Some("upgrade"), Some("websocket")),
        ),
        (
            426,
            ["Connection: upgrade", "Upgrade: websocket, H2C"],
            (Some("upgrade"), Some("websocket")),
        ),
        (200, ["Connection: upgrade", "Upgrade: websocket"], (None, None)),
    ] {
        red.answer_next(Answer::full(status, &lines, b""));
        let response = client.get("/").await;
        assert_eq!(response.status, status);
        let got = (response.field("connection"), response.field("upgrade"));
        assert_eq!((got.0.as_deref(), got.1.as_deref()), expected, "{lines:?}");
    }
}

#[tokio::test]
async fn fields_of_one_hop_go_no_further() {
    let red = TestBackend::start("red").await;
    let door = TestDoor::in_front_of(&[&red], 1).await;
    let mut client = door.client().await;
    for line in [
        "Connection: keep-alive",
        "Connection: X-Private, keep-alive\r\nX-Private: 1\r\nx-private: 2",
        "Connection: close-not\r\nClose-Not: 1",
        "Keep-Alive: timeout=9",
        "Proxy-Connection: keep-alive",
        "Proxy-Authorization: Basic x",
        "Proxy: http://evil",
        "TE: gzip",
        "Upgrade: websocket",
        "Connection: HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk",
        "Transfer_Encoding2: chunked\r\nConnection: Transfer_Encoding2",
    ] {
        let request = forwarded(&mut client, &red, &format!("{line}\r\nX-Kept: 1\r\n")).await;
        assert_eq!(fields(&request, "x-kept"), ["1"], "{line:?}");
        for line in line.split("\r\n") {
            let (name, _) = line.split_once(':').unwrap();
            assert!(fields(&request, name).is_empty(), "{name} in\n{}", request.head.text());
        }
    }
    // Trailers are what we do speak.
    let request = forwarded(&mut client, &red, "TE: gzip, trailers\r\nConnection: TE\r\n").await;
    assert_eq!(request.field("te").as_deref(), Some("trailers"));
    assert_eq!(request.field("connection").as_deref(), Some("te"));
}

/// Fields by which backends know who asks, as a client would forge them.
const FORGED: &str = "X-Forwarded-For: 6.6.6.6\r\nx-forwarded-for: 7.7.7.7\r\n\
    X-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Port: 666\r\n\
    X-Real-IP: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX-Request-Id: forged\r\n\
    X_Forwarded_For: 6.6.6.6\r\nX-Forwarded_For: 6.6.6.6\r\nx_real_ip: 6.6.6.6\r\n\
    X-Forwarded-Ssl: forged\r\nX-FORWARDED-Scheme: https\r\nX-Forwarded-Prefix: /forged\r\n\
    x-forwarded-server: evil\r\nX-Forwarded-A_B: forged\r\nX_Forwarded_Ssl: forged\r\n\
    X-Forwarded_Client_Cert_And_Its_Whole_Chain: forged\r\n\
    X_Request_Id: forged\r\nX_Forwarded_Host: evil\r\nX_Forwarded-Proto: https\r\n\
    traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\
    tracestate: evil=1\r\nVia_: 1.1 evil\r\n";

#[tokio::test]
async fn nothing_of_a_client_passes_for_what_backends_trust() {
    for workers in WORKERS {
        for (style, own) in
            [("x-forwarded", true), ("forwarded", false), ("both", true), ("off", false)]
        {
            let red = TestBackend::start("red").await;
            let listener = format!("forwarded = \"{style}\"");
            let door = TestDoor::checked(&with(&red, workers, &listener, ""), &[&red]).await;
            let request = forwarded(&mut door.client().await, &red, FORGED).await;
            let text = request.head.text().to_lowercase();
            for forged in ["6.6.6.6", "7.7.7.7", "https", ": 666", "forged", ": evil"] {
                assert!(!text.contains(forged), "{forged} with {style} in\n{text}");
            }
            assert!(!text.contains("0af7651916cd43dd"), "{text}");
            assert!(!text.contains("x_"), "{text}");
            assert_eq!(request.field("x-forwarded-for").is_some(), own, "{style}");
            let writes_forwarded = matches!(style, "forwarded" | "both");
            let expected =
                writes_forwarded.then(|| "for=127.0.0.1;proto=http;host=\"x\"".to_owned());
            assert_eq!(request.field("forwarded"), expected, "{style}");
        }
    }
}

#[tokio::test]
async fn what_frames_a_message_cannot_be_named_for_removal_or_disguised() {
    let red = TestBackend::start("red").await;
    let door = TestDoor::in_front_of(&[&red], 1).await;
    for line in [
        "Connection: Host",
        "Connection: keep-alive, content-length\r\nContent-Length: 1",
        "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked",
        "Content_Length: 1",
        "Transfer_Encoding: chunked",
    ] {
        let request = format!("POST / HTTP/1.1\r\nHost: x\r\n{line}\r\n\r\nx");
        let mut client = door.client().await;
        client.send(request).await;
        assert_eq!(client.read_response().await.status, 400, "{line}");
    }
    assert_eq!(red.request_count(), 0);
}

#[tokio::test]
async fn a_client_cannot_have_our_fields_removed() {
    let red = TestBackend::start("red").await;
    let door = TestDoor::in_front_of(&[&red], 1).await;
    let lines = "Connection: X-Forwarded-For, X-Forwarded-Host, Via, X-Request-Id\r\n";
    let request = forwarded(&mut door.client().await, &red, lines).await;
    for name in ["x-forwarded-for", "x-forwarded-host", "via", "x-request-id"] {
        assert_eq!(fields(&request, name).len(), 1, "{name}");
    }
}

#[tokio::test]
async fn a_trusted_proxy_is_believed_and_added_to() {
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        let listener = format!("{TRUSTED}\nforwarded = \"both\"");
        let door = TestDoor::checked(&with(&red, workers, &listener, ""), &[&red]).await;
        let lines = "X-Forwarded-For: 9.9.9.9, 8.8.8.8\r\nX-Forwarded-For: 10.1.1.1\r\n\
                     X-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.example\r\n\
                     X-Forwarded-Port: 443\r\nX-Forwarded-Prefix: /shop\r\nX-Real-IP: 8.8.8.8\r\nX-Request-Id: abc-123\r\n\
                     Forwarded: for=8.8.8.8;proto=https\r\nVia: 1.1 edge\r\ntracestate: a=1\r\n\
                     traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n";
        let request = forwarded(&mut door.client().await, &red, lines).await;
        for (name, expected) in [
            ("x-forwarded-for", "9.9.9.9, 8.8.8.8, 10.1.1.1, 127.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "shop.example"),
            ("x-forwarded-port", "443"),
            ("x-forwarded-prefix", "/shop"),
            ("x-real-ip", "8.8.8.8"),
            ("x-request-id", "abc-123"),
            ("forwarded", "for=8.8.8.8;proto=https, for=127.0.0.1;proto=http;host=\"x\""),
            ("tracestate", "a=1"),
            ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ] {
            assert_eq!(fields(&request, name), [expected]);
        }
        assert_eq!(fields(&request, "via"), ["1.1 edge", "1.1 test"]);
    }
}

/// A chain of doors is none; what comes back again and again is.
#[tokio::test]
async fn a_request_that_goes_in_a_circle_is_ended() {
    let red = TestBackend::start("red").await;
    let door = TestDoor::in_front_of(&[&red], 1).await;
    let mut client = door.client().await;
    for (via, status) in [
        ("1.1 test", 200),
        ("1.1 test, 1.1 testing, 1.1 edge (1.1 test)\r\nVia: 1.1  test", 200),
        ("1.1 test, 1.0 TEST (a), HTTP/2 test", 508),
        ("1.1 test\r\nVia: 1.1 edge,1.1\ttest\r\nVia: 1.1 test", 508),
    ] {
        let request = format!("GET / HTTP/1.1\r\nHost: x\r\nVia: {via}\r\n\r\n");
        assert_eq!(client.request(request).await.status, status, "{via:?}");
    }
}

#[tokio::test]
async fn an_id_of_a_trusted_proxy_that_could_break_a_log_is_replaced() {
    let red = TestBackend::start("red").await;
    let door = TestDoor::checked(&with(&red, 1, TRUSTED, ""), &[&red]).await;
    let mut client = door.client().await;
    let long = "a".repeat(129);
    for bad in ["", "a b", "a\"b", "<script>", "a,b", &long] {
        let request = forwarded(&mut client, &red, &format!("X-Request-Id: {bad}\r\n")).await;
        assert_eq!(request.field("x-request-id").unwrap().len(), 32, "{bad:?}");
    }
    let response = client.request("GET / HTTP/1.1\r\nHost: x\r\nX-Request-Id: A.b-1\r\n\r\n").await;
    assert_eq!(response.field("x-request-id").as_deref(), Some("A.b-1"));
}

#[tokio::test]
async fn forwarding_fields_of_a_trusted_proxy_pass_unchanged_where_we_write_none() {
    let red = TestBackend::start("red").await;
    let listener = format!("{TRUSTED}\nforwarded = \"off\"");
    let door = TestDoor::checked(&with(&red, 1, &listener, ""), &[&red]).await;
    let lines =
        "X-Forwarded-For: 8.8.8.8\r\nX-Forwarded-Proto: https\r\nForwarded: for=8.8.8.8\r\n";
    let request = forwarded(&mut door.client().await, &red, lines).await;
    assert_eq!(request.field("x-forwarded-for").as_deref(), Some("8.8.8.8"));
    assert_eq!(request.field("x-forwarded-proto").as_deref(), Some("https"));
    assert_eq!(request.field("forwarded").as_deref(), Some("for=8.8.8.8"));
}

/// Who counts as the client, seen by a rule that lets only 8.8.8.8 through.
#[tokio::test]
async fn the_client_is_the_last_address_that_is_no_trusted_proxy() {
    let red = TestBackend::start("red").await;
    let door = TestDoor::checked(&with(&red, 1, TRUSTED, "allow = [\"8.8.8.8\"]\n"), &[&red]).await;
    for (source, given, expected) in [
        ("127.0.0.1", "8.8.8.8", 200),
        ("127.0.0.1", "6.6.6.6, 8.8.8.8", 200),
        ("127.0.0.1", "6.6.6.6:1, 8.8.8.8:4711, [::ffff:10.0.0.1]:1", 200),
        ("127.0.0.1", "6.6.6.6, 8.8.8.8, 10.0.0.1,10.2.3.4", 200),
        ("127.0.0.1", "8.8.8.8\r\nX-Forwarded-For: 10.0.0.1", 200),
        ("127.0.0.1", "8.8.8.8, 6.6.6.6", 403),
        ("127.0.0.1", "8.8.8.8, 6.6.6.6, 10.0.0.1", 403),
        // Beyond what cannot be read nobody is believed.
        ("127.0.0.1", "8.8.8.8, unknown, 10.0.0.1", 403),
        ("127.0.0.1", "8.8.8.8, , 10.0.0.1", 403),
        ("127.0.0.1", "", 403),
        // Not a trusted peer.
        ("127.0.0.2", "8.8.8.8", 403),
    ] {
        let addr = door.addr("web");
        let mut client = TestClient::connect_from(source.parse().unwrap(), addr).await;
        let request = format!("GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {given}\r\n\r\n");
        assert_eq!(client.request(request).await.status, expected, "{source}: {given:?}");
    }
}

#[tokio::test]
async fn the_backend_gets_the_host_that_was_matched() {
    let red = TestBackend::start("red").await;
    let door = TestDoor::in_front_of(&[&red], 1).await;
    let mut client = door.client().await;
    for (line, host, expected) in [
        ("GET / HTTP/1.1", "example.org", "example.org"),
        ("GET / HTTP/1.1", "Example.ORG", "example.org"),
        ("GET / HTTP/1.1", "example.org.:8080", "example.org:8080"),
        ("GET / HTTP/1.1", "[::1]:80", "[::1]:80"),
        ("GET http://Example.org/a HTTP/1.1", "example.org", "example.org"),
    ] {
        let response = client.request(format!("{line}\r\nHost: {host}\r\n\r\n")).await;
        assert_eq!(response.status, 200, "{line} {host}");
        let request = red.request(red.request_count() - 1);
        assert_eq!(fields(&request, "host"), [expected]);
        assert!(request.target().starts_with('/'), "{}", request.target());
    }
}

const EDITS: &str = r#"
[routes.headers.request]
remove = ["user-agent", "x-forwarded-host"]
set = { X-Env = "prod", Via = "1.1 hidden" }
add = { X-Tag = "ours" }
[routes.headers.response]
remove = ["server"]
set = { Cache-Control = "no-store", X-Request-Id = "none" }
add = { X-Tag = "ours" }
"#;

#[tokio::test]
async fn header_edits_hold_for_fields_of_everybody() {
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        let lines = ["Server: s", "Cache-Control: a", "cache-control: b", "X-Tag: theirs"];
        red.answer(Answer::full(200, &lines, b"ok"));
        let door = TestDoor::checked(&with(&red, workers, "", EDITS), &[&red]).await;
        let mut client = door.client().await;
        let sent = "User-Agent: u\r\nX-Env: test\r\nx-env: x\r\nX-Tag: theirs\r\nVia: 1.1 z\r\n";
        let request = forwarded(&mut client, &red, sent).await;
        assert!(fields(&request, "user-agent").is_empty());
        assert!(fields(&request, "x-forwarded-host").is_empty());
        assert_eq!(fields(&request, "x-env"), ["prod"]);
        assert_eq!(fields(&request, "via"), ["1.1 hidden"]);
        assert_eq!(fields(&request, "x-tag"), ["theirs", "ours"]);
        let response = client.get("/").await;
        assert_eq!(response.field("server"), None);
        assert_eq!(response.field("cache-control").as_deref(), Some("no-store"));
        assert_eq!(response.field("x-request-id").as_deref(), Some("none"));
        assert_eq!(response.head.all("x-tag"), ["theirs", "ours"]);
    }
}

#[tokio::test]
async fn paths_are_rewritten_and_queries_kept() {
    for (route, path, expected) in [
        ("rewrite = { prefix = \"/v1\" }", "/api", "/v1"),
        ("rewrite = { prefix = \"/v1\" }", "/api/", "/v1/"),
        ("rewrite = { prefix = \"/v1/\" }", "/api/a/b?q=/api", "/v1/a/b?q=/api"),
        ("rewrite = { prefix = \"/\" }", "/api", "/"),
        ("rewrite = { prefix = \"/\" }", "/api/a", "/a"),
        ("rewrite = { path = \"/one\" }", "/api/a?b", "/one?b"),
        ("rewrite = { regex = \"^/api/(.*)$\", replacement = \"/x/$1\" }", "/api/a?b", "/x/a?b"),
        ("rewrite = { regex = \"^/api/\", replacement = \"\" }", "/api/a", "/a"),
        ("rewrite = { regex = \"a\", replacement = \" é\" }", "/api/", "/%20%C3%A9pi/"),
    ] {
        let red = TestBackend::start("red").await;
        let configuration =
            with(&red, 1, "", route).replace("path_prefix = \"/\"", "path_prefix = \"/api\"");
        let door = TestDoor::checked(&configuration, &[&red]).await;
        assert_eq!(door.client().await.get(path).await.status, 200);
        assert_eq!(red.request(0).target(), expected, "{route}");
    }
}

const OWN_ROUTES: &str = r#"
[[routes]]
name = "moved"
match = { path_prefix = "/old" }
redirect = { to = "https://{host}/new{path}{query}", status = 301 }
[[routes]]
name = "fixed"
match = { path = "/fixed" }
respond = { status = 418, body = "short", content_type = "text/x" }
headers.response.set = { X-A = "b" }
[[routes]]
name = "nothing"
match = { path = "/nothing" }
respond = { status = 204 }
"#;

#[tokio::test]
async fn answers_of_the_door_itself_are_whole_and_keep_the_connection() {
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        let all = one_pool(&[&red], workers);
        let (before, last) = all.split_at(all.find("[[routes]]").unwrap());
        let last = last.replace("path_prefix = \"/\"", "path = \"/app\"");
        let door = TestDoor::checked(&format!("{before}{OWN_ROUTES}{last}"), &[&red]).await;
        let mut client = door.client().await;
        let shown = |response: &Response| (response.status, response.text());

        let moved = client.request("GET /old/%61?q=1 HTTP/1.1\r\nHost: A.b:80\r\n\r\n").await;
        assert_eq!(shown(&moved), (301, String::new()));
        assert_eq!(moved.field("location").as_deref(), Some("https://a.b/new/old/a?q=1"));

        let fixed = client.get("/fixed").await;
        assert_eq!(shown(&fixed), (418, "short".into()));
        assert_eq!(fixed.field("content-type").as_deref(), Some("text/x"));
        assert_eq!(fixed.field("x-a").as_deref(), Some("b"));
        let head = client.request("HEAD /fixed HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert_eq!(head.field("content-length").as_deref(), Some("5"));

        let nothing = client.get("/nothing").await;
        assert_eq!((nothing.status, nothing.field("content-length")), (204, None));

        let missing = client.get("/none").await;
        assert_eq!(missing.status, 404);
        assert_eq!(missing.field("content-type").as_deref(), Some("text/html; charset=utf-8"));
        let json = "GET /none HTTP/1.1\r\nHost: x\r\nAccept: application/json\r\n\r\n";
        let problem = client.request(json).await;
        let id = problem.field("x-request-id").unwrap();
        let expected = format!(
            "{{\"title\":\"Not Found\",\"status\":404,\"outcome\":\"no_route\",\"request_id\":\"{id}\"}}\n"
        );
        assert_eq!(problem.text(), expected);

        assert_eq!(client.get("/app").await.text(), "red");
        let refused = client.request("TRACE / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert_eq!((refused.status, refused.field("allow").is_some()), (405, true));
        // Whoever sends that does not speak our language: the connection ends (RFC 9112 §9.6).
        assert_eq!(refused.field("connection").as_deref(), Some("close"));
    }
}
