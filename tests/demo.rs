//! `tidegate demo`, as somebody sees it who has just cloned the project.
//!
//! The backends write to the same pipe as the demo. So when the pipe has ended, nobody is left who
//! could write to it. Instances of the cloud write to files; that none of them runs, and none of the
//! processes that were named, is looked up besides.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test, in helpers too

use std::io::{BufRead, BufReader, PipeReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tests::door::{TestFolder, binary};
use tests::within;

/// A fast demo takes half a minute on an idle machine; tests run beside compilers.
const WHOLE: Duration = Duration::from_secs(120);

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
        // Those of the cloud do not hold the pipe, and see a moment later that the demo has gone.
        let gone = async {
            let left = || self.backends().into_iter().any(is_backend);
            while left() || !children_of(self.child.id()).is_empty() {
                tokio::task::yield_now().await;
            }
        };
        within(WHOLE, gone).await;
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

    /// What lies in its folder.
    fn files(&self) -> Vec<String> {
        let folder = self.folder.path.join(format!("tidegate-demo-{}", self.child.id()));
        let entries = std::fs::read_dir(&folder)
            .unwrap()
            .chain(std::fs::read_dir(folder.join("state")).unwrap());
        let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name();
        let mut names: Vec<_> =
            entries.map(|entry| name(entry).to_string_lossy().into_owned()).collect();
        names.sort_unstable();
        names
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

/// All that run and were started as backends of this demo, also by its provider.
fn children_of(demo: u32) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").unwrap();
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let is_child = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&format!("--parent\0{demo}\0"))
    };
    pids.filter(is_child).collect()
}

/// Sizes of the cloud, as they were decided upon: `* cloud 2 -> 5: ...`.
fn sizes(text: &str) -> Vec<u32> {
    let steps = text.lines().filter_map(|line| line.strip_prefix("* cloud ")?.split_once(" -> "));
    steps.map(|(_, rest)| rest.split(':').next().unwrap().parse().unwrap()).collect()
}

/// The number before `word` in the summary.
#[track_caller]
fn counted(text: &str, row: &str) -> usize {
    let (_, summary) = text.split_once("Summary").unwrap();
    let line = summary.lines().find_map(|line| line.trim_start().strip_prefix(row)).unwrap();
    let number = line.split_whitespace().next().unwrap().trim_end_matches(',');
    number.parse().unwrap_or_else(|_| panic!("{row} in\n{text}"))
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
async fn a_crowd_is_followed_up_and_down_and_a_killed_backend_costs_no_request() {
    let mut demo = Demo::start(&["--fast"]);
    demo.read_until("Summary").await;
    assert_eq!(demo.backends().len(), 4, "three, and the one that came back\n{}", demo.text);
    let pid = demo.child.id();
    demo.read_until("").await;
    // As the summary says: why, also later.
    let file = demo.folder.path.join(format!("tidegate-demo-{pid}/demo.toml"));
    let mut decisions = Command::new(binary());
    decisions.arg("decisions").arg(&file);
    let decisions = String::from_utf8(decisions.output().unwrap().stdout).unwrap();
    assert!(decisions.contains("launch_answered"), "{decisions}");
    let (status, text) = demo.ended().await;
    let story = [
        "curl -i http://127.0.0.1:",
        "is serving after",
        "* cloud 0 -> ",
        " launched\n",
        " more at work, ",
        "* amber (process ",
        "is killed with SIGKILL",
        "* amber is down after",
        "* amber is started again",
        "* amber is serving after",
        " given back\n",
        "Summary",
        " 0 failed\n",
        "instance-minutes",
        "journal",
        "tidegate decisions ",
        "found down",
        "Every request that could be answered was, and the cloud is given back.",
    ];
    assert_in_order(&text, &story);
    let sizes = sizes(&text);
    assert!(sizes.iter().max() >= Some(&6) && sizes.last() == Some(&0), "{sizes:?}\n{text}");
    assert_eq!(status.code(), Some(0), "{text}");
}

#[tokio::test]
async fn without_its_scaler_requests_fail_and_the_exit_code_says_so() {
    let (status, text) = Demo::start(&["--fast", "--shadow"]).ended().await;
    assert_in_order(
        &text,
        &["(shadow: nothing is done)", "503 Service Unavailable", "no instance"],
    );
    let (requests, failed) = (counted(&text, "requests"), counted(&text, "failures"));
    assert!(failed * 10 >= requests * 3, "{failed} of {requests}\n{text}");
    assert_eq!(status.code(), Some(1), "{text}");
}

#[tokio::test]
async fn launches_that_never_serve_are_seen_and_the_exit_code_says_so() {
    let (status, text) = Demo::start(&["--fast", "--broken-launches"]).ended().await;
    let story = ["ended without being told to", "Summary", "that should not have"];
    assert_in_order(&text, &story);
    assert!(!text.contains("more at work") && !text.contains(" 0 failed\n"), "{text}");
    assert_eq!(status.code(), Some(1), "{text}");
}

#[tokio::test]
async fn ctrl_c_ends_it_early_and_gives_the_cloud_back() {
    let mut demo = Demo::start(&["--fast"]);
    demo.read_until(" more at work, ").await;
    demo.signal(Signal::INT);
    demo.read_until("Stopped before the end; no request had failed.").await;
    demo.read_until("").await;
    assert_eq!(demo.files(), ["demo.toml", "journal", "state"]);
    let (status, text) = demo.ended().await;
    assert_in_order(&text, &["* no more requests", " given back\n", "Summary"]);
    assert_eq!(status.code(), Some(0), "{text}");
}

#[tokio::test]
async fn a_demo_that_is_killed_takes_its_backends_along() {
    let mut demo = Demo::start(&["--fast"]);
    demo.read_until(" more at work, ").await;
    let running = children_of(demo.child.id()).len();
    assert!(running >= 4, "three on-prem, and the cloud: {running}\n{}", demo.text);
    demo.signal(Signal::KILL);
    let (status, _) = demo.ended().await;
    assert_eq!(status.code(), None);
}
