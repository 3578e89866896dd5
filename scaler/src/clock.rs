//! The only place where the control plane reads a clock.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use policies::scale::Now;

/// Steady time begins there, so that what is older than the process has a time as well: 30 years.
const BEFORE: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// Reads both times of a turn.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
}

impl Clock {
    /// Starts now.
    pub fn start() -> Clock {
        Clock { started: Instant::now() }
    }

    /// Both times.
    pub fn now(&self) -> Now {
        Now { wall: Timestamp::now(), steady: BEFORE + self.started.elapsed() }
    }
}
