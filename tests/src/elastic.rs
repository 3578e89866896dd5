//! A door with an elastic pool of local processes.

use std::process::Command;
use std::time::Duration;

use crate::door::{TestDoor, binary};

/// A launch is a process of a debug build, and the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The configuration: a pool of local processes that serves 2 requests at once each, at most so many of them, decided
/// upon five times a second; so quick to shrink that a test can wait for it.
pub fn config(range: &str, ceiling: u32) -> String {
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
ceiling = {ceiling}
target = {{ per_instance = 2, window = "2s", spare = "0%", burst = {{ window = "1s" }} }}
down = {{ stable_for = "2s", cooldown = "0s", max_step = "100%" }}
"#
    )
}

/// A door whose instances end with the test, also with one that fails.
#[derive(Debug)]
pub struct Elastic(pub TestDoor);

impl Drop for Elastic {
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
pub fn ask(door: &TestDoor, command: &[&str]) -> String {
    let file = door.folder().join("tidegate.toml");
    let output = Command::new(binary()).args(command).arg(file).current_dir(door.folder()).output();
    String::from_utf8_lossy(&output.expect("it starts").stdout).into_owned()
}
