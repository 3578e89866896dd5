//! What is different between two configurations, for people.
//!
//! Compared is what holds (the effective text with its defaults), section by section: a section
//! is a table such as `[pools.app]`, or one route with everything below it. Within a section
//! keys are compared as a set, because order means nothing there; that of the elements of a list
//! does (`balance = "first"`), and that of routes, which is told apart. Linear in the size of both.

use std::collections::BTreeMap;
use std::fmt::Write;

use policies::secret::MASK;

use super::effective::{DIGEST, REDACTED};

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
                let before = &before[place].lines;
                let mut gone = missing(before, &section.lines);
                let mut come = missing(&section.lines, before);
                let (left, taken) = moved(before, &section.lines, &gone, &come);
                gone.extend(left);
                come.extend(taken);
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

/// Elements of lists that are in both and have another place among those, as they stood and as
/// they stand.
fn moved<'a>(
    before: &[&'a str],
    after: &[&'a str],
    gone: &[&str],
    come: &[&str],
) -> (Vec<&'a str>, Vec<&'a str>) {
    // As they are written, one element of a list on each line.
    let kept = |all: &[&'a str], others: &[&str]| -> Vec<&'a str> {
        missing(all, others).into_iter().filter(|line| line.starts_with("  ")).collect()
    };
    let pairs = kept(before, gone).into_iter().zip(kept(after, come));
    pairs.filter(|(before, after)| plain(before) != plain(after)).unzip()
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
    // Of a secret that is another one nothing else can be said.
    let is_other_secret = |line: &str, lines: &[&str]| {
        line.contains(REDACTED) && lines.iter().any(|other| shown(other) == shown(line))
    };
    for line in gone.iter().filter(|line| !is_other_secret(line, come)) {
        let _ = writeln!(out, "  - {}", shown(line));
    }
    for line in come {
        let _ = match is_other_secret(line, gone) {
            true => writeln!(out, "  ~ {}  (changed)", shown(line)),
            false => writeln!(out, "  + {}", shown(line)),
        };
    }
}

/// A line as it may be shown: no digest of a secret is.
fn shown(line: &str) -> String {
    let mut parts = plain(line.trim_start()).split(REDACTED);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str(MASK);
        // 16 digits, see `effective`.
        let rest = part.strip_prefix(DIGEST).and_then(|rest| rest.get(16..));
        out.push_str(rest.unwrap_or(part));
    }
    out
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
        loaded.compared()
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
    fn the_order_of_backends_counts() {
        check(
            &[
                ("\"a\"", "\"x\""),
                ("\"b\"", "\"a\""),
                ("\"x\"", "\"b\""),
                ("10.0.0.1:", "10.0.0.3:"),
                ("10.0.0.2:", "10.0.0.1:"),
                ("10.0.0.3:", "10.0.0.2:"),
            ],
            "changed [pools.app]\n  - { id = \"a\", address = \"10.0.0.1:80\" }\n  \
             - { id = \"b\", address = \"10.0.0.2:80\" }\n  \
             + { id = \"b\", address = \"10.0.0.2:80\" }\n  \
             + { id = \"a\", address = \"10.0.0.1:80\" }\n",
        );
        // One that comes in between moves nobody.
        check(
            &[("  { id = \"b\"", "  { id = \"c\", address = \"10.0.0.3:80\" },\n  { id = \"b\"")],
            "changed [pools.app]\n  + { id = \"c\", address = \"10.0.0.3:80\" }\n",
        );
    }

    #[test]
    fn a_secret_that_changed_is_told_and_not_shown() {
        let with = |secret: &str| {
            let headers = format!(
                "headers = {{ request = {{ set = {{ \"x-api-key\" = \"{secret}\" }} }} }}\n"
            );
            effective(&BASE.replace("name = \"one\"\n", &format!("name = \"one\"\n{headers}")))
        };
        assert_eq!(diff(&with("s3cr3t"), &with("s3cr3t")), "");
        let told = diff(&with("s3cr3t"), &with("0th3r"));
        assert!(told.contains("  ~ set = { x-api-key = \"***\" }  (changed)\n"), "{told}");
        assert_eq!(told.lines().count(), 2, "{told}");
        let told = diff(&effective(BASE), &with("s3cr3t"));
        assert!(told.contains("***") && !told.contains("digest"), "{told}");
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
