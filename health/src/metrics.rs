//! What the monitor counts.

use metrics::{Counter, counter};
use policies::backend::BackendKey;

/// Probes by `pool`, `backend` and `result` (`passed`, `failed`, `void`). The series of a
/// backend that has left go idle; whoever exports them drops them.
pub const CHECKS_TOTAL: &str = "tidegate_backend_health_checks_total";

/// The counters of one target, looked up once.
pub(crate) struct Checks {
    pub(crate) passed: Counter,
    pub(crate) failed: Counter,
    /// Said nothing: we were late ourselves, or had nothing left to connect with.
    pub(crate) void: Counter,
}

impl Checks {
    /// Asks the recorder that is installed now; a later one does not see this target.
    pub(crate) fn of(key: &BackendKey) -> Checks {
        let result = |result: &'static str| {
            let (pool, backend) = (key.pool.0.to_string(), key.backend.0.to_string());
            counter!(CHECKS_TOTAL, "pool" => pool, "backend" => backend, "result" => result)
        };
        Checks { passed: result("passed"), failed: result("failed"), void: result("void") }
    }
}
