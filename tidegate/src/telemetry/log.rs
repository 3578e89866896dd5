//! What the program says of itself, on standard error and in the ring of events.

use std::io::IsTerminal;
use std::sync::Arc;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, fmt};

use super::events::EventRing;
use super::lines;
use crate::config::{LogConfig, LogFormat};

/// Installs the subscriber of the process; `false` if there was one already.
///
/// Nobody waits for whoever reads standard error ([`lines`]). The ring takes events whatever the
/// level of the log.
pub fn start(config: &LogConfig, events: &Arc<EventRing>) -> bool {
    lines::tell_panics();
    let written = fmt::layer().with_writer(|| lines::Line);
    let written = match config.format {
        LogFormat::Json => written.json().flatten_event(true).boxed(),
        LogFormat::Text => {
            let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            written.with_ansi(colour).with_target(false).boxed()
        }
    };
    let written = written.with_filter(level(&config.level));
    let events = events.layer().with_filter(LevelFilter::INFO);
    let subscriber = tracing_subscriber::registry().with(written).with(events);
    tracing::subscriber::set_global_default(subscriber).is_ok()
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
