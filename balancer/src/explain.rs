//! What a door would do with a request, without one: for `tidegate route explain`.
//!
//! Nothing is judged here. The bytes go through the codec, the normal forms, the rules of
//! admission and the writer of the backend's head, which are those of the door; only who would
//! read and answer is missing.

use std::net::IpAddr;
use std::sync::Arc;

use policies::backend::PoolIndex;
use policies::route::Considered;
use policies::secret::{MASK, is_secret_header, without_secrets};

use crate::admission::{Admission, admit, asked};
use crate::config::{DoorConfig, ListenerConfig};
use crate::connection::limits_of;
use crate::exchange::{Exchange, FieldsOf};
use crate::forward::Forwarding;
use crate::http1::parse_request;
use crate::outcome::Outcome;
use crate::reason::Reason;
use crate::roster::Roster;
use crate::snapshot::Snapshot;
use crate::stats::Registry;
use crate::view::{Locals, View};

/// One byte of what is drawn anew for each request.
const ANY: u8 = b'*';

/// A request as the door has understood it, and what becomes of it.
pub struct Explanation {
    exchange: Exchange,
    snapshot: Arc<Snapshot>,
    listener: Arc<str>,
    /// What the door does.
    pub fate: Fate,
}

/// What the door does with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It refuses it.
    Refused {
        /// Of the answer.
        status: u16,
        /// In the log.
        outcome: Outcome,
        /// Why exactly, for a person; where the outcome does not tell.
        detail: Option<String>,
    },
    /// It answers an OPTIONS that may go no further.
    Options,
    /// It sends the client elsewhere.
    Redirected {
        /// 301 to 308.
        status: u16,
        /// `Location`.
        to: String,
    },
    /// It gives the fixed answer of the route.
    Answered,
    /// It asks a backend of one of these pools, in this order.
    Forwarded {
        /// Of one arm, where the route splits.
        pools: Vec<PoolIndex>,
        /// What the backend gets, as lines. What differs from one request to the next is `*`.
        head: Vec<String>,
    },
}

/// Asks a door that has just started with this configuration what it does with the request whose
/// head is `bytes`, from `peer` by `listener`.
///
/// # Errors
/// `bytes` are not one whole head: its end is missing, or something is behind it.
pub fn explain(
    config: &DoorConfig,
    listener: &ListenerConfig,
    peer: IpAddr,
    bytes: &[u8],
) -> Result<Explanation, NotOneHead> {
    let roster = Roster::new(Arc::new(config.clone()));
    let snapshot = roster.published().load_full();
    let mut exchange = Exchange::new();
    let fate = match parse_request(bytes, &limits_of(listener), &mut exchange.head) {
        Ok(Some(length)) if length == bytes.len() => {
            exchange.take_head(bytes);
            exchange.begin(0, 0, 0, peer);
            exchange.request_id = [ANY; 32];
            fate(&snapshot, &mut exchange, listener, peer)
        }
        Ok(_) => return Err(NotOneHead),
        Err(malformed) => {
            exchange.forget_head();
            exchange.begin(0, 0, 0, peer);
            let status = malformed.status();
            let detail = Some(Reason::Head(malformed).to_string());
            Fate::Refused { status, outcome: Outcome::of_malformed(status), detail }
        }
    };
    Ok(Explanation { exchange, snapshot, listener: Arc::clone(&listener.name), fate })
}

/// See [`explain`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("these are not the bytes of one request's head; leave line ends out")]
pub struct NotOneHead;

fn fate(
    snapshot: &Arc<Snapshot>,
    exchange: &mut Exchange,
    listener: &ListenerConfig,
    peer: IpAddr,
) -> Fate {
    let view = View::new(Arc::clone(snapshot), None, &mut Locals::new(), 0, &Registry::new());
    match admit(&view, exchange, listener, peer) {
        Admission::Refuse(outcome) => {
            let detail = exchange.record.reason.map(|reason| reason.to_string());
            Fate::Refused { status: outcome.status(), outcome, detail }
        }
        Admission::Options => Fate::Options,
        Admission::Redirect { status, location } => {
            let to = without_secrets(&String::from_utf8_lossy(&location));
            Fate::Redirected { status, to }
        }
        Admission::Respond { .. } => Fate::Answered,
        Admission::Forward { route, pools } => {
            let forwarding = Forwarding {
                listener,
                route: &snapshot.config.routes[route],
                via: view.via.of(exchange.head.version),
                peer,
                authority: "",
            };
            forwarding.write(exchange);
            let head = String::from_utf8_lossy(&exchange.up);
            let head = head.trim_end().lines().map(shown).collect();
            Fate::Forwarded { pools: pools.to_vec(), head }
        }
    }
}

/// A line of a head without its credentials, be they the caller's or those of the configuration.
fn shown(line: &str) -> String {
    match line.split_once(": ") {
        Some((name, _)) if is_secret_header(name) => format!("{name}: {MASK}"),
        Some(_) => line.to_owned(),
        // The request line: whatever is in its target, no blank follows a colon.
        None => match line.rsplit_once(' ') {
            Some((asked, version)) => format!("{} {version}", without_secrets(asked)),
            None => line.to_owned(),
        },
    }
}

impl Explanation {
    /// Host and path in their normal forms; empty where there is none, and if the head could not
    /// be read.
    pub fn asked_for(&self) -> (String, String) {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        (text(self.exchange.host()), text(self.exchange.path()))
    }

    /// Who asks, as far as that was looked at.
    pub fn client(&self) -> IpAddr {
        self.exchange.client
    }

    /// The place of the route that has won, in the configuration.
    pub fn route(&self) -> Option<usize> {
        self.exchange.record.route.map(usize::from)?.checked_sub(self.put_before())
    }

    /// Whether the switch of the whole site answers, before any route.
    pub fn is_in_maintenance(&self) -> bool {
        self.exchange.record.route.is_some() && self.route().is_none()
    }

    /// Each route of the configuration in order, and why it has won or lost; none where no route
    /// was asked.
    pub fn considered(&self) -> Vec<Considered> {
        let exchange = &self.exchange;
        let is_asked = match self.fate {
            Fate::Refused { outcome: Outcome::NoRoute, .. } => true,
            _ => self.route().is_some(),
        };
        if !is_asked {
            return Vec::new();
        }
        self.snapshot.routes.explain(&asked(exchange, &self.listener, &FieldsOf(exchange)))
    }

    /// Routes that nobody has written: see [`DoorConfig::with_maintenance`].
    fn put_before(&self) -> usize {
        usize::from(self.snapshot.config.in_maintenance)
    }
}
