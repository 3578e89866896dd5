//! The files in `examples/`: each has no problem, and each carries requests.
//!
//! They name fixed ports and machines that are not here; both are replaced by those of the test,
//! one by one, so that a line which a file no longer has fails its test.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test, in helpers too

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tests::cloud::{REGION, TestCloud};
use tests::door::{TestFolder, binary};
use tests::{TestBackend, TestDoor};
use tidegate::config;

fn example(name: &str) -> PathBuf {
    Path::new("../examples").join(name)
}

/// An example with places of its own, each `(as written, here)`.
#[track_caller]
fn moved(name: &str, places: &[(&str, String)]) -> String {
    let mut text = std::fs::read_to_string(example(name)).unwrap();
    for (written, here) in places {
        assert!(text.contains(written), "`{written}` is not in {name} any more");
        text = text.replace(written, here);
    }
    text
}

/// So many backends that answer with their names.
async fn backends(names: &[&str]) -> Vec<TestBackend> {
    let mut backends = Vec::new();
    for name in names {
        backends.push(TestBackend::start(name).await);
    }
    backends
}

/// Two passes bring a backend in; when the third check comes, they have been noticed.
async fn all_serving(backends: &[TestBackend]) {
    for backend in backends {
        backend.probed(3).await;
    }
}

#[test]
fn every_example_has_no_problem_at_all() {
    let mut count = 0;
    for entry in std::fs::read_dir("../examples").unwrap() {
        let loaded = config::load(&entry.unwrap().path());
        assert!(loaded.problems.is_empty(), "{}", config::render_text(&loaded.problems));
        assert!(loaded.config.is_some());
        count += 1;
    }
    assert!(count >= 2);
}

#[tokio::test]
async fn local_toml_carries_what_its_comments_promise() {
    let names = ["amber", "blue", "coral"];
    let backends = backends(&names).await;
    let text = moved(
        "local.toml",
        &[
            ("127.0.0.1:8080", "127.0.0.1:0".into()),
            ("127.0.0.1:9001", backends[0].addr().to_string()),
            ("127.0.0.1:9002", backends[1].addr().to_string()),
            ("127.0.0.1:9003", backends[2].addr().to_string()),
            ("127.0.0.1:9900", "127.0.0.1:0".into()),
            ("/tmp/tidegate-local.sock", "admin.sock".into()),
            ("interval        = \"1s\"", "interval = \"50ms\"".into()),
        ],
    );
    let door = TestDoor::start(&text).await;
    all_serving(&backends).await;
    let mut client = door.client().await;

    let pong = client.get("/ping").await;
    assert_eq!((pong.status, pong.text().as_str()), (200, "pong\n"));
    let moved = client.get("/old/page").await;
    assert_eq!((moved.status, moved.field("location").as_deref()), (308, Some("/new")));
    let shop = client.get("/shop").await;
    assert!(shop.field("set-cookie").unwrap().starts_with("tg_backend="));

    let api = client.get("/api/echo").await;
    assert_eq!(api.field("cache-control").as_deref(), Some("no-store"));
    let served = backends.iter().find(|backend| backend.name() == api.text()).unwrap();
    let echo = served.requests().into_iter().find(|one| one.head.start.contains("/echo")).unwrap();
    assert_eq!(echo.head.start, "GET /echo HTTP/1.1");
    assert_eq!(echo.head.field("x-site").as_deref(), Some("local"));

    // 300 of the pool, a third of them coral's, and 100 of coral alone.
    let before = backends[2].request_count();
    for _ in 0..400 {
        assert_eq!(client.get("/beta").await.status, 200);
    }
    let coral = backends[2].request_count() - before;
    assert!((180..=220).contains(&coral), "{coral}");
    assert!(door.stop().await.success());
}

#[tokio::test]
async fn onprem_toml_carries_requests_near_and_far() {
    let names = ["a1", "a2", "a3", "b1", "b2", "b3", "m1", "m2"];
    let machines = ["1.11", "1.12", "1.13", "2.11", "2.12", "2.13", "1.21", "2.21"];
    let backends = backends(&names).await;
    let logs = TestFolder::new("onprem");
    let log = format!("file://{}/access.jsonl", logs.path.display());
    let written: Vec<String> =
        machines.iter().map(|machine| format!("address = \"10.20.{machine}:8080\"")).collect();
    let here = backends.iter().map(|backend| format!("address = \"{}\"", backend.addr()));
    let mut places: Vec<(&str, String)> = written.iter().map(String::as_str).zip(here).collect();
    places.extend([
        ("[\"0.0.0.0:80\", \"[::]:80\"]", "[\"127.0.0.1:0\"]".into()),
        ("10.10.0.1:9900", "127.0.0.1:0".into()),
        ("file:///var/log/tidegate/access.jsonl", log),
        ("/run/tidegate/admin.sock", "admin.sock".into()),
        ("interval        = \"1s\"", "interval = \"50ms\"".into()),
    ]);
    let text = moved("onprem.toml", &places);
    assert!(!text.contains("address = \"10."), "traffic stays on loopback:\n{text}");
    let door = TestDoor::start(&text).await;
    all_serving(&backends).await;
    let mut client = door.client().await;

    assert_eq!(client.get("/_tidegate/ping").await.text(), "ok\n");
    assert_eq!(client.get("/admin/users").await.status, 403);
    let shop = client.get("/").await;
    assert!(shop.text().starts_with('a'), "the near hall first: {}", shop.text());
    assert!(shop.field("set-cookie").unwrap().starts_with("tg_backend="));
    let order = "POST /orders/1 HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nhi";
    assert_eq!(client.request(order).await.status, 200);
    let (first, again) = (client.get("/media/a.mp4").await, client.get("/media/a.mp4").await);
    assert!(first.text().starts_with('m'));
    assert_eq!(first.text(), again.text());
    assert!(door.stop().await.success());
    let lines = std::fs::read_to_string(logs.path.join("access.jsonl")).unwrap();
    assert_eq!(lines.lines().count(), 6, "{lines}");
}

#[tokio::test]
async fn hybrid_aws_toml_looks_at_the_cloud_and_carries_requests_without_it() {
    let backends = backends(&["a1", "a2"]).await;
    let text = moved(
        "hybrid-aws.toml",
        &[
            ("0.0.0.0:80", "127.0.0.1:0".into()),
            ("/var/lib/tidegate", "state".into()),
            ("10.20.1.11:8080", backends[0].addr().to_string()),
            ("10.20.1.12:8080", backends[1].addr().to_string()),
            ("eu-west-2", REGION.into()),
            ("interval = \"1s\"", "interval = \"50ms\"".into()),
        ],
    );
    let cloud = TestCloud::start();
    let mut program = Command::new(binary());
    program.envs(cloud.environment());
    let door = TestDoor::launch_as(program, &text).ready().await;
    all_serving(&backends).await;
    assert_eq!(door.client().await.get("/").await.status, 200);
    let is_asked = |calls: &[serde_json::Value]| calls.iter().any(|c| c[2] == "DescribeInstances");
    cloud.until("calls", Duration::from_secs(60), is_asked).await;
    assert!(door.stop().await.success());
}
