//! Problems as text for people and as JSON for programs.

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use serde_json::{Value, json};

use super::codes::Severity;
use super::problem::Problem;

/// Longest line that is shown in full; beyond it only the part around the caret is.
const WIDTH: usize = 140;

/// Longer lines were not written by people, and taking one apart for each problem on it is slow.
const LONGEST_LINE: usize = 8192;

/// All problems, each with its line and a caret, in the manner of rustc, without colour.
pub fn render_text(problems: &[Problem]) -> String {
    render(problems, &Renderer::plain())
}

/// The same in colour.
pub fn render_styled(problems: &[Problem]) -> String {
    render(problems, &Renderer::styled())
}

/// All problems as an array of objects: severity, code, message, file, line, column, span, help.
/// `span` is null where it would tell how long something is that is not shown.
pub fn render_json(problems: &[Problem]) -> Value {
    let all = problems.iter().map(|problem| {
        json!({
            "severity": problem.severity.word(),
            "code": problem.code.id,
            "message": problem.message,
            "file": &*problem.file,
            "line": problem.line,
            "column": problem.column,
            "span": problem.span.as_ref().map(|span| [span.start, span.end]),
            "help": problem.help,
        })
    });
    Value::Array(all.collect())
}

fn render(problems: &[Problem], renderer: &Renderer) -> String {
    let renderer = renderer.clone().decor_style(DecorStyle::Ascii).term_width(WIDTH);
    let mut out = String::new();
    for problem in problems {
        out.push_str(&renderer.render(&[group(problem)]));
        out.push_str("\n\n");
    }
    out
}

fn group(problem: &Problem) -> Group<'_> {
    let level = match problem.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = level.primary_title(problem.message.as_str()).id(problem.code.id);
    let source = problem.source.as_ref().filter(|_| problem.line_length() <= LONGEST_LINE);
    let mut group = match source {
        None if problem.file.is_empty() => Group::with_title(title),
        None if problem.line == 0 => title.element(Origin::path(&*problem.file)),
        None => {
            let origin = Origin::path(&*problem.file).line(problem.line);
            title.element(match problem.column {
                0 => origin,
                column => origin.char_column(column),
            })
        }
        Some(source) => {
            // Only the lines that are meant: handing over the whole file for each of two hundred
            // problems would read it two hundred times.
            let text = source.text.as_str();
            let start = text[..problem.place.start].rfind('\n').map_or(0, |newline| newline + 1);
            let end =
                text[problem.place.end..].find('\n').map_or(text.len(), |n| problem.place.end + n);
            let caret = problem.place.start - start..problem.place.end - start;
            let mut annotation = AnnotationKind::Primary.span(caret);
            if !problem.label.is_empty() {
                annotation = annotation.label(problem.label.as_str());
            }
            title.element(
                Snippet::source(&text[start..end])
                    .line_start(problem.line)
                    .path(&*problem.file)
                    .annotation(annotation),
            )
        }
    };
    if let Some(help) = &problem.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    group
}
