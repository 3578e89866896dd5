//! What the kernel says of this process. The names are those that every Prometheus client uses,
//! so that dashboards for processes work.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::names;
use super::text::Text;

/// Ticks per second of the times in `/proc/self/stat`: `USER_HZ`, 100 on every Linux we build for.
const TICKS: f64 = 100.0;

/// Writes what can be read; a line is left out if `/proc` does not have it.
pub(super) fn write(text: &mut Text) {
    if let Some(stat) = Stat::read() {
        text.family(&names::PROCESS_CPU).add(&[], stat.cpu_seconds);
        if let Some(start) = stat.start_seconds {
            text.family(&names::PROCESS_START).add(&[], start);
        }
    }
    if let Some(bytes) = resident_bytes() {
        text.family(&names::PROCESS_RESIDENT).add(&[], bytes);
    }
    if let Ok(files) = fs::read_dir("/proc/self/fd") {
        // One of them is the directory that is being read.
        let open = files.count().saturating_sub(1);
        text.family(&names::PROCESS_FDS).add(&[], open as f64);
    }
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let limit = limit.map_or(f64::INFINITY, |limit| limit as f64);
    text.family(&names::PROCESS_MAX_FDS).add(&[], limit);
}

struct Stat {
    cpu_seconds: f64,
    start_seconds: Option<f64>,
}

impl Stat {
    fn read() -> Option<Stat> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        // The second field is the name in brackets and may hold anything, spaces too.
        let (_, rest) = stat.rsplit_once(')')?;
        let field = |number: usize| -> Option<f64> {
            // proc_pid_stat(5) counts from 1; the rest begins with field 3.
            rest.split_whitespace().nth(number - 3)?.parse().ok()
        };
        let cpu_seconds = (field(14)? + field(15)?) / TICKS;
        let start_seconds = field(22).and_then(|ticks| Some(boot_seconds()? + ticks / TICKS));
        Some(Stat { cpu_seconds, start_seconds })
    }
}

fn boot_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.parse().ok()
}

fn resident_bytes() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024.0)
}

/// Seconds since 1970 of a moment; 0 for one before.
pub(super) fn unix_seconds(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_described() {
        let mut text = Text::default();
        write(&mut text);
        let text = text.into_string();
        let value = |name: &str| -> f64 {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().unwrap()
        };
        assert!(value("process_resident_memory_bytes") > 100_000.0);
        assert!((3.0..10_000.0).contains(&value("process_open_fds")));
        assert!(value("process_max_fds") >= value("process_open_fds"));
        assert!(value("process_cpu_seconds_total") >= 0.0);
        let age = unix_seconds(SystemTime::now()) - value("process_start_time_seconds");
        assert!((-2.0..3_600.0).contains(&age), "started {age} s ago");
    }
}
