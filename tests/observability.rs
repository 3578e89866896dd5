//! What can be seen of a running door: metrics, health, access log, admin listeners, memory.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;
use tests::crowd::{crowd, plain};
use tests::door::{TestFolder, binary, one_pool};
use tests::wire::{Body, Framing, Wire};
use tests::{Answer, CEILING, Death, Response, TestBackend, TestClient, TestDoor, within};
use tidegate::telemetry::names;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

const WORKERS: [usize; 2] = [1, 4];
const METRICS: &str = "[observe]\nmetrics = { listen = \"127.0.0.1:0\" }\n";

/// The address in the ready message that follows this word.
fn announced(door: &TestDoor, word: &str) -> SocketAddr {
    let output = door.output();
    let line = output.lines().find(|line| line.starts_with(&format!("{word} http://"))).unwrap();
    let rest = line.split("http://").nth(1).unwrap();
    rest.split('/').next().unwrap().parse().unwrap()
}

async fn ask(address: SocketAddr, path: &str) -> Response {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    TestClient::connect(address).await.request(request).await
}

/// One scrape: series with their values.
async fn scrape(door: &TestDoor) -> BTreeMap<String, f64> {
    let response = ask(announced(door, "metrics"), "/metrics").await;
    assert_eq!(response.status, 200);
    let text = response.text();
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            (series.to_owned(), value.parse().unwrap())
        })
        .collect()
}

/// Of all series of this name that have these labels.
fn sum(scraped: &BTreeMap<String, f64>, name: &str, labels: &[&str]) -> f64 {
    let series = scraped.iter().filter(|(series, _)| {
        series.split('{').next() == Some(name) && labels.iter().all(|label| series.contains(label))
    });
    series.map(|(_, value)| value).sum()
}

/// Scrapes until `count` requests have ended: an answer is there a moment before its request is.
async fn counted(door: &TestDoor, count: f64) -> BTreeMap<String, f64> {
    let all = async {
        loop {
            let scraped = scrape(door).await;
            if sum(&scraped, "tidegate_requests_total", &[]) >= count {
                break scraped;
            }
        }
    };
    within(CEILING, all).await
}

#[tokio::test]
async fn counts_equal_the_requests_sent_while_somebody_scrapes() {
    for workers in WORKERS {
        let (red, blue) = (TestBackend::start("red").await, TestBackend::start("blue").await);
        let config = one_pool(&[&red, &blue], workers) + METRICS;
        let door = TestDoor::checked(&config, &[&red, &blue]).await;
        let load = crowd(door.addr("web"), 16, 3_000, plain);
        let scrapes = async {
            let mut last = 0.0;
            while last < 3_000.0 {
                let scraped = scrape(&door).await;
                let now = sum(&scraped, "tidegate_requests_total", &[]);
                assert!((last..=3_000.0).contains(&now), "{last} became {now}");
                let outcomes = sum(&scraped, "tidegate_request_outcomes_total", &[]);
                assert!(outcomes >= now - 16.0 && outcomes <= now + 16.0, "{outcomes} and {now}");
                last = now;
            }
        };
        let (tally, ()) = tokio::join!(load, within(CEILING * 4, scrapes));
        assert_eq!(tally.values().sum::<usize>(), 3_000);
        let scraped = scrape(&door).await;
        let labels = [
            "listener=\"web\"",
            "route=\"all\"",
            "pool=\"app\"",
            "code_class=\"2xx\"",
            "protocol=\"http/1.1\"",
        ];
        for (name, labels, expected) in [
            ("tidegate_requests_total", &labels[..], 3_000),
            ("tidegate_requests_total", &[], 3_000),
            ("tidegate_request_outcomes_total", &["outcome=\"ok\""], 3_000),
            ("tidegate_request_outcomes_total", &[], 3_000),
            ("tidegate_request_duration_seconds_count", &["route=\"all\""], 3_000),
            ("tidegate_request_duration_seconds_bucket", &["le=\"+Inf\""], 3_000),
            ("tidegate_backend_request_duration_seconds_count", &["pool=\"app\""], 3_000),
            ("tidegate_backend_requests_total", &["backend=\"red\""], red.request_count()),
            ("tidegate_backend_requests_total", &["backend=\"blue\""], blue.request_count()),
            ("tidegate_connections_total", &["listener=\"web\""], 16),
            ("tidegate_requests_in_flight", &[], 0),
            ("tidegate_backend_in_flight", &[], 0),
            ("tidegate_backend_errors_total", &[], 0),
            ("tidegate_retries_total", &[], 0),
            ("tidegate_backend_healthy", &[], 2),
            (
                "tidegate_response_body_bytes_total",
                &[],
                red.request_count() * 3 + blue.request_count() * 4,
            ),
            ("tidegate_request_body_bytes_total", &[], 0),
        ] {
            assert_eq!(sum(&scraped, name, labels), expected as f64, "{name} {labels:?}");
        }
        let connects = sum(&scraped, "tidegate_backend_connect_duration_seconds_count", &[]);
        assert_eq!(connects, (red.connection_count() + blue.connection_count()) as f64);
    }
}

#[tokio::test]
async fn every_kind_of_ending_is_counted_by_its_word() {
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        red.answer_by(|request| match request.target() {
            "/reset" => Answer::reset(),
            "/500" => Answer::status(500),
            "/bad" => Answer::bytes(["HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"]),
            _ => Answer::text("red"),
        });
        let config =
            one_pool(&[&red], workers).replace("path_prefix = \"/\"", "path_regex = \"^/[^n]\"");
        let door = TestDoor::checked(&(config + METRICS), &[&red]).await;
        let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        for (request, times) in [
            (get("/a"), 5),
            (get("/500"), 4),
            (get("/n"), 3),
            (get("/reset"), 2),
            (get("/bad"), 2),
            (get("/a b"), 1),
            ("POST /a HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello".to_owned(), 2),
        ] {
            for _ in 0..times {
                door.client().await.request(&request).await;
            }
        }
        let scraped = counted(&door, 19.0).await;
        for (outcome, expected) in [
            ("ok", 11.0),
            ("no_route", 3.0),
            ("backend_reset", 2.0),
            ("bad_response", 2.0),
            ("bad_request", 1.0),
        ] {
            let label = format!("outcome=\"{outcome}\"");
            assert_eq!(
                sum(&scraped, "tidegate_request_outcomes_total", &[&label]),
                expected,
                "{outcome}"
            );
        }
        for (class, expected) in [("2xx", 7.0), ("4xx", 4.0), ("5xx", 8.0)] {
            let label = format!("code_class=\"{class}\"");
            assert_eq!(sum(&scraped, "tidegate_requests_total", &[&label]), expected, "{class}");
        }
        assert_eq!(sum(&scraped, "tidegate_requests_total", &["protocol=\"http/1.0\""]), 2.0);
        assert_eq!(sum(&scraped, "tidegate_requests_total", &["route=\"-\"", "pool=\"-\""]), 4.0);
        assert_eq!(sum(&scraped, "tidegate_request_body_bytes_total", &[]), 10.0);
        let errors = |reason: &str| sum(&scraped, "tidegate_backend_errors_total", &[reason]);
        assert_eq!(errors("reason=\"bad_response\""), 2.0);
        assert!(errors("reason=\"reset\"") >= 2.0);
    }
}

/// The rows of `docs/metrics.md`: name, type, labels.
fn documented() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let page = include_str!("../docs/metrics.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let labels =
            cells[2].split(", ").filter_map(|cell| cell.strip_prefix('`')?.strip_suffix('`'));
        let name = cells[0].trim_end_matches('`').to_owned();
        (name, (cells[1].to_owned(), labels.map(str::to_owned).collect()))
    })
    .collect()
}

#[tokio::test]
async fn names_types_and_labels_are_those_that_are_frozen() {
    let red = TestBackend::start("red").await;
    let blue = TestBackend::start("blue").await;
    let config = one_pool(&[&red, &blue], 4) + METRICS;
    let door = TestDoor::checked(&config, &[&red, &blue]).await;
    // Also what appears with the first failure only.
    blue.kill(Death::Reset).await;
    crowd(door.addr("web"), 4, 40, plain).await;
    let text = ask(announced(&door, "metrics"), "/metrics").await.text();
    let mut found = BTreeMap::new();
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    for line in types {
        let (name, kind) = line.split_once(' ').unwrap();
        assert!(text.contains(&format!("# HELP {name} ")), "`{name}` has no help");
        let again = found.insert(name.to_owned(), (kind.to_owned(), BTreeSet::new()));
        assert!(again.is_none(), "`{name}` comes twice");
    }
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let (series, labels) =
            line.split_once('{').unwrap_or((line.split(' ').next().unwrap(), ""));
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| {
            series.strip_suffix(suffix).filter(|base| found.contains_key(*base))
        });
        let entry = found.get_mut(family.unwrap_or(series));
        let (_, known) = entry.unwrap_or_else(|| panic!("`{series}` has no type"));
        for label in labels.split("\",").filter_map(|pair| pair.split_once("=\"")) {
            if label.0 != "le" {
                known.insert(label.0.to_owned());
            }
        }
    }
    let expected = documented();
    assert_eq!(expected.len(), names::ALL.len());
    for (name, (kind, labels)) in &expected {
        let (found_kind, found_labels) = found.get(name).unwrap_or_else(|| panic!("no `{name}`"));
        assert_eq!((kind, labels), (found_kind, found_labels), "{name}");
    }
    let unknown: Vec<_> = found.keys().filter(|name| !expected.contains_key(*name)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[tokio::test]
async fn a_door_on_its_way_out_lives_and_is_not_ready() {
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        let config = one_pool(&[&red], workers) + METRICS;
        let mut door = TestDoor::checked(&config, &[&red]).await;
        let metrics = announced(&door, "metrics");
        for path in ["/livez", "/readyz", "/startupz"] {
            assert_eq!(ask(metrics, path).await.status, 200, "{path}");
        }
        for path in ["/v1/status", "/v1/config", "/"] {
            assert_eq!(ask(metrics, path).await.status, 404, "{path} is nobody's business");
        }
        red.answer(Answer::text("late").held());
        let mut client = door.client().await;
        client.send(plain(0)).await;
        red.received(1).await;
        door.signal(Signal::TERM);
        within(CEILING, async { while ask(metrics, "/readyz").await.status == 200 {} }).await;
        assert!(ask(metrics, "/readyz?verbose").await.text().contains("told to stop"));
        assert_eq!(ask(metrics, "/livez").await.status, 200);
        red.release();
        assert_eq!(client.read_response().await.text(), "late");
        assert!(door.exited().await.success());
    }
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
    }
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
        let dropped = async {
            loop {
                let scraped = scrape(&door).await;
                let name = "tidegate_access_log_dropped_total";
                if sum(&scraped, name, &["reason=\"write_failed\""]) == 500.0 {
                    break;
                }
            }
        };
        within(CEILING, dropped).await;
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
        let scraped = counted(&door, count as f64).await;
        assert!(sum(&scraped, "tidegate_access_log_dropped_total", &[]) > 0.0);
        assert!(door.stop().await.success());
        drop(reader);
    }
}

#[tokio::test]
async fn a_pipe_without_a_reader_does_not_keep_a_door_from_starting_or_refuses_at_once() {
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

/// One request over the Unix socket.
async fn over_unix(socket: &Path, request: &str) -> (u16, String) {
    let stream = UnixStream::connect(socket).await.unwrap();
    let mut wire = Wire::new(stream);
    wire.stream.write_all(request.as_bytes()).await.unwrap();
    let head = within(CEILING, wire.head()).await.unwrap().unwrap();
    let status = head.start.split(' ').nth(1).unwrap().parse().unwrap();
    let mut body = Body::default();
    let framing = head.framing().unwrap().unwrap_or(Framing::UntilClose);
    within(CEILING, wire.body(framing, &mut body)).await.unwrap();
    (status, body.text())
}

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
    let admin = announced(&door, "admin");
    assert_eq!(ask(admin, "/v1/status").await.status, 200);
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

/// Resident memory in KiB, as the kernel counts it.
fn resident(door: &TestDoor) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", door.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test]
async fn memory_does_not_depend_on_being_scraped() {
    let red = TestBackend::start("red").await;
    let (door, _folder) = logging(&red, 4, "json").await;
    let door_addr = door.addr("web");
    // Paths, hosts and agents that never come twice, so that whatever kept them would show.
    let write = |number: usize| {
        format!(
            "GET /{number} HTTP/1.1\r\nHost: h{number}.example\r\nUser-Agent: u{number}\r\n\r\n"
        )
    };
    crowd(door_addr, 16, 4_000, write).await;
    // What is allotted once is in use then: each worker's ring has come round.
    let long = |_| format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "p".repeat(6_000));
    crowd(door_addr, 16, 2_000, long).await;
    let before = resident(&door);
    crowd(door_addr, 16, 30_000, move |number| write(number + 4_000)).await;
    let grown = resident(&door).saturating_sub(before);
    assert!(grown < 2_048, "{grown} KiB more than the {before} KiB before");
}
