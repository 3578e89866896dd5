//! What fresh backends take: by every rule, with caps and without, alone and behind another tier.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use policies::backend::{Backend, PoolIndex};
use policies::balance::{Candidates, Rule, Turn};
use policies::health::Verdict;
use policies::rng::{Rng, mix};

use crate::config::DoorConfig;
use crate::roster::Roster;
use crate::roster::fixture::{backend, door, healthy, report, waterfall};
use crate::snapshot::{Slot, Snapshot};

const SLOW_START: Duration = Duration::from_secs(10);
const FRESH: &str = "10.0.0.9:80";
const ALL: [Rule; 6] = [
    Rule::RoundRobin,
    Rule::LeastRequests,
    Rule::TwoChoices,
    Rule::PeakEwma,
    Rule::ConsistentHash,
    Rule::First,
];

/// Four backends, the first of which comes later than the others.
fn pool(rule: Rule, cap: Option<u32>) -> DoorConfig {
    let capped = |id: &str, address: &str| Backend { max_concurrency: cap, ..backend(id, address) };
    let rest = ["b", "c", "d"].map(|id| capped(id, &format!("10.0.0.{}:80", id.as_bytes()[0])));
    let mut backends = vec![capped("a", FRESH)];
    backends.extend(rest);
    let mut config = door(&[("app", &backends)]);
    config.pools[0].rule = rule;
    config.pools[0].conduct.slow_start = SLOW_START;
    config
}

/// All are warm but `a`, which joins at an hour.
fn joining(config: DoorConfig) -> Roster {
    let roster = healthy(config);
    at(&roster, 0);
    roster.report(report("app/a", FRESH, Verdict::Unhealthy));
    at(&roster, 3_600_000);
    roster.report(report("app/a", FRESH, Verdict::Healthy));
    // It begins with the next look.
    at(&roster, 3_600_000);
    roster
}

fn at(roster: &Roster, ms: u64) {
    roster.judge(Duration::from_millis(ms), &BTreeMap::new(), false);
}

fn fresh(snapshot: &Snapshot) -> (usize, &Arc<Slot>) {
    let mut slots = snapshot.pools[0].eligible.iter().enumerate();
    slots.find(|(_, slot)| &*slot.key.backend.0 == "a").expect("it is eligible")
}

struct Slots<'a>(&'a [Arc<Slot>]);

impl Candidates for Slots<'_> {
    fn in_flight(&self, index: usize) -> u32 {
        self.0[index].in_flight()
    }

    fn has_room(&self, index: usize) -> bool {
        self.0[index].in_flight() < self.0[index].max_concurrency()
    }

    fn latency_us(&self, index: usize) -> Option<u32> {
        // It is new: the others answer within a millisecond.
        (&*self.0[index].key.backend.0 != "a").then_some(1_000)
    }

    fn idle_ms(&self, _: usize) -> u32 {
        0
    }
}

/// Of so many requests, so many at once, those that the fresh one got, and how many at most at once.
fn run(roster: &Roster, requests: u64, at_once: usize) -> (f64, u32) {
    let snapshot = roster.snapshot();
    let slots = Slots(&snapshot.pools[0].eligible);
    let (place, slot) = fresh(&snapshot);
    let (mut turn, mut rng) = (Turn::new(0, 1), Rng::new(7));
    let mut in_flight = VecDeque::new();
    let (mut got, mut most) = (0, 0);
    for number in 0..requests {
        let picked =
            snapshot.pools[0].picker.pick(&slots, &mut turn, mix(number), &mut rng).unwrap();
        assert!(slots.0[picked].try_enter());
        got += u32::from(picked == place);
        most = most.max(slot.in_flight());
        in_flight.push_back(picked);
        if in_flight.len() >= at_once {
            slots.0[in_flight.pop_front().unwrap()].give_back();
        }
    }
    in_flight.into_iter().for_each(|picked| slots.0[picked].give_back());
    (f64::from(got) / requests as f64, most)
}

#[test]
fn within_the_first_second_no_rule_gives_a_fresh_one_more_than_a_tenth_of_its_cap() {
    for rule in ALL {
        let roster = joining(pool(rule, Some(40)));
        for ms in (0..=1_000).step_by(100) {
            at(&roster, 3_600_000 + ms);
            let (_, most) = run(&roster, 2_000, 60);
            assert!(most <= 4, "{rule:?} after {ms} ms: {most}");
        }
        assert!(run(&roster, 2_000, 60).1 > 0, "{rule:?} gives it nothing");
    }
}

#[test]
fn its_share_of_the_requests_rises_in_a_line_by_every_rule_that_shares() {
    for rule in ALL.into_iter().filter(|rule| *rule != Rule::First) {
        let roster = joining(pool(rule, Some(4_000)));
        for (ms, percent) in [(1_000, 10.0), (3_000, 30.0), (5_000, 50.0), (10_000, 100.0)] {
            at(&roster, 3_600_000 + ms);
            let (share, _) = run(&roster, 20_000, 40);
            let fair = percent / (300.0 + percent);
            assert!(share < fair * 1.25, "{rule:?} after {ms} ms: {share} of {fair}");
            assert!(share > fair * 0.6, "{rule:?} after {ms} ms: {share} of {fair}");
        }
    }
}

#[test]
fn without_a_cap_it_is_measured_against_the_busiest_by_every_rule() {
    for rule in ALL {
        let roster = joining(pool(rule, None));
        let snapshot = roster.snapshot();
        let busy = snapshot.pools[0].eligible.last().unwrap();
        for _ in 0..50 {
            assert!(busy.try_enter());
        }
        at(&roster, 3_602_000);
        // A fifth of 50, and one more.
        assert_eq!(fresh(&roster.snapshot()).1.max_concurrency(), 11, "{rule:?}");
        at(&roster, 3_610_000);
        assert_eq!(fresh(&roster.snapshot()).1.max_concurrency(), u32::MAX, "{rule:?}");
    }
}

#[test]
fn a_ramp_begins_with_the_look_that_finds_it_and_is_never_ahead() {
    let roster = healthy(pool(Rule::LeastRequests, Some(100)));
    at(&roster, 0);
    roster.report(report("app/a", FRESH, Verdict::Unhealthy));
    at(&roster, 3_600_000);
    // A look is late, and in between the backend joins.
    roster.report(report("app/a", FRESH, Verdict::Healthy));
    let cap = || fresh(&roster.snapshot()).1.max_concurrency();
    assert_eq!(cap(), 1);
    at(&roster, 3_601_000);
    assert_eq!(cap(), 1, "it has just been found");
    at(&roster, 3_602_000);
    assert_eq!(cap(), 10);
}

#[test]
fn where_all_are_fresh_nobody_is_spared() {
    let roster = healthy(pool(Rule::LeastRequests, Some(40)));
    for ms in (0..12_000).step_by(100) {
        at(&roster, ms);
        assert!(
            roster.snapshot().pools[0].eligible.iter().all(|slot| slot.max_concurrency() == 40)
        );
    }
}

#[test]
fn one_that_is_alone_with_the_load_takes_all_of_it_at_once() {
    let roster = joining(pool(Rule::LeastRequests, Some(40)));
    at(&roster, 3_601_000);
    for id in ["b", "c", "d"] {
        let address = format!("10.0.0.{}:80", id.as_bytes()[0]);
        roster.report(report(&format!("app/{id}"), &address, Verdict::Unhealthy));
    }
    assert_eq!(fresh(&roster.snapshot()).1.max_concurrency(), 40);
}

#[test]
fn the_first_of_a_later_tier_is_spared_while_an_earlier_one_carries_the_load() {
    let rack = backend("r", "10.0.0.1:80");
    let first = Backend { max_concurrency: Some(100), ..backend("a", FRESH) };
    // The pool of the fresh one stands first in the configuration and last in the route.
    let mut config = door(&[("app", &[first]), ("rack", &[rack])]);
    config.pools[0].conduct.slow_start = SLOW_START;
    config.routes = vec![waterfall(&[PoolIndex(1), PoolIndex(0)])];
    let roster = joining(config);
    let cap = |ms: u64| {
        at(&roster, 3_600_000 + ms);
        fresh(&roster.snapshot()).1.max_concurrency()
    };
    assert_eq!([0, 500, 1_000, 5_000].map(cap), [1, 5, 10, 50]);
    roster.report(report("rack/r", "10.0.0.1:80", Verdict::Unhealthy));
    assert_eq!(cap(5_100), 100, "nobody carries the load but this one");
}

/// So many were sent to `a` before it was out, and stay.
fn strand(roster: &Roster, requests: u32) -> Arc<Slot> {
    let slot = Arc::clone(fresh(&roster.snapshot()).1);
    for _ in 0..requests {
        assert!(slot.try_enter());
        slot.strand();
    }
    slot
}

#[test]
fn requests_stranded_before_it_was_out_take_nothing_of_what_it_may_have() {
    for cap in [None, Some(20)] {
        let roster = healthy(pool(Rule::LeastRequests, cap));
        let slot = strand(&roster, 12);
        at(&roster, 0);
        roster.report(report("app/a", FRESH, Verdict::Unhealthy));
        at(&roster, 3_600_000);
        roster.report(report("app/a", FRESH, Verdict::Healthy));
        assert_eq!(slot.max_concurrency(), 13, "{cap:?}");
        slot.unstrand();
        slot.give_back();
        at(&roster, 3_600_000);
        assert_eq!(slot.max_concurrency(), 12, "{cap:?}");
        at(&roster, 3_605_000);
        // Half, but for those stranded; never more than it may have at all.
        assert_eq!(slot.max_concurrency(), cap.map_or(12, |cap| cap.min(21)), "{cap:?}");
    }
}

#[test]
fn another_weight_or_configuration_does_not_undo_the_ramp() {
    let config = pool(Rule::RoundRobin, Some(40));
    let roster = joining(config.clone());
    at(&roster, 3_602_000);
    roster.configure(Arc::new(config));
    assert_eq!(fresh(&roster.snapshot()).1.max_concurrency(), 8);
}
