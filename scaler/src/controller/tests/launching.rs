//! Launches, their answers, boots, and instances that nobody remembers.

use super::*;

#[test]
fn nothing_is_launched_before_the_provider_has_said_what_there_is() {
    let mut rig = Rig::new(settings(), Past::default());
    rig.demand = 100.0;
    let out = rig.turns(5);
    assert_eq!((launches(&out), out.decision.holds), (Vec::new(), vec![Hold::NotReconciled]));
    rig.listed(Vec::new());
    assert_eq!(launches(&rig.turn()).iter().map(|launch| launch.count).sum::<u32>(), 10);
}

#[test]
fn a_new_journal_does_not_trust_a_list_that_may_be_too_early() {
    let mut rig = Rig::new(settings(), Past { is_new: true, ..Past::default() });
    rig.demand = 100.0;
    rig.turn();
    rig.listed(Vec::new());
    assert!(launches(&rig.turns(3)).is_empty(), "a call of the life before may still launch");
    rig.turns(15);
    rig.listed(Vec::new());
    assert!(!launches(&rig.turn()).is_empty());
}

#[test]
fn demand_is_launched_in_batches_with_tokens_of_their_own() {
    let mut rig = Rig::ready();
    rig.demand = 100.0;
    let out = rig.turn();
    let counts: Vec<u32> = launches(&out).iter().map(|launch| launch.count).collect();
    assert_eq!(counts, [4, 4, 2], "four are the most of a call");
    let mut tokens: Vec<_> = launches(&out).iter().map(LaunchRequest::token).collect();
    tokens.sort();
    tokens.dedup();
    assert_eq!(tokens.len(), 3);
    assert!(launches(&rig.turns(3)).is_empty(), "what is under way is supply");
}

#[test]
fn a_launch_without_a_clear_answer_is_repeated_as_it_was_and_ever_slower() {
    let mut rig = Rig::ready();
    rig.demand = 40.0;
    let launched = launches(&rig.turn());
    let mut repeated_at = Vec::new();
    rig.answered(&launched[0], Err(failure(FailureKind::Unclear)));
    for second in 1..40 {
        let out = rig.turn();
        if let [again] = &repeats(&out)[..] {
            assert_eq!(*again, launched[0]);
            repeated_at.push(second);
            rig.answered(again, Err(failure(FailureKind::Throttled)));
        }
    }
    assert_eq!(repeated_at, [2, 5, 10, 19, 36]);
}

#[test]
fn a_call_whose_answer_gets_lost_on_our_side_is_made_again() {
    let mut rig = Rig::ready();
    rig.demand = 40.0;
    let launched = launches(&rig.turn());
    let silent = (1..30).find(|_| repeats(&rig.turn()) == launched);
    assert_eq!(silent, Some(12), "twice what an answer may take, and a pause");
}

#[test]
fn a_definite_failure_is_not_repeated_and_the_next_offer_is_tried() {
    let mut rig = Rig::ready();
    rig.demand = 40.0;
    let first = launches(&rig.turn());
    rig.answered(&first[0], Err(failure(FailureKind::NoCapacity)));
    let second = launches(&rig.turn());
    assert_eq!((&*first[0].offer.name, &*second[0].offer.name), ("a", "b"));
    rig.answered(&second[0], Err(failure(FailureKind::NoCapacity)));
    let third = launches(&rig.turn());
    assert_eq!(&*third[0].offer.name, "a", "the one that failed first");
    rig.answered(&third[0], Err(failure(FailureKind::NoCapacity)));
    assert_eq!(rig.turn().decision.holds, [Hold::NoOffer]);
    assert_eq!(launches(&rig.turns(14)).len(), 1, "tried again now and then");
}

/// So many turns in which the cloud has nothing of anything; what was tried in them, and when.
fn without_capacity(rig: &mut Rig, turns: u64) -> Vec<(u64, String)> {
    let mut tried = Vec::new();
    for second in 1..=turns {
        for request in launches(&rig.turn()) {
            tried.push((second, request.offer.name.to_string()));
            rig.answered(&request, Err(failure(FailureKind::NoCapacity)));
        }
    }
    tried
}

#[test]
fn while_nothing_is_to_be_had_every_offer_is_tried_in_rounds_that_become_rarer() {
    let mut rig = Rig::ready();
    rig.demand = 40.0;
    let tried = without_capacity(&mut rig, 120);
    let tried: Vec<(u64, &str)> = tried.iter().map(|(at, offer)| (*at, &**offer)).collect();
    let rounds = [(18, "b"), (19, "a"), (48, "b"), (49, "a"), (108, "b"), (109, "a")];
    assert_eq!(tried[..3], [(1, "a"), (2, "b"), (3, "a")], "at once, and the oldest again");
    assert_eq!(tried[3..], rounds);
}

#[test]
fn a_launch_that_is_answered_ends_the_pauses_before_anybody_serves() {
    let mut rig = Rig::ready();
    rig.demand = 40.0;
    without_capacity(&mut rig, 300);
    let request = (0..240).find_map(|_| launches(&rig.turn()).pop()).expect("tried now and then");
    let names = ["i-1", "i-2", "i-3", "i-4"];
    rig.answered(&request, Ok(names.map(|name| instance(name, &request.mark)).to_vec()));
    assert!(launches(&rig.turn()).is_empty(), "all that is needed boots");
    rig.demand = 60.0;
    let more = launches(&rig.turn());
    assert_eq!(
        more.iter().map(|one| (&*one.offer.name, one.count)).collect::<Vec<_>>(),
        [(&*request.offer.name, 2)]
    );
}

#[test]
fn a_quota_stops_growth_and_takes_nobody_away() {
    let mut rig = Rig::serving(&[5, 5]);
    rig.demand = 40.0;
    let launched = launches(&rig.turn());
    rig.answered(&launched[0], Err(failure(FailureKind::Quota)));
    let outs: Vec<Turn> = (0..100).map(|_| rig.turn()).collect();
    assert!(outs.iter().all(|out| launches(out).is_empty() && orders(out).is_empty()));
    assert_eq!(outs[99].decision.desired, 2, "{:?}", outs[99].decision);
}

#[test]
fn denied_means_a_pause_and_not_a_storm() {
    let mut rig = Rig::ready();
    rig.demand = 40.0;
    let launched = launches(&rig.turn());
    rig.answered(&launched[0], Err(failure(FailureKind::Denied)));
    let count: usize = (0..59).map(|_| launches(&rig.turn()).len()).sum();
    assert_eq!(count, 0);
    assert_eq!(launches(&rig.turns(2)).len(), 1);
}

#[test]
fn an_answer_whose_instances_have_ended_is_no_success() {
    let mut rig = Rig::ready();
    rig.demand = 40.0;
    let launched = launches(&rig.turn());
    let dead = Instance { state: InstanceState::Terminated, ..instance("i-1", &launched[0].mark) };
    rig.answered(&launched[0], Ok(vec![dead]));
    let out = rig.turn();
    assert!(matches!(out.events[..], [Event::LaunchFailed { .. }]), "{:?}", out.events);
    assert_ne!(launches(&out)[0].token(), launched[0].token());
}

#[test]
fn fewer_than_asked_for_is_an_answer_and_the_rest_is_asked_for_anew() {
    let mut rig = Rig::ready();
    rig.demand = 40.0;
    let launched = launches(&rig.turn());
    rig.answered(&launched[0], Ok(vec![instance("i-1", &launched[0].mark)]));
    let out = rig.turn();
    assert_eq!(launches(&out).iter().map(|launch| launch.count).collect::<Vec<_>>(), [3]);
}

#[test]
fn an_open_launch_of_the_life_before_is_repeated_and_counts() {
    let request = LaunchRequest { mark: mark(7), count: 4, offer: abilities().offers[0].clone() };
    let past = Past { open: vec![(request.clone(), Duration::from_secs(30))], ..Past::default() };
    let mut rig = Rig::new(settings(), past);
    assert_eq!(repeats(&rig.turn()), std::slice::from_ref(&request));
    rig.demand = 40.0;
    rig.listed(Vec::new());
    assert!(launches(&rig.turn()).is_empty());
    rig.listed((1..5).map(|n| instance(&format!("i-{n}"), &request.mark)).collect());
    let out = rig.turn();
    assert!(matches!(&out.events[..], [Event::LaunchAnswered { ids, .. }] if ids.len() == 4));
}

#[test]
fn what_carries_our_mark_is_adopted_and_what_does_not_is_left_alone() {
    let mut rig = Rig::ready();
    rig.demand = 20.0;
    let strange = Instance { mark: None, ..instance("i-strange", &mark(1)) };
    let other = Mark { site: "other".into(), ..mark(1) };
    rig.listed(vec![strange, instance("i-other", &other), instance("i-ours", &mark(999))]);
    let out = rig.turn();
    assert_eq!(out.events, [Event::Adopted { id: id("i-ours") }]);
    assert_eq!(launches(&out)[0].count, 1, "one of two is there");
    assert!(matches!(&orders(&out)[..], [Order::Admit { id: one, .. }] if *one == id("i-ours")));
}

#[test]
fn a_boot_is_learned_from_and_one_that_takes_too_long_is_given_up() {
    let mut rig = Rig::ready();
    rig.demand = 20.0;
    let launched = launches(&rig.turn());
    let both = ["i-1", "i-2"].map(|name| instance(name, &launched[0].mark)).to_vec();
    rig.answered(&launched[0], Ok(both));
    assert_eq!(orders(&rig.turn()).len(), 2);
    rig.members = vec![member("i-1", Stage::Serving, 1), member("i-2", Stage::Joining, 0)];
    let out = rig.turn();
    assert!(
        matches!(&out.events[..], [Event::Serves { passed, .. }] if passed.as_secs() == 2),
        "{out:?}"
    );
    let events: Vec<Event> = (0..120).flat_map(|_| rig.turn().events).collect();
    assert_eq!(events, [Event::Leaves { id: id("i-2"), why: Leaving::BootFailed }]);
}

#[test]
fn a_turn_that_comes_late_decides_nothing() {
    let mut rig = Rig::ready();
    rig.turn();
    rig.demand = 100.0;
    let out = rig.turn_after(Duration::from_secs(8));
    assert!(matches!(out.decision.holds[..], [Hold::LateTurn { .. }]), "{:?}", out.decision);
    assert!(launches(&out).is_empty());
    assert!(!launches(&rig.turn()).is_empty());
}

#[test]
fn a_shadow_decides_and_touches_nothing() {
    let mut rig = Rig::ready_with(Settings { mode: Mode::Shadow, ..settings() });
    rig.demand = 40.0;
    rig.members = vec![member("i-0", Stage::Serving, 3), member("i-1", Stage::Serving, 3)];
    let ended = Instance { state: InstanceState::Terminated, ..instance("i-0", &mark(1)) };
    let both = ["i-0", "i-1"].map(|name| instance(name, &mark(1))).to_vec();
    let lists = [both, vec![ended, instance("i-1", &mark(1))]];
    let mut outs = Vec::new();
    for list in lists {
        outs.extend((0..15).map(|_| rig.turn()));
        rig.listed(list);
    }
    outs.extend((0..15).map(|_| rig.turn()));
    assert!(outs.iter().flat_map(|out| &out.actions).all(|action| *action == Action::List));
    assert_eq!(outs[44].decision.desired, 4, "{:?}", outs[44].decision);
    assert_eq!(outs[44].decision.current, 4, "as if it had been done");
    rig.demand = 0.0;
    assert_eq!(rig.turns(10).decision.desired, 0);
}

#[test]
fn one_that_went_without_us_is_noticed_and_not_blindly_launched_again() {
    let mut rig = Rig::serving(&[3, 3]);
    let ended = Instance { state: InstanceState::Terminated, ..instance("i-0", &mark(1)) };
    rig.listed(vec![ended, instance("i-1", &mark(1))]);
    let out = rig.turn();
    assert!(out.events.contains(&Event::Lost { id: id("i-0") }), "{:?}", out.events);
    assert!(orders(&out).contains(&Order::Remove { id: id("i-0") }));
    rig.members.remove(0);
    assert!((0..55).all(|_| launches(&rig.turn()).is_empty()), "somebody meant it");
    assert!((0..10).any(|_| !launches(&rig.turn()).is_empty()), "it is needed");
}
