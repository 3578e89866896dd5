//! Every way between the stages of a member, every way there is not, and what a reload means.

#![allow(clippy::unwrap_used)] // the lint does not see that helpers of tests are tests

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use policies::backend::{Address, Backend, BackendId, BackendKey, Origin, PoolName};
use policies::membership::{Change, Member, Membership, Rejected, Stage};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};

fn pool() -> PoolName {
    PoolName("web".into())
}

fn key(id: &str) -> BackendKey {
    BackendKey { pool: pool(), backend: BackendId(id.into()) }
}

fn backend(id: &str, port: u16, weight: u32) -> Backend {
    Backend {
        id: BackendId(id.into()),
        address: Address::Socket(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)),
        weight,
        max_concurrency: None,
        zone: None,
        origin: Origin::OnPrem,
    }
}

fn admit(id: &str, port: u16, weight: u32) -> Change {
    Change::Admit { pool: pool(), backend: backend(id, port, weight) }
}

fn join(id: &str, port: u16) -> Change {
    Change::Join { pool: pool(), backend: backend(id, port, 1) }
}

/// One member `a` in this stage.
fn in_stage(stage: Stage) -> Membership {
    let (pass, drain) = (Change::Pass { key: key("a") }, Change::Drain { key: key("a") });
    let way = match stage {
        Stage::Joining => vec![],
        Stage::Serving => vec![pass],
        Stage::Draining => vec![pass, drain],
        Stage::Drained => vec![pass, drain, Change::Drained { key: key("a") }],
    };
    let mut membership = Membership::default();
    membership.apply(admit("a", 1, 1)).unwrap();
    way.into_iter().for_each(|change| membership.apply(change).unwrap());
    membership
}

/// `a` in each of the stages, then the change: the stage it comes to, `gone`, or `rejected`.
#[track_caller]
fn check(change: &Change, expected: [&str; 4]) {
    let stages = [Stage::Joining, Stage::Serving, Stage::Draining, Stage::Drained];
    for (stage, expected) in stages.into_iter().zip(expected) {
        let mut membership = in_stage(stage);
        let before = membership.clone();
        let outcome = match membership.apply(change.clone()) {
            Err(_) => {
                assert_eq!(membership, before, "a rejected change changed something");
                "rejected".to_owned()
            }
            Ok(()) => membership
                .get(&key("a"))
                .map_or_else(|| "gone".to_owned(), |member| member.stage.to_string()),
        };
        assert_eq!(outcome, expected, "{change:?} when {stage}");
    }
}

#[test]
fn only_a_joining_member_can_pass() {
    check(&Change::Pass { key: key("a") }, ["serving", "rejected", "rejected", "rejected"]);
}

#[test]
fn whoever_joins_or_serves_drains() {
    check(&Change::Drain { key: key("a") }, ["draining", "draining", "rejected", "rejected"]);
}

#[test]
fn a_member_comes_back_while_it_drains_and_must_pass_again_after() {
    check(&Change::Undrain { key: key("a") }, ["rejected", "rejected", "serving", "joining"]);
}

#[test]
fn only_a_draining_member_becomes_drained() {
    check(&Change::Drained { key: key("a") }, ["rejected", "rejected", "drained", "rejected"]);
}

#[test]
fn a_member_that_leaves_drains_first_if_it_may_have_requests() {
    check(&Change::Leave { key: key("a") }, ["draining", "draining", "draining", "gone"]);
}

#[test]
fn a_member_can_be_removed_from_each_stage() {
    check(&Change::Remove { key: key("a") }, ["gone", "gone", "gone", "gone"]);
}

#[test]
fn weight_and_settings_change_in_each_stage_and_leave_it_as_it_is() {
    let same = ["joining", "serving", "draining", "drained"];
    check(&Change::Weight { key: key("a"), weight: 7 }, same);
    check(&Change::Cap { key: key("a"), max_concurrency: Some(7) }, same);
    check(&Change::Update { pool: pool(), backend: backend("a", 1, 7) }, same);
}

#[test]
fn a_name_is_admitted_once() {
    check(&admit("a", 2, 1), ["rejected"; 4]);
    check(&join("a", 2), ["rejected"; 4]);
}

#[test]
fn settings_of_another_machine_are_no_update() {
    check(&Change::Update { pool: pool(), backend: backend("a", 2, 1) }, ["rejected"; 4]);
}

#[test]
fn a_member_that_leaves_is_gone_once_drained_unless_it_came_back() {
    let mut left = in_stage(Stage::Serving);
    left.apply(Change::Leave { key: key("a") }).unwrap();
    let mut returned = left.clone();
    left.apply(Change::Drained { key: key("a") }).unwrap();
    assert_eq!(left, Membership::default());

    returned.apply(Change::Undrain { key: key("a") }).unwrap();
    assert_eq!(returned, in_stage(Stage::Serving));
}

#[test]
fn what_nobody_is_called_cannot_be_changed() {
    let changes = [
        Change::Pass { key: key("b") },
        Change::Drain { key: key("b") },
        Change::Undrain { key: key("b") },
        Change::Drained { key: key("b") },
        Change::Leave { key: key("b") },
        Change::Remove { key: key("b") },
        Change::Weight { key: key("b"), weight: 1 },
        Change::Cap { key: key("b"), max_concurrency: None },
        Change::Update { pool: pool(), backend: backend("b", 1, 1) },
    ];
    for change in changes {
        let unknown = Rejected::Unknown { key: key("b") };
        assert_eq!(in_stage(Stage::Serving).apply(change), Err(unknown));
    }
    let order = Change::Order { pool: PoolName("db".into()), backends: vec![] };
    let unknown = Rejected::UnknownPool { pool: PoolName("db".into()) };
    assert_eq!(in_stage(Stage::Serving).apply(order), Err(unknown));
}

#[test]
fn a_rejection_says_what_is_and_what_to_do() {
    let say = |stage, change| in_stage(stage).apply(change).unwrap_err().to_string();
    assert_eq!(
        say(Stage::Serving, Change::Undrain { key: key("a") }),
        "cannot undrain backend `web/a`, which is `serving`; it must be draining or drained"
    );
    assert_eq!(
        say(Stage::Serving, Change::Drained { key: key("a") }),
        "cannot call drained the backend `web/a`, which is `serving`; it must be draining"
    );
    assert_eq!(
        say(Stage::Serving, Change::Drain { key: key("x") }),
        "no backend `web/x`; `tidegate status` lists those there are"
    );
    assert_eq!(
        say(Stage::Joining, admit("a", 1, 1)),
        "backend `web/a` is a member already and `joining`; remove it or choose another id"
    );
}

/// A pool of `a` and `b`, both serving.
fn two() -> Membership {
    let mut membership = in_stage(Stage::Serving);
    membership.apply(admit("b", 2, 1)).unwrap();
    membership.apply(Change::Pass { key: key("b") }).unwrap();
    membership
}

/// What a reload of [`two`] to these backends means.
#[track_caller]
fn check_reload(wanted: Vec<Backend>, expected: &[Change]) {
    assert_eq!(two().reconcile(&[(pool(), wanted)]), expected);
}

#[test]
fn a_reload_of_the_same_changes_nothing() {
    check_reload(vec![backend("a", 1, 1), backend("b", 2, 1)], &[]);
}

#[test]
fn a_reload_admits_what_is_new_and_lets_leave_what_is_not_written_down() {
    let leave = Change::Leave { key: key("b") };
    check_reload(vec![backend("a", 1, 1), backend("c", 3, 1)], &[leave, admit("c", 3, 1)]);
}

#[test]
fn a_reload_changes_weights_and_settings_in_place() {
    let capped = Backend { max_concurrency: Some(9), ..backend("b", 2, 5) };
    check_reload(
        vec![backend("a", 1, 3), capped.clone()],
        &[
            Change::Weight { key: key("a"), weight: 3 },
            Change::Update { pool: pool(), backend: capped },
        ],
    );
}

#[test]
fn a_backend_at_another_address_is_another_machine() {
    check_reload(
        vec![backend("a", 1, 1), backend("b", 9, 1)],
        &[Change::Remove { key: key("b") }, admit("b", 9, 1)],
    );
}

#[test]
fn a_reload_keeps_the_order_that_is_written() {
    let order = |ids: &[&str]| Change::Order {
        pool: pool(),
        backends: ids.iter().map(|&id| BackendId(id.into())).collect(),
    };
    check_reload(vec![backend("b", 2, 1), backend("a", 1, 1)], &[order(&["b", "a"])]);
    check_reload(
        vec![backend("a", 1, 1), backend("c", 3, 1), backend("b", 2, 1)],
        &[admit("c", 3, 1), order(&["a", "c", "b"])],
    );
}

#[test]
fn a_pool_that_is_no_longer_written_down_drains() {
    let leave = |id| Change::Leave { key: key(id) };
    assert_eq!(two().reconcile(&[]), [leave("a"), leave("b")]);
}

#[test]
fn an_operators_drain_outlives_a_reload_and_a_reloads_own_does_not() {
    let mut membership = two();
    membership.apply(Change::Drain { key: key("a") }).unwrap();
    membership.apply(Change::Leave { key: key("b") }).unwrap();
    let wanted = [(pool(), vec![backend("a", 1, 1), backend("b", 2, 1)])];
    assert_eq!(membership.reconcile(&wanted), [Change::Undrain { key: key("b") }]);
}

#[test]
fn who_joined_at_run_time_stays_over_reloads_until_its_pool_goes() {
    let mut membership = two();
    membership.apply(join("c", 3)).unwrap();
    let both = vec![backend("a", 1, 1), backend("b", 2, 1)];
    assert_eq!(membership.reconcile(&[(pool(), both.clone())]), []);
    let leave = |id| Change::Leave { key: key(id) };
    assert_eq!(membership.reconcile(&[]), [leave("a"), leave("b"), leave("c")]);

    // Once it is written down it is like any other.
    let all: Vec<_> = both.iter().cloned().chain([backend("c", 3, 1)]).collect();
    let adopt = membership.reconcile(&[(pool(), all.clone())]);
    assert_eq!(adopt, [Change::Update { pool: pool(), backend: backend("c", 3, 1) }]);
    adopt.into_iter().for_each(|change| membership.apply(change).unwrap());
    assert_eq!(membership.reconcile(&[(pool(), all)]), []);
    assert_eq!(membership.reconcile(&[(pool(), both)]), [leave("c")]);
}

/// Pools of some of five backends at one of two addresses, in any order.
fn written() -> impl Strategy<Value = Vec<(PoolName, Vec<Backend>)>> {
    let one =
        ("[a-e]", 1..3_u16, 0..3_u32).prop_map(|(id, port, weight)| backend(&id, port, weight));
    prop::collection::vec(prop::collection::vec(one, 0..6), 0..3).prop_map(|pools| {
        let name = |number: usize| PoolName(format!("pool-{number}").into());
        let mut pools: Vec<_> =
            pools.into_iter().enumerate().map(|(number, all)| (name(number), all)).collect();
        for (_, backends) in &mut pools {
            let mut seen = Vec::new();
            backends.retain(|backend| {
                let is_new = !seen.contains(&backend.id);
                seen.push(backend.id.clone());
                is_new
            });
        }
        pools
    })
}

/// Without those on their way out.
fn staying(membership: &Membership) -> Vec<(PoolName, Vec<Backend>)> {
    let stays = |members: &[Member]| -> Vec<Backend> {
        let members = members.iter().filter(|member| !member.is_leaving);
        members.map(|member| member.backend.clone()).collect()
    };
    let pools = membership.pools().map(|(pool, members)| (pool.clone(), stays(members)));
    pools.filter(|(_, backends)| !backends.is_empty()).collect()
}

proptest! {
    #![proptest_config(Config {
        rng_seed: RngSeed::Fixed(1),
        failure_persistence: None,
        ..Config::default()
    })]

    #[test]
    fn a_reload_leads_from_anything_to_what_is_written(
        reloads in prop::collection::vec(written(), 1..5),
        passes in any::<bool>(),
    ) {
        let mut membership = Membership::default();
        for mut wanted in reloads {
            for change in membership.reconcile(&wanted) {
                prop_assert_eq!(membership.apply(change), Ok(()));
            }
            prop_assert_eq!(membership.reconcile(&wanted), []);
            wanted.retain(|(_, backends)| !backends.is_empty());
            prop_assert_eq!(staying(&membership), wanted);
            let joining: Vec<BackendKey> = membership.pools().flat_map(|(pool, members)| {
                let joining = members.iter().filter(|member| member.stage == Stage::Joining);
                joining.map(|member| BackendKey {
                    pool: pool.clone(),
                    backend: member.backend.id.clone(),
                })
            }).collect();
            for key in joining.into_iter().filter(|_| passes) {
                membership.apply(Change::Pass { key }).unwrap();
            }
        }
    }
}
