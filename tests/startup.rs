//! How a door starts, what keeps it from starting, and how it ends.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test, in helpers too

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;
use tests::crowd::plain;
use tests::door::{TestFolder, binary, one_pool};
use tests::{Answer, CEILING, End, TestBackend, TestClient, TestDoor, within};
use tokio::net::TcpStream;

const WORKERS: [usize; 2] = [1, 4];

/// The configuration of `one_pool` without a backend that lives, bound there.
fn bound_to(address: &str, workers: usize) -> String {
    one_pool(&[], workers)
        .replace("127.0.0.1:0", address)
        .replace("backends = []", "backends = [{ address = \"127.0.0.1:9\" }]")
}

/// Starts the program with this configuration, which must end by itself, and returns its words.
async fn fails(config: &str, code: i32) -> String {
    let mut door = TestDoor::launch(config);
    let status = door.exited().await;
    assert_eq!(status.code(), Some(code), "{}", door.output());
    let output = door.output();
    assert!(!output.contains("listening name="), "{output}");
    assert!(!output.contains("panicked"), "{output}");
    output
}

#[tokio::test]
async fn a_port_in_use_is_named_and_nothing_is_left_open() {
    for workers in WORKERS {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        // The first listener could be opened, the second cannot.
        let config = bound_to("127.0.0.1:0", workers).replace(
            "[pools.app]\n",
            &format!("[listeners.z]\nbind = \"{address}\"\n[pools.app]\n"),
        );
        let output = fails(&config, 1).await;
        let expected = format!("error: listener `z`: {address} is in use by another program");
        assert!(output.contains(&expected), "{output}");
    }
}

#[tokio::test]
async fn two_doors_do_not_share_a_port_by_accident() {
    let red = TestBackend::start("red").await;
    let door = TestDoor::in_front_of(&[&red], 4).await;
    let output = fails(&bound_to(&door.addr("web").to_string(), 4), 1).await;
    assert!(output.contains("is in use by another program"), "{output}");
    assert_eq!(door.client().await.get("/").await.text(), "red");
}

#[tokio::test]
async fn an_address_that_this_machine_has_not_is_named() {
    let output = fails(&bound_to("192.0.2.1:8080", 1), 1).await;
    assert!(
        output.contains("error: listener `web`: this machine has no address 192.0.2.1"),
        "{output}"
    );
}

/// Somebody who may do nothing special, or why there is nobody.
fn ordinary(config: &str) -> Result<TestDoor, String> {
    const NOBODY: u32 = 65_534;
    let mut program = Command::new(binary());
    if rustix::process::getuid().is_root() {
        program.uid(NOBODY).gid(NOBODY);
        let mut probe = Command::new(binary());
        probe.arg("version").uid(NOBODY).gid(NOBODY);
        if !probe.output().is_ok_and(|output| output.status.success()) {
            return Err(format!("an ordinary user cannot execute {}", binary().display()));
        }
    }
    Ok(TestDoor::launch_as(program, config))
}

#[expect(clippy::print_stderr, reason = "a test that proves nothing says so")]
fn skip(reason: &str) {
    eprintln!("skipped: {reason}");
}

#[tokio::test]
async fn a_port_that_an_ordinary_user_may_not_open_is_named_with_what_helps() {
    let lowest = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
    if lowest.trim().parse::<u16>().unwrap() <= 1 {
        return skip("every port is free for everybody on this machine");
    }
    match ordinary(&bound_to("127.0.0.1:1", 1)) {
        Err(reason) => skip(&reason),
        Ok(mut door) => {
            assert_eq!(door.exited().await.code(), Some(1), "{}", door.output());
            let output = door.output();
            assert!(output.contains("127.0.0.1:1 may not be opened by this user"), "{output}");
            assert!(output.contains("CAP_NET_BIND_SERVICE"), "{output}");
        }
    }
}

#[tokio::test]
async fn an_ordinary_user_can_run_it() {
    let red = TestBackend::start("red").await;
    match ordinary(&one_pool(&[&red], 2)) {
        Err(reason) => skip(&reason),
        Ok(door) => {
            let door = door.ready().await;
            door.logged("backend_in_rotation").await;
            assert_eq!(door.client().await.get("/").await.text(), "red");
            let status = fs::read_to_string(format!("/proc/{}/status", door.pid())).unwrap();
            let uid = status.lines().find(|line| line.starts_with("Uid:")).unwrap();
            assert!(!uid.split_whitespace().any(|id| id == "0"), "{uid}");
            assert!(door.stop().await.success());
        }
    }
}

#[tokio::test]
async fn a_name_without_an_address_keeps_nobody_from_starting() {
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        let folder = TestFolder::new("names");
        let socket = folder.path.join("admin.sock");
        let lost =
            "[pools.lost]\nbackends = [{ id = \"gone\", address = \"nobody.invalid:80\" }]\n";
        let route =
            "[[routes]]\nname = \"lost\"\nmatch = { path = \"/lost\" }\nto = { pool = \"lost\" }\n";
        let config =
            one_pool(&[&red], workers).replace("[[routes]]", &format!("{lost}{route}[[routes]]"));
        let config = format!("{config}[admin]\nunix = \"{}\"\n", socket.display());
        let door = TestDoor::checked(&config, &[&red]).await;
        let mut client = door.client().await;
        assert_eq!(client.get("/").await.text(), "red");
        let response = client.get("/lost").await;
        assert_eq!(response.status, 503);
        assert!(response.text().contains("no_healthy_backend"));
        let status = tokio::task::spawn_blocking(move || {
            Command::new(binary())
                .args(["status", "--json", "--socket"])
                .arg(socket)
                .output()
                .unwrap()
        });
        let status: Value = serde_json::from_slice(&status.await.unwrap().stdout).unwrap();
        let pools = status["pools"].as_array().unwrap();
        let lost = pools.iter().find(|pool| pool["name"] == "lost").unwrap();
        assert_eq!(lost["backends"][0]["state"], "unresolved");
        assert_eq!(lost["backends"][0]["address"], "nobody.invalid:80");
    }
}

#[tokio::test]
async fn a_backend_may_have_a_name() {
    let red = TestBackend::start("red").await;
    let config = one_pool(&[&red], 1)
        .replace("127.0.0.1:", "localhost:")
        .replace("localhost:0", "127.0.0.1:0");
    let door = TestDoor::checked(&config, &[&red]).await;
    assert_eq!(door.client().await.get("/").await.text(), "red");
}

#[tokio::test]
async fn a_file_that_cannot_be_read_or_used_ends_with_78() {
    let folder = TestFolder::new("files");
    let run = |file: &str| {
        let mut command = Command::new(binary());
        command.arg("run").arg(folder.path.join(file));
        tokio::task::spawn_blocking(move || command.output().unwrap())
    };
    folder.write("broken.toml", "schema = 1\n[listeners.web\n");
    folder.write("unknown.toml", "schema = 1\n[listeners.web]\nbind = \"127.0.0.1:0\"\nbnid = 1\n");
    folder.write("empty.toml", "");
    for (file, words) in [
        ("missing.toml", "missing.toml"),
        ("", "error[TG01"),
        ("broken.toml", "error[TG0103]"),
        ("unknown.toml", "error[TG0201]"),
        ("empty.toml", "error[TG0203]"),
    ] {
        let output = run(file).await.unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(78), "{file}: {text}");
        assert!(text.contains(words) && text.contains("nothing was started"), "{file}: {text}");
    }
}

#[tokio::test]
async fn what_cannot_be_written_or_opened_besides_ends_with_1() {
    let somebody = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = somebody.local_addr().unwrap().to_string();
    for (more, words) in [
        (
            "[observe]\naccess_log = { to = \"file:///nowhere/at/all/access.log\" }\n".to_owned(),
            "/nowhere/at/all/access.log",
        ),
        (
            "[admin]\nunix = \"/nowhere/at/all/admin.sock\"\n".to_owned(),
            "/nowhere/at/all/admin.sock",
        ),
        ("[observe]\nmetrics = { listen = \"192.0.2.1:9900\" }\n".to_owned(), "192.0.2.1:9900"),
        (format!("[observe]\nmetrics = {{ listen = \"{taken}\" }}\n"), taken.as_str()),
        (format!("[admin]\nlisten = \"{taken}\"\n"), taken.as_str()),
    ] {
        let output = {
            let mut door = TestDoor::launch(&(bound_to("127.0.0.1:0", 2) + &more));
            assert_eq!(door.exited().await.code(), Some(1), "{}", door.output());
            door.output()
        };
        let last = output.lines().last().unwrap();
        assert!(last.starts_with("error: ") && last.contains(words), "{output}");
    }
}

#[tokio::test]
async fn one_socket_for_operators_serves_one_door() {
    let red = TestBackend::start("red").await;
    let folder = TestFolder::new("socket");
    let admin = format!("[admin]\nunix = \"{}/admin.sock\"\n", folder.path.display());
    let door = TestDoor::checked(&(one_pool(&[&red], 1) + &admin), &[&red]).await;
    let mut second = TestDoor::launch(&(bound_to("127.0.0.1:0", 1) + &admin));
    assert_eq!(second.exited().await.code(), Some(1));
    assert!(second.output().contains("another door is running"), "{}", second.output());
    // A killed door leaves the file; the next one is not kept away by it.
    door.signal(Signal::KILL);
    drop(door);
    assert!(folder.path.join("admin.sock").exists());
    let third = TestDoor::checked(&(one_pool(&[&red], 1) + &admin), &[&red]).await;
    assert!(third.stop().await.success());
}

#[tokio::test]
async fn the_ready_message_has_every_address() {
    for workers in WORKERS {
        let config = bound_to("127.0.0.1:0", workers)
            .replace("bind = [\"127.0.0.1:0\"]", "bind = [\"127.0.0.1:0\", \"[::1]:0\"]")
            .replace("[pools.app]\n", "[listeners.inner]\nbind = \"127.0.0.2:0\"\n[pools.app]\n");
        let door = TestDoor::start(&config).await;
        let mut addresses = door.addrs("web").to_vec();
        addresses.extend(door.addrs("inner"));
        assert_eq!(addresses.len(), 3);
        for address in addresses {
            assert_ne!(address.port(), 0);
            within(CEILING, TcpStream::connect(address)).await.unwrap();
        }
    }
}

#[tokio::test]
async fn sigterm_lets_running_requests_end_and_closes_what_is_idle() {
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        let mut door = TestDoor::in_front_of(&[&red], workers).await;
        let address = door.addr("web");
        let mut idle = door.client().await;
        assert_eq!(idle.get("/").await.text(), "red");
        let mut silent = door.client().await;
        red.answer(Answer::text("late").held());
        let mut running = door.client().await;
        running.send(plain(0)).await;
        let mut uploading = door.client().await;
        uploading.send("PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbo").await;
        red.received(3).await;
        door.signal(Signal::TERM);
        assert_eq!(idle.ended().await, End::Fin);
        assert_eq!(silent.ended().await, End::Fin);
        let refused = async {
            while TcpStream::connect(address).await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        within(CEILING, refused).await;
        assert!(running.is_quiet());
        uploading.send("dy").await;
        red.completed(3).await;
        red.release_all();
        for client in [&mut running, &mut uploading] {
            let response = client.read_response().await;
            assert_eq!(response.text(), "late");
            assert_eq!(response.field("connection").as_deref(), Some("close"));
        }
        assert_eq!(door.exited().await.code(), Some(0));
    }
}

/// Whoever got a connection before the signal gets its answer, though it waits in a queue yet.
#[tokio::test]
async fn a_request_in_the_accept_queue_is_answered_by_a_door_that_stops() {
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        let mut door = TestDoor::in_front_of(&[&red], workers).await;
        let address = door.addr("web");
        // A stopped process accepts nothing; what comes meanwhile waits with the signal.
        door.signal(Signal::STOP);
        let mut clients = Vec::new();
        for _ in 0..40 {
            let mut client = TestClient::connect(address).await;
            client.send(plain(0)).await;
            clients.push(client);
        }
        let mut silent = TestClient::connect(address).await;
        door.signal(Signal::TERM);
        door.signal(Signal::CONT);
        for client in &mut clients {
            let response = client.read_response().await;
            assert_eq!((response.status, response.text().as_str()), (200, "red"));
        }
        assert_eq!(silent.ended().await, End::Fin);
        assert_eq!(door.exited().await.code(), Some(0));
    }
}

#[tokio::test]
async fn a_second_signal_ends_what_is_running() {
    for workers in WORKERS {
        let red = TestBackend::start_with("red", Answer::text("never").held()).await;
        let log = "[observe]\naccess_log = { to = \"stdout\" }\n";
        let mut door = TestDoor::checked(&(one_pool(&[&red], workers) + log), &[&red]).await;
        let mut client = door.client().await;
        client.send(plain(0)).await;
        red.received(1).await;
        door.signal(Signal::TERM);
        door.logged("a second signal ends them now").await;
        door.signal(Signal::INT);
        assert_eq!(door.exited().await.code(), Some(0));
        // Visibly not an answer: nothing, or one that says so.
        if let Ok(response) = client.try_read_response().await {
            assert_eq!(response.status, 503);
        }
        door.logged("\"outcome\":\"stopped\"").await;
    }
}

/// A door under these limits of open files.
async fn limited(config: &str, limits: &str) -> TestDoor {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("{limits}; exec \"$0\" \"$@\"")).arg(binary());
    TestDoor::launch_as(shell, config).ready().await
}

#[tokio::test]
async fn open_files_are_raised_to_the_hard_limit() {
    let door = limited(&bound_to("127.0.0.1:0", 1), "ulimit -Sn 300; ulimit -Hn 2000").await;
    let limits = fs::read_to_string(format!("/proc/{}/limits", door.pid())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let soft = line.split_whitespace().nth(3).unwrap();
    assert_eq!(soft, "2000", "{line}");
}

#[tokio::test]
async fn connections_are_refused_in_words_before_descriptors_run_out() {
    let red = TestBackend::start("red").await;
    for lines in ["", "max_connections = 5_000\n"] {
        let config =
            one_pool(&[&red], 4).replace("[listeners.web]\n", &format!("[listeners.web]\n{lines}"));
        // 49 for the process, a check and 4 workers, 29 for guests, and two for each client.
        let door = limited(&config, "ulimit -n 118").await;
        assert_eq!(door.output().contains("lowered_to=20"), !lines.is_empty(), "{}", door.output());
        door.logged("backend_in_rotation").await;
        let mut clients = Vec::new();
        let mut statuses = Vec::new();
        for _ in 0..26 {
            let mut client = door.client().await;
            statuses.push(client.get("/").await.status);
            clients.push(client);
        }
        assert_eq!(statuses[..20], [200; 20]);
        assert_eq!(statuses[20..], [503; 6]);
    }
}

#[tokio::test]
async fn too_few_descriptors_for_the_workers_end_a_door_in_words() {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg("ulimit -n 30; exec \"$0\" \"$@\"").arg(binary());
    let mut door = TestDoor::launch_as(shell, &bound_to("127.0.0.1:0", 16));
    assert_eq!(door.exited().await.code(), Some(1), "{}", door.output());
    let output = door.output();
    assert!(output.contains("error: the workers could not be started; raise"), "{output}");
    assert!(!output.contains("panicked") && !output.contains("listening name="), "{output}");
}

/// What is beyond the limit may not take the descriptors that the limit protects.
#[tokio::test]
async fn refused_connections_that_say_nothing_are_few() {
    let config = bound_to("127.0.0.1:0", 1)
        .replace("[listeners.web]\n", "[listeners.web]\nmax_connections = 1\n");
    let door = TestDoor::start(&config).await;
    let mut inside = door.client().await;
    assert_eq!(inside.get("/").await.status, 503); // no backend, which is an answer
    let mut silent = Vec::new();
    for _ in 0..64 {
        silent.push(door.client().await);
    }
    let mut last = door.client().await;
    // It may be closed before that is sent.
    let _ = last.try_send(plain(0)).await;
    assert!(last.try_read_response().await.is_err(), "closed without an answer");
    silent[0].send(plain(0)).await;
    assert_eq!(silent[0].read_response().await.status, 503);
}

#[tokio::test]
async fn a_door_that_is_told_to_stop_at_once_stops() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut door = TestDoor::start(&bound_to("127.0.0.1:0", 4)).await;
        let address: SocketAddr = door.addr("web");
        door.signal(signal);
        assert_eq!(door.exited().await.code(), Some(0));
        assert!(TcpStream::connect(address).await.is_err());
    }
}
