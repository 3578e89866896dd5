//! One time limit over all phases of a probe, which also notices when *we* are late.
//!
//! A door that has no processor time left wakes from its timers late and would then call
//! healthy backends dead, all at once. So the wait is cut into fifths, and each wake is compared
//! with the time it was meant for: a stall anywhere in the probe shows, not only one at its end.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::error::{Phase, ProbeError};

/// Lateness up to this is the timer's own grain (1 ms) and the scheduler's, not a stall.
const GRAIN: Duration = Duration::from_millis(5);

/// A longer timeout is cut to this; far sums of time would overflow.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// The limit of one probe.
pub(crate) struct Deadline {
    timeout: Duration,
    end: Instant,
    /// When we look next whether we are on time.
    wake: Instant,
    /// Worst lateness of a wake so far.
    late_by: Duration,
}

impl Deadline {
    /// A limit of `timeout` from now on.
    pub(crate) fn after(timeout: Duration) -> Deadline {
        let timeout = timeout.min(LONGEST);
        let now = Instant::now();
        Deadline { timeout, end: now + timeout, wake: now + timeout / 5, late_by: Duration::ZERO }
    }

    /// Runs `work`, one phase of the probe, for what is left of the time.
    ///
    /// An answer that is there when we wake counts, however late we are.
    pub(crate) async fn within<T>(
        &mut self,
        phase: Phase,
        work: impl Future<Output = T>,
    ) -> Result<T, ProbeError> {
        let mut work = pin!(work);
        loop {
            let wake = self.wake.min(self.end);
            tokio::select! {
                biased;
                done = &mut work => return Ok(done),
                () = sleep_until(wake) => {}
            }
            let now = Instant::now();
            self.late_by = self.late_by.max(now - wake);
            if now >= self.end {
                return Err(self.expired(phase));
            }
            self.wake = now + self.timeout / 5;
        }
    }

    fn expired(&self, phase: Phase) -> ProbeError {
        if self.late_by > (self.timeout / 5).max(GRAIN) {
            ProbeError::Late { by: self.late_by }
        } else {
            ProbeError::Timeout { phase, timeout: self.timeout }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use tokio::time::advance;

    /// Lets a probe of 1 s wait for nothing while the clock moves in these steps.
    async fn wait_through(steps_ms: &[u64]) -> ProbeError {
        let wait = tokio::spawn(async {
            let mut deadline = Deadline::after(Duration::from_secs(1));
            deadline.within(Phase::Head, pending::<()>()).await.unwrap_err()
        });
        tokio::task::yield_now().await;
        for &step in steps_ms {
            advance(Duration::from_millis(step)).await;
            tokio::task::yield_now().await;
        }
        wait.await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn time_that_ran_out_while_we_were_awake_is_a_timeout() {
        let error = wait_through(&[200, 200, 200, 200, 200]).await;
        assert!(matches!(error, ProbeError::Timeout { phase: Phase::Head, .. }), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn time_that_ran_out_while_we_slept_is_void() {
        let error = wait_through(&[200, 1100]).await;
        assert!(matches!(error, ProbeError::Late { .. }), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stall_in_the_middle_makes_a_punctual_end_void_too() {
        let error = wait_through(&[200, 500, 200, 100]).await;
        assert!(matches!(error, ProbeError::Late { by } if by == Duration::from_millis(300)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_there_when_we_wake_late_counts() {
        let answer = tokio::spawn(async {
            let mut deadline = Deadline::after(Duration::from_secs(1));
            let work = tokio::time::sleep(Duration::from_millis(900));
            deadline.within(Phase::Head, work).await
        });
        tokio::task::yield_now().await;
        advance(Duration::from_secs(5)).await;
        assert!(answer.await.unwrap().is_ok());
    }
}
