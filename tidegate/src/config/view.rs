//! Values as the program uses them: what is written, else what is written in `[defaults]`, else
//! the default of the table of keys.
//!
//! A value that the walk found wrong reads as its default here. That is harmless, because a
//! configuration with an error is never used; it lets the builders go on and find more problems.

use std::time::Duration;

use super::document::{Node, Table, Value};
use super::keys::{Default, Key, Kind, Shape};
use super::values;

/// A table seen through its shape.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    table: Option<&'a Table>,
    fallback: Option<&'a Table>,
    shape: &'static Shape,
}

impl<'a> View<'a> {
    /// A table, which may not be there at all.
    pub(crate) fn new(shape: &'static Shape, node: Option<&'a Node>) -> View<'a> {
        View { table: node.and_then(Node::table), fallback: None, shape }
    }

    /// With another table of the same shape behind it.
    pub(crate) fn or(self, other: View<'a>) -> View<'a> {
        View { fallback: other.table, ..self }
    }

    /// What is written, here or in the fallback.
    pub(crate) fn given(&self, name: &str) -> Option<&'a Node> {
        debug_assert!(self.shape.key(name).is_some(), "`{name}` is not in the table of keys");
        self.own(name).or_else(|| self.fallback.and_then(|table| table.get(name)))
    }

    /// What is written here.
    pub(crate) fn own(&self, name: &str) -> Option<&'a Node> {
        self.table.and_then(|table| table.get(name))
    }

    /// The table below.
    pub(crate) fn view(&self, name: &str) -> View<'a> {
        View::new(self.shape_of(name), self.given(name))
    }

    /// The elements of a list that are tables, with their nodes.
    pub(crate) fn tables(&self, name: &str) -> Vec<(&'a Node, View<'a>)> {
        let shape = self.shape_of(name);
        self.list(name).iter().map(|node| (node, View::new(shape, Some(node)))).collect()
    }

    /// The named tables below, in the order of their names.
    pub(crate) fn named(&self, name: &str) -> Vec<(&'a super::document::Entry, View<'a>)> {
        let shape = self.shape_of(name);
        let entries = self.given(name).and_then(Node::table).map(|t| t.entries.as_slice());
        let mut all: Vec<_> = entries
            .unwrap_or_default()
            .iter()
            .map(|entry| (entry, View::new(shape, Some(&entry.node))))
            .collect();
        all.sort_by(|a, b| a.0.key.cmp(&b.0.key));
        all
    }

    /// The elements of a list; a single value is a list of one, nothing is an empty list.
    pub(crate) fn list(&self, name: &str) -> &'a [Node] {
        self.given(name).map(Node::each).unwrap_or_default()
    }

    /// The texts of a list that `read` accepts.
    pub(crate) fn texts<T>(&self, name: &str, read: impl Fn(&str) -> Option<T>) -> Vec<T> {
        self.list(name).iter().filter_map(Node::text).filter_map(read).collect()
    }

    /// A text, or the default.
    pub(crate) fn text(&self, name: &str) -> Option<&'a str> {
        self.given(name).and_then(Node::text).or_else(|| self.default(name))
    }

    /// `true` or `false`, or the default; `false` if there is none.
    pub(crate) fn flag(&self, name: &str) -> bool {
        match self.given(name).map(|node| &node.value) {
            Some(Value::Flag(flag)) => *flag,
            _ => self.default(name) == Some("true"),
        }
    }

    /// A whole number or the default, where there is one and it fits.
    pub(crate) fn integer<T: TryFrom<i64>>(&self, name: &str) -> Option<T> {
        let written = match self.given(name).map(|node| &node.value) {
            Some(Value::Integer(number)) => Some(*number),
            _ => None,
        };
        let number = written.or_else(|| self.default(name)?.parse().ok())?;
        T::try_from(number).ok()
    }

    /// A number or the default, where there is one.
    #[allow(clippy::cast_precision_loss)] // nobody writes whole numbers of more than 15 digits here
    pub(crate) fn number(&self, name: &str) -> Option<f64> {
        match self.given(name).map(|node| &node.value) {
            Some(Value::Float(number)) => Some(*number),
            Some(Value::Integer(number)) => Some(*number as f64),
            _ => self.default(name)?.parse().ok(),
        }
    }

    /// A length of time or the default, where there is one.
    pub(crate) fn duration(&self, name: &str) -> Option<Duration> {
        self.read(name, |text| values::duration(text).ok())
    }

    /// A size in bytes or the default, where there is one; `none` is none.
    pub(crate) fn size(&self, name: &str) -> Option<u64> {
        self.read(name, |text| values::size(text).ok())
    }

    /// A share in percent or the default, where there is one.
    pub(crate) fn share(&self, name: &str) -> Option<f64> {
        self.read(name, |text| values::share(text).ok())
    }

    fn read<T>(&self, name: &str, read: impl Fn(&str) -> Option<T>) -> Option<T> {
        let written = self.given(name).and_then(Node::text);
        match written {
            Some(text) => read(text)
                .or_else(|| (text != "none").then(|| self.default(name).and_then(&read)).flatten()),
            None => self.default(name).and_then(&read),
        }
    }

    fn default(&self, name: &str) -> Option<&'static str> {
        match self.shape.key(name)?.default {
            Default::Value(text) => Some(text),
            Default::Absent | Default::Derived(_) => None,
        }
    }

    fn shape_of(&self, name: &str) -> &'static Shape {
        static NONE: Shape = Shape { keys: &[] };
        fn inside(kind: &'static Kind) -> Option<&'static Shape> {
            match kind {
                Kind::Table(shape) => Some(shape),
                Kind::List(inner) | Kind::Many(inner) | Kind::Named(_, inner) => inside(inner),
                Kind::OneOf(kinds) => kinds.iter().find_map(inside),
                _ => None,
            }
        }
        let key: Option<&'static Key> = self.shape.key(name);
        let shape = key.and_then(|key| inside(&key.kind));
        debug_assert!(shape.is_some(), "`{name}` holds no table");
        shape.unwrap_or(&NONE)
    }
}
