//! Checks as an operator meets them: how soon a backend is out, with what is shipped.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test, in helpers too

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tests::TestDoor;
use tests::door::binary;

/// A backend that is a process, so that it can be frozen as a whole.
struct Process {
    child: Child,
    address: String,
}

impl Process {
    fn start() -> Process {
        let mut child = Command::new(binary())
            .args(["backend", "--listen", "127.0.0.1:0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let (_, address) = line.trim_end().split_once("http://").unwrap();
        Process { address: address.trim_end_matches('/').to_owned(), child }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Everything of `[pools.app.health]` but the kind is what is shipped.
fn door_of(backends: &[&Process], health: &str) -> String {
    let entry = |(number, backend): (usize, &&Process)| {
        format!("{{ id = \"b{number}\", address = \"{}\" }}", backend.address)
    };
    let backends: Vec<String> = backends.iter().enumerate().map(entry).collect();
    format!(
        "schema = 1\nworkers = 1\n[listeners.web]\nbind = [\"127.0.0.1:0\"]\n\
         [pools.app]\nbackends = [{}]\nhealth = {health}\n\
         [[routes]]\nname = \"all\"\nto = {{ pool = \"app\" }}\n",
        backends.join(", ")
    )
}

/// The kernel goes on to accept for a frozen process, so that only a check that waits for an
/// answer can see it.
#[tokio::test]
async fn a_frozen_backend_is_out_in_three_seconds_with_the_shipped_defaults() {
    let (one, two) = (Process::start(), Process::start());
    let door = TestDoor::start(&door_of(&[&one, &two], "{ path = \"/healthz\" }")).await;
    for backend in ["b0", "b1"] {
        door.logged(&format!("backend_in_rotation pool=app backend={backend}")).await;
    }
    one.signal(Signal::STOP);
    let frozen = Instant::now();
    let line = door.logged("backend_out_of_rotation").await;
    assert!(line.contains("backend=b0"), "{line}");
    // A second more than promised: what the rhythm allows is measured in `health`, on a clock that
    // no other work on this machine delays.
    assert!(frozen.elapsed() <= Duration::from_secs(4), "{:?}", frozen.elapsed());

    // It comes back by two passes, at the faster pace of an unhealthy one.
    let comes = |text: &str| text.matches("backend_in_rotation").count();
    assert_eq!(comes(&door.output()), 2);
    one.signal(Signal::CONT);
    door.logged_times("backend_in_rotation", 3).await;
}
