//! Checks as an operator meets them: how soon a backend is out, with what is shipped.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use tests::TestDoor;
use tests::drill::{Process, configuration};

/// The kernel goes on to accept for a frozen process, so that only a check that waits for an
/// answer can see it.
#[tokio::test]
async fn a_frozen_backend_is_out_in_three_seconds_with_the_shipped_defaults() {
    let (one, two) = (Process::start("b0", &[]), Process::start("b1", &[]));
    let door = TestDoor::start(&configuration(&[&one, &two], 1, "")).await;
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
