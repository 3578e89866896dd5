//! Nothing is lost while backends die, hang, restart, or close their connections.
//!
//! No GET fails and no POST is executed twice, whatever happens; a POST fails only if it was under
//! way at a backend that died. `TIDEGATE_DRILL=1` runs the long forms (`make drills`).

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test, in helpers too

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tests::drill::cable::{Cable, Place, alone};
use tests::drill::{Process, configuration, is_drill, rounds, tell};
use tests::mixed::{Account, Failure, Mixed, Rhythm};
use tests::{CEILING, TestDoor, within};
use tokio::sync::Mutex;

const WORKERS: [usize; 2] = [1, 4];

/// One at a time: each of them is all that two cores can bear.
static TURN: Mutex<()> = Mutex::const_new(());

async fn stage(manner: &[&str], workers: usize) -> (TestDoor, Vec<Process>) {
    let backends: Vec<Process> = ["a", "b", "c"].map(|name| Process::start(name, manner)).into();
    (front(&backends, workers, "").await, backends)
}

/// A door with these lines more, once all of these take requests.
async fn front(backends: &[Process], workers: usize, more: &str) -> TestDoor {
    let all: Vec<&Process> = backends.iter().collect();
    let door = TestDoor::start(&configuration(&all, workers, more)).await;
    for backend in backends {
        let event = format!("backend_in_rotation pool=app backend={}", backend.name());
        door.logged(&event).await;
    }
    door
}

/// At most a thousand requests a second.
fn rhythm() -> Rhythm {
    let pause = Duration::from_millis(if is_drill() { 80 } else { 40 });
    Rhythm { clients: rounds(20, 80), burst: 1, pause }
}

/// A part of the load: the short form or, of all three parts of a drill, 45,000 requests.
fn part() -> usize {
    rounds(400, 15_000)
}

/// A time in which a backend died.
struct Death {
    begun: Instant,
    over: Instant,
}

/// What must hold of all requests, and of the POSTs that failed.
fn judge(account: &Account, backends: &mut [Process], deaths: &[Death]) {
    let gets = account.failed_gets();
    assert!(gets.is_empty(), "{} of {} GETs failed: {:#?}", gets.len(), account.gets, some(&gets));
    let mut executed = BTreeMap::<String, usize>::new();
    for backend in backends {
        // All that it has told is read when it has ended.
        backend.end();
        for (id, times) in backend.posts() {
            *executed.entry(id).or_default() += times;
        }
    }
    let twice: Vec<_> = executed.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
    let lost: Vec<_> = account.posts.iter().filter(|id| !executed.contains_key(*id)).collect();
    assert!(lost.is_empty(), "answered and not executed: {lost:?}");
    let was_under_way = |failure: &&Failure| {
        deaths.iter().any(|death| failure.sent <= death.over && failure.ended >= death.begun)
    };
    let owed = account.failed_posts().into_iter().filter(was_under_way).count();
    let posts = account.failed_posts();
    assert_eq!(owed, posts.len(), "{:#?}", some(&posts));
}

fn some<'a>(failures: &[&'a Failure]) -> Vec<&'a Failure> {
    failures.iter().take(10).copied().collect()
}

fn death(of: impl FnOnce()) -> Death {
    let begun = Instant::now();
    of();
    Death { begun, over: Instant::now() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_is_killed_costs_no_get_and_posts_only_in_flight_on_it() {
    let _turn = TURN.lock().await;
    for workers in WORKERS {
        let (door, mut backends) = stage(&[], workers).await;
        let load = Mixed::start(door.addr("web"), rhythm());
        load.goes_on(part()).await;
        let death = death(|| backends[0].kill());
        load.goes_on(part()).await;
        door.logged("backend_out_of_rotation pool=app backend=a").await;
        backends[0].revive();
        backends[0].takes_requests().await;
        load.goes_on(part()).await;
        judge(&load.stop().await, &mut backends, &[death]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_costs_no_get_and_posts_only_in_flight() {
    let _turn = TURN.lock().await;
    for workers in WORKERS {
        let (door, mut backends) = stage(&[], workers).await;
        let load = Mixed::start(door.addr("web"), rhythm());
        load.goes_on(part()).await;
        let mut deaths = Vec::new();
        for round in 0..rounds(1, 4) {
            for backend in &mut backends {
                // In turns as programs are stopped, and as they die.
                let is_kill = round % 2 == 1;
                deaths.push(death(|| if is_kill { backend.kill() } else { backend.end() }));
                load.goes_on(part() / 10).await;
                backend.revive();
                backend.takes_requests().await;
            }
        }
        judge(&load.stop().await, &mut backends, &deaths);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_answers_with_many_in_flight_survive_a_kill() {
    let _turn = TURN.lock().await;
    let clients = rounds(120, 270);
    let (door, mut backends) = stage(&["delay=300"], 2).await;
    let load = Mixed::start(door.addr("web"), Rhythm { clients, burst: 1, pause: Duration::ZERO });
    load.goes_on(clients * rounds(3, 40)).await;
    let death = death(|| backends[0].kill());
    load.goes_on(clients * rounds(3, 40)).await;
    let account = load.stop().await;
    // A third of the clients was at it, half of them with a POST.
    let failed = account.failed_posts().len();
    assert!((clients / 12..=clients / 3).contains(&failed), "{failed} POSTs were in flight");
    judge(&account, &mut backends, &[death]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_hangs_is_out_in_three_seconds_and_costs_nothing() {
    let _turn = TURN.lock().await;
    for workers in WORKERS {
        let (door, mut backends) = stage(&[], workers).await;
        let load = Mixed::start(door.addr("web"), rhythm());
        load.goes_on(part()).await;
        backends[0].signal(Signal::STOP);
        let stopped = Instant::now();
        door.logged("backend_out_of_rotation pool=app backend=a").await;
        let limit = Duration::from_millis(if is_drill() { 3_000 } else { 4_500 });
        assert!(stopped.elapsed() <= limit, "out after {:?}", stopped.elapsed());
        load.goes_on(part()).await;
        backends[0].signal(Signal::CONT);
        backends[0].takes_requests().await;
        load.goes_on(part()).await;
        let account = load.stop().await;
        judge(&account, &mut backends, &[]);
        // Until it is out, and a second more until that is seen.
        assert!(account.slowest_get <= limit + Duration::from_millis(1_500), "{account:?}");
    }
}

/// How a backend closes, and how it is asked so that it matters.
async fn closes(manner: &[&str], rhythm: Rhythm, requests: usize) -> Account {
    let _turn = TURN.lock().await;
    let (door, mut backends) = stage(manner, 2).await;
    let load = Mixed::start(door.addr("web"), rhythm);
    load.goes_on(requests).await;
    let mut account = load.stop().await;
    let failed: Vec<Failure> = account.failed_posts().into_iter().cloned().collect();
    account.failures.retain(|failure| failure.id.is_empty());
    judge(&account, &mut backends, &[]);
    account.failures = failed;
    account
}

/// Bursts about a second apart: connections are used at about the time when they are closed.
fn about_a_second() -> Rhythm {
    let pause = Duration::from_millis(900);
    Rhythm { clients: rounds(20, 100), burst: 10, pause }
}

fn at_once() -> Rhythm {
    Rhythm { clients: 12, burst: 1, pause: Duration::from_millis(2) }
}

/// At most one of 10,000. On a machine that compiles meanwhile a backend may be interrupted between
/// an answer and its close, for longer than the door can wait.
fn few_failed(account: &Account) {
    let allowed = if is_drill() { account.posts.len() / 10_000 } else { 3 };
    assert!(account.failures.len() <= allowed, "{:#?}", account.failures);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backends_that_close_idle_connections_cost_next_to_nothing_and_nothing_once_announced() {
    let account = closes(&["idle=1000"], about_a_second(), rounds(800, 50_000)).await;
    few_failed(&account);
    let account = closes(&["idle=1000", "announce=1"], about_a_second(), rounds(800, 50_000)).await;
    assert!(account.failures.is_empty(), "{:#?}", account.failures);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backends_that_close_after_some_requests_cost_next_to_nothing_and_nothing_once_announced() {
    let account = closes(&["requests=50"], at_once(), rounds(1_500, 50_000)).await;
    few_failed(&account);
    let account = closes(&["requests=50", "announce=1"], at_once(), rounds(1_500, 50_000)).await;
    assert!(account.failures.is_empty(), "{:#?}", account.failures);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_all_are_down_clients_hear_it_at_once_and_are_served_soon_after_a_check_passes() {
    let _turn = TURN.lock().await;
    for workers in WORKERS {
        let (door, mut backends) = stage(&[], workers).await;
        let load = Mixed::start(door.addr("web"), rhythm());
        load.goes_on(part() / 4).await;
        load.stop().await;
        for backend in &mut backends {
            backend.kill();
        }
        for backend in &backends {
            let event = format!("backend_out_of_rotation pool=app backend={}", backend.name());
            door.logged(&event).await;
        }
        let mut client = door.client().await;
        let mut took = Vec::new();
        for _ in 0..100 {
            let asked = Instant::now();
            assert_eq!(client.get("/").await.status, 503);
            took.push(asked.elapsed());
        }
        took.sort();
        let limit = Duration::from_millis(if is_drill() { 10 } else { 50 });
        assert!(took[50] <= limit, "{:?}", took[50]);
        let probes = backends[1].probes().len();
        backends[1].revive();
        within(CEILING, async { while client.get("/").await.status == 503 {} }).await;
        let served = Instant::now();
        let first = backends[1].probes()[probes];
        let limit = Duration::from_millis(if is_drill() { 1_000 } else { 3_000 });
        assert!(served - first <= limit, "{:?} after the first check", served - first);
    }
}

/// What is done to a backend.
type Act<'a> = &'a dyn Fn(&mut Process);

/// What happens to a backend, and how it ends.
struct Trouble<'a> {
    begins: Act<'a>,
    ends: Act<'a>,
    /// What is told once it is out, which must be by then.
    told: &'a str,
    limit: Duration,
}

const OUT: &str = "backend_out_of_rotation";
const EJECTED: &str = "backend_ejected";
/// Long enough to be seen, short enough to wait for the end of it.
const EJECT: &str = "[pools.app.outlier]\neject_for = \"2s\"\n";
const RETRIES: &str =
    "[defaults.retries]\non = [\"connect_failure\", \"reset_before_headers\", \"500\"]\n";

/// Load on backends of which the first gets into trouble and out of it again. No GET fails, and
/// while it is out 99 of 100 GETs are answered as soon as before, or half as late again.
async fn outlives(trouble: Trouble<'_>, door: &TestDoor, backends: &mut [Process]) {
    let (clients, pause) = (rounds(20, 80), Duration::from_millis(60));
    let load = Mixed::start(door.addr("web"), Rhythm { clients, burst: 1, pause });
    load.goes_on(part() / 4).await;
    let calm = Instant::now();
    load.goes_on(part()).await;
    let begun = Instant::now();
    (trouble.begins)(&mut backends[0]);
    let limit = trouble.limit * if is_drill() { 1 } else { 3 };
    let told = format!("{} pool=app backend=a", trouble.told);
    while !door.output().contains(&told) {
        assert!(begun.elapsed() <= limit, "not out after {:?}", begun.elapsed());
        load.goes_on(1).await;
    }
    let out = Instant::now();
    load.goes_on(part()).await;
    let over = Instant::now();
    (trouble.ends)(&mut backends[0]);
    while trouble.told == EJECTED && !door.output().contains("backend_readmitted") {
        load.goes_on(1).await;
    }
    backends[0].takes_requests().await;
    let back = over.elapsed();
    load.goes_on(part()).await;
    let account = load.stop().await;
    judge(&account, backends, &[Death { begun, over }]);
    let (before, after) = (account.p99(calm, begun), account.p99(out, over));
    // Figures are worth something on a machine that does nothing else.
    if is_drill() {
        let out = out - begun;
        tell(&format!(
            "{told}: out after {out:?}, back after {back:?}; p99 {before:?}, then {after:?}"
        ));
        assert!(after * 2 <= before * 3, "p99 {before:?}, then {after:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_others_keep_their_pace_without_one_that_died_or_hangs() {
    let _turn = TURN.lock().await;
    let hang: Act<'_> = &|it| it.signal(Signal::STOP);
    let go_on: Act<'_> = &|it| it.signal(Signal::CONT);
    for (begins, ends) in [(&Process::kill as Act<'_>, &Process::revive as Act<'_>), (hang, go_on)]
    {
        let (door, mut backends) = stage(&["delay=20"], 2).await;
        let trouble = Trouble { begins, ends, told: OUT, limit: Duration::from_secs(3) };
        outlives(trouble, &door, &mut backends).await;
    }
}

/// A 500 is the application's answer and is tried again only where it is named.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_others_keep_their_pace_without_one_whose_answers_are_bad_or_late() {
    let _turn = TURN.lock().await;
    // What is slow takes long to be found out, so the short form leaves it to tests/passive.rs.
    for (manner, limit) in [("errors=20", 3), ("slow=1000", 10)].into_iter().take(rounds(1, 2)) {
        let backends = ["a", "b", "c"].map(|name| Process::start(name, &["delay=20", manner]));
        let mut backends = Vec::from(backends);
        let door = front(&backends, 2, &(RETRIES.to_owned() + EJECT)).await;
        let (begins, ends) = (&|it: &mut Process| it.signal(Signal::USR1), &|it: &mut Process| {
            it.signal(Signal::USR2);
        });
        let limit = Duration::from_secs(limit);
        let trouble = Trouble { begins, ends, told: EJECTED, limit };
        outlives(trouble, &door, &mut backends).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a drill that takes root and a network of its own: make failover"]
async fn a_backend_that_is_cut_off_without_a_word_costs_nothing() {
    let _turn = TURN.lock().await;
    match alone("a_backend_that_is_cut_off_without_a_word_costs_nothing") {
        Place::Here => {}
        Place::Elsewhere => return,
        Place::Nowhere => {
            return tell("SKIPPED: nobody was cut off; it takes root, `ip`, `unshare`, `nsenter`");
        }
    }
    let (far, cable) = Cable::to("a", &["delay=20"]);
    let near = ["b", "c"].map(|name| Process::start(name, &["delay=20"]));
    let mut backends: Vec<Process> = std::iter::once(far).chain(near).collect();
    let door = front(&backends, 2, "").await;
    let (begins, ends) = (&|_: &mut Process| cable.cut(), &|_: &mut Process| cable.mend());
    let trouble = Trouble { begins, ends, told: OUT, limit: Duration::from_secs(3) };
    outlives(trouble, &door, &mut backends).await;
}
