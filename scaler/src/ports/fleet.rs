//! The doors as the scaler sees them: what is asked of a pool, and who is there to answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use policies::backend::{BackendId, PoolName};
use policies::membership::Stage;

use crate::demand::Demand;

/// Reads what the doors know and changes who takes traffic. Never waits: it is called in a turn.
pub trait Fleet: Send + Sync {
    /// What the doors see now.
    fn look(&self) -> FleetLook;

    /// Makes one change. An order that was carried out before is no error; one that is not possible
    /// says why, and the next look shows what is true.
    fn order(&self, pool: &PoolName, order: &Order) -> Result<(), String>;
}

/// All pools at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FleetLook {
    /// Every pool, elastic or not.
    pub pools: Vec<PoolLook>,
}

/// One pool at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolLook {
    /// Which.
    pub pool: PoolName,
    /// What clients want of it, over the last second; `None` while nobody has counted.
    pub demand: Option<Demand>,
    /// Requests that processes before this one still have there, without streams; not in `demand`.
    pub elsewhere: u64,
    /// Who is in it.
    pub members: Vec<MemberLook>,
    /// Share of answers of the last second that were errors of the 5xx kind or no answer at all,
    /// 0 to 1.
    pub error_rate: f64,
    /// Of those, tries per second that found no connection.
    pub connect_errors_rps: f64,
}

/// One member at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct MemberLook {
    /// Which; for one that a provider launched, the id of the instance.
    pub id: BackendId,
    /// How far it has come.
    pub stage: Stage,
    /// Whether its checks pass.
    pub is_healthy: bool,
    /// Requests it has.
    pub in_flight: u32,
    /// Requests it may have; `None` is no limit.
    pub max_concurrency: Option<u32>,
    /// Taken out by what it answered, not by its checks.
    pub is_ejected: bool,
    /// A provider launched it.
    pub is_launched: bool,
}

/// One change of who takes traffic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// A launched instance becomes a member: joining, until its first health check passes.
    Admit {
        /// Of the instance.
        id: BackendId,
        /// Where its backend listens.
        address: SocketAddr,
        /// Failure domain it stands in.
        zone: Option<Arc<str>>,
    },
    /// No new requests. The look shows when the last one has ended.
    Drain {
        /// Of the member.
        id: BackendId,
    },
    /// Requests again: it is needed after all.
    Undrain {
        /// Of the member.
        id: BackendId,
    },
    /// Somebody is on the way: requests may wait although nobody serves.
    Expect {
        /// For so long, unless it is said again.
        within: Duration,
    },
    /// It is gone, or is about to be terminated.
    Remove {
        /// Of the member.
        id: BackendId,
    },
}
