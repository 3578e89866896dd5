//! A pick, once its picker is built, takes nothing from the allocator.

use std::alloc::System;

use policies::balance::{Candidates, Entry, Ewma, Picker, Rule, Turn};
use policies::rng::Rng;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Every third is full; how busy and how fast they are differs.
struct Busy;

impl Candidates for Busy {
    fn in_flight(&self, index: usize) -> u32 {
        [5, 0, 90, 17][index % 4]
    }

    fn has_room(&self, index: usize) -> bool {
        !index.is_multiple_of(3)
    }

    fn latency_us(&self, index: usize) -> Option<u32> {
        [None, Some(800), Some(90_000)][index % 3]
    }

    fn idle_ms(&self, index: usize) -> u32 {
        [0, 9_000][index % 2]
    }
}

/// The only test of this file: the counters are the whole process's, and the test harness's own
/// thread may take a block too; so the quietest of some rounds counts.
#[test]
fn no_rule_allocates_in_a_pick() {
    let ids: Vec<String> = (0..40).map(|index| format!("b{index}")).collect();
    let weights: [fn(u32) -> u32; 2] = [|_| 1, |index| index % 5];
    for weight in weights {
        let entry = |(id, index)| Entry {
            id,
            weight: weight(index),
            zone_preferred: index.is_multiple_of(2),
            max_concurrency: Some(100),
        };
        let entries: Vec<Entry<'_>> = ids.iter().map(String::as_str).zip(0..).map(entry).collect();
        for rule in [
            Rule::RoundRobin,
            Rule::LeastRequests,
            Rule::TwoChoices,
            Rule::PeakEwma,
            Rule::ConsistentHash,
            Rule::First,
        ] {
            let picker = Picker::new(rule, &entries);
            let (mut turn, mut rng, mut ewma) = (Turn::new(0, 4), Rng::new(1), Ewma::default());
            let rounds = (0..10).map(|_| {
                let region = Region::new(ALLOCATOR);
                for key in 0..100 {
                    assert!(picker.pick(&Busy, &mut turn, key, &mut rng).is_some());
                    ewma.observe(800, key);
                }
                let change = region.change();
                change.allocations + change.reallocations
            });
            assert_eq!(rounds.min(), Some(0), "{rule:?}");
        }
    }
}
