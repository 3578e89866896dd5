//! `tidegate run`: opens the door and carries traffic until told to stop.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::admin::{ReloadError, ReloadView};
use crate::app::{App, Order, Origin, Predecessor, StartError, Successor, announce};
use crate::cli::{ConfigFile, FAILED, INVALID_CONFIG};
use crate::config::{self, Config};
use crate::telemetry::events::EventRing;
use crate::telemetry::{self, lines};
use scaler::ports::with_causes;
use upgrade::Upgrade;

mod upgrade;

/// Open the door.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to run with.
    #[command(flatten)]
    pub file: ConfigFile,
    /// Take over from the door that runs, without a refused connection. SOCKET is where it takes
    /// orders [default: `[admin] unix` of FILE]
    #[arg(long, value_name = "SOCKET", num_args = 0..=1, require_equals = true)]
    pub take_over: Option<Option<PathBuf>>,
}

/// Runs until a signal ends it.
pub fn main(args: Args) -> ExitCode {
    let path = args.file.path();
    let loaded = config::load(path);
    lines::say(&config::render_text(&loaded.problems));
    let (effective, compared) = (loaded.effective(true), loaded.compared());
    let origin = Origin { file: path.to_owned(), effective, compared };
    let Some(config) = loaded.config else {
        lines::say(&format!("{} is not valid; nothing was started\n", path.display()));
        lines::finish();
        return ExitCode::from(INVALID_CONFIG);
    };
    let events = EventRing::new();
    telemetry::log::start(&config.observe.log, &events);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ran = match runtime {
        Ok(runtime) => {
            let ran = runtime.block_on(carry(config, origin, events, args.take_over));
            // A file that is still being read holds up nobody.
            runtime.shutdown_background();
            ran
        }
        Err(error) => Err(error.to_string()),
    };
    let code = match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            lines::say(&format!("error: {text}\n"));
            ExitCode::from(FAILED)
        }
    };
    lines::finish();
    code
}

async fn carry(
    config: Config,
    origin: Origin,
    events: Arc<EventRing>,
    take_over: Option<Option<PathBuf>>,
) -> Result<(), String> {
    let hear = |kind| signal(kind).map_err(|error| format!("cannot hear signals: {error}"));
    // Heard from here on: a signal during the start must not kill half a door.
    let mut signals = Signals {
        terminate: hear(SignalKind::terminate())?,
        interrupt: hear(SignalKind::interrupt())?,
        reopen: hear(SignalKind::user_defined1())?,
        reload: hear(SignalKind::hangup())?,
        unused: hear(SignalKind::user_defined2())?,
    };
    let file = origin.file.clone();
    let started = tokio::select! {
        started = start(config, origin, events, take_over) => started,
        // What was open so far closes with it; no client has been served.
        () = signals.stop() => return told_to_stop(),
    };
    let mut app = started.map_err(|error| with_causes(&error))?;
    lines::say(&announce(&app, &file));
    // Not under systemd: nobody to tell, which is no failure.
    let _ = sd_notify::notify(&[NotifyState::Ready]);

    let (hurry, hurried) = watch::channel(false);
    match serve(&mut app, &mut signals, &file).await {
        End::Stop => {
            let _ = sd_notify::notify(&[NotifyState::Stopping]);
            tracing::info!("stopping: running requests end first; a second signal ends them now");
            hurry_at_signal(app.stop(hurried), &mut signals, &hurry).await;
        }
        End::HandedOver => {
            tracing::info!("running requests end first; a signal ends them now");
            hurry_at_signal(app.follow(hurried), &mut signals, &hurry).await;
        }
    }
    Ok(())
}

async fn start(
    config: Config,
    origin: Origin,
    events: Arc<EventRing>,
    take_over: Option<Option<PathBuf>>,
) -> Result<App, StartError> {
    let predecessor = match take_over {
        None => None,
        Some(socket) => {
            let socket = socket.or_else(|| config.admin.unix.clone());
            let socket = socket.ok_or(StartError::NoSocket)?;
            Some(Predecessor::meet(&socket).await?)
        }
    };
    App::start(config, origin, events, predecessor).await
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    reopen: Signal,
    reload: Signal,
    /// By default it would end the process, and it is one letter from the one that reopens logs.
    unused: Signal,
}

impl Signals {
    /// Returns when the door is told to stop. Cancel-safe.
    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Why a door does not accept any more.
enum End {
    /// It was told to stop.
    Stop,
    /// Another process does.
    HandedOver,
}

/// Carries out signals and orders until the door is to end.
async fn serve(app: &mut App, signals: &mut Signals, file: &Path) -> End {
    let mut upgrade = None;
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => return End::Stop,
            _ = signals.interrupt.recv() => return End::Stop,
            _ = signals.reopen.recv() => app.reopen_logs(),
            _ = signals.unused.recv() => tracing::info!("SIGUSR2 has no meaning here"),
            _ = signals.reload.recv() => {
                if take_up(app, signals).await.is_none() {
                    return End::Stop;
                }
            }
            () = upgrade::failed(&mut upgrade) => {}
            Some(order) = app.next_order() => match order {
                Order::Reload(asked) => match take_up(app, signals).await {
                    // Who asked may have gone; the reload stands.
                    Some(result) => drop(asked.send(result)),
                    None => return End::Stop,
                },
                Order::Upgrade(asked) => {
                    upgrade::begin(&mut upgrade, asked, file, app.admin().socket());
                }
                Order::HandOver(line) => {
                    let prepared = tokio::select! {
                        prepared = app.prepare(line) => prepared,
                        () = signals.stop() => return End::Stop,
                    };
                    match prepared {
                        Ok(successor) => {
                            leave(app, successor, upgrade).await;
                            return End::HandedOver;
                        }
                        Err(error) => tracing::warn!(reason = %error, "hand_over_failed"),
                    }
                }
            },
        }
    }
}

/// Lets a successor have the door, and tells whom it concerns.
async fn leave(app: &mut App, successor: Successor, upgrade: Option<Upgrade>) {
    let hello = successor.hello.clone();
    // Before it hears that we left: what it tells the service manager then counts.
    let _ = sd_notify::notify(&[NotifyState::MainPid(hello.pid)]);
    app.leave(successor).await;
    if let Some(upgrade) = upgrade {
        upgrade.succeeded(&hello);
    }
}

/// Waits for the end of a door, which a signal makes a sudden one.
async fn hurry_at_signal(
    ended: impl Future<Output = ()>,
    signals: &mut Signals,
    hurry: &watch::Sender<bool>,
) {
    tokio::pin!(ended);
    tokio::select! {
        () = &mut ended => return,
        () = signals.stop() => {}
    }
    hurry.send_replace(true);
    ended.await;
}

/// Reloads, and tells the service manager and standard error of it. `None` if the door is told to
/// stop while the files are read, which may take for ever.
async fn take_up(app: &mut App, signals: &mut Signals) -> Option<Result<ReloadView, ReloadError>> {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        let _ = sd_notify::notify(&[NotifyState::Reloading, now]);
    }
    let read = tokio::select! {
        read = app.read() => read,
        () = signals.stop() => return None,
    };
    let result = app.reload(read).await;
    match &result {
        Ok(view) => {
            lines::say(&view.warnings);
            for note in &view.needs_restart {
                tracing::warn!("{note}");
            }
        }
        Err(error) => lines::say(&format!("{error}\nthe configuration stays as it was\n")),
    }
    let _ = sd_notify::notify(&[NotifyState::Ready]);
    Some(result)
}

/// Being told to stop is no failure, whatever was not open yet.
fn told_to_stop() -> Result<(), String> {
    tracing::info!("told to stop before the door was open");
    Ok(())
}
