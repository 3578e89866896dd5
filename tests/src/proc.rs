//! What the kernel says of a door under test, in `/proc`.

use std::fs;

use crate::door::TestDoor;

/// A value of `/proc/PID/status`, in KiB: `VmRSS` is what is resident, `VmHWM` the most that ever was.
pub fn status(door: &TestDoor, name: &str) -> u64 {
    kib(door, "status", name)
}

/// Memory that is the process's own, in KiB: other doors come and go, with whom it shares the pages
/// of the program.
pub fn own_memory(door: &TestDoor) -> u64 {
    kib(door, "smaps_rollup", "Pss_Anon")
}

/// Its open files.
pub fn descriptors(door: &TestDoor) -> usize {
    fs::read_dir(format!("/proc/{}/fd", door.pid())).expect("a running door").count()
}

fn kib(door: &TestDoor, file: &str, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/{file}", door.pid())).expect("a running door");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let line = line.expect("a line of every such file");
    line.trim().trim_end_matches(" kB").parse().expect("a number of KiB")
}
