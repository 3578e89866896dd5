//! The one table of keys: what may be written, of which type, with which default, and what it
//! means.
//!
//! The walk that finds mistakes ([`super::walk`]), the values that the program runs with
//! ([`super::view`]), the JSON Schema, `docs/configuration.md` and `config show --effective` all
//! read this table and nothing else, so they cannot disagree. A new key is one line here and one
//! line where its value is used.

use std::collections::BTreeSet;

pub(crate) mod alerts;
pub(crate) mod defaults;
pub(crate) mod later;
pub(crate) mod later_scaling;
pub(crate) mod listeners;
pub(crate) mod observe;
pub(crate) mod pools;
pub(crate) mod providers;
pub(crate) mod routes;
pub(crate) mod scaling;

/// The keys of one kind of table.
#[derive(Debug)]
pub(crate) struct Shape {
    /// In the order of the reference.
    pub(crate) keys: &'static [Key],
}

/// One key.
#[derive(Debug)]
pub(crate) struct Key {
    /// As written.
    pub(crate) name: &'static str,
    /// What its value may be.
    pub(crate) kind: Kind,
    /// What holds when it is not written.
    pub(crate) default: Default,
    /// What it means, in a sentence.
    pub(crate) doc: &'static str,
    /// Whether it has an effect.
    pub(crate) status: Status,
    /// Whether it must be written.
    pub(crate) required: bool,
}

/// What holds when a key is not written.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Default {
    /// Nothing: the feature is off, or the doc says.
    Absent,
    /// This value: the text between the quotes, or a TOML value for lists, numbers and flags.
    Value(&'static str),
    /// Something that depends on the rest of the file or on the machine, in words.
    Derived(&'static str),
}

/// Whether the program does anything with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// It does.
    Now,
    /// Known, checked, and without effect so far; using it is a warning.
    Later,
    /// Like `Later`, but going on without it would be wrong (clear text instead of TLS): the
    /// builder of the section says what happens instead.
    Awaited,
}

/// One of the words that a key allows.
#[derive(Debug)]
pub(crate) struct Word {
    /// As written.
    pub(crate) text: &'static str,
    /// Whether it has an effect.
    pub(crate) status: Status,
}

/// What the names in a table of names may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Names {
    /// Of a pool, listener, ...: letters, digits, `-`, `_` and `.`, at most 64.
    Ours,
    /// Of a header.
    Header,
    /// Anything but the empty text: query parameters, cookies, tags.
    Free,
}

/// The type of a value.
#[derive(Debug)]
pub(crate) enum Kind {
    /// `true`, `false`
    Flag,
    /// Any text but the empty one.
    Text,
    /// Any text.
    Body,
    /// Names one of ours (route, backend, zone): same letters as [`Names::Ours`].
    Name,
    /// A whole number between two, both included.
    Integer(i64, i64),
    /// A number of at least 0.
    Number,
    /// `"90s"` between two, both included.
    Duration(&'static str, &'static str),
    /// `"64KiB"` between two, both included.
    Size(&'static str, &'static str),
    /// A size, or `"none"`.
    SizeOrNone,
    /// `"85%"` up to this many percent.
    Share(u32),
    /// `"20/s"`
    Rate,
    /// `"2Gbps"`
    Bandwidth,
    /// `"1.6x"`
    Factor,
    /// A TOML date, time, or both.
    Date,
    /// One of these words.
    Word(&'static [Word]),
    /// `"127.0.0.1:8080"`
    ListenAddress,
    /// `"10.0.0.1:80"`, `"app.internal:80"`
    BackendAddress,
    /// `"10.0.0.0/8"`, `"192.0.2.1"`
    Cidr,
    /// `"www.example.org"`, `"*.example.org"`
    Host,
    /// `"www.example.org"`
    HostName,
    /// `"/a/b"`
    Path,
    /// `"/a/b"`, or the `"*"` of `OPTIONS *`
    WholePath,
    /// A path that a request asks for, maybe with a query.
    Target,
    /// A regular expression.
    Regex,
    /// `"GET"`
    Method,
    /// `"x-site"`
    HeaderName,
    /// What may stand behind the colon.
    HeaderValue,
    /// `"tg_s"`
    CookieName,
    /// A status code between two.
    Status(u16, u16),
    /// `"200-299"`, `"204"`
    StatusRange,
    /// `"Asia/Seoul"`
    Zone,
    /// A path in the file system, relative to the file that names it.
    File,
    /// `stdout`, `file:///var/log/access.jsonl`
    LogTarget,
    /// Where a redirect leads.
    Location,
    /// The name of a pool.
    Pool,
    /// The name of a listener.
    Listener,
    /// `{ file = ... }`, `{ env = ... }`, `{ credential = ... }`
    Secret,
    /// One, or a list of at least one.
    Many(&'static Kind),
    /// A list.
    List(&'static Kind),
    /// A table of these keys.
    Table(&'static Shape),
    /// A table of names.
    Named(Names, &'static Kind),
    /// The first whose TOML type fits.
    OneOf(&'static [Kind]),
}

/// A key that has an effect and may be left out.
pub(crate) const fn key(name: &'static str, kind: Kind, doc: &'static str) -> Key {
    Key { name, kind, default: Default::Absent, doc, status: Status::Now, required: false }
}

/// A key that is known and has no effect yet.
pub(crate) const fn later(name: &'static str, kind: Kind, doc: &'static str) -> Key {
    Key { name, kind, default: Default::Absent, doc, status: Status::Later, required: false }
}

/// A key whose absence so far has a consequence of its own.
pub(crate) const fn awaited(name: &'static str, kind: Kind, doc: &'static str) -> Key {
    Key { name, kind, default: Default::Absent, doc, status: Status::Awaited, required: false }
}

impl Key {
    /// With this value when it is not written.
    pub(crate) const fn or(mut self, value: &'static str) -> Key {
        self.default = Default::Value(value);
        self
    }

    /// With something else when it is not written, in words.
    pub(crate) const fn or_else(mut self, words: &'static str) -> Key {
        self.default = Default::Derived(words);
        self
    }

    /// Must be written.
    pub(crate) const fn required(mut self) -> Key {
        self.required = true;
        self
    }
}

/// A word that has an effect.
pub(crate) const fn word(text: &'static str) -> Word {
    Word { text, status: Status::Now }
}

/// A word that is known and has no effect yet.
pub(crate) const fn word_later(text: &'static str) -> Word {
    Word { text, status: Status::Later }
}

/// A word whose lack so far has a consequence of its own.
pub(crate) const fn word_awaited(text: &'static str) -> Word {
    Word { text, status: Status::Awaited }
}

impl Shape {
    /// The key of that name.
    pub(crate) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

/// The names of all keys but those of secrets, wherever they stand.
pub(crate) fn names() -> BTreeSet<&'static str> {
    let mut names = BTreeSet::new();
    let mut secrets = BTreeSet::new();
    let mut seen: BTreeSet<usize> = BTreeSet::new();
    let mut shapes = vec![&ROOT];
    while let Some(shape) = shapes.pop() {
        // `any` in a match holds matches: the table has a ring in it.
        if !seen.insert(std::ptr::from_ref(shape).addr()) {
            continue;
        }
        for key in shape.keys {
            match has_secret(&key.kind) {
                true => secrets.insert(key.name),
                false => names.insert(key.name),
            };
            shapes_of(&key.kind, &mut shapes);
        }
    }
    names.difference(&secrets).copied().collect()
}

fn has_secret(kind: &Kind) -> bool {
    match kind {
        Kind::Secret => true,
        Kind::OneOf(kinds) => kinds.iter().any(has_secret),
        Kind::Many(inner) | Kind::List(inner) => has_secret(inner),
        _ => false,
    }
}

fn shapes_of(kind: &'static Kind, shapes: &mut Vec<&'static Shape>) {
    match kind {
        Kind::Table(shape) => shapes.push(shape),
        Kind::Many(inner) | Kind::List(inner) | Kind::Named(_, inner) => shapes_of(inner, shapes),
        Kind::OneOf(kinds) => kinds.iter().for_each(|inner| shapes_of(inner, shapes)),
        _ => {}
    }
}

/// Longest time that anything here can be set to.
pub(crate) const LONGEST: &str = "366d";
/// Any length of time but none at all.
pub(crate) const DURATION: Kind = Kind::Duration("1ms", LONGEST);
/// Any length of time.
pub(crate) const DURATION_OR_ZERO: Kind = Kind::Duration("0s", LONGEST);

/// How long records are kept: the law may say ten years.
pub(crate) const RETENTION: Kind = Kind::Duration("1s", "36500d");

/// The sections that an included file may hold.
pub(crate) const FRAGMENT: &[&str] = &["routes", "pools", "calendars", "scalers"];

/// The whole file.
pub(crate) static ROOT: Shape = Shape {
    keys: &[
        key("schema", Kind::Integer(1, 1), "Version of the configuration language; always 1.")
            .required(),
        key(
            "include",
            Kind::Many(&Kind::File),
            "More files to read: paths with `*` and `?`, relative to this file, taken in the order \
             of their names. They may hold `routes`, `pools`, `calendars` and `scalers`.",
        ),
        key(
            "workers",
            Kind::Integer(1, 1024),
            "Threads that carry traffic, each with its own sockets and connections.",
        )
        .or_else("the cores this process may use"),
        key("site", Kind::Table(&observe::SITE), "The place this door stands in.").or("{}"),
        key(
            "listeners",
            Kind::Named(Names::Ours, &Kind::Table(&listeners::LISTENER)),
            "Addresses that clients connect to.",
        )
        .required(),
        key(
            "pools",
            Kind::Named(Names::Ours, &Kind::Table(&pools::POOL)),
            "Backends that do the same job.",
        ),
        key("defaults", Kind::Table(&defaults::DEFAULTS), "What holds for every pool and route."),
        key(
            "routes",
            Kind::List(&Kind::Table(&routes::ROUTE)),
            "Which requests go where. They are tried in the order written; the first match wins.",
        ),
        key("observe", Kind::Table(&observe::OBSERVE), "Metrics, logs and traces.").or("{}"),
        key("admin", Kind::Table(&observe::ADMIN), "The door for operators."),
        key("drain", Kind::Table(&observe::DRAIN), "How this door itself leaves.").or("{}"),
        later("cluster", Kind::Table(&later::CLUSTER), "Two front doors that know of each other."),
        later(
            "waiting_rooms",
            Kind::Named(Names::Ours, &Kind::Table(&later::WAITING_ROOM)),
            "Where clients wait when there is no free slot.",
        ),
        later(
            "calendars",
            Kind::Named(Names::Ours, &Kind::Table(&later_scaling::CALENDAR)),
            "Fixtures that the scaler prepares for.",
        ),
        key(
            "scalers",
            Kind::Named(Names::Ours, &Kind::Table(&scaling::SCALER)),
            "How large elastic pools are.",
        ),
        later(
            "budgets",
            Kind::Named(Names::Ours, &Kind::Table(&later::BUDGET)),
            "What elastic pools may cost.",
        ),
        later(
            "anomalies",
            Kind::Named(Names::Ours, &Kind::Table(&later::ANOMALY)),
            "What counts as unusual.",
        ),
        key("alerts", Kind::Table(&alerts::ALERTS), "Who is told, of what, and how."),
        later("backup", Kind::Table(&later::BACKUP), "Copies of state, images and disks."),
    ],
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{document, values};

    fn each(kind: &'static Kind, depth: u32, visit: &mut dyn FnMut(&'static Key)) {
        match kind {
            // `any` in a match holds matches: the table has a ring in it.
            _ if depth == 0 => {}
            Kind::Many(inner) | Kind::List(inner) | Kind::Named(_, inner) => {
                each(inner, depth - 1, visit);
            }
            Kind::OneOf(kinds) => kinds.iter().for_each(|inner| each(inner, depth - 1, visit)),
            Kind::Table(shape) => {
                for key in shape.keys {
                    visit(key);
                    each(&key.kind, depth - 1, visit);
                }
            }
            _ => {}
        }
    }

    static WHOLE: Kind = Kind::Table(&ROOT);

    #[test]
    fn every_default_is_a_value_that_its_own_key_accepts() {
        let mut count = 0;
        each(&WHOLE, 12, &mut |key| {
            let Default::Value(text) = key.default else { return };
            if text == "{}" {
                return;
            }
            count += 1;
            let toml = format!("a = {}", values::default_as_toml(&key.kind, text));
            let (node, errors) = document::parse(0, &toml);
            assert!(errors.is_empty(), "{}: {toml}", key.name);
            let value = node.table().unwrap().get("a").unwrap();
            let inner = match &key.kind {
                Kind::Many(inner) | Kind::List(inner) => inner,
                other => other,
            };
            for node in value.each() {
                let is_ok = match inner {
                    Kind::OneOf(kinds) => kinds.iter().any(|k| values::check(k, node).is_ok()),
                    kind => values::check(kind, node).is_ok(),
                };
                assert!(is_ok, "{}: {toml}", key.name);
            }
        });
        assert!(count > 30);
    }

    #[test]
    fn every_key_is_explained_in_whole_sentences() {
        each(&WHOLE, 12, &mut |key| {
            assert!(key.doc.ends_with('.'), "{}: {}", key.name, key.doc);
        });
    }
}
