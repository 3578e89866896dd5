//! `[pools.*.health]` and `[defaults.health]`, as proven values.

use std::sync::Arc;
use std::time::Duration;

/// How a pool's backends are asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthConfig {
    /// What one probe does.
    pub probe: ProbeKind,
    /// Port to ask instead of the backend's own.
    pub port: Option<u16>,
    /// Between two probes of a backend that is held healthy; half of it while it is unhealthy.
    pub interval: Duration,
    /// Share of `interval` by which each is shifted at random, 0 to 50, in percent.
    pub jitter_percent: u8,
    /// For one probe from connect to the end of the answer's head (and body, where it is looked at).
    pub timeout: Duration,
    /// Passes in a row that make an unhealthy backend healthy, at least 1.
    pub healthy_after: u32,
    /// Failures in a row that make a healthy backend unhealthy, at least 1.
    pub unhealthy_after: u32,
}

/// What counts as a pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeKind {
    /// The connection is accepted.
    Tcp,
    /// `grpc.health.v1.Health/Check` over HTTP/2 without TLS answers `SERVING`.
    Grpc {
        /// Which service of the backend is asked for; empty asks for the backend as a whole.
        service: Arc<str>,
        /// The `:authority`; the backend's address when `None`.
        host: Option<Arc<str>>,
    },
    /// `GET path` answers with an expected status (and body).
    Http {
        /// Origin form, begins with `/`.
        path: Arc<str>,
        /// Value of `Host`; the backend's address when `None`.
        host: Option<Arc<str>>,
        /// Inclusive ranges of status codes that pass.
        status: Vec<(u16, u16)>,
        /// Must occur in the first 64 KiB of the body.
        body_contains: Option<Arc<str>>,
    },
}
