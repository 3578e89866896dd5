//! Who leaves, how, and when an instance is given back.

use super::*;

/// The ids that are drained in a turn.
fn drained(turn: &Turn) -> Vec<BackendId> {
    let drain = |order: &Order| match order {
        Order::Drain { id } => Some(id.clone()),
        _ => None,
    };
    orders(turn).iter().filter_map(drain).collect()
}

/// Turns until something is drained, at most ten.
fn until_drained(rig: &mut Rig) -> Vec<BackendId> {
    (0..10).map(|_| drained(&rig.turn())).find(|ids| !ids.is_empty()).unwrap_or_default()
}

#[test]
fn the_unhealthy_leave_first_and_then_those_with_the_fewest_requests() {
    let mut rig = Rig::serving(&[9, 2, 7, 5]);
    rig.members[2].is_healthy = false;
    rig.demand = 20.0;
    assert_eq!(until_drained(&mut rig), [id("i-2"), id("i-1")]);
}

#[test]
fn one_that_drains_is_given_back_when_its_last_request_has_ended() {
    let mut rig = Rig::serving(&[9, 2]);
    rig.demand = 10.0;
    assert_eq!(until_drained(&mut rig), [id("i-1")]);
    rig.members[1].stage = Stage::Draining;
    assert!((0..80).all(|_| terminated(&rig.turn()).is_empty()), "it has two requests");
    rig.members[1] = member("i-1", Stage::Drained, 0);
    let out = rig.turn();
    assert_eq!(terminated(&out), [id("i-1")]);
    assert_eq!(orders(&out), [Order::Remove { id: id("i-1") }]);
}

/// A process before this one may have requests there, although this one never had it as a member.
#[test]
fn one_that_is_taken_back_and_is_no_member_becomes_one_to_be_waited_for() {
    let mut rig = Rig::ready();
    let marked = Instance { is_marked: true, ..instance("i-0", &mark(1)) };
    rig.listed(vec![marked.clone()]);
    let out = rig.turn();
    let (id, address) = (id("i-0"), marked.address.unwrap());
    let admit = Order::Admit { id: id.clone(), address, zone: None };
    assert_eq!(orders(&out), [admit, Order::Drain { id: id.clone() }]);
    rig.members = vec![member("i-0", Stage::Draining, 1)];
    assert!((0..20).all(|_| terminated(&rig.turn()).is_empty()), "it has a request");
    rig.members = vec![member("i-0", Stage::Drained, 0)];
    assert_eq!(terminated(&rig.turn()), [id]);
}

#[test]
fn one_of_the_life_before_does_not_leave_before_a_list_has_shown_where_it_is() {
    let known = crate::controller::Known {
        id: id("i-0"),
        mark: mark(1),
        offer: "a".into(),
        age: Duration::from_secs(900),
    };
    // Of itself a pool does not shrink while something boots; an operator's order has it do so.
    let until = "2026-11-20T13:00:00Z".parse().unwrap();
    let order = Standing { order: Override::Pin(0), until, why: "x".into(), actor: "me".into() };
    let past = Past { live: vec![known], order: Some(order), ..Past::default() };
    let mut rig = Rig::new(settings(), past);
    rig.turn();
    for _ in 0..8 {
        rig.listed(Vec::new());
        let out = rig.turn();
        assert_eq!((drained(&out), terminated(&out)), (Vec::new(), Vec::new()), "{out:?}");
    }
    rig.listed(vec![instance("i-0", &mark(1))]);
    let admit = |order: &Order| matches!(order, Order::Admit { .. });
    assert!(orders(&rig.turn()).iter().any(admit), "a member first");
    rig.members = vec![member("i-0", Stage::Serving, 1)];
    assert_eq!(until_drained(&mut rig), [id("i-0")]);
}

#[test]
fn what_a_process_before_this_one_still_serves_is_demand() {
    let mut rig = Rig::serving(&[10, 10]);
    (rig.demand, rig.elsewhere) = (0.0, 20);
    assert!(until_drained(&mut rig).is_empty(), "all of it is elsewhere");
    rig.demand = 20.0;
    assert_eq!(rig.turns(5).decision.desired, 2, "and is not counted twice");
    (rig.demand, rig.elsewhere) = (10.0, 0);
    assert_eq!(until_drained(&mut rig).len(), 1);
}

#[test]
fn a_drain_ends_at_its_limit_and_says_what_was_cut() {
    let mut rig = Rig::serving(&[9, 2]);
    rig.demand = 10.0;
    until_drained(&mut rig);
    rig.members[1].stage = Stage::Draining;
    let outs: Vec<Turn> = (0..200).map(|_| rig.turn()).collect();
    let at = outs.iter().position(|out| !terminated(out).is_empty());
    assert_eq!(at, usize::try_from(DRAIN_LIMIT.as_secs()).ok());
    let cut = Event::CutShort { id: id("i-1"), in_flight: 2 };
    assert_eq!(outs[at.unwrap()].events, [cut]);
}

#[test]
fn a_termination_that_was_not_answered_is_asked_for_again() {
    let mut rig = Rig::serving(&[9, 0]);
    rig.demand = 10.0;
    until_drained(&mut rig);
    rig.members.remove(1);
    assert_eq!(terminated(&rig.turn()), [id("i-1")]);
    let result = Err(failure(FailureKind::Unclear));
    rig.facts.push(Fact::Terminated { ids: vec![id("i-1")], result });
    assert!(terminated(&rig.turn()).is_empty());
    assert_eq!(terminated(&rig.turn()), [id("i-1")]);
    rig.facts.push(Fact::Terminated { ids: vec![id("i-1")], result: Ok(()) });
    rig.turn();
    let ended = Instance { state: InstanceState::Terminated, ..instance("i-1", &mark(1)) };
    rig.listed(vec![instance("i-0", &mark(1)), ended]);
    let out = rig.turn();
    assert!(out.events.contains(&Event::Gone { id: id("i-1") }), "{:?}", out.events);
    assert_eq!(out.census.terminating, 0);
}

#[test]
fn one_that_drains_comes_back_before_another_is_launched() {
    let mut rig = Rig::serving(&[9, 2]);
    rig.demand = 10.0;
    until_drained(&mut rig);
    rig.members[1].stage = Stage::Draining;
    rig.demand = 30.0;
    let out = rig.turn();
    assert_eq!(orders(&out), [Order::Undrain { id: id("i-1") }]);
    assert_eq!(launches(&out)[0].count, 1);
}

#[test]
fn what_drains_counts_towards_the_ceiling() {
    let mut rig = Rig::serving(&[5; 20]);
    rig.demand = 100.0;
    let leaving = until_drained(&mut rig);
    assert_eq!(leaving.len(), 10);
    for member in rig.members.iter_mut().filter(|member| leaving.contains(&member.id)) {
        member.stage = Stage::Drained;
    }
    rig.demand = 400.0;
    let out = rig.turn();
    assert!(out.decision.holds.contains(&Hold::Crowded { rest: 10 }), "{:?}", out.decision);
    assert!(launches(&out).is_empty());
}

#[test]
fn nothing_leaves_while_nothing_can_be_written_down() {
    let mut rig = Rig::serving(&[9, 2]);
    rig.demand = 10.0;
    until_drained(&mut rig);
    rig.members[1] = member("i-1", Stage::Drained, 0);
    rig.journal = JournalState::Degraded;
    rig.demand = 0.0;
    let outs: Vec<Turn> = (0..200).map(|_| rig.turn()).collect();
    assert!(outs.iter().all(|out| terminated(out).is_empty() && drained(out).is_empty()));
    assert!(outs[199].decision.holds.contains(&Hold::JournalDegraded));
    rig.journal = JournalState::Durable;
    assert_eq!(terminated(&rig.turn()), [id("i-1")]);
}

#[test]
fn the_sick_are_replaced_one_by_one_and_not_all_at_once() {
    let mut rig = Rig::serving(&[5; 6]);
    rig.members.iter_mut().for_each(|member| member.is_healthy = false);
    let leave = |out: &Turn| {
        let sick = |event: &&Event| matches!(event, Event::Leaves { why: Leaving::Unhealthy, .. });
        out.events.iter().filter(sick).count()
    };
    let left: usize = (0..80).map(|_| leave(&rig.turn())).sum();
    assert_eq!(left, 2, "a third; if all are sick it is not them");
}
