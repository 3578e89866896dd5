//! Why a probe did not pass.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::connect::is_exhausted;

/// Why a probe did not pass. [`ProbeError::is_void`] tells those that are no evidence against the
/// backend.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The backend's machine or port refused, or the network did.
    #[error("cannot connect; start the backend, or correct its address or `health.port`")]
    Connect(#[source] io::Error),
    /// We have nothing left to connect with; the backend was not asked, and the probe is void.
    #[error("no descriptor, port or memory left for a probe; raise the limit of open files")]
    Exhausted(#[source] io::Error),
    /// The time of the whole probe ran out in this phase.
    #[error(
        "no {phase} within `{timeout:?}`; look at the backend's load, or raise `health.timeout`"
    )]
    Timeout {
        /// What we were waiting for.
        phase: Phase,
        /// For the whole probe, as configured.
        timeout: Duration,
    },
    /// A complete head with a status outside `health.status`.
    #[error("answered status `{0}`, which `health.status` does not expect")]
    Status(u16),
    /// The status was right, the text was not there.
    #[error("the first 64 KiB of the body lack the text of `health.body_contains`")]
    Body,
    /// The connection ended before the body of a good answer did.
    #[error("the answer is cut in the middle of its body; look at the backend's log for why")]
    Cut(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Not an HTTP/1.1 answer, one whose head was cut short, or one with a head over our limits.
    #[error("the answer is not valid HTTP/1.1; correct the backend, or use a `tcp` check")]
    Protocol(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Not an answer of gRPC over HTTP/2, or one that was cut short or too long.
    #[error("the answer is not valid gRPC over HTTP/2; correct the backend, or use another `kind`")]
    Grpc(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A gRPC status other than 0: the call was not done.
    #[error(
        "answered gRPC status `{0}`; let the backend offer `grpc.health.v1.Health` for `health.grpc_service`"
    )]
    GrpcStatus(String),
    /// The call was done, and the service says that it takes no requests.
    #[error("the service's serving status is `{0}`, not `SERVING`")]
    NotServing(&'static str),
    /// The configured path or host does not fit into a request.
    #[error("`health.path` or `health.host` does not fit into a request; correct it")]
    Request(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Time ran out, but our own timer woke too late to tell whose fault that is: the probe is void.
    #[error("our own timer woke `{by:?}` late; the probe is void, give this machine more time")]
    Late {
        /// Lateness of the worst wake during the probe.
        by: Duration,
    },
}

/// The part of a probe in which its time ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Until the connection is accepted.
    Connect,
    /// Until the end of the answer's head.
    Head,
    /// Until the end of the body, or of as much of it as is looked at.
    Body,
}

impl ProbeError {
    /// Whether the probe says nothing about the backend and must not be counted.
    pub fn is_void(&self) -> bool {
        matches!(self, ProbeError::Late { .. } | ProbeError::Exhausted(_))
    }

    /// For a connection that could not be made: by whose fault.
    pub(crate) fn connecting(error: io::Error) -> ProbeError {
        if is_exhausted(&error) { ProbeError::Exhausted(error) } else { ProbeError::Connect(error) }
    }

    /// This error and its causes on one line, for a report and its log line.
    pub fn reason(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        text
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Connect => "connection",
            Phase::Head => "answer head",
            Phase::Body => "end of the body",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_names_the_cause_behind_the_error() {
        let refused = ProbeError::Connect(io::Error::other("refused"));
        assert_eq!(
            refused.reason(),
            "cannot connect; start the backend, or correct its address or `health.port`: refused"
        );
    }

    #[test]
    fn want_of_descriptors_is_no_evidence_against_a_backend() {
        let connecting = |errno| ProbeError::connecting(io::Error::from_raw_os_error(errno));
        for ours in [24, 23, 105, 12, 99] {
            assert!(connecting(ours).is_void(), "{ours}");
        }
        // Refused, timed out, unreachable.
        for theirs in [111, 110, 113] {
            assert!(!connecting(theirs).is_void(), "{theirs}");
        }
    }

    #[test]
    fn a_timeout_names_what_it_waited_for() {
        let timeout = ProbeError::Timeout { phase: Phase::Head, timeout: Duration::from_secs(1) };
        assert!(timeout.to_string().starts_with("no answer head within `1s`;"), "{timeout}");
    }
}
