//! The rules of the house that a machine can see, each a function from a [`Tree`] to problems.
//!
//! | rule                     | what it keeps                                                |
//! |--------------------------|--------------------------------------------------------------|
//! | [`manifests::arrows`]    | who may depend on whom                                        |
//! | [`manifests::confined`]  | which crates may use which library                            |
//! | [`manifests::versions`]  | versions, lints and licence are said once, in the root        |
//! | [`manifests::test_files`] | no test file is forgotten                                    |
//! | [`source::file_length`], [`source::function_length`] | a file has one topic, a function one screen |
//! | [`source::purity`]       | `policies` has no clock, socket, thread, lock or hash order   |
//! | [`source::headers`]      | every file says what is in it                                 |
//! | [`source::leftovers`]    | nothing unfinished, nothing ignored without a reason          |
//! | [`source::layout`]       | no `mod.rs`                                                   |
//! | [`pages::metrics`]       | source and `docs/metrics.md` name the same metrics            |
//! | [`pages::outcomes`]      | `docs/operations.md` says what to do for each outcome         |
//! | [`events::events`]      | `docs/events.md` has a row for each kind of event            |
//! | [`pages::decisions`]     | decision records have no gap and answer the four questions    |
//! | [`pages::examples`]      | each example is run by a test                                 |
//! | [`pages::links`]         | a link between pages leads somewhere                         |
//! | [`pages::own_words`]     | the text speaks of the project alone                          |
//!
//! A line of Rust that must break a rule says why on that line: `// tidy: the reason`.
//! `tests/tidy.rs` runs all of them on the real tree; the tests beside each rule show it a tree
//! where it is broken.

pub mod events;
pub mod lexer;
pub mod manifests;
pub mod pages;
pub mod source;

use std::fs;
use std::path::{Path, PathBuf};

/// One thing wrong: where, what was found, what to do.
pub type Problem = String;

/// The text files of a checkout.
#[derive(Debug, Default)]
pub struct Tree {
    /// Where it lies on this machine.
    pub root: PathBuf,
    /// Sorted by path.
    pub files: Vec<File>,
}

/// One text file.
#[derive(Debug, Clone)]
pub struct File {
    /// From the root, with `/`.
    pub path: String,
    /// All of it.
    pub text: String,
}

/// What is made, not written: not looked into.
const SKIPPED: [&str; 5] = [".git", "target", "corpus", "artifacts", "Cargo.lock"];

impl Tree {
    /// This checkout.
    pub fn here() -> Tree {
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        Tree::read(package.parent().expect("the package lies in the workspace"))
    }

    /// All text files below a folder.
    pub fn read(root: &Path) -> Tree {
        let mut tree = Tree { root: root.to_owned(), files: Vec::new() };
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).expect("a readable folder").flatten() {
                let path = entry.path();
                let kind = entry.file_type().expect("a file has a type");
                if SKIPPED.iter().any(|name| entry.file_name() == *name) {
                    continue;
                }
                if kind.is_dir() {
                    folders.push(path);
                } else if let (true, Ok(text)) = (kind.is_file(), fs::read_to_string(&path)) {
                    let path = path.strip_prefix(root).expect("below the root");
                    tree.files.push(File { path: path.to_string_lossy().into_owned(), text });
                }
            }
        }
        tree.files.sort_by(|a, b| a.path.cmp(&b.path));
        tree
    }

    /// The Rust files.
    pub fn rust(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.path.ends_with(".rs"))
    }

    /// The file at that path.
    pub fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    /// A tree for showing a rule something broken.
    #[cfg(test)]
    fn of(files: &[(&str, &str)]) -> Tree {
        let file =
            |(path, text): &(&str, &str)| File { path: (*path).into(), text: (*text).into() };
        Tree { root: "/nowhere/tidegate".into(), files: files.iter().map(file).collect() }
    }
}

/// Fails unless each problem contains the expected text of the same place.
#[cfg(test)]
#[track_caller]
fn expect(problems: &[Problem], expected: &[&str]) {
    let all_found = problems.iter().zip(expected).all(|(problem, text)| problem.contains(text));
    assert!(all_found && problems.len() == expected.len(), "{problems:#?}\nare not\n{expected:#?}");
}
