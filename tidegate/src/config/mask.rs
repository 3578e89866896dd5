//! What of a file is shown in a report, and what is not: values that are secrets, or may be.
//!
//! Reports are printed, logged and sent to whoever asked for a reload. A hidden value becomes
//! [`MASK`], whatever its length, so places behind it on its line move: [`Mask`] knows where to.
//! What is hidden is found twice: by the walk, which knows the type of each value, and by
//! [`scan`], which reads the letters only and therefore also files that are no TOML.

use std::ops::Range;
use std::sync::Arc;

use policies::secret::MASK;

use super::document::Source;

mod scan;
mod words;

/// A file without its secrets.
pub(crate) struct Mask {
    /// As it may be shown.
    source: Arc<Source>,
    /// Without overlap, in order.
    hidden: Vec<Range<usize>>,
    /// The same, cut at the ends of lines, so that lines keep their numbers.
    pieces: Vec<Piece>,
}

struct Piece {
    hidden: Range<usize>,
    shown: Range<usize>,
}

impl Mask {
    /// Hides `secrets` (ranges within the text, on character boundaries) and what looks like
    /// one. In a file that `is_doubtful` no key can be trusted to be what it seems: values of
    /// all that are not in the table of keys are hidden.
    pub(crate) fn new(
        source: &Arc<Source>,
        mut secrets: Vec<Range<usize>>,
        is_doubtful: bool,
    ) -> Mask {
        secrets.extend(scan::secrets(&source.text, is_doubtful));
        let hidden = merged(secrets);
        let mut text = String::new();
        let mut pieces = Vec::new();
        let mut from = 0;
        for piece in hidden.iter().flat_map(|range| lines(&source.text, range)) {
            text.push_str(&source.text[from..piece.start]);
            from = piece.end;
            let start = text.len();
            text.push_str(MASK);
            pieces.push(Piece { hidden: piece, shown: start..text.len() });
        }
        text.push_str(&source.text[from..]);
        let source = Source { name: Arc::clone(&source.name), text, dir: source.dir.clone() };
        Mask { source: Arc::new(source), hidden, pieces }
    }

    /// The text that may be shown.
    pub(crate) fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// Where a range of the file is in the text that may be shown. One that begins or ends
    /// within a hidden value is widened to all of it.
    pub(crate) fn shown(&self, range: &Range<usize>) -> Range<usize> {
        let place = |at: usize, inside: fn(&Range<usize>) -> usize| {
            let before = self.pieces.partition_point(|piece| piece.hidden.start < at);
            match before.checked_sub(1).and_then(|last| self.pieces.get(last)) {
                None => at,
                Some(piece) if at < piece.hidden.end => inside(&piece.shown),
                Some(piece) => piece.shown.end + (at - piece.hidden.end),
            }
        };
        let start = place(range.start, |shown| shown.start);
        start..place(range.end, |shown| shown.end).max(start)
    }

    /// Whether all of a range is hidden, so that words about it may quote it.
    pub(crate) fn hides(&self, range: &Range<usize>) -> bool {
        !range.is_empty()
            && self.hidden.iter().any(|all| all.start <= range.start && range.end <= all.end)
    }

    /// Whether the place of the end of a range would tell the length of something hidden.
    pub(crate) fn tells(&self, range: &Range<usize>) -> bool {
        self.hidden.first().is_some_and(|first| first.start < range.end)
    }
}

fn merged(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_by_key(|range| range.start);
    let mut merged: Vec<Range<usize>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start < last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

/// What a range has of each line, without their ends.
fn lines(text: &str, range: &Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let mut start = range.start;
    text[range.clone()].split('\n').filter_map(move |line| {
        let piece = start..start + line.trim_end_matches('\r').len();
        start += line.len() + 1;
        (!piece.is_empty()).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(text: &str, is_doubtful: bool) -> Mask {
        let source = Source { name: "f".into(), text: text.to_owned(), dir: None };
        Mask::new(&Arc::new(source), Vec::new(), is_doubtful)
    }

    #[test]
    fn places_behind_a_mask_move_with_what_they_point_at() {
        let text = "a = { token = \"correct horse\", ttl = 5 }\nb = 1\n";
        let mask = mask(text, false);
        assert_eq!(mask.source().text, "a = { token = ***, ttl = 5 }\nb = 1\n");
        for word in ["a", "ttl", "b"] {
            let at = text.find(word).unwrap();
            let shown = mask.shown(&(at..at + word.len()));
            assert_eq!(&mask.source().text[shown], word);
        }
        let at = text.find("horse").unwrap();
        assert_eq!(&mask.source().text[mask.shown(&(at..at + 5))], "***");
        assert!(mask.hides(&(at..at + 5)) && !mask.hides(&(at..text.len())));
        assert!(mask.tells(&(at..at + 5)) && !mask.tells(&(0..1)));
    }

    #[test]
    fn a_hidden_value_of_several_lines_keeps_their_number() {
        let mask = mask("key = \"\"\"\r\none\n\ntwo\"\"\"\nb = 1", false);
        assert_eq!(mask.source().text, "key = ***\r\n***\n\n***\nb = 1");
    }
}
