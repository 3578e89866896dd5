//! What is remembered of an instance beyond the life of Tidegate: one small file each.
//!
//! A file is written before its process is started and again with the process's identity, each
//! time whole and on the disk before anything else happens. Between the two lies a moment in which
//! a process runs that no file names; it is found by a variable of its environment.

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use policies::backend::BackendId;
use scaler::journal::record::MarkRecord;
use scaler::ports::{Instance, InstanceState, Mark, Token};
use serde::{Deserialize, Serialize};

/// No file of ours is longer; a longer one is not read.
const LONGEST: u64 = 1 << 20;

/// One instance, as written down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Follows from the token and `index`.
    pub(super) id: String,
    /// 48 hexadecimal digits.
    pub(super) token: String,
    /// Place within its launch, from 0.
    pub(super) index: u32,
    /// How many the launch asked for.
    pub(super) asked: u32,
    /// How many it gets: decided once, or a repeat would launch what did not fit before.
    pub(super) granted: u32,
    pub(super) mark: MarkRecord,
    /// [`scaler::ports::Offer::spec`], as it was.
    pub(super) spec: String,
    pub(super) address: SocketAddr,
    pub(super) launched_ms: i64,
    pub(super) phase: Phase,
    /// Once it was started.
    pub(super) process: Option<Identity>,
    /// Why it ended, for people.
    pub(super) end: Option<String>,
    pub(super) ended_ms: Option<i64>,
}

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Phase {
    /// Its time to start has not come.
    Pending,
    /// It was started.
    Running,
    /// It was told to end.
    Stopping,
    /// It has ended.
    Ended,
}

/// Why an instance has ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    /// As was asked for.
    #[error("terminated")]
    Terminated,
    /// The same, before its time to start had come.
    #[error("terminated before it was started")]
    NeverStarted,
    /// Nobody asked for it.
    #[error("it ended by itself")]
    Crashed,
    /// Nobody asked for it, and this is how.
    #[error("it ended by itself: {0}")]
    CrashedWith(std::process::ExitStatus),
    /// With the machine.
    #[error("the machine was started again")]
    Rebooted,
    /// There was no process.
    #[error("it could not be started: {0}")]
    NotStarted(io::Error),
}

impl End {
    /// Whether it is as it should be.
    pub(super) fn is_wanted(&self) -> bool {
        matches!(self, End::Terminated | End::NeverStarted)
    }
}

/// Names one process for ever: ids come round again, and times of start only after a boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    /// Process id, which is the id of its group as well.
    pub(super) pid: i32,
    /// Clock ticks from the boot of the machine until its start (`/proc/PID/stat`, field 22).
    pub(super) started: u64,
    /// `/proc/sys/kernel/random/boot_id`.
    pub(super) boot: String,
}

/// The id of one instance of a launch. 96 bits of the token: no two launches share them.
pub(super) fn id_of(token: &Token, index: u32) -> String {
    let token = token.to_string();
    format!("p-{}-{index}", &token[..24])
}

impl Record {
    /// As the port shows it.
    pub(super) fn instance(&self, kind: &str) -> Instance {
        Instance {
            id: BackendId(self.id.as_str().into()),
            state: match self.phase {
                Phase::Pending => InstanceState::Pending,
                Phase::Running => InstanceState::Running,
                Phase::Stopping => InstanceState::Stopping,
                Phase::Ended => InstanceState::Terminated,
            },
            address: Some(self.address),
            zone: None,
            mark: Some(Mark::from(&self.mark)),
            launched_at: Timestamp::from_millisecond(self.launched_ms).ok(),
            kind: kind.into(),
            image_made_at: None,
            is_marked: false,
            is_spot: false,
        }
    }

    /// Where it lies.
    pub(super) fn file(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{}.json", self.id))
    }

    /// Writes it, whole or not at all, and returns once it is on the disk.
    pub(super) fn save(&self, folder: &Path) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(self)?;
        let draft = folder.join(format!("{}.new", self.id));
        let mut file = File::create(&draft)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&draft, self.file(folder))?;
        File::open(folder)?.sync_all()
    }
}

/// All records of a folder. One that cannot be read is an error: its instance may run, and a list
/// without it would be a lie.
pub(super) fn load(folder: &Path) -> io::Result<Vec<Record>> {
    let mut records = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("json") => records.push(read(&path)?),
            // Left by a crash while it was written; what it says has not begun.
            Some("new") => fs::remove_file(&path)?,
            _ => {}
        }
    }
    Ok(records)
}

fn read(path: &Path) -> io::Result<Record> {
    let bad = |why: &dyn std::fmt::Display| {
        let text = format!("`{}` is no record of an instance: {why}", path.display());
        io::Error::new(io::ErrorKind::InvalidData, text)
    };
    if fs::metadata(path)?.len() > LONGEST {
        return Err(bad(&"it is too long"));
    }
    let record: Record = serde_json::from_slice(&fs::read(path)?).map_err(|why| bad(&why))?;
    // The name decides which file is written next: it must be this one.
    match path.file_stem().is_some_and(|stem| *stem == *record.id) {
        true => Ok(record),
        false => Err(bad(&format!("it has the id `{}`", record.id.escape_debug()))),
    }
}
