//! The own zone first, up to 85 %, then the others, then what is left.

use policies::balance::{Entry, Picker, Rule, Turn};
use policies::rng::Rng;

use super::pool::{Pool, RULES, id};

/// Two backends of the own zone and two of another, all with this cap, after `requests` that
/// do not end: in flight in the own zone and in the other.
fn fill(rule: Rule, cap: Option<u32>, requests: u32) -> (u32, u32) {
    let ids: Vec<String> = (0..4).map(id).collect();
    let entries: Vec<Entry<'_>> = (0..4)
        .map(|index| Entry {
            id: &ids[index],
            weight: 1,
            zone_preferred: index % 2 == 1,
            max_concurrency: cap,
        })
        .collect();
    let picker = Picker::new(rule, &entries);
    let (mut pool, mut turn, mut rng) = (Pool::idle(4), Turn::new(0, 1), Rng::new(1));
    for request in 0..requests {
        let index = picker.pick(&pool, &mut turn, request.into(), &mut rng).unwrap();
        pool.0[index].in_flight += 1;
        pool.0[index].is_full = cap == Some(pool.0[index].in_flight);
    }
    let in_flight = |index: usize| pool.0[index].in_flight;
    (in_flight(1) + in_flight(3), in_flight(0) + in_flight(2))
}

#[test]
fn the_own_zone_takes_all_until_85_percent() {
    for rule in RULES {
        assert_eq!(fill(rule, Some(100), 170), (170, 0), "{rule:?}");
    }
}

#[test]
fn beyond_85_percent_the_other_zone_takes_all() {
    for rule in RULES {
        assert_eq!(fill(rule, Some(100), 370), (170, 200), "{rule:?}");
    }
}

#[test]
fn when_the_other_zone_is_full_the_own_takes_what_it_can() {
    for rule in RULES {
        assert_eq!(fill(rule, Some(100), 400), (200, 200), "{rule:?}");
    }
}

#[test]
fn without_a_cap_the_own_zone_takes_all() {
    for rule in RULES {
        assert_eq!(fill(rule, None, 1_000), (1_000, 0), "{rule:?}");
    }
}

#[test]
fn a_zone_that_all_or_none_stand_in_tells_nothing() {
    for zone_preferred in [true, false] {
        let entry = |id| Entry { id, weight: 1, zone_preferred, max_concurrency: Some(1) };
        let picker = Picker::new(Rule::RoundRobin, &[entry("a"), entry("b")]);
        let (mut turn, mut rng) = (Turn::new(0, 1), Rng::new(1));
        let mut pool = Pool::idle(2);
        pool.0[0].in_flight = 1; // at its cap, and yet `has_room` decides
        let picks = (0..4).map(|_| picker.pick(&pool, &mut turn, 0, &mut rng).unwrap());
        assert_eq!(picks.collect::<Vec<_>>(), [0, 1, 0, 1]);
    }
}
