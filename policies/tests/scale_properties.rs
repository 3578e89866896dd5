//! What holds for every pool, whatever is asked of it.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test, in helpers too

use std::time::Duration;

use policies::scale::policy::{Dependency, Freeze, Step};
use policies::scale::window::{When, Window};
use policies::scale::{
    Decision, Memory, Now, Override, Sample, ScalingPolicy, Sight, Standing, decide,
};
use proptest::prelude::*;

/// One second of a pool's life, as chance has it.
#[derive(Debug, Clone)]
struct Second {
    demand: Option<f64>,
    is_short: bool,
    booting: u32,
    quota: Option<u32>,
    error_rate: f64,
    pin: Option<u32>,
    gap: u64,
}

fn second() -> impl Strategy<Value = Second> {
    let demand = prop_oneof![4 => (0.0..2000.0).prop_map(Some), 1 => Just(None)];
    let pin = prop_oneof![9 => Just(None), 1 => (0u32..80).prop_map(Some)];
    let quota = prop_oneof![3 => Just(None), 1 => (0u32..60).prop_map(Some)];
    (demand, any::<bool>(), 0u32..4, quota, 0.0..0.2, pin, 1u64..40).prop_map(
        |(demand, is_short, booting, quota, error_rate, pin, gap)| Second {
            demand,
            is_short,
            booting,
            quota,
            error_rate,
            pin,
            gap,
        },
    )
}

fn policy() -> impl Strategy<Value = ScalingPolicy> {
    let windows = prop::collection::vec((0i8..23, 0u32..50, prop::option::of(0u32..50)), 0..5);
    (0u32..20, 1u32..60, 0u32..4, 0u64..120, 1u32..40, windows, any::<bool>()).prop_map(
        |(floor, ceiling, spare, stable_for, connections, windows, is_frozen)| {
            let mut policy = ScalingPolicy {
                floor,
                ceiling,
                min_spare_instances: spare,
                ..ScalingPolicy::default()
            };
            policy.target.per_instance = 10.0;
            policy.down.stable_for = Duration::from_secs(stable_for);
            policy.down.cooldown = Duration::from_secs(stable_for / 5);
            policy.down.max_step = Step::Share(0.2);
            if !is_frozen {
                policy.down.freeze_if = vec![Freeze::SignalMissing];
            }
            policy.windows = windows.into_iter().map(window).collect();
            policy.depends = [connections, 60]
                .map(|connections| Dependency {
                    name: "db".into(),
                    connections,
                    per_instance: 1,
                    place: "t".into(),
                })
                .to_vec();
            policy
        },
    )
}

fn window((from, floor, ceiling): (i8, u32, Option<u32>)) -> Window {
    let time = |hour| jiff::civil::time(hour, 0, 0, 0);
    Window {
        name: "w".into(),
        zone: jiff::tz::TimeZone::UTC,
        when: When::Weekly { days: [true; 7], from: time(from), to: time(from + 1) },
        floor: Some(floor),
        ceiling,
        lead: None,
        place: "t".into(),
    }
}

/// Lives through the seconds; the pool always gets the size that was decided.
fn live(policy: &ScalingPolicy, seconds: &[Second], mut each: impl FnMut(&Sight, &Decision)) {
    let mut memory = Memory::default();
    let mut now = Now { wall: "2026-11-20T12:30:00Z".parse().unwrap(), steady: Duration::ZERO };
    let mut current = 0;
    for second in seconds {
        let gap = Duration::from_secs(second.gap);
        now = Now { wall: now.wall.checked_add(gap * 20).unwrap(), steady: now.steady + gap };
        let until = now.wall.checked_add(gap).unwrap();
        let pin = |pin| Standing {
            order: Override::Pin(pin),
            until,
            why: "test".into(),
            actor: "uid 0".into(),
        };
        let booting = second.booting.min(current);
        let sight = Sight {
            now,
            sample: second.demand.map(|demand| Sample { demand, is_short: second.is_short }),
            current,
            ready: current - booting,
            booting,
            lead: Duration::from_secs(300),
            quota: second.quota,
            budget: None,
            critical: 0,
            error_rate: second.error_rate,
            is_outage_suspected: false,
            order: second.pin.map(pin),
        };
        let decision = decide(policy, &mut memory, &sight);
        each(&sight, &decision);
        current = decision.desired;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_pool_never_grows_beyond_what_is_allowed(
        policy in policy(),
        seconds in prop::collection::vec(second(), 1..60),
    ) {
        live(&policy, &seconds, |sight, decision| {
            if decision.desired > sight.current {
                let lowest = policy.depends.iter().map(Dependency::instances).min().unwrap();
                let limit = lowest.min(sight.quota.unwrap_or(u32::MAX)).max(policy.min_spare_instances);
                assert!(decision.desired <= policy.ceiling.min(limit), "{decision:?}");
            }
        });
    }

    #[test]
    fn the_order_of_rules_changes_nothing(
        policy in policy(),
        seconds in prop::collection::vec(second(), 1..60),
        turn in 0usize..5,
    ) {
        let mut other = policy.clone();
        other.windows.reverse();
        other.depends.reverse();
        other.down.freeze_if.reverse();
        let count = other.windows.len().max(1);
        other.windows.rotate_left(turn % count);
        let mut sizes = Vec::new();
        live(&policy, &seconds, |_, decision| sizes.push(decision.desired));
        let mut others = Vec::new();
        live(&other, &seconds, |_, decision| others.push(decision.desired));
        prop_assert_eq!(sizes, others);
    }

    #[test]
    fn whoever_is_not_followed_is_told_why(
        policy in policy(),
        seconds in prop::collection::vec(second(), 1..60),
    ) {
        live(&policy, &seconds, |_, decision| {
            let is_explained = !decision.holds.is_empty() || !decision.concerns.is_empty();
            let protected = decision.terms.iter().any(|term| term.verb() == "protects");
            assert!(
                decision.desired == decision.need || is_explained || protected,
                "{decision:?}",
            );
        });
    }

    #[test]
    fn nothing_shrinks_while_anything_boots_or_nobody_counts(
        policy in policy(),
        seconds in prop::collection::vec(second(), 1..60),
    ) {
        live(&policy, &seconds, |sight, decision| {
            let freezes = &policy.down.freeze_if;
            let is_frozen = sight.sample.is_none()
                || (sight.booting > 0 && freezes.contains(&Freeze::BootInProgress));
            if is_frozen && sight.order.is_none() {
                assert!(decision.desired >= sight.current, "{decision:?}");
            }
        });
    }

    #[test]
    fn more_demand_never_asks_for_fewer(less in 0.0..5000.0f64, more in 0.0..5000.0f64) {
        let (less, more) = (less.min(more), less.max(more));
        let policy = ScalingPolicy::default();
        let count = |demand| policies::scale::instances_for(&policy, demand);
        prop_assert!(count(less) <= count(more));
    }
}
