//! `tidegate route explain` says what the door does: each request goes both ways.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test, in helpers too

use std::path::Path;
use std::process::Command;

use tests::{Response, TestBackend, TestDoor};

/// Everything that a route can do, and limits small enough to be reached.
fn config(red: &TestBackend, workers: usize) -> String {
    format!(
        r#"
schema = 1
workers = {workers}
[site]
name = "test"
[listeners.web]
bind = ["127.0.0.1:0"]
trusted_proxies = ["127.0.0.1"]
deny = ["6.6.6.6"]
max_uri = "200B"
max_header_size = "2KiB"
max_fields = 20
[pools.app]
kind = "static"
backends = [{{ id = "red", address = "{}" }}]
[pools.app.health]
path = "/healthz"
interval = "50ms"
healthy_after = 1
[[routes]]
name = "closed"
match = {{ path_prefix = "/closed/" }}
maintenance = true
to = {{ pool = "app" }}
[[routes]]
name = "inside"
match = {{ path_prefix = "/inside/" }}
allow = ["10.0.0.0/8"]
to = {{ pool = "app" }}
[[routes]]
name = "moved"
match = {{ path_prefix = "/old/" }}
redirect = {{ to = "https://{{host}}/new{{path}}{{query}}", status = 301 }}
[[routes]]
name = "fixed"
match = {{ host = "fixed.example", methods = ["GET"] }}
respond = {{ status = 418, body = "no", content_type = "text/plain" }}
[[routes]]
name = "rewritten"
match = {{ host = "*.shop.example", path_prefix = "/cart/" }}
rewrite = {{ prefix = "/basket/" }}
headers = {{ request = {{ set = {{ "x-tier" = "gold" }}, remove = ["cookie"] }} }}
to = {{ pool = "app" }}
[[routes]]
name = "upload"
match = {{ path = "/upload" }}
limits = {{ body = "10B" }}
to = {{ pool = "app" }}
[[routes]]
name = "beta"
match = {{ path = "/", header = {{ "x-beta" = "1" }} }}
to = {{ pool = "app" }}
[[routes]]
name = "app"
match = {{ host = "app.example" }}
to = {{ pool = "app" }}
"#,
        red.addr()
    )
}

/// Method, target, field lines, and the last words of what is said.
const REQUESTS: &[(&str, &str, &[&str], &str)] = &[
    ("GET", "/a?b=c", &["Host: app.example"], "route `app` forwards to `app`"),
    ("GET", "/x/%2e%2e/%61?%61", &["Host: APP.example.:80"], "route `app` forwards to `app`"),
    ("PURGE", "//a//b", &["Host: app.example"], "route `app` forwards to `app`"),
    ("GET", "/", &["Host: x", "X-Beta: 1"], "route `beta` forwards to `app`"),
    ("GET", "/", &["Host: x", "X-Beta: 2"], "no route matches: 404"),
    // What goes no further takes no route.
    ("GET", "/", &["Host: x", "X-Beta: 1", "Connection: X-Beta"], "no route matches: 404"),
    ("GET", "/cart/1;a", &["Host: a.SHOP.example", "Cookie: a=b"], "route `rewritten` forwards"),
    ("GET", "/x/../cart/%2e/2", &["Host: b.shop.example:81"], "route `rewritten` forwards"),
    ("GET", "/cart/../y", &["Host: b.shop.example"], "no route matches: 404"),
    (
        "GET",
        "/old/a?q",
        &["Host: www.Example"],
        "redirects with 301 to https://www.example/new/old/a?q",
    ),
    ("GET", "/", &["Host: fixed.example"], "route `fixed` answers 418 with 2 bytes"),
    ("HEAD", "/", &["Host: fixed.example"], "no route matches: 404"),
    ("GET", "/a/%2e./closed/x", &["Host: x"], "503: route `closed` is in maintenance"),
    ("GET", "/inside/", &["Host: x"], "403: route `inside` does not let 127.0.0.1 in"),
    ("GET", "/inside/", &["Host: x", "X-Forwarded-For: 10.1.1.1"], "route `inside` forwards"),
    (
        "GET",
        "/",
        &["Host: x", "X-Forwarded-For: 6.6.6.6"],
        "403: listener `web` does not let 6.6.6.6 in",
    ),
    ("POST", "/upload", &["Host: x", "Content-Length: 11"], "413: the body is larger than"),
    ("OPTIONS", "/", &["Host: x", "Max-Forwards: 0"], "answers 200: an OPTIONS"),
    ("OPTIONS", "*", &["Host: app.example"], "route `app` forwards to `app`"),
    ("GET", "http://app.example/a", &["Host: app.example"], "route `app` forwards to `app`"),
    ("GET", "http://app.example?b", &["Host: app.example:80"], "route `app` forwards to `app`"),
    // What the door refuses before it asks a route.
    (
        "OPTIONS",
        "/",
        &["Host: x", "Max-Forwards: x"],
        "Max-Forwards of an OPTIONS is not one number",
    ),
    (
        "get",
        "/",
        &["Host: app.example"],
        "400 before any route is asked: the method is not a token",
    ),
    (
        "G(T",
        "/",
        &["Host: app.example"],
        "400 before any route is asked: the method is not a token",
    ),
    ("TRACE", "/", &["Host: app.example"], "405 before any route is asked: CONNECT and TRACE"),
    ("CONNECT", "app.example:80", &["Host: app.example:80"], "405 before any route is asked: CONN"),
    ("AVERYLONGMETHODTHATNOBODYHASEVERUSED", "/", &["Host: x"], "501 before any route is asked"),
    ("GET", "/", &["Host: app.example", "Host: app.example"], "there is more than one Host"),
    ("GET", "/", &["X-Beta: 1"], "400 before any route is asked: there is no Host"),
    ("GET", "/", &["Host: a b"], "is not a host with an optional port"),
    ("GET", "/", &["Host: u%40app.example"], "400 before any route is asked: host has the byte"),
    ("GET", "http://app.example/", &["Host: other.example"], "the target names another host"),
    ("GET", "/..", &["Host: app.example"], "path climbs above the root"),
    ("GET", "/a%2fb", &["Host: app.example"], "path has `%2F`"),
    ("GET", "/a#b", &["Host: app.example"], "the target has bytes or a form"),
    ("GET", "/\u{e9}", &["Host: app.example"], "the target has bytes or a form"),
    ("GET", "*", &["Host: app.example"], "the target has bytes or a form"),
    ("GET", "a", &["Host: app.example"], "the target has bytes or a form"),
    ("GET", "/ HTTP/1.1", &["Host: app.example"], "the version is not written as"),
    ("GET", "/", &["Host : app.example"], "a field name has white space"),
    ("GET", "/", &["Host: app.example", "Content-Length: 010"], "Content-Length is not a number"),
    ("GET", "/", &["Host: app.example", "Expect: something"], "417 before any route is asked"),
    (
        "GET",
        "/",
        &["Host: app.example", "Connection: upgrade", "Upgrade: h2c"],
        "an upgrade to HTTP/2",
    ),
];

#[tokio::test]
async fn it_says_of_each_request_what_the_door_does() {
    for workers in [1, 4] {
        let red = TestBackend::start("red").await;
        let door = TestDoor::checked(&config(&red, workers), &[&red]).await;
        let long = format!("/{}", "a".repeat(200));
        let (large, fields) = (format!("X: {}", "a".repeat(2048)), ["Host: x"; 1]);
        let many: Vec<String> = (0..20).map(|number| format!("X-{number}: a")).collect();
        let many: Vec<&str> = fields.into_iter().chain(many.iter().map(String::as_str)).collect();
        let large = ["Host: x", &large];
        let limits: [(&str, &str, &[&str], &str); 3] = [
            ("GET", &long, &["Host: x"], "414 before any route is asked"),
            ("GET", "/", &large, "431 before any route is asked"),
            ("GET", "/", &many, "431 before any route is asked"),
        ];
        for request @ (method, target, lines, expected) in REQUESTS.iter().chain(&limits) {
            let said = explain(door.folder(), method, target, lines);
            assert!(said.contains(expected), "{request:?}:\n{said}");
            let seen = red.request_count();
            let mut client = door.client().await;
            client
                .send(format!("{method} {target} HTTP/1.1\r\n{}\r\n\r\n", lines.join("\r\n")))
                .await;
            let response = match *method {
                "HEAD" => client.read_head_response().await,
                _ => client.read_response().await,
            };
            if red.request_count() == seen {
                check_answer(&said, &response);
                continue;
            }
            assert_eq!(response.status, 200, "{request:?}");
            check_head(&said, &red.request(seen).head.text());
        }
    }
}

/// The status, and where it leads to, are in the line that says what the door does.
#[track_caller]
fn check_answer(said: &str, response: &Response) {
    let last = said.lines().last().unwrap();
    assert!(last.contains(&response.status.to_string()), "{}: {said}", response.status);
    if let Some(location) = response.field("location") {
        assert!(last.ends_with(&format!(" to {location}")), "{location}: {said}");
    }
}

/// The head that was shown is the one that came, but for what is drawn anew.
#[track_caller]
fn check_head(said: &str, came: &str) {
    let shown: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("    ")).collect();
    let came: Vec<&str> = came.trim_end().split("\r\n").collect();
    let is_same = |(shown, came): (&&str, &&str)| {
        shown.len() == came.len()
            && shown.bytes().zip(came.bytes()).all(|(shown, came)| shown == b'*' || shown == came)
    };
    assert!(
        shown.len() == came.len() && shown.iter().zip(&came).all(is_same),
        "{shown:#?} instead of {came:#?}"
    );
    assert!(shown.iter().filter(|line| line.contains('*')).count() <= 3, "{shown:#?}");
}

fn explain(folder: &Path, method: &str, target: &str, lines: &[&str]) -> String {
    let mut command = Command::new(tests::door::binary());
    command.args(["route", "explain", "--config", "tidegate.toml", method, target]);
    command.args(lines.iter().map(|line| format!("-H{line}"))).current_dir(folder);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn it_says_that_the_switch_of_the_site_answers() {
    let red = TestBackend::start("red").await;
    let closed =
        config(&red, 1).replace("name = \"test\"\n", "name = \"test\"\nmaintenance = true\n");
    let door = TestDoor::checked(&closed, &[&red]).await;
    let said = explain(door.folder(), "GET", "/", &["Host: app.example"]);
    assert!(
        said.ends_with(
            "\n503: the maintenance switch of the site is on, and answers before any route\n"
        ),
        "{said}"
    );
    assert_eq!(said.lines().count(), 2, "{said}");
    let response = door.client().await.request("GET / HTTP/1.1\r\nHost: app.example\r\n\r\n").await;
    assert_eq!(response.status, 503);
    let said = explain(door.folder(), "GET", "/%00", &["Host: app.example"]);
    assert!(said.starts_with("400 before any route is asked: path has `%00`"), "{said}");
}
