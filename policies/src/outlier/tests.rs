//! Who is suspected, and who never is.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};

use super::*;
use crate::outcomes::BUCKETS;

/// 10, 20, ... 130 ms.
const BOUNDS: [u64; BUCKETS - 1] = {
    let mut bounds = [0; BUCKETS - 1];
    let mut place = 0;
    while place < bounds.len() {
        bounds[place] = (place as u64 + 1) * 10_000;
        place += 1;
    }
    bounds
};

fn policy() -> OutlierPolicy {
    OutlierPolicy {
        consecutive: Some(5),
        error_rate: Some(ErrorRate {
            above: 20.0,
            over: Duration::from_secs(10),
            min_requests: 50,
        }),
        latency: Some(Latency {
            times: 10.0,
            at_least: Duration::from_millis(50),
            min_requests: 20,
        }),
        eject_for: Duration::from_secs(30),
        max_ejected: 30.0,
    }
}

fn outcomes(good: u64, bad: u64) -> Outcomes {
    let mut latency = [0; BUCKETS];
    latency[0] = good;
    Outcomes { good, bad, latency, ..Outcomes::default() }
}

const BAD: Cause = Cause::Consecutive { failures: 5, gone: 4 };

const TICK: Duration = Duration::from_millis(100);

/// When the backend is suspected that does this in every tenth of a second after `calm` of them
/// without a failure, counted from the first failure.
fn caught_after(calm: u32, ticks: u32, each: impl Fn(u32) -> Outcomes) -> Option<Duration> {
    let policy = policy();
    let mut outlier = Outlier::default();
    for tick in 0..calm + ticks {
        let now = TICK * tick;
        let fresh = if tick < calm { outcomes(33, 0) } else { each(tick) };
        outlier.observe(&policy, now, &fresh);
        if outlier.suspect(&policy, now, None, &BOUNDS).is_some() {
            return Some(now.saturating_sub(TICK * calm));
        }
    }
    None
}

#[test]
fn a_backend_that_only_fails_is_suspected_at_the_next_look() {
    assert_eq!(caught_after(100, 10, |_| outcomes(0, 33)), Some(Duration::ZERO));
    // One request per look: at the fifth failure.
    assert_eq!(caught_after(100, 10, |_| outcomes(0, 1)), Some(TICK * 4));
}

#[test]
fn timeouts_are_failures_until_our_own_clock_was_late() {
    let fresh = Outcomes { timeouts: 9, ..Outcomes::default() };
    assert!(caught_after(0, 10, |_| fresh).is_some());
    assert!(caught_after(0, 100, |_| fresh.without_time()).is_none());
}

#[test]
fn a_fifth_of_failures_after_a_good_past_is_noticed_within_three_seconds() {
    // Every fifth of 33 requests in a tenth of a second, as even as can be.
    let each = |tick: u32| {
        let (from, to) = (u64::from(tick) * 33, u64::from(tick + 1) * 33);
        let bad = to / 5 - from / 5;
        outcomes(33 - bad, bad)
    };
    let caught = caught_after(200, 100, each).unwrap();
    assert!(caught <= Duration::from_secs(3), "{caught:?}");
    // At 40 requests a second the evidence needs more time, but not the whole window.
    let slowly = |tick: u32| {
        outcomes(if tick.is_multiple_of(5) { 3 } else { 4 }, u64::from(tick.is_multiple_of(5)) * 5)
    };
    assert!(caught_after(0, 100, slowly).unwrap() <= Duration::from_secs(6));
}

#[test]
fn one_failure_in_twenty_is_no_outlier() {
    let each = |tick: u32| outcomes(19, u64::from(tick % 2));
    assert_eq!(caught_after(10, 600, each), None);
}

#[test]
fn a_burst_that_is_too_short_or_too_small_says_nothing() {
    let policy = policy();
    let mut outlier = Outlier::default();
    outlier.observe(&policy, Duration::from_secs(1), &outcomes(40, 9));
    assert_eq!(outlier.suspect(&policy, Duration::from_secs(1), None, &BOUNDS), None);
    outlier.observe(&policy, Duration::from_secs(1), &outcomes(0, 1));
    let cause = outlier.suspect(&policy, Duration::from_secs(1), None, &BOUNDS);
    assert_eq!(cause, Some(Cause::ErrorRate { failures: 10, of: 50, gone: 0 }));
}

#[test]
fn a_backend_ten_times_slower_than_its_pool_is_suspected() {
    let policy = policy();
    let mut outlier = Outlier::default();
    let mut slow = Outcomes { good: 20, ..Outcomes::default() };
    slow.latency[12] = 20; // 120 to 130 ms
    outlier.observe(&policy, Duration::from_secs(1), &slow);
    let now = Duration::from_secs(2);
    let suspect = |pool_us| outlier.suspect(&policy, now, pool_us, &BOUNDS);
    assert_eq!(suspect(None), None);
    assert_eq!(suspect(Some(20_000)), None);
    let cause = Cause::Slow { middle_us: 120_000, pool_us: 10_000 };
    assert_eq!(suspect(Some(10_000)), Some(cause));
    assert_eq!(outlier.median(&policy, &BOUNDS), Some((120_000, 130_000)));
}

#[test]
fn the_pool_is_judged_by_its_middle_member_and_a_pair_by_the_faster() {
    assert_eq!(pool_median(&mut []), None);
    assert_eq!(pool_median(&mut [9, 1]), Some(1));
    assert_eq!(pool_median(&mut [9, 1, 5]), Some(5));
}

#[test]
fn each_ejection_soon_after_another_lasts_twice_as_long_up_to_five_minutes() {
    let policy = policy();
    let mut outlier = Outlier::default();
    let mut now = Duration::ZERO;
    let mut lengths = Vec::new();
    for _ in 0..6 {
        let length = outlier.eject(&policy, now, BAD);
        assert!(outlier.is_out() && !outlier.is_due(now));
        now += length;
        assert!(outlier.is_due(now));
        outlier.readmit(now);
        lengths.push(length.as_secs());
        now += Duration::from_secs(10);
    }
    assert_eq!(lengths, [30, 60, 120, 240, 300, 300]);
    now += Duration::from_secs(3_600);
    assert_eq!(outlier.eject(&policy, now, BAD), Duration::from_secs(30));
}

#[test]
fn one_that_was_not_there_is_out_for_a_second_at_first() {
    let policy = policy();
    let mut outlier = Outlier::default();
    let mut now = Duration::from_secs(100);
    let mut lengths = Vec::new();
    for _ in 0..3 {
        outlier.observe(&policy, now, &Outcomes { bad: 5, gone: 5, ..Outcomes::default() });
        let cause = outlier.suspect(&policy, now, None, &BOUNDS).unwrap();
        let length = outlier.eject(&policy, now, cause);
        now += length;
        outlier.readmit(now);
        now += Duration::from_millis(500);
        lengths.push(length.as_secs());
    }
    assert_eq!(lengths, [1, 2, 4]);
}

#[test]
fn nothing_is_held_against_one_that_has_returned() {
    let policy = policy();
    let mut outlier = Outlier::default();
    outlier.observe(&policy, Duration::ZERO, &outcomes(0, 99));
    outlier.eject(&policy, Duration::ZERO, BAD);
    assert_eq!(outlier.suspect(&policy, Duration::ZERO, None, &BOUNDS), None);
    outlier.readmit(Duration::from_secs(30));
    assert_eq!(outlier.suspect(&policy, Duration::from_secs(30), None, &BOUNDS), None);
}

proptest! {
    #![proptest_config(Config { cases: 500, rng_seed: RngSeed::Fixed(7), ..Config::default() })]

    #[test]
    fn a_pool_keeps_a_member_and_its_share(
        serving in 0_usize..200, share in 0_u32..=100, eligible in 0_usize..200,
    ) {
        let policy = OutlierPolicy { max_ejected: f64::from(share), ..policy() };
        let mut left = eligible.min(serving);
        let start = left;
        let mut ejected = 0;
        while may_eject(&policy, serving, ejected, left) {
            ejected += 1;
            left -= 1;
        }
        prop_assert!(start == 0 || left >= 1);
        prop_assert!(ejected * 100 <= (serving * share as usize).max(100));
        prop_assert!(share > 0 || ejected == 0);
        prop_assert!(share == 0 || start < 2 || ejected >= 1);
    }

    #[test]
    fn good_answers_alone_never_make_a_suspect(ticks in proptest::collection::vec(0_u64..500, 1..200)) {
        let policy = policy();
        let mut outlier = Outlier::default();
        for (tick, &good) in (0_u32..).zip(&ticks) {
            outlier.observe(&policy, TICK * tick, &outcomes(good, 0));
            prop_assert_eq!(outlier.suspect(&policy, TICK * tick, Some(10_000), &BOUNDS), None);
        }
    }

    #[test]
    fn below_half_the_limit_nobody_is_ejected_by_rate(
        ticks in proptest::collection::vec((20_u64..500, 0_u64..2), 1..200),
    ) {
        let policy = policy();
        let mut outlier = Outlier::default();
        for (tick, &(good, bad)) in (0_u32..).zip(&ticks) {
            outlier.observe(&policy, TICK * tick, &outcomes(good, bad));
            prop_assert_eq!(outlier.suspect(&policy, TICK * tick, None, &BOUNDS), None);
        }
    }
}
