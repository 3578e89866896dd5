//! Problems with a place, and the list that collects all of them.

use std::ops::Range;
use std::sync::Arc;

use super::codes::{Code, Severity};
use super::document::{Source, Sources, Span};
use super::mask::Mask;
use super::text::Message;

/// More than this many are counted and not kept: nobody reads them, and a file of garbage must
/// not cost memory.
pub(crate) const MOST: usize = 200;

/// One thing that is wrong, where, and what to do about it.
#[derive(Debug, Clone)]
pub struct Problem {
    /// Error or warning.
    pub severity: Severity,
    /// Its kind, for example `TG0201`.
    pub code: &'static Code,
    /// What is wrong, in one line.
    pub message: String,
    /// The file, as it was named; empty if there is none.
    pub file: Arc<str>,
    /// From 1; 0 if the problem has no place.
    pub line: usize,
    /// From 1, in characters of the line as it is shown; 0 if the problem has no place.
    pub column: usize,
    /// Bytes of the file that are meant; `None` if they would tell the length of something that
    /// is not shown.
    pub span: Option<Range<usize>>,
    /// Beside the caret; may be empty.
    pub label: String,
    /// What to do.
    pub help: Option<String>,
    /// What may be shown of the file.
    pub(crate) source: Option<Arc<Source>>,
    /// Bytes of `source` that are meant.
    pub(crate) place: Range<usize>,
    /// Whether the words are fit for a value that is not shown.
    quotes_nothing: bool,
}

impl Problem {
    /// Bytes of the line, or lines, that are meant.
    pub(crate) fn line_length(&self) -> usize {
        let Some(source) = &self.source else { return 0 };
        let text = source.text.as_str();
        let start = text[..self.place.start].rfind('\n').map_or(0, |newline| newline + 1);
        let end = text[self.place.end..].find('\n').map_or(text.len(), |n| self.place.end + n);
        end - start
    }

    /// Takes what must not be shown out of everything that is.
    fn cover(&mut self, mask: &Mask) {
        if mask.hides(&self.place) && !self.quotes_nothing {
            let meaning = self.code.meaning.trim_end_matches('.');
            let (first, rest) = meaning.split_at_checked(1).unwrap_or_default();
            let meaning = format!("{}{rest}", first.to_lowercase());
            self.message = format!("{meaning}; the value is not shown, it may be a secret");
            self.label.clear();
            self.help = None;
        }
        self.span = self.span.take().filter(|span| !mask.tells(span));
        self.place = mask.shown(&self.place);
        self.column = position(&mask.source().text, self.place.start).1;
        self.source = Some(Arc::clone(mask.source()));
    }
}

/// Everything that is wrong, in the order it was found.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    list: Vec<Problem>,
    /// Found and not kept.
    dropped: usize,
    dropped_errors: bool,
    secrets: Vec<Span>,
}

impl Problems {
    /// Keeps a problem that has a place.
    pub(crate) fn add(&mut self, sources: &Sources, span: Span, message: Message) {
        let Some(source) = sources.0.get(span.file) else {
            return self.add_placeless("", message);
        };
        if !self.has_room(&message) {
            return;
        }
        let range = clamp(&source.text, span.start..span.end);
        let (line, column) = position(&source.text, range.start);
        self.list.push(Problem {
            severity: message.code.severity,
            code: message.code,
            message: message.text,
            file: Arc::clone(&source.name),
            line,
            column,
            span: Some(range.clone()),
            label: message.label,
            help: message.help,
            source: Some(Arc::clone(source)),
            place: range,
            quotes_nothing: message.quotes_nothing,
        });
    }

    /// Keeps a problem of a file as a whole.
    pub(crate) fn add_placeless(&mut self, file: &str, message: Message) {
        self.add_line(file, 0, message);
    }

    /// Keeps a problem of a line that cannot be shown.
    pub(crate) fn add_line(&mut self, file: &str, line: usize, message: Message) {
        if !self.has_room(&message) {
            return;
        }
        self.list.push(Problem {
            severity: message.code.severity,
            code: message.code,
            message: message.text,
            file: file.into(),
            line,
            column: 0,
            span: None,
            label: message.label,
            help: message.help,
            source: None,
            place: 0..0,
            quotes_nothing: message.quotes_nothing,
        });
    }

    /// Never shows what stands there, whatever else is wrong on its line.
    pub(crate) fn hide(&mut self, secret: Span) {
        self.secrets.push(secret);
    }

    /// Whether the configuration cannot be used.
    pub(crate) fn has_errors(&self) -> bool {
        self.dropped_errors || self.list.iter().any(|p| p.severity == Severity::Error)
    }

    /// How many were found beyond those that were kept.
    pub(crate) fn dropped(&self) -> usize {
        self.dropped
    }

    /// All of them by place, each once, without what must not be shown.
    pub(crate) fn into_sorted(mut self, sources: &Sources) -> Vec<Problem> {
        let number = |problem: &Problem| {
            let source = problem.source.as_ref()?;
            sources.0.iter().position(|other| Arc::ptr_eq(source, other))
        };
        // A file's problems are read from top to bottom, the main file first.
        self.list.sort_by_key(|p| (number(p).unwrap_or(usize::MAX), p.place.start, p.severity));
        self.list.dedup_by(|a, b| {
            a.file == b.file && a.place == b.place && a.code == b.code && a.message == b.message
        });
        let masks = masks(sources, &self.secrets, &self.list);
        for problem in &mut self.list {
            if let Some(mask) = number(problem).and_then(|file| masks.get(file)?.as_ref()) {
                problem.cover(mask);
            }
        }
        self.list
    }

    /// Counts a problem without its message, which may be costly to make, if further ones are
    /// only counted. Whether it did.
    pub(crate) fn only_counts(&mut self) -> bool {
        let is_full = self.list.len() >= MOST && self.dropped_errors;
        self.dropped += usize::from(is_full);
        is_full
    }

    /// Takes over all of them.
    pub(crate) fn append(&mut self, other: Problems) {
        self.dropped += other.dropped;
        self.dropped_errors |= other.dropped_errors;
        self.secrets.extend(other.secrets);
        self.list.extend(other.list);
    }

    /// Takes over what must not be shown.
    pub(crate) fn hide_as(&mut self, other: Problems) {
        self.secrets.extend(other.secrets);
    }

    fn has_room(&mut self, message: &Message) -> bool {
        let has_room = self.list.len() < MOST;
        self.dropped += usize::from(!has_room);
        self.dropped_errors |= !has_room && message.code.severity == Severity::Error;
        has_room
    }
}

/// What is hidden of each file that something is said of.
fn masks(sources: &Sources, secrets: &[Span], problems: &[Problem]) -> Vec<Option<Mask>> {
    let mask = |(file, source): (usize, &Arc<Source>)| {
        let is_here = |p: &&Problem| p.source.as_ref().is_some_and(|s| Arc::ptr_eq(s, source));
        let mut here = problems.iter().filter(is_here).peekable();
        here.peek()?;
        // The walk has not seen, or not understood, what such a problem is about.
        let is_doubtful = here.any(|problem| problem.code.id.starts_with("TG01"));
        let secrets = secrets.iter().filter(|secret| secret.file == file);
        let secrets = secrets.map(|secret| clamp(&source.text, secret.start..secret.end));
        Some(Mask::new(source, secrets.collect(), is_doubtful))
    };
    sources.0.iter().enumerate().map(mask).collect()
}

/// A range that lies in the text, on character boundaries, whatever came in.
fn clamp(text: &str, range: Range<usize>) -> Range<usize> {
    let floor = |at: usize| {
        let mut at = at.min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let start = floor(range.start);
    start..floor(range.end).max(start)
}

/// Line and column of a byte, both from 1; the column in characters, as editors show it.
fn position(text: &str, at: usize) -> (usize, usize) {
    let before = &text[..at];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
    (line, before[line_start..].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::codes;

    #[test]
    fn places_are_counted_as_editors_do() {
        let mut sources = Sources::default();
        let text = "a = 1\nname = \"한국시리즈\" # x\n";
        sources.add("f", text.to_owned(), None);
        let mut problems = Problems::default();
        let at = text.find('#').unwrap();
        let span = Span { file: 0, start: at, end: at + 1 };
        problems.add(&sources, span, Message::new(&codes::SYNTAX, "x".into(), ""));
        let list = problems.into_sorted(&sources);
        assert_eq!((list[0].line, list[0].column), (2, 16));
    }

    #[test]
    fn a_place_that_is_none_is_moved_to_one() {
        assert_eq!(clamp("é", 1..99), 0..2);
        assert_eq!(clamp("", 3..5), 0..0);
    }
}
