//! Another configuration for a door that runs: all of it or nothing.
//!
//! Whatever can fail comes first: the file is proven, the files of the access log are opened, new
//! addresses are bound, further workers are started. Only then is anything changed, and nothing of
//! that can fail. What cannot change while the process lives is named.

use std::sync::Arc;
use std::time::Duration;

use balancer::access_log::AccessLogConfig;
use balancer::config::DoorConfig;
use balancer::door::Changed;

use super::{App, LAST_LINES, Log, Origin, Running, descriptors};
use crate::admin::{ReloadError, ReloadView};
use crate::config::{self, Config, Loaded};
use crate::{alerts, cloudwatch, scaling};
use scaler::ports::with_causes;

/// For reading all files of a configuration. A disk that does not answer keeps orders and signals
/// waiting for no longer.
const READ_LIMIT: Duration = Duration::from_secs(10);

/// What holds from the start of the process to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fixed(Vec<(&'static str, String)>);

impl Fixed {
    pub(super) fn of(config: &Config) -> Fixed {
        let shown = |value: Option<String>| value.unwrap_or_else(|| "off".to_owned());
        let unix = config.admin.unix.as_ref().map(|path| path.display().to_string());
        let log = &config.observe.log;
        Fixed(vec![
            ("site.name", config.site.name.clone()),
            ("site.state_dir", config.site.state_dir.display().to_string()),
            ("site.seed", shown(config.site.seed.map(|seed| seed.to_string()))),
            ("admin.unix", shown(unix)),
            ("admin.listen", shown(config.admin.listen.map(|address| address.to_string()))),
            (
                "observe.metrics.listen",
                shown(config.observe.metrics.map(|address| address.to_string())),
            ),
            ("scalers", scaling::fingerprint(config)),
            ("alerts", alerts::summary(&config.alerts)),
            ("observe.cloudwatch", cloudwatch::summary(config.observe.cloudwatch.as_ref())),
            ("observe.log.level", log.level.clone()),
            ("observe.log.format", format!("{:?}", log.format).to_lowercase()),
        ])
    }

    /// One sentence for each that the file has otherwise now.
    fn differences(&self, config: &Config) -> Vec<String> {
        let wanted = Fixed::of(config);
        let pairs = self.0.iter().zip(&wanted.0).filter(|(running, wanted)| running != wanted);
        let say = |((key, running), (_, wanted)): (&(_, String), &(_, String))| {
            format!("`{key}` stays `{running}` until a restart; the file says `{wanted}`")
        };
        pairs.map(say).collect()
    }
}

impl App {
    /// Reads the file again, for [`App::reload`]. Cancel-safe: nothing has changed then.
    ///
    /// # Errors
    ///
    /// A fault of ours while it was read.
    pub async fn read(&self) -> Result<Loaded, ReloadError> {
        let file = self.running.borrow().origin.file.clone();
        // The disk may be slow, and checks and admin go on meanwhile.
        let reading = tokio::task::spawn_blocking(move || config::load(&file));
        match tokio::time::timeout(READ_LIMIT, reading).await {
            Ok(loaded) => loaded.map_err(|error| ReloadError::Failed(error.to_string())),
            Err(_) => {
                let limit = READ_LIMIT.as_secs();
                let text = format!(
                    "the configuration could not be read within {limit} s: is its disk there?"
                );
                Err(ReloadError::Failed(text))
            }
        }
    }

    /// Takes up what was read, whole or not at all.
    ///
    /// # Errors
    ///
    /// All problems of the file, or what could not be opened. Nothing has changed then.
    pub async fn reload(
        &mut self,
        read: Result<Loaded, ReloadError>,
    ) -> Result<ReloadView, ReloadError> {
        let result = match read {
            Ok(loaded) => self.adopt(loaded).await,
            Err(error) => Err(error),
        };
        match &result {
            Ok(view) => tracing::info!(
                generation = view.generation,
                changes = view.changes.lines().count(),
                needs_restart = view.needs_restart.len(),
                "config_reloaded"
            ),
            Err(error) => {
                let text = error.to_string();
                let reason = text.lines().next().unwrap_or_default();
                tracing::error!(reason, "reload_failed");
                self.telemetry.reloaded(None);
                self.note(|running| running.last_error = Some(reason.to_owned()));
            }
        }
        result
    }

    async fn adopt(&mut self, loaded: Loaded) -> Result<ReloadView, ReloadError> {
        let problems = config::render_text(&loaded.problems);
        let (effective, compared) = (loaded.effective(true), loaded.compared());
        let Some(mut config) = loaded.config else { return Err(ReloadError::Invalid(problems)) };
        let needs_restart = self.fixed.differences(&config);
        self.keep_what_stays(&mut config.door);

        let log = self.next_log(config.observe.access_log.as_ref())?;
        let source = match &log {
            NextLog::Same => self.log.as_ref().map(|log| Arc::clone(&log.source)),
            NextLog::Other(log) => log.as_ref().map(|log| Arc::clone(&log.source)),
        };
        let (capacity, _) = descriptors::capacity(&config, descriptors::limit());
        let names: Vec<_> =
            config.door.listeners.iter().map(|listener| Arc::clone(&listener.name)).collect();
        let changed = match self.door.change(config.door, source, capacity).await {
            Ok(changed) => changed,
            Err(error) => {
                if let NextLog::Other(Some(log)) = log {
                    stop_log(log).await;
                }
                return Err(ReloadError::Failed(with_causes(&error)));
            }
        };

        if let NextLog::Other(log) = log {
            self.telemetry.set_access_log(log.as_ref().map(|log| Arc::clone(log.writer.drops())));
            if let Some(earlier) = std::mem::replace(&mut self.log, log) {
                stop_log(earlier).await;
            }
        }
        self.drain = config.drain;
        let changes = config::diff(&self.running.borrow().origin.compared, &compared);
        let listeners = names.into_iter().zip(self.door.addresses()).collect();
        self.note(|running| {
            let origin = Origin { file: running.origin.file.clone(), effective, compared };
            *running = Running::new(origin, listeners);
            running.needs_restart.clone_from(&needs_restart);
        });
        self.telemetry.reloaded(Some(&self.running.borrow().hash));
        let Changed { generation, is_acknowledged } = changed;
        Ok(ReloadView { generation, is_acknowledged, changes, needs_restart, warnings: problems })
    }

    /// What the file does not say and what cannot change.
    fn keep_what_stays(&self, next: &mut DoorConfig) {
        let running = self.door.roster().snapshot();
        let running = &running.config;
        next.site = Arc::clone(&running.site);
        next.seed = running.seed;
        // A random key that changed would end every session.
        for route in &mut next.routes {
            let Some(sticky) = route.sticky.as_mut().filter(|sticky| sticky.is_key_random) else {
                continue;
            };
            let same = running.routes.iter().find(|other| other.route.name == route.route.name);
            if let Some(known) = same.and_then(|other| other.sticky.as_ref())
                && known.is_key_random
            {
                sticky.key = Arc::clone(&known.key);
            }
        }
    }

    fn next_log(&self, wanted: Option<&AccessLogConfig>) -> Result<NextLog, ReloadError> {
        if self.log.as_ref().map(|log| &log.config) == wanted {
            return Ok(NextLog::Same);
        }
        let opened = wanted.map(Log::open).transpose();
        opened.map(NextLog::Other).map_err(|error| ReloadError::Failed(with_causes(&error)))
    }

    fn note(&self, change: impl FnOnce(&mut Running)) {
        self.running.send_modify(|running| {
            let mut next = Running::clone(running);
            change(&mut next);
            *running = Arc::new(next);
        });
    }
}

enum NextLog {
    Same,
    Other(Option<Log>),
}

/// Waits for its last lines elsewhere: a pipe that nobody reads must not hold up the door.
async fn stop_log(log: Log) {
    let _ = tokio::task::spawn_blocking(move || log.writer.stop(LAST_LINES)).await;
}
