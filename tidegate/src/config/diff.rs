//! What is different between two configurations, for people.
//!
//! Compared is what holds (the effective text with its defaults), section by section: a section
//! is a table such as `[pools.app]`, or one route with everything below it. Within a section
//! lines are compared as a set, because order means nothing there; the order of routes does and
//! is told apart. Linear in the size of both.

use std::collections::BTreeMap;
use std::fmt::Write;

/// A table of the effective text with its lines.
struct Section<'a> {
    /// `[pools.app]`, `[[routes]] live`, `[[routes]] live [timeouts]`; empty for the first lines.
    title: String,
    lines: Vec<&'a str>,
}

/// Lines that say what became of each section; empty if nothing did.
///
/// ```text
/// changed [pools.app]
///   - balance = "round_robin"
///   + balance = "least_requests"
/// added [listeners.inner]
///   + bind = ["10.0.0.1:80"]
/// ```
pub fn diff(before: &str, after: &str) -> String {
    let (before, after) = (sections(before), sections(after));
    let by_title = |all: &[Section<'_>]| -> BTreeMap<String, usize> {
        all.iter().enumerate().map(|(place, section)| (section.title.clone(), place)).collect()
    };
    let (old, new) = (by_title(&before), by_title(&after));
    let mut out = String::new();
    for section in &before {
        if !new.contains_key(&section.title) {
            write_section(&mut out, "removed", section, &section.lines, &[]);
        }
    }
    for section in &after {
        match old.get(&section.title) {
            None => write_section(&mut out, "added", section, &[], &section.lines),
            Some(&place) => {
                let gone = missing(&before[place].lines, &section.lines);
                let come = missing(&section.lines, &before[place].lines);
                if !gone.is_empty() || !come.is_empty() {
                    write_section(&mut out, "changed", section, &gone, &come);
                }
            }
        }
    }
    let kept = |all: &[Section<'_>], other: &BTreeMap<String, usize>| -> Vec<String> {
        let routes = all.iter().filter_map(|section| section.title.strip_prefix(ROUTE));
        let routes = routes.filter(|route| !route.ends_with(']'));
        routes
            .filter(|route| other.contains_key(&format!("{ROUTE}{route}")))
            .map(str::to_owned)
            .collect()
    };
    let order = kept(&after, &old);
    if kept(&before, &new) != order {
        let _ = writeln!(out, "changed order of routes: {}", order.join(", "));
    }
    out
}

const ROUTE: &str = "[[routes]] ";

fn sections(text: &str) -> Vec<Section<'_>> {
    let mut all = vec![Section { title: String::new(), lines: Vec::new() }];
    let mut route = String::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let last = all.last_mut().expect("begins with one");
        if line == ROUTE.trim_end() {
            route.clear();
            all.push(Section { title: ROUTE.to_owned(), lines: Vec::new() });
        } else if line.starts_with('[') {
            let title = match line.strip_prefix("[routes.") {
                Some(below) => format!("{ROUTE}{route} [{below}"),
                None => line.to_owned(),
            };
            all.push(Section { title, lines: Vec::new() });
        } else if last.title == ROUTE
            && let Some(name) = line.strip_prefix("name = ")
        {
            name.trim_matches('"').clone_into(&mut route);
            last.title.push_str(&route);
        } else {
            last.lines.push(line);
        }
    }
    all
}

/// What is in `these` and not in `those`, as often as it is there.
fn missing<'a>(these: &[&'a str], those: &[&str]) -> Vec<&'a str> {
    let mut left: BTreeMap<&str, usize> = BTreeMap::new();
    for line in those {
        *left.entry(plain(line)).or_default() += 1;
    }
    let is_missing = |line: &&&str| match left.get_mut(plain(line)) {
        Some(count @ 1..) => {
            *count -= 1;
            false
        }
        _ => true,
    };
    these.iter().filter(is_missing).copied().collect()
}

/// Without what says where a value comes from: writing a default down changes nothing.
fn plain(line: &str) -> &str {
    let line = line.strip_suffix("  # default").unwrap_or(line);
    let line = line.strip_suffix("  # from [defaults]").unwrap_or(line);
    line.trim_end_matches(',')
}

fn write_section(
    out: &mut String,
    word: &str,
    section: &Section<'_>,
    gone: &[&str],
    come: &[&str],
) {
    let title = if section.title.is_empty() { "the top of the file" } else { &section.title };
    let _ = writeln!(out, "{word} {title}");
    for (sign, lines) in [('-', gone), ('+', come)] {
        for line in lines {
            let _ = writeln!(out, "  {sign} {}", plain(line.trim_start()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::diff;
    use crate::config::parse;

    const BASE: &str = r#"
schema = 1
workers = 1
[listeners.web]
bind = ["127.0.0.1:8080"]
[pools.app]
backends = [
  { id = "a", address = "10.0.0.1:80" },
  { id = "b", address = "10.0.0.2:80" },
]
[[routes]]
name = "one"
match = { path_prefix = "/one" }
to = { pool = "app" }
[[routes]]
name = "two"
match = { path_prefix = "/two" }
to = { pool = "app" }
timeouts = { total = "5s" }
"#;

    fn effective(text: &str) -> String {
        let loaded = parse("test.toml", text);
        assert!(loaded.config.is_some(), "{:?}", loaded.problems);
        loaded.effective(true)
    }

    #[track_caller]
    fn check(edits: &[(&str, &str)], expected: &str) {
        let mut text = BASE.to_owned();
        for (from, to) in edits {
            assert!(text.contains(from), "{from}");
            text = text.replace(from, to);
        }
        assert_eq!(diff(&effective(BASE), &effective(&text)), expected);
    }

    #[test]
    fn nothing_is_said_of_what_means_the_same() {
        check(&[], "");
        check(&[("[pools.app]\n", "[pools.app]\nkind = \"static\"\n")], "");
    }

    #[test]
    fn a_value_that_changed_is_shown_with_what_it_was() {
        check(
            &[("workers = 1", "workers = 4"), ("10.0.0.2:80\" }", "10.0.0.2:80\", weight = 3 }")],
            "changed the top of the file\n  - workers = 1\n  + workers = 4\n\
             changed [pools.app]\n  - { id = \"b\", address = \"10.0.0.2:80\" }\n  \
             + { id = \"b\", address = \"10.0.0.2:80\", weight = 3 }\n",
        );
    }

    #[test]
    fn routes_are_known_by_their_names_and_their_order_counts() {
        check(
            &[("total = \"5s\"", "total = \"9s\"")],
            "changed [[routes]] two [timeouts]\n  - total = \"5s\"\n  + total = \"9s\"\n",
        );
        // Each route takes the other's place with all that it says.
        let (head, routes) = BASE.split_at(BASE.find("[[routes]]").unwrap());
        let (one, two) = routes.split_at(routes.rfind("[[routes]]").unwrap());
        assert_eq!(
            diff(&effective(BASE), &effective(&format!("{head}{two}{one}"))),
            "changed order of routes: two, one\n"
        );
    }
}
