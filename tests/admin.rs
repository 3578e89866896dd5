//! The listeners for operators, and `tidegate status`, which asks one of them.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test, in helpers too

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tests::crowd::{crowd, plain};
use tests::door::{TestFolder, binary, one_pool};
use tests::operator::{Operator, over_unix};
use tests::{Answer, CEILING, TestBackend, TestClient, TestDoor, within};

const WORKERS: [usize; 2] = [1, 4];

async fn json_over_unix(socket: &Path, path: &str) -> Value {
    let (status, text) =
        over_unix(socket, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
    assert_eq!(status, 200, "{path}: {text}");
    serde_json::from_str(&text).unwrap()
}

/// A door with a Unix socket and a loopback listener for operators.
async fn administered(red: &TestBackend, workers: usize) -> (TestDoor, TestFolder) {
    let folder = TestFolder::new("admin");
    let admin = format!(
        "[admin]\nunix = \"{}/admin.sock\"\nlisten = \"127.0.0.1:0\"\n",
        folder.path.display()
    );
    let door = TestDoor::checked(&(one_pool(&[red], workers) + &admin), &[red]).await;
    (door, folder)
}

#[tokio::test]
async fn what_was_refused_for_its_own_fault_is_not_counted_as_failed() {
    let red = TestBackend::start("red").await;
    let (door, operator) = Operator::of(&one_pool(&[&red], 1), &[&red]).await;
    assert_eq!(door.client().await.request("GET / HTTP/1.1\r\n\r\n").await.status, 400);
    assert_eq!(
        door.client().await.request("TRACE / HTTP/1.1\r\nHost: x\r\n\r\n").await.status,
        405
    );
    red.answer_next(Answer::reset());
    let post = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(door.client().await.request(post).await.status, 502);
    let status = operator.until("/v1/status", |status| status["requests"] == 3).await;
    let counts = (&status["failed_requests"], &status["refused_requests"]);
    assert_eq!(counts, (&1.into(), &2.into()));
}

#[tokio::test]
async fn operators_see_status_pools_routes_and_configuration_over_the_unix_socket() {
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        let (door, folder) = administered(&red, workers).await;
        let socket = folder.path.join("admin.sock");
        let metadata = fs::metadata(&socket).unwrap();
        assert!(metadata.file_type().is_socket());
        assert_eq!(metadata.permissions().mode() & 0o777, 0o660);
        assert_eq!(crowd(door.addr("web"), 8, 40, plain).await["red"], 40);
        let status = within(CEILING, async {
            loop {
                let status = json_over_unix(&socket, "/v1/status").await;
                if status["requests"] == 40 {
                    break status;
                }
            }
        })
        .await;
        assert_eq!((&status["is_ready"], &status["site"]), (&true.into(), &"test".into()));
        assert_eq!((&status["workers"], &status["failed_requests"]), (&workers.into(), &0.into()));
        assert_eq!(status["listeners"][0]["addresses"][0], door.addr("web").to_string());
        let pools = json_over_unix(&socket, "/v1/pools").await;
        let backend = &pools["pools"][0]["backends"][0];
        assert_eq!((&backend["id"], &backend["state"]), (&"red".into(), &"serving".into()));
        assert_eq!((&backend["requests"], &backend["in_flight"]), (&40.into(), &0.into()));
        assert_eq!(pools["pools"][0]["rule"], "least_requests");
        let routes = json_over_unix(&socket, "/v1/routes").await;
        assert_eq!(
            (&routes["routes"][0]["name"], &routes["routes"][0]["requests"]),
            (&"all".into(), &40.into())
        );
        let (code, config) = over_unix(&socket, "GET /v1/config HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert_eq!(code, 200);
        assert!(config.contains(&red.addr().to_string()), "{config}");
        let (code, _) =
            over_unix(&socket, "POST /v1/status HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
                .await;
        assert_eq!(code, 405);
        // The file goes with the door.
        assert!(door.stop().await.success());
        assert!(!socket.exists());
    }
}

#[tokio::test]
async fn the_loopback_listener_reads_only_and_answers_no_web_page() {
    let red = TestBackend::start("red").await;
    let (door, _folder) = administered(&red, 1).await;
    let output = door.output();
    let admin = output.lines().find_map(|line| line.strip_prefix("admin http://")).unwrap();
    let admin: SocketAddr = admin.split('/').next().unwrap().parse().unwrap();
    let port = admin.port();
    for (method, host, more, status) in [
        ("GET", format!("localhost:{port}"), "", 200),
        ("GET", format!("127.0.0.1:{port}"), "", 200),
        ("GET", "evil.example".to_owned(), "", 403),
        ("GET", format!("evil.example:{port}"), "", 403),
        ("GET", "127.0.0.1:1".to_owned(), "", 403),
        ("GET", format!("127.0.0.1:{port}"), "Origin: http://evil.example\r\n", 403),
        ("GET", format!("127.0.0.1:{port}"), "Origin: null\r\n", 403),
        ("POST", format!("127.0.0.1:{port}"), "Content-Length: 0\r\n", 405),
        ("DELETE", format!("127.0.0.1:{port}"), "", 405),
    ] {
        let request = format!("{method} /v1/status HTTP/1.1\r\nHost: {host}\r\n{more}\r\n");
        let response = TestClient::connect(admin).await.request(request).await;
        assert_eq!(response.status, status, "{method} {host} {more}");
    }
}

fn status_command(socket: &Path, json: bool) -> (Option<i32>, String, String) {
    let mut command = Command::new(binary());
    command.arg("status").arg("--socket").arg(socket);
    if json {
        command.arg("--json");
    }
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test]
async fn the_status_command_asks_the_running_door() {
    let red = TestBackend::start("red").await;
    let (door, folder) = administered(&red, 2).await;
    let socket = folder.path.join("admin.sock");
    let ask = |json| {
        let socket = socket.clone();
        tokio::task::spawn_blocking(move || status_command(&socket, json))
    };
    let (code, out, _) = ask(true).await.unwrap();
    assert_eq!(code, Some(0));
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&json["is_ready"], &json["workers"]), (&true.into(), &2.into()));
    assert!(out.contains("\"serving\""), "{out}");
    let (code, out, _) = ask(false).await.unwrap();
    assert_eq!(code, Some(0));
    assert!(out.contains("red") && out.contains("serving"), "{out}");
    assert!(door.stop().await.success());
    let (code, out, err) = ask(true).await.unwrap();
    assert_eq!((code, &*out), (Some(1), ""));
    assert!(err.contains("no door is running"), "{err}");
}

/// What `tidegate events --json` prints, with these further arguments.
async fn events_command(socket: &Path, more: &[&str]) -> Vec<Value> {
    let mut command = Command::new(binary());
    command.args(["events", "--json", "--socket"]).arg(socket).args(more);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn what_changes_is_an_event_that_a_reader_is_woken_for() {
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        let (door, folder) = administered(&red, workers).await;
        let socket = folder.path.join("admin.sock");
        let kinds = |events: &[Value]| -> Vec<String> {
            events.iter().map(|event| event["event"].as_str().unwrap().to_owned()).collect()
        };
        let told = events_command(&socket, &[]).await;
        assert!(kinds(&told).contains(&"backend_healthy".to_owned()), "{told:?}");
        let joined = told.iter().find(|event| event["event"] == "backend_in_rotation").unwrap();
        assert_eq!((&joined["pool"], &joined["backend"]), (&"app".into(), &"red".into()));
        let last = told.last().unwrap()["sequence"].as_u64().unwrap();
        assert_eq!(last, told.len() as u64);

        // A reader waits for what has not happened yet.
        let path = format!("/v1/events?since={last}&wait_seconds=30");
        let (waited, ()) = tokio::join!(
            within(CEILING * 2, json_over_unix(&socket, &path)),
            red.kill(tests::Death::Fin)
        );
        let first = &waited["events"][0];
        assert_eq!(
            (&first["event"], &first["level"]),
            (&"backend_unhealthy".into(), &"warn".into())
        );
        assert_eq!(first["sequence"], last + 1);
        let behind = format!("{last}");
        let later = events_command(&socket, &["--since", &behind]).await;
        assert_eq!(later[0], *first);

        let (_, metrics) = over_unix(&socket, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let count = "tidegate_events_total{event=\"backend_unhealthy\"} 1\n";
        assert!(metrics.contains(count), "{metrics}");
        let bad = "GET /v1/events?since=x HTTP/1.1\r\nHost: x\r\n\r\n";
        assert_eq!(over_unix(&socket, bad).await.0, 400);
        assert!(door.stop().await.success());
    }
}

#[tokio::test]
async fn a_reader_who_waits_does_not_hold_up_the_end() {
    let red = TestBackend::start("red").await;
    let (door, folder) = administered(&red, 1).await;
    let socket = folder.path.join("admin.sock");
    let next = json_over_unix(&socket, "/v1/events").await["next"].clone();
    let path = format!("/v1/events?since={next}&wait_seconds=60");
    let (waited, ended) =
        tokio::join!(within(CEILING, json_over_unix(&socket, &path)), within(CEILING, door.stop()));
    assert!(ended.success());
    assert!(waited["events"].is_array(), "{waited}");
}

#[tokio::test]
async fn a_reload_that_says_something_else_in_its_body_is_refused() {
    let red = TestBackend::start("red").await;
    let (door, folder) = administered(&red, 1).await;
    let socket = folder.path.join("admin.sock");
    let large = format!("{{\"reason\": \"{}\"}}", "x".repeat(80_000));
    let kinds = [("{", 400), (&*large, 400), ("[]", 422), ("{\"force\": true}", 422)];
    for (body, expected) in kinds.into_iter().chain([("{\"reason\": \"new weights\"}", 200)]) {
        let request = format!(
            "POST /v1/reload HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let (status, text) = over_unix(&socket, &request).await;
        assert_eq!(status, expected, "{text}");
    }
    assert_eq!(door.times("reload_asked"), 1);
    assert!(door.logged("reload_asked").await.contains("new weights"));
}

#[tokio::test]
async fn a_file_that_keeps_whoever_reads_it_waiting_ends_no_later_reload() {
    let red = TestBackend::start("red").await;
    let text = one_pool(&[&red], 1) + "[admin]\nunix = \"admin.sock\"\n";
    let door = TestDoor::checked(&text, &[&red]).await;
    let file = door.folder().join("tidegate.toml");
    fs::remove_file(&file).unwrap();
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &file, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let (code, _, said) = door.reload().await;
    assert!(code != 0 && said.contains("could not be read within 10 s"), "{said}");
    fs::remove_file(&file).unwrap();
    door.configure(&text);
    assert_eq!(door.reload().await.0, 0);
}
