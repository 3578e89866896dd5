//! A match night: ten times the load within compressed minutes and back, a pool that follows it, and
//! all that can go wrong at the worst time.
//!
//! One instance is killed, one frozen, one terminated past everybody, and the door gets SIGKILL
//! twice. Its listening socket is held by the test, as a service manager does, so that who connects
//! meanwhile waits. No request may fail but those that a door had read when it was killed; nothing
//! is launched twice, nobody is left, and the same night in shadow refuses a third.
//!
//! `TIDEGATE_DRILL=1` makes it six minutes and more than 100,000 requests.

#![allow(clippy::unwrap_used, clippy::cast_precision_loss)] // a failed unwrap is a failed test

#[path = "match_night/crowd.rs"]
mod crowd;
#[path = "match_night/processes.rs"]
mod processes;

use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd};
use std::process::Command;
use std::time::{Duration, Instant};

use crowd::{Curve, SERVICE, Went};
use processes::Processes;
use rustix::process::Signal;
use serde_json::Value;
use tests::door::{TestFolder, binary};
use tests::drill::{Process, is_drill, raise_limit, rounds, tell};
use tests::{TestDoor, rest};

/// For what takes seconds, on a machine that compiles something else meanwhile.
const PATIENCE: Duration = Duration::from_secs(90);

/// What there is of the night, whatever door is open.
struct Stadium {
    folder: TestFolder,
    /// Held open, as a service manager does.
    listener: TcpListener,
    onprem: Process,
    cloud: Processes,
    mode: &'static str,
}

/// Requests that a backend may have, and should have.
fn caps() -> (usize, usize) {
    (rounds(4, 20), rounds(3, 17))
}

impl Stadium {
    async fn open(mode: &'static str, range: &'static str) -> Stadium {
        raise_limit();
        let folder = TestFolder::new("match-night");
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = socket.unwrap();
        socket.set_reuse_port(true).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        socket.listen(4_096).unwrap();
        let listener = TcpListener::from(socket);
        rustix::io::fcntl_setfd(listener.as_fd(), rustix::io::FdFlags::empty()).unwrap();
        let delay = format!("delay={}", SERVICE.as_millis());
        let onprem = Process::start("onprem", &[&delay]);
        let cloud = Processes { state: folder.path.join("state"), range, boot_delay: "1500ms" };
        Stadium { folder, listener, onprem, cloud, mode }
    }

    fn addr(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// A door that finds what the one before has left.
    async fn door(&self) -> TestDoor {
        let number = self.listener.as_raw_fd();
        let words = format!("exec 3<&{number}; export LISTEN_FDS=1 LISTEN_PID=$$;");
        let mut shell = Command::new("bash");
        shell.arg("-c").arg(format!("{words} exec \"$0\" \"$@\"")).arg(binary());
        TestDoor::launch_as(shell, &self.configuration()).ready().await
    }

    fn configuration(&self) -> String {
        let (most, target) = caps();
        let (state, addr) = (self.folder.path.join("state"), self.addr());
        let (mode, onprem, section) = (self.mode, self.onprem.addr(), self.cloud.section());
        let (stable, state) = (rounds(3, 12), state.display());
        format!(
            r#"
schema = 1
workers = 1
[site]
name = "match-night"
state_dir = "{state}"
[listeners.web]
bind = "{addr}"
[defaults.health]
kind = "http"
path = "/healthz"
interval = "300ms"
timeout = "2s"
healthy_after = 1
unhealthy_after = 2
slow_start = "0s"
[defaults.retries]
max = 3
budget = "50%"
[pools.onprem]
max_concurrency = {most}
backends = [{{ id = "onprem", address = "{onprem}" }}]
queue = {{ time = "10s", max = 10000 }}
[pools.cloud]
kind = "elastic"
tier = 1
max_concurrency = {most}
queue = {{ time = "10s", max = 10000 }}
boot = {{ give_up_after = "10s" }}
{section}
[scalers.cloud]
mode = "{mode}"
tick = "250ms"
ceiling = 24
target = {{ per_instance = {target}, window = "2s", spare = "10%", burst = {{ window = "1s", when_above = "1.1x" }} }}
up = {{ max_step = "100%", min_step = 4 }}
down = {{ stable_for = "{stable}s", cooldown = "0s", max_step = "50%" }}
[[routes]]
name = "all"
to = {{ waterfall = ["onprem", "cloud"] }}
timeouts = {{ attempt = "3s" }}
"#
        )
    }

    /// Of all turns that the journal has.
    fn turns(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.cloud.state.join("journal/cloud.jsonl")).unwrap();
        let record = |line: &str| serde_json::from_str(line.split('\t').next()?).ok();
        text.lines().filter_map(record).collect()
    }

    /// Seconds from launch to the first check of 95 in a hundred instances.
    fn boot(&self) -> Duration {
        let turns = self.turns();
        let events = turns.iter().filter_map(|turn| turn["events"].as_array()).flatten();
        let mut boots: Vec<u64> = events.filter_map(|event| event["boot_ms"][1].as_u64()).collect();
        boots.sort_unstable();
        Duration::from_millis(boots[(boots.len() * 95).div_ceil(100) - 1])
    }
}

/// A time without a door: from SIGKILL until the next was ready.
type Absence = (Instant, Instant);

/// What happens at the worst time; the last door, and when there was none.
async fn disasters(stadium: &Stadium, first: TestDoor, curve: &Curve) -> (TestDoor, Vec<Absence>) {
    let (from, length) = curve.peak();
    let began = Instant::now();
    let at = async |share: f64| {
        rest((from + length.mul_f64(share)).saturating_sub(began.elapsed())).await
    };
    let mut absences = Vec::new();
    let restart = async |door: TestDoor| {
        let killed = Instant::now();
        drop(door); // with SIGKILL
        (stadium.door().await, (killed, Instant::now()))
    };
    at(0.1).await;
    stadium.cloud.signal(0, Signal::KILL);
    at(0.25).await;
    let (door, absence) = restart(first).await;
    absences.push(absence);
    at(0.45).await;
    stadium.cloud.signal(1, Signal::STOP);
    at(0.6).await;
    stadium.cloud.signal(2, Signal::TERM);
    at(0.75).await;
    let (door, absence) = restart(door).await;
    absences.push(absence);
    (door, absences)
}

/// Whether a door had read it when it was killed.
fn was_cut(went: &Went, absences: &[Absence]) -> bool {
    let is_cut = |(killed, _): &Absence| went.began <= *killed && went.ended >= *killed;
    went.outcome.is_err() && absences.iter().any(is_cut)
}

/// How long it waited for somebody who serves it, where there was a door to wait at.
fn wait(went: &Went, absences: &[Absence]) -> Duration {
    let without = |(killed, ready): &Absence| {
        (went.ended.min(*ready)).saturating_duration_since(went.began.max(*killed))
    };
    let without: Duration = absences.iter().map(without).sum();
    (went.ended - went.began).saturating_sub(without + SERVICE)
}

#[tokio::test]
async fn a_match_night_costs_no_request_and_leaves_nobody_behind() {
    let stadium = Stadium::open("act", "127.60.83.0/26").await;
    let door = stadium.door().await;
    door.logged("backend_in_rotation").await;
    let curve = Curve::match_night();
    let (all, (door, absences)) =
        tokio::join!(crowd::come(stadium.addr(), &curve), disasters(&stadium, door, &curve));

    let cut = all.iter().filter(|went| was_cut(went, &absences)).count();
    let failed: Vec<&Went> =
        all.iter().filter(|went| went.outcome != Ok(200) && !was_cut(went, &absences)).collect();
    let shown = &failed[..failed.len().min(5)];
    assert!(failed.is_empty(), "{} of {} failed: {shown:#?}", failed.len(), all.len());
    let mut waits: Vec<Duration> = all.iter().map(|went| wait(went, &absences)).collect();
    waits.sort_unstable();
    let p99 = waits[waits.len() * 99 / 100];

    // The last instance drains, and goes.
    let gone = async {
        while !stadium.cloud.is_gone() {
            rest(Duration::from_millis(100)).await; // a poll with a ceiling
        }
    };
    tests::within(PATIENCE, gone).await;
    let (need, boot) = (curve.need(caps().0 as f64, caps().1 as f64), stadium.boot());
    let paid = stadium.cloud.paid();
    tell(&format!(
        "{} requests, {cut} cut by SIGKILL, p99 wait {p99:?}, boot p95 {boot:?}, \
         {paid:.0} instance-seconds of {need:.0} needed, without a door {:?}",
        all.len(),
        absences.iter().map(|(from, to)| *to - *from).collect::<Vec<_>>()
    ));
    assert!(p99 <= boot, "p99 of the waits is {p99:?}, a boot takes {boot:?}");
    // Minutes that are seconds: a boot and a quiet time weigh more than they do in a real night, and
    // a spare one of seven is more than a tenth. Seen: 1.44 and 1.38 to 1.46; the aim is 1.3.
    let most = if is_drill() { 1.6 } else { 2.5 };
    assert!(paid <= most * need, "{paid} instance-seconds, {need} needed");
    if is_drill() {
        assert!(all.len() >= 100_000, "{}", all.len());
    }
    assert_eq!(door.times("drain_cut_short"), 0, "{}", door.output());

    // The ledger: each launch that was made is in the journal, and none was made twice.
    let turns = stadium.turns();
    let launches = turns.iter().filter_map(|turn| turn["launches"].as_array()).flatten();
    let tokens: Vec<&str> = launches.filter_map(|launch| launch["token"].as_str()).collect();
    for (token, (count, asked)) in stadium.cloud.by_token() {
        assert!(tokens.contains(&&*token), "{token} is in no journal: {tokens:?}");
        assert!(count <= asked, "{token} brought {count} of {asked}");
    }
}

#[tokio::test]
async fn the_same_night_in_shadow_refuses_a_third() {
    let stadium = Stadium::open("shadow", "127.60.84.0/26").await;
    let door = stadium.door().await;
    door.logged("backend_in_rotation").await;
    let all = crowd::come(stadium.addr(), &Curve::match_night()).await;
    let refused = all.iter().filter(|went| went.outcome == Ok(503)).count();
    tell(&format!("in shadow {refused} of {} were refused", all.len()));
    assert!(refused * 10 >= all.len() * 3, "{refused} of {}", all.len());
    assert!(stadium.cloud.by_token().is_empty());
    assert!(door.output().contains("scale_out_decided"), "{}", door.output());
}
