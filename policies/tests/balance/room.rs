//! A pick has room and a weight, and there is one whenever there can be.

use policies::balance::{Entry, Picker, Turn};
use policies::rng::Rng;
use proptest::prelude::*;

use super::pool::{Pool, RULES, State, cases, id};

prop_compose! {
    fn state()(
        in_flight in prop_oneof![Just(0), 0..5_u32, any::<u32>()],
        is_full in prop::bool::weighted(0.7),
        latency_us in prop::option::of(any::<u32>()),
        idle_ms in prop_oneof![Just(0), any::<u32>()],
    ) -> State {
        State { in_flight, is_full, latency_us, idle_ms }
    }
}

/// Weight, zone and cap.
fn kind() -> impl Strategy<Value = (u32, bool, Option<u32>)> {
    let weight = prop_oneof![3 => Just(0), 3 => 1..5_u32, 2 => Just(1_000), 1 => any::<u32>()];
    (weight, any::<bool>(), prop::option::of(any::<u32>()))
}

proptest! {
    #![proptest_config(cases(128))]

    #[test]
    fn a_pick_has_room_and_a_weight_and_fails_only_if_none_has(
        backends in prop::collection::vec((kind(), state()), 0..24),
        worker in 0..5_usize,
        keys in prop::collection::vec(any::<u64>(), 8),
    ) {
        let ids: Vec<String> = (0..backends.len()).map(id).collect();
        let entries: Vec<Entry<'_>> = backends.iter().zip(&ids).map(|((kind, _), id)| {
            let (weight, zone_preferred, max_concurrency) = *kind;
            Entry { id, weight, zone_preferred, max_concurrency }
        }).collect();
        let pool = Pool(backends.iter().map(|(_, state)| state.clone()).collect());
        let may = |index: usize| entries[index].weight > 0 && !pool.0[index].is_full;
        let any_may = (0..backends.len()).any(may);

        for rule in RULES {
            let picker = Picker::new(rule, &entries);
            let (mut turn, mut rng) = (Turn::new(worker, 4), Rng::new(1));
            for &key in &keys {
                let picked = picker.pick(&pool, &mut turn, key, &mut rng);
                prop_assert_eq!(picked.is_some(), any_may, "{:?}", rule);
                prop_assert!(picked.is_none_or(may), "{:?} picked {:?}", rule, picked);
            }
        }
    }

    #[test]
    fn a_turn_survives_any_change_of_the_pool(
        sizes in prop::collection::vec(0..40_usize, 1..20),
        worker in any::<usize>(),
        workers in any::<usize>(),
    ) {
        for rule in RULES {
            let (mut turn, mut rng) = (Turn::new(worker, workers), Rng::new(1));
            for &size in &sizes {
                let weights: Vec<u32> = (1..).take(size).collect();
                let (picker, pool) = (super::pool::picker(rule, &weights), Pool::idle(size));
                for key in 0..5 {
                    let picked = picker.pick(&pool, &mut turn, key, &mut rng);
                    prop_assert_eq!(picked.is_some(), size > 0);
                }
            }
        }
    }
}
