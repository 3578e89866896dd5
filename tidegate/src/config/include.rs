//! Reading files: the main one, and those that its `include` names.

use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use super::document::{self, Document, Entry, Node, Sources, Span, Table, Value};
use super::keys::{FRAGMENT, Kind, ROOT};
use super::problem::Problems;
use super::text;

/// A configuration of a thousand routes is a tenth of this.
const LARGEST_FILE: usize = 4 << 20;
/// A pattern that matches more is a mistake.
const MOST_FILES: usize = 1000;

/// Reads a file and what it includes. `None` if the main file cannot be read.
pub(crate) fn read(path: &Path, problems: &mut Problems) -> Option<Document> {
    let name = path.display().to_string();
    let text = text_of(read_bytes(path), &name, problems)?;
    let dir = path.parent().unwrap_or(Path::new("")).to_owned();
    Some(whole(&name, text, dir, problems))
}

/// Reads what comes in for the main file; paths in it are relative to the working directory.
/// `None` if it cannot be read.
pub(crate) fn read_from(name: &str, input: impl Read, problems: &mut Problems) -> Option<Document> {
    let text = text_of(bytes_of(input), name, problems)?;
    Some(whole(name, text, PathBuf::new(), problems))
}

fn whole(name: &str, text: String, dir: PathBuf, problems: &mut Problems) -> Document {
    let mut document = parse(name, text, Some(dir), problems);
    include_all(&mut document, problems);
    document
}

/// Takes a text for the main file. Nothing is included.
pub(crate) fn parse(
    name: &str,
    text: String,
    dir: Option<PathBuf>,
    problems: &mut Problems,
) -> Document {
    let mut document = Document { sources: Sources::default(), ..Document::default() };
    (document.root, document.is_whole) =
        parse_file(&mut document.sources, name, text, dir, problems);
    document
}

/// The tree of one file, and whether all of it was understood. A key set twice leaves the rest
/// of the file readable; after anything else what follows would be guesswork.
fn parse_file(
    sources: &mut Sources,
    name: &str,
    text: String,
    dir: Option<PathBuf>,
    problems: &mut Problems,
) -> (Node, bool) {
    let file = sources.add(name, text, dir);
    let source = sources.0[file].clone();
    let (node, errors) = document::parse(file, &source.text);
    let mut is_whole = true;
    let mut said_on = None;
    for error in errors {
        let rest = source.text.get(error.span.start..).unwrap_or_default();
        let message = text::syntax(&error.message, rest);
        let is_syntax = message.code != &super::codes::KEY_TWICE;
        is_whole &= !is_syntax;
        // What follows a mistake on its line is an echo of it.
        let line_start = source.text.len() - rest.len();
        let line_start = source.text[..line_start].rfind('\n');
        if !is_syntax || said_on != Some(line_start) {
            problems.add(sources, error.span, message);
        }
        if is_syntax {
            said_on = Some(line_start);
        }
    }
    (node, is_whole)
}

fn text_of(bytes: io::Result<Vec<u8>>, name: &str, problems: &mut Problems) -> Option<String> {
    let bytes = match bytes {
        Ok(bytes) => bytes,
        Err(error) => {
            problems.add_placeless(name, text::unreadable(name, &plain(&error)));
            return None;
        }
    };
    if bytes.len() > LARGEST_FILE {
        problems.add_placeless(name, text::too_large(name, LARGEST_FILE));
        return None;
    }
    match String::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(error) => {
            let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
            problems.add_line(name, line, text::not_text(name));
            None
        }
    }
}

fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    if std::fs::metadata(path)?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    bytes_of(std::fs::File::open(path)?)
}

/// All of it, or one byte more than a file may have.
fn bytes_of(input: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    input.take(LARGEST_FILE as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What the operating system says, without its number.
pub(crate) fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::IsADirectory => "it is a directory".to_owned(),
        _ => error.to_string(),
    }
}

fn include_all(document: &mut Document, problems: &mut Problems) {
    let Some(dir) = document.sources.0.first().and_then(|source| source.dir.clone()) else {
        return;
    };
    let patterns: Vec<(Span, String)> = document
        .root
        .table()
        .and_then(|root| root.get("include"))
        .map(Node::each)
        .unwrap_or_default()
        .iter()
        .filter_map(|node| Some((node.span, node.text()?.to_owned())))
        .collect();
    let main = document.sources.0.first().map(|source| PathBuf::from(&*source.name));
    let mut seen: Vec<PathBuf> = Vec::new();
    for (span, pattern) in patterns {
        let files = expand(&dir, &pattern);
        if files.is_empty() {
            problems.add(&document.sources, span, text::nothing_included(&pattern));
        }
        for file in files {
            if main.as_deref().is_some_and(|main| is_same(main, &file)) {
                let message = text::includes_itself(&file.display().to_string());
                problems.add(&document.sources, span, message);
            } else if !seen.contains(&file) && seen.len() < MOST_FILES {
                seen.push(file.clone());
                include(document, &file, &seen, problems);
            }
        }
    }
}

/// Whether two paths lead to one file.
fn is_same(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    one == other || real(one) == real(other)
}

fn include(document: &mut Document, path: &Path, seen: &[PathBuf], problems: &mut Problems) {
    let name = path.display().to_string();
    let Some(text) = text_of(read_bytes(path), &name, problems) else { return };
    let dir = path.parent().map(Path::to_owned);
    let (node, is_whole) = parse_file(&mut document.sources, &name, text, dir, problems);
    document.is_whole &= is_whole;
    let (Value::Table(fragment), Value::Table(root)) = (node.value, &mut document.root.value)
    else {
        return;
    };
    for entry in fragment.entries {
        if FRAGMENT.contains(&entry.key.as_str()) {
            merge(root, entry, &document.sources, problems);
        } else if entry.key == "include" {
            let main = document.sources.0.first().map(|source| PathBuf::from(&*source.name));
            let message = fragment_includes(path, &entry.node, main.iter().chain(seen));
            problems.add(&document.sources, entry.key_span, message);
        } else {
            let message = text::fragment_section(&entry.key, FRAGMENT);
            problems.add(&document.sources, entry.key_span, message);
        }
    }
}

/// What to say of an included file that includes: others, itself, or one of those before it.
fn fragment_includes<'p>(
    path: &Path,
    node: &Node,
    mut read: impl Iterator<Item = &'p PathBuf>,
) -> text::Message {
    let dir = path.parent().unwrap_or(Path::new(""));
    let patterns = node.each().iter().take(MOST_FILES).filter_map(Node::text);
    let wanted: Vec<PathBuf> = patterns.flat_map(|pattern| expand(dir, pattern)).collect();
    let back_to = read.find(|read| wanted.iter().any(|wanted| is_same(wanted, read)));
    let back_to = back_to.map(|path| path.display().to_string());
    text::fragment_includes(&path.display().to_string(), back_to.as_deref())
}

/// Adds a section to the main file's: lists grow, tables get more names, nothing is replaced.
fn merge(root: &mut Table, entry: Entry, sources: &Sources, problems: &mut Problems) {
    let Some(own) = root.entries.iter_mut().find(|own| own.key == entry.key) else {
        root.entries.push(entry);
        return;
    };
    match (&mut own.node.value, entry.node.value) {
        (Value::List(own), Value::List(more)) => own.extend(more),
        (Value::Table(own), Value::Table(more)) => {
            for new in more.entries {
                match own.entry(&new.key) {
                    None => own.entries.push(new),
                    Some(first) => {
                        let path = format!("{}.{}", entry.key, text::shown(&new.key));
                        let file = sources.0.get(first.key_span.file).map(|source| &*source.name);
                        let message = text::key_twice(&path, file.unwrap_or_default());
                        problems.add(sources, new.key_span, message);
                    }
                }
            }
        }
        // One of the two is of the wrong type. That one is kept, and the walk says so.
        (of_own, value) => {
            let is_list = |value: &Value| matches!(value, Value::List(_));
            let kind = ROOT.key(&entry.key).map(|key| &key.kind);
            if is_list(of_own) == matches!(kind, Some(Kind::List(_))) {
                own.node = Node { span: entry.node.span, value };
            }
        }
    }
}

/// The files that a pattern names, sorted. `*` and `?` stand for letters within one name.
fn expand(dir: &Path, pattern: &str) -> Vec<PathBuf> {
    let mut found = vec![dir.to_owned()];
    for component in Path::new(pattern).components() {
        let name = component.as_os_str().to_string_lossy().into_owned();
        let is_pattern = matches!(component, Component::Normal(_)) && name.contains(['*', '?']);
        found.truncate(MOST_FILES);
        found = match is_pattern {
            false => found.into_iter().map(|path| path.join(component)).collect(),
            true => found.iter().flat_map(|path| entries(path, &name)).collect(),
        };
    }
    found.retain(|path| path.is_file());
    found.sort();
    found
}

fn entries(dir: &Path, pattern: &str) -> Vec<PathBuf> {
    let dir_to_read = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    let Ok(entries) = std::fs::read_dir(dir_to_read) else { return Vec::new() };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names
        // As in a shell, a hidden file is not meant.
        .filter(|name| name.starts_with('.') == pattern.starts_with('.') && fits(pattern, name))
        .take(MOST_FILES)
        .map(|name| dir.join(name))
        .collect()
}

/// Whether a name fits a pattern. Linear in the name for each `*`, never exponential: only the
/// last `*` is tried again.
fn fits(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                retry = Some((p, n));
                p += 1;
            }
            Some(c) if *c == '?' || *c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => {
                let Some((star, at)) = retry else { return false };
                retry = Some((star, at + 1));
                p = star + 1;
                n = at + 1;
            }
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_stand_for_letters_within_a_name() {
        for (pattern, name) in
            [("*.toml", "a.toml"), ("*", "a"), ("a?c*", "abcd"), ("*a*b", "xaxbxb")]
        {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("*.toml", "a.tom"), ("?", ""), ("a", "b"), ("*a", "ab")] {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }
}
