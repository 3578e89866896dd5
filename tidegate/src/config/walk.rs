//! The walk over a document by the table of keys: finds unknown keys, wrong types, values out of
//! range, missing keys, and everything that is known but not supported yet.
//!
//! It never stops at the first problem, and it changes nothing: what it accepts, the builders
//! read again through [`super::view`].

use policies::secret::is_secret_header;

use super::document::{Entry, Node, Sources, Span, Table, Value};
use super::keys::{Default, Key, Kind, Names, ROOT, Shape, Status, Word};
use super::problem::Problems;
use super::text::{self, Message, values as say};
use super::values;

/// Checks a whole document. `at` is where a key is said to be missing from the root.
pub(crate) fn walk(sources: &Sources, root: &Table, at: Span, problems: &mut Problems) {
    Walk { sources, problems, is_inert: false }.table(&ROOT, root, at, "");
}

struct Walk<'a> {
    sources: &'a Sources,
    problems: &'a mut Problems,
    /// Inside a section without effect: one warning was given and is enough.
    is_inert: bool,
}

impl Walk<'_> {
    fn table(&mut self, shape: &'static Shape, table: &Table, span: Span, path: &str) {
        for entry in &table.entries {
            match shape.key(&entry.key) {
                Some(key) => self.key(key, entry, &join(path, &entry.key)),
                None => {
                    self.hide(&entry.node);
                    if self.problems.only_counts() {
                        continue;
                    }
                    let known: Vec<&str> = shape.keys.iter().map(|key| key.name).collect();
                    self.say(entry.key_span, text::unknown_key(&entry.key, path, &known));
                }
            }
        }
        for key in shape.keys.iter().filter(|key| key.required && table.get(key.name).is_none()) {
            self.say(span, text::missing_key(key.name, path, &key.kind));
        }
    }

    fn key(&mut self, key: &'static Key, entry: &Entry, path: &str) {
        let was_inert = self.is_inert;
        if key.status == Status::Later && !is_default(key, &entry.node) {
            if !was_inert {
                self.say(entry.key_span, text::key_later(path));
            }
            self.is_inert = true;
        }
        self.value(&key.kind, &entry.node, path);
        self.is_inert = was_inert;
    }

    fn value(&mut self, kind: &'static Kind, node: &Node, path: &str) {
        match (kind, &node.value) {
            (Kind::Table(shape), Value::Table(table)) => self.table(shape, table, node.span, path),
            (Kind::Named(names, inner), Value::Table(table)) => {
                // Variables of a program, cookies, and fields that carry credentials.
                let is_free = *names == Names::Free;
                let is_hidden = is_free && (path.ends_with(".env") || path.ends_with(".cookie"));
                for entry in &table.entries {
                    self.name(*names, entry);
                    if is_hidden || (*names == Names::Header && is_secret_header(&entry.key)) {
                        self.hide(&entry.node);
                    }
                    self.value(inner, &entry.node, &join(path, &entry.key));
                }
            }
            (Kind::List(inner) | Kind::Many(inner), Value::List(nodes)) => {
                if nodes.is_empty() && matches!(kind, Kind::Many(_)) {
                    self.say(node.span, say::empty(inner));
                }
                for (index, node) in nodes.iter().enumerate() {
                    self.value(inner, node, &element(path, index, node));
                }
            }
            (Kind::Many(inner), _) => self.value(inner, node, path),
            (Kind::List(Kind::Table(_)), Value::Table(_)) if self.is_section(node) => {
                self.say(node.span, text::not_a_list(kind, path, &text::found(&node.value)));
            }
            (Kind::Named(_, Kind::Table(_)), Value::List(nodes)) if self.is_section(node) => {
                let first = nodes.first().and_then(Node::table);
                let name = first.and_then(|table| table.get("name")).and_then(Node::text);
                let found = text::found(&node.value);
                self.say(node.span, text::not_named(kind, path, name, &found));
            }
            (Kind::OneOf(kinds), _) => match kinds.iter().find(|kind| fits(kind, &node.value)) {
                Some(inner) => self.value(inner, node, path),
                None => self.say(node.span, text::wrong_type(kind, &text::found(&node.value))),
            },
            (Kind::Secret, _) => self.secret(node, path),
            (Kind::Word(words), Value::Text(word)) => {
                self.scalar(kind, node);
                self.word(words, word, node.span, path);
            }
            (Kind::LogTarget, Value::Text(target)) => {
                self.scalar(kind, node);
                if target.starts_with("cloudwatch://") && !self.is_inert {
                    self.say(node.span, text::word_later(target, path));
                }
            }
            _ => self.scalar(kind, node),
        }
    }

    /// Whether a table, or the first of a list, has a header of its own.
    fn is_section(&self, node: &Node) -> bool {
        let first = match &node.value {
            Value::List(nodes) => nodes.first().unwrap_or(node),
            _ => node,
        };
        self.sources.text(first.span).starts_with('[')
    }

    fn scalar(&mut self, kind: &Kind, node: &Node) {
        if let Err(message) = values::check(kind, node) {
            self.say_in(node, message);
        }
    }

    fn word(&mut self, words: &[Word], found: &str, span: Span, path: &str) {
        let is_later = words.iter().any(|w| w.text == found && w.status == Status::Later);
        if is_later && !self.is_inert {
            self.say(span, text::word_later(found, path));
        }
    }

    fn secret(&mut self, node: &Node, path: &str) {
        let Value::Table(table) = &node.value else {
            return match &node.value {
                Value::Text(_) => {
                    self.problems.hide(node.span);
                    self.say(node.span, say::inline_secret(path));
                }
                _ => {
                    self.problems.hide(node.span);
                    let message = text::wrong_type(&Kind::Secret, "something else");
                    self.say(node.span, message.quoting_nothing());
                }
            };
        };
        const WAYS: [&str; 3] = ["file", "env", "credential"];
        for entry in &table.entries {
            if WAYS.contains(&entry.key.as_str()) {
                self.scalar(&Kind::Text, &entry.node);
            } else {
                self.hide(&entry.node);
                self.say(entry.key_span, text::unknown_key(&entry.key, path, &WAYS));
            }
        }
        if table.entries.iter().filter(|e| WAYS.contains(&e.key.as_str())).count() != 1 {
            self.say(node.span, say::secret_reference());
        }
    }

    /// Never shows the texts of a value: it is a secret, or may be one under a mistyped key.
    fn hide(&mut self, node: &Node) {
        match &node.value {
            Value::Text(_) => self.problems.hide(node.span),
            // The parser refuses nesting beyond 80 levels.
            Value::List(nodes) => nodes.iter().for_each(|node| self.hide(node)),
            Value::Table(table) => table.entries.iter().for_each(|entry| self.hide(&entry.node)),
            _ => {}
        }
    }

    fn name(&mut self, names: Names, entry: &Entry) {
        let result = match names {
            Names::Ours => values::name(&entry.key),
            Names::Header => values::http::header_name(&entry.key).map(|_| ()),
            Names::Free if entry.key.is_empty() => Err(say::name("", "it is empty")),
            Names::Free => Ok(()),
        };
        if let Err(message) = result {
            self.say(entry.key_span, message);
        }
    }

    fn say(&mut self, span: Span, message: Message) {
        self.problems.add(self.sources, span, message);
    }

    fn say_in(&mut self, node: &Node, message: Message) {
        let span = match (message.within, node.text()) {
            (Some(within), Some(content)) => self.sources.inside_string(node.span, content, within),
            _ => node.span,
        };
        self.say(span, message);
    }
}

/// Setting a key without effect to what holds anyway deserves no warning.
fn is_default(key: &Key, node: &Node) -> bool {
    let Default::Value(default) = key.default else { return false };
    match &node.value {
        Value::Text(text) => text == default,
        Value::Flag(flag) => flag.to_string() == default,
        Value::Integer(number) => number.to_string() == default,
        _ => false,
    }
}

fn fits(kind: &Kind, value: &Value) -> bool {
    match (kind, value) {
        (Kind::Table(_) | Kind::Named(..) | Kind::Secret, Value::Table(_)) => true,
        (_, Value::Text(_)) => values::takes_text(kind),
        (Kind::Integer(..) | Kind::Number | Kind::Status(..), Value::Integer(_))
        | (Kind::Number, Value::Float(_))
        | (Kind::Flag, Value::Flag(_))
        | (Kind::Date, Value::Date(_))
        | (Kind::List(_) | Kind::Many(_), Value::List(_)) => true,
        _ => false,
    }
}

fn join(path: &str, key: &str) -> String {
    let key = text::shown(key);
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

/// `routes[2]`, or `routes.live` where the element says its name.
fn element(path: &str, index: usize, node: &Node) -> String {
    let named = node.table().and_then(|t| t.get("name").or(t.get("id"))).and_then(Node::text);
    match named {
        Some(name) => join(path, name),
        None => format!("{path}[{index}]"),
    }
}
