//! How much of its share does a fresh backend take?
//!
//! A backend that has just begun, or just come back, has cold caches and few connections. Over
//! `slow_start` its share rises in a line, and so does the number of requests that it may have in
//! flight, which holds for every balancing rule and for requests that wait.
//!
//! Fresh is relative. Where nobody is warm somebody has to take the load: the furthest takes its
//! whole share, and those that came within a second of it do too.

use std::time::Duration;

/// A whole share, in percent.
pub const WHOLE: u32 = 100;

/// Those that begin so shortly after each other, while nobody is warm, begin together.
const TOGETHER: Duration = Duration::from_secs(1);

/// Nearly whole is whole: it is not worth another order of turns.
const NEARLY: f64 = 95.0;

/// The share of a backend that has taken requests for this long, in percent from 1 to [`WHOLE`].
///
/// `furthest` is how long the longest of those has that carry the load with it, itself among them.
pub fn share(age: Duration, furthest: Duration, slow_start: Duration) -> u32 {
    let far = furthest.max(age).min(slow_start).as_secs_f64();
    if far == 0.0 {
        return WHOLE;
    }
    let coldness = 1.0 - far / slow_start.as_secs_f64();
    let own = age.min(slow_start).as_secs_f64() + TOGETHER.as_secs_f64() * coldness;
    let percent = own / far * 100.0;
    if percent >= NEARLY {
        return WHOLE;
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 0 to 95
    let percent = percent as u32;
    percent.max(1)
}

/// Requests that a backend with this share may have in flight; `None` is no limit.
///
/// Without a cap of its own it is measured against the `busiest` of those that carry the load with
/// it, and may have one more than its share of that.
pub fn limit(share: u32, cap: Option<u32>, busiest: u32) -> Option<u32> {
    if share >= WHOLE {
        return cap;
    }
    let part = |of: u32| {
        let part = u64::from(of) * u64::from(share) / u64::from(WHOLE);
        u32::try_from(part).unwrap_or(u32::MAX)
    };
    Some(match cap {
        Some(cap) => part(cap).max(1).min(cap),
        None => part(busiest).saturating_add(1),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOW_START: Duration = Duration::from_secs(10);

    fn at(age_ms: u64, furthest_ms: u64) -> u32 {
        share(Duration::from_millis(age_ms), Duration::from_millis(furthest_ms), SLOW_START)
    }

    #[test]
    fn among_warm_ones_the_share_of_a_fresh_one_rises_in_a_line() {
        let warm = 3_600_000;
        let shares = [0, 500, 1_000, 2_500, 5_000, 9_400].map(|age| at(age, warm));
        assert_eq!(shares, [1, 5, 10, 25, 50, 94]);
        assert_eq!([9_500, 10_000, 20_000].map(|age| at(age, warm)), [WHOLE; 3]);
        assert!((0..1_000).all(|age| at(age, warm) < 10));
    }

    #[test]
    fn where_nobody_is_warm_the_furthest_takes_its_whole_share() {
        for furthest in [0, 1, 999, 5_000, 9_999] {
            assert_eq!(at(furthest, furthest), WHOLE);
        }
        // Ten seconds are not over for either; the later one catches up.
        assert_eq!(at(0, 5_000), 10);
        assert_eq!(at(4_000, 9_000), 45);
    }

    #[test]
    fn those_that_begin_together_share_evenly() {
        for furthest in (0..=20_000).step_by(100) {
            let late = furthest - furthest.min(400);
            assert_eq!(at(late, furthest), WHOLE, "at {furthest} ms");
        }
    }

    #[test]
    fn the_share_never_falls_as_time_goes_by() {
        for behind in [0, 300, 1_000, 3_000, 8_000, 30_000] {
            let shares: Vec<u32> =
                (0..30_000).step_by(50).map(|age| at(age, age + behind)).collect();
            let falls = shares.windows(2).filter(|pair| pair[1] < pair[0]).count();
            // Those that begin nearly together stop being so when one of them is warm.
            assert!(falls == 0 || behind <= 1_000, "{behind}: {shares:?}");
        }
    }

    #[test]
    fn without_slow_start_every_share_is_whole() {
        assert_eq!(share(Duration::ZERO, SLOW_START, Duration::ZERO), WHOLE);
    }

    #[test]
    fn what_it_may_have_in_flight_rises_with_the_share_and_is_never_none() {
        assert_eq!(limit(WHOLE, None, 9), None);
        assert_eq!(limit(WHOLE, Some(7), 0), Some(7));
        assert_eq!(
            [1, 9, 10, 55].map(|share| limit(share, Some(110), 0)),
            [Some(1), Some(9), Some(11), Some(60),]
        );
        assert_eq!([1, 10, 50].map(|share| limit(share, None, 40)), [Some(1), Some(5), Some(21)]);
        assert_eq!(limit(1, Some(0), 0), Some(0));
    }
}
