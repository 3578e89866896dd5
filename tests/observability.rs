//! What machines see of a running door: metrics, health, memory.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test, in helpers too

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tests::crowd::{crowd, plain};
use tests::door::{TestFolder, binary, one_pool};
use tests::proc::status;
use tests::{Answer, CEILING, Death, Response, TestBackend, TestClient, TestDoor, within};
use tidegate::telemetry::names;

const WORKERS: [usize; 2] = [1, 4];
const METRICS: &str = "[observe]\nmetrics = { listen = \"127.0.0.1:0\" }\n";

async fn ask(address: SocketAddr, path: &str) -> Response {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    TestClient::connect(address).await.request(request).await
}

/// One scrape: series with their values.
async fn scrape(door: &TestDoor) -> BTreeMap<String, f64> {
    let response = ask(door.metrics_addr(), "/metrics").await;
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
async fn endings_are_counted_each_by_its_own_word() {
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

/// A pool that is scaled, in words only.
const SHADOW: &str = r#"
[pools.burst]
kind = "elastic"
[pools.burst.process]
command = ["true"]
addresses = "127.60.78.0/28"
port = 8080
[scalers.burst]
mode = "shadow"
ceiling = 4
target = { per_instance = 2 }
"#;

#[tokio::test]
async fn names_types_and_labels_are_those_that_are_frozen() {
    let red = TestBackend::start("red").await;
    let blue = TestBackend::start("blue").await;
    let strict = "[pools.app.limits]\nconcurrency = 1000\n[pools.app.outlier]\nconsecutive_5xx = 1\nmax_ejected = \"50%\"\n[pools.app.health]";
    let config = one_pool(&[&red, &blue], 4)
        .replace("[pools.app.health]", strict)
        .replace("name = \"test\"\n", "name = \"test\"\nstate_dir = \"state\"\n")
        + "limits = { concurrency = 1000 }\n"
        + SHADOW
        + METRICS;
    let door = TestDoor::checked(&config, &[&red, &blue]).await;
    // Also what appears with the first failure only: a backend that fails requests and no checks is
    // ejected, one that is dead fails both.
    blue.answer_by(|request| match request.target() {
        "/healthz" => Answer::text("well"),
        _ => Answer::status(500),
    });
    within(CEILING, async {
        while !door.output().contains("backend_ejected") {
            crowd(door.addr("web"), 4, 40, plain).await;
        }
    })
    .await;
    red.kill(Death::Reset).await;
    crowd(door.addr("web"), 4, 40, plain).await;
    let text = ask(door.metrics_addr(), "/metrics").await.text();
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
        let address = door.metrics_addr();
        for path in ["/livez", "/readyz", "/startupz"] {
            assert_eq!(ask(address, path).await.status, 200, "{path}");
        }
        for path in ["/v1/status", "/v1/config", "/"] {
            assert_eq!(ask(address, path).await.status, 404, "{path} is nobody's business");
        }
        red.answer(Answer::text("late").held());
        let mut client = door.client().await;
        client.send(plain(0)).await;
        red.received(1).await;
        door.signal(Signal::TERM);
        within(CEILING, async { while ask(address, "/readyz").await.status == 200 {} }).await;
        assert!(ask(address, "/readyz?verbose").await.text().contains("told to stop"));
        assert_eq!(ask(address, "/livez").await.status, 200);
        red.release();
        assert_eq!(client.read_response().await.text(), "late");
        assert!(door.exited().await.success());
    }
}

#[tokio::test]
async fn memory_does_not_depend_on_being_scraped() {
    let red = TestBackend::start("red").await;
    let folder = TestFolder::new("log");
    let to = format!("file://{}/access.log", folder.path.display());
    let observe = format!("[observe]\naccess_log = {{ to = \"{to}\" }}\n");
    let door = TestDoor::checked(&(one_pool(&[&red], 4) + &observe), &[&red]).await;
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
    let before = status(&door, "VmRSS");
    crowd(door_addr, 16, 30_000, move |number| write(number + 4_000)).await;
    let grown = status(&door, "VmRSS").saturating_sub(before);
    assert!(grown < 2_048, "{grown} KiB more than the {before} KiB before");
}

#[tokio::test]
async fn what_a_request_waits_for_others_is_not_the_time_of_the_backend() {
    for workers in WORKERS {
        let red = TestBackend::start_with("red", Answer::text("red").held()).await;
        let config = one_pool(&[&red], workers)
            .replace("[pools.app]\n", "[pools.app]\nmax_concurrency = 1\n");
        let door = TestDoor::checked(&(config + METRICS), &[&red]).await;
        let (mut first, mut second) = (door.client().await, door.client().await);
        let begun = std::time::Instant::now();
        first.send(plain(0)).await;
        red.received(1).await;
        second.send(plain(1)).await;
        within(CEILING, async {
            while door.metric("tidegate_queue_length{pool=\"app\"}").await == 0.0
                || begun.elapsed().as_millis() < 300
            {}
        })
        .await;
        red.release_all();
        assert_eq!(first.read_response().await.text(), "red");
        assert_eq!(second.read_response().await.text(), "red");
        // The first took nearly all of this time, the second waited for it.
        let all = begun.elapsed().as_secs_f64();
        let scraped = scrape(&door).await;
        let took = sum(&scraped, "tidegate_backend_request_duration_seconds_sum", &[]);
        assert!(took < 1.5 * all, "{took} of {all}");
    }
}

/// The door at debug level, whose standard error is read by a process that can be stopped: the door
/// and the id of that process.
async fn read_by_another(configuration: &str) -> (TestDoor, Pid) {
    let mut shell = Command::new("bash");
    shell.args(["-c", "exec 2> >(exec cat); echo reader $!; exec \"$0\" \"$@\""]).arg(binary());
    let debug = "[observe]\nmetrics = { listen = \"127.0.0.1:0\" }\nlog = { level = \"debug\" }\n";
    let configuration = format!("{configuration}[admin]\nunix = \"admin.sock\"\n{debug}");
    let door = TestDoor::launch_as(shell, &configuration);
    let reader = door.logged("reader ").await;
    let reader = reader.rsplit_once(' ').and_then(|(_, pid)| pid.parse().ok());
    let reader = Pid::from_raw(reader.unwrap()).unwrap();
    (door.ready().await, reader)
}

#[tokio::test]
async fn nobody_waits_for_who_reads_the_log() {
    let backend = TestBackend::start("a").await;
    let (mut door, reader) = read_by_another(&one_pool(&[&backend], 2)).await;
    let address = door.addr("web");
    door.logged("backend_in_rotation").await;
    kill_process(reader, Signal::STOP).unwrap();

    // A line each: more than the pipe and the queue take.
    let lost = "tidegate_log_dropped_total{reason=\"queue_full\"}";
    let full = async {
        while scrape(&door).await.get(lost).is_none_or(|lost| *lost < 1.0) {
            for _ in 0..100 {
                let mut client = TestClient::connect(address).await;
                assert_eq!(client.request("GET / HTTP/1.1\r\n\r\n").await.status, 400);
            }
        }
    };
    within(Duration::from_secs(60), full).await;
    let got = TestClient::connect(address).await.request("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(got.status, 200);
    // Checks and orders go on.
    backend.kill(Death::Fin).await;
    let healthy = "tidegate_backend_healthy";
    let out = async { while sum(&scrape(&door).await, healthy, &[]) > 0.0 {} };
    within(CEILING, out).await;
    assert_eq!(door.ask(&["status"]).await.0, 0);
    // Who reads again hears how many lines there would have been.
    kill_process(reader, Signal::CONT).unwrap();
    door.logged("log_lines_lost").await;

    kill_process(reader, Signal::STOP).unwrap();
    door.signal(Signal::TERM);
    let has_ended = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", door.pid())).unwrap();
        stat.rsplit_once(") ").unwrap().1.starts_with('Z')
    };
    within(CEILING, async {
        while !has_ended() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    kill_process(reader, Signal::CONT).unwrap();
    assert!(door.exited().await.success());
}

#[tokio::test]
async fn silent_clients_keep_nobody_from_asking_whether_a_door_is_ready() {
    let backend = TestBackend::start("a").await;
    let door = TestDoor::checked(&(one_pool(&[&backend], 1) + METRICS), &[&backend]).await;
    let mut silent = Vec::new();
    for _ in 0..80 {
        silent.push(TestClient::connect(door.metrics_addr()).await);
    }
    for _ in 0..3 {
        assert_eq!(ask(door.metrics_addr(), "/readyz").await.status, 200);
    }
    // Those that came last still have their places.
    let request = "GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    assert_eq!(silent.last_mut().unwrap().request(request).await.status, 200);
}
