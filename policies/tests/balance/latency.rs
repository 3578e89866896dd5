//! Peak EWMA: the fast get more, the slow are asked again, the new are tried and not flooded.

use policies::balance::{Picker, Rule, Turn};
use policies::rng::Rng;

use super::pool::{Pool, picker};

/// `requests` one after the other, `gap_ms` apart; how many each backend got. A backend keeps its
/// latency however often it is asked.
fn served(picker: &Picker, pool: &mut Pool, requests: u32, gap_ms: u32) -> Vec<u32> {
    let (mut turn, mut rng) = (Turn::new(0, 1), Rng::new(1));
    let mut served = vec![0; pool.0.len()];
    for _ in 0..requests {
        let index = picker.pick(pool, &mut turn, 0, &mut rng).unwrap();
        served[index] += 1;
        for state in &mut pool.0 {
            state.idle_ms = state.idle_ms.saturating_add(gap_ms);
        }
        pool.0[index].idle_ms = 0;
    }
    served
}

/// One of four backends is 100 times slower than the others.
fn with_a_slow_one() -> (Picker, Pool) {
    let mut pool = Pool::idle(4);
    pool.0[2].latency_us = Some(100_000);
    (picker(Rule::PeakEwma, &[1; 4]), pool)
}

#[test]
fn a_slow_backend_is_asked_again_every_five_seconds() {
    let (picker, mut pool) = with_a_slow_one();
    let served = served(&picker, &mut pool, 60_000, 1); // a minute
    assert!((10..=12).contains(&served[2]), "{served:?}");
}

#[test]
fn in_a_quiet_pool_asking_again_is_at_most_every_sixteenth_request() {
    let (picker, mut pool) = with_a_slow_one();
    let served = served(&picker, &mut pool, 1_600, 60_000); // one request a minute
    assert!((1..=100).contains(&served[2]), "{served:?}");
}

#[test]
fn a_backend_that_recovered_gets_its_share_again() {
    let (picker, mut pool) = with_a_slow_one();
    served(&picker, &mut pool, 6_000, 1);
    pool.0[2].latency_us = Some(1_000);
    let served = served(&picker, &mut pool, 6_000, 1);
    assert!(served[2] > 1_300, "{served:?}");
}

#[test]
fn a_new_backend_is_tried_but_not_flooded() {
    let (picker, mut pool) = (picker(Rule::PeakEwma, &[1; 4]), Pool::idle(4));
    pool.0[1].latency_us = None;
    let (mut turn, mut rng) = (Turn::new(0, 1), Rng::new(1));
    for _ in 0..400 {
        let index = picker.pick(&pool, &mut turn, 0, &mut rng).unwrap();
        pool.0[index].in_flight += 1; // nobody answers yet
    }
    let in_flight = pool.0[1].in_flight;
    assert!((90..=110).contains(&in_flight), "{in_flight} of 400");
}

#[test]
fn a_new_backend_beats_a_slow_one() {
    let (picker, mut pool) = (picker(Rule::PeakEwma, &[1; 3]), Pool::idle(3));
    pool.0[0].latency_us = None;
    pool.0[2].latency_us = Some(500_000);
    let served = served(&picker, &mut pool, 1_000, 0);
    assert!(served[0] > 400 && served[2] < 20, "{served:?}");
}

#[test]
fn the_faster_of_two_takes_more_until_it_is_as_busy() {
    let (picker, mut pool) = (picker(Rule::PeakEwma, &[1; 2]), Pool::idle(2));
    pool.0[0].latency_us = Some(1_000);
    pool.0[1].latency_us = Some(3_000);
    let (mut turn, mut rng) = (Turn::new(0, 1), Rng::new(1));
    for _ in 0..400 {
        let index = picker.pick(&pool, &mut turn, 0, &mut rng).unwrap();
        pool.0[index].in_flight += 1;
    }
    assert!((295..=305).contains(&pool.0[0].in_flight), "{pool:?}");
}
