//! `tidegate status`: how the door is, on one screen.
//!
//! Asks the Unix socket, so whoever may open it may see it. `--json` prints what the door says,
//! word for word, with the pools inside.

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::ask::{self, AskError, Socket};
use super::say;
use crate::admin::view::{PoolView, StatusView};

mod screen;

/// Between two screens of `--watch`.
const EVERY: Duration = Duration::from_secs(1);

/// Ask a running door.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Print again every second until Ctrl-C
    #[arg(long)]
    pub watch: bool,
    /// Which door.
    #[command(flatten)]
    pub socket: Socket,
}

#[derive(Deserialize)]
struct Pools {
    pools: Vec<PoolView>,
}

/// Prints the status and ends with 0, or says why it cannot and ends with 1.
pub fn main(args: Args) -> ExitCode {
    ask::main(show(args))
}

async fn show(args: Args) -> Result<(), AskError> {
    let stdout = io::stdout();
    let style = screen::Style {
        has_colour: stdout.is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        is_redrawn: stdout.is_terminal() && args.watch && !args.json,
    };
    loop {
        say(&page(&args, style).await?);
        if !args.watch {
            return Ok(());
        }
        tokio::select! {
            _ = tokio::signal::ctrl_c() => return Ok(()),
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

async fn page(args: &Args, style: screen::Style) -> Result<String, AskError> {
    let door = &args.socket;
    if args.json {
        let mut all: Map<String, Value> = door.get("/v1/status").await?;
        all.extend(door.get::<Map<String, Value>>("/v1/pools").await?);
        // One line each when watching, so that a reader can tell them apart.
        let text = if args.watch {
            serde_json::to_string(&all)
        } else {
            serde_json::to_string_pretty(&all)
        };
        return Ok(text.map_err(|error| door.strange(error.to_string()))? + "\n");
    }
    let status: StatusView = door.get("/v1/status").await?;
    let Pools { pools } = door.get("/v1/pools").await?;
    Ok(screen::draw(&status, &pools, style))
}

#[cfg(test)]
mod tests;
