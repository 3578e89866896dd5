//! One line per request, and the way of that line from a worker to a file.
//!
//! ```text
//! worker ── AccessLog ── line ──► ring ──┐
//! worker ── AccessLog ── line ──► ring ──┼──► one thread, LogWriter ──► files, stdout
//! ```
//!
//! A worker formats into a buffer it keeps and copies the line into a ring of its own, whole or
//! not at all: a full ring or a full disk costs lines, which are counted, and never a request.
//! Nothing is woken; the writer looks every 20 ms.
//!
//! Whatever a client can put into a line is escaped ([`escape`]), so that one line is always one
//! line, and values of secret query parameters are left out ([`redact`]).

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::outcome::Outcome;
use crate::stats::Protocol;

mod digits;
mod escape;
mod line;
mod redact;
mod ring;
mod stamp;
mod target;
mod writer;

pub use line::Formatter;
pub use ring::LogRing;
pub use writer::{LogSource, LogWriter, OpenError};

/// Shape of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object.
    Json,
    /// Apache's "combined": [`Format::Clf`] with referrer and user agent.
    Combined,
    /// The common log format of NCSA httpd.
    Clf,
}

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTarget {
    /// The process's standard output.
    Stdout,
    /// Appended to this file, which is made (mode 0640) if it is not there.
    File(PathBuf),
}

impl fmt::Display for LogTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogTarget::Stdout => f.write_str("stdout"),
            LogTarget::File(path) => path.display().fmt(f),
        }
    }
}

/// `[observe] access_log`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLogConfig {
    /// Each of them gets every line.
    pub targets: Vec<LogTarget>,
    /// Of a line.
    pub format: Format,
    /// Query parameters whose values are not written, whatever their case.
    pub redact_query: Vec<String>,
}

/// What is told of a request. Bytes are as the client sent them.
#[derive(Debug, Clone)]
pub struct Record<'a> {
    /// When its first byte came, in milliseconds since 1970, UTC.
    pub unix_ms: u64,
    /// 32 hexadecimal digits.
    pub trace_id: Option<&'a [u8]>,
    /// As passed on in `X-Request-Id`.
    pub request_id: &'a [u8],
    /// Name of the listener.
    pub listener: &'a str,
    /// Name of the route, if one was found.
    pub route: Option<&'a str>,
    /// Name of the pool, if one was asked.
    pub pool: Option<&'a str>,
    /// The backend that answered, or the last one asked.
    pub backend: Option<&'a str>,
    /// Who asked, after `trusted_proxies`.
    pub client: IpAddr,
    /// Empty if the head could not be read; so are `host` and `path`.
    pub method: &'a [u8],
    /// Of the request.
    pub host: &'a [u8],
    /// Without the query.
    pub path: &'a [u8],
    /// After the first `?`.
    pub query: Option<&'a [u8]>,
    /// What the client spoke.
    pub protocol: Protocol,
    /// As sent; 0 if nothing was.
    pub status: u16,
    /// How it ended.
    pub outcome: Outcome,
    /// Why exactly, where the outcome does not tell.
    pub reason: Option<&'static str>,
    /// Of the request's body.
    pub bytes_in: u64,
    /// Of the answer's body.
    pub bytes_out: u64,
    /// Waiting for a place on a backend; `None` if one was free.
    pub queue_us: Option<u32>,
    /// Until the connection to the backend was there; `None` on a kept one.
    pub connect_us: Option<u32>,
    /// Until the head of the answer was there.
    pub ttfb_us: Option<u32>,
    /// From the first byte of the request to the last of the answer.
    pub total_us: u64,
    /// Attempts beyond the first.
    pub retries: u32,
    /// Value of the field.
    pub user_agent: Option<&'a [u8]>,
    /// Value of the field; its query is redacted too.
    pub referer: Option<&'a [u8]>,
}

/// Lines that were not written, since the start.
#[derive(Debug, Default)]
pub struct LogDrops {
    ring_full: AtomicU64,
    write_failed: AtomicU64,
}

impl LogDrops {
    /// Lines by the value of the label `reason`.
    pub fn by_reason(&self) -> [(&'static str, u64); 2] {
        [
            ("ring_full", self.ring_full.load(Ordering::Relaxed)),
            ("write_failed", self.write_failed.load(Ordering::Relaxed)),
        ]
    }
}

/// A worker's end: formats and hands over.
#[derive(Debug)]
pub struct AccessLog {
    formatter: Formatter,
    line: Vec<u8>,
    ring: LogRing,
}

impl AccessLog {
    /// Writes lines of this shape into `ring`.
    pub fn new(config: &AccessLogConfig, ring: LogRing) -> AccessLog {
        let formatter = Formatter::new(config.format, &config.redact_query);
        AccessLog { formatter, line: Vec::with_capacity(1024), ring }
    }

    /// Writes the line of one request, or counts that it could not. Never waits.
    pub fn write(&mut self, record: &Record<'_>) {
        self.line.clear();
        self.formatter.line(record, &mut self.line);
        self.ring.push(&self.line);
    }

    /// What was dropped, by this worker and all others of its writer.
    pub fn drops(&self) -> &Arc<LogDrops> {
        self.ring.drops()
    }
}
