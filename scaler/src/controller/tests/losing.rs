//! Instances that end without us: by hand, by themselves, again and again.

use super::*;
use crate::controller::Known;

/// One that has ended.
fn ended(name: &str, mark: &Mark) -> Instance {
    Instance { state: InstanceState::Terminated, ..instance(name, mark) }
}

/// A rig whose provider has one thing to offer, and somebody who waits.
fn with_one_offer() -> Rig {
    let mut rig = Rig::ready();
    rig.controller.abilities.offers.truncate(1);
    (rig.demand, rig.waiting) = (5.0, 1);
    rig
}

/// Seconds at which something is launched that has ended by the next turn, `within` so many.
fn crashes_at(rig: &mut Rig, within: u64, is_dead_in_answer: bool) -> Vec<u64> {
    let mut at = Vec::new();
    for second in 1..=within {
        let out = rig.turn();
        let Some(launch) = launches(&out).into_iter().next() else { continue };
        let name = format!("i-{second}");
        match is_dead_in_answer {
            true => rig.answered(&launch, Ok(vec![ended(&name, &launch.mark)])),
            false => {
                rig.answered(&launch, Ok(vec![instance(&name, &launch.mark)]));
                rig.listed(vec![ended(&name, &launch.mark)]);
            }
        }
        at.push(second);
    }
    at
}

#[test]
fn what_is_dead_when_its_launch_is_answered_is_launched_ever_slower() {
    let at = crashes_at(&mut with_one_offer(), 900, true);
    assert_eq!(at, [1, 2, 17, 47, 107, 227, 467, 707]);
}

#[test]
fn what_dies_before_it_serves_is_launched_ever_slower() {
    let at = crashes_at(&mut with_one_offer(), 900, false);
    assert_eq!(at, [1, 2, 3, 4, 19, 49, 109, 229, 469, 709]);
}

#[test]
fn one_that_serves_ends_the_suspicion() {
    let mut rig = with_one_offer();
    crashes_at(&mut rig, 60, false);
    let second = (1..100).find(|_| {
        let out = rig.turn();
        let Some(launch) = launches(&out).into_iter().next() else { return false };
        rig.answered(&launch, Ok(vec![instance("i-good", &launch.mark)]));
        true
    });
    assert!(second.is_some());
    rig.members.push(member("i-good", Stage::Serving, 1));
    rig.turns(2);
    rig.listed(vec![ended("i-good", &mark(1))]);
    rig.members.clear();
    assert_eq!(launches(&rig.turn()).len(), 1, "it was no failed boot");
}

#[test]
fn those_of_the_life_before_that_ended_meanwhile_are_no_failed_boots() {
    let known = |number: u32| Known {
        id: id(&format!("i-{number}")),
        mark: mark(1),
        offer: "a".into(),
        age: Duration::from_secs(9),
    };
    let past = Past { live: (0..4).map(known).collect(), ..Past::default() };
    let mut rig = Rig::new(settings(), past);
    (rig.demand, rig.waiting) = (5.0, 1);
    rig.turn();
    rig.listed((0..4).map(|number| ended(&format!("i-{number}"), &mark(1))).collect());
    assert_eq!(&*launches(&rig.turn())[0].offer.name, "a");
}

#[test]
fn one_that_a_later_list_shows_again_is_taken_over_and_an_older_list_is_not_believed() {
    let mut rig = Rig::serving(&[3, 3]);
    let asked = rig.now.steady;
    rig.listed(vec![ended("i-0", &mark(1)), instance("i-1", &mark(1))]);
    rig.members.remove(0);
    rig.turn();
    let both = ["i-0", "i-1"].map(|name| instance(name, &mark(1))).to_vec();
    rig.facts.push(Fact::Listed { asked, result: Ok(both.clone()) });
    assert_eq!(rig.turn().events, [], "asked for before it ended");
    rig.turns(20);
    rig.listed(both);
    assert_eq!(rig.turn().events, [Event::Adopted { id: id("i-0") }]);
}

#[test]
fn members_that_nobody_has_launched_are_sent_away() {
    let operators = MemberLook { is_launched: false, ..member("mine", Stage::Serving, 0) };
    let mut rig = Rig::new(settings(), Past::default());
    rig.members = vec![member("i-gone", Stage::Serving, 0), operators];
    assert_eq!(orders(&rig.turn()), [], "nobody has said what there is");
    rig.listed(vec![ended("i-gone", &mark(1))]);
    let out = rig.turn();
    let remove = Order::Remove { id: id("i-gone") };
    assert!(orders(&out).contains(&remove) && orders(&out).len() == 1, "{out:?}");
}

#[test]
fn a_member_that_a_list_does_not_show_for_a_moment_is_left_alone() {
    let mut rig = Rig::new(settings(), Past::default());
    rig.members = vec![member("i-late", Stage::Serving, 1)];
    let patience = abilities().visible_within.as_secs();
    for second in 0..=patience {
        assert_eq!(orders(&rig.turn()), [], "after {second} s");
        rig.listed(Vec::new());
    }
    assert_eq!(orders(&rig.turn()), [Order::Remove { id: id("i-late") }]);
    // One that comes to light counts as never missed.
    rig.members = vec![member("i-later", Stage::Serving, 1)];
    rig.listed(Vec::new());
    assert_eq!(orders(&rig.turns(patience)), []);
    rig.listed(vec![instance("i-later", &mark(1))]);
    assert!(rig.turn().events.contains(&Event::Adopted { id: id("i-later") }));
}

#[test]
fn one_that_ends_while_it_drains_is_gone_as_was_wanted() {
    let mut rig = Rig::serving(&[3, 3]);
    rig.demand = 10.0;
    rig.turns(5);
    rig.members[0].stage = Stage::Draining;
    rig.listed(vec![ended("i-0", &mark(1)), instance("i-1", &mark(1))]);
    let out = rig.turn();
    assert!(out.events.contains(&Event::Gone { id: id("i-0") }), "{:?}", out.events);
    rig.members.remove(0);
    rig.demand = 20.0;
    assert_eq!(launches(&rig.turn()).len(), 1, "it is counted once: {out:?}");
}

#[test]
fn those_of_the_life_before_get_as_long_as_a_boot_to_be_found_well() {
    let known = |number: u32| Known {
        id: id(&format!("i-{number}")),
        mark: mark(1),
        offer: "a".into(),
        age: Duration::from_secs(3600),
    };
    let past = Past { live: (0..2).map(known).collect(), ..Past::default() };
    let mut rig = Rig::new(settings(), past);
    rig.demand = 20.0;
    let mut outs = vec![rig.turn()];
    rig.listed((0..2).map(|number| instance(&format!("i-{number}"), &mark(1))).collect());
    outs.extend((0..5).map(|_| rig.turn()));
    // One is well after some checks, the other never.
    rig.members = vec![member("i-0", Stage::Serving, 3), member("i-1", Stage::Joining, 0)];
    outs.extend((0..100).map(|_| rig.turn()));
    let leave = |out: &Turn| out.events.iter().any(|event| matches!(event, Event::Leaves { .. }));
    assert!(!outs.iter().any(leave), "{:?}", outs.iter().find(|out| leave(out)));
    let events: Vec<Event> = (0..30).flat_map(|_| rig.turn().events).collect();
    assert_eq!(events, [Event::Leaves { id: id("i-1"), why: Leaving::BootFailed }]);
}

#[test]
fn the_crowd_that_waited_for_a_restart_is_no_demand() {
    let past = || {
        let known = |number: u32| Known {
            id: id(&format!("i-{number}")),
            mark: mark(1),
            offer: "a".into(),
            age: Duration::from_secs(60),
        };
        Past { live: (0..2).map(known).collect(), ..Past::default() }
    };
    let both = || ["i-0", "i-1"].map(|name| instance(name, &mark(1))).to_vec();
    let mut rig = Rig::new(settings(), past());
    (rig.demand, rig.waiting) = (80.0, 60);
    let mut outs = vec![rig.turn()];
    rig.listed(both());
    outs.push(rig.turn());
    (rig.demand, rig.waiting) = (20.0, 0);
    rig.members = ["i-0", "i-1"].map(|name| member(name, Stage::Serving, 8)).to_vec();
    outs.extend((0..5).map(|_| rig.turn()));
    assert!(outs.iter().all(|out| launches(out).is_empty()), "{outs:?}");
    assert_eq!(outs[6].decision.desired, 2);
    rig.demand = 40.0;
    assert_eq!(launches(&rig.turn())[0].count, 2, "a crowd that comes later is one");
}
