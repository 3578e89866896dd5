//! Finds values that must not be shown by reading letters alone.
//!
//! Not a parser: it knows keys, values and what encloses them, takes YAML and JSON for what they
//! are meant as, and never gives up. Linear in the file, and no recursion, so that no file is too
//! deep. Where it is in doubt it hides more.

use std::collections::BTreeSet;
use std::ops::Range;

use policies::secret::is_secret_name;

use super::words::{has_secret, is_about_secrets};
use crate::config::keys;

/// How a secret is named, in the place of the secret itself.
const REFERENCES: [&str; 3] = ["file", "env", "credential"];
/// What may stand behind a value on its line.
const BEHIND: [&str; 6] = ["\n", "\r", "#", ",", "}", "]"];

/// The places of what should be hidden. In a file that `is_doubtful` values of unknown keys are.
pub(super) fn secrets(text: &str, is_doubtful: bool) -> Vec<Range<usize>> {
    let known = if is_doubtful { keys::names() } else { BTreeSet::new() };
    let mut scan = Scan { text, at: 0, known, is_doubtful, levels: Vec::new(), found: Vec::new() };
    while scan.at < text.len() {
        let before = scan.at;
        scan.step();
        debug_assert!(scan.at > before, "every step goes on");
    }
    scan.found
}

struct Scan<'a> {
    text: &'a str,
    at: usize,
    known: BTreeSet<&'static str>,
    is_doubtful: bool,
    /// The brackets that are open.
    levels: Vec<Level>,
    found: Vec<Range<usize>>,
}

#[derive(Clone, Copy, Default)]
struct Level {
    /// What is in it belongs to a secret.
    is_secret: bool,
    /// `--token` was the element before.
    is_behind_flag: bool,
}

impl Scan<'_> {
    /// One blank, bracket, comment, pair or value.
    fn step(&mut self) {
        let rest = self.rest();
        match rest.as_bytes().first() {
            None => {}
            Some(b' ' | b'\t' | b'\r' | b'\n' | b',' | b'=' | b':') => self.at += 1,
            Some(b'#') => self.comment(),
            Some(b'[' | b'{') => {
                let is_secret = self.level().is_secret;
                self.open(is_secret);
            }
            Some(b']' | b'}') => {
                self.levels.pop();
                self.at += 1;
            }
            Some(_) => self.pair_or_value(),
        }
    }

    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn level(&self) -> Level {
        self.levels.last().copied().unwrap_or_default()
    }

    fn open(&mut self, is_secret: bool) {
        self.levels.push(Level { is_secret, is_behind_flag: false });
        self.at += 1;
    }

    fn comment(&mut self) {
        let end = self.at + line_end(self.rest());
        if is_about_secrets(&self.text[self.at..end]) {
            // The mark stays, so that what is shown still looks like a comment.
            self.found.push(self.at + 1..end);
        }
        self.at = end;
    }

    fn pair_or_value(&mut self) {
        let start = self.at;
        let (name, end) = key(self.text, start);
        let blanks =
            self.text[end..].len() - self.text[end..].trim_start_matches([' ', '\t']).len();
        let mark = end + blanks;
        let is_pair = end > start && self.text[mark..].starts_with(['=', ':']);
        if is_pair {
            self.at = mark + 1;
            return self.value_of(&name);
        }
        let is_in_brackets = !self.levels.is_empty();
        let level = self.level();
        let is_secret = level.is_secret || level.is_behind_flag;
        if let Some(level) = self.levels.last_mut() {
            let flag = name.trim_start_matches('-');
            level.is_behind_flag = flag.len() < name.len() && is_secret_name(flag);
        }
        match is_in_brackets {
            true => self.value(is_secret),
            // `password hunter2`: no pair, and who knows what.
            false => {
                let is_hidden = self.is_doubtful && !self.known.contains(name.as_str());
                self.at = end.max(start + 1).min(self.text.len());
                while !self.text.is_char_boundary(self.at) {
                    self.at += 1;
                }
                if is_hidden || is_secret_name(&name) {
                    let end = self.at + line_end(self.rest());
                    self.hide(self.at, end);
                }
            }
        }
    }

    /// What stands behind `name =`.
    fn value_of(&mut self, name: &str) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t']).len();
        let is_inside = self.level().is_secret;
        let is_reference = is_inside && REFERENCES.contains(&name);
        let is_secret = !is_reference && (is_inside || is_secret_name(name));
        if self.rest().starts_with('{') {
            return self.open(is_secret);
        }
        let is_unknown = self.is_doubtful && !is_reference && !self.known.contains(name);
        let is_secret = is_secret || is_unknown;
        match self.rest().as_bytes().first() {
            Some(b'[') => self.open(is_secret),
            None | Some(b'\n' | b'\r' | b'#' | b',' | b'}' | b']') => {}
            Some(_) => self.value(is_secret),
        }
    }

    /// A text, a number or anything without quotes.
    fn value(&mut self, is_secret: bool) {
        let start = self.at;
        let quoted = string(self.text, start);
        let end = match &quoted {
            Some((end, _)) => *end,
            None => bare_end(self.text, start),
        };
        let content = &self.text[start..end];
        let is_flag = matches!(content, "true" | "false");
        let is_shown = !is_secret || is_flag;
        if is_shown && !has_secret(content.trim_matches(['"', '\''])) {
            // In a file that is no TOML, a text of several lines may be one that was not closed:
            // its lines are read as well.
            let is_read_on = self.is_doubtful && content.contains('\n');
            self.at = if is_read_on { start + line_end(content).max(1) } else { end };
            return;
        }
        // Behind a whole value is the end of it; anything else may be the rest of the secret.
        let behind = self.text[end..].trim_start_matches([' ', '\t']);
        let is_whole = behind.is_empty() || BEHIND.iter().any(|mark| behind.starts_with(mark));
        let is_cut = quoted.is_none() && (behind.starts_with(['#', ']', '}', ',']));
        let is_cut = is_cut && !is_plain(content);
        let end = if is_whole && !is_cut { end } else { end + line_end(&self.text[end..]) };
        self.hide(start, end);
    }

    fn hide(&mut self, start: usize, end: usize) {
        if start < end {
            self.found.push(start..end);
        }
        self.at = end.max(self.at);
    }
}

/// A key with what stands before its last point left out, and where it ends.
fn key(text: &str, start: usize) -> (String, usize) {
    let mut at = start;
    loop {
        let rest = &text[at..];
        let (name, end) = match string(text, at) {
            Some((end, is_closed)) if is_closed => (rest[1..end - at - 1].to_owned(), end),
            Some((end, _)) => return (rest[1..end - at].to_owned(), end),
            None => {
                let end = rest.find(|c: char| " \t\r\n=:.,{}[]#\"'".contains(c));
                let end = end.unwrap_or(rest.len());
                (rest[..end].to_owned(), at + end)
            }
        };
        if !text[end..].starts_with('.') || end == at {
            return (name, end);
        }
        at = end + 1;
    }
}

/// Where the text in quotes that begins here ends, and whether it has an end; a text of one line
/// ends with it.
fn string(text: &str, start: usize) -> Option<(usize, bool)> {
    let rest = &text[start..];
    let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let triple = if quote == '"' { "\"\"\"" } else { "'''" };
    let is_long = rest.starts_with(triple);
    let end = if is_long { triple } else { &triple[..1] };
    let mut from = end.len();
    let is_escaped = quote == '"';
    while let Some(inner) = rest.get(from..).filter(|inner| !inner.is_empty()) {
        if inner.starts_with(end) {
            // Up to two quotes may stand before the three that close it.
            let more =
                if is_long { inner.len() - inner.trim_start_matches(quote).len() } else { 1 };
            return Some((start + from + more.min(5), true));
        }
        let mut letters = inner.chars();
        let letter = letters.next().unwrap_or_default();
        if letter == '\n' && !is_long {
            return Some((start + from, false));
        }
        from += letter.len_utf8();
        if letter == '\\' && is_escaped && !inner[1..].starts_with('\n') {
            from += letters.next().map_or(0, char::len_utf8);
        }
    }
    Some((text.len(), false))
}

/// To the end of the line, or to what closes or parts a list.
fn bare_end(text: &str, start: usize) -> usize {
    let rest = &text[start..];
    let end = rest.find(|c: char| ",{}[]#\r\n".contains(c)).unwrap_or(rest.len());
    let end = start + rest[..end].trim_end_matches([' ', '\t']).len();
    match rest.chars().next() {
        Some(first) => end.max(start + first.len_utf8()),
        None => end,
    }
}

/// Whether a value without quotes is one that TOML has: a number, a date.
fn is_plain(content: &str) -> bool {
    content.starts_with(|c: char| c.is_ascii_digit() || "+-".contains(c))
        && content.chars().all(|c| c.is_ascii_alphanumeric() || "+-_.: ".contains(c))
}

/// Bytes to the end of the line.
fn line_end(text: &str) -> usize {
    text.find('\n').map_or(text.len(), |end| text[..end].trim_end_matches('\r').len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text with what is found replaced.
    fn shown(text: &str, is_doubtful: bool) -> String {
        let mut out = text.to_owned();
        let mut found = secrets(text, is_doubtful);
        found.sort_by_key(|range| range.start);
        for range in found.into_iter().rev() {
            out.replace_range(range, "*");
        }
        out
    }

    #[test]
    fn values_are_hidden_by_their_name_and_by_themselves() {
        for (text, expected) in [
            ("token = \"abc\"", "token = *"),
            ("'api-key' = 'abc' # why", "'api-key' = * # why"),
            ("a.token = \"a\\\"b\"\nb = \"c\"", "a.token = *\nb = \"c\""),
            ("x = { key = \"abc\", ttl = \"5m\" }", "x = { key = *, ttl = \"5m\" }"),
            ("key = { file = \"/run/x\" }", "key = { file = \"/run/x\" }"),
            ("key = { other = \"abc\" }\na = \"b\"", "key = { other = * }\na = \"b\""),
            ("keys = [\"a\", \"b\"]", "keys = [*, *]"),
            ("pin_token = 1234\nhas_token = true", "pin_token = *\nhas_token = true"),
            ("a = \"https://u:p@h/\"", "a = *"),
            ("c = [\"x\", \"--token\", \"abc\", \"y\"]", "c = [\"x\", \"--token\", *, \"y\"]"),
            ("a = 1 # the old password was abc", "a = 1 #*"),
            ("token = \"\"\"a\n\"b\"\n\"\"\"\na = \"b\"", "token = *\na = \"b\""),
        ] {
            assert_eq!(shown(text, false), expected);
        }
    }

    #[test]
    fn what_is_no_toml_hides_what_follows_an_unknown_key() {
        for (text, expected) in [
            ("tokne = \"abc", "tokne = *"),
            ("password: abc # def", "password: *"),
            ("\"password\": \"abc\",\n", "\"password\": *,\n"),
            ("tokne abc", "tokne*"),
            ("password = abc#def", "password = *"),
            ("token = \"abc\"def\"", "token = *"),
            ("bind = [\"a:1\"\ntoken = \"abc\"\n", "bind = [\"a:1\"\ntoken = *\n"),
            ("body = \"\"\"\n<p>\ntoken = \"abc\"\n", "body = \"\"\"\n<p>\ntoken = *\n"),
            ("name = kg", "name = kg"),
        ] {
            assert_eq!(shown(text, true), expected);
        }
    }

    #[test]
    fn no_text_is_too_odd_to_be_read_to_its_end() {
        for text in
            ["\"", "'''", "é", "é = é", "a.\"", "\\", "\"\\", "=", "é\"é'é", "a..b", "\u{0}"]
        {
            for is_doubtful in [false, true] {
                let _ = secrets(text, is_doubtful);
                let _ = secrets(&text.repeat(1000), is_doubtful);
            }
        }
        let _ = secrets(&"[{".repeat(100_000), true);
    }
}
