//! Journals on a real disk, whole, torn, damaged, and on a disk that takes nothing.

use std::fs;
use std::io::Write;
use std::time::{Duration, Instant};

use policies::backend::BackendId;
use policies::scale::{Decision, Override, Standing};

use super::*;
use crate::controller::Census;
use crate::look::Event;
use crate::ports::{LaunchRequest, Mark, Offer};

const CEILING: Duration = Duration::from_secs(20);

/// A folder that is gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        let name = std::thread::current().name().unwrap_or_default().replace("::", "-");
        let path = std::env::temp_dir().join(format!("tidegate-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Folder(path)
    }

    fn file(&self) -> PathBuf {
        path(&self.0, &pool())
    }

    fn open(&self) -> Journal {
        Journal::open(&self.file(), &pool(), 7, now())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn pool() -> PoolName {
    PoolName("cloud".into())
}

fn now() -> Timestamp {
    "2026-11-20T12:00:00Z".parse().unwrap()
}

fn request(decision: u64) -> LaunchRequest {
    let mark = Mark {
        site: "kg".into(),
        pool: pool(),
        installation: "5f0c".into(),
        epoch: 1,
        decision,
        attempt: 0,
    };
    let offer = Offer { name: "a".into(), spec: "{\"b\":1}\t".into(), is_spot: true };
    LaunchRequest { mark, count: 2, offer }
}

fn turn(desired: u32, actions: Vec<Action>, events: Vec<Event>) -> Turn {
    let decision = Decision {
        desired,
        current: 0,
        need: desired,
        limit: 20,
        terms: Vec::new(),
        holds: Vec::new(),
        concerns: Vec::new(),
    };
    Turn { decision, actions, events, census: Census::default() }
}

fn launch(decision: u64) -> Turn {
    turn(2, vec![Action::Launch(request(decision))], Vec::new())
}

/// Notes a launch and waits for the disk; whether it took it.
fn noted(journal: &mut Journal, turn: &Turn) -> bool {
    let number = journal.ledger().next_decision();
    let written = journal.note(now(), Mode::Act, number, turn).expect("it launches");
    let deadline = Instant::now() + CEILING;
    while !*written.borrow() && written.has_changed().is_ok() && Instant::now() < deadline {
        std::thread::yield_now();
    }
    *written.borrow()
}

#[test]
fn whoever_comes_after_knows_what_was_open_and_what_lives() {
    let folder = Folder::new();
    let mut journal = folder.open();
    assert!(journal.is_new() && noted(&mut journal, &launch(1)));
    let ids = vec![BackendId("i-1".into()), BackendId("i-2".into())];
    let token = request(1).token();
    let answered = vec![Event::LaunchAnswered { token, ids, count: 2 }];
    let both = turn(4, vec![Action::Launch(request(2))], answered);
    assert!(noted(&mut journal, &both));
    let (known, name) = (journal.ledger().clone(), Arc::clone(journal.installation()));
    drop(journal);

    let journal = Journal::open(&folder.file(), &pool(), 8, now());
    assert!(!journal.is_new());
    assert_eq!(*journal.ledger(), known);
    assert_eq!((known.open.len(), known.live.len(), known.next_decision()), (1, 2, 3));
    assert_ne!(*journal.installation(), name, "each life has its own");
    assert_eq!(journal.installation()[..8], name[..8], "and the journal's");
}

#[test]
fn half_a_last_line_is_as_if_it_had_not_been_written() {
    let folder = Folder::new();
    let mut journal = folder.open();
    assert!(noted(&mut journal, &launch(1)));
    drop(journal);
    let whole = fs::read(folder.file()).unwrap();
    let mut file = fs::OpenOptions::new().append(true).open(folder.file()).unwrap();
    let line = whole.split_inclusive(|byte| *byte == b'\n').next_back().unwrap();
    file.write_all(&line[..line.len() / 2]).unwrap();
    drop(file);
    let mut journal = folder.open();
    assert!(!journal.is_new());
    assert_eq!(journal.ledger().open.len(), 1);
    assert!(noted(&mut journal, &launch(2)));
    drop(journal);
    assert_eq!(folder.open().ledger().open.len(), 2, "what came after is whole");
}

#[test]
fn damage_in_the_middle_makes_a_new_journal() {
    let folder = Folder::new();
    let mut journal = folder.open();
    assert!((1..5).all(|number| noted(&mut journal, &launch(number))));
    drop(journal);
    let mut bytes = fs::read(folder.file()).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(folder.file(), &bytes).unwrap();
    assert!(folder.open().is_new());
    let kept = folder.file().with_extension("jsonl.damaged");
    assert_eq!(fs::read(&kept).unwrap(), bytes, "for whoever wants to know");
}

#[test]
fn a_journal_of_a_later_version_is_kept_and_not_believed() {
    let folder = Folder::new();
    drop(folder.open());
    let (mut records, _) = read(&folder.file(), 0).unwrap();
    let Record::Begin(begin) = &mut records[0] else { panic!("{records:?}") };
    begin.version += 1;
    let line = file::line(&records[0]);
    fs::write(folder.file(), &line).unwrap();
    assert!(file::replay(&folder.file()).is_later);
    assert!(folder.open().is_new());
    let kept = folder.file().with_extension("jsonl.damaged");
    assert_eq!(fs::read(&kept).unwrap(), line);
}

#[test]
fn a_large_file_that_cannot_be_put_aside_is_written_on_and_put_aside_later() {
    let folder = Folder::new();
    let mut journal = folder.open();
    // Folders where files should be.
    let next = folder.file().with_extension("jsonl.next");
    fs::create_dir_all(&next).unwrap();
    let aside = |number: u32| folder.file().with_extension(format!("jsonl.{number}"));
    fs::write(aside(1), "earlier").unwrap();
    let mut number = 0;
    while !fs::metadata(folder.file()).is_ok_and(|file| file.len() >= 70 << 10) {
        number += 1;
        let forgotten = Event::LaunchForgotten { token: request(number - 1).token() };
        let next = turn(2, vec![Action::Launch(request(number))], vec![forgotten]);
        assert!(noted(&mut journal, &next), "it is written all the same");
    }
    assert_eq!(journal.state(), JournalState::Durable);
    assert_eq!(fs::read(aside(1)).unwrap(), b"earlier", "nothing is moved for nothing");
    fs::remove_dir(&next).unwrap();
    let deadline = Instant::now() + CEILING;
    while !aside(2).exists() && Instant::now() < deadline {
        std::thread::yield_now();
    }
    assert_eq!(fs::read(aside(2)).unwrap(), b"earlier");
    drop(journal);
    assert!(fs::metadata(aside(1)).unwrap().len() >= 70 << 10);
    assert_eq!(folder.open().ledger().last_decision, number, "and nothing is lost");
}

#[test]
fn a_disk_that_takes_nothing_degrades_it_and_nothing_is_lost_when_it_does_again() {
    let folder = Folder::new();
    // A file where its folder should be.
    fs::write(&folder.0, "").unwrap();
    let mut journal = folder.open();
    assert!(!noted(&mut journal, &launch(1)));
    assert_eq!(journal.state(), JournalState::Degraded);
    fs::remove_file(&folder.0).unwrap();
    let deadline = Instant::now() + CEILING;
    while journal.state() == JournalState::Degraded && Instant::now() < deadline {
        std::thread::yield_now();
    }
    assert_eq!(journal.state(), JournalState::Durable);
    drop(journal);
    assert_eq!(folder.open().ledger().open.len(), 1);
}

#[test]
fn turns_that_say_nothing_new_are_not_written() {
    let folder = Folder::new();
    let mut journal = folder.open();
    let quiet = turn(0, Vec::new(), Vec::new());
    for _ in 0..100 {
        assert!(journal.note(now(), Mode::Act, 1, &quiet).is_none());
    }
    drop(journal);
    let (records, _) = read(&folder.file(), 0).unwrap();
    assert_eq!(records.len(), 2, "the beginning, and the first");
}

#[test]
fn an_order_of_an_operator_is_remembered_until_it_is_ended() {
    for order in [Override::Pin(7), Override::Pause] {
        let folder = Folder::new();
        let mut journal = folder.open();
        let until = "2026-11-20T14:00:00Z".parse().unwrap();
        let order = Standing { order, until, why: "surgery".into(), actor: "uid 0".into() };
        let set = vec![Event::OverrideSet { order: order.clone() }];
        journal.note(now(), Mode::Act, 1, &turn(0, Vec::new(), set));
        drop(journal);
        // Once from its record, once from the beginning that the life after it has written.
        drop(folder.open());
        let mut journal = folder.open();
        assert_eq!(journal.ledger().order.as_ref(), Some(&order));
        let ended = vec![Event::OverrideEnded { order, actor: None }];
        journal.note(now(), Mode::Act, 2, &turn(0, Vec::new(), ended));
        drop(journal);
        assert_eq!(folder.open().ledger().order, None);
    }
}
