//! `tidegate check`: every problem of a configuration, and a sentence about what it describes.
//!
//! It reads what `run` would read, through the same door, and nothing else: no network, no root.

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use super::end;
use crate::adapters::window_view;
use crate::cli::{ConfigFile, INVALID_CONFIG};
use crate::config::{self, Config, Loaded, Severity};

/// What to check; `-` is what comes in by standard input.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "`-` for FILE reads the configuration from standard input; paths in it are \
                        then relative to the working directory."
)]
pub struct Args {
    /// What to check.
    #[command(flatten)]
    pub file: ConfigFile,
    /// How problems are written
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
    /// Exit with 78 if there is a warning
    #[arg(long)]
    pub deny_warnings: bool,
}

/// How problems are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

/// Checks, prints, and ends with 0 or 78.
pub fn main(args: Args) -> ExitCode {
    let loaded = match args.file.path() {
        path if path == Path::new("-") => config::load_from("<stdin>", std::io::stdin().lock()),
        path => config::load(path),
    };
    let is_refused =
        loaded.config.is_none() || (args.deny_warnings && loaded.has(Severity::Warning));
    let report = match args.format {
        Format::Text => text(&loaded) + &openings(&loaded, Timestamp::now()),
        Format::Json => json(&loaded, is_refused),
    };
    let code = if is_refused { ExitCode::from(INVALID_CONFIG) } else { ExitCode::SUCCESS };
    end(&report, code)
}

/// What `check` prints where there is no terminal: every problem, then the sentence.
pub fn report(loaded: &Loaded) -> String {
    format!("{}{}\n", config::render_text(&loaded.problems), conclusion(loaded))
}

fn text(loaded: &Loaded) -> String {
    if !std::io::stdout().is_terminal() || std::env::var_os("NO_COLOR").is_some() {
        return report(loaded);
    }
    format!("{}{}\n", config::render_styled(&loaded.problems), conclusion(loaded))
}

fn json(loaded: &Loaded, is_refused: bool) -> String {
    let (errors, warnings) = counts(loaded);
    let report = json!({
        "ok": !is_refused,
        "errors": errors,
        "warnings": warnings,
        "not_shown": loaded.dropped_problems,
        "summary": conclusion(loaded),
        "problems": config::render_json(&loaded.problems),
    });
    format!("{report:#}\n")
}

fn counts(loaded: &Loaded) -> (usize, usize) {
    let errors = loaded.problems.iter().filter(|p| p.severity == Severity::Error).count();
    (errors, loaded.problems.len() - errors)
}

/// `3 listeners, 12 routes, 4 pools (2 without backends yet); 5 warnings`
fn conclusion(loaded: &Loaded) -> String {
    let (errors, warnings) = counts(loaded);
    let found = match (errors, warnings) {
        (0, 0) => "no problems".to_owned(),
        (0, warnings) => plural(warnings, "warning"),
        (errors, 0) => plural(errors, "error"),
        (errors, warnings) => {
            format!("{}, {}", plural(errors, "error"), plural(warnings, "warning"))
        }
    };
    let shown = loaded.problems.len();
    let found = match loaded.dropped_problems {
        0 => found,
        dropped => format!("{found}; {shown} of {} problems shown", shown + dropped),
    };
    match &loaded.config {
        Some(config) => format!("{}; {found}", describe(config)),
        None => format!("not a valid configuration: {found}"),
    }
}

fn describe(config: &Config) -> String {
    let door = &config.door;
    let closed = config.closed_listeners.len();
    let empty = door.pools.iter().filter(|pool| pool.backends.is_empty()).count();
    let routes = door.routes.len();
    let aside = |count: usize, words: &str| match count {
        0 => String::new(),
        count => format!(" ({count} {words})"),
    };
    format!(
        "{}{}, {}, {}{}{}",
        plural(door.listeners.len() + closed, "listener"),
        aside(closed, "not opened yet"),
        plural(routes, "route"),
        plural(door.pools.len(), "pool"),
        aside(empty, "without backends yet"),
        if config.site.in_maintenance { ", closed for maintenance" } else { "" },
    )
}

/// When each window opens next or has opened, one line each: for whoever has written them.
fn openings(loaded: &Loaded, now: Timestamp) -> String {
    let scalers = loaded.config.iter().flat_map(|config| &config.scalers);
    let windows = scalers.flat_map(|scaler| &scaler.policy.windows);
    let mut lines = String::new();
    for window in windows {
        let line = match window.opening(now) {
            Some(opening) => window_view(window, opening, now, Duration::ZERO).line(),
            None => format!("window {}: never opens again ({})", window.name, window.place),
        };
        lines.push_str(&line);
        lines.push('\n');
    }
    lines
}

fn plural(count: usize, word: &str) -> String {
    if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") }
}
