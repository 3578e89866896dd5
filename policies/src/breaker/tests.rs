//! When a breaker opens, what it lets through then, and how it closes again.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};

use super::*;

fn policy() -> BreakerPolicy {
    BreakerPolicy {
        failure_rate: Some(50.0),
        slow_rate: Some(60.0),
        slower_than_us: 1_000_000,
        over: Duration::from_secs(10),
        min_requests: 20,
        open_for: Duration::from_secs(10),
        probes: 5,
        close_after: 4,
    }
}

/// So many good ones, bad ones, and slow ones among the good.
fn outcomes(good: u64, bad: u64, slow: u64) -> Outcomes {
    Outcomes { good, bad, slow, ..Outcomes::default() }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn look(breaker: &mut Breaker, at: u64, fresh: Outcomes) -> Option<Step> {
    breaker.look(Some(&policy()), seconds(at), &fresh)
}

/// Open since second 1, half open since second 11.
fn half_open() -> Breaker {
    let mut breaker = Breaker::default();
    look(&mut breaker, 1, outcomes(0, 20, 0)).unwrap();
    assert_eq!(look(&mut breaker, 11, outcomes(0, 0, 0)), Some(Step::HalfOpened(5)));
    breaker
}

#[test]
fn it_opens_when_half_of_enough_requests_have_failed() {
    let mut breaker = Breaker::default();
    assert_eq!(look(&mut breaker, 1, outcomes(10, 9, 0)), None);
    assert_eq!(breaker.phase(), Phase::Closed);
    let opened = Step::Opened(Trigger::FailureRate(10, 20));
    assert_eq!(look(&mut breaker, 2, outcomes(0, 1, 0)), Some(opened));
    assert_eq!(breaker.phase(), Phase::Open);
}

#[test]
fn what_is_longer_ago_than_it_looks_back_does_not_count() {
    let mut breaker = Breaker::default();
    assert_eq!(look(&mut breaker, 1, outcomes(0, 19, 0)), None);
    assert_eq!(look(&mut breaker, 12, outcomes(0, 19, 0)), None);
    assert!(look(&mut breaker, 13, outcomes(0, 1, 0)).is_some());
}

#[test]
fn it_opens_when_most_answers_are_slow_though_none_fails() {
    let mut breaker = Breaker::default();
    assert_eq!(look(&mut breaker, 1, outcomes(20, 0, 11)), None);
    let opened = Step::Opened(Trigger::SlowRate(26, 40));
    assert_eq!(look(&mut breaker, 2, outcomes(20, 0, 15)), Some(opened));
    // Attempts that came to no answer in time are slow, and failed.
    let mut breaker = Breaker::default();
    let fresh = Outcomes { timeouts: 20, ..Outcomes::default() };
    let opened = Step::Opened(Trigger::FailureRate(20, 20));
    assert_eq!(look(&mut breaker, 1, fresh), Some(opened));
}

#[test]
fn after_its_time_some_probes_decide() {
    let mut breaker = Breaker::default();
    look(&mut breaker, 1, outcomes(0, 20, 0)).unwrap();
    assert_eq!(look(&mut breaker, 10, outcomes(0, 3, 0)), None);
    assert_eq!(look(&mut breaker, 11, outcomes(0, 0, 0)), Some(Step::HalfOpened(5)));
    assert_eq!((breaker.phase(), breaker.probes_missing(&policy())), (Phase::HalfOpen, 5));
    assert_eq!(look(&mut breaker, 12, outcomes(3, 1, 0)), None);
    assert_eq!(breaker.probes_missing(&policy()), 1);
    assert_eq!(look(&mut breaker, 13, outcomes(1, 0, 0)), Some(Step::Closed));
    // Nothing of before is held against it.
    assert_eq!(look(&mut breaker, 14, outcomes(0, 19, 0)), None);
}

#[test]
fn too_many_probes_that_fail_or_are_slow_open_it_again() {
    for fresh in [outcomes(3, 2, 0), outcomes(5, 0, 2), outcomes(0, 5, 0)] {
        let mut breaker = half_open();
        let step = look(&mut breaker, 12, fresh);
        assert!(matches!(step, Some(Step::Opened(Trigger::Probes(..)))), "{step:?}");
        assert_eq!(look(&mut breaker, 21, outcomes(0, 0, 0)), None);
        assert_eq!(look(&mut breaker, 22, outcomes(0, 0, 0)), Some(Step::HalfOpened(5)));
    }
}

#[test]
fn an_operator_holds_it_open_or_closed_until_it_is_let_go() {
    let mut breaker = Breaker::default();
    breaker.hold(Some(Phase::Open));
    assert_eq!(look(&mut breaker, 1_000, outcomes(99, 0, 0)), None);
    assert_eq!((breaker.phase(), breaker.is_held()), (Phase::Open, true));
    breaker.hold(Some(Phase::Closed));
    assert_eq!(look(&mut breaker, 1_001, outcomes(0, 99, 0)), None);
    assert_eq!(breaker.phase(), Phase::Closed);
    breaker.hold(None);
    assert!(look(&mut breaker, 1_002, outcomes(0, 99, 0)).is_some());
}

#[test]
fn one_that_is_configured_no_longer_is_closed() {
    let mut breaker = half_open();
    let step = breaker.look(None, seconds(12), &Outcomes::default());
    assert_eq!(step, Some(Step::Closed));
    assert_eq!(breaker.look(None, seconds(13), &outcomes(0, 999, 0)), None);
}

proptest! {
    #![proptest_config(Config { cases: 300, rng_seed: RngSeed::Fixed(7), ..Config::default() })]

    #[test]
    fn good_and_fast_answers_alone_never_open_it(ticks in proptest::collection::vec(0_u64..500, 1..200)) {
        let mut breaker = Breaker::default();
        for (tick, good) in (0_u64..).zip(ticks) {
            prop_assert_eq!(look(&mut breaker, tick, outcomes(good, 0, 0)), None);
        }
    }

    #[test]
    fn whatever_happens_it_is_half_open_only_after_it_was_open_for_its_time(
        ticks in proptest::collection::vec((0_u64..40, 0_u64..40), 1..300),
    ) {
        let mut breaker = Breaker::default();
        let mut opened = None;
        for (at, (good, bad)) in (0_u64..).zip(ticks) {
            match look(&mut breaker, at, outcomes(good, bad, 0)) {
                Some(Step::Opened(_)) => opened = Some(at),
                Some(Step::HalfOpened(_)) => prop_assert!(at >= opened.unwrap() + 10),
                Some(Step::Closed) | None => {}
            }
        }
    }
}
