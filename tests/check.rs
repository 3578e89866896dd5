//! `tidegate check` as a program and as a function, of files that nobody meant.
//!
//! Documents are made by chance from the examples and fixtures: two seconds of them here, as long
//! as `TIDEGATE_FUZZ_SECONDS` says in `make fuzz`; `TIDEGATE_SEED` repeats what failed. The same
//! functions are fuzzed with coverage by `fuzz/`.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test, in helpers too

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use policies::rng::Rng;
use tests::chance::{below, seed, time};
use tests::door::{TestFolder, binary};
use tidegate::command::check;
use tidegate::config::{self, Loaded, Severity};

const GOOD: &str = "schema = 1\ninclude = \"more.toml\"\n[listeners.web]\nbind = \"127.0.0.1:1\"\n";
const MORE: &str = "[[routes]]\nname = \"all\"\nrespond = { file = \"page.html\" }\n";

/// The end of `tidegate check WORDS` in a folder, with so much on its standard input.
fn run(folder: &Path, words: &[&str], input: &[u8]) -> Output {
    let mut program = Command::new(binary());
    program.arg("check").args(words).current_dir(folder);
    let mut child = program
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that does not read it all has said why.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

#[test]
fn standard_input_is_a_file_of_the_working_directory() {
    let folder = TestFolder::new("stdin");
    folder.write("more.toml", MORE);
    folder.write("page.html", "<p>");
    let text = |output: &Output| String::from_utf8(output.stdout.clone()).unwrap();
    let output = run(&folder.path, &["-"], GOOD.as_bytes());
    assert_eq!(text(&output), "1 listener, 1 route, 0 pools; no problems\n");
    assert_eq!(output.status.code(), Some(0));
    let output = run(&folder.path, &["--config", "-", "--format", "json"], b"schema = 2\n");
    assert!(text(&output).contains("\"file\": \"<stdin>\""), "{output:?}");
    assert!(text(&output).contains("`2` is not 1"), "{output:?}");
    assert_eq!(output.status.code(), Some(78));
    let output = run(&folder.path, &["-"], b"a = \xff\n");
    assert!(text(&output).contains("`<stdin>` is not UTF-8 text"), "{output:?}");
}

#[test]
fn what_chance_makes_of_the_examples_is_valid_or_not_and_nothing_else() {
    let folder = TestFolder::new("mutations");
    let examples = documents(&["../examples"]);
    let mut rng = Rng::new(seed());
    let (mut valid, mut refused) = (0, 0);
    for round in 0..150 {
        let output = run(&folder.path, &["-"], &mutate(&mut rng, &examples));
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.is_empty(), "seed {} round {round}: {error}", seed());
        match output.status.code() {
            Some(0) => valid += 1,
            Some(78) => refused += 1,
            other => panic!("seed {} round {round}: {other:?}", seed()),
        }
    }
    assert!(valid > 5 && refused > 5, "{valid} valid, {refused} refused");
}

#[test]
fn nothing_that_chance_makes_of_a_document_is_too_much() {
    let documents = documents(&["../examples", "fixtures/config", "fixtures/config/good.d"]);
    let folder = TestFolder::new("documents");
    let (begun, mut rng) = (Instant::now(), Rng::new(seed()));
    let (mut count, mut valid) = (0_u64, 0_u64);
    while begun.elapsed() < time() {
        count += 1;
        let bytes = mutate(&mut rng, &documents);
        let what = || format!("seed {} run {count}: {}", seed(), bytes.escape_ascii());
        let loaded = match rng.below(4) {
            // The same as a file that another includes.
            0 => {
                fs::write(folder.path.join("more.toml"), &bytes).unwrap();
                config::load(&folder.write("main.toml", GOOD))
            }
            _ => config::load_from("chance.toml", &bytes[..]),
        };
        survive(&loaded, &what);
        valid += u64::from(loaded.config.is_some());
    }
    println!("{count} documents, {valid} of them valid");
}

fn survive(loaded: &Loaded, what: &dyn Fn() -> String) {
    assert_eq!(loaded.config.is_none(), loaded.has(Severity::Error), "{}", what());
    let report = check::report(loaded);
    assert!(report.len() < 4 << 20, "a report of {} bytes for {}", report.len(), what());
    let _ = config::render_json(&loaded.problems);
    if loaded.config.is_some() {
        let again = config::parse("again.toml", &loaded.effective(true));
        assert!(again.config.is_some(), "{}{}", check::report(&again), what());
    }
}

fn documents(folders: &[&str]) -> Vec<Vec<u8>> {
    let files = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap());
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    paths.into_iter().map(|path| fs::read(path).unwrap()).collect()
}

/// What makes a difference to somebody.
const WORDS: [&[u8]; 22] = [
    b"\n",
    b"\0",
    b"\"",
    b"'''",
    b"\"\"\"",
    b"=",
    b"[",
    b"]",
    b"{",
    b"}",
    b"[[",
    b"#",
    b"\\",
    b"\xff",
    b"\xc3\xa9",
    b"99999999999999999999999999",
    b"-1e999",
    b"2022-12-31T00:00:00Z",
    b"tokne = \"abc\"\n",
    b"key = { file = \"more.toml\" }\n",
    b"include = [\"*.toml\", \"../*/more.toml\"]\n",
    b"\"https://user:password@example.org/\"",
];

/// Openings that are never closed.
const OPENINGS: [&str; 6] = ["[", "{ a = ", "a.", "\"\"\"", "[[a", "not = { "];

/// One to four changes of one document.
fn mutate(rng: &mut Rng, documents: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = documents[below(rng, documents.len())].clone();
    for _ in 0..=below(rng, 4) {
        let at = below(rng, bytes.len() + 1);
        let end = (at + 1 + below(rng, 30)).min(bytes.len());
        match below(rng, 8) {
            0 if at < bytes.len() => bytes[at] ^= 1 << below(rng, 8),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            // Lines of another document, at the beginning of one.
            3 | 4 => {
                let other = &documents[below(rng, documents.len())];
                let lines: Vec<&[u8]> = other.split_inclusive(|byte| *byte == b'\n').collect();
                let from = below(rng, lines.len());
                let to = (from + 1 + below(rng, 6)).min(lines.len());
                let before = bytes[..at].iter().rposition(|byte| *byte == b'\n');
                let start = before.map_or(0, |newline| newline + 1);
                bytes.splice(start..start, lines[from..to].concat());
            }
            5 => {
                let deep = OPENINGS[below(rng, OPENINGS.len())].repeat(1 << below(rng, 13));
                bytes.splice(at..at, deep.into_bytes());
            }
            _ => {
                let word = WORDS[below(rng, WORDS.len())];
                bytes.splice(at..at, word.iter().copied());
            }
        }
    }
    bytes
}
