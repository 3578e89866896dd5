//! `tidegate config show`: a configuration in one piece, includes merged, secrets left out.

use std::process::ExitCode;

use super::{complain, end};
use crate::cli::{ConfigFile, INVALID_CONFIG};
use crate::config;

/// What to show.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to show.
    #[command(flatten)]
    pub file: ConfigFile,
    /// Also every value that holds without being written, marked `# default`
    #[arg(long)]
    pub effective: bool,
}

/// Prints it, or why it cannot be used.
pub fn main(args: Args) -> ExitCode {
    let loaded = config::load(args.file.path());
    if loaded.config.is_none() {
        complain(&config::render_text(&loaded.problems));
        return ExitCode::from(INVALID_CONFIG);
    }
    end(&loaded.effective(args.effective), ExitCode::SUCCESS)
}
