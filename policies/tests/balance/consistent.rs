//! Keys stay where they are, and no backend drowns in them.

use std::collections::BTreeMap;

use policies::balance::{Entry, Picker, Rule, Turn};
use policies::rng::{self, Rng};
use proptest::prelude::*;

use super::pool::{Load, Pool, cases, id, picker};

const KEYS: u64 = 20_000;

/// Where each key goes in an idle pool of these backends (id number and weight), by id number.
fn homes(backends: &[(usize, u32)]) -> Vec<usize> {
    let ids: Vec<String> = backends.iter().map(|&(number, _)| id(number)).collect();
    let entries: Vec<Entry<'_>> = backends
        .iter()
        .zip(&ids)
        .map(|(&(_, weight), id)| Entry {
            id,
            weight,
            zone_preferred: false,
            max_concurrency: None,
        })
        .collect();
    let (picker, pool) = (Picker::new(Rule::ConsistentHash, &entries), Pool::idle(backends.len()));
    let (mut turn, mut rng) = (Turn::new(0, 1), Rng::new(1));
    let place = |key| picker.pick(&pool, &mut turn, rng::mix(key), &mut rng).unwrap();
    (0..KEYS).map(place).map(|place| backends[place].0).collect()
}

fn moved(before: &[usize], after: &[usize]) -> f64 {
    before.iter().zip(after).filter(|(before, after)| before != after).count() as f64
}

proptest! {
    #![proptest_config(cases(6))]

    #[test]
    fn one_of_n_that_comes_or_goes_moves_at_most_1_2_nths_of_keys(
        n in 2..40_usize,
        gone in any::<prop::sample::Index>(),
    ) {
        let all: Vec<(usize, u32)> = (0..n).map(|number| (number, 1)).collect();
        let (gone, mut fewer) = (gone.index(n), all.clone());
        fewer.remove(gone);
        let (with, without) = (homes(&all), homes(&fewer));
        prop_assert!(moved(&with, &without) <= KEYS as f64 * 1.2 / n as f64);
        // And only those that had to.
        for (with, without) in with.iter().zip(&without) {
            prop_assert!(with == without || *with == gone);
        }
    }

    #[test]
    fn a_weighted_one_that_comes_or_goes_moves_at_most_1_2_of_its_share(
        weights in prop::collection::vec(1..6_u32, 2..20),
        gone in any::<prop::sample::Index>(),
    ) {
        let all: Vec<(usize, u32)> = weights.iter().copied().enumerate().collect();
        let (gone, mut fewer) = (gone.index(all.len()), all.clone());
        fewer.remove(gone);
        let share = f64::from(weights[gone]) / f64::from(weights.iter().sum::<u32>());
        let (with, without) = (homes(&all), homes(&fewer));
        prop_assert!(moved(&with, &without) <= KEYS as f64 * 1.2 * share);
        for (with, without) in with.iter().zip(&without) {
            prop_assert!(with == without || *with == gone);
        }
    }

    #[test]
    fn a_backend_that_gains_weight_only_gains_keys(
        weights in prop::collection::vec(1..6_u32, 2..12),
        gains in any::<prop::sample::Index>(),
    ) {
        let light: Vec<(usize, u32)> = weights.iter().copied().enumerate().collect();
        let (gains, mut heavy) = (gains.index(light.len()), light.clone());
        heavy[gains].1 += 3;
        for (before, after) in homes(&light).into_iter().zip(homes(&heavy)) {
            prop_assert!(before == after || after == gains);
        }
    }

    #[test]
    fn keys_are_spread_by_weight(weights in prop::collection::vec(1..6_u32, 1..10)) {
        let backends: Vec<(usize, u32)> = weights.iter().copied().enumerate().collect();
        let mut counts = BTreeMap::<usize, u32>::new();
        homes(&backends).into_iter().for_each(|home| *counts.entry(home).or_default() += 1);
        let total: u32 = weights.iter().sum();
        for (home, weight) in backends {
            let share = KEYS as f64 * f64::from(weight) / f64::from(total);
            let off = (f64::from(counts[&home]) - share).abs();
            prop_assert!(off <= KEYS as f64 * 0.02, "{counts:?}");
        }
    }

    #[test]
    fn any_keys_are_even_under_load(
        weights in prop::collection::vec(1..6_u32, 1..10),
        workers in prop_oneof![Just(1_usize), Just(4)],
    ) {
        let rule = Rule::ConsistentHash;
        Load { rule, weights, workers, concurrency: 100, requests: 50_000 }.check_all();
    }

    #[test]
    fn nobody_takes_more_than_1_25_times_the_mean_however_hot_a_key(
        weights in prop::collection::vec(1..6_u32, 1..12),
        keys in prop::collection::vec(0..3_u64, 400),
    ) {
        let total: u32 = weights.iter().sum();
        let (picker, mut pool) = (picker(Rule::ConsistentHash, &weights), Pool::idle(weights.len()));
        let (mut turn, mut rng) = (Turn::new(0, 1), Rng::new(1));
        for (&key, all) in keys.iter().zip(1_u32..) {
            let index = picker.pick(&pool, &mut turn, key, &mut rng).unwrap();
            pool.0[index].in_flight += 1;
            let share = f64::from(all) * f64::from(weights[index]) / f64::from(total);
            let bound = (1.25 * share).ceil();
            let has = pool.0[index].in_flight;
            prop_assert!(f64::from(has) <= bound, "{has} of at most {bound}");
        }
    }
}

#[test]
fn the_order_in_which_backends_are_written_does_not_matter() {
    let written: Vec<(usize, u32)> = (0..9).map(|number| (number, 2)).collect();
    let reversed: Vec<(usize, u32)> = written.iter().copied().rev().collect();
    assert_eq!(homes(&written), homes(&reversed));
}

#[test]
fn equal_weights_and_nearly_equal_ones_place_keys_alike() {
    let equal: Vec<(usize, u32)> = (0..10).map(|number| (number, 1_000)).collect();
    let mut nearly = equal.clone();
    nearly[0].1 = 999;
    assert!(moved(&homes(&equal), &homes(&nearly)) < KEYS as f64 * 0.001);
}

#[test]
fn an_overloaded_home_passes_a_key_on_to_the_same_next_each_time() {
    let (picker, mut pool) = (picker(Rule::ConsistentHash, &[1; 8]), Pool::idle(8));
    let pick = |pool: &Pool, key| {
        picker.pick(pool, &mut Turn::new(0, 1), key, &mut Rng::new(key)).unwrap()
    };
    let home = pick(&pool, 7);
    pool.0[home].in_flight = 5;
    let next = pick(&pool, 7);
    assert_ne!(next, home);
    assert_eq!(pick(&pool, 7), next);
    pool.0[home].in_flight = 0;
    assert_eq!(pick(&pool, 7), home);
}
