//! Every kind of event in the source is a row of the page of events, and the other way round.

use std::collections::BTreeSet;

use super::lexer::lex;
use super::{Problem, Tree};

/// Where each kind is a row.
const PAGE: &str = "docs/events.md";

/// What tells events; `debug!` and `trace!` tell none.
const MACROS: [&str; 3] = ["info!(", "warn!(", "error!("];

/// The rule.
pub fn events(tree: &Tree) -> Vec<Problem> {
    let mut in_source = BTreeSet::new();
    let is_product = |path: &str| !path.starts_with("tests/") && !path.contains("tests.rs");
    for file in tree.rust().filter(|file| is_product(&file.path)) {
        in_source.extend(told(&file.text));
    }
    let page = tree.file(PAGE).map(|file| file.text.as_str()).unwrap_or_default();
    let on_page: BTreeSet<String> = page.lines().filter_map(row).collect();
    let missing = in_source.difference(&on_page);
    let missing = missing.map(|kind| format!("{PAGE}: no row for the event `{kind}`; add one"));
    let gone = on_page.difference(&in_source);
    missing.chain(gone.map(|kind| format!("{PAGE}: no source tells `{kind}`"))).collect()
}

/// The word of a row that begins with "| `backend_healthy`".
fn row(line: &str) -> Option<String> {
    let kind = line.strip_prefix("| `")?.split('`').next()?;
    is_kind(kind).then(|| kind.to_owned())
}

/// Kinds of the events that a source tells outside its tests.
fn told(text: &str) -> Vec<String> {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    // Of the same length, with comments and the insides of literals blanked.
    let code: Vec<char> = lex(text).code.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let mut kinds = Vec::new();
    for name in MACROS {
        for start in 0..code.len() {
            let begins = name.chars().eq(code[start..].iter().take(name.len()).copied());
            if begins && let Some(message) = message(&code[start + name.len() - 1..]) {
                let from = start + name.len() - 1 + message.0;
                kinds.extend(Some(text[from..from + message.1].iter().collect::<String>()));
            }
        }
    }
    kinds.retain(|kind| is_kind(kind));
    kinds
}

/// Place and length of the inside of the last literal that is an argument by itself, in code that
/// begins with the parenthesis of a macro.
fn message(code: &[char]) -> Option<(usize, usize)> {
    let (mut depth, mut before, mut found) = (0_usize, ' ', None);
    let mut at = 0;
    while at < code.len() {
        match code[at] {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            '"' => {
                let length = code[at + 1..].iter().position(|c| *c == '"')?;
                if depth == 1 && matches!(before, ',' | '(') {
                    found = Some((at + 1, length));
                }
                at += length + 1;
            }
            _ => {}
        }
        if depth == 0 {
            return found;
        }
        if !code[at].is_whitespace() {
            before = code[at];
        }
        at += 1;
    }
    None
}

/// As the program decides it: one word of several parts.
fn is_kind(message: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    message.contains('_') && message.split('_').all(is_part)
}

#[cfg(test)]
mod tests {
    use super::super::expect;
    use super::*;

    #[test]
    fn an_event_without_a_row_and_a_row_without_an_event_are_found() {
        let source = "//! A.\n// info!(\"in_comment\")\nfn a() {\n    tracing::info!(\"event_one\");\n\
                      tracing::warn!(%x, why = \"not_this\", f = f(\"nor_this\"),\n  \"event_two\"\n);\n\
                      tracing::error!(\"a sentence, {}\", 1);\n    tracing::debug!(\"only_a_detail\");\n\
                      say(\"no_event\");\n}\n#[cfg(test)]\nmod tests {\ninfo!(\"in_test\");\n}\n";
        let page = "| event | when |\n| `event_two` | now |\n| `event_gone` | never |\n";
        let tree = Tree::of(&[("health/src/a.rs", source), (PAGE, page)]);
        expect(
            &events(&tree),
            &["no row for the event `event_one`", "no source tells `event_gone`"],
        );
    }
}
