//! `tidegate run`: opens the door and carries traffic until told to stop.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::admin::{ReloadError, ReloadView};
use crate::app::{App, Order, Origin, announce};
use crate::cli::{ConfigFile, FAILED, INVALID_CONFIG};
use crate::command::{complain, with_causes};
use crate::config::{self, Config};
use crate::telemetry;
use crate::telemetry::events::EventRing;

/// Open the door.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to run with.
    #[command(flatten)]
    pub file: ConfigFile,
}

/// Requests that still run this long after the signal are cut. Below systemd's usual 90 s.
const DRAIN_LIMIT: Duration = Duration::from_secs(75);

/// Runs until a signal ends it.
pub fn main(args: Args) -> ExitCode {
    let path = args.file.path();
    let loaded = config::load(path);
    complain(&config::render_text(&loaded.problems));
    let origin = Origin { file: path.to_owned(), effective: loaded.effective(true) };
    let Some(config) = loaded.config else {
        complain(&format!("{} is not valid; nothing was started\n", path.display()));
        return ExitCode::from(INVALID_CONFIG);
    };
    let events = EventRing::new();
    telemetry::log::start(&config.observe.log, &events);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ran = match runtime {
        Ok(runtime) => runtime.block_on(carry(config, origin, events)),
        Err(error) => Err(error.to_string()),
    };
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            complain(&format!("error: {text}\n"));
            ExitCode::from(FAILED)
        }
    }
}

async fn carry(config: Config, origin: Origin, events: Arc<EventRing>) -> Result<(), String> {
    let hear = |kind| signal(kind).map_err(|error| format!("cannot hear signals: {error}"));
    // Heard from here on: a signal during the start must not kill half a door.
    let mut terminate = hear(SignalKind::terminate())?;
    let mut interrupt = hear(SignalKind::interrupt())?;
    let mut reopen = hear(SignalKind::user_defined1())?;
    let mut reload = hear(SignalKind::hangup())?;

    let file = origin.file.clone();
    let started = tokio::select! {
        started = App::start(config, origin, events) => started,
        // What was open so far closes with it; no client has been served.
        _ = terminate.recv() => return told_to_stop(),
        _ = interrupt.recv() => return told_to_stop(),
    };
    let mut app = started.map_err(|error| with_causes(&error))?;
    complain(&announce(&app, &file));
    // Not under systemd: nobody to tell, which is no failure.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);

    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = reopen.recv() => app.reopen_logs(),
            _ = reload.recv() => drop(take_up(&mut app).await),
            Some(order) = app.next_order() => match order {
                // Who asked may have gone; the reload stands.
                Order::Reload(asked) => drop(asked.send(take_up(&mut app).await)),
            },
        }
    }
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    tracing::info!("stopping: running requests end first; a second signal ends them now");
    let (hurry, hurried) = watch::channel(false);
    let stopped = app.stop(DRAIN_LIMIT, hurried);
    tokio::pin!(stopped);
    tokio::select! {
        () = &mut stopped => return Ok(()),
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    hurry.send_replace(true);
    stopped.await;
    Ok(())
}

/// Reloads, and tells the service manager and standard error of it.
async fn take_up(app: &mut App) -> Result<ReloadView, ReloadError> {
    use sd_notify::NotifyState;
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        let _ = sd_notify::notify(&[NotifyState::Reloading, now]);
    }
    let result = app.reload().await;
    match &result {
        Ok(view) => {
            complain(&view.warnings);
            for note in &view.needs_restart {
                tracing::warn!("{note}");
            }
        }
        Err(error) => complain(&format!("{error}\nthe configuration stays as it was\n")),
    }
    let _ = sd_notify::notify(&[NotifyState::Ready]);
    result
}

/// Being told to stop is no failure, whatever was not open yet.
fn told_to_stop() -> Result<(), String> {
    tracing::info!("told to stop before the door was open");
    Ok(())
}
