//! What counts as capacity: only who takes requests.

use super::*;
use crate::controller::Before;

/// A rig behind a pool of two that may have 50 requests each, for a demand of 100.
fn behind(members: [MemberLook; 2]) -> Rig {
    let before = vec![Before { pool: PoolName("onprem".into()), fill_to: 1.0 }];
    let mut rig = Rig::ready_with(Settings { before, ..settings() });
    let members = members.map(|member| MemberLook { max_concurrency: Some(50), ..member });
    rig.others.push(PoolLook {
        pool: PoolName("onprem".into()),
        demand: Some(Demand::default()),
        elsewhere: 0,
        members: members.to_vec(),
        error_rate: 0.0,
        connect_errors_rps: 0.0,
    });
    rig.demand = 100.0;
    rig
}

#[track_caller]
fn check(second: MemberLook, launched: u32) {
    let mut rig = behind([member("b-1", Stage::Serving, 0), second]);
    let out = rig.turn();
    let count: u32 = launches(&out).iter().map(|launch| launch.count).sum();
    assert_eq!(count, launched, "{:?}", out.decision);
}

#[test]
fn what_an_earlier_tier_carries_is_no_demand() {
    check(member("b-2", Stage::Serving, 0), 0);
}

#[test]
fn members_of_an_earlier_tier_that_take_no_requests_carry_nothing() {
    let serving = member("b-2", Stage::Serving, 0);
    check(MemberLook { is_healthy: false, ..serving.clone() }, 5);
    check(MemberLook { is_ejected: true, ..serving.clone() }, 5);
    for stage in [Stage::Joining, Stage::Draining, Stage::Drained] {
        check(MemberLook { stage, ..serving.clone() }, 5);
    }
}

#[test]
fn a_request_that_moves_on_to_the_next_pool_is_one_request() {
    let serving = |name: &str| member(name, Stage::Serving, 25);
    let mut rig = behind([serving("b-1"), serving("b-2")]);
    // A thousand a second, of whom half found the first pool full: a hundred at once.
    rig.others[0].demand = Some(Demand {
        doors: 1,
        arrivals_rps: 1_000.0,
        refused_rps: 500.0,
        moved_on_rps: 500.0,
        service: Some(Duration::from_millis(100)),
        ..Demand::default()
    });
    rig.demand = 50.0;
    let out = rig.turn();
    assert!(launches(&out).is_empty(), "{:?}", out.decision);
    rig.others[0].demand.as_mut().unwrap().moved_on_rps = 300.0;
    assert_eq!(launches(&rig.turn())[0].count, 2, "so many were refused, and count");
}
