//! What was decided, why, and what came of it, on a disk that a crash does not harm.
//!
//! One file per pool, one line per record, only ever appended to. A launch is made when its record
//! is on the disk, so whoever comes after a crash finds it and repeats it under its token. The
//! loop never waits for the disk: a thread writes, and the *launch* waits for it.
//!
//! | what                                            | where       |
//! |-------------------------------------------------|-------------|
//! | records, and what they say                      | `record.rs` |
//! | lines of a file, whole or torn; replay          | `file.rs`   |
//! | the thread that writes, and what it does when it cannot | `writer.rs` |
//!
//! A disk that takes nothing degrades it: it goes on in memory, says so, and tries again. Nothing
//! leaves meanwhile, and what is launched is found by its mark. Requests know nothing of all this.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use policies::backend::PoolName;
use policies::scale::Hold;
use tokio::sync::watch;

use crate::controller::{Mode, Turn};
use crate::ledger::Ledger;
use crate::look::{Action, JournalState};

mod file;
pub mod record;
#[cfg(test)]
mod tests;
mod writer;

use record::{Begin, Record, TurnRecord};
use writer::Writer;

/// The journal of one pool.
pub struct Journal {
    writer: Writer,
    ledger: Ledger,
    is_new: bool,
    installation: Arc<str>,
    /// Of the last record: a hold is written when its reasons are others.
    last: Option<(u32, Vec<&'static str>)>,
}

/// Where the journal of a pool lies.
pub fn path(state_dir: &Path, pool: &PoolName) -> PathBuf {
    state_dir.join("journal").join(format!("{pool}.jsonl"))
}

impl Journal {
    /// Opens or makes the journal at `path`. `random` names a new one, and this life of an old one.
    ///
    /// A folder that cannot be written is no error but a journal in memory, which is told; a disk
    /// that is full at the start must not keep the door closed.
    pub fn open(path: &Path, pool: &PoolName, random: u64, now: Timestamp) -> Journal {
        let replayed = file::replay(path);
        let is_new = replayed.journal.is_none();
        let journal = replayed.journal.unwrap_or_else(|| format!("{:08x}", random >> 32));
        if replayed.is_damaged {
            let reason = match replayed.is_later {
                true => "a later version has written it",
                false => "records in it are no records",
            };
            tracing::error!(%pool, path = %path.display(), reason, "journal_damaged");
        }
        // Each life has a name of its own, so no number of a decision can come twice under it,
        // whatever the journal has lost.
        let installation = format!("{journal}{:08x}", random & u64::from(u32::MAX));
        let begin = Begin::new(now, pool, &journal, &replayed.ledger);
        let (good, is_damaged) = (replayed.good, replayed.is_damaged);
        let writer = Writer::start(path, good, is_damaged, begin, pool.clone());
        Journal {
            writer,
            ledger: replayed.ledger,
            is_new,
            installation: installation.into(),
            last: None,
        }
    }

    /// What is remembered.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// It is new or damaged: there may be instances that it knows nothing of.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// Random, of this journal and this life.
    pub fn installation(&self) -> &Arc<str> {
        &self.installation
    }

    /// Whether what is written now will survive a crash.
    pub fn state(&self) -> JournalState {
        match self.writer.is_degraded() {
            true => JournalState::Degraded,
            false => JournalState::Durable,
        }
    }

    /// Takes in a turn. If it launches, what is returned becomes true when its record is on the
    /// disk, and ends when it is not going to be soon.
    pub fn note(
        &mut self,
        at: Timestamp,
        mode: Mode,
        decision: u64,
        turn: &Turn,
    ) -> Option<watch::Receiver<bool>> {
        self.ledger.note(at, turn);
        if !self.is_worth_writing(turn) {
            return None;
        }
        let launches = turn.actions.iter().any(|action| matches!(action, Action::Launch(_)));
        let record = Record::Turn(Box::new(TurnRecord::new(at, mode, decision, turn)));
        let (done, written) = watch::channel(false);
        self.writer.write(record, done);
        launches.then_some(written)
    }

    fn is_worth_writing(&mut self, turn: &Turn) -> bool {
        let decision = &turn.decision;
        let holds: Vec<&'static str> = decision.holds.iter().map(Hold::word).collect();
        let now = (decision.desired, holds);
        let is_other = self.last.as_ref() != Some(&now);
        self.last = Some(now);
        let acts = |action: &Action| matches!(action, Action::Launch(_) | Action::Terminate { .. });
        is_other
            || decision.desired != decision.current
            || !turn.events.is_empty()
            || turn.actions.iter().any(acts)
    }
}

/// The records of a journal from a place on, and the place behind the last whole one. For whoever
/// wants to read it, also while it is written.
///
/// # Errors
///
/// The file cannot be read.
pub fn read(path: &Path, from: u64) -> io::Result<(Vec<Record>, u64)> {
    file::read(path, from)
}
