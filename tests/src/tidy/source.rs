//! Rules over the Rust files, one by one.

use super::lexer::{Lexed, functions, lex};
use super::{File, Problem, Tree};

/// Lines of a file, its tests included.
const LONGEST_FILE: usize = 500;

/// Lines of a function from `fn` to its closing brace.
const LONGEST_FUNCTION: usize = 70;

/// What `policies` must not name: clocks, sockets, threads, locks, the process, hash order.
const IMPURE: [&str; 21] = [
    "Instant",
    "SystemTime",
    "UNIX_EPOCH",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "ToSocketAddrs",
    "HashMap",
    "HashSet",
    "RandomState",
    "thread",
    "tokio",
    "Mutex",
    "RwLock",
    "Condvar",
    "AtomicU64",
    "AtomicUsize",
    "AtomicBool",
    "LazyLock",
    "fs",
    "env",
];

/// No file is longer than a topic.
pub fn file_length(tree: &Tree) -> Vec<Problem> {
    let long = tree.rust().map(|file| (file, file.text.lines().count()));
    let long = long.filter(|(_, lines)| *lines > LONGEST_FILE);
    long.map(|(file, lines)| {
        format!("{}: {lines} lines, at most {LONGEST_FILE}; split it by topic", file.path)
    })
    .collect()
}

/// No function is longer than a screen.
pub fn function_length(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in tree.rust() {
        for (name, line, lines) in functions(&lex(&file.text)) {
            if lines > LONGEST_FUNCTION && !is_excused(file, line) {
                problems.push(format!(
                    "{}:{line}: `{name}` has {lines} lines, at most {LONGEST_FUNCTION}; split it",
                    file.path
                ));
            }
        }
    }
    problems
}

/// `policies` depends on its arguments alone.
pub fn purity(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in tree.rust().filter(|file| file.path.starts_with("policies/")) {
        for (line, word) in words(&lex(&file.text)) {
            if IMPURE.contains(&word.as_str()) && !is_excused(file, line) {
                problems.push(format!(
                    "{}:{line}: `{word}` in a pure crate; make it an argument or move it out",
                    file.path
                ));
            }
        }
    }
    problems
}

/// Every file begins with what is in it; only attributes may come before.
pub fn headers(tree: &Tree) -> Vec<Problem> {
    let begins = |file: &&File| {
        let first = file.text.lines().find(|line| !line.starts_with("#!["));
        let header = first.and_then(|line| line.strip_prefix("//!"));
        header.is_some_and(|text| !text.trim().is_empty())
    };
    let bare = tree.rust().filter(|file| !begins(file));
    bare.map(|file| format!("{}:1: no `//!` header; say what is here and why", file.path)).collect()
}

/// Nothing unfinished, and no test ignored without a reason.
pub fn leftovers(tree: &Tree) -> Vec<Problem> {
    // In pieces, so that this file does not name itself.
    let marks = [["FIX", "ME"].concat(), ["XX", "X"].concat(), ["TO", "DO"].concat()];
    let mut problems = Vec::new();
    for file in tree.rust() {
        let lexed = lex(&file.text);
        let mut report = |line: usize, what: &str, remedy: &str| {
            if !is_excused(file, line) {
                problems.push(format!("{}:{line}: `{what}`; {remedy}", file.path));
            }
        };
        for (number, line) in lexed.code.lines().enumerate().map(|(at, line)| (at + 1, line)) {
            for call in ["todo!", "unimplemented!"] {
                if line.contains(call) {
                    report(number, call, "finish it");
                }
            }
            if line.replace(' ', "").contains("#[ignore]") {
                report(number, "ignore", "give the reason: ignore = \"...\"");
            }
        }
        for (line, comment) in &lexed.comments {
            for word in comment.split(|c: char| !c.is_alphanumeric()) {
                if marks.iter().any(|mark| mark == word) {
                    report(*line, word, "do it, or say plainly what is missing");
                }
            }
        }
    }
    problems
}

/// `foo.rs` beside `foo/`, never `foo/mod.rs`.
pub fn layout(tree: &Tree) -> Vec<Problem> {
    let old = tree.rust().filter(|file| file.path.ends_with("/mod.rs"));
    old.map(|file| format!("{}: move it to the name of its folder", file.path)).collect()
}

/// Whether the line says why it breaks a rule.
fn is_excused(file: &File, line: usize) -> bool {
    let text = file.text.lines().nth(line - 1).unwrap_or_default();
    text.split_once("// tidy: ").is_some_and(|(_, reason)| reason.trim().len() > 3)
}

/// Words of the code with their lines.
fn words(lexed: &Lexed) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in lexed.code.lines().enumerate() {
        let words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
        found.extend(
            words.filter(|word| !word.is_empty()).map(|word| (number + 1, word.to_owned())),
        );
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::expect;
    use super::*;

    #[test]
    fn a_file_beyond_the_limit_is_found() {
        let (just, over) = ("x\n".repeat(500), "x\n".repeat(501));
        let tree = Tree::of(&[("a.rs", &just), ("b.rs", &over), ("c.md", &over)]);
        expect(&file_length(&tree), &["b.rs: 501 lines"]);
    }

    #[test]
    fn a_function_beyond_the_limit_is_found_unless_it_says_why() {
        let body = "    x();\n".repeat(69);
        let long = format!("fn a() {{\n{body}}}\n");
        let just = format!("fn b() {{\n{}}}\n", "    x();\n".repeat(68));
        let excused = format!("fn c() {{ // tidy: one table\n{body}}}\n");
        let tree = Tree::of(&[("a.rs", &long), ("b.rs", &just), ("c.rs", &excused)]);
        expect(&function_length(&tree), &["a.rs:1: `a` has 71 lines"]);
    }

    #[test]
    fn a_clock_or_a_hash_map_in_policies_is_found_and_not_elsewhere() {
        let text = "//! No tokio.\nlet a = Instant::now();\nlet b = \"HashMap\";\nuse std::fs;\n";
        let tree = Tree::of(&[("balancer/src/a.rs", text), ("policies/src/a.rs", text)]);
        expect(&purity(&tree), &["policies/src/a.rs:2: `Instant`", "policies/src/a.rs:4: `fs`"]);
        let excused = "let a = Instant::now(); // tidy: a bench\n";
        expect(&purity(&Tree::of(&[("policies/benches/a.rs", excused)])), &[]);
    }

    #[test]
    fn a_file_without_a_header_is_found() {
        let tree = Tree::of(&[
            ("a.rs", "//! A.\n"),
            ("b.rs", "use a;\n"),
            ("c.rs", "//! \n"),
            ("d.rs", "#![no_main]\n//! D.\n"),
        ]);
        expect(&headers(&tree), &["b.rs:1", "c.rs:1"]);
    }

    #[test]
    fn what_is_unfinished_is_found_in_code_and_comments_but_not_in_strings() {
        let text = "//! A.\nfn a() { todo!() }\n// FIX\u{4d}E: later\nlet b = \"todo!\";\n#[ignore]\n\
                    #[ignore = \"needs a network\"]\n";
        let tree = Tree::of(&[("a.rs", text)]);
        expect(&leftovers(&tree), &["a.rs:2: `todo!`", "a.rs:5: `ignore`", "a.rs:3: `FIX"]);
    }

    #[test]
    fn an_old_style_module_is_found() {
        expect(&layout(&Tree::of(&[("a/mod.rs", ""), ("model.rs", "")])), &["a/mod.rs"]);
    }
}
