//! One file per command. Each has its `Args` and a `main` that ends in an exit code.

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use crate::cli::FAILED;

pub mod ask;
pub mod backend;
pub mod backends;
pub mod check;
pub mod config_show;
pub mod decisions;
pub mod demo;
pub mod events;
pub mod maintenance;
pub mod reload;
pub mod resize;
pub mod route_explain;
pub mod run;
pub mod schema;
pub mod status;
pub mod upgrade;

/// Writes to standard output. A reader that went away (`| head`) is no failure of ours.
pub fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Writes the whole answer of a command, which then ends with `code`; with 1 if the answer was
/// lost (a full disk), so that nobody takes half a file for a whole one.
pub fn end(text: &str, code: ExitCode) -> ExitCode {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            complain(&format!("error: standard output cannot be written: {error}\n"));
            ExitCode::from(FAILED)
        }
        _ => code,
    }
}

/// Writes to standard error.
pub fn complain(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}
