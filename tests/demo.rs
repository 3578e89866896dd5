//! `tidegate demo`, as somebody sees it who has just cloned the project.
//!
//! The backends write to the same pipe as the demo. So when the pipe has ended, nobody is left who
//! could write to it; that none of the processes that were named runs is looked up besides.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test, in helpers too

use std::io::{BufRead, BufReader, PipeReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tests::door::{TestFolder, binary};
use tests::within;

/// A demo takes five seconds on an idle machine; tests run beside compilers.
const WHOLE: Duration = Duration::from_secs(60);

/// A demo that runs. Dropping it kills it, and with it the backends.
struct Demo {
    child: Child,
    reader: Option<BufReader<PipeReader>>,
    text: String,
    folder: TestFolder,
}

impl Demo {
    fn start(args: &[&str]) -> Demo {
        let folder = TestFolder::new("demo");
        let (reader, writer) = std::io::pipe().unwrap();
        let child = Command::new(binary())
            .arg("demo")
            .args(args)
            .env("TMPDIR", &folder.path)
            .stdin(Stdio::null())
            .stdout(writer.try_clone().unwrap())
            .stderr(writer)
            .spawn()
            .unwrap();
        Demo { child, reader: Some(BufReader::new(reader)), text: String::new(), folder }
    }

    /// Reads until a line contains `text`, or to the end, which must come in time.
    async fn read_until(&mut self, text: &'static str) {
        let mut reader = self.reader.take().unwrap();
        let (send, read) = tokio::sync::oneshot::channel();
        // Not a blocking task of the runtime, which would wait for it for ever at its end.
        std::thread::spawn(move || {
            let mut lines = String::new();
            loop {
                let before = lines.len();
                let is_end = reader.read_line(&mut lines).unwrap() == 0;
                if is_end || (!text.is_empty() && lines[before..].contains(text)) {
                    break;
                }
            }
            send.send((reader, lines))
        });
        let (reader, lines) = within(WHOLE, read).await.unwrap();
        self.text.push_str(&lines);
        assert!(text.is_empty() || self.text.contains(text), "no `{text}` in\n{}", self.text);
        self.reader = Some(reader);
    }

    /// Its exit status and all that it wrote, once every process has ended.
    async fn ended(mut self) -> (ExitStatus, String) {
        self.read_until("").await;
        let status = self.child.wait().unwrap();
        let left: Vec<u32> = self.backends().into_iter().filter(|pid| is_backend(*pid)).collect();
        assert!(left.is_empty(), "{left:?} are left by\n{}", self.text);
        (status, std::mem::take(&mut self.text))
    }

    fn signal(&self, signal: Signal) {
        kill_process(to_pid(self.child.id()), signal).unwrap();
    }

    /// The processes that were named.
    fn backends(&self) -> Vec<u32> {
        let words: Vec<&str> = self.text.split([' ', '\n', '(', ')']).collect();
        let named = words.windows(2).filter(|pair| pair[0] == "process");
        let mut pids: Vec<u32> = named.map(|pair| pair[1].parse().unwrap()).collect();
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    fn has_left_files(&self) -> bool {
        std::fs::read_dir(&self.folder.path).unwrap().next().is_some()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // Fails only when it has ended, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
        for pid in self.backends().into_iter().filter(|pid| is_backend(*pid)) {
            let _ = kill_process(to_pid(pid), Signal::KILL);
        }
    }
}

fn to_pid(pid: u32) -> Pid {
    Pid::from_raw(pid.try_into().unwrap()).unwrap()
}

/// Whether a process of that id is a backend; another may have the id by now.
fn is_backend(pid: u32) -> bool {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).nth(1) == Some(b"backend")
}

/// The places of these texts, each after the one before.
#[track_caller]
fn assert_in_order(text: &str, parts: &[&str]) {
    let mut from = 0;
    for part in parts {
        let at = text[from..].find(part);
        from += at.unwrap_or_else(|| panic!("no `{part}` where it should be in\n{text}"));
        from += part.len();
    }
}

#[tokio::test]
async fn the_killed_backend_is_seen_down_and_back_and_costs_no_request() {
    let mut demo = Demo::start(&["--fast"]);
    demo.read_until("Summary").await;
    assert_eq!(demo.backends().len(), 4, "three, and the one that came back\n{}", demo.text);
    let (status, text) = demo.ended().await;
    let story = [
        "curl -i http://127.0.0.1:",
        "is serving after",
        "* amber (process ",
        "is killed with SIGKILL",
        "* amber is down after",
        "* amber is started again",
        "* amber is serving after",
        "Summary",
        " 0 failed\n",
        "found down",
        "Every request that could be answered was.",
    ];
    assert_in_order(&text, &story);
    assert_eq!(status.code(), Some(0), "{text}");
}

#[tokio::test]
async fn with_no_backend_left_requests_fail_and_the_exit_code_says_so() {
    let (status, text) = Demo::start(&["--fast", "--kill", "3"]).ended().await;
    assert_in_order(&text, &["Summary", "503 Service Unavailable", "that should not have"]);
    assert!(!text.contains(" 0 failed\n"), "{text}");
    assert_eq!(status.code(), Some(1), "{text}");
}

#[tokio::test]
async fn ctrl_c_ends_it_early_and_cleanly() {
    let mut demo = Demo::start(&[]);
    demo.read_until(" requests, ").await;
    demo.signal(Signal::INT);
    demo.read_until("Stopped before the end; no request had failed.").await;
    demo.read_until("").await;
    assert!(!demo.has_left_files());
    let (status, text) = demo.ended().await;
    assert_eq!(status.code(), Some(0), "{text}");
}

#[tokio::test]
async fn a_demo_that_is_killed_takes_its_backends_along() {
    let mut demo = Demo::start(&[]);
    demo.read_until(" requests, ").await;
    assert_eq!(demo.backends().into_iter().filter(|pid| is_backend(*pid)).count(), 3);
    demo.signal(Signal::KILL);
    let (status, _) = demo.ended().await;
    assert_eq!(status.code(), None);
}
