//! Why exactly a request was refused, or an answer not taken: the word `reason` of the access log.
//!
//! A closed set, so that nothing of a client or backend is ever in it. The words are those of the
//! codec and of the normal form; each is a row in `docs/operations.md`.

use policies::route::normal::{HostError, PathError};

use crate::body::BodyFault;
use crate::http1::{BadChunk, Malformed};
use crate::proxy_protocol::BadHeader;

/// What an outcome alone does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Reason {
    /// Of a head, the request's or the answer's: the outcome says which.
    #[error(transparent)]
    Head(Malformed),
    /// Of the path.
    #[error(transparent)]
    Path(PathError),
    /// Of the host.
    #[error(transparent)]
    Host(HostError),
    /// Of a body, the request's or the answer's.
    #[error(transparent)]
    Body(BadChunk),
    /// The connection ended before the body.
    #[error("the connection ended before the body did")]
    BodyCut,
    /// Of what a trusted proxy says when it connects.
    #[error(transparent)]
    ProxyHeader(BadHeader),
    /// RFC 9110 §7.6.2
    #[error("Max-Forwards of an OPTIONS is not one number")]
    MaxForwards,
    /// HTTP/1.0 may leave it out; then there is nowhere to send the client to.
    #[error("the redirect leads to the host that was asked for, and there is no Host")]
    NoHostToRedirect,
    /// A 101 that nobody has asked for, or to another protocol.
    #[error("a 101 to what the client has not asked for")]
    UnaskedUpgrade,
    /// An attack or a loop.
    #[error("more than 16 interim answers")]
    TooManyInterim,
}

impl Reason {
    /// The word for the log.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Reason::Head(malformed) => malformed.word(),
            Reason::Path(error) => error.word(),
            Reason::Host(error) => error.word(),
            Reason::Body(chunk) => chunk.word(),
            Reason::BodyCut => "body_cut",
            Reason::ProxyHeader(header) => header.word(),
            Reason::MaxForwards => "max_forwards",
            Reason::NoHostToRedirect => "no_host_to_redirect",
            Reason::UnaskedUpgrade => "unasked_upgrade",
            Reason::TooManyInterim => "too_many_interim",
        }
    }
}

impl From<BodyFault> for Reason {
    fn from(fault: BodyFault) -> Reason {
        match fault {
            BodyFault::Malformed(chunk) => Reason::Body(chunk),
            BodyFault::Cut => Reason::BodyCut,
        }
    }
}
