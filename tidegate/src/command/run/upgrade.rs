//! The program started anew beside itself, to take over: `tidegate upgrade`, `POST /v1/upgrade`.
//!
//! The door that runs starts it, and not who asks, so that it has the user, the rights, the
//! sandbox and the standard streams that the service manager gave.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::admin::{UpgradeError, UpgradeView};
use crate::hand_over::Hello;

/// For the whole of it; what has not taken over by then is ended.
const LIMIT: Duration = Duration::from_secs(90);
/// How often a new process is looked at.
const LOOK: Duration = Duration::from_millis(50);

type Asked = oneshot::Sender<Result<UpgradeView, UpgradeError>>;

/// A new process that has not taken over yet.
pub(super) struct Upgrade {
    asked: Asked,
    pid: u32,
    /// Why it ended.
    failed: oneshot::Receiver<String>,
    /// Dropped when it has taken over: it is nobody's to end then.
    _watch: oneshot::Sender<()>,
}

/// Starts the program, unless one is starting already. Who asked hears of it in the end.
pub(super) fn begin(
    upgrade: &mut Option<Upgrade>,
    asked: Asked,
    file: &Path,
    socket: Option<&Path>,
) {
    let refuse = |asked: Asked, why: UpgradeError| drop(asked.send(Err(why)));
    if upgrade.is_some() {
        return refuse(asked, UpgradeError::Busy);
    }
    match start(file, socket).and_then(watch) {
        Ok((pid, failed, watch)) => {
            *upgrade = Some(Upgrade { asked, pid, failed, _watch: watch });
        }
        Err(error) => {
            let text = format!("the program could not be started: {error}");
            tracing::error!(reason = text, "hand_over_failed");
            refuse(asked, UpgradeError::Failed(text));
        }
    }
}

/// Returns when a new process has ended without having taken over, and says so to who asked.
/// Cancel-safe.
pub(super) async fn failed(upgrade: &mut Option<Upgrade>) {
    let Some(running) = upgrade else { return std::future::pending().await };
    let why = (&mut running.failed).await;
    let why = why.unwrap_or_else(|_| "nobody watched the new process".to_owned());
    tracing::error!(reason = why, "hand_over_failed");
    if let Some(upgrade) = upgrade.take() {
        let _ = upgrade.asked.send(Err(UpgradeError::Failed(why)));
    }
}

/// Its id, why it ended, and what is to be dropped when it has taken over.
type Watched = (u32, oneshot::Receiver<String>, oneshot::Sender<()>);

/// Watches a new process, and ends one that cannot be watched.
fn watch(child: Child) -> io::Result<Watched> {
    let pid = child.id();
    let (tell, failed) = oneshot::channel();
    let (watch, watched) = oneshot::channel::<()>();
    // The thread gets the process once there is a thread: without one the process is ours to end.
    let (give, given) = mpsc::channel::<Child>();
    // Not a task: it may outlast the runtime, and the process ends without waiting for it.
    let thread = thread::Builder::new().name("upgrade".to_owned()).spawn(move || {
        if let Ok(child) = given.recv() {
            let _ = tell.send(wait(child, watched));
        }
    });
    match thread {
        Ok(_) => {
            // It waits for nothing else.
            let _ = give.send(child);
            Ok((pid, failed, watch))
        }
        Err(error) => {
            end(child);
            Err(error)
        }
    }
}

/// Returns with the reason when it has ended, which it has to while it has not taken over in time.
fn wait(mut child: Child, mut watched: oneshot::Receiver<()>) -> String {
    let mut patience = LIMIT;
    loop {
        match child.try_wait() {
            Ok(None) => {}
            Ok(Some(status)) => return ended(status),
            Err(error) => return format!("the new process is lost: {error}"),
        }
        let has_taken_over = watched.try_recv() == Err(oneshot::error::TryRecvError::Closed);
        if patience.is_zero() && !has_taken_over {
            let _ = child.kill();
        }
        thread::sleep(LOOK);
        patience = patience.saturating_sub(LOOK);
    }
}

fn end(mut child: Child) {
    if child.kill().is_ok() {
        let _ = child.wait();
    }
}

impl Upgrade {
    /// A process has taken over: this one, if nobody else was quicker.
    pub(super) fn succeeded(self, hello: &Hello) {
        let Hello { pid, version } = hello.clone();
        let view = UpgradeView { pid, version, previous_pid: std::process::id() };
        let result = match pid == self.pid {
            true => Ok(view),
            false => Err(UpgradeError::Failed(format!("process {pid} has taken over instead"))),
        };
        let _ = self.asked.send(result);
    }
}

fn ended(status: ExitStatus) -> String {
    let hint = match status.code() {
        Some(78) => "it refuses the configuration, see `tidegate check`",
        _ => "its last words are in the log",
    };
    format!("the new process ended before it took over ({status}); {hint}")
}

/// The file that the command line named, which may be another program by now.
fn start(file: &Path, socket: Option<&Path>) -> io::Result<Child> {
    let program =
        std::env::args_os().next().filter(|name| Path::new(name).components().count() > 1);
    let program = program.map_or_else(|| std::env::current_exe().map(Into::into), Ok)?;
    let mut take_over = OsString::from("--take-over");
    if let Some(socket) = socket {
        take_over.push("=");
        take_over.push(socket);
    }
    Command::new(program)
        .arg("run")
        .arg(file)
        .arg(take_over)
        // Ours come by hand; those of a service manager were for this process alone.
        .env_remove("LISTEN_FDS")
        .env_remove("LISTEN_PID")
        .env_remove("LISTEN_FDNAMES")
        .stdin(Stdio::null())
        .spawn()
}
