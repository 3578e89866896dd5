//! Routing through the whole door: which route a request takes, and what exactly its backend gets.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test, in helpers too

use policies::rng;
use tests::crowd::crowd;
use tests::door::one_pool;
use tests::{Answer, Response, TestBackend, TestClient, TestDoor};

const WORKERS: [usize; 2] = [1, 4];

/// The same requests and routes that `policies/tests/routes.rs` asks of the table alone.
const REQUESTS: &str = include_str!("../policies/tests/fixtures/routes.tsv");
const CONFIG: &str = include_str!("../policies/tests/fixtures/routes.toml");

/// Checked often, so that a test need not wait.
fn health(pools: &[&str]) -> String {
    let section = |pool: &&str| {
        format!(
            "[pools.{pool}.health]\npath = \"/healthz\"\ninterval = \"50ms\"\nhealthy_after = 1\n"
        )
    };
    pools.iter().map(section).collect()
}

/// One request and what should become of it.
#[derive(Debug)]
struct Row {
    method: &'static str,
    target: &'static str,
    host: &'static str,
    lines: &'static str,
    outcome: &'static str,
    at_backend: &'static str,
}

fn rows() -> impl Iterator<Item = Row> {
    REQUESTS.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let cells: Vec<&str> = line.split('\t').collect();
        let [method, target, host, lines, outcome, at_backend] = cells[..] else {
            panic!("a row has six cells: {line}")
        };
        Row { method, target, host, lines, outcome, at_backend }
    })
}

impl Row {
    fn request(&self) -> Vec<u8> {
        let mut request = [self.method.as_bytes(), b" ", &bytes(self.target)].concat();
        request.extend_from_slice(b" HTTP/1.1\r\nHost: ");
        request.extend(bytes(self.host));
        for line in self.lines.split(" | ").filter(|line| *line != "-") {
            request.extend_from_slice(b"\r\n");
            request.extend(bytes(line));
        }
        request.extend_from_slice(b"\r\n\r\n");
        request
    }

    /// Route and target at the backend, or status and `-`.
    fn expected(&self) -> (String, Vec<u8>) {
        if STRICTER.contains(&(self.method, self.target)) {
            return ("400".to_owned(), b"-".to_vec());
        }
        (self.outcome.to_owned(), bytes(self.at_backend))
    }
}

/// Methods and targets that the door refuses before it asks the table, which would let them pass
/// by: a known method in another case, and an absolute form whose host is spelt unlike `Host`. Two
/// readers could take either in two ways.
const STRICTER: [(&str, &str); 3] = [
    ("post", "/v1/orders"),
    ("Post", "/v1/orders"),
    ("GET", "http://live.kgsports.example./x/%2e%2e/internal"),
];

/// Undoes `\xNN`.
fn bytes(text: &str) -> Vec<u8> {
    let mut pieces = text.split("\\x");
    let mut bytes = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        bytes.push(u8::from_str_radix(&piece[..2], 16).unwrap());
        bytes.extend(piece[2..].bytes());
    }
    bytes
}

#[tokio::test]
async fn every_request_of_the_table_takes_its_route_to_the_bytes_at_the_backend() {
    for workers in WORKERS {
        let red = TestBackend::start("a").await;
        let config = CONFIG
            .replace("127.0.0.1:8080", "127.0.0.1:0")
            .replace("127.0.0.1:9001", &red.addr().to_string())
            .replace("schema = 1\n", &format!("schema = 1\nworkers = {workers}\n"));
        let door = TestDoor::checked(&(config + &health(&["app"])), &[&red]).await;
        let mut client = door.client().await;
        let mut failures = Vec::new();
        for row in rows() {
            let seen = red.request_count();
            let response = client.request(row.request()).await;
            let got = became(&red, seen, &response);
            if got != row.expected() {
                let target = String::from_utf8_lossy(&got.1).into_owned();
                failures.push(format!("{row:?}\n    got {} {target}", got.0));
            }
            if response.field("connection").as_deref() == Some("close") {
                client = door.client().await;
            }
        }
        let all = rows().count();
        assert!(
            failures.is_empty(),
            "{} of {all} failed:\n{}",
            failures.len(),
            failures.join("\n")
        );
    }
}

/// The route and the target at the backend, or the status and `-`, as the table writes them.
fn became(red: &TestBackend, seen: usize, response: &Response) -> (String, Vec<u8>) {
    if red.request_count() == seen {
        let word = match response.status {
            400 => "bad_request",
            404 => "no_route",
            _ => "?",
        };
        // The answer to a HEAD has no body to say it in.
        assert!(response.body.len == 0 || response.text().contains(word), "{}", response.text());
        return (response.status.to_string(), b"-".to_vec());
    }
    let request = red.request(seen);
    assert_eq!((response.status, red.request_count()), (200, seen + 1));
    let line = request.head.bytes.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let target = line.split(|&byte| byte == b' ').nth(1).unwrap_or_default();
    (request.field("x-route").unwrap_or_default(), target.to_vec())
}

/// A door with these routes in front of one backend.
async fn routed(red: &TestBackend, workers: usize, routes: &str) -> TestDoor {
    let config = one_pool(&[red], workers);
    let (before, _) = config.split_once("[[routes]]").unwrap();
    TestDoor::checked(&format!("{before}{routes}"), &[red]).await
}

#[tokio::test]
async fn a_listener_lets_through_in_paths_what_it_is_told_to() {
    let red = TestBackend::start("red").await;
    let paths =
        "paths = { merge_slashes = false, allow_encoded_slash = true, allow_backslash = true }";
    let bind = "bind = [\"127.0.0.1:0\"]\n";
    let config = one_pool(&[&red], 1).replace(bind, &format!("{bind}{paths}\n"));
    let door = TestDoor::checked(&config, &[&red]).await;
    let mut client = door.client().await;
    for (sent, expected) in [
        ("/a//b", "/a//b"),
        ("/a%2Fb", "/a%2Fb"),
        ("/a%2fb/../c", "/c"),
        ("/a%5Cb", "/a%5Cb"),
        ("/a/%2e/b", "/a/b"),
    ] {
        let count = red.request_count();
        assert_eq!(client.get(sent).await.status, 200, "{sent}");
        assert_eq!(red.request(count).target(), expected);
    }
    assert_eq!(client.get("/a%00").await.status, 400);
}

#[tokio::test]
async fn a_path_is_rewritten_for_the_backend_and_its_query_stays() {
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        let routes = r#"
            [[routes]]
            name = "prefix"
            match = { path_prefix = "/shop" }
            rewrite = { prefix = "/store/" }
            to = { pool = "app" }
            [[routes]]
            name = "off"
            match = { path_prefix = "/api/" }
            rewrite = { prefix = "/" }
            to = { pool = "app" }
            [[routes]]
            name = "whole"
            match = { path_prefix = "/old" }
            rewrite = { path = "/new" }
            to = { pool = "app" }
            [[routes]]
            name = "regex"
            match = { path_regex = "^/v[0-9]+/" }
            rewrite = { regex = "^/v([0-9]+)/", replacement = "/version-$1/" }
            to = { pool = "app" }
        "#;
        let door = routed(&red, workers, routes).await;
        let mut client = door.client().await;
        for (sent, expected) in [
            ("/shop", "/store"),
            ("/shop/", "/store/"),
            ("/shop/a/b?c=/shop", "/store/a/b?c=/shop"),
            ("/x/../shop/a", "/store/a"),
            ("/api/", "/"),
            ("/api/a?b", "/a?b"),
            ("/api", "/"),
            ("/old/a/b?x=1", "/new?x=1"),
            ("/v2/a?v=/v2/", "/version-2/a?v=/v2/"),
            ("/%76%32/a", "/version-2/a"),
        ] {
            let count = red.request_count();
            assert_eq!(client.get(sent).await.status, 200, "{sent}");
            assert_eq!(red.request(count).target(), expected, "{sent}");
        }
    }
}

#[tokio::test]
async fn a_rewrite_cannot_lead_out_of_what_a_target_may_be() {
    let red = TestBackend::start("red").await;
    let routes = r#"
        [[routes]]
        name = "strip"
        match = { path_prefix = "/a" }
        rewrite = { regex = "^/a/?", replacement = "" }
        to = { pool = "app" }
    "#;
    let door = routed(&red, 1, routes).await;
    let mut client = door.client().await;
    for sent in ["/a", "/a/b", "/a/%2525", "/a/?x"] {
        let count = red.request_count();
        if client.get(sent).await.status == 200 {
            assert!(
                red.request(count).target().starts_with('/'),
                "{}",
                red.request(count).head.text()
            );
        } else {
            client = door.client().await;
        }
    }
}

#[tokio::test]
async fn a_redirect_fills_in_host_path_and_query() {
    let red = TestBackend::start("red").await;
    let routes = r#"
        [[routes]]
        name = "www"
        match = { host = "example.org" }
        redirect = { to = "https://www.{host}{path}{query}", status = 301 }
        [[routes]]
        name = "moved"
        match = { path_prefix = "/old" }
        redirect = { to = "/new" }
        [[routes]]
        name = "see"
        match = { path_prefix = "/see" }
        redirect = { to = "/other{query}", status = 303 }
        headers = { response = { set = { "x-why" = "moved" } } }
    "#;
    let door = routed(&red, 4, routes).await;
    let mut client = door.client().await;
    for (host, target, status, location) in [
        ("example.org", "/a/../b?c=d", 301, "https://www.example.org/b?c=d"),
        ("Example.ORG.:80", "/", 301, "https://www.example.org/"),
        ("x", "/old/a?b", 308, "/new"),
        ("x", "/see?b={host}", 303, "/other?b={host}"),
        ("x", "/see", 303, "/other"),
    ] {
        let response =
            client.request(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert_eq!(response.status, status);
        assert_eq!(response.field("location").as_deref(), Some(location));
        assert_eq!(response.field("content-length").as_deref(), Some("0"));
    }
    let response = client.request("GET /see HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(response.field("x-why").as_deref(), Some("moved"));
    // A body that nobody reads does not become the next request.
    let post = "POST /old HTTP/1.1\r\nHost: x\r\nContent-Length: 39\r\n\r\nGET /see HTTP/1.1\r\nHost: smuggled\r\n\r\n..";
    client.send(post).await;
    assert_eq!(client.read_response().await.status, 308);
    assert_eq!(red.request_count(), 0);
}

#[tokio::test]
async fn a_fixed_response_is_sent_as_written() {
    let red = TestBackend::start("red").await;
    let routes = r#"
        [[routes]]
        name = "json"
        match = { path = "/json" }
        respond = { status = 418, body = '{"a":1}', content_type = "application/json" }
        headers = { response = { set = { "cache-control" = "no-store" }, add = { "x-a" = "1" } } }
        [[routes]]
        name = "empty"
        match = { path = "/empty" }
        respond = { status = 204 }
        [[routes]]
        name = "file"
        match = { path = "/file" }
        respond = { file = "page.html", content_type = "text/html" }
    "#;
    let config = one_pool(&[&red], 1);
    let (before, _) = config.split_once("[[routes]]").unwrap();
    let folder = tests::door::TestFolder::new("page");
    let page = folder.write("page.html", "<p>hello");
    let routes = routes.replace("page.html", page.to_str().unwrap());
    let door = TestDoor::checked(&format!("{before}{routes}"), &[&red]).await;
    let mut client = door.client().await;
    let json = client.get("/json").await;
    assert_eq!((json.status, json.text().as_str()), (418, "{\"a\":1}"));
    assert_eq!(json.head.all("content-type"), ["application/json"]);
    assert_eq!(json.head.all("cache-control"), ["no-store"]);
    assert_eq!(json.field("x-a").as_deref(), Some("1"));
    let head = client.request("HEAD /json HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!((head.status, head.field("content-length").as_deref()), (418, Some("7")));
    let empty = client.get("/empty").await;
    assert_eq!((empty.status, empty.field("content-length"), empty.body.len), (204, None, 0));
    assert_eq!(client.get("/file").await.text(), "<p>hello");
}

#[tokio::test]
async fn header_edits_are_made_in_both_directions() {
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        let lines = ["Server: red", "X-Old: 1", "x-old: 2", "X-Keep: 3", "X-Multi: 4"];
        red.answer(Answer::full(200, &lines, b"red"));
        let routes = r#"
            [[routes]]
            name = "all"
            to = { pool = "app" }
            [routes.headers.request]
            remove = ["x-secret", "cookie"]
            set = { "x-site" = "kg", "x-client" = "door" }
            add = { "x-more" = "2" }
            [routes.headers.response]
            remove = ["server", "x-old"]
            set = { "strict-transport-security" = "max-age=1", "x-multi" = "one" }
            add = { "x-keep" = "4" }
        "#;
        let door = routed(&red, workers, routes).await;
        let request = "GET / HTTP/1.1\r\nHost: x\r\nX-SECRET: 1\r\nx-client: a\r\nX-Client: b\r\n\
                       Cookie: a=b\r\nX-More: 1\r\nX-Other: 1\r\n\r\n";
        let response = door.client().await.request(request).await;
        let got = red.request(0).head;
        for (name, expected) in [
            ("x-secret", &[][..]),
            ("cookie", &[]),
            ("x-site", &["kg"]),
            ("x-client", &["door"]),
            ("x-more", &["1", "2"]),
            ("x-other", &["1"]),
        ] {
            assert_eq!(got.all(name), expected, "{name} in\n{}", got.text());
        }
        for (name, expected) in [
            ("server", &[][..]),
            ("x-old", &[]),
            ("strict-transport-security", &["max-age=1"]),
            ("x-multi", &["one"]),
            ("x-keep", &["3", "4"]),
        ] {
            assert_eq!(response.head.all(name), expected, "{name} in\n{}", response.head.text());
        }
    }
}

/// Two pools, and what comes of `to`.
fn two_pools(red: &TestBackend, blue: &TestBackend, workers: usize, to: &str) -> String {
    let config = one_pool(&[red], workers);
    let (before, _) = config.split_once("[[routes]]").unwrap();
    format!(
        "{before}[pools.blue]\nbackends = [{{ id = \"blue\", address = \"{}\" }}]\n{}\
         [[routes]]\nname = \"all\"\nto = {to}\n",
        blue.addr(),
        health(&["blue"])
    )
}

#[tokio::test]
async fn a_split_of_75_to_25_is_kept_within_one_percent() {
    for workers in WORKERS {
        let (red, blue) = (TestBackend::start("red").await, TestBackend::start("blue").await);
        let to = "{ split = [{ pool = \"app\", weight = 75 }, { pool = \"blue\", weight = 25 }] }";
        let config = two_pools(&red, &blue, workers, to);
        let door = TestDoor::checked(&config, &[&red, &blue]).await;
        let tally = crowd(door.addr("web"), 16, 10_000, tests::crowd::plain).await;
        assert_eq!(tally.values().sum::<usize>(), 10_000);
        assert_eq!(red.request_count(), tally["red"]);
        assert!((7_400..=7_600).contains(&red.request_count()), "{tally:?}");
        assert_eq!(red.request_count() + blue.request_count(), 10_000);
    }
}

#[tokio::test]
async fn a_sticky_split_keeps_each_client_and_still_divides_them() {
    for workers in WORKERS {
        let (red, blue) = (TestBackend::start("red").await, TestBackend::start("blue").await);
        let to = "{ split = [{ pool = \"app\", weight = 75 }, { pool = \"blue\", weight = 25 }], \
                  sticky = { by = { cookie = \"user\" } } }";
        let config = two_pools(&red, &blue, workers, to);
        let door = TestDoor::checked(&config, &[&red, &blue]).await;
        // 400 users, five requests each, over whatever connection.
        let write = |number: usize| {
            format!("GET /{0} HTTP/1.1\r\nHost: x\r\nCookie: a=b; user=u{0}\r\n\r\n", number % 400)
        };
        crowd(door.addr("web"), 16, 2_000, write).await;
        let users = |backend: &TestBackend| {
            let requests = backend.requests();
            requests
                .iter()
                .map(|request| request.target().to_owned())
                .collect::<std::collections::BTreeSet<_>>()
        };
        let (red, blue) = (users(&red), users(&blue));
        assert!(red.is_disjoint(&blue), "{:?}", red.intersection(&blue));
        assert_eq!(red.len() + blue.len(), 400);
        assert!((260..=340).contains(&red.len()), "{}", red.len());
    }
}

#[tokio::test]
async fn a_waterfall_goes_on_to_the_next_pool_when_the_first_has_no_room_or_nobody() {
    for workers in WORKERS {
        let (red, blue) = (TestBackend::start("red").await, TestBackend::start("blue").await);
        let config = two_pools(&red, &blue, workers, "{ waterfall = [\"app\", \"blue\"] }")
            .replace("[pools.app]\n", "[pools.app]\nmax_concurrency = 1\n");
        let door = TestDoor::checked(&config, &[&red, &blue]).await;
        assert_eq!(door.client().await.get("/").await.text(), "red");
        red.answer(Answer::text("red").held());
        let mut waiting = door.client().await;
        waiting.send("GET /held HTTP/1.1\r\nHost: x\r\n\r\n").await;
        red.received(2).await;
        for _ in 0..20 {
            assert_eq!(door.client().await.get("/").await.text(), "blue");
        }
        red.release_all();
        assert_eq!(waiting.read_response().await.text(), "red");
        // Nobody: connects fail at first, then checks do.
        red.kill(tests::Death::Fin).await;
        for _ in 0..20 {
            assert_eq!(door.client().await.get("/").await.text(), "blue");
        }
    }
}

#[tokio::test]
async fn a_pipelined_client_is_routed_request_by_request() {
    let (red, blue) = (TestBackend::start("red").await, TestBackend::start("blue").await);
    let config = two_pools(&red, &blue, 4, "{ pool = \"app\" }").replace(
        "[[routes]]",
        "[[routes]]\nname = \"b\"\nmatch = { host = \"*.b.example\" }\nto = { pool = \"blue\" }\n[[routes]]",
    );
    let door = TestDoor::checked(&config, &[&red, &blue]).await;
    let mut client: TestClient = door.client().await;
    let is_blue = |number: u64| rng::hash(&number.to_be_bytes()).is_multiple_of(2);
    let request = |number: u64| {
        let host = if is_blue(number) { "x.b.example" } else { "a.example" };
        format!("GET /{number} HTTP/1.1\r\nHost: {host}\r\n\r\n")
    };
    client.send((0..500).map(request).collect::<String>()).await;
    for number in 0..500 {
        let expected = if is_blue(number) { "blue" } else { "red" };
        assert_eq!(client.read_response().await.text(), expected, "{number}");
    }
}

/// The examples of `docs/routing.md`: each command with everything it prints.
#[test]
fn the_page_shows_what_the_program_says() {
    let page = include_str!("../docs/routing.md");
    let blocks = page.split("```\n").filter_map(|block| block.strip_prefix("$ tidegate "));
    let mut count = 0;
    for block in blocks {
        let (command, expected) = block.split_once('\n').unwrap();
        // Words between spaces; those with spaces in them stand in single quotes.
        let pieces = command.split('\'').enumerate();
        let words: Vec<&str> = pieces
            .flat_map(|(number, piece)| match number % 2 {
                0 => piece.split_whitespace().collect(),
                _ => vec![piece],
            })
            .collect();
        let output = std::process::Command::new(tests::door::binary())
            .args(words)
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
            .output()
            .unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), expected, "{command}");
        count += 1;
    }
    assert_eq!(count, 3);
}
