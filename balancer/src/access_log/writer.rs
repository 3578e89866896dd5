//! The one thread that writes the access log.
//!
//! It alone touches the files, so a slow disk, a full one or a pipe that nobody reads holds up
//! this thread and nothing else: the rings fill, and workers drop lines.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rtrb::Consumer;

use super::ring::CAPACITY;
use super::target::Sink;
use super::{AccessLog, AccessLogConfig, LogDrops, LogRing};

/// Between two looks at the rings while little is in them.
const POLL: Duration = Duration::from_millis(20);

/// And while one of them was a quarter full.
const POLL_BUSY: Duration = Duration::from_millis(2);

/// Writes what is in the rings to the targets, until it is stopped.
#[derive(Debug)]
pub struct LogWriter {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
    done: mpsc::Receiver<()>,
}

/// Gives each worker its end of a log.
#[derive(Debug)]
pub struct LogSource {
    config: AccessLogConfig,
    shared: Arc<Shared>,
}

impl LogSource {
    /// One end, with a ring of its own. The ring is let go of when the end is dropped.
    pub fn end(&self) -> AccessLog {
        AccessLog::new(&self.config, self.shared.ring())
    }
}

/// A target that could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("access log `{path}` cannot be opened; check its directory and who may write there")]
pub struct OpenError {
    /// As configured.
    pub path: String,
    /// What the system said.
    pub source: io::Error,
}

#[derive(Debug, Default)]
struct Shared {
    /// Rings that the thread has not taken up yet.
    new_rings: Mutex<Vec<Consumer<u8>>>,
    must_reopen: AtomicBool,
    must_stop: AtomicBool,
    drops: Arc<LogDrops>,
}

impl LogWriter {
    /// Opens all targets and starts the thread.
    ///
    /// # Errors
    ///
    /// A target cannot be opened, or the thread cannot be started.
    pub fn start(config: &AccessLogConfig) -> Result<LogWriter, OpenError> {
        let named = |path: String| move |source| OpenError { path, source };
        let mut sinks = Vec::with_capacity(config.targets.len());
        for target in &config.targets {
            sinks.push(Sink::open(target.clone()).map_err(named(target.to_string()))?);
        }
        let shared = Arc::<Shared>::default();
        let (tell_done, done) = mpsc::channel();
        let theirs = Arc::clone(&shared);
        let run = move || {
            Rounds { sinks, rings: Vec::new(), shared: theirs }.run();
            // Nobody listens if the stop has given up waiting.
            let _ = tell_done.send(());
        };
        let thread = thread::Builder::new().name("access-log".into()).spawn(run);
        Ok(LogWriter { shared, thread: thread.map_err(named("thread".into()))?, done })
    }

    /// A ring for one worker. It is let go of when the worker drops it.
    pub fn ring(&self) -> LogRing {
        self.shared.ring()
    }

    /// Where workers get their ends, for lines as `config` says.
    pub fn source(&self, config: AccessLogConfig) -> Arc<LogSource> {
        Arc::new(LogSource { config, shared: Arc::clone(&self.shared) })
    }

    /// Opens the files of all targets again, after a rotation has renamed them (SIGUSR1). Returns
    /// at once; lines that are in a ring now go to the old or the new file.
    pub fn reopen(&self) {
        self.shared.must_reopen.store(true, Ordering::Release);
        self.thread.thread().unpark();
    }

    /// Lines that were not written.
    pub fn drops(&self) -> &Arc<LogDrops> {
        &self.shared.drops
    }

    /// Writes what is in the rings and ends the thread; to be called after the workers have ended.
    /// `false` if that took longer than `within`, on a pipe that nobody reads for instance; the
    /// thread is then left behind.
    pub fn stop(self, within: Duration) -> bool {
        self.shared.must_stop.store(true, Ordering::Release);
        self.thread.thread().unpark();
        // An error other than a timeout means that the thread is gone, which is what we want.
        let timed_out = self.done.recv_timeout(within) == Err(mpsc::RecvTimeoutError::Timeout);
        if timed_out {
            tracing::warn!("access log did not take its last lines in time; they are lost");
        }
        !timed_out && self.thread.join().is_ok()
    }
}

impl Shared {
    fn ring(&self) -> LogRing {
        let (ring, consumer) = LogRing::new(CAPACITY, Arc::clone(&self.drops));
        self.new_rings().push(consumer);
        ring
    }

    fn new_rings(&self) -> MutexGuard<'_, Vec<Consumer<u8>>> {
        self.new_rings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the thread owns.
struct Rounds {
    sinks: Vec<Sink>,
    rings: Vec<Consumer<u8>>,
    shared: Arc<Shared>,
}

impl Rounds {
    fn run(&mut self) {
        loop {
            // Before the rings are read: what was pushed before the stop is then written.
            let stop = self.shared.must_stop.load(Ordering::Acquire);
            if self.shared.must_reopen.swap(false, Ordering::AcqRel) {
                self.sinks.iter_mut().for_each(Sink::reopen);
            }
            self.rings.append(&mut self.shared.new_rings());
            let most = self.drain();
            if stop {
                return;
            }
            thread::park_timeout(if most > CAPACITY / 4 { POLL_BUSY } else { POLL });
        }
    }

    /// Writes what is in each ring now; returns how much the fullest held.
    fn drain(&mut self) -> usize {
        let mut most = 0;
        let (sinks, drops) = (&mut self.sinks, &self.shared.drops);
        self.rings.retain_mut(|ring| {
            // Asked first: what the worker pushed before it went is then seen below.
            let is_abandoned = ring.is_abandoned();
            let waiting = ring.slots();
            most = most.max(waiting);
            if waiting > 0
                && let Ok(chunk) = ring.read_chunk(waiting)
            {
                // Lines are pushed whole, so the chunk ends with a line.
                let (first, second) = chunk.as_slices();
                let now = Instant::now();
                let lost: u64 = sinks.iter_mut().map(|sink| sink.write([first, second], now)).sum();
                drops.write_failed.fetch_add(lost, Ordering::Relaxed);
                chunk.commit_all();
            }
            !is_abandoned
        });
        most
    }
}

#[cfg(test)]
mod tests;
