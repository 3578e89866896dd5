//! A configuration written out again: as it was read, or with every value that holds.
//!
//! Secrets that stand in the file are left out, and so are the values of headers and variables
//! that carry one by their name; references to secrets are not secret.

use std::fmt::Write;

use policies::secret::is_secret_header;

use super::build::check_kind;
use super::document::{Document, Node, Value};
use super::keys::{Default, Key, Kind, ROOT, Shape, Status};
use super::values::default_as_toml;
use super::view::View;

/// Long enough for a key, so that what is shown can be read again.
pub(super) const REDACTED: &str = "(redacted, see the file)";
/// Between it and 16 digits.
pub(super) const DIGEST: &str = " digest ";

/// What stands in the place of a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Secrets {
    /// Nothing that tells one from another: for people.
    LeftOut,
    /// A digest, so that a change is seen. It can be guessed at, and is shown to nobody.
    Digested,
}

/// What the files say, in one piece, as TOML. With `with_defaults` also what holds without being
/// written; each such line says so.
pub(super) fn effective(document: &Document, with_defaults: bool, secrets: Secrets) -> String {
    let root = View::new(&ROOT, Some(&document.root));
    let defaults = root.view("defaults");
    let mut out = Out { text: String::new(), with_defaults, secrets, defaults };
    out.table(&ROOT, root, "");
    out.text
}

struct Out<'a> {
    text: String,
    with_defaults: bool,
    secrets: Secrets,
    /// `[defaults]`, which stands behind pools and routes.
    defaults: View<'a>,
}

impl<'a> Out<'a> {
    /// Values first, then the tables below: TOML wants it so.
    fn table(&mut self, shape: &'static Shape, view: View<'a>, path: &str) {
        for key in shape.keys {
            self.value(key, view);
        }
        for key in shape.keys {
            let below =
                if path.is_empty() { key.name.into() } else { format!("{path}.{}", key.name) };
            self.inner(key, view, &below);
        }
    }

    fn value(&mut self, key: &'static Key, view: View<'a>) {
        if is_section(&key.kind) {
            return;
        }
        if is_derived_probe(key, view) && self.with_defaults {
            // In words it would change its meaning: with `path` written out beside it, http is
            // what would be derived.
            let _ = writeln!(self.text, "kind = \"{}\"  # default", check_kind(view));
            return;
        }
        let (text, origin) = match (view.own(key.name), view.given(key.name), key.default) {
            (Some(node), _, _) => (written_of(key, node, self.secrets), ""),
            (None, Some(node), _) if self.with_defaults => {
                (written_of(key, node, self.secrets), "  # from [defaults]")
            }
            (None, None, Default::Value(text))
                if self.with_defaults && key.status == Status::Now =>
            {
                (default_as_toml(&key.kind, text), "  # default")
            }
            (None, None, Default::Derived(words))
                if self.with_defaults && key.status == Status::Now =>
            {
                let _ = writeln!(self.text, "# {} = {words}  # default", key.name);
                return;
            }
            _ => return,
        };
        let _ = writeln!(self.text, "{} = {text}{origin}", key.name);
    }

    fn inner(&mut self, key: &'static Key, view: View<'a>, path: &str) {
        match &key.kind {
            Kind::Table(shape) => {
                let is_written = view.own(key.name).and_then(Node::table).is_some();
                let holds = matches!(key.default, Default::Value(_)) && self.with_defaults;
                if is_written || holds {
                    self.header(&format!("[{path}]"));
                    let below = self.with_fallback(view.view(key.name), path, key);
                    self.table(shape, below, path);
                }
            }
            Kind::Named(_, Kind::Table(shape)) => {
                for (entry, below) in view.named(key.name) {
                    let path = format!("{path}.{}", key_text(&entry.key));
                    self.header(&format!("[{path}]"));
                    self.table(shape, below, &path);
                }
            }
            Kind::List(Kind::Table(shape)) if is_section(&key.kind) => {
                for (_, below) in view.tables(key.name) {
                    self.header(&format!("[[{path}]]"));
                    self.table(shape, below, path);
                }
            }
            _ => {}
        }
    }

    fn with_fallback(&self, view: View<'a>, path: &str, key: &Key) -> View<'a> {
        let is_pool_or_route = path.starts_with("pools.") || path.starts_with("routes.");
        match key.name {
            "health" | "timeouts" | "retries" if is_pool_or_route => {
                view.or(self.defaults.view(key.name))
            }
            _ => view,
        }
    }

    fn header(&mut self, header: &str) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        let _ = writeln!(self.text, "{header}");
    }
}

fn is_derived_probe(key: &Key, view: View<'_>) -> bool {
    key.name == "kind"
        && matches!(key.default, Default::Derived(_))
        && view.given(key.name).is_none()
}

/// What becomes a `[header]`; the rest stays on one line. Lists of small tables (backends, arms
/// of a split) are easier to read on lines of their own.
fn is_section(kind: &Kind) -> bool {
    match kind {
        Kind::Table(_) | Kind::Named(_, Kind::Table(_)) => true,
        Kind::List(Kind::Table(shape)) => shape.key("name").is_some(),
        _ => false,
    }
}

/// Variables of programs and cookies are often credentials, whatever they are called.
fn written_of(key: &'static Key, node: &Node, secrets: Secrets) -> String {
    let is_cookies = key.name == "cookie" && matches!(key.kind, Kind::Named(..));
    if key.name == "env" || is_cookies {
        hidden(node, secrets)
    } else {
        written(&key.kind, node, secrets)
    }
}

fn redacted(text: &str, secrets: Secrets) -> String {
    match secrets {
        Secrets::LeftOut => quoted(REDACTED),
        Secrets::Digested => {
            quoted(&format!("{REDACTED}{DIGEST}{:016x}", policies::rng::hash(text.as_bytes())))
        }
    }
}

/// The same value without its texts.
fn hidden(node: &Node, secrets: Secrets) -> String {
    match &node.value {
        Value::Text(text) => redacted(text, secrets),
        Value::List(nodes) => {
            format!(
                "[{}]",
                nodes.iter().map(|node| hidden(node, secrets)).collect::<Vec<_>>().join(", ")
            )
        }
        Value::Table(table) => inline(
            table.entries.iter().map(|entry| (entry.key.as_str(), hidden(&entry.node, secrets))),
        ),
        _ => plain(node),
    }
}

fn written(kind: &'static Kind, node: &Node, secrets: Secrets) -> String {
    match (kind, &node.value) {
        (Kind::Secret, Value::Text(text)) => redacted(text, secrets),
        (Kind::List(inner) | Kind::Many(inner), Value::List(nodes)) => {
            let all: Vec<String> = nodes.iter().map(|node| written(inner, node, secrets)).collect();
            let is_long = matches!(inner, Kind::Table(_)) && nodes.len() > 1;
            match is_long {
                true => format!("[\n  {},\n]", all.join(",\n  ")),
                false => format!("[{}]", all.join(", ")),
            }
        }
        (Kind::Many(inner), _) => written(inner, node, secrets),
        (Kind::Named(_, inner), Value::Table(table)) => inline(table.entries.iter().map(|entry| {
            let value = match is_secret_header(&entry.key) {
                true => hidden(&entry.node, secrets),
                false => written(inner, &entry.node, secrets),
            };
            (entry.key.as_str(), value)
        })),
        (Kind::Table(shape), Value::Table(table)) => inline(table.entries.iter().map(|entry| {
            let value = match shape.key(&entry.key) {
                Some(key) => written_of(key, &entry.node, secrets),
                None => plain(&entry.node),
            };
            (entry.key.as_str(), value)
        })),
        (Kind::OneOf(kinds), Value::Table(_)) => {
            let table = kinds.iter().find(|kind| matches!(kind, Kind::Table(_)));
            table.map_or_else(|| plain(node), |kind| written(kind, node, secrets))
        }
        _ => plain(node),
    }
}

fn inline<'k>(entries: impl Iterator<Item = (&'k str, String)>) -> String {
    let all: Vec<String> =
        entries.map(|(key, value)| format!("{} = {value}", key_text(key))).collect();
    if all.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", all.join(", ")) }
}

fn plain(node: &Node) -> String {
    match &node.value {
        Value::Text(text) => quoted(text),
        Value::Integer(number) => number.to_string(),
        // `1` is another type than `1.0`.
        Value::Float(number) => format!("{number:?}").replace("NaN", "nan"),
        Value::Flag(flag) => flag.to_string(),
        Value::Date(date) => date.clone(),
        Value::List(nodes) => {
            format!("[{}]", nodes.iter().map(plain).collect::<Vec<_>>().join(", "))
        }
        Value::Table(table) => {
            inline(table.entries.iter().map(|entry| (entry.key.as_str(), plain(&entry.node))))
        }
    }
}

fn key_text(key: &str) -> String {
    let is_bare = !key.is_empty()
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if is_bare { key.to_owned() } else { quoted(key) }
}

/// A basic string of TOML 1.0.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
