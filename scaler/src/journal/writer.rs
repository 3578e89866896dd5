//! The thread that writes a journal.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use policies::backend::PoolName;
use tokio::sync::watch;

use super::file;
use super::record::{Begin, Record};
use crate::ledger::Ledger;

/// Records that wait for the disk; one more, and it counts as one that takes nothing.
const MAILBOX: usize = 256;

/// Records that are kept while the disk takes nothing; the oldest go.
const MOST_KEPT: usize = 4096;

/// A disk that took nothing is tried again after this.
const AGAIN: Duration = Duration::from_secs(2);

/// A larger file is put aside. In tests it does not take long to get there.
const LARGE: u64 = if cfg!(test) { 64 << 10 } else { 16 << 20 };

/// So many files that were put aside are kept.
const ASIDE: u32 = 8;

/// Told `true` when a record is on the disk; dropped when it is not going to be soon.
type Done = watch::Sender<bool>;

type Entry = (Record, Done);

/// The writing end of a journal.
pub(super) struct Writer {
    entries: Option<SyncSender<Entry>>,
    is_degraded: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Goes on behind the first `good` bytes of the file, with `begin`. A file that is damaged is
    /// kept as `POOL.jsonl.damaged` first.
    pub(super) fn start(
        path: &Path,
        good: u64,
        is_damaged: bool,
        begin: Begin,
        pool: PoolName,
    ) -> Writer {
        let is_degraded = Arc::<AtomicBool>::default();
        let (entries, inbox) = sync_channel(MAILBOX);
        let mut disk = Disk {
            path: path.to_owned(),
            file: None,
            lock: None,
            good,
            is_damaged,
            aside_after: None,
            kept: VecDeque::new(),
            ledger: Ledger::default(),
            journal: begin.journal.clone(),
            pool,
            is_degraded: Arc::clone(&is_degraded),
        };
        disk.take(Record::Begin(Box::new(begin)));
        let thread = thread::Builder::new().name("journal".to_owned());
        let thread = thread.spawn(move || disk.run(&inbox));
        if thread.is_err() {
            is_degraded.store(true, Ordering::Relaxed);
        }
        Writer { entries: Some(entries), is_degraded, thread: thread.ok() }
    }

    pub(super) fn is_degraded(&self) -> bool {
        self.is_degraded.load(Ordering::Relaxed)
    }

    /// `done` is told or dropped once the disk has taken the record or refused it.
    pub(super) fn write(&self, record: Record, done: Done) {
        let sent = self.entries.as_ref().map(|entries| entries.try_send((record, done)));
        if let Some(Err(TrySendError::Full(_) | TrySendError::Disconnected(_))) = sent {
            // A disk that hangs. What is lost here is found by its mark.
            self.is_degraded.store(true, Ordering::Relaxed);
        }
    }
}

impl Drop for Writer {
    /// Waits for the thread: whoever opens the journal next finds it whole.
    fn drop(&mut self) {
        drop(self.entries.take());
        if let Some(thread) = self.thread.take() {
            // A panic of it was printed where it happened.
            let _ = thread.join();
        }
    }
}

/// What the thread owns.
struct Disk {
    path: PathBuf,
    file: Option<File>,
    /// Held as long as we write: of two doors that follow each other one writes at a time.
    lock: Option<File>,
    good: u64,
    /// What follows there makes no sense to us.
    is_damaged: bool,
    /// The file is large and could not be put aside; not before this is it tried again.
    aside_after: Option<Instant>,
    /// Not on the disk yet.
    kept: VecDeque<Vec<u8>>,
    /// For the beginning of the next file.
    ledger: Ledger,
    journal: String,
    pool: PoolName,
    is_degraded: Arc<AtomicBool>,
}

impl Disk {
    fn run(mut self, inbox: &Receiver<Entry>) {
        self.flush();
        loop {
            match inbox.recv_timeout(AGAIN) {
                Ok((record, done)) => {
                    self.take(record);
                    if self.flush() {
                        done.send_replace(true);
                    }
                }
                Err(RecvTimeoutError::Timeout) if self.kept.is_empty() => self.keep_small(),
                Err(RecvTimeoutError::Timeout) => drop(self.flush()),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn take(&mut self, record: Record) {
        record.fold(&mut self.ledger);
        self.kept.push_back(file::line(&record));
        while self.kept.len() > MOST_KEPT {
            self.kept.pop_front();
        }
    }

    /// Whether all is on the disk.
    fn flush(&mut self) -> bool {
        let written = self.write();
        let was_degraded = self.is_degraded.swap(written.is_err(), Ordering::Relaxed);
        let (pool, path) = (&self.pool, self.path.display());
        match &written {
            Err(error) if !was_degraded => {
                tracing::error!(%pool, %path, %error, "journal_degraded");
            }
            Ok(()) if was_degraded => tracing::info!(%pool, %path, "journal_recovered"),
            _ => {}
        }
        match written.is_ok() {
            true => self.keep_small(),
            false => self.file = None,
        }
        written.is_ok()
    }

    /// Records are safe in a large file too: that it stays is no failure of the journal.
    fn keep_small(&mut self) {
        let now = Instant::now();
        if self.good < LARGE || self.aside_after.is_some_and(|at| now < at) {
            return;
        }
        let aside = self.put_aside();
        if let (Err(error), None) = (&aside, self.aside_after) {
            let (pool, path) = (&self.pool, self.path.display());
            tracing::warn!(%pool, %path, %error, "journal_not_put_aside");
        }
        self.aside_after = aside.is_err().then(|| now + AGAIN);
    }

    fn write(&mut self) -> io::Result<()> {
        if self.kept.is_empty() {
            return Ok(());
        }
        let mut file = match self.file.take() {
            Some(file) => file,
            None => self.open()?,
        };
        let bytes: Vec<u8> = self.kept.iter().flatten().copied().collect();
        file.write_all(&bytes)?;
        file.sync_data()?;
        self.good += bytes.len() as u64;
        self.kept.clear();
        self.file = Some(file);
        Ok(())
    }

    /// Without what a crash or a full disk has left of a line.
    fn open(&mut self) -> io::Result<File> {
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)?;
        }
        self.lock()?;
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(false).open(&self.path)?;
        if self.is_damaged {
            fs::copy(&self.path, self.path.with_extension("jsonl.damaged"))?;
            self.is_damaged = false;
        }
        file.set_len(self.good)?;
        file.seek(SeekFrom::End(0))?;
        if let Some(folder) = self.path.parent() {
            File::open(folder)?.sync_all()?;
        }
        Ok(file)
    }

    /// What another door has written since we read it is kept. It is not taken in: what it has
    /// launched is found by its mark.
    fn lock(&mut self) -> io::Result<()> {
        if self.lock.is_some() {
            return Ok(());
        }
        let lock = File::create(self.path.with_extension("jsonl.lock"))?;
        lock.try_lock()?;
        let replayed = file::replay(&self.path);
        self.is_damaged |= replayed.is_damaged;
        self.good = self.good.max(replayed.good);
        self.lock = Some(lock);
        Ok(())
    }

    /// A file that has grown large becomes `POOL.jsonl.1`, and a new one begins with all there is
    /// to know.
    fn put_aside(&mut self) -> io::Result<()> {
        let aside = |number: u32| self.path.with_extension(format!("jsonl.{number}"));
        // First what may fail: those that were put aside before are moved once.
        // The new one takes the place of the old one in one step: a crash finds one of them.
        let begin = Begin::new(Timestamp::now(), &self.pool, &self.journal, &self.ledger);
        let line = file::line(&Record::Begin(Box::new(begin)));
        let next = self.path.with_extension("jsonl.next");
        let mut file = File::create(&next)?;
        file.write_all(&line)?;
        file.sync_all()?;
        if_there(fs::remove_file(aside(0)))?;
        fs::hard_link(&self.path, aside(0))?;
        for number in (0..ASIDE).rev() {
            if_there(fs::rename(aside(number), aside(number + 1)))?;
        }
        fs::rename(&next, &self.path)?;
        self.good = line.len() as u64;
        self.file = None;
        Ok(())
    }
}

/// A file that is not there needs nothing.
fn if_there(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
