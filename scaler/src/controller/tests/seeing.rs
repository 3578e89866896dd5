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
