//! `tidegate schema`: what may be written in a configuration, for editors or for people.

use std::process::ExitCode;

use super::end;
use crate::config;

/// Which form.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The reference page in Markdown instead of the JSON Schema
    #[arg(long)]
    pub docs: bool,
}

/// Prints it.
pub fn main(args: Args) -> ExitCode {
    let page = match args.docs {
        true => config::reference(),
        false => format!("{:#}\n", config::schema()),
    };
    end(&page, ExitCode::SUCCESS)
}
