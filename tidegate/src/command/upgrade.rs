//! `tidegate upgrade`: has the running door start its program anew and hand over to it.
//!
//! Ends with 0 when the new process serves, and with 1 when it could not; the old one goes on then.

use std::process::ExitCode;
use std::time::Duration;

use hyper::Method;

use super::ask::{AskError, Socket};
use super::{ask, say};
use crate::admin::UpgradeView;

/// Longer than the door lets a new process try.
const LIMIT: Duration = Duration::from_secs(120);

/// Have the running door hand over to the program that is installed now.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Which door
    #[command(flatten)]
    pub socket: Socket,
}

/// Upgrades, and says what came of it.
pub fn main(args: Args) -> ExitCode {
    ask::main(upgrade(args))
}

async fn upgrade(args: Args) -> Result<(), AskError> {
    let body = args.socket.ask(Method::POST, "/v1/upgrade", None, LIMIT).await?;
    if args.json {
        say(&String::from_utf8_lossy(&body));
        return Ok(());
    }
    let view: UpgradeView =
        serde_json::from_slice(&body).map_err(|error| args.socket.strange(error.to_string()))?;
    let UpgradeView { pid, version, previous_pid } = view;
    say(&format!(
        "process {pid} (tidegate {version}) serves; process {previous_pid} ends with its last request\n"
    ));
    Ok(())
}
