//! A door that has no processor time to spare finds no fault with its backends: what comes late is
//! late through the machine, and is held against nobody.
//!
//! `TIDEGATE_DRILL=1` runs the long form (`make saturation`).

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test, in helpers too

use std::fs;
use std::time::{Duration, Instant};

use tests::TestDoor;
use tests::drill::{Process, configuration, is_drill, rounds, tell};
use tests::load::{Load, Manner};

/// Jiffies of all processors since the machine has started: of which nobody used so many, and all.
fn processor_time() -> (u64, u64) {
    let text = fs::read_to_string("/proc/stat").unwrap();
    let line = text.lines().next().unwrap();
    let fields: Vec<u64> =
        line.split_whitespace().skip(1).map(|field| field.parse().unwrap()).collect();
    // The fourth is idle, the fifth waits for a disk; what guests use is in the first two.
    (fields[3] + fields[4], fields[..8].iter().sum())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_door_at_the_end_of_its_strength_changes_no_verdict() {
    let backends = ["a", "b", "c"].map(|name| Process::start(name, &[]));
    let all: Vec<&Process> = backends.iter().collect();
    let workers = std::thread::available_parallelism().map_or(2, |count| count.get());
    // Checks and ejections as they are shipped, and a breaker besides.
    let config = configuration(&all, workers, "[pools.app.breaker]\n");
    let door = TestDoor::start(&config).await;
    for backend in &backends {
        let event = format!("backend_in_rotation pool=app backend={}", backend.name());
        door.logged(&event).await;
    }
    // So many that some of them always have a request under way.
    let load = Load::start(door.addr("web"), rounds(64, 400), Manner::Kept, Duration::ZERO);
    let (begun, (idle, total)) = (Instant::now(), processor_time());
    let lasts = Duration::from_secs(rounds(3, 60) as u64);
    while begun.elapsed() < lasts {
        load.goes_on(100).await;
    }
    let (idle, total) = (processor_time().0 - idle, processor_time().1 - total);
    let (answered, failures) = load.stop().await;
    let percent = 100.0 - 100.0 * idle as f64 / total as f64;
    let rate = answered as f64 / begun.elapsed().as_secs_f64();
    tell(&format!("{rate:.0} requests/s, {percent:.1} % of all processors"));
    assert_eq!(failures, Vec::<String>::new());
    assert!(percent > 95.0 || !is_drill(), "{percent} % of all processors are no saturation");
    let output = door.output();
    for event in [
        "backend_unhealthy",
        "backend_out_of_rotation",
        "backend_ejected",
        "breaker_opened",
        "pool_panicked",
    ] {
        assert!(!output.contains(event), "{output}");
    }
}
