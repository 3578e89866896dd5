//! The bucket that a pool's retries are paid from, shared by all workers.
//!
//! Requests that need no retry do not touch it: once a second each worker says how many requests
//! it counted for the pool, and the first worker that finds the second over pays the income of
//! all of them in (`policies::retry`). Whatever the number of workers, there is one bucket.

use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use policies::retry::{Again, TOKEN, earned, fade, most, returned, settled, taken};
use tokio::time::Instant;

/// A turn that comes a little early is one all the same: workers do not wake at the same moment.
const SECOND_MS: u64 = 950;

/// What one pool has to spend on retries.
#[derive(Debug)]
pub struct Budget {
    tokens: AtomicI64,
    permille: AtomicU32,
    /// Requests since the last turn.
    arrived: AtomicU64,
    /// Requests of about the last ten seconds. Written by whoever has the turn.
    recent: AtomicU64,
    started: Instant,
    /// When the last turn was, in milliseconds after `started`.
    turned: AtomicU64,
}

impl Budget {
    /// Full, as of a pool without requests.
    pub(crate) fn new(permille: u32) -> Budget {
        Budget {
            tokens: AtomicI64::new(most(permille, 0)),
            permille: AtomicU32::new(permille),
            arrived: AtomicU64::new(0),
            recent: AtomicU64::new(0),
            started: Instant::now(),
            turned: AtomicU64::new(0),
        }
    }

    /// Another share, from the next turn on.
    pub(crate) fn set_permille(&self, permille: u32) {
        self.permille.store(permille, Ordering::Relaxed);
    }

    /// Takes what one retry costs before it has ended: how much, or `None` if there is no token.
    pub(crate) fn take(&self, again: Again) -> Option<i64> {
        let next = |tokens: i64| taken(again, tokens).map(|paid| tokens - paid);
        let before = self.tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).ok()?;
        taken(again, before)
    }

    /// So much was taken and no retry came of it.
    pub(crate) fn give_back(&self, paid: i64) {
        self.change(|tokens, most| returned(tokens, paid, most));
    }

    /// A retry that had paid so much has ended.
    pub(crate) fn settle(&self, paid: i64, has_helped: bool) {
        self.change(|tokens, most| settled(tokens, paid, has_helped, most));
    }

    fn change(&self, to: impl Fn(i64, i64) -> i64) {
        let permille = self.permille.load(Ordering::Relaxed);
        let most = most(permille, self.recent.load(Ordering::Relaxed));
        let next = |tokens: i64| Some(to(tokens, most));
        // Never an error: there is always a next value.
        let _ = self.tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }

    /// What is left, in whole retries.
    pub fn left(&self) -> u64 {
        u64::try_from(self.tokens.load(Ordering::Relaxed) / TOKEN).unwrap_or_default()
    }

    /// One worker's requests since it said so last. About once a second from each.
    pub(crate) fn report(&self, arrived: u64, now: Instant) {
        if arrived > 0 {
            self.arrived.fetch_add(arrived, Ordering::Relaxed);
        }
        let now = millis(now.saturating_duration_since(self.started));
        let last = self.turned.load(Ordering::Relaxed);
        let seconds = now.saturating_sub(last) / SECOND_MS;
        if seconds == 0 {
            return;
        }
        let is_ours =
            self.turned.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if is_ours {
            self.turn(seconds);
        }
    }

    fn turn(&self, seconds: u64) {
        let arrived = self.arrived.swap(0, Ordering::Relaxed);
        let recent = fade(self.recent.load(Ordering::Relaxed), arrived);
        self.recent.store(recent, Ordering::Relaxed);
        let permille = self.permille.load(Ordering::Relaxed);
        let (earned, most) = (earned(permille, arrived, seconds), most(permille, recent));
        let next = |tokens: i64| Some(tokens.saturating_add(earned).min(most));
        let _ = self.tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quiet_pool_has_thirty_retries_and_earns_three_a_second() {
        let budget = Budget::new(100);
        let taken = std::iter::from_fn(|| budget.take(Again::Paid)).take(100).count();
        assert_eq!(taken, 30);
        budget.give_back(TOKEN);
        assert_eq!(budget.left(), 1);
        budget.report(0, budget.started + Duration::from_secs(1));
        assert_eq!(budget.left(), 4);
        // Another worker, in the same second.
        budget.report(0, budget.started + Duration::from_millis(1_100));
        assert_eq!(budget.left(), 4);
    }

    #[test]
    fn requests_of_all_workers_earn_together() {
        let budget = Budget::new(100);
        for second in 1..=60 {
            let now = budget.started + Duration::from_secs(second);
            for _ in 0..4 {
                budget.report(250, now);
            }
        }
        assert!((990..=1_030).contains(&budget.left()), "{}", budget.left());
    }

    #[test]
    fn retries_that_fail_empty_it_and_it_never_owes() {
        let budget = Budget::new(100);
        let paid = || budget.take(Again::Paid).map(|paid| budget.settle(paid, false));
        assert_eq!(std::iter::from_fn(paid).take(100).count(), 3);
        assert_eq!(budget.left(), 0);
        budget.report(0, budget.started + Duration::from_secs(1));
        assert_eq!(budget.left(), 3);
    }

    #[test]
    fn retries_that_hang_have_emptied_it_before_they_end() {
        let budget = Budget::new(100);
        let paid: Vec<i64> = std::iter::from_fn(|| budget.take(Again::PaidAhead)).collect();
        assert_eq!((paid.len(), budget.left()), (3, 0));
        // One has helped, one fails, and one has not come about.
        budget.settle(paid[0], true);
        assert_eq!(budget.left(), 9);
        budget.settle(paid[1], false);
        budget.give_back(paid[2]);
        assert_eq!(budget.left(), 19);
    }

    #[test]
    fn no_share_is_no_retry() {
        let budget = Budget::new(0);
        assert_eq!(budget.take(Again::Paid), None);
        budget.report(1_000, budget.started + Duration::from_secs(9));
        assert_eq!(budget.take(Again::PaidAhead), None);
    }
}
