//! Lines on real files: rotation, full disks, pipes that nobody reads.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::*;
use crate::access_log::{Format, LogTarget};

const CEILING: Duration = Duration::from_secs(5);

/// A directory that goes with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("tidegate-log-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn start(paths: &[&Path]) -> LogWriter {
    let targets = paths.iter().map(|path| LogTarget::File(path.to_path_buf())).collect();
    let config = AccessLogConfig { targets, format: Format::Json, redact_query: Vec::new() };
    LogWriter::start(&config).unwrap()
}

#[track_caller]
fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + CEILING;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        thread::park_timeout(Duration::from_millis(1));
    }
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn write_failed(writer: &LogWriter) -> u64 {
    writer.drops().by_reason()[1].1
}

#[test]
fn every_line_of_every_worker_is_written_in_its_order_by_the_stop() {
    let scratch = Scratch::new("order");
    let (one, two) = (scratch.file("one"), scratch.file("two"));
    let writer = start(&[&one, &two]);
    let lines = 20_000_u32;
    thread::scope(|scope| {
        for worker in ["a", "b"] {
            let mut ring = writer.ring();
            scope.spawn(move || {
                for n in 0..lines {
                    let line = format!("{worker} {n}\n");
                    // The test outruns the disk; a worker would drop instead.
                    let deadline = Instant::now() + CEILING;
                    while !ring.push(line.as_bytes()) {
                        assert!(Instant::now() < deadline);
                        thread::yield_now();
                    }
                }
            });
        }
    });
    assert!(writer.stop(CEILING));
    let written = text(&one);
    for worker in ["a ", "b "] {
        let numbers = written.lines().filter_map(|line| line.strip_prefix(worker));
        assert!(numbers.eq((0..lines).map(|n| n.to_string())), "lines of {worker}");
    }
    assert_eq!(written.lines().count(), 2 * lines as usize);
    assert_eq!(written, text(&two));
}

#[test]
fn lines_appear_without_a_stop_and_without_being_asked_for() {
    let scratch = Scratch::new("live");
    let path = scratch.file("log");
    fs::write(&path, "there before\n").unwrap();
    let writer = start(&[&path]);
    let mut ring = writer.ring();
    ring.push(b"one\n");
    wait_until("the line", || text(&path) == "there before\none\n");
    assert!(writer.stop(CEILING));
}

#[test]
fn after_a_rename_and_reopen_lines_go_to_the_new_file() {
    let scratch = Scratch::new("rotate");
    let (path, old) = (scratch.file("log"), scratch.file("log.1"));
    let writer = start(&[&path]);
    let mut ring = writer.ring();
    ring.push(b"one\n");
    wait_until("the first line", || text(&path) == "one\n");
    fs::rename(&path, &old).unwrap();
    ring.push(b"two\n");
    wait_until("the second line, in the renamed file", || text(&old) == "one\ntwo\n");
    writer.reopen();
    wait_until("the new file", || path.exists());
    ring.push(b"three\n");
    wait_until("the third line", || text(&path) == "three\n");
    assert_eq!(text(&old), "one\ntwo\n");
    assert!(writer.stop(CEILING));
}

#[test]
fn a_reopen_that_fails_keeps_the_open_file() {
    let scratch = Scratch::new("keep");
    let path = scratch.file("log");
    let writer = start(&[&path]);
    let mut ring = writer.ring();
    ring.push(b"one\n");
    wait_until("the first line", || text(&path) == "one\n");
    let kept = File::open(&path).unwrap();
    fs::remove_dir_all(&scratch.0).unwrap();
    writer.reopen();
    ring.push(b"two\n");
    assert!(writer.stop(CEILING));
    let lines: Vec<_> = BufReader::new(kept).lines().map(Result::unwrap).collect();
    assert_eq!(lines, ["one", "two"]);
}

#[test]
fn a_full_disk_loses_lines_and_counts_each_of_them() {
    let writer = start(&[Path::new("/dev/full")]);
    let mut ring = writer.ring();
    for _ in 0..100 {
        assert!(ring.push(b"a line\n"));
    }
    wait_until("the count", || write_failed(&writer) == 100);
    drop(ring);
    assert!(writer.stop(CEILING));
}

#[test]
fn one_full_disk_does_not_cost_the_other_its_lines() {
    let scratch = Scratch::new("other");
    let path = scratch.file("log");
    let writer = start(&[Path::new("/dev/full"), &path]);
    let mut ring = writer.ring();
    ring.push(b"one\ntwo\n");
    wait_until("both lines", || text(&path) == "one\ntwo\n");
    wait_until("the count", || write_failed(&writer) == 2);
    assert!(writer.stop(CEILING));
}

#[test]
fn a_disk_that_has_room_again_is_written_again() {
    let scratch = Scratch::new("again");
    let path = scratch.file("log");
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    let writer = start(&[&path]);
    let mut ring = writer.ring();
    ring.push(b"lost\n");
    wait_until("the loss", || write_failed(&writer) == 1);
    fs::remove_file(&path).unwrap();
    wait_until("a line after the pause", || {
        ring.push(b"kept\n");
        text(&path).starts_with("kept\n")
    });
    assert!(writer.stop(CEILING));
}

#[test]
fn a_pipe_that_nobody_reads_fills_the_ring_and_holds_up_no_worker() {
    let scratch = Scratch::new("pipe");
    let path = scratch.file("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RWXU).unwrap();
    let config = |path: &Path| AccessLogConfig {
        targets: vec![LogTarget::File(path.to_path_buf())],
        format: Format::Json,
        redact_query: Vec::new(),
    };
    assert!(LogWriter::start(&config(&path)).is_err(), "a pipe without a reader");

    // Opened for reading and writing, so that this does not wait for the writer.
    let _reader = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let writer = LogWriter::start(&config(&path)).unwrap();
    let mut ring = writer.ring();
    let line = [&[b'x'; 1_000][..], b"\n"].concat();
    let started = Instant::now();
    let taken = (0..3_000).filter(|_| ring.push(&line)).count();
    assert!(started.elapsed() < Duration::from_secs(1));
    assert!(taken < 3_000);
    assert_eq!(writer.drops().by_reason()[0].1, 3_000 - taken as u64);
    assert!(!writer.stop(Duration::from_millis(50)), "the pipe is full");
}

#[test]
fn a_file_that_cannot_be_made_is_an_error_that_names_it() {
    let targets = vec![LogTarget::File("/nonexistent/dir/log".into())];
    let config = AccessLogConfig { targets, format: Format::Json, redact_query: Vec::new() };
    let error = LogWriter::start(&config).unwrap_err().to_string();
    assert!(error.contains("`/nonexistent/dir/log`"), "{error}");
}
