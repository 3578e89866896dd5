//! TOML with a place for everything: what a file says, before anybody asks whether it makes sense.
//!
//! The `toml` crate parses; this tree is its result with owned text, entries in the order they
//! were written, and one kind of place ([`Span`]) that survives merging several files.

use std::path::PathBuf;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Where something stands: a byte range in one of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Span {
    /// Place in [`Sources`].
    pub(crate) file: usize,
    /// First byte.
    pub(crate) start: usize,
    /// Byte behind the last one.
    pub(crate) end: usize,
}

/// One file of the configuration.
#[derive(Debug)]
pub(crate) struct Source {
    /// As it is shown.
    pub(crate) name: Arc<str>,
    /// All of it.
    pub(crate) text: String,
    /// What paths in it are relative to; `None` if it did not come from a disk.
    pub(crate) dir: Option<PathBuf>,
}

/// The files of one configuration, the main one first.
#[derive(Debug, Default)]
pub(crate) struct Sources(pub(crate) Vec<Arc<Source>>);

impl Sources {
    /// Adds a file and says which number it has.
    pub(crate) fn add(&mut self, name: &str, text: String, dir: Option<PathBuf>) -> usize {
        self.0.push(Arc::new(Source { name: name.into(), text, dir }));
        self.0.len() - 1
    }

    /// The text of a place, empty if the place is not one.
    pub(crate) fn text(&self, span: Span) -> &str {
        self.0.get(span.file).and_then(|s| s.text.get(span.start..span.end)).unwrap_or_default()
    }

    /// The place of `within` (bytes of the content of the string at `span`), or all of the string
    /// where escapes make the two differ.
    pub(crate) fn inside_string(&self, span: Span, content: &str, within: (usize, usize)) -> Span {
        let written = self.text(span);
        let quote = if written.starts_with("\"\"\"") || written.starts_with("'''") { 3 } else { 1 };
        let verbatim = written.get(quote..written.len().saturating_sub(quote)) == Some(content);
        if !verbatim || within.1 > content.len() {
            return span;
        }
        let start = span.start + quote;
        Span { file: span.file, start: start + within.0, end: start + within.1 }
    }
}

/// A whole configuration as written: the main file with what it includes.
#[derive(Debug)]
pub(crate) struct Document {
    /// The files.
    pub(crate) sources: Sources,
    /// A table.
    pub(crate) root: Node,
    /// Whether all of it is TOML; otherwise most further problems would be echoes.
    pub(crate) is_whole: bool,
}

impl Default for Document {
    fn default() -> Document {
        let root = Node { span: Span::default(), value: Value::Table(Table::default()) };
        Document { sources: Sources::default(), root, is_whole: true }
    }
}

/// A value and its place.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// Of the value; for `[a.b]` of the header.
    pub(crate) span: Span,
    /// What is there.
    pub(crate) value: Value,
}

/// What TOML knows.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    /// `"text"`
    Text(String),
    /// `12`; what does not fit is the largest or smallest that does.
    Integer(i64),
    /// `1.5`
    Float(f64),
    /// `true`
    Flag(bool),
    /// `2022-12-31T00:00:00+09:00`, `18:00:00`, as written.
    Date(String),
    /// `[1, 2]`
    List(Vec<Node>),
    /// `{ a = 1 }`, `[a]`
    Table(Table),
}

/// Keys and values in the order written.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    /// No key twice.
    pub(crate) entries: Vec<Entry>,
}

/// `key = value`
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Without quotes.
    pub(crate) key: String,
    /// Of the key.
    pub(crate) key_span: Span,
    /// What it is set to.
    pub(crate) node: Node,
}

impl Table {
    /// The entry of that key.
    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// The value of that key.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.node)
    }
}

impl Node {
    /// As text, if it is text.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// As a table, if it is one.
    pub(crate) fn table(&self) -> Option<&Table> {
        match &self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    /// The elements of a list; anything else is a list of itself.
    pub(crate) fn each(&self) -> &[Node] {
        match &self.value {
            Value::List(nodes) => nodes,
            _ => std::slice::from_ref(self),
        }
    }
}

/// One thing that is wrong with the TOML itself.
pub(crate) struct SyntaxError {
    /// The parser's words.
    pub(crate) message: String,
    /// Where.
    pub(crate) span: Span,
}

/// Parses a file. What could be read is returned even if there are errors.
pub(crate) fn parse(file: usize, text: &str) -> (Node, Vec<SyntaxError>) {
    let (table, errors) = DeTable::parse_recoverable(text);
    let errors = errors
        .into_iter()
        .map(|error| {
            let range = error.span().unwrap_or(0..0);
            let span = Span { file, start: range.start, end: range.end };
            SyntaxError { message: error.message().to_owned(), span }
        })
        .collect();
    let span = Span { file, start: 0, end: 0 };
    (Node { span, value: Value::Table(table_of(file, table.get_ref())) }, errors)
}

// The parser refuses nesting beyond 80 levels, so these two cannot run out of stack.
fn table_of(file: usize, table: &DeTable<'_>) -> Table {
    let mut entries: Vec<Entry> = table
        .iter()
        .map(|(key, value)| Entry {
            key: key.get_ref().to_string(),
            key_span: Span { file, start: key.span().start, end: key.span().end },
            node: node_of(file, value),
        })
        .collect();
    entries.sort_by_key(|entry| entry.key_span.start);
    Table { entries }
}

fn node_of(file: usize, value: &Spanned<DeValue<'_>>) -> Node {
    let span = Span { file, start: value.span().start, end: value.span().end };
    let value = match value.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => Value::Integer(integer_of(number.as_str(), number.radix())),
        DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(flag) => Value::Flag(*flag),
        DeValue::Datetime(date) => Value::Date(date.to_string()),
        DeValue::Array(nodes) => Value::List(nodes.iter().map(|n| node_of(file, n)).collect()),
        DeValue::Table(table) => Value::Table(table_of(file, table)),
    };
    Node { span, value }
}

fn integer_of(digits: &str, radix: u32) -> i64 {
    let overflow = if digits.starts_with('-') { i64::MIN } else { i64::MAX };
    i64::from_str_radix(digits, radix).unwrap_or(overflow)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_keep_the_order_of_the_file_and_know_their_place() {
        let text = "b = 1\na = 'x'\n";
        let (node, errors) = parse(0, text);
        assert!(errors.is_empty());
        let table = node.table().unwrap();
        let keys: Vec<_> = table.entries.iter().map(|e| e.key.as_str()).collect();
        assert_eq!(keys, ["b", "a"]);
        let span = table.get("a").unwrap().span;
        assert_eq!(&text[span.start..span.end], "'x'");
    }

    #[test]
    fn a_place_inside_a_string_is_exact_unless_there_are_escapes() {
        let mut sources = Sources::default();
        let text = r#"a = "^(x" b"#;
        sources.add("f", text.to_owned(), None);
        let span = Span { file: 0, start: 4, end: 9 };
        let inner = sources.inside_string(span, "^(x", (1, 2));
        assert_eq!(sources.text(inner), "(");
        assert_eq!(sources.inside_string(span, "other", (1, 2)), span);
    }

    #[test]
    fn deep_nesting_is_an_error_and_not_the_end_of_the_stack() {
        let deep = format!("{} = 1", vec!["a"; 100_000].join("."));
        assert!(!parse(0, &deep).1.is_empty());
        assert!(!parse(0, &format!("a = {}", "[".repeat(100_000))).1.is_empty());
    }
}
