//! Messages as data: what is sent, what shall become of it, and why.
//!
//! A file is a list of paragraphs. A line that begins with `#` is for the reader. A line of bytes
//! begins with `| ` (what is sent) or `> ` (what the other side shall get) and stands for its text
//! and CRLF; with a `\` at its end, for its text alone. `\r \n \t \0 \\ \xHH` are bytes, and
//! `\{70000*a}` is so many of that text.
//!
//! ```text
//! name: a length and chunks
//! rfc: 9112 §6.1
//! answer: 400, close
//! | POST / HTTP/1.1
//! | Host: a
//! | Content-Length: 5
//! | Transfer-Encoding: chunked
//! |
//! | 0
//! |
//! ```
//!
//! Where many messages differ in one place, a template comes first (with what they have in common),
//! and then they are rows of answer, section, name, and the bytes to be put in place of `{}`:
//!
//! ```text
//! template:
//! | GET / HTTP/1.1
//! | Host: {}
//! |
//!
//! 400, close | 9110 §7.2 | no host at all |
//! 400, close | 9110 §7.2 | a user         | u@a
//! ```

use std::collections::BTreeMap;
use std::path::Path;

/// One message of a corpus.
#[derive(Debug, Clone)]
pub struct Case {
    /// File and line, for who has to look.
    pub place: String,
    /// What is special about it.
    pub name: String,
    /// Section of the RFC that says so.
    pub rfc: String,
    /// What shall be answered; the meaning is the test's.
    pub answer: String,
    /// Further `key: value` lines.
    pub keys: BTreeMap<String, String>,
    /// What is sent.
    pub sent: Vec<u8>,
    /// What the other side shall get.
    pub passed: Vec<u8>,
}

/// All cases of all `.txt` files of a folder, in the order of their names.
///
/// Panics where a file does not read as described, naming the line.
pub fn read_folder(folder: &Path) -> Vec<Case> {
    let entries = std::fs::read_dir(folder).expect("a folder of the tree");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    let mut cases = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a text file");
        let name = file.file_name().expect("a file has a name").to_string_lossy().into_owned();
        cases.extend(read(&name, &text));
    }
    cases
}

/// All cases of one file.
pub fn read(file: &str, text: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut template = Vec::new();
    for paragraph in paragraphs(file, text) {
        let (place, first) = paragraph[0].clone();
        if first == "template:" {
            template = paragraph[1..].to_vec();
        } else if first.starts_with("name: ") {
            cases.push(block(&paragraph));
        } else {
            assert!(!template.is_empty(), "{place}: rows without a template");
            cases.extend(paragraph.iter().map(|(place, line)| row(place, line, &template)));
        }
    }
    cases
}

/// Lines between empty ones, each with its place, without those for the reader.
fn paragraphs(file: &str, text: &str) -> Vec<Vec<(String, String)>> {
    let mut all = vec![Vec::new()];
    for (number, line) in text.lines().enumerate() {
        if line.is_empty() {
            all.push(Vec::new());
        } else if !line.starts_with('#') {
            let place = format!("{file}:{}", number + 1);
            all.last_mut().expect("there is one").push((place, line.to_owned()));
        }
    }
    all.retain(|paragraph| !paragraph.is_empty());
    all
}

fn block(paragraph: &[(String, String)]) -> Case {
    let mut keys = BTreeMap::new();
    let (mut sent, mut passed) = (Vec::new(), Vec::new());
    for (place, line) in paragraph {
        if let Some(text) = bytes_line(line, '|') {
            sent.extend(bytes_of(place, text));
        } else if let Some(text) = bytes_line(line, '>') {
            passed.extend(bytes_of(place, text));
        } else {
            let pair = line.split_once(": ");
            let (key, value) = pair.unwrap_or_else(|| panic!("{place}: neither bytes nor a key"));
            keys.insert(key.to_owned(), value.to_owned());
        }
    }
    let place = paragraph[0].0.clone();
    let mut take = |key| keys.remove(key).unwrap_or_else(|| panic!("{place}: there is no `{key}`"));
    let (name, rfc, answer) = (take("name"), take("rfc"), take("answer"));
    Case { place, name, rfc, answer, keys, sent, passed }
}

fn row(place: &str, line: &str, template: &[(String, String)]) -> Case {
    let columns: Vec<&str> = line.splitn(4, '|').collect();
    let [answer, rfc, name, bytes] = columns[..] else { panic!("{place}: not four columns") };
    let bytes = bytes.strip_prefix(' ').unwrap_or(bytes);
    let own = [("name", name), ("rfc", rfc), ("answer", answer)];
    let mut lines: Vec<_> = own
        .iter()
        .map(|(key, value)| (place.to_owned(), format!("{key}: {}", value.trim())))
        .collect();
    let filled = template.iter().map(|(_, line)| (place.to_owned(), line.replace("{}", bytes)));
    lines.extend(filled);
    block(&lines)
}

/// The text of a line of bytes.
fn bytes_line(line: &str, mark: char) -> Option<&str> {
    let text = line.strip_prefix(mark)?;
    Some(text.strip_prefix(' ').unwrap_or(text))
}

fn bytes_of(place: &str, text: &str) -> Vec<u8> {
    let (text, end) = match text.strip_suffix('\\') {
        Some(text) if !text.ends_with('\\') => (text, &b""[..]),
        _ => (text, &b"\r\n"[..]),
    };
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, escape)) = rest.split_once('\\') {
        bytes.extend_from_slice(before.as_bytes());
        rest = unescape(escape, &mut bytes)
            .unwrap_or_else(|| panic!("{place}: `\\{escape}` is no byte"));
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes.extend_from_slice(end);
    bytes
}

/// Takes what follows a backslash; the text behind it.
fn unescape<'a>(text: &'a str, bytes: &mut Vec<u8>) -> Option<&'a str> {
    let simple = [('r', b'\r'), ('n', b'\n'), ('t', b'\t'), ('0', 0), ('\\', b'\\')];
    let first = text.chars().next()?;
    if let Some((_, byte)) = simple.iter().find(|(name, _)| *name == first) {
        bytes.push(*byte);
        return Some(&text[1..]);
    }
    if let Some(hex) = text.strip_prefix('x') {
        bytes.push(u8::from_str_radix(hex.get(..2)?, 16).ok()?);
        return Some(&hex[2..]);
    }
    let (times, rest) = text.strip_prefix('{')?.split_once('*')?;
    let (what, rest) = rest.split_once('}')?;
    let mut one = Vec::new();
    let mut left = what;
    while let Some((before, escape)) = left.split_once('\\') {
        one.extend_from_slice(before.as_bytes());
        left = unescape(escape, &mut one)?;
    }
    one.extend_from_slice(left.as_bytes());
    bytes.extend(one.repeat(times.parse().ok()?));
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_has_its_bytes_and_keys() {
        let text = "# why\nname: a\nrfc: 9112 §3\nanswer: 400, close\nextra: b\n\
                    | A \\x41\\r\\n\\t\\0\\\\\n|\n| \\{3*xy\\n}\\\n> B\n";
        let [case] = &read("f", text)[..] else { panic!("one case") };
        assert_eq!((case.name.as_str(), case.answer.as_str()), ("a", "400, close"));
        assert_eq!((case.place.as_str(), case.keys["extra"].as_str()), ("f:2", "b"));
        assert_eq!(case.sent, b"A A\r\n\t\0\\\r\n\r\nxy\nxy\nxy\n");
        assert_eq!(case.passed, b"B\r\n");
    }

    #[test]
    fn rows_fill_their_template() {
        let text =
            "template:\n| GET / HTTP/1.1\n| {}\\\n\n400 | 9110 §7.2 | a b | x|y\\r\n200||c|\n";
        let cases = read("f", text);
        assert_eq!(cases[0].sent, b"GET / HTTP/1.1\r\nx|y\r");
        assert_eq!((cases[0].name.as_str(), cases[0].rfc.as_str()), ("a b", "9110 §7.2"));
        assert_eq!(
            (cases[1].sent.as_slice(), cases[1].place.as_str()),
            (&b"GET / HTTP/1.1\r\n"[..], "f:6")
        );
    }

    #[test]
    #[should_panic(expected = "f:2: neither bytes nor a key")]
    fn a_line_that_is_nothing_is_named() {
        read("f", "name: a\nwhat\n");
    }
}
