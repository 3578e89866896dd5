//! What a backend is: identity, address, where it runs.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

/// Names one backend inside its pool. Cheap to clone; unique per pool, not over pools:
/// two pools may use the same machine and must not poison each other's health.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendId(pub Arc<str>);

/// Names one pool, as in `[pools.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolName(pub Arc<str>);

/// A pool's place in the configuration that a snapshot was built from. Valid only together
/// with that configuration; what must survive a reload is keyed by [`PoolName`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolIndex(pub u16);

/// One backend of one pool.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendKey {
    /// The pool.
    pub pool: PoolName,
    /// The backend in it.
    pub backend: BackendId,
}

/// Where a backend listens: an address, or a name that is resolved by its TTL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// Known now and for ever.
    Socket(SocketAddr),
    /// To be resolved; until then the backend is a member without an address and takes no request.
    Name {
        /// A DNS name without a trailing dot.
        host: Arc<str>,
        /// TCP port.
        port: u16,
    },
}

/// Whose machine it is. On-prem is paid for already and is filled first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// Ours, from a `static` pool.
    OnPrem,
    /// Launched by a provider.
    Cloud,
}

/// One server of a pool, as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// Unique in its pool.
    pub id: BackendId,
    /// Where it listens.
    pub address: Address,
    /// Share of requests relative to the others of the pool, 0 to 1,000; 0 takes none.
    pub weight: u32,
    /// Requests it may have in flight at once; `None` is no limit.
    pub max_concurrency: Option<u32>,
    /// Failure domain it stands in, for zone preference.
    pub zone: Option<Arc<str>>,
    /// Whose machine it is.
    pub origin: Origin,
}

impl fmt::Display for BackendId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for PoolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for BackendKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.pool, self.backend)
    }
}

impl fmt::Display for Address {
    /// As written in the configuration: `10.0.0.1:80`, `[::1]:80`, `app.internal:80`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Socket(addr) => addr.fmt(f),
            Address::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}
