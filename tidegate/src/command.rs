//! One file per command. Each has its `Args` and a `main` that ends in an exit code.

use std::io::Write;

pub mod backend;
pub mod check;
pub mod config_show;
pub mod demo;
pub mod route_explain;
pub mod run;
pub mod schema;
pub mod status;

/// Writes to standard output. A reader that went away (`| head`) is no failure of ours.
pub fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Writes to standard error.
pub fn complain(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}
