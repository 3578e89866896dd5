//! Processes: how one is started, recognised, told to end and ended.
//!
//! A process is only ever signalled after it was recognised by its time of start: the ids of dead
//! ones are given to strangers. It leads a group of its own, which is ended as a whole.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, PidfdFlags, Signal};

use super::record::Identity;

/// Names the instance in the environment of all its processes.
pub(super) const MARK: &str = "TIDEGATE_INSTANCE";

/// Starts `command` as the leader of a new group. Its output goes to the end of `log`.
pub(super) fn start(
    command: &[String],
    env: &BTreeMap<String, String>,
    log: &Path,
) -> io::Result<(Child, Identity)> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the command is empty"));
    };
    let log = File::options().create(true).append(true).open(log)?;
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(crate::program::environment())
        .envs(env)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()?;
    match identify(child.id()) {
        Ok(identity) => Ok((child, identity)),
        // Dead or alive, one that was not waited for is in /proc: there is none. What cannot be
        // recognised cannot be ended later.
        Err(error) => {
            child.kill()?;
            child.wait()?;
            Err(error)
        }
    }
}

/// Who this process is, so that it can be recognised after a restart of ours.
pub(super) fn identify(pid: u32) -> io::Result<Identity> {
    let pid = i32::try_from(pid).map_err(|_| io::ErrorKind::InvalidInput)?;
    Ok(Identity { pid, started: Stat::read(pid)?.started, boot: boot()? })
}

/// Which boot of the machine this is: times of start count from it.
pub(super) fn boot() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// Whether it is still this process, of this boot, and not dead.
pub(super) fn is_alive(identity: &Identity) -> bool {
    is_alive_by(Stat::read(identity.pid), identity)
}

/// Only a process that is not there, or another one with its id, is a death. What could not be
/// read, because there are no more descriptors for example, tells nothing.
fn is_alive_by(stat: io::Result<Stat>, identity: &Identity) -> bool {
    match stat {
        Ok(stat) => stat.is_life_of(identity),
        Err(error) => !is_missing(&error),
    }
}

/// It has gone before its file was opened, or before it was read.
fn is_missing(error: &io::Error) -> bool {
    let gone = [rustix::io::Errno::NOENT, rustix::io::Errno::SRCH];
    gone.iter().any(|gone| error.raw_os_error() == Some(gone.raw_os_error()))
}

/// Signals the whole group while its leader is there, alive or dead and not waited for: so long
/// the id belongs to nobody else.
///
/// # Errors
///
/// It could not be recognised, and was left alone.
pub(super) fn signal(identity: &Identity, signal: Signal) -> io::Result<()> {
    let is_there = match Stat::read(identity.pid) {
        Ok(stat) => stat.started == identity.started,
        Err(error) if is_missing(&error) => false,
        Err(error) => return Err(error),
    };
    if let (true, Some(group)) = (is_there, pid(identity)) {
        // It may have ended just now, which is what is wanted.
        let _ = rustix::process::kill_process_group(group, signal);
    }
    Ok(())
}

/// Processes that carry the mark of this instance: those whose start we did not live to write
/// down, and those that outlived their leader. Only processes of our own user can be looked into.
pub(super) fn marked(id: &str) -> Vec<Identity> {
    let mark = format!("{MARK}={id}");
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let has_mark = |identity: &Identity| {
        let environment = fs::read(format!("/proc/{}/environ", identity.pid)).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
    };
    // Asked for its life last: what was read in between was then its own.
    pids.filter_map(|pid| identify(pid).ok()).filter(has_mark).filter(is_alive).collect()
}

/// Kills one process, and nothing else.
///
/// The handle is opened first and the process recognised after that: if the id went to a stranger
/// in between, the time of start tells.
pub(super) fn kill_one(identity: &Identity) {
    let Some(pid) = pid(identity) else { return };
    let Ok(handle) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else { return };
    if Stat::read(identity.pid).is_ok_and(|stat| stat.is_life_of(identity)) {
        let _ = rustix::process::pidfd_send_signal(handle, Signal::KILL);
    }
}

fn pid(identity: &Identity) -> Option<Pid> {
    // 0 and 1 would mean our own group and everybody's ancestor.
    if identity.pid > 1 { Pid::from_raw(identity.pid) } else { None }
}

/// Two fields of `/proc/PID/stat` (proc(5)).
struct Stat {
    state: u8,
    started: u64,
}

impl Stat {
    fn read(pid: i32) -> io::Result<Stat> {
        let text = fs::read(format!("/proc/{pid}/stat"))?;
        let text = String::from_utf8_lossy(&text);
        Stat::parse(&text).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// The name of the program stands in parentheses and may hold anything, parentheses too.
    fn parse(text: &str) -> Option<Stat> {
        let (_, rest) = text.rsplit_once(')')?;
        let mut fields = rest.split_ascii_whitespace();
        let state = fields.next()?.bytes().next()?;
        // Field 22; the state is field 3.
        Some(Stat { state, started: fields.nth(18)?.parse().ok()? })
    }

    /// It is this process, and not dead.
    fn is_life_of(&self, identity: &Identity) -> bool {
        self.started == identity.started && !matches!(self.state, b'Z' | b'X' | b'x')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_start_is_found_behind_any_name() {
        let tail = "S 1 2 2 0 -1 4228108 78 0 0 0 0 0 0 0 20 0 1 0 1306073 0 0";
        for name in ["sleep", "a b) Z (c", "("] {
            let stat = Stat::parse(&format!("14148 ({name}) {tail}")).unwrap();
            assert_eq!((stat.state, stat.started), (b'S', 1_306_073));
        }
        assert!(Stat::parse("14148 (sleep) S 1").is_none());
        assert!(Stat::parse("").is_none());
    }

    #[test]
    fn what_cannot_be_read_is_no_death() {
        use rustix::io::Errno;
        let own = identify(std::process::id()).unwrap();
        let is_alive = |error: Errno| is_alive_by(Err(error.into()), &own);
        assert!(is_alive(Errno::MFILE) && is_alive(Errno::NFILE) && is_alive(Errno::NOMEM));
        assert!(!is_alive(Errno::NOENT) && !is_alive(Errno::SRCH));
    }

    #[test]
    fn a_process_is_recognised_by_its_start_and_not_by_its_id() {
        let own = identify(std::process::id()).unwrap();
        assert!(is_alive(&own));
        assert!(!is_alive(&Identity { started: own.started + 1, ..own.clone() }));
        assert!(pid(&Identity { pid: 1, ..own.clone() }).is_none());
        assert!(pid(&Identity { pid: -5, ..own }).is_none());
    }
}
