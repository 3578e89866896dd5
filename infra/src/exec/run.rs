//! One run of a program: something in, something out, within a time and a size.
//!
//! No thread waits for it: its pipes are events of the runtime, and its end is looked for while it
//! runs. Whoever drops the future ends the program with everything in its group.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::time::MissedTickBehavior;

use crate::program;

/// An answer that is longer is none; some ten thousand instances fit.
const LONGEST: usize = 4 << 20;

/// Of its standard error, for people.
const COMPLAINT: usize = 4 << 10;

/// Between two looks whether it has ended.
const LOOK: Duration = Duration::from_millis(20);

/// After its end, what it wrote lies in its pipes; somebody else may hold them open.
const REST: Duration = Duration::from_millis(500);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum RunError {
    /// It is not there, or may not be run.
    #[error("{0}")]
    NotFound(String),
    /// The system did not start it.
    #[error("it could not be started: {0}")]
    Start(#[source] io::Error),
    /// It was killed.
    #[error("it gave no answer within {0:?}")]
    Late(Duration),
    /// It was killed.
    #[error("it wrote more than {LONGEST} bytes")]
    Long,
    /// What it did is not known.
    #[error("it ended with {status}: {complaint}")]
    Failed {
        /// Code or signal.
        status: ExitStatus,
        /// The begin of its standard error.
        complaint: String,
    },
    /// Its pipes broke.
    #[error("it could not be read: {0}")]
    Io(#[from] io::Error),
}

/// Runs `command` with `input` and gives what it wrote, if it ended with 0.
pub(super) async fn run(
    command: &[String],
    env: &BTreeMap<String, String>,
    input: &[u8],
    limit: Duration,
) -> Result<Vec<u8>, RunError> {
    let mut running = Running::start(command, env)?;
    match tokio::time::timeout(limit, running.answer(input)).await {
        Ok(answer) => answer,
        Err(_) => Err(RunError::Late(limit)),
    }
}

/// A program and our ends of its pipes.
struct Running {
    /// Until it has been waited for.
    child: Option<Child>,
    stdin: Option<Sender>,
    stdout: Receiver,
    stderr: Receiver,
}

impl Running {
    fn start(command: &[String], env: &BTreeMap<String, String>) -> Result<Running, RunError> {
        let empty = || RunError::NotFound("the command is empty".to_owned());
        let (name, arguments) = command.split_first().ok_or_else(empty)?;
        let path = program::find(name).map_err(RunError::NotFound)?;
        let mut child = Command::new(path)
            .args(arguments)
            .env_clear()
            .envs(program::environment())
            .envs(env)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(RunError::Start)?;
        match pipes(&mut child) {
            Ok((stdin, stdout, stderr)) => {
                Ok(Running { child: Some(child), stdin: Some(stdin), stdout, stderr })
            }
            Err(error) => {
                bury(child);
                Err(RunError::Start(error))
            }
        }
    }

    async fn answer(&mut self, input: &[u8]) -> Result<Vec<u8>, RunError> {
        let (mut out, mut complaint) = (Vec::new(), Vec::new());
        let status = self.talk(input, &mut out, &mut complaint).await?;
        match status.success() {
            true => Ok(out),
            false => Err(RunError::Failed { status, complaint: first_line(&complaint) }),
        }
    }

    /// Writes and reads until it has ended.
    async fn talk(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
        complaint: &mut Vec<u8>,
    ) -> Result<ExitStatus, RunError> {
        let stdin = self.stdin.take();
        let write = async {
            if let Some(mut stdin) = stdin {
                // One that does not want to know everything may still answer.
                let _ = stdin.write_all(input).await;
            }
            Ok(())
        };
        let pipes = async {
            tokio::try_join!(
                write,
                read(&mut self.stdout, out, LONGEST, true),
                read(&mut self.stderr, complaint, COMPLAINT, false),
            )
        };
        tokio::pin!(pipes);
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_read = false;
        loop {
            tokio::select! {
                read = &mut pipes, if !is_read => {
                    read?;
                    is_read = true;
                }
                _ = look.tick() => {
                    let Some(status) = ended(&mut self.child)? else { continue };
                    if !is_read && let Ok(read) = tokio::time::timeout(REST, &mut pipes).await {
                        read?;
                    }
                    return Ok(status);
                }
            }
        }
    }
}

fn pipes(child: &mut Child) -> io::Result<(Sender, Receiver, Receiver)> {
    let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
    let stdin = Sender::from_owned_fd(child.stdin.take().ok_or_else(gone)?.into())?;
    let stdout = Receiver::from_owned_fd(child.stdout.take().ok_or_else(gone)?.into())?;
    let stderr = Receiver::from_owned_fd(child.stderr.take().ok_or_else(gone)?.into())?;
    Ok((stdin, stdout, stderr))
}

/// How it ended, once it has; it is taken away then, because its id may be somebody else's.
fn ended(child: &mut Option<Child>) -> io::Result<Option<ExitStatus>> {
    let status = match child {
        Some(running) => running.try_wait()?,
        None => return Err(io::ErrorKind::NotFound.into()),
    };
    if status.is_some() {
        child.take();
    }
    Ok(status)
}

impl Drop for Running {
    /// Only one that has not been waited for is still here, so that its id is its own.
    fn drop(&mut self) {
        if let Some(child) = self.child.take() {
            bury(child);
        }
    }
}

/// Kills it with its group, and waits elsewhere: a process that hangs in the kernel does not die at
/// once.
fn bury(mut child: Child) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = rustix::process::kill_process_group(group, Signal::KILL);
    }
    let buried = thread::Builder::new().name("burial".to_owned()).spawn(move || child.wait());
    // Without a thread it stays in the table of processes until we end.
    drop(buried);
}

/// Reads to the end. What goes beyond `most` is an error where `is_whole`, else it is dropped.
async fn read(
    from: &mut (impl AsyncRead + Unpin),
    into: &mut Vec<u8>,
    most: usize,
    is_whole: bool,
) -> Result<(), RunError> {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        let room = most - into.len();
        if count > room && is_whole {
            return Err(RunError::Long);
        }
        into.extend_from_slice(&buffer[..count.min(room)]);
    }
}

/// Short enough for a line of a log, without anything that a terminal would obey.
fn first_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
    line.trim().chars().filter(|c| !c.is_control()).take(200).collect()
}
