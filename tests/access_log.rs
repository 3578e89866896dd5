//! The access log: what its lines say, and that it never costs a request.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test, in helpers too

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;
use tests::crowd::{crowd, plain};
use tests::door::{TestFolder, one_pool};
use tests::{Answer, CEILING, TestBackend, TestDoor, within};

const WORKERS: [usize; 2] = [1, 4];
const METRICS: &str = "[observe]\nmetrics = { listen = \"127.0.0.1:0\" }\n";

/// Lines that were lost, for this reason.
async fn dropped(door: &TestDoor, reason: &str) -> u64 {
    let text = door.metrics().await;
    let series = format!("tidegate_access_log_dropped_total{{reason=\"{reason}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&series)).map_or(0, |n| n.parse().unwrap())
}

/// The lines of a file, once there are `count`.
async fn lines(file: &Path, count: usize) -> Vec<String> {
    let whole = async {
        loop {
            let text = String::from_utf8(fs::read(file).unwrap_or_default()).unwrap();
            if text.matches('\n').count() >= count {
                break text.lines().map(str::to_owned).collect();
            }
            tokio::task::yield_now().await;
        }
    };
    within(CEILING, whole).await
}

/// A door with an access log in its folder.
async fn logging(red: &TestBackend, workers: usize, format: &str) -> (TestDoor, TestFolder) {
    let folder = TestFolder::new("log");
    let to = format!("file://{}/access.log", folder.path.display());
    let observe = format!("[observe]\naccess_log = {{ to = \"{to}\", format = \"{format}\" }}\n");
    let door = TestDoor::checked(&(one_pool(&[red], workers) + &observe), &[red]).await;
    (door, folder)
}

const NASTY: &str = "GET /a%22b?token=secret&x=%0A%22 HTTP/1.1\r\nHost: x\r\n\
    User-Agent: \"quoted\" \\ back\tslash \u{e9}\r\n\
    Referer: http://a/?password=secret&b=1\r\n\r\n";

#[tokio::test]
async fn lines_of_json_are_json_whatever_a_client_sends() {
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        let (door, folder) = logging(&red, workers, "json").await;
        door.client().await.request(NASTY).await;
        door.client().await.request("GET /\u{1}\r\n\r\n").await;
        door.client().await.request("POST /b HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc").await;
        let all = lines(&folder.path.join("access.log"), 3).await;
        assert_eq!(all.len(), 3);
        let all: Vec<Value> = all.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        let of = |outcome: &str, method: &str| {
            all.iter().find(|line| line["outcome"] == outcome && line["method"] == method).unwrap()
        };
        let nasty = of("ok", "GET");
        assert_eq!(nasty["path"], "/a%22b");
        assert!(!nasty.to_string().contains("secret"), "{nasty}");
        assert_eq!(nasty["user_agent"], "\"quoted\" \\ back\tslash \u{e9}");
        for (key, expected) in [
            ("listener", "web"),
            ("route", "all"),
            ("pool", "app"),
            ("backend", "red"),
            ("client", "127.0.0.1"),
            ("host", "x"),
            ("protocol", "HTTP/1.1"),
        ] {
            assert_eq!(nasty[key], expected, "{key}");
        }
        let id = nasty["request_id"].as_str().unwrap();
        assert_eq!(red.request(0).field("x-request-id").as_deref(), Some(id));
        assert_eq!((&nasty["status"], &nasty["bytes_out"]), (&200.into(), &3.into()));
        assert!(nasty["t_total_ms"].as_f64().unwrap() > 0.0);
        let post = of("ok", "POST");
        assert_eq!((&post["bytes_in"], &post["protocol"]), (&3.into(), &"HTTP/1.0".into()));
        assert_eq!(of("bad_request", "")["status"], 400);
        assert!(nasty.get("reason").is_none() && post.get("reason").is_none());
    }
}

#[tokio::test]
async fn a_line_says_why_a_request_or_an_answer_was_refused() {
    let red = TestBackend::start("red").await;
    let (door, folder) = logging(&red, 1, "json").await;
    let requests = [
        ("GET / HTTP/1.1\r\n\r\n", "bad_request", "host_missing"),
        ("get / HTTP/1.1\r\nHost: x\r\n\r\n", "bad_request", "method"),
        ("GET / HTTP/1.2\r\nHost: x\r\n\r\n", "version_refused", "version_unsupported"),
        ("GET /%2f HTTP/1.1\r\nHost: x\r\n\r\n", "bad_request", "path_encoded_slash"),
        ("GET / HTTP/1.1\r\nHost: a..b\r\n\r\n", "bad_request", "host_empty_label"),
        ("OPTIONS / HTTP/1.1\r\nHost: x\r\nMax-Forwards: a\r\n\r\n", "bad_request", "max_forwards"),
        (
            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nz\r\n",
            "client_body_broken",
            "chunk_size",
        ),
    ];
    for (request, _, _) in requests {
        door.client().await.request(request).await;
    }
    let answers: [(&[u8], &str, &str); 3] = [
        (b"HTTP/1.1 200 OK\r\nContent-Length: a\r\n\r\n", "bad_response", "content_length"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nz\r\n",
            "bad_response",
            "chunk_size",
        ),
        (
            b"HTTP/1.1 101 A\r\nConnection: upgrade\r\nUpgrade: a\r\n\r\n",
            "bad_response",
            "unasked_upgrade",
        ),
    ];
    for (answer, _, _) in answers {
        red.answer_next(Answer::bytes([answer]));
        assert_eq!(door.client().await.get("/").await.status, 502);
    }
    // One that is fine takes nothing over from those before it.
    assert_eq!(door.client().await.get("/").await.status, 200);
    let all = lines(&folder.path.join("access.log"), 11).await;
    let all: Vec<Value> = all.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let requests = requests.iter().map(|(_, outcome, reason)| (*outcome, *reason));
    let expected = requests.chain(answers.iter().map(|(_, outcome, reason)| (*outcome, *reason)));
    for (line, (outcome, reason)) in all.iter().zip(expected) {
        assert_eq!(
            (&line["outcome"], &line["reason"]),
            (&outcome.into(), &reason.into()),
            "{line}"
        );
    }
    assert_eq!((&all[10]["outcome"], all[10].get("reason")), (&"ok".into(), None));
}

#[tokio::test]
async fn lines_of_the_old_formats_can_be_cut_into_their_fields() {
    for (format, fields) in [("clf", 7), ("combined", 9)] {
        let red = TestBackend::start("red").await;
        let (door, folder) = logging(&red, 4, format).await;
        door.client().await.request(NASTY).await;
        let all = lines(&folder.path.join("access.log"), 1).await;
        let cut = cut(&all[0]);
        assert_eq!(cut.len(), fields, "{cut:?}");
        assert_eq!((&*cut[0], &*cut[1], &*cut[2]), ("127.0.0.1", "-", "-"));
        // 21/Nov/2026:10:27:13 +0000
        assert_eq!(cut[3].len(), 26, "{}", cut[3]);
        assert!(cut[4].starts_with("GET /a%22b?") && cut[4].ends_with(" HTTP/1.1"), "{}", cut[4]);
        assert_eq!((&*cut[5], &*cut[6]), ("200", "3"));
        assert!(!all[0].contains("secret"));
        if format == "combined" {
            assert!(cut[7].starts_with("http://a/?password="), "{}", cut[7]);
            assert!(cut[8].starts_with("\\\"quoted\\\""), "{}", cut[8]);
        }
    }
}

/// Fields between spaces, or in `[]` or `""`, where a backslash takes away the meaning of a quote.
fn cut(line: &str) -> Vec<String> {
    let mut fields = Vec::new();
    let mut rest = line;
    while !rest.is_empty() {
        let (close, start) = match rest.as_bytes()[0] {
            b'[' => (']', 1),
            b'"' => ('"', 1),
            _ => (' ', 0),
        };
        let mut is_escaped = false;
        let end = rest[start..].find(|c: char| {
            let ends = c == close && !is_escaped;
            is_escaped = c == '\\' && !is_escaped;
            ends
        });
        let end = end.map_or(rest.len(), |end| end + start);
        fields.push(rest[start..end].to_owned());
        rest = rest.get(end + start..).unwrap_or_default().trim_start_matches(' ');
    }
    fields
}

#[tokio::test]
async fn a_rotated_file_is_opened_again_and_no_line_is_lost() {
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        let (door, folder) = logging(&red, workers, "json").await;
        let file = folder.path.join("access.log");
        let old = folder.path.join("access.log.1");
        crowd(door.addr("web"), 8, 200, plain).await;
        lines(&file, 200).await;
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
        fs::rename(&file, &old).unwrap();
        crowd(door.addr("web"), 8, 100, plain).await;
        door.signal(Signal::USR1);
        let opened = async {
            while !file.exists() {
                tokio::task::yield_now().await;
            }
        };
        within(CEILING, opened).await;
        crowd(door.addr("web"), 8, 200, plain).await;
        // Those in between may be in either.
        let count = |file: &Path| fs::read_to_string(file).unwrap().lines().count();
        let all = async {
            while count(&old) + count(&file) < 500 {
                tokio::task::yield_now().await;
            }
        };
        within(CEILING, all).await;
        assert_eq!(count(&old) + count(&file), 500);
        assert!(count(&file) >= 200);
    }
}

#[tokio::test]
async fn a_full_disk_costs_lines_and_no_request() {
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        let observe = format!("{METRICS}access_log = {{ to = \"file:///dev/full\" }}\n");
        let door = TestDoor::checked(&(one_pool(&[&red], workers) + &observe), &[&red]).await;
        assert_eq!(crowd(door.addr("web"), 8, 500, plain).await["red"], 500);
        within(CEILING, async { while dropped(&door, "write_failed").await < 500 {} }).await;
        assert_eq!(dropped(&door, "write_failed").await, 500);
        assert!(door.stop().await.success());
    }
}

#[tokio::test]
async fn a_log_that_nobody_reads_costs_lines_and_no_request() {
    for workers in WORKERS {
        let folder = TestFolder::new("fifo");
        let fifo = folder.path.join("access.fifo");
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        // Opened both ways, so that the pipe has a reader, who never reads.
        let reader = fs::File::options().read(true).write(true).open(&fifo).unwrap();
        let red = TestBackend::start("red").await;
        let to = format!("access_log = {{ to = \"file://{}\" }}\n", fifo.display());
        let config = one_pool(&[&red], workers) + METRICS + &to;
        let door = TestDoor::checked(&config, &[&red]).await;
        // Much more than a pipe and the rings of four workers hold.
        let count = 2_000;
        let long = |_| format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "p".repeat(6_000));
        assert_eq!(crowd(door.addr("web"), 16, count, long).await["red"], count);
        within(CEILING, async { while dropped(&door, "ring_full").await == 0 {} }).await;
        assert!(door.stop().await.success());
        drop(reader);
    }
}

#[tokio::test]
async fn a_pipe_without_a_reader_is_refused_at_once() {
    let folder = TestFolder::new("fifo");
    let fifo = folder.path.join("access.fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let red = TestBackend::start("red").await;
    let to = format!("[observe]\naccess_log = {{ to = \"file://{}\" }}\n", fifo.display());
    let mut door = TestDoor::launch(&(one_pool(&[&red], 1) + &to));
    // Waiting for ever would be the one wrong thing to do.
    assert_eq!(door.exited().await.code(), Some(1));
    assert!(door.output().contains("access.fifo"), "{}", door.output());
}
