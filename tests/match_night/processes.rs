//! The cloud of the night: local processes, as the provider `process` writes them down. What a test
//! asks of a cloud is all here: its configuration, who runs, and the ledger.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tests::door::binary;

/// One range for each night, so that they can be lived through side by side.
pub(crate) struct Processes {
    pub(crate) state: PathBuf,
    pub(crate) range: &'static str,
    pub(crate) boot_delay: &'static str,
}

impl Processes {
    /// The section below the pool.
    pub(crate) fn section(&self) -> String {
        let (program, range, boot) = (binary(), self.range, self.boot_delay);
        format!(
            "[pools.cloud.process]\ncommand = [\"{}\", \"backend\", \"--listen\", \"{{address}}\", \
             \"--name\", \"{{id}}\"]\naddresses = \"{range}\"\nport = 8080\ngrace = \"1s\"\n\
             boot_delay = \"{boot}\"\n",
            program.display()
        )
    }

    /// Everything that was ever launched.
    fn records(&self) -> Vec<Value> {
        let folder = self.state.join("instances/cloud");
        let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let records = paths.filter(|path| path.extension().is_some_and(|end| end == "json"));
        records.filter_map(|path| serde_json::from_slice(&std::fs::read(path).ok()?).ok()).collect()
    }

    /// The process ids of those that run, the oldest first.
    pub(crate) fn running(&self) -> Vec<i32> {
        let mut records = self.records();
        records.retain(|record| record["phase"] == "running");
        records.sort_by_key(|record| record["launched_ms"].as_i64());
        let pid = |record: &Value| i32::try_from(record["process"]["pid"].as_i64()?).ok();
        records.iter().filter_map(pid).filter(|pid| is_backend(*pid)).collect()
    }

    /// Whether all that was launched has ended.
    pub(crate) fn is_gone(&self) -> bool {
        self.running().is_empty() && self.records().iter().all(|one| one["phase"] == "ended")
    }

    /// The oldest one that runs gets a signal, past everybody who manages it.
    pub(crate) fn signal(&self, place: usize, signal: Signal) {
        let running = self.running();
        let pid = *running.get(place).unwrap_or_else(|| panic!("no {place} in {running:?}"));
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    /// Instances by the token of their launch, with how many were asked for.
    pub(crate) fn by_token(&self) -> BTreeMap<String, (u64, u64)> {
        let mut tokens = BTreeMap::new();
        for record in self.records() {
            let token = record["token"].as_str().unwrap().to_owned();
            let (count, _) = tokens.entry(token).or_insert((0, record["asked"].as_u64().unwrap()));
            *count += 1;
        }
        tokens
    }

    /// Instance-seconds of all, from launch to end; none may be left.
    pub(crate) fn paid(&self) -> f64 {
        let life = |record: &Value| {
            let ended = record["ended_ms"].as_i64();
            let ended = ended.unwrap_or_else(|| panic!("it has not ended: {record}"));
            (ended - record["launched_ms"].as_i64().unwrap()) as f64 / 1e3
        };
        self.records().iter().map(life).sum()
    }
}

impl Drop for Processes {
    /// Also those of a night that failed.
    fn drop(&mut self) {
        for pid in self.running().into_iter().filter_map(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// Whether it is one: another process may have the id by now.
fn is_backend(pid: i32) -> bool {
    std::fs::read(format!("/proc/{pid}/cmdline"))
        .is_ok_and(|line| line.starts_with(binary().as_os_str().as_encoded_bytes()))
}
