//! Each backend gets its share, and not in bursts.

use policies::balance::{Rule, Turn};
use policies::rng::Rng;
use proptest::prelude::*;

use super::pool::{Load, Pool, cases, picker};

fn workers() -> impl Strategy<Value = usize> {
    prop_oneof![Just(1_usize), Just(4)]
}

/// From one request at a time to many more than there are backends.
fn concurrency() -> impl Strategy<Value = usize> {
    prop_oneof![Just(1_usize), 2..10_usize, 10..300_usize]
}

proptest! {
    #![proptest_config(cases(8))]

    #[test]
    fn round_robin_is_even(
        weights in prop::collection::vec(1..20_u32, 1..12),
        workers in workers(),
        concurrency in concurrency(),
    ) {
        Load { rule: Rule::RoundRobin, weights, workers, concurrency, requests: 50_000 }.check_each();
    }

    #[test]
    fn round_robin_is_even_with_weights_that_do_not_fit_its_table(
        weights in prop::collection::vec(500..1_000_u32, 30..100),
    ) {
        let rule = Rule::RoundRobin;
        Load { rule, weights, workers: 1, concurrency: 50, requests: 100_000 }.check_each();
    }

    #[test]
    fn round_robin_gives_nobody_a_burst_and_lets_nobody_wait(
        weights in prop::collection::vec(1..100_u32, 1..40),
    ) {
        let (picker, pool) = (picker(Rule::RoundRobin, &weights), Pool::idle(weights.len()));
        let (mut turn, mut rng) = (Turn::new(0, 1), Rng::new(1));
        let total: f64 = weights.iter().copied().map(f64::from).sum();
        let mut served = vec![0_u32; weights.len()];
        for requests in 1..2_000 {
            served[picker.pick(&pool, &mut turn, 0, &mut rng).unwrap()] += 1;
            for (&served, &weight) in served.iter().zip(&weights) {
                let share = f64::from(requests) * f64::from(weight) / total;
                prop_assert!((f64::from(served) - share).abs() < 1.0, "{served} of {share:.2}");
            }
        }
    }

    #[test]
    fn round_robin_spreads_the_turns_of_a_full_backend_over_all_others(
        weights in prop::collection::vec(1..5_u32, 3..8),
    ) {
        let (picker, mut pool) = (picker(Rule::RoundRobin, &weights), Pool::idle(weights.len()));
        pool.0[1].is_full = true;
        let (mut turn, mut rng) = (Turn::new(0, 1), Rng::new(1));
        let mut served = vec![0_u32; weights.len()];
        for _ in 0..100_000 {
            served[picker.pick(&pool, &mut turn, 0, &mut rng).unwrap()] += 1;
        }
        let total: u32 = weights.iter().sum::<u32>() - weights[1];
        for index in (0..weights.len()).filter(|&index| index != 1) {
            let share = 100_000.0 * f64::from(weights[index]) / f64::from(total);
            prop_assert!((f64::from(served[index]) - share).abs() < 2_000.0, "{served:?}");
        }
    }

    #[test]
    fn least_requests_is_even(
        backends in 1..6_usize,
        weight in 1..1_000_u32,
        workers in workers(),
        concurrency in concurrency(),
    ) {
        let (rule, weights) = (Rule::LeastRequests, vec![weight; backends]);
        Load { rule, weights, workers, concurrency, requests: 150_000 }.check_each();
    }

    #[test]
    fn least_requests_keeps_weights_under_any_load(
        weights in prop::collection::vec(1..30_u32, 2..16),
        workers in workers(),
        concurrency in concurrency(),
    ) {
        let rule = Rule::LeastRequests;
        Load { rule, weights, workers, concurrency, requests: 50_000 }.check_all();
    }

    #[test]
    fn two_choices_keep_weights_when_idle_and_when_busy(
        weights in prop::collection::vec(1..30_u32, 2..40),
        workers in workers(),
        concurrency in prop_oneof![Just(1_usize), 16..300_usize],
    ) {
        let rule = Rule::TwoChoices;
        Load { rule, weights, workers, concurrency, requests: 50_000 }.check_all();
    }
}

proptest! {
    #![proptest_config(cases(4))]

    #[test]
    fn two_choices_and_peak_ewma_are_even_between_equals(
        backends in 1..6_usize,
        weight in 1..1_000_u32,
        workers in workers(),
        concurrency in concurrency(),
    ) {
        for rule in [Rule::TwoChoices, Rule::PeakEwma] {
            let weights = vec![weight; backends];
            Load { rule, weights, workers, concurrency, requests: 300_000 }.check_each();
        }
    }
}

/// Requests that never end: how uneven 100 backends become by 10,000 of them.
fn spread(rule: Rule) -> u32 {
    let (picker, mut pool) = (picker(rule, &[1; 100]), Pool::idle(100));
    let (mut turn, mut rng) = (Turn::new(0, 1), Rng::new(1));
    for _ in 0..10_000 {
        let index = picker.pick(&pool, &mut turn, 0, &mut rng).unwrap();
        pool.0[index].in_flight += 1;
    }
    let in_flight = || pool.0.iter().map(|state| state.in_flight);
    in_flight().max().unwrap() - in_flight().min().unwrap()
}

#[test]
fn least_requests_fills_all_to_the_same_height() {
    assert_eq!(spread(Rule::LeastRequests), 0);
}

#[test]
fn two_choices_stay_close_where_one_choice_would_be_fifty_apart() {
    let spread = spread(Rule::TwoChoices);
    assert!(spread <= 8, "{spread}");
}

#[test]
fn an_idle_light_backend_does_not_win_against_every_busy_heavy_one() {
    let (rule, weights) = (Rule::TwoChoices, vec![100, 100, 100, 37]);
    Load { rule, weights, workers: 1, concurrency: 3, requests: 50_000 }.check_all();
}

#[test]
fn a_stalled_backend_gets_no_second_request_while_others_are_idle() {
    let (picker, mut pool) = (picker(Rule::LeastRequests, &[1; 3]), Pool::idle(3));
    let (mut turn, mut rng) = (Turn::new(0, 1), Rng::new(1));
    pool.0[1].in_flight = 1;
    for _ in 0..100 {
        assert_ne!(picker.pick(&pool, &mut turn, 0, &mut rng), Some(1));
    }
}

#[test]
fn a_stalled_backend_of_a_weighted_pool_is_left_out() {
    let (picker, mut pool) = (picker(Rule::LeastRequests, &[3, 2, 1]), Pool::idle(3));
    let (mut turn, mut rng) = (Turn::new(0, 1), Rng::new(1));
    pool.0[0].in_flight = 9; // it may have (9 + 1) × 3 / 6 = 5, and one more
    for _ in 0..100 {
        assert_ne!(picker.pick(&pool, &mut turn, 0, &mut rng), Some(0));
    }
}

#[test]
fn workers_start_at_different_backends() {
    let (picker, pool) = (picker(Rule::RoundRobin, &[1; 8]), Pool::idle(8));
    let firsts = (0..4)
        .map(|worker| picker.pick(&pool, &mut Turn::new(worker, 4), 0, &mut Rng::new(1)).unwrap());
    assert_eq!(firsts.collect::<Vec<_>>(), [0, 2, 4, 6]);
}

#[test]
fn the_first_takes_all_until_it_is_full() {
    let (picker, mut pool) = (picker(Rule::First, &[0, 1, 5]), Pool::idle(3));
    let (mut turn, mut rng) = (Turn::new(0, 1), Rng::new(1));
    assert_eq!(picker.pick(&pool, &mut turn, 0, &mut rng), Some(1));
    pool.0[1].is_full = true;
    assert_eq!(picker.pick(&pool, &mut turn, 0, &mut rng), Some(2));
}
