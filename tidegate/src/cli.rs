//! The tree of commands, and nothing of what they do: each is a file in `command`.
//!
//! Exit codes are the same everywhere: 0 done, 1 failed while running, 2 wrong usage, 78 the
//! configuration is not valid (`EX_CONFIG` of sysexits).

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::command;

/// Where the configuration is unless the command line says otherwise.
pub const DEFAULT_CONFIG: &str = "/etc/tidegate/tidegate.toml";

/// Failed while running.
pub const FAILED: u8 = 1;
/// The configuration is not valid.
pub const INVALID_CONFIG: u8 = 78;

/// A front door that balances traffic over backends.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Everything the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Open the door and carry traffic until told to stop
    Run(command::run::Args),
    /// Show the whole product on this machine: a crowd, capacity that follows it, a failure
    Demo(command::demo::Args),
    /// Check a configuration and print every problem
    Check(command::check::Args),
    /// Print the JSON Schema of the configuration, or its reference page
    Schema(command::schema::Args),
    /// Look at a configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Ask the routing table
    #[command(subcommand)]
    Route(RouteCommand),
    /// Have a running door read its configuration again, and print what changed
    Reload(command::reload::Args),
    /// Have a running door hand over to the program that is installed now
    Upgrade(command::upgrade::Args),
    /// Show how a running door is
    Status(command::status::Args),
    /// Show, add, remove and weigh backends of a running door
    Backends(command::backends::Args),
    /// Send a backend no new requests
    Drain(command::backends::DrainArgs),
    /// Send it requests again
    Undrain(command::backends::DrainArgs),
    /// Keep an elastic pool at a size for a time
    Pin(command::resize::PinArgs),
    /// Change the size of an elastic pool in no way for a time
    Pause(command::resize::PauseArgs),
    /// Let the rules of an elastic pool decide again
    Resume(command::resize::ResumeArgs),
    /// Close the site or a route of a running door, or open it again
    Maintenance(command::maintenance::Args),
    /// Print what changed in a running door
    Events(command::events::Args),
    /// List the decisions about the size of elastic pools
    Decisions(command::decisions::Args),
    /// Explain a decision about the size of an elastic pool
    Why(command::decisions::WhyArgs),
    /// Be a small server behind the door, for trying it out
    #[command(hide = true)]
    Backend(command::backend::Args),
    /// Print the version
    Version,
}

/// `tidegate config ...`
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print a configuration, secrets left out
    Show(command::config_show::Args),
}

/// `tidegate route ...`
#[derive(Debug, Subcommand)]
pub enum RouteCommand {
    /// Say which route a request takes, and why the others do not
    Explain(command::route_explain::Args),
}

/// The configuration file, named either way.
#[derive(Debug, Clone, Default, Args)]
pub struct ConfigFile {
    /// Configuration file [default: /etc/tidegate/tidegate.toml]
    #[arg(value_name = "FILE", conflicts_with = "config")]
    pub file: Option<PathBuf>,
    /// The same, as an option
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl ConfigFile {
    /// The path to read.
    pub fn path(&self) -> &Path {
        self.file.as_deref().or(self.config.as_deref()).unwrap_or(Path::new(DEFAULT_CONFIG))
    }
}

/// Reads the command line and does what it says. Wrong usage ends here with exit code 2.
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(args) => command::run::main(args),
        Command::Demo(args) => command::demo::main(args),
        Command::Check(args) => command::check::main(args),
        Command::Schema(args) => command::schema::main(args),
        Command::Config(ConfigCommand::Show(args)) => command::config_show::main(args),
        Command::Route(RouteCommand::Explain(args)) => command::route_explain::main(args),
        Command::Reload(args) => command::reload::main(args),
        Command::Upgrade(args) => command::upgrade::main(args),
        Command::Status(args) => command::status::main(args),
        Command::Backends(args) => command::backends::main(args),
        Command::Drain(args) => command::backends::drain(args),
        Command::Undrain(args) => command::backends::undrain(args),
        Command::Pin(args) => command::resize::pin(args),
        Command::Pause(args) => command::resize::pause(args),
        Command::Resume(args) => command::resize::resume(args),
        Command::Maintenance(args) => command::maintenance::main(args),
        Command::Events(args) => command::events::main(args),
        Command::Decisions(args) => command::decisions::main(args),
        Command::Why(args) => command::decisions::why(args),
        Command::Backend(args) => command::backend::main(args),
        Command::Version => {
            command::say(&format!("tidegate {}\n", env!("CARGO_PKG_VERSION")));
            ExitCode::SUCCESS
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_tree_of_commands_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_file_is_named_either_way_but_not_both() {
        let path = |args: &[&str]| match Cli::try_parse_from(args).ok()?.command {
            Command::Check(args) => Some(args.file.path().to_owned()),
            _ => None,
        };
        assert_eq!(path(&["tidegate", "check", "a"]), Some("a".into()));
        assert_eq!(path(&["tidegate", "check", "--config", "a"]), Some("a".into()));
        assert_eq!(path(&["tidegate", "check"]), Some(DEFAULT_CONFIG.into()));
        assert_eq!(path(&["tidegate", "check", "a", "--config", "b"]), None);
    }
}
