//! `tidegate reload`: has the running door read its configuration again, and prints what changed.
//!
//! Ends with 0 when every worker works by it, with 78 when the file has errors, and with 1 when it
//! could not be taken up for another reason. Unless it ends with 0 nothing has changed.

use std::process::ExitCode;
use std::time::Duration;

use hyper::{Method, StatusCode};

use super::ask::{AskError, Socket};
use super::{complain, end};
use crate::admin::ReloadView;
use crate::cli::{FAILED, INVALID_CONFIG};

/// Longest wait: large files on slow disks, and handshakes of closing listeners.
const LIMIT: Duration = Duration::from_secs(60);

/// Have a running door read its configuration again.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Which door
    #[command(flatten)]
    pub socket: Socket,
}

/// Reloads, and says what came of it.
pub fn main(args: Args) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("error: cannot start: {error}\n"), FAILED),
    };
    let answer = runtime.block_on(args.socket.ask(Method::POST, "/v1/reload", None, LIMIT));
    match answer {
        Ok(body) if args.json => end(&String::from_utf8_lossy(&body), ExitCode::SUCCESS),
        Ok(body) => match serde_json::from_slice::<ReloadView>(&body) {
            Ok(view) => {
                complain(&view.warnings);
                let code = if view.is_acknowledged { 0 } else { FAILED };
                end(&text(&view), ExitCode::from(code))
            }
            Err(error) => {
                failed(&format!("error: {}\n", args.socket.strange(error.to_string())), FAILED)
            }
        },
        Err(AskError::Refused { status, detail }) => {
            let is_invalid = status == StatusCode::UNPROCESSABLE_ENTITY;
            let code = if is_invalid { INVALID_CONFIG } else { FAILED };
            failed(&format!("{}\nnothing was changed\n", detail.trim_end()), code)
        }
        Err(error) => failed(&format!("error: {error}\n"), FAILED),
    }
}

fn failed(words: &str, code: u8) -> ExitCode {
    complain(words);
    ExitCode::from(code)
}

fn text(view: &ReloadView) -> String {
    let mut text = view.changes.clone();
    for note in &view.needs_restart {
        text.push_str(&format!("needs a restart: {note}\n"));
    }
    let what = if view.changes.is_empty() { "reloaded, nothing differs" } else { "reloaded" };
    text.push_str(&format!("{what}: configuration {} runs\n", view.generation));
    if !view.is_acknowledged {
        text.push_str("a worker has not taken it up in time; see the log\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_comes_first_and_what_needs_a_restart_is_named() {
        let mut view = ReloadView {
            generation: 3,
            is_acknowledged: true,
            changes: "changed [pools.app]\n  - weight = 1\n  + weight = 2\n".to_owned(),
            needs_restart: vec!["`site.name` stays `a` until a restart; the file says `b`".into()],
            warnings: String::new(),
        };
        assert_eq!(
            text(&view),
            "changed [pools.app]\n  - weight = 1\n  + weight = 2\n\
             needs a restart: `site.name` stays `a` until a restart; the file says `b`\n\
             reloaded: configuration 3 runs\n"
        );
        view.changes.clear();
        view.needs_restart.clear();
        assert_eq!(text(&view), "reloaded, nothing differs: configuration 3 runs\n");
    }
}
