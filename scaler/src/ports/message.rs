//! What people and machines are told.

use std::sync::Arc;

use jiff::Timestamp;
use policies::backend::PoolName;

/// How urgent a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Good to know: it happened as it should.
    Info,
    /// We cope, worse.
    Warning,
    /// Somebody must act.
    Critical,
}

impl Severity {
    /// As in `[[alerts.rules]]` and in message attributes.
    pub fn word(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
    }
}

/// Whether something began, goes on, or is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It happened; if it is of a kind that ends, it lasts from now on.
    Fired,
    /// It lasts, and is told again.
    Repeated,
    /// It is over.
    Resolved,
}

impl State {
    /// As in messages and their attributes.
    pub fn word(self) -> &'static str {
        match self {
            State::Fired => "fired",
            State::Repeated => "repeated",
            State::Resolved => "resolved",
        }
    }
}

/// One thing that happened, ready to be told.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// The same for the same thing, also when it is told again or has ended: for deduplication. At most 128
    /// characters of letters, digits and `-_.:/`.
    pub key: String,
    /// Grows by 1 with each message of a pool, so that a gap can be seen.
    pub sequence: u64,
    /// When it happened, or ended.
    pub at: Timestamp,
    /// Whether it began, goes on, or is over.
    pub state: State,
    /// How urgent.
    pub severity: Severity,
    /// A kind of event, out of `[[alerts.rules]].when`.
    pub kind: Arc<str>,
    /// `[site].name`.
    pub site: Arc<str>,
    /// The pool it is about, if one.
    pub pool: Option<PoolName>,
    /// One line, under 100 characters.
    pub title: String,
    /// What, since when, what was done, what can be done.
    pub text: String,
    /// Further facts, for machines.
    pub fields: Vec<(Arc<str>, String)>,
}
