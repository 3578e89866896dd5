//! How often we ask: below what AWS allows, so that others in the account have their share.
//!
//! EC2 counts requests in buckets for each account and region (Amazon EC2 Developer Guide, "Request
//! throttling"): RunInstances 5, refilled by 2 a second; TerminateInstances 100, by 5; describing
//! calls 100, by 20. Ours hold less. A call that would have to wait for longer than a moment is not
//! made, and repeated later by whoever wanted it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A call may wait for so long within its answer.
pub(super) const WAIT: Duration = Duration::from_secs(2);

/// After EC2 has said that it is too much, nothing of the kind for so long.
const REST: Duration = Duration::from_secs(2);

/// Requests of one kind.
#[derive(Debug)]
pub(super) struct Bucket {
    burst: f64,
    per_second: f64,
    level: Mutex<(f64, Instant)>,
}

impl Bucket {
    /// So many at once, and then so many a second.
    pub(super) fn new(burst: f64, per_second: f64) -> Bucket {
        Bucket { burst, per_second, level: Mutex::new((burst, Instant::now())) }
    }

    /// Waits for the turn of one request. `Err` says after which time it is worth coming again.
    pub(super) async fn turn(&self) -> Result<(), Duration> {
        let wait = self.take(Instant::now())?;
        tokio::time::sleep(wait).await;
        Ok(())
    }

    fn take(&self, now: Instant) -> Result<Duration, Duration> {
        let mut held = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        let (level, at) = *held;
        let gained = now.saturating_duration_since(at).as_secs_f64() * self.per_second;
        let left = (level + gained).min(self.burst) - 1.0;
        let wait = Duration::try_from_secs_f64(-left / self.per_second).unwrap_or_default();
        if wait > WAIT {
            *held = (left + 1.0, now);
            return Err(wait);
        }
        *held = (left, now);
        Ok(wait)
    }

    /// It was too much.
    pub(super) fn rest(&self) {
        let mut held = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        let empty = -REST.as_secs_f64() * self.per_second;
        *held = (held.0.min(empty), Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn requests_go_at_once_then_by_turns_and_then_not_at_all() {
        let bucket = Bucket::new(3.0, 1.0);
        let now = Instant::now();
        let waits: Vec<_> = (0..6).map(|_| bucket.take(now).map(|wait| wait.as_secs())).collect();
        let later = Err(Duration::from_secs(3));
        assert_eq!(waits, [Ok(0), Ok(0), Ok(0), Ok(1), Ok(2), later.map(|_: ()| 0)]);
        assert_eq!(bucket.take(now + Duration::from_secs(60)), Ok(Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_of_too_much_is_followed_by_a_rest() {
        let bucket = Bucket::new(3.0, 1.0);
        bucket.rest();
        assert!(bucket.take(Instant::now()).is_err());
        tokio::time::advance(Duration::from_secs(4)).await;
        assert_eq!(bucket.take(Instant::now()), Ok(Duration::ZERO));
    }
}
