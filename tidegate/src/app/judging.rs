//! Ten times a second: lets the roster draw its conclusions from what the workers have counted.

use std::sync::Arc;
use std::time::Duration;

use balancer::roster::Roster;
use balancer::stats::Registry;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Between two looks. A backend that fails every request is out after the next one.
const PERIOD: Duration = Duration::from_millis(100);

/// A look that comes so much too late says that the door lacks processor time; then limits in
/// time run out and answers seem slow through no fault of a backend. A fifth of the shortest
/// default limit (1 s), as with health checks.
const LATE: Duration = Duration::from_millis(200);

/// After a stall, what began during it still ends.
const VOID_FOR: Duration = Duration::from_secs(1);

/// Looks until it is dropped.
pub(super) async fn run(roster: Arc<Roster>, registry: Arc<Registry>) {
    let started = Instant::now();
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut punctuality = Punctuality::default();
    let mut last = ticks.tick().await;
    loop {
        ticks.tick().await;
        let now = Instant::now();
        let is_late = punctuality.is_late(now.duration_since(started), now.duration_since(last));
        last = now;
        roster.judge(now.duration_since(started), &registry.outcomes(), is_late);
    }
}

/// Whether we can trust our own sense of time.
#[derive(Debug, Default)]
struct Punctuality {
    void_until: Option<Duration>,
}

impl Punctuality {
    /// `now`, when the last look was so long `ago`. One event for a stall, however long.
    fn is_late(&mut self, now: Duration, ago: Duration) -> bool {
        let by = ago.saturating_sub(PERIOD);
        if by >= LATE {
            if self.void_until.is_none() {
                let by_ms = by.as_millis();
                tracing::warn!(by_ms, what = "answers of backends", "monitor_late");
            }
            self.void_until = Some(now + VOID_FOR);
        }
        let is_void = self.void_until.is_some_and(|until| now < until);
        if !is_void {
            self.void_until = None;
        }
        is_void
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_look_makes_time_void_for_a_second() {
        let mut punctuality = Punctuality::default();
        let ms = Duration::from_millis;
        assert!(!punctuality.is_late(ms(100), ms(100)));
        assert!(!punctuality.is_late(ms(390), ms(290)));
        assert!(punctuality.is_late(ms(690), ms(300)));
        assert!(punctuality.is_late(ms(1_680), ms(100)));
        assert!(!punctuality.is_late(ms(1_690), ms(100)));
    }
}
