//! The formula, term by term, second by second.

use super::policy::{Burst, Dependency, Freeze, OnMissing, Step, WhenBlind};
use super::*;

/// A pool that lives second by second; 10 concurrent requests per instance, no spare.
struct Pool {
    policy: ScalingPolicy,
    memory: Memory,
    sight: Sight,
}

fn pool(current: u32) -> Pool {
    let mut policy = ScalingPolicy { ceiling: 100, ..ScalingPolicy::default() };
    policy.target.per_instance = 10.0;
    policy.target.spare = 0.0;
    policy.down.stable_for = Duration::from_secs(60);
    policy.down.cooldown = Duration::ZERO;
    policy.places.insert("target", "t.toml:7".into());
    let sight = Sight {
        now: Now { wall: "2026-11-20T12:00:00Z".parse().unwrap(), steady: Duration::from_secs(9) },
        sample: None,
        current,
        ready: current,
        booting: 0,
        lead: Duration::ZERO,
        quota: None,
        budget: None,
        critical: 0,
        error_rate: 0.0,
        is_outage_suspected: false,
        order: None,
    };
    Pool { policy, memory: Memory::default(), sight }
}

impl Pool {
    /// One second with this demand; the pool gets the size that was decided.
    fn second(&mut self, demand: f64) -> Decision {
        self.sample(Some(Sample { demand, is_short: false }))
    }

    fn sample(&mut self, sample: Option<Sample>) -> Decision {
        let second = Duration::from_secs(1);
        self.sight.now.steady += second;
        self.sight.now.wall = self.sight.now.wall.checked_add(second).unwrap();
        self.sight.sample = sample;
        let decision = decide(&self.policy, &mut self.memory, &self.sight);
        (self.sight.current, self.sight.ready) = (decision.desired, decision.desired);
        decision
    }

    fn seconds(&mut self, count: u32, demand: f64) -> Decision {
        let mut last = self.second(demand);
        for _ in 1..count {
            last = self.second(demand);
        }
        last
    }
}

#[test]
fn the_spare_is_added_to_whole_instances_as_in_the_example() {
    let mut policy = ScalingPolicy::default();
    policy.target.per_instance = 110.0;
    // On-prem carries 6 × 350 × 85 % = 1,785 of the 6,000 and of the 8,400.
    assert_eq!(instances_for(&policy, 6_000.0 - 1_785.0), 43);
    assert_eq!(instances_for(&policy, 8_400.0 - 1_785.0), 68);
    assert_eq!(instances_for(&policy, 1_100.0), 11, "no rounding error makes it 12");
    assert_eq!(instances_for(&policy, -5.0), 0);
}

#[test]
fn every_number_names_its_place() {
    let decision = pool(2).second(50.0);
    let target = decision.terms.iter().find(|term| term.name() == "target").unwrap();
    assert_eq!((target.instances, &*target.place), (5, "t.toml:7"));
    let ceiling = decision.terms.iter().find(|term| term.name() == "ceiling").unwrap();
    assert_eq!((ceiling.instances, &*ceiling.place), (100, "ceiling (default)"));
}

#[test]
fn a_burst_is_followed_by_its_latest_second_in_one_step() {
    let mut pool = pool(2);
    pool.seconds(60, 20.0);
    let waiting = Sample { demand: 400.0, is_short: true };
    assert_eq!(pool.sample(Some(waiting)).desired, 40);
}

#[test]
fn a_burst_does_not_stop_half_way() {
    let mut pool = pool(2);
    pool.seconds(60, 20.0);
    assert_eq!(pool.second(100.0).desired, 4);
    assert_eq!(pool.second(100.0).desired, 8, "which carries 100, with 10 above the target");
    assert_eq!(pool.second(100.0).desired, 10);
}

#[test]
fn a_small_rise_is_left_to_the_long_window() {
    let mut pool = pool(2);
    pool.seconds(60, 20.0);
    assert_eq!(pool.second(31.0).desired, 3, "the mean is above 20 now");
    assert!(pool.second(31.0).terms.iter().all(|term| term.name() != "burst"));
}

#[test]
fn without_anybody_waiting_a_step_at_most_doubles() {
    let mut pool = pool(2);
    let sizes: Vec<u32> = (0..5).map(|_| pool.second(300.0).desired).collect();
    assert_eq!(sizes, [4, 8, 16, 30, 30]);
}

#[test]
fn an_empty_pool_does_not_crawl() {
    assert_eq!(pool(0).second(300.0).desired, 2);
    assert_eq!(pool(0).second(0.0).desired, 0);
}

#[test]
fn a_pause_between_steps_up_is_kept() {
    let mut pool = pool(2);
    pool.policy.up.cooldown = Duration::from_secs(3);
    let sizes: Vec<u32> = (0..7).map(|_| pool.second(300.0).desired).collect();
    assert_eq!(sizes, [4, 4, 4, 8, 8, 8, 16]);
}

#[test]
fn it_shrinks_only_to_the_highest_need_of_the_quiet_and_in_steps() {
    let mut pool = pool(10);
    pool.policy.target.window = Duration::from_secs(1);
    pool.second(100.0);
    let decision = pool.seconds(60, 30.0);
    assert_eq!((decision.desired, decision.holds.len()), (10, 1), "{:?}", decision.holds);
    assert_eq!(pool.second(30.0).desired, 8, "a fifth of 10");
    assert_eq!(pool.second(30.0).desired, 7, "a fifth of 8, rounded down");
    assert_eq!(pool.seconds(9, 30.0).desired, 3);
}

#[test]
fn it_does_not_shrink_before_it_has_looked_long_enough() {
    let mut pool = pool(10);
    let decision = pool.second(0.0);
    assert!(matches!(decision.holds[..], [Hold::TooYoung { .. }]), "{:?}", decision.holds);
    assert_eq!(pool.seconds(59, 0.0).desired, 10);
    assert!(pool.seconds(2, 0.0).desired < 10);
}

#[test]
fn every_freeze_keeps_the_size() {
    for by in ["outage_suspected", "error_rate", "boot_in_progress"] {
        let mut pool = pool(10);
        pool.policy.down.max_step = Step::Count(1);
        pool.seconds(63, 0.0);
        let before = pool.sight.current;
        match by {
            "outage_suspected" => pool.sight.is_outage_suspected = true,
            "error_rate" => pool.sight.error_rate = 0.2,
            _ => pool.sight.booting = 1,
        }
        let decision = pool.second(0.0);
        assert_eq!(decision.desired, before, "{by}");
        assert_eq!(decision.holds, [Hold::Frozen { by }]);
        pool.policy.down.freeze_if = vec![Freeze::SignalMissing];
        assert!(pool.second(0.0).desired < before, "{by} is not asked for any more");
    }
}

#[test]
fn nobody_who_counts_means_nothing_changes() {
    let mut pool = pool(10);
    pool.seconds(70, 100.0);
    for _ in 0..200 {
        assert_eq!(pool.sample(None).desired, 10);
    }
    let decision = pool.sample(None);
    assert!(matches!(decision.holds[..], [Hold::SignalMissing { .. }]), "{:?}", decision.holds);
    let decision = pool.second(0.0);
    assert_eq!(decision.desired, 10, "what was missed may have been a crowd: {:?}", decision.holds);
}

#[test]
fn a_size_for_the_blind_is_asked_for_when_it_is_blind() {
    let mut pool = pool(2);
    pool.policy.on_missing_signal =
        OnMissing { after: Duration::from_secs(5), then: WhenBlind::Instances(4) };
    pool.seconds(3, 20.0);
    let sizes: Vec<u32> = (0..7).map(|_| pool.sample(None).desired).collect();
    assert_eq!(sizes, [2, 2, 2, 2, 2, 4, 4]);
}

#[test]
fn the_lowest_limit_holds_and_the_shortage_is_told() {
    let mut pool = pool(4);
    pool.policy.depends = vec![Dependency {
        name: "db".into(),
        connections: 130,
        per_instance: 20,
        place: "t.toml:9".into(),
    }];
    pool.sight.quota = Some(30);
    let decision = pool.sample(Some(Sample { demand: 500.0, is_short: true }));
    assert_eq!(decision.desired, 6);
    assert_eq!(decision.concerns, [Concern::Short { need: 50, limit: 6 }]);
    pool.policy.depends.clear();
    assert_eq!(pool.sample(Some(Sample { demand: 500.0, is_short: true })).desired, 30);
}

#[test]
fn the_budget_does_not_cut_what_is_protected() {
    let mut pool = pool(3);
    pool.policy.min_spare_instances = 1;
    pool.sight.budget = Some(0);
    pool.sight.critical = 1;
    pool.seconds(70, 30.0);
    assert_eq!(pool.seconds(5, 30.0).desired, 2);
    pool.sight.critical = 0;
    assert_eq!(pool.seconds(70, 0.0).desired, 0, "nothing needed means nothing running");
}

#[test]
fn a_pin_replaces_the_need_in_both_directions_and_lapses() {
    let mut pool = pool(5);
    let until = pool.sight.now.wall.checked_add(Duration::from_secs(20)).unwrap();
    pool.sight.order = Some(Standing {
        order: Override::Pin(8),
        until,
        why: "load test".into(),
        actor: "uid 0".into(),
    });
    assert_eq!(pool.second(10.0).desired, 8);
    pool.sight.order =
        Some(Standing { order: Override::Pin(3), until, why: "".into(), actor: "uid 0".into() });
    assert_eq!(pool.seconds(9, 500.0).desired, 3, "no stable_for, but steps");
    pool.sight.order =
        Some(Standing { order: Override::Pin(500), until, why: "".into(), actor: "uid 0".into() });
    assert_eq!(pool.seconds(9, 0.0).desired, 100, "never above the ceiling");
    let decision = pool.second(0.0);
    assert!(decision.terms.iter().all(|term| term.name() != "pin"), "{decision:?}");
}

#[test]
fn a_pause_stops_both_ways() {
    let mut pool = pool(5);
    let until = pool.sight.now.wall.checked_add(Duration::from_secs(500)).unwrap();
    pool.sight.order = Some(Standing {
        order: Override::Pause,
        until,
        why: "surgery".into(),
        actor: "uid 0".into(),
    });
    assert_eq!(pool.second(500.0).desired, 5);
    let decision = pool.seconds(100, 0.0);
    assert_eq!(
        decision.holds,
        [Hold::Paused { why: "surgery".into(), actor: "uid 0".into(), until }]
    );
    assert_eq!(decision.desired, 5);
}

#[test]
fn a_window_asks_one_lead_before_it_opens() {
    let mut pool = pool(0);
    let from = "2026-11-20T12:01:00".parse().unwrap();
    let to = "2026-11-20T12:03:00".parse().unwrap();
    pool.policy.windows = vec![window::Window {
        name: "evening".into(),
        zone: jiff::tz::TimeZone::UTC,
        when: window::When::Once { from, to },
        floor: Some(2),
        ceiling: Some(3),
        lead: None,
        place: "t.toml:30".into(),
    }];
    pool.sight.lead = Duration::from_secs(20);
    assert_eq!(pool.seconds(39, 0.0).desired, 0);
    let decision = pool.second(0.0);
    assert_eq!(decision.desired, 2);
    assert!(decision.terms.iter().any(|term| term.name() == "window evening"));
    assert_eq!(pool.seconds(5, 50.0).desired, 5, "its ceiling does not lead");
    pool.policy.windows[0].floor = Some(9);
    let decision = pool.seconds(30, 50.0);
    let contradiction = Concern::FloorAboveCeiling { floor: 9, ceiling: 3 };
    assert!(decision.concerns.contains(&contradiction), "{:?}", decision.concerns);
}

#[test]
fn a_short_window_of_zero_instances_cannot_divide_by_zero() {
    let mut pool = pool(0);
    pool.policy.target.burst = Some(Burst { window: Duration::ZERO, when_above: 1.0 });
    assert_eq!(pool.second(f64::NAN).desired, 0);
    assert_eq!(pool.second(0.0).desired, 0);
}
