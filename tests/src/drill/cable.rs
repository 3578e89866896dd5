//! A cable between two networks that can be cut without anybody being told: whatever is sent is
//! gone, and nothing comes back, not even a refusal.
//!
//! It takes root, and nothing but `ip`, `unshare` and `nsenter`: both ends are made to believe in a
//! wrong hardware address of the other. The machine's own network is not touched; the test runs
//! itself once more in a network that is its own ([`alone`]).

use std::process::{Command, Stdio};

use super::Process;

/// Set in the run that is alone.
const ALONE: &str = "TIDEGATE_DRILL_ALONE";
const NEAR: (&str, &str) = ("192.0.2.1", "02:00:00:00:00:01");
const FAR: (&str, &str) = ("192.0.2.2", "02:00:00:00:00:02");
/// Nobody's.
const NOBODY: &str = "02:00:00:00:00:ff";

/// Where a test of a cable is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In a network of its own.
    Here,
    /// It has run there, and passed.
    Elsewhere,
    /// This machine does not have what it takes.
    Nowhere,
}

/// Runs the test of that name in a network of its own, unless this is that run.
///
/// # Panics
/// The test failed there.
pub fn alone(test: &str) -> Place {
    if std::env::var_os(ALONE).is_some() {
        run("ip", "link set lo up");
        return Place::Here;
    }
    let can = |program: &str, words: &str| {
        let output = Command::new(program).args(words.split(' ')).output();
        output.is_ok_and(|output| output.status.success())
    };
    if !can("unshare", "--net ip link set lo up") || !can("nsenter", "--version") {
        return Place::Nowhere;
    }
    let program = std::env::current_exe().expect("a program that runs");
    let mut again = Command::new("unshare");
    again.arg("--net").arg(program).args(["--exact", test, "--include-ignored", "--nocapture"]);
    let ran = again.env(ALONE, "1").stderr(Stdio::inherit()).output().expect("it was there");
    let said = String::from_utf8_lossy(&ran.stdout);
    // A name that fits no test is a success as well.
    assert!(ran.status.success() && said.contains(" 1 passed"), "`{test}`:\n{said}");
    Place::Elsewhere
}

/// The only way to a backend in a network of its own.
#[derive(Debug)]
pub struct Cable {
    /// The process at the far end.
    pid: u32,
}

impl Cable {
    /// The backend, and the cable to it.
    pub fn to(name: &'static str, manner: &[&str]) -> (Process, Cable) {
        let process = Process::start_far(name, FAR.0, manner);
        let cable = Cable { pid: process.pid() };
        let ((near, near_is), (far, far_is), pid) = (NEAR, FAR, cable.pid);
        let ends = format!("add near address {near_is} type veth peer name far address {far_is}");
        run("ip", &format!("link {ends} netns {pid}"));
        run("ip", &format!("addr add {near}/30 dev near"));
        run("ip", "link set near up");
        cable.beyond(&format!("addr add {far}/30 dev far"));
        cable.beyond("link set far up");
        cable.mend();
        (process, cable)
    }

    /// From now on nothing arrives, on either side.
    pub fn cut(&self) {
        self.believe(NOBODY, NOBODY);
    }

    /// What is sent, and sent again, arrives.
    pub fn mend(&self) {
        self.believe(NEAR.1, FAR.1);
    }

    fn believe(&self, near: &str, far: &str) {
        run("ip", &format!("neigh replace {} lladdr {far} dev near nud permanent", FAR.0));
        self.beyond(&format!("neigh replace {} lladdr {near} dev far nud permanent", NEAR.0));
    }

    fn beyond(&self, words: &str) {
        run("nsenter", &format!("--target {} --net ip {words}", self.pid));
    }
}

fn run(program: &str, words: &str) {
    let status = Command::new(program).args(words.split(' ')).status();
    assert!(status.is_ok_and(|status| status.success()), "`{program} {words}` failed");
}
