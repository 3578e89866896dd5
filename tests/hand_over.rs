//! One process takes over from another, and no client notices.
//!
//! `TIDEGATE_DRILL=1` runs the long form (`make drills`).

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test, in helpers too

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use tests::backend::EVENT;
use tests::crowd::plain;
use tests::door::{TestFolder, binary};
use tests::drill::{is_drill, rounds, tell};
use tests::load::{Load, Manner, plain_backend};
use tests::{Answer, CEILING, DeafBackend, End, TestBackend, TestClient, TestDoor, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A door with these listeners in front of these backends.
fn config(workers: usize, listeners: &[(&str, &str)], backends: &[(&str, SocketAddr)]) -> String {
    let listener =
        |(name, bind): &(&str, &str)| format!("[listeners.{name}]\nbind = [\"{bind}\"]\n");
    let entry = |(id, address): &(&str, SocketAddr)| {
        format!("{{ id = \"{id}\", address = \"{address}\" }}")
    };
    let listeners: String = listeners.iter().map(listener).collect();
    let backends: Vec<String> = backends.iter().map(entry).collect();
    format!(
        "schema = 1\nworkers = {workers}\n[site]\nname = \"test\"\n{listeners}\
         [admin]\nunix = \"admin.sock\"\n[observe]\nmetrics = {{ listen = \"127.0.0.1:0\" }}\n\
         [pools.app]\nbackends = [{}]\n[pools.app.health]\npath = \"/healthz\"\n\
         interval = \"50ms\"\nhealthy_after = 1\n[[routes]]\nname = \"all\"\n\
         match = {{ path_prefix = \"/\" }}\nto = {{ pool = \"app\" }}\n",
        backends.join(", ")
    )
}

const WEB: (&str, &str) = ("web", "127.0.0.1:0");

/// A door whose backends all take requests.
async fn door(workers: usize, backends: &[(&str, SocketAddr)]) -> TestDoor {
    let door = TestDoor::start(&config(workers, &[WEB], backends)).await;
    for (id, _) in backends {
        door.logged(&format!("backend_in_rotation pool=app backend={id}")).await;
    }
    door
}

/// Asks `tidegate status` again and again, which must never fail; how often it was asked.
fn status_goes_on(door: &TestDoor) -> (Arc<AtomicBool>, tokio::task::JoinHandle<usize>) {
    let must_stop = Arc::new(AtomicBool::new(false));
    let socket = door.folder().join("admin.sock");
    let stop = must_stop.clone();
    let asking = tokio::task::spawn_blocking(move || {
        let mut count = 0;
        while !stop.load(Ordering::Relaxed) {
            let mut command = Command::new(binary());
            let output = command.arg("status").arg("--socket").arg(&socket).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            count += 1;
        }
        count
    });
    (must_stop, asking)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hand_overs_under_load_cost_no_connection() {
    let (count, each) = (rounds(3, 20), rounds(150, 4_000));
    let all: Vec<SocketAddr> = (0..2).map(|_| plain_backend()).collect();
    let backends = [("a", all[0]), ("b", all[1])];
    let mut running = door(2, &backends).await;
    let addr = running.addr("web");
    let (no_more_status, status) = status_goes_on(&running);
    let fresh = Load::start(addr, 16, Manner::Fresh, Duration::ZERO);
    let kept = Load::start(addr, 4, Manner::Kept, Duration::from_millis(2));
    let began = Instant::now();
    let mut old = Vec::new();
    for round in 0..count {
        let workers = [1, 4, 3, 2][round % 4];
        running.configure(&config(workers, &[WEB], &backends));
        let successor = running.launch_successor().ready().await;
        assert_eq!(successor.addr("web"), addr);
        running.logged("handed_over").await;
        fresh.goes_on(each).await;
        kept.goes_on(20).await;
        old.push(std::mem::replace(&mut running, successor));
    }
    let took = began.elapsed();
    no_more_status.store(true, Ordering::Relaxed);
    assert!(status.await.unwrap() >= count);
    let answered = fresh.none_failed(count * each).await;
    let rate = answered as f64 / took.as_secs_f64();
    tell(&format!("{count} hand-overs under {rate:.0} new connections/s, {answered} in all"));
    // On a machine that does nothing else.
    assert!(rate >= 2_000.0 || !is_drill(), "{rate:.0} new connections/s are no load");
    kept.none_failed(count * 20).await;
    // Nothing holds the old ones once their clients have gone.
    for mut old in old {
        assert_eq!(old.exited().await.code(), Some(0), "{}", old.output());
    }
    assert!(running.folder().join("admin.sock").exists());
    assert!(running.stop().await.success());
}

#[tokio::test]
async fn streams_live_on_in_the_old_process_until_they_end() {
    for workers in [1, 4] {
        let special = TestBackend::streaming(3).await;
        let mut old = door(workers, &[("special", special.addr())]).await;
        let mut events = old.client().await;
        events.send("GET /events HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert_eq!(events.read_head().await.start, "HTTP/1.1 200 OK");
        let mut socket = old.client().await;
        let chat =
            "GET /chat HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        assert_eq!(socket.request(chat).await.status, 101);
        let mut idle = old.client().await;

        let new = old.launch_successor().ready().await;
        old.logged("handed_over").await;
        for round in 0..3 {
            let word = format!("round {round};");
            socket.send(&word).await;
            assert_eq!(socket.read_exact(word.len()).await, word.as_bytes());
            special.release();
            assert_eq!(events.read_exact(EVENT.len()).await, EVENT);
        }
        assert_eq!(events.read_exact(5).await, b"0\r\n\r\n");
        special.answer(Answer::text("old"));
        // Who had connected before is served once more, and told that this was the last time.
        let last = idle.get("/").await;
        assert_eq!(
            (last.text().as_str(), last.field("connection").as_deref()),
            ("old", Some("close"))
        );
        assert_eq!(idle.ended().await, End::Fin);
        special.answer(Answer::text("new"));
        assert_eq!(new.client().await.get("/").await.text(), "new");
        drop((socket, events));
        assert_eq!(old.exited().await.code(), Some(0));
        new.logged("predecessor_ended").await;
    }
}

/// The state and the requests in flight of a backend.
async fn conduct(door: &TestDoor, id: &str) -> (String, u64) {
    let (_, out, err) = door.ask(&["backends", "--json"]).await;
    let all = out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let one = all.into_iter().find(|one| one["id"] == id).unwrap_or_else(|| panic!("{out}{err}"));
    (one["state"].as_str().unwrap().to_owned(), one["in_flight"].as_u64().unwrap())
}

#[tokio::test]
async fn a_backend_is_drained_when_the_last_request_of_any_process_has_ended() {
    for workers in [1, 4] {
        let held = |name: &'static str| Answer::text(name).held();
        let red = TestBackend::start_with("red", held("red")).await;
        let blue = TestBackend::start_with("blue", held("blue")).await;
        let backends = [("red", red.addr()), ("blue", blue.addr())];
        let mut first = door(workers, &backends).await;
        let mut clients = Vec::new();
        for _ in 0..6 {
            let mut client = first.client().await;
            client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").await;
            clients.push(client);
        }
        red.received(3).await;
        blue.received(3).await;
        // One drain began before, and one begins behind two hand-overs.
        first.ask(&["drain", "app/blue"]).await;
        let mut second = first.launch_successor().ready().await;
        let third = second.launch_successor().ready().await;
        third.ask(&["drain", "app/red"]).await;
        for id in ["red", "blue"] {
            assert_eq!(conduct(&third, id).await, ("draining".into(), 3), "{id}");
        }
        red.release();
        within(CEILING, async { while conduct(&third, "red").await.1 != 2 {} }).await;
        red.release_all();
        third
            .logged("backend_drained pool=app backend=red from=draining to=drained waited_for=3")
            .await;
        assert_eq!(conduct(&third, "blue").await, ("draining".into(), 3));
        blue.release_all();
        third.logged("backend_drained pool=app backend=blue").await;
        for mut client in clients {
            assert_eq!(client.read_response().await.status, 200);
        }
        first.exited().await;
        second.exited().await;
        third.logged("predecessor_ended").await;
    }
}

#[tokio::test]
async fn an_order_to_a_process_that_has_handed_over_is_refused_and_not_lost() {
    let door = door(1, &[("red", plain_backend())]).await;
    // Its order is on the way when another process takes over, and ends behind that.
    let mut early =
        tokio::net::UnixStream::connect(door.folder().join("admin.sock")).await.unwrap();
    let order =
        "POST /v1/pools/app/backends/red/drain HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{";
    early.write_all(order.as_bytes()).await.unwrap();
    let successor = door.launch_successor().ready().await;
    early.write_all(b"}").await.unwrap();
    let mut answer = Vec::new();
    let _ = within(CEILING, early.read_to_end(&mut answer)).await;
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("hands over to another"), "{answer}");
    assert_eq!(conduct(&successor, "red").await.0, "serving");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_fails_before_it_is_ready_costs_nothing() {
    let backends = [("a", plain_backend())];
    let door = door(2, &backends).await;
    let addr = door.addr("web");
    let fresh = Load::start(addr, 4, Manner::Fresh, Duration::ZERO);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (text, code) in [
        (config(2, &[WEB], &backends).replace("bind", "bnid"), 78),
        (config(2, &[WEB, ("x", &taken)], &backends), 1),
    ] {
        door.configure(&text);
        let mut successor = door.launch_successor();
        assert_eq!(successor.exited().await.code(), Some(code), "{}", successor.output());
        fresh.goes_on(50).await;
    }
    // Killed in the middle: it waits for the first check of a backend that is new to it.
    let deaf = DeafBackend::start();
    let both = [backends[0], ("deaf", deaf.addr())];
    let slow = config(2, &[WEB], &both).replace("interval", "timeout = \"4s\"\ninterval");
    door.configure(&slow);
    for signal in [Signal::KILL, Signal::TERM] {
        let failed = door.output().matches("hand_over_failed").count();
        let mut successor = door.launch_successor();
        successor.logged("hand_over_begun").await;
        successor.signal(signal);
        successor.exited().await;
        door.logged_times("hand_over_failed", failed + 1).await;
        fresh.goes_on(50).await;
    }
    assert!(!door.output().contains("handed_over"), "{}", door.output());
    door.configure(&config(1, &[WEB], &backends));
    let successor = door.launch_successor().ready().await;
    fresh.goes_on(50).await;
    fresh.none_failed(250).await;
    assert_eq!(successor.client().await.get("/").await.status, 200);
}

#[tokio::test]
async fn what_was_known_of_backends_is_known_from_the_first_request_on() {
    let red = TestBackend::start("red").await;
    let blue = TestBackend::start("blue").await;
    blue.answer_probes("/healthz", 500);
    // The first door checks them once and then not for an hour: it cannot see what changes.
    let text = config(1, &[WEB], &[("red", red.addr()), ("blue", blue.addr())]);
    let text = text.replace("50ms", "1h");
    let door = TestDoor::start(&text).await;
    door.logged("backend_in_rotation").await;
    door.logged("backend_unhealthy").await;
    // A judge that knows nothing believes the first word; one that knows is hard to persuade.
    red.answer_probes("/healthz", 500);
    blue.answer_probes("/healthz", 200);
    let stubborn = "healthy_after = 1000\nunhealthy_after = 1000";
    door.configure(&text.replace("healthy_after = 1", stubborn));
    let probes = [&red, &blue].map(TestBackend::probe_count);
    let successor = door.launch_successor().ready().await;
    for (backend, probes) in [&red, &blue].into_iter().zip(probes) {
        backend.probed(probes + 3).await;
    }
    for _ in 0..10 {
        assert_eq!(successor.client().await.get("/").await.text(), "red");
    }
    let (code, out, _) = successor.ask(&["status", "--json"]).await;
    let status: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(code, 0);
    assert_eq!(status["pools"][0]["backends"][1]["state"], "down");
}

#[tokio::test]
async fn listeners_come_and_go_with_a_hand_over_and_what_waits_is_served() {
    let red = TestBackend::start("red").await;
    let backends = [("red", red.addr())];
    let door = TestDoor::start(&config(2, &[WEB, ("gone", "127.0.0.1:0")], &backends)).await;
    door.logged("backend_in_rotation").await;
    let (web, gone) = (door.addr("web"), door.addr("gone"));
    let mut waiting = Vec::new();
    for addr in [web, gone] {
        let mut client = TestClient::connect(addr).await;
        assert_eq!(client.get("/").await.text(), "red");
        waiting.push(client);
    }
    door.configure(&config(3, &[WEB, ("new", "127.0.0.2:0")], &backends));
    let successor = door.launch_successor().ready().await;
    door.logged("handed_over").await;
    assert_eq!(successor.addr("web"), web);
    for client in &mut waiting {
        assert_eq!(client.get("/").await.text(), "red");
    }
    for addr in [web, successor.addr("new")] {
        assert_eq!(TestClient::connect(addr).await.get("/").await.text(), "red");
    }
    let refused = async {
        while TcpStream::connect(gone).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    within(CEILING, refused).await;
}

/// What a service manager would hear.
struct Manager {
    socket: UnixDatagram,
    _folder: TestFolder,
}

impl Manager {
    fn start() -> Manager {
        let folder = TestFolder::new("notify");
        let socket = UnixDatagram::bind(folder.path.join("notify")).unwrap();
        socket.set_read_timeout(Some(CEILING)).unwrap();
        Manager { socket, _folder: folder }
    }

    fn path(&self) -> String {
        self._folder.path.join("notify").display().to_string()
    }

    async fn hear(&self) -> String {
        let socket = self.socket.try_clone().unwrap();
        let heard = tokio::task::spawn_blocking(move || {
            let mut text = [0; 1024];
            let length = socket.recv(&mut text).unwrap();
            String::from_utf8_lossy(&text[..length]).into_owned()
        });
        heard.await.unwrap()
    }
}

/// A program started as a service manager does: by a shell that sets `words` of the environment.
fn service(words: &str) -> Command {
    let mut shell = Command::new("bash");
    shell.arg("-c").arg(format!("{words} exec \"$0\" \"$@\"")).arg(binary());
    shell
}

#[tokio::test]
async fn a_service_manager_hears_of_each_reload() {
    let manager = Manager::start();
    let text = config(2, &[WEB], &[("a", plain_backend())]);
    let door = TestDoor::launch_as(service(&format!("NOTIFY_SOCKET={}", manager.path())), &text);
    let door = door.ready().await;
    assert_eq!(manager.hear().await.trim(), "READY=1");
    // As `ExecReload` of `Type=notify-reload` does, and as an operator does; one that fails too.
    for text in [text.clone(), text.replace("bind", "bnid")] {
        door.configure(&text);
        for by_signal in [true, false] {
            let asked = (!by_signal).then(|| door.reload());
            if by_signal {
                door.signal(Signal::HUP);
            }
            let asked = asked.map(tokio::spawn);
            let words = manager.hear().await;
            let (first, second) = words.trim().split_once('\n').unwrap();
            assert_eq!(first, "RELOADING=1");
            // Since the machine has started, as `CLOCK_MONOTONIC` counts.
            let at = second.strip_prefix("MONOTONIC_USEC=").unwrap().parse::<f64>().unwrap() / 1e6;
            let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
            let uptime: f64 = uptime.split_whitespace().next().unwrap().parse().unwrap();
            assert!(at > 0.0 && at <= uptime + 1.0, "{at} at {uptime}");
            assert_eq!(manager.hear().await.trim(), "READY=1");
            if let Some(asked) = asked {
                asked.await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn a_service_is_upgraded_in_place_and_its_manager_follows() {
    let red = TestBackend::start("red").await;
    let manager = Manager::start();
    let text = config(2, &[WEB], &[("red", red.addr())]);
    let door = TestDoor::launch_as(service(&format!("NOTIFY_SOCKET={}", manager.path())), &text);
    let door = door.ready().await;
    door.logged("backend_in_rotation").await;
    assert_eq!(manager.hear().await.trim(), "READY=1");

    // A new program that does not even start changes nothing.
    door.configure(&text.replace("bind", "bnid"));
    let (code, _, err) = door.ask(&["upgrade"]).await;
    assert_eq!(code, 1);
    assert!(err.contains("it refuses the configuration"), "{err}");
    door.configure(&text);

    let (code, out, err) = door.ask(&["upgrade", "--json"]).await;
    assert_eq!(code, 0, "{err}");
    let view: Value = serde_json::from_str(&out).unwrap();
    let pid = view["pid"].as_i64().unwrap();
    assert_eq!(view["previous_pid"], door.pid());
    assert_eq!(manager.hear().await.trim(), format!("MAINPID={pid}"));
    assert_eq!(manager.hear().await.trim(), "READY=1");
    assert_eq!(door.client().await.get("/").await.text(), "red");

    // The second in a row, by the process that nobody here has started.
    let (code, _, err) = door.ask(&["upgrade"]).await;
    assert_eq!(code, 0, "{err}");
    let main = manager.hear().await;
    let last: i32 = main.trim().strip_prefix("MAINPID=").unwrap().parse().unwrap();
    assert_eq!(manager.hear().await.trim(), "READY=1");
    assert_eq!(door.client().await.get("/").await.text(), "red");
    let last = rustix::process::Pid::from_raw(last).unwrap();
    rustix::process::kill_process(last, Signal::TERM).unwrap();
    assert_eq!(manager.hear().await.trim(), "STOPPING=1");
    // All of them write into one pipe, which ends with the last.
    let mut door = door;
    assert_eq!(door.exited().await.code(), Some(0));
}

#[tokio::test]
async fn sockets_of_a_service_manager_are_used_and_handed_over() {
    let red = TestBackend::start("red").await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    rustix::io::fcntl_setfd(listener.as_fd(), rustix::io::FdFlags::empty()).unwrap();
    let number = std::os::fd::AsRawFd::as_raw_fd(&listener);
    let text = config(3, &[("web", &address.to_string())], &[("red", red.addr())]);
    // Whoever connects before there is a door waits.
    let mut early = TestClient::connect(address).await;
    early.send(plain(0)).await;
    let words = format!("exec 3<&{number}; export LISTEN_FDS=1 LISTEN_PID=$$;");
    let first = TestDoor::launch_as(service(&words), &text).ready().await;
    let answer = early.read_response().await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "red"));
    first.logged("backend_in_rotation").await;
    let successor = first.launch_successor().ready().await;
    assert_eq!(TestClient::connect(address).await.get("/").await.text(), "red");
    first.logged("handed_over").await;
    // Restarted, as `systemctl restart` does: nobody is refused, who connects meanwhile waits.
    assert!(successor.stop().await.success());
    let mut meanwhile = TestClient::connect(address).await;
    meanwhile.send(plain(0)).await;
    let second = TestDoor::launch_as(service(&words), &text).ready().await;
    let answer = meanwhile.read_response().await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "red"));
    second.logged("backend_in_rotation").await;
    assert_eq!(TestClient::connect(address).await.get("/").await.text(), "red");
}
