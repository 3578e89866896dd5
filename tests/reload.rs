//! Another configuration for a door that runs: whole or not at all, and nobody notices.
//!
//! `TIDEGATE_DRILL=1` runs the long forms (`make drills`).

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test, in helpers too

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tests::backend::EVENT;
use tests::crowd::plain;
use tests::drill::{is_drill, rounds, tell};
use tests::load::{Load, Manner, plain_backend};
use tests::proc::status;
use tests::{Answer, CEILING, End, TestBackend, TestClient, TestDoor, within};
use tokio::net::TcpStream;

const WORKERS: [usize; 2] = [1, 4];

/// Where a door listens that is not there yet: on an address of loopback that no other process of
/// tests has, since a port that is free now may be somebody's by then.
fn own_address(port: u16) -> SocketAddr {
    let [.., high, low] = std::process::id().to_be_bytes();
    SocketAddr::from(([127, 77, high, low], port))
}

struct Setup<'a> {
    workers: usize,
    /// Name and addresses.
    listeners: &'a [(&'a str, String)],
    /// Entries of `backends`.
    backends: &'a [String],
    /// Appended.
    more: &'a str,
}

impl Setup<'_> {
    fn text(&self) -> String {
        let listener =
            |(name, bind): &(&str, String)| format!("[listeners.{name}]\nbind = [{bind}]\n");
        let listeners: String = self.listeners.iter().map(listener).collect();
        format!(
            "schema = 1\nworkers = {}\n[site]\nname = \"test\"\n{listeners}\
             [admin]\nunix = \"admin.sock\"\n\
             [pools.app]\nbackends = [{}]\n[pools.app.health]\npath = \"/healthz\"\n\
             interval = \"50ms\"\nhealthy_after = 1\n{}",
            self.workers,
            self.backends.join(", "),
            self.more
        )
    }
}

const ALL: &str =
    "[[routes]]\nname = \"all\"\nmatch = { path_prefix = \"/\" }\nto = { pool = \"app\" }\n";

const METRICS: &str = "[observe.metrics]\nlisten = \"127.0.0.1:0\"\n";

fn entry(id: &str, address: SocketAddr) -> String {
    format!("{{ id = \"{id}\", address = \"{address}\" }}")
}

fn web(address: &str) -> [(&'static str, String); 1] {
    [("web", format!("\"{address}\""))]
}

/// A door with one listener on a free port, in front of these, and all of them take requests.
async fn door(workers: usize, backends: &[String]) -> TestDoor {
    let listeners = web("127.0.0.1:0");
    let setup = Setup { workers, listeners: &listeners, backends, more: ALL };
    let door = TestDoor::start(&setup.text()).await;
    for backend in backends {
        let id = backend.split('"').nth(1).unwrap();
        door.logged(&format!("backend_in_rotation pool=app backend={id}")).await;
    }
    door
}

/// Reloads, which must go well, and returns what was printed.
async fn reload(door: &TestDoor, configuration: &str) -> String {
    door.configure(configuration);
    let (code, out, err) = door.reload().await;
    assert_eq!(code, 0, "{out}{err}");
    out
}

/// Round `n` of the changes: another weight, a member more or less, another route and timeout.
fn variation(n: usize, workers: usize, addr: SocketAddr, all: &[SocketAddr]) -> String {
    let mut backends =
        vec![format!("{{ id = \"stays\", address = \"{}\", weight = {} }}", all[0], 1 + n % 5)];
    if n.is_multiple_of(2) {
        backends.push(entry("second", all[1]));
    }
    if !n.is_multiple_of(3) {
        backends.push(entry("third", all[2]));
    }
    let extra = format!(
        "[[routes]]\nname = \"extra-{}\"\nmatch = {{ path_prefix = \"/extra/{n}\" }}\n\
         to = {{ pool = \"app\" }}\n[routes.timeouts]\ntotal = \"{}s\"\n",
        n % 7,
        10 + n
    );
    let more = if n.is_multiple_of(4) { ALL.to_owned() } else { extra + ALL };
    Setup { workers, listeners: &web(&addr.to_string()), backends: &backends, more: &more }.text()
}

/// The configuration that the streams were opened under: their pool is gone after the first reload.
fn with_streams(workers: usize, special: SocketAddr, all: &[SocketAddr]) -> String {
    let streams = format!(
        "[pools.special]\nbackends = [{}]\n[pools.special.health]\npath = \"/healthz\"\n\
         interval = \"50ms\"\nhealthy_after = 1\n[[routes]]\nname = \"special\"\n\
         match = {{ path_prefix = \"/special/\" }}\nto = {{ pool = \"special\" }}\n",
        entry("special", special)
    );
    let backends = [entry("stays", all[0]), entry("second", all[1])];
    let more = streams + ALL;
    Setup { workers, listeners: &web("127.0.0.1:0"), backends: &backends, more: &more }.text()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reloads_under_load_cost_no_request_and_cut_no_stream() {
    let (count, each) = (rounds(12, 100), rounds(20, 600));
    for workers in WORKERS {
        let special = TestBackend::streaming(count).await;
        let all: Vec<SocketAddr> = (0..3).map(|_| plain_backend()).collect();
        let door = TestDoor::start(&with_streams(workers, special.addr(), &all)).await;
        for backend in ["app backend=stays", "app backend=second", "special backend=special"] {
            door.logged(&format!("backend_in_rotation pool={backend}")).await;
        }
        let addr = door.addr("web");
        let mut events = door.client().await;
        events.send("GET /special/events HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert_eq!(events.read_head().await.start, "HTTP/1.1 200 OK");
        let mut socket = door.client().await;
        let chat = "GET /special/chat HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n\
            Upgrade: websocket\r\n\r\n";
        assert_eq!(socket.request(chat).await.status, 101);

        let kept = Load::start(addr, 8, Manner::Kept, Duration::ZERO);
        let fresh = Load::start(addr, 4, Manner::Fresh, Duration::ZERO);
        for n in 1..=count {
            let out = reload(&door, &variation(n, workers, addr, &all)).await;
            assert!(out.contains(&format!("configuration {} runs", n + 1)), "{out}");
            kept.goes_on(each).await;
            fresh.goes_on(10).await;
            let word = format!("round {n};");
            socket.send(&word).await;
            assert_eq!(socket.read_exact(word.len()).await, word.as_bytes());
            special.release();
            assert_eq!(events.read_exact(EVENT.len()).await, EVENT);
        }
        kept.none_failed(count * each).await;
        fresh.none_failed(count * 10).await;
        assert_eq!(events.read_exact(5).await, b"0\r\n\r\n");
    }
}

/// Nothing of them is new but their names, or nobody has asked them yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_names_and_other_backends_cost_no_request() {
    for workers in WORKERS {
        let all: Vec<SocketAddr> = (0..4).map(|_| plain_backend()).collect();
        let first = [entry("a", all[0]), entry("b", all[1])];
        let door = door(workers, &first).await;
        let addr = door.addr("web");
        let listeners = web(&addr.to_string());
        let text = |backends: &[String]| {
            Setup { workers, listeners: &listeners, backends, more: ALL }.text()
        };
        let renamed = |text: String| {
            text.replace("pools.app", "pools.site").replace("pool = \"app\"", "pool = \"site\"")
        };
        let load = Load::start(addr, 8, Manner::Kept, Duration::ZERO);
        let others = [entry("a", all[2]), entry("b", all[3])];
        let names = [entry("c", all[2]), entry("d", all[3])];
        for text in [renamed(text(&first)), text(&first), text(&others), text(&names)] {
            load.goes_on(50).await;
            reload(&door, &text).await;
        }
        load.goes_on(50).await;
        load.none_failed(250).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_a_pool_that_goes_takes_the_way_of_the_new_configuration() {
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        let blue = TestBackend::start("blue").await;
        let capped = |backend: &TestBackend| {
            let entry = entry(backend.name(), backend.addr());
            [entry.replace(" }", ", max_concurrency = 1 }")]
        };
        let (listeners, backends) = (web("127.0.0.1:0"), capped(&red));
        let text = |listeners: &[(&str, String)], backends: &[String]| {
            let more = format!("{ALL}{METRICS}");
            Setup { workers, listeners, backends, more: &more }.text()
        };
        let door = TestDoor::start(&text(&listeners, &backends)).await;
        door.logged("backend_in_rotation").await;
        red.answer(Answer::text("red").held());
        let (mut running, mut waiting) = (door.client().await, door.client().await);
        running.send(plain(0)).await;
        red.received(1).await;
        waiting.send(plain(0)).await;
        let waiting_now = "tidegate_queue_length{pool=\"app\"}";
        within(CEILING, async { while door.metric(waiting_now).await != 1.0 {} }).await;
        let text = text(&web(&door.addr("web").to_string()), &capped(&blue));
        let text = text.replace("pools.app", "pools.new").replace("\"app\"", "\"new\"");
        reload(&door, &text).await;
        assert_eq!(waiting.read_response().await.text(), "blue");
        red.release();
        assert_eq!(running.read_response().await.text(), "red");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_is_not_well_is_not_waited_for_beyond_its_first_checks() {
    let red = TestBackend::start("red").await;
    red.answer_probes("/healthz", 500);
    let listeners = web("127.0.0.1:0");
    let backends = [entry("red", red.addr())];
    let setup = Setup { workers: 1, listeners: &listeners, backends: &backends, more: ALL };
    let door = TestDoor::start(&setup.text()).await;
    assert_eq!(door.client().await.get("/").await.status, 503);
    door.logged("backend_unhealthy").await;
    let begun = Instant::now();
    assert_eq!(door.client().await.get("/").await.status, 503);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_file_changes_nothing_and_says_why() {
    for workers in WORKERS {
        let backends = [entry("a", plain_backend())];
        let door = door(workers, &backends).await;
        let addr = door.addr("web");
        let load = Load::start(addr, 4, Manner::Kept, Duration::ZERO);
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = taken.local_addr().unwrap().to_string();
        let listeners = web(&addr.to_string());
        let good = Setup { workers, listeners: &listeners, backends: &backends, more: ALL }.text();
        let also = format!("[listeners.also]\nbind = [\"{taken}\"]\n[admin]");
        for (text, code, words) in [
            ("schema = 1\n[listeners.web\n".to_owned(), 78, vec!["error[TG0103]"]),
            // All problems at once.
            (
                good.replace("prefix", "prefx").replace("bind", "bnid"),
                78,
                vec!["`path_prefx`", "`bnid`"],
            ),
            (good.replace("[admin]", &also), 1, vec!["listener `also`", "is in use"]),
            // A mistyped key may be that of a secret, and the answer is kept in logs.
            (
                good.clone() + "tokne = \"horse\"\n[observe]\npasswd = \"horse\"\n",
                78,
                vec!["`tokne`", "tokne = ***", "`passwd`"],
            ),
            (
                good.clone() + "[observe]\naccess_log = { to = \"file:///nowhere/at/all.log\" }\n",
                1,
                vec!["/nowhere/at/all.log"],
            ),
        ] {
            door.configure(&text);
            let (status, out, err) = door.reload().await;
            assert_eq!(status, code, "{out}{err}");
            for word in words {
                assert!(err.contains(word), "{word} in {err}");
            }
            assert!(err.ends_with("nothing was changed\n"), "{err}");
            assert!(!err.contains("horse"), "{err}");
            load.goes_on(20).await;
        }
        fs::remove_file(door.folder().join("tidegate.toml")).unwrap();
        assert_eq!(door.reload().await.0, 78);
        // The same by signal.
        door.signal(Signal::HUP);
        door.logged("the configuration stays as it was").await;
        assert!(door.output().contains("reload_failed"), "{}", door.output());
        assert!(!door.output().contains("horse"), "{}", door.output());
        load.goes_on(20).await;
        load.none_failed(100).await;
        assert!(reload(&door, &good).await.ends_with("configuration 2 runs\n"));
        let again = reload(&door, &good).await;
        assert_eq!(again, "reloaded, nothing differs: configuration 3 runs\n");
    }
}

#[tokio::test]
async fn a_signal_reloads_as_well() {
    let red = TestBackend::start("red").await;
    let door = door(1, &[entry("red", red.addr())]).await;
    let listeners = web(&door.addr("web").to_string());
    let more = "[[routes]]\nname = \"own\"\nmatch = { path = \"/\" }\nrespond = { status = 200, body = \"new\" }\n";
    let backends = [entry("red", red.addr())];
    door.configure(&Setup { workers: 1, listeners: &listeners, backends: &backends, more }.text());
    door.signal(Signal::HUP);
    door.logged("config_reloaded").await;
    assert_eq!(door.client().await.get("/").await.text(), "new");
}

#[tokio::test]
async fn listeners_come_and_go_and_what_waits_in_a_queue_is_served() {
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        let backends = [entry("red", red.addr())];
        let door = door(workers, &backends).await;
        let port = 8080 + 2 * u16::try_from(workers).unwrap();
        let (old, new) = (door.addr("web"), own_address(port));
        let text = |listeners: &[(&str, String)]| {
            Setup { workers, listeners, backends: &backends, more: ALL }.text()
        };
        // A second address for the first listener, and a second listener in front of it.
        let second = own_address(port + 1);
        let out = reload(
            &door,
            &text(&[("inner", format!("\"{new}\"")), ("web", format!("\"{old}\", \"{second}\""))]),
        )
        .await;
        assert!(out.contains("added [listeners.inner]"), "{out}");
        for addr in [old, new, second] {
            assert_eq!(TestClient::connect(addr).await.get("/").await.text(), "red");
        }
        let mut kept = TestClient::connect(old).await;
        assert_eq!(kept.get("/").await.text(), "red");
        red.answer(Answer::text("late").held());
        let mut running = TestClient::connect(old).await;
        running.send(plain(0)).await;
        red.received(5).await;

        // The first one goes while clients wait in its queues: a stopped process accepts nothing.
        door.signal(Signal::STOP);
        let mut waiting = Vec::new();
        for _ in 0..40 {
            let mut client = TestClient::connect(old).await;
            client.send(plain(0)).await;
            waiting.push(client);
        }
        door.configure(&text(&[("inner", format!("\"{new}\""))]));
        door.signal(Signal::HUP);
        door.signal(Signal::CONT);
        door.logged("generation=3").await;
        let refused = async {
            while TcpStream::connect(old).await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        within(CEILING, refused).await;
        red.release_all();
        for client in waiting.iter_mut().chain([&mut running]) {
            assert_eq!(client.read_response().await.text(), "late");
        }
        // What was open may still ask, and is told that this was the last time.
        let last = kept.get("/").await;
        assert_eq!(last.field("connection").as_deref(), Some("close"));
        assert_eq!(kept.ended().await, End::Fin);
        assert_eq!(TestClient::connect(new).await.get("/").await.text(), "late");
        // And it can come back.
        reload(&door, &text(&[("web", format!("\"{old}\""))])).await;
        assert_eq!(TestClient::connect(old).await.get("/").await.text(), "late");
    }
}

/// A client that was silent during the reload included.
#[tokio::test]
async fn limits_of_heads_hold_for_the_next_request_of_a_connection() {
    let red = TestBackend::start("red").await;
    let backends = [entry("red", red.addr())];
    let door = door(1, &backends).await;
    let mut kept = door.client().await;
    let long = format!("/{}", "a".repeat(100));
    assert_eq!(kept.get(&long).await.status, 200);
    let listeners = &web(&door.addr("web").to_string());
    let text = Setup { workers: 1, listeners, backends: &backends, more: ALL }.text();
    reload(&door, &text.replace("bind = ", "max_uri = \"64B\"\nbind = ")).await;
    assert_eq!(kept.get(&long).await.status, 414);
}

#[tokio::test]
async fn what_needs_a_restart_is_named_and_the_rest_holds() {
    let red = TestBackend::start("red").await;
    let backends = [entry("red", red.addr())];
    let door = door(1, &backends).await;
    let listeners = web(&door.addr("web").to_string());
    let text = Setup { workers: 2, listeners: &listeners, backends: &backends, more: ALL }.text();
    let text = text.replace("name = \"test\"", "name = \"other\"").replace("admin.sock", "b.sock");
    let out = reload(&door, &text).await;
    for words in [
        "changed the top of the file\n  - workers = 1\n  + workers = 2\n",
        "needs a restart: `site.name` stays `test` until a restart; the file says `other`\n",
        "needs a restart: `admin.unix` stays `admin.sock`",
    ] {
        assert!(out.contains(words), "{words} in\n{out}");
    }
    let head = door.client().await.get("/").await.head;
    assert_eq!(head.field("via").as_deref(), Some("1.1 test"));
}

#[tokio::test]
async fn the_access_log_moves_to_another_file() {
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        let backends = [entry("red", red.addr())];
        let door = door(workers, &backends).await;
        let listeners = web(&door.addr("web").to_string());
        for name in ["one.log", "two.log"] {
            let path = door.folder().join(name);
            let log = format!("[observe]\naccess_log = {{ to = \"file://{}\" }}\n", path.display());
            let more = log + ALL;
            let setup = Setup { workers, listeners: &listeners, backends: &backends, more: &more };
            reload(&door, &setup.text()).await;
            for _ in 0..20 {
                assert_eq!(door.client().await.get("/").await.text(), "red");
            }
            let written = async {
                while fs::read_to_string(&path).unwrap_or_default().lines().count() < 20 {
                    tokio::task::yield_now().await;
                }
            };
            within(CEILING, written).await;
        }
        let first = fs::read_to_string(door.folder().join("one.log")).unwrap();
        assert_eq!(first.lines().count(), 20);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_number_of_workers_changes_without_a_refused_connection() {
    let backends = [entry("a", plain_backend())];
    let door = door(1, &backends).await;
    let addr = door.addr("web");
    let listeners = web(&addr.to_string());
    let fresh = Load::start(addr, 8, Manner::Fresh, Duration::ZERO);
    let kept = Load::start(addr, 8, Manner::Kept, Duration::from_millis(20));
    let threads = || fs::read_dir(format!("/proc/{}/task", door.pid())).unwrap().count();
    let begun = Instant::now();
    for workers in [4, 1, 3, 2, 4, 1].into_iter().cycle().take(rounds(6, 20)) {
        let setup = Setup { workers, listeners: &listeners, backends: &backends, more: ALL };
        reload(&door, &setup.text()).await;
        fresh.goes_on(rounds(60, 2_000)).await;
        kept.goes_on(20).await;
    }
    let rate = fresh.answered() as f64 / begun.elapsed().as_secs_f64();
    tell(&format!("changes of `workers` under {rate:.0} new connections/s"));
    // On a machine that does nothing else.
    assert!(rate >= 2_000.0 || !is_drill(), "{rate:.0} new connections/s are no load");
    fresh.none_failed(rounds(360, 40_000)).await;
    kept.none_failed(120).await;
    let setup = Setup { workers: 1, listeners: &listeners, backends: &backends, more: ALL };
    reload(&door, &setup.text()).await;
    // Those that were too many end with their last connection. One worker is left, with who gives
    // orders, writes the log and reads files.
    let gone = async {
        while threads() > 4 {
            tokio::task::yield_now().await;
        }
    };
    within(CEILING, gone).await;
}

#[tokio::test]
async fn old_generations_are_freed() {
    let backends = [entry("a", plain_backend())];
    let door = door(2, &backends).await;
    let listeners = web(&door.addr("web").to_string());
    // Some hundred KiB for each generation, so that one that is kept shows.
    let more = |n: usize| {
        let route = |place: usize| {
            format!(
                "[[routes]]\nname = \"r{n}-{place}\"\nmatch = {{ path = \"/{place}\" }}\nto = {{ pool = \"app\" }}\n"
            )
        };
        (0..300).map(route).collect::<String>() + ALL
    };
    let mut after = Vec::new();
    for n in 0..rounds(45, 130) {
        let more = more(n % 2);
        let setup = Setup { workers: 2, listeners: &listeners, backends: &backends, more: &more };
        reload(&door, &setup.text()).await;
        assert_eq!(door.client().await.get("/").await.status, 200);
        after.push(status(&door, "VmRSS"));
    }
    let (warm, last) = (after[29], after[after.len() - 1]);
    assert!(last < warm + 2_048, "from {warm} to {last} KiB: {after:?}");
}
