//! The thread through the whole product: load, a decision, a launch, checks, service, and back.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test, in helpers too

use std::process::Command;
use std::time::Duration;

use tests::TestDoor;
use tests::door::binary;
use tests::load::{Load, Manner};

/// A launch is a process of a debug build, and the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// A pool of local processes that serves 2 requests at once each, at most 4 of them, decided upon
/// five times a second; so quick to shrink that a test can wait for it.
fn config(range: &str) -> String {
    let program = binary();
    let program = program.display();
    format!(
        r#"
schema = 1
workers = 1
[site]
name = "thread"
state_dir = "state"
[listeners.web]
bind = "127.0.0.1:0"
[[routes]]
name = "all"
to = {{ pool = "burst" }}
[pools.burst]
kind = "elastic"
max_concurrency = 2
queue = {{ time = "30s" }}
health = {{ kind = "http", path = "/healthz", interval = "200ms", timeout = "5s", healthy_after = 1 }}
boot = {{ give_up_after = "60s" }}
[pools.burst.process]
command = ["{program}", "backend", "--listen", "{{address}}", "--name", "{{id}}"]
addresses = "{range}"
port = 8080
grace = "1s"
[scalers.burst]
tick = "200ms"
ceiling = 4
target = {{ per_instance = 2, window = "2s", spare = "0%", burst = {{ window = "1s" }} }}
down = {{ stable_for = "2s", cooldown = "0s", max_step = "100%" }}
"#
    )
}

/// A door whose instances end with the test, also with one that fails.
struct Thread(TestDoor);

impl Drop for Thread {
    fn drop(&mut self) {
        for line in self.0.output().lines().filter(|line| line.contains("instance_started")) {
            let pid = line.rsplit("pid=").next().and_then(|pid| pid.trim().parse().ok());
            let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) else { continue };
            let command = format!("/proc/{}/cmdline", pid.as_raw_nonzero());
            let is_ours = std::fs::read(command)
                .is_ok_and(|text| text.starts_with(binary().as_os_str().as_encoded_bytes()));
            if is_ours {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }
}

/// What a command says about the file of this door.
fn ask(door: &TestDoor, command: &[&str]) -> String {
    let file = door.folder().join("tidegate.toml");
    let output = Command::new(binary()).args(command).arg(file).current_dir(door.folder()).output();
    String::from_utf8_lossy(&output.unwrap().stdout).into_owned()
}

#[tokio::test]
async fn load_is_followed_by_instances_up_and_down() {
    let thread = Thread(TestDoor::start(&config("127.60.77.0/28")).await);
    let door = &thread.0;
    // Nobody is there: the first requests wait until somebody is.
    let load = Load::start_at(door.addr("web"), "/slow?ms=50", 7, Manner::Kept, Duration::ZERO);
    door.logged_in(PATIENCE, "instance_serves", 4).await;
    load.goes_on(100).await;
    let (answered, failures) = load.stop().await;
    assert_eq!(failures, Vec::<String>::new());
    assert!(answered > 100);

    // The crowd has gone: everybody drains and is given back.
    door.logged_in(PATIENCE, "instance_gone", 4).await;
    let output = door.output();
    assert!(output.contains("scale_in_decided"), "{output}");
    assert!(!output.contains("drain_cut_short"), "{output}");
    let needs =
        output.split("need=").skip(1).filter_map(|text| text.split(' ').next()?.parse().ok());
    let most: u32 = needs.max().unwrap();
    assert!(most <= 6, "waiting is no work, {most} instances for seven clients:\n{output}");
    let launched = output.lines().filter(|line| line.contains("instance_started")).count();
    assert_eq!(launched, 4, "no double launch:\n{output}");

    let why = ask(door, &["why", "burst", "--config"]);
    assert!(
        why.contains("pool burst, decision") && why.contains("floor") | why.contains("target"),
        "{why}"
    );
    let decisions = ask(door, &["decisions", "--json", "--config"]);
    for word in ["launch_answered", "instance_serves", "instance_gone", "burst"] {
        assert!(decisions.contains(word), "{word} in\n{decisions}");
    }
}
