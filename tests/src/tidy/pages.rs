//! Rules over the documents, and over what source and documents say about each other.

use std::collections::BTreeSet;

use super::lexer::lex;
use super::{Problem, Tree};

/// Where each metric is a row.
const METRICS: &str = "docs/metrics.md";

/// Where each outcome is a row.
const OPERATIONS: &str = "docs/operations.md";

/// What every decision record answers.
const QUESTIONS: [&str; 4] =
    ["## Context", "## Decision", "## Consequences", "## What would change our mind"];

/// Homes of people and machines; a document that names one was written for one machine.
const HOMES: [&str; 4] = ["/home/", "/root/", "/Users/", "C:\\"];

/// Every metric in the source is a row of the page, and the other way round.
pub fn metrics(tree: &Tree) -> Vec<Problem> {
    let mut in_source = BTreeSet::new();
    for file in tree.rust().filter(|file| !file.path.starts_with("tests/")) {
        let strings = lex(&file.text).strings;
        in_source.extend(strings.into_iter().map(|(_, text)| text).filter(|text| is_metric(text)));
    }
    let page = tree.file(METRICS).map(|file| file.text.as_str()).unwrap_or_default();
    let on_page: BTreeSet<String> = page.lines().filter_map(metric_row).collect();

    let missing = in_source.difference(&on_page);
    let missing = missing.map(|name| format!("{METRICS}: no row for `{name}`; add one"));
    let gone = on_page.difference(&in_source);
    missing.chain(gone.map(|name| format!("{METRICS}: `{name}` is not in the source"))).collect()
}

fn is_metric(text: &str) -> bool {
    let name = text.strip_prefix("tidegate_").unwrap_or_default();
    !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// The name of a row that begins with "| `tidegate_...`", without labels.
fn metric_row(line: &str) -> Option<String> {
    let cell = line.trim().strip_prefix('|')?.trim_start().strip_prefix('`')?;
    let name = cell.split(['`', '{']).next()?;
    is_metric(name).then(|| name.to_owned())
}

/// The page says what to do for each of these words.
pub fn outcomes(tree: &Tree, words: &[&str]) -> Vec<Problem> {
    let page = tree.file(OPERATIONS).map(|file| file.text.as_str()).unwrap_or_default();
    let rows: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("| `")).collect();
    let is_missing = |word: &&&str| !rows.iter().any(|row| row.split('`').next() == Some(word));
    let missing = words.iter().filter(is_missing);
    missing.map(|word| format!("{OPERATIONS}: no row for the outcome `{word}`; add one")).collect()
}

/// Where the words for the `reason` of the access log are.
const REASONS: [&str; 6] = [
    "balancer/src/reason.rs",
    "balancer/src/proxy_protocol.rs",
    "balancer/src/http1/chunked.rs",
    "balancer/src/http1/malformed.rs",
    "policies/src/route/normal.rs",
    "policies/src/route/normal/host.rs",
];

/// The page says of each reason what is wrong, and of nothing else.
pub fn reasons(tree: &Tree) -> Vec<Problem> {
    let sources = REASONS.iter().filter_map(|path| tree.file(path));
    let lines = sources.flat_map(|file| file.text.lines());
    let word = |line: &str| Some(line.split_once(" => \"")?.1.strip_suffix("\",")?.to_owned());
    let in_source: BTreeSet<String> = lines.filter_map(word).collect();

    let page = tree.file(OPERATIONS).map(|file| file.text.as_str()).unwrap_or_default();
    let section = page.split("\n## ").find(|section| section.starts_with("Reasons\n"));
    let rows = section.unwrap_or_default().lines().filter(|line| line.starts_with("| `"));
    let cells = rows.filter_map(|row| row.split(" | ").next());
    let on_page: BTreeSet<String> =
        cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned).collect();

    let missing = in_source.difference(&on_page);
    let missing = missing.map(|word| format!("{OPERATIONS}: no row for the reason `{word}`"));
    let gone = on_page.difference(&in_source);
    missing.chain(gone.map(|word| format!("{OPERATIONS}: no such reason as `{word}`"))).collect()
}

/// Decision records are numbered from 0001 without gap or double, and whole.
pub fn decisions(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    let records = tree.files.iter().filter(|file| file.path.starts_with("docs/decisions/"));
    for (index, file) in records.enumerate() {
        let name = file.path.rsplit('/').next().unwrap_or_default();
        let number = format!("{:04}", index + 1);
        if name.split_once('-').is_none_or(|(found, _)| found != number) {
            problems.push(format!("{}: expected number {number} here", file.path));
        }
        for question in QUESTIONS {
            if !file.text.lines().any(|line| line == question) {
                problems.push(format!("{}: no `{question}`", file.path));
            }
        }
    }
    problems
}

/// Every file in `examples/` is named in a test.
pub fn examples(tree: &Tree) -> Vec<Problem> {
    let mut named = BTreeSet::new();
    for file in tree.rust() {
        if file.path.starts_with("tests/") || file.path.contains("/tests") {
            named.extend(lex(&file.text).strings.into_iter().map(|(_, text)| text));
        }
    }
    let examples = tree.files.iter().filter_map(|file| file.path.strip_prefix("examples/"));
    let unseen = examples.filter(|name| !named.iter().any(|text| text.ends_with(name)));
    unseen
        .map(|name| format!("examples/{name}: no test names it; load and run it in one"))
        .collect()
}

/// A link from one page to another file of the tree leads there.
pub fn links(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for page in tree.files.iter().filter(|file| file.path.ends_with(".md")) {
        let folder = page.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for (number, line) in page.text.lines().enumerate() {
            for target in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                let target = target.split('#').next().unwrap_or_default();
                let path = join(folder, target);
                let leads = tree.files.iter().any(|file| {
                    let below = file.path.strip_prefix(path.as_str());
                    below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
                });
                if !target.contains("://") && !leads {
                    problems.push(format!("{}:{}: no `{path}` to link to", page.path, number + 1));
                }
            }
        }
    }
    problems
}

fn join(folder: &str, target: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/') {
        match part {
            ".." => drop(parts.pop()),
            "" | "." => {}
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

/// The text speaks of the project alone: no path of the machine it was written on, no number of
/// a tracker that a reader may not have.
pub fn own_words(tree: &Tree) -> Vec<Problem> {
    let root = tree.root.to_string_lossy();
    let mut problems = Vec::new();
    for file in tree.files.iter().filter(|file| file.path != "tests/src/tidy/pages.rs") {
        for (number, line) in file.text.lines().enumerate().map(|(at, line)| (at + 1, line)) {
            let home = HOMES.into_iter().find(|home| line.contains(home));
            let found =
                home.or_else(|| line.contains(&*root).then_some(&root)).or_else(|| issue(line));
            if let (Some(found), false) = (found, line.contains("// tidy: ")) {
                problems.push(format!("{}:{number}: `{found}`; say it without", file.path));
            }
        }
    }
    problems
}

/// "issue 12" and "issue #12".
fn issue(line: &str) -> Option<&str> {
    let lower = line.to_ascii_lowercase();
    let at = lower.match_indices("issue ").map(|(at, _)| at).find(|at| {
        let rest = lower[at + 6..].trim_start_matches('#');
        rest.starts_with(|c: char| c.is_ascii_digit())
    })?;
    line.get(at..line.len().min(at + 9))
}

#[cfg(test)]
mod tests {
    use super::super::expect;
    use super::*;

    #[test]
    fn a_metric_without_a_row_and_a_row_without_a_metric_are_found() {
        let source =
            "//! A.\nlet a = \"tidegate_a_total\";\nlet b = \"tidegate_b\"; // tidegate_c\n";
        let page = "| name | question |\n| `tidegate_b{pool}` | ? |\n| `tidegate_d` | ? |\n";
        let tree = Tree::of(&[("balancer/src/a.rs", source), (METRICS, page)]);
        expect(&metrics(&tree), &["no row for `tidegate_a_total`", "`tidegate_d` is not in"]);
    }

    #[test]
    fn an_outcome_without_a_row_is_found() {
        let tree = Tree::of(&[(OPERATIONS, "`full`\n| `ok` | fine |\n")]);
        expect(&outcomes(&tree, &["ok", "full"]), &["no row for the outcome `full`"]);
    }

    #[test]
    fn a_reason_without_a_row_and_a_row_without_a_reason_are_found() {
        let source = "        A => \"a\",\n        B(_) => \"b\",\n        C => \"c\",\n";
        let page =
            "# A\n| `a` | |\n\n## Reasons\n\n| `b`, `d` | `e` |\n| `c` | |\n\n## Z\n| `a` | |\n";
        let tree = Tree::of(&[(REASONS[0], source), (OPERATIONS, page)]);
        expect(&reasons(&tree), &["no row for the reason `a`", "no such reason as `d`"]);
    }

    #[test]
    fn a_gap_and_an_unanswered_question_are_found() {
        let whole = QUESTIONS.join("\n\n");
        let part = QUESTIONS[..3].join("\n\n");
        let tree =
            Tree::of(&[("docs/decisions/0001-a.md", &whole), ("docs/decisions/0003-c.md", &part)]);
        expect(&decisions(&tree), &["expected number 0002", "no `## What would change our mind`"]);
    }

    #[test]
    fn a_link_that_leads_nowhere_is_found() {
        let page = "[a](b.md#c) [d](../README.md) [e](gone.md) [f](https://x.example/y)\n";
        let tree =
            Tree::of(&[("README.md", "[docs](docs/)"), ("docs/a.md", page), ("docs/b.md", "")]);
        expect(&links(&tree), &["docs/a.md:1: no `docs/gone.md`"]);
    }

    #[test]
    fn an_example_that_no_test_names_is_found() {
        let test = "//! A.\nload(\"examples/local.toml\"); // other.toml\n";
        let tree = Tree::of(&[
            ("examples/local.toml", ""),
            ("examples/other.toml", ""),
            ("tests/examples.rs", test),
        ]);
        expect(&examples(&tree), &["examples/other.toml"]);
    }

    #[test]
    fn the_machine_and_the_tracker_are_found() {
        let text = "run it in /nowhere/tidegate\nsee issue #7\nan issue of 2 kinds\ncd /home/me\n";
        let tree = Tree::of(&[("README.md", text)]);
        expect(&own_words(&tree), &["README.md:1", "README.md:2: `issue #7`", "README.md:4"]);
    }
}
