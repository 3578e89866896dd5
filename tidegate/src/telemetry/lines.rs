//! Lines for standard error, which nobody waits for.
//!
//! Who reads standard error may stall: a shipper of logs, a pager, a terminal that somebody stopped.
//! Then a thread of its own waits and nobody else does: what finds no room is counted and lost.

use std::io;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// Lines that wait, some hundred bytes each.
const ROOM: usize = 1024;

/// What an end waits for its last lines where nobody reads them: part of the second in which a door
/// exits after its last request.
const LAST_LINES: Duration = Duration::from_millis(300);

/// Between two looks for room at the end.
const PAUSE: Duration = Duration::from_millis(5);

static QUEUE: LazyLock<Option<SyncSender<Message>>> = LazyLock::new(start);
static FULL: AtomicU64 = AtomicU64::new(0);
static FAILED: AtomicU64 = AtomicU64::new(0);

enum Message {
    Line(Vec<u8>),
    /// Whoever holds the other end hears that all before it is written.
    Mark(SyncSender<()>),
}

/// What a line of the log is written to; whole lines only.
pub(super) struct Line;

impl io::Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        put(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes to standard error, in order with the log.
pub fn say(text: &str) {
    if !text.is_empty() {
        put(text.as_bytes());
    }
}

/// Waits until all is written that was said so far, but not long. To be called before an exit.
pub fn finish() {
    let until = Instant::now() + LAST_LINES;
    let Some(queue) = &*QUEUE else { return };
    let (mark, written) = sync_channel(1);
    let mut message = Message::Mark(mark);
    while let Err(TrySendError::Full(back)) = queue.try_send(message) {
        if Instant::now() >= until {
            return;
        }
        message = back;
        thread::sleep(PAUSE);
    }
    let _ = written.recv_timeout(until.saturating_duration_since(Instant::now()));
}

/// Lines that were lost so far, by reason: there was no room, or they could not be written.
pub fn lost() -> [(&'static str, u64); 2] {
    let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
    [("queue_full", read(&FULL)), ("write_failed", read(&FAILED))]
}

/// A panic is told like all else, and keeps nobody either.
pub(super) fn tell_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = thread::current();
        let backtrace = std::backtrace::Backtrace::capture();
        say(&format!("thread `{}` {panic}\n{backtrace}\n", thread.name().unwrap_or("?")));
    }));
}

fn put(line: &[u8]) {
    match &*QUEUE {
        Some(queue) if queue.try_send(Message::Line(line.to_vec())).is_ok() => {}
        Some(_) => drop(FULL.fetch_add(1, Ordering::Relaxed)),
        None => drop(write(line)),
    }
}

/// Without a thread there is no queue either, and who says something waits.
fn start() -> Option<SyncSender<Message>> {
    let (queue, messages) = sync_channel(ROOM);
    let log = thread::Builder::new().name("log".to_owned()).spawn(move || write_all(&messages));
    log.is_ok().then_some(queue)
}

fn write_all(messages: &Receiver<Message>) {
    let mut told = 0;
    loop {
        let next = messages.try_recv().or_else(|_| {
            // Everything is written, so there is room for this.
            let full = FULL.load(Ordering::Relaxed);
            if full > told {
                tracing::warn!(lines = full - told, "log_lines_lost");
                told = full;
            }
            messages.recv()
        });
        match next {
            Ok(Message::Line(line)) if write(&line).is_err() => {
                FAILED.fetch_add(1, Ordering::Relaxed);
            }
            Ok(Message::Line(_)) => {}
            Ok(Message::Mark(mark)) => drop(mark),
            Err(_) => return,
        }
    }
}

/// Past the lock of the standard library, which others would wait for.
fn write(mut line: &[u8]) -> rustix::io::Result<()> {
    while !line.is_empty() {
        let written = rustix::io::retry_on_intr(|| rustix::io::write(io::stderr(), line))?;
        line = &line[written..];
    }
    Ok(())
}
