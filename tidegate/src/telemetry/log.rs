//! What the program says of itself, on standard error.

use std::io::IsTerminal;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt;

use crate::config::{LogConfig, LogFormat};

/// Installs the subscriber of the process; `false` if there was one already.
///
/// Events are written by the thread where they happen. They are of the control path and few; a
/// worker's own are rate-limited where they arise.
pub fn start(config: &LogConfig) -> bool {
    let builder = fmt().with_max_level(level(&config.level)).with_writer(std::io::stderr);
    match config.format {
        LogFormat::Json => builder.json().flatten_event(true).try_init().is_ok(),
        LogFormat::Text => {
            let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            builder.with_ansi(colour).with_target(false).try_init().is_ok()
        }
    }
}

/// The configuration allows these words only; any other is read as its default.
fn level(word: &str) -> LevelFilter {
    word.parse().unwrap_or(LevelFilter::INFO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_of_the_configuration_is_known() {
        let levels = ["error", "warn", "info", "debug", "trace"].map(level);
        let expected = [
            LevelFilter::ERROR,
            LevelFilter::WARN,
            LevelFilter::INFO,
            LevelFilter::DEBUG,
            LevelFilter::TRACE,
        ];
        assert_eq!(levels, expected);
    }
}
