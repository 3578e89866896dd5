//! `tidegate status`: how the door is, on one screen.
//!
//! Asks the Unix socket, so whoever may open it may see it. `--json` prints what the door says,
//! word for word, with the pools inside.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::UnixStream;

use crate::admin::DEFAULT_SOCKET;
use crate::admin::view::{PoolView, StatusView};
use crate::cli::FAILED;
use crate::command::{complain, say};

mod screen;

/// For one question, from connect to the last byte.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Between two screens of `--watch`.
const EVERY: Duration = Duration::from_secs(1);

/// An answer that is larger is none of ours.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// Ask a running door.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Print again every second until Ctrl-C
    #[arg(long)]
    pub watch: bool,
    /// Unix socket of the door [default: /run/tidegate/admin.sock]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
}

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
enum StatusError {
    #[error(
        "no door is running: nobody answers on `{}`\n\
         start one with `tidegate run FILE`, or name its socket (`[admin] unix`) with `--socket PATH`",
        .0.display()
    )]
    NotRunning(PathBuf),
    #[error(
        "you may not open `{}`; run this as a member of the socket's group, or with sudo",
        .0.display()
    )]
    Denied(PathBuf),
    #[error("`{}` does not answer as a door does: {reason}; is it the socket of `[admin] unix`?", path.display())]
    Strange { path: PathBuf, reason: String },
}

#[derive(Deserialize)]
struct Pools {
    pools: Vec<PoolView>,
}

/// Prints the status and ends with 0, or says why it cannot and ends with 1.
pub fn main(args: Args) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("error: cannot start: {error}\n"));
            return ExitCode::from(FAILED);
        }
    };
    match runtime.block_on(show(&args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("error: {error}\n"));
            ExitCode::from(FAILED)
        }
    }
}

async fn show(args: &Args) -> Result<(), StatusError> {
    let socket = args.socket.as_deref().unwrap_or(Path::new(DEFAULT_SOCKET));
    let stdout = io::stdout();
    let style = screen::Style {
        has_colour: stdout.is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        is_redrawn: stdout.is_terminal() && args.watch && !args.json,
    };
    loop {
        say(&page(args, socket, style).await?);
        if !args.watch {
            return Ok(());
        }
        tokio::select! {
            _ = tokio::signal::ctrl_c() => return Ok(()),
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

async fn page(args: &Args, socket: &Path, style: screen::Style) -> Result<String, StatusError> {
    let strange = |reason: serde_json::Error| StatusError::Strange {
        path: socket.to_owned(),
        reason: reason.to_string(),
    };
    let (status, pools) = (get(socket, "/v1/status").await?, get(socket, "/v1/pools").await?);
    if args.json {
        let mut all: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(&status).map_err(strange)?;
        let pools: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(&pools).map_err(strange)?;
        all.extend(pools);
        // One line each when watching, so that a reader can tell them apart.
        let text = if args.watch {
            serde_json::to_string(&all)
        } else {
            serde_json::to_string_pretty(&all)
        };
        return Ok(text.map_err(strange)? + "\n");
    }
    let status: StatusView = serde_json::from_slice(&status).map_err(strange)?;
    let Pools { pools } = serde_json::from_slice(&pools).map_err(strange)?;
    Ok(screen::draw(&status, &pools, style))
}

async fn get(socket: &Path, path: &str) -> Result<Bytes, StatusError> {
    let strange = |reason: String| StatusError::Strange { path: socket.to_owned(), reason };
    match tokio::time::timeout(TIMEOUT, ask(socket, path)).await {
        Ok(Ok((StatusCode::OK, body))) => Ok(body),
        Ok(Ok((status, _))) => Err(strange(format!("`{path}` gave {status}"))),
        Ok(Err(error)) => Err(match error.downcast::<io::Error>() {
            Ok(error) => match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                    StatusError::NotRunning(socket.to_owned())
                }
                io::ErrorKind::PermissionDenied => StatusError::Denied(socket.to_owned()),
                _ => strange(error.to_string()),
            },
            Err(error) => strange(error.to_string()),
        }),
        Err(_) => Err(strange(format!("no answer within {} s", TIMEOUT.as_secs()))),
    }
}

type AnyError = Box<dyn std::error::Error + Send + Sync>;

async fn ask(socket: &Path, path: &str) -> Result<(StatusCode, Bytes), AnyError> {
    let stream = UnixStream::connect(socket).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(path)
        .header(header::HOST, "localhost")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    let answer = async {
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await?;
        Ok((status, body.to_bytes()))
    };
    // Both on this task: the connection only moves while it is polled.
    let (answer, _) = tokio::join!(answer, connection);
    answer
}

#[cfg(test)]
mod tests;
