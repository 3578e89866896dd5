//! Every sentence that a person reads about a configuration, in one place, so that it can be
//! checked by one pair of eyes and translated one day. Codes, keys and values stay as they are.
//!
//! Lower case, no full stop, the thing in backticks with the value found, then the remedy.

use super::codes::{self, Code};
use super::keys::Kind;

mod kinds;
pub(crate) mod references;
pub(crate) mod scaling;
pub(crate) mod values;

pub(crate) use kinds::{expected, found};

/// What is wrong, before it has a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    /// Its kind.
    pub(crate) code: &'static Code,
    /// The headline.
    pub(crate) text: String,
    /// Beside the caret; may be empty.
    pub(crate) label: String,
    /// What to do.
    pub(crate) help: Option<String>,
    /// Bytes of the string that are meant, where it is not all of it.
    pub(crate) within: Option<(usize, usize)>,
    /// Whether it may be said of a secret: nothing of the value is in it.
    pub(crate) quotes_nothing: bool,
}

impl Message {
    /// Without its place, for what is written in no file.
    pub(crate) fn sentence(&self) -> String {
        let mut sentence = self.text.clone();
        for more in [Some(&self.label), self.help.as_ref()].into_iter().flatten() {
            if !more.is_empty() {
                sentence.push_str("; ");
                sentence.push_str(more);
            }
        }
        sentence
    }
}

impl Message {
    /// A headline and what stands at the caret.
    pub(crate) fn new(code: &'static Code, text: String, label: &str) -> Message {
        let label = label.to_owned();
        Message { code, text, label, help: None, within: None, quotes_nothing: false }
    }

    /// For a place whose value is not shown.
    pub(crate) fn quoting_nothing(mut self) -> Message {
        self.quotes_nothing = true;
        self
    }

    /// With a remedy.
    pub(crate) fn help(mut self, help: impl Into<String>) -> Message {
        self.help = Some(help.into());
        self
    }
}

/// A value as it can stand in a sentence: on one line and not too long.
pub(crate) fn shown(value: &str) -> String {
    let mut text: String = value.chars().take(60).flat_map(char::escape_debug).collect();
    // `escape_debug` is for Rust; quotes need no backslash between backticks.
    text = text.replace("\\\"", "\"").replace("\\'", "'");
    if value.chars().nth(60).is_some() {
        text.push('…');
    }
    text
}

/// `a`, `b` or `c`
pub(crate) fn one_of(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [many @ .., last] => format!("{} or {last}", many.join(", ")),
    }
}

/// The word that was probably meant.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Comparing is quadratic in the length; nobody mistypes a word this long.
    if word.len() > 100 {
        return None;
    }
    let lower = word.to_lowercase().replace('-', "_");
    known
        .into_iter()
        .map(|k| (k, strsim::damerau_levenshtein(&lower, &k.to_lowercase().replace('-', "_"))))
        .filter(|(k, distance)| *distance <= 1 + k.len().min(word.len()) / 4)
        .min_by_key(|(_, distance)| *distance)
        .map(|(k, _)| k)
}

/// `did you mean ...?`, or else the list of what there is, if it is short.
pub(crate) fn suggest(word: &str, known: &[&str]) -> Option<String> {
    // With more names than this, comparing each mistake with each of them takes minutes.
    if let Some(near) = nearest(word, known.iter().copied().take(1000)) {
        return Some(format!("did you mean `{near}`?"));
    }
    match known.len() {
        0 => None,
        1..=16 => Some(format!("known here: {}", one_of(known).replace(" or ", ", "))),
        _ => Some("`tidegate schema --docs` lists every key".to_owned()),
    }
}

/// A file that cannot be read.
pub(crate) fn unreadable(name: &str, reason: &str) -> Message {
    Message::new(&codes::UNREADABLE, format!("cannot read `{}`: {reason}", shown(name)), "")
        .help("check the path and that this user may read the file")
}

/// Bytes that are not text.
pub(crate) fn not_text(name: &str) -> Message {
    let text = format!("`{}` is not UTF-8 text", shown(name));
    Message::new(&codes::NOT_TEXT, text, "")
        .help("this line is the first that is not; save the file as UTF-8")
}

/// A file that is not a configuration.
pub(crate) fn too_large(name: &str, limit: usize) -> Message {
    let text = format!("`{}` is larger than {} MiB", shown(name), limit >> 20);
    Message::new(&codes::TOO_LARGE, text, "")
        .help("split it with `include`, or check that it is the right file")
}

/// What the TOML parser says, in our words where its own are about the grammar. `rest` is the
/// file from the place of the error.
pub(crate) fn syntax(parser_words: &str, rest: &str) -> Message {
    let said = parser_words.split(", expected").next().unwrap_or(parser_words);
    if said == "duplicate key" {
        return Message::new(&codes::KEY_TWICE, "key is set twice".to_owned(), "set again here")
            .help("keep one of the two")
            .quoting_nothing();
    }
    let (text, help) = match said {
        "recursion limit" | "cannot recurse further; max recursion depth met" => {
            ("nested more than 80 levels deep", None)
        }
        "invalid basic string" | "invalid literal string" => {
            ("a text is not closed", Some("a text ends on its line, with the quote it began with"))
        }
        "string values must be quoted"
            if rest.trim_start_matches(' ').starts_with(['\n', '\r']) =>
        {
            ("a value is missing", None)
        }
        "string values must be quoted" => {
            ("a value that is not a TOML value", Some("texts need quotes: `name = \"kg\"`"))
        }
        "unclosed table" | "unclosed array table" => {
            ("a header is not closed", Some("write `[section]`, or `[[routes]]` for one of a list"))
        }
        "unclosed array" => ("a list is not closed by `]`", None),
        "unclosed inline table" => ("a table is not closed by `}`", None),
        "invalid unquoted key" if rest.starts_with(':') => {
            ("`:` behind a key", Some("TOML writes `key = value`; this looks like YAML"))
        }
        "invalid key-value pair" if rest.starts_with('{') => {
            ("`{` where a key is expected", Some("TOML writes `key = value`; this looks like JSON"))
        }
        "key with no value" => ("a key without a value", Some("write `key = value`")),
        words => (words, None),
    };
    let message = Message::new(&codes::SYNTAX, format!("not TOML: {text}"), "").quoting_nothing();
    Message { help: help.map(str::to_owned), ..message }
}

/// One key in two files.
pub(crate) fn key_twice(path: &str, first_file: &str) -> Message {
    let text = format!("`{path}` is set twice; it is also in `{}`", shown(first_file));
    Message::new(&codes::KEY_TWICE, text, "set again here").help("keep one of the two")
}

/// A section that an included file may not hold.
pub(crate) fn fragment_section(key: &str, allowed: &[&str]) -> Message {
    let text = format!("`{}` cannot stand in an included file", shown(key));
    Message::new(&codes::FRAGMENT_SECTION, text, "belongs into the main file")
        .help(format!("included files may hold {}", one_of(allowed).replace(" or ", " and ")))
}

/// A file that would be read again and again.
pub(crate) fn includes_itself(name: &str) -> Message {
    let text = format!("`{}` includes itself", shown(name));
    Message::new(&codes::INCLUDE_RING, text, "leads back to the main file").help(
        "give the included files a folder of their own, such as `include = \"conf.d/*.toml\"`",
    )
}

/// An included file that includes.
pub(crate) fn fragment_includes(name: &str, back_to: Option<&str>) -> Message {
    let help = "name every file in the `include` of the main file";
    let label = "belongs into the main file";
    let Some(back_to) = back_to else {
        let text = "`include` cannot stand in an included file".to_owned();
        return Message::new(&codes::FRAGMENT_SECTION, text, label).help(help);
    };
    let text = match name == back_to {
        true => format!("`{}` includes itself", shown(name)),
        false => {
            let (name, back_to) = (shown(name), shown(back_to));
            format!("`{name}` includes `{back_to}`, which has included it")
        }
    };
    Message::new(&codes::INCLUDE_RING, text, label).help(help)
}

/// An include without a match.
pub(crate) fn nothing_included(pattern: &str) -> Message {
    let text = format!("`{}` matches no file", shown(pattern));
    Message::new(&codes::NOTHING_INCLUDED, text, "nothing to include")
        .help("the path is relative to the file that includes")
}

/// A key that does not exist.
pub(crate) fn unknown_key(key: &str, section: &str, known: &[&str]) -> Message {
    let text = match section {
        "" => format!("unknown key `{}`", shown(key)),
        section => format!("unknown key `{}` in `{section}`", shown(key)),
    };
    let message = Message::new(&codes::UNKNOWN_KEY, text, "unknown key");
    Message { help: suggest(key, known), ..message }
}

/// A key that must be there.
pub(crate) fn missing_key(key: &str, section: &str, kind: &Kind) -> Message {
    let text = match section {
        "" => format!("`{key}` is missing"),
        section => format!("`{key}` is missing in `{section}`"),
    };
    Message::new(&codes::MISSING_KEY, text, "").help(format!("add `{key}`: {}", expected(kind)))
}

/// A value of another type.
pub(crate) fn wrong_type(kind: &Kind, found: &str) -> Message {
    let text = format!("expected {}, found {found}", expected(kind));
    Message::new(&codes::WRONG_TYPE, text, "wrong type")
}

/// One where a list is, `[[routes]]` in TOML.
pub(crate) fn not_a_list(kind: &Kind, path: &str, found: &str) -> Message {
    wrong_type(kind, found).help(format!("write `[[{path}]]`, once for each"))
}

/// A list where each has a name, `[listeners.web]` in TOML.
pub(crate) fn not_named(kind: &Kind, path: &str, name: Option<&str>, found: &str) -> Message {
    let name = name.map_or_else(|| "NAME".to_owned(), shown);
    wrong_type(kind, found).help(format!("write `[{path}.{name}]`, once for each"))
}

/// A key without effect.
pub(crate) fn key_later(path: &str) -> Message {
    let text = format!("`{path}` is not supported yet; it has no effect");
    Message::new(&codes::KEY_LATER, text, "no effect")
}

/// A value without effect.
pub(crate) fn word_later(value: &str, path: &str) -> Message {
    let text = format!("`{path} = \"{}\"` is not supported yet", shown(value));
    Message::new(&codes::WORD_LATER, text, "not supported yet")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_what_is_near_and_nothing_that_is_far() {
        assert_eq!(nearest("pool", ["pools", "routes"]), Some("pools"));
        assert_eq!(nearest("max-conections", ["max_connections"]), Some("max_connections"));
        assert_eq!(nearest("bananas", ["pools", "routes"]), None);
    }

    #[test]
    fn values_are_shown_on_one_line() {
        assert_eq!(shown("a\nb\u{1b}[31m\"q\""), "a\\nb\\u{1b}[31m\"q\"");
        assert_eq!(shown(&"x".repeat(100)).chars().count(), 61);
    }
}
