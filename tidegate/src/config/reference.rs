//! The table of keys as the page `docs/configuration.md`. A test keeps the two equal.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::codes;
use super::keys::{Default, Key, Kind, ROOT, Shape, Status};
use super::text::expected;
use super::values::default_as_toml;

const HEAD: &str = "\
# Configuration

<!-- Written by `tidegate schema --docs`; change the table of keys in `tidegate/src/config/keys`. -->

One TOML file, `/etc/tidegate/tidegate.toml` unless the command line says otherwise, and whatever
its `include` names. `tidegate check FILE` prints every problem and ends with 0, or with 78 if the
file cannot be used; `tidegate config show --effective FILE` prints every value that holds. With
`-` for FILE, `check` reads standard input, and paths are relative to the working directory.

- Durations are texts with a unit: `\"250ms\"`, `\"90s\"`, `\"5m\"`, `\"2h30m\"`, `\"1d\"`, `\"2w\"`. Sizes:
  `\"512B\"`, `\"64KiB\"`, `\"1MiB\"`. Shares: `\"85%\"`. A bare number is refused where a unit is needed.
- Secrets are named and not written: `{ file = \"/run/secrets/key\" }`, `{ env = \"KEY\" }`, or
  `{ credential = \"key\" }` for systemd's `LoadCredential=`. No report, log or answer shows one, nor
  the value of an unknown key or of a variable of a program: `***` stands for it, whatever its
  length. Columns are those of the line as it is shown.
- Unknown keys are errors. Keys marked *not supported yet* are known and checked; using one is a
  warning and has no effect.
- Where a list of texts is expected, a single text will do.
";

/// The whole page.
pub fn reference() -> String {
    let mut page = Page { text: HEAD.to_owned(), written: BTreeSet::new() };
    page.section(&ROOT, "");
    page.text.push_str("\n## Codes\n\n| code | | meaning |\n|---|---|---|\n");
    for code in codes::ALL {
        let _ =
            writeln!(page.text, "| `{}` | {} | {} |", code.id, code.severity.word(), code.meaning);
    }
    page.text
}

struct Page {
    text: String,
    /// Shapes by their address, so that a shape used twice is one section.
    written: BTreeSet<usize>,
}

impl Page {
    fn section(&mut self, shape: &'static Shape, path: &str) {
        if !self.written.insert(std::ptr::from_ref(shape).addr()) {
            return;
        }
        let title = if path.is_empty() { "Top level".to_owned() } else { format!("`{path}`") };
        let _ =
            write!(self.text, "\n## {title}\n\n| key | value | default | |\n|---|---|---|---|\n");
        for key in shape.keys {
            let row = row(key, &below(path, key));
            self.text.push_str(&row);
        }
        for key in shape.keys {
            self.inner(&key.kind, &below(path, key));
        }
    }

    fn inner(&mut self, kind: &'static Kind, path: &str) {
        match kind {
            Kind::Table(shape) => self.section(shape, path),
            Kind::List(inner) | Kind::Many(inner) => self.inner(inner, path),
            Kind::Named(_, inner) => self.inner(inner, &format!("{path}.NAME")),
            Kind::OneOf(kinds) => kinds.iter().for_each(|kind| self.inner(kind, path)),
            _ => {}
        }
    }
}

fn below(path: &str, key: &Key) -> String {
    if path.is_empty() { key.name.to_owned() } else { format!("{path}.{}", key.name) }
}

fn row(key: &Key, path: &str) -> String {
    let value = match &key.kind {
        Kind::Table(_) => format!("table, see `{path}`"),
        Kind::List(Kind::Table(_)) => format!("list of tables, see `{path}`"),
        Kind::Named(_, Kind::Table(_)) => format!("tables by name, see `{path}.NAME`"),
        Kind::Word(words) => {
            let words: Vec<String> = words
                .iter()
                .map(|word| match word.status {
                    Status::Now => format!("`\"{}\"`", word.text),
                    Status::Later | Status::Awaited => format!("`\"{}\"` (not yet)", word.text),
                })
                .collect();
            words.join(", ")
        }
        kind => expected(kind),
    };
    let default = match key.default {
        Default::Absent if key.required => "**required**".to_owned(),
        Default::Absent | Default::Value("{}") => String::new(),
        Default::Value(text) => format!("`{}`", default_as_toml(&key.kind, text)),
        Default::Derived(words) => words.to_owned(),
    };
    let status = if key.status == Status::Now { "" } else { "*Not supported yet.* " };
    let cell = |text: &str| text.replace('|', "\\|");
    format!(
        "| `{}` | {} | {} | {status}{} |\n",
        key.name,
        cell(&value),
        cell(&default),
        cell(key.doc)
    )
}
