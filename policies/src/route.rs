//! Which route takes this request.
//!
//! Routes are tried in the order they are written; the first whose [`Matcher`] holds wins.
//! Matching sees one normal form ([`normal`]) and the backend receives the same bytes, so no
//! two readings of a path exist. [`RouteTable::new`] compiles the list so that the cost of
//! [`RouteTable::find`] does not grow linearly with the number of hosts; `find` does not allocate.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::backend::PoolIndex;

mod explain;
mod index;
mod matching;
pub mod normal;
mod query;
mod split;
mod table;
mod words;

pub use explain::{Considered, Verdict};
pub use matching::{HostPatternError, cookies};
pub use split::even_dice;
pub use table::RouteTable;

/// What matching may look at. Host and path are in normal form already.
pub struct Request<'a, F: Fields> {
    /// Name of the listener it came in by.
    pub listener: &'a str,
    /// As sent; methods are case-sensitive (RFC 9110 §9.1).
    pub method: &'a [u8],
    /// Lower case, without port and trailing dot; empty for an HTTP/1.0 request without one.
    pub host: &'a [u8],
    /// Normalised, begins with `/` (or is `*` for `OPTIONS *`), without the query.
    pub path: &'a [u8],
    /// After the first `?`, as sent.
    pub query: Option<&'a [u8]>,
    /// Who asks, after `trusted_proxies` were taken into account.
    pub client: IpAddr,
    /// The header fields.
    pub fields: &'a F,
}

/// Header fields of a request, wherever they are kept.
pub trait Fields {
    /// Whether `test` holds for any value of the field `name` (lower case), one call per field line.
    fn any(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool;
}

/// Alternatives of one kind: any of them matches.
#[derive(Debug, Clone)]
pub enum HostPattern {
    /// This host.
    Exact(Arc<str>),
    /// `*.example.org`, kept as `.example.org`: any name below it, at any depth, not itself.
    Suffix(Arc<str>),
}

/// One thing that a path can be compared with.
#[derive(Debug, Clone)]
pub enum PathPattern {
    /// The whole path.
    Exact(Arc<str>),
    /// The path itself or anything below it: `/api` and `/api/` both match `/api/x`, neither `/apix`.
    Prefix(Arc<str>),
    /// Anywhere in the path unless anchored. Linear time.
    Regex(regex::bytes::Regex),
}

/// What a named value (header, query parameter, cookie) must be.
#[derive(Debug, Clone)]
pub enum ValuePattern {
    /// Present, whatever the value.
    Present,
    /// Exactly this.
    Exact(Arc<str>),
    /// Contains a match.
    Regex(regex::bytes::Regex),
}

/// One condition on a request.
#[derive(Debug, Clone)]
pub enum Matcher {
    /// Any of the hosts.
    Host(Vec<HostPattern>),
    /// Any of the paths.
    Path(Vec<PathPattern>),
    /// Any of the methods.
    Method(Vec<Arc<str>>),
    /// The header (lower case) has such a value on one of its lines.
    Header(Arc<str>, ValuePattern),
    /// The query has such a parameter; names and values compared as sent, `+` and %-codes undone.
    Query(Arc<str>, ValuePattern),
    /// One of the cookies.
    Cookie(Arc<str>, ValuePattern),
    /// The client's address is in any of the blocks.
    Source(Vec<IpNet>),
    /// Came in by this listener.
    Listener(Arc<str>),
    /// All hold; an empty list holds.
    All(Vec<Matcher>),
    /// One holds; an empty list does not.
    Any(Vec<Matcher>),
    /// Does not hold.
    Not(Box<Matcher>),
}

/// One arm of a weighted split.
#[derive(Debug, Clone)]
pub struct Arm {
    /// Where this share goes.
    pub to: Vec<PoolIndex>,
    /// Share relative to the sum; 0 takes none.
    pub weight: u32,
}

/// Which pools may serve a route.
#[derive(Debug, Clone)]
pub enum Target {
    /// Pools in order: the next when those before it cannot take the request. One pool: one element.
    Waterfall(Vec<PoolIndex>),
    /// Shares of the requests, by dice or, where `sticky` is set, by a key of the client.
    Split {
        /// In the order written.
        arms: Vec<Arm>,
        /// What keeps a client in its arm.
        sticky: Option<crate::balance::HashKey>,
    },
}

impl Target {
    /// Every pool that may get a request, in the order written; one may come more than once.
    pub fn pools(&self) -> impl Iterator<Item = PoolIndex> {
        let (pools, arms): (&[PoolIndex], &[Arm]) = match self {
            Target::Waterfall(pools) => (pools, &[]),
            Target::Split { arms, .. } => (&[], arms),
        };
        pools.iter().chain(arms.iter().flat_map(|arm| &arm.to)).copied()
    }
}

/// Where a redirect leads. Placeholders are resolved per request by the balancer.
#[derive(Debug, Clone)]
pub enum Location {
    /// The same URL on `https` (port left out when 443).
    Https {
        /// TCP port of the https listener.
        port: u16,
    },
    /// This URL or path; `{host}`, `{path}` and `{query}` stand for the request's.
    To(Arc<str>),
}

/// What happens to the request.
#[derive(Debug, Clone)]
pub enum Action {
    /// To a backend.
    Forward(Target),
    /// Answered here with 301, 302, 303, 307 or 308.
    Redirect {
        /// Value of `Location`.
        location: Location,
        /// Status code.
        status: u16,
    },
    /// Answered here.
    Respond {
        /// Status code, 200 to 599.
        status: u16,
        /// Sent as is.
        body: Arc<[u8]>,
        /// Of the body.
        content_type: Arc<str>,
    },
}

/// One `[[routes]]` entry, as far as choosing goes.
#[derive(Debug, Clone)]
pub struct Route {
    /// Unique; a label in metrics and logs.
    pub name: Arc<str>,
    /// When it applies.
    pub when: Matcher,
    /// What happens then.
    pub action: Action,
}
