//! Questions and orders to a running door, over its Unix socket: whoever may open that may ask.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::UnixStream;

use crate::admin::DEFAULT_SOCKET;
use crate::cli::FAILED;
use crate::command::complain;

/// For one question, from connect to the last byte, unless it says that it may take longer.
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// An answer that is larger is none of ours.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// Which door.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Socket {
    /// Unix socket of the door [default: /run/tidegate/admin.sock]
    #[arg(long = "socket", value_name = "PATH", global = true)]
    pub path: Option<PathBuf>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens.
    #[error(
        "no door is running: nobody answers on `{}`\n\
         start one with `tidegate run FILE`, or name its socket (`[admin] unix`) with `--socket PATH`",
        .0.display()
    )]
    NotRunning(PathBuf),
    /// The mode of the socket.
    #[error(
        "you may not open `{}`; run this as a member of the socket's group, or with sudo",
        .0.display()
    )]
    Denied(PathBuf),
    /// Somebody else listens.
    #[error("`{}` does not answer as a door does: {reason}; is it the socket of `[admin] unix`?", path.display())]
    Strange {
        /// Of the socket.
        path: PathBuf,
        /// What is strange.
        reason: String,
    },
    /// The door says no.
    #[error("{detail}")]
    Refused {
        /// Of its answer.
        status: StatusCode,
        /// In its words.
        detail: String,
    },
}

/// The part of a problem document (RFC 9457) that a person reads.
#[derive(Deserialize)]
struct Problem {
    detail: String,
}

/// Runs a command that asks, and ends with 0, or says why it could not and ends with 1.
pub fn main(command: impl Future<Output = Result<(), AskError>>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("error: cannot start: {error}\n"));
            return ExitCode::from(FAILED);
        }
    };
    match runtime.block_on(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("error: {error}\n"));
            ExitCode::from(FAILED)
        }
    }
}

impl Socket {
    /// Where it is.
    pub fn path(&self) -> &Path {
        self.path.as_deref().unwrap_or(Path::new(DEFAULT_SOCKET))
    }

    /// The JSON at a path.
    ///
    /// # Errors
    ///
    /// No door, or none that says what was expected.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, AskError> {
        let body = self.ask(Method::GET, path, None, TIMEOUT).await?;
        serde_json::from_slice(&body).map_err(|error| self.strange(error.to_string()))
    }

    /// The body of the answer to one request.
    ///
    /// # Errors
    ///
    /// There is no door, it does not answer within `limit`, or it says no.
    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        limit: Duration,
    ) -> Result<Bytes, AskError> {
        let exchange = exchange(self.path(), method, path, body);
        let (status, body) = match tokio::time::timeout(limit, exchange).await {
            Ok(answer) => answer.map_err(|error| self.failed(error))?,
            Err(_) => return Err(self.strange(format!("no answer within {} s", limit.as_secs()))),
        };
        if status.is_success() {
            return Ok(body);
        }
        match serde_json::from_slice::<Problem>(&body) {
            Ok(Problem { detail }) => Err(AskError::Refused { status, detail }),
            Err(_) => Err(self.strange(format!("`{path}` gave {status}"))),
        }
    }

    /// The connection itself, once the door has agreed to speak another protocol on it. The door
    /// must not speak first.
    ///
    /// # Errors
    ///
    /// As [`Socket::ask`].
    pub async fn switch(&self, path: &str, protocol: &str) -> Result<UnixStream, AskError> {
        let switched = tokio::time::timeout(TIMEOUT, switch(self.path(), path, protocol)).await;
        let switched = switched.unwrap_or_else(|_| Err("no answer in time".into()));
        match switched.map_err(|error| self.failed(error))? {
            Switched::To(stream) => Ok(stream),
            Switched::Refused(status, body) => match serde_json::from_slice::<Problem>(&body) {
                Ok(Problem { detail }) => Err(AskError::Refused { status, detail }),
                Err(_) => Err(self.strange(format!("`{path}` gave {status}"))),
            },
        }
    }

    /// What answers is no door.
    pub fn strange(&self, reason: String) -> AskError {
        AskError::Strange { path: self.path().to_owned(), reason }
    }

    fn failed(&self, error: AnyError) -> AskError {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        match kind {
            Some(io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                AskError::NotRunning(self.path().to_owned())
            }
            Some(io::ErrorKind::PermissionDenied) => AskError::Denied(self.path().to_owned()),
            _ => self.strange(error.to_string()),
        }
    }
}

type AnyError = Box<dyn std::error::Error + Send + Sync>;

async fn exchange(
    socket: &Path,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<(StatusCode, Bytes), AnyError> {
    let stream = UnixStream::connect(socket).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "localhost")
        .header(header::CONNECTION, "close");
    if body.is_some() {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    let body = body.map(Value::to_string).unwrap_or_default();
    let request = request.body(Full::new(Bytes::from(body)))?;
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

enum Switched {
    To(UnixStream),
    Refused(StatusCode, Bytes),
}

async fn switch(socket: &Path, path: &str, protocol: &str) -> Result<Switched, AnyError> {
    let stream = UnixStream::connect(socket).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection.with_upgrades());
    let request = Request::post(path)
        .header(header::HOST, "localhost")
        .header(header::CONNECTION, "upgrade")
        .header(header::UPGRADE, protocol)
        .body(Full::new(Bytes::new()))?;
    let answer = sender.send_request(request).await?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await?;
        return Ok(Switched::Refused(status, body.to_bytes()));
    }
    let upgraded = hyper::upgrade::on(answer).await?;
    let parts = upgraded.downcast::<TokioIo<UnixStream>>().map_err(|_| "another connection")?;
    Ok(Switched::To(parts.io.into_inner()))
}
