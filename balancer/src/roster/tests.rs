//! Who takes requests after what has happened. Each test tells a story of one roster.

use std::sync::Arc;

use policies::backend::{Backend, PoolName};
use policies::balance::{Candidates, Rule, Turn};
use policies::health::Verdict;
use policies::membership::{Change, Rejected, Stage};
use policies::rng::Rng;

use super::fixture::{backend, door, healthy, key, report, report_now};
use super::{Member, Name, Roster};
use crate::parting::RanOut;
use crate::snapshot::Slot;

const A: &str = "10.0.0.1:80";
const B: &str = "10.0.0.2:80";
const C: &str = "10.0.0.3:80";

fn app(backends: &[Backend]) -> Arc<crate::config::DoorConfig> {
    Arc::new(door(&[("app", backends)]))
}

fn named(host: &str) -> Name {
    (host.into(), 80)
}

/// Ids of the backends that take requests of the first pool, in order.
#[track_caller]
fn takes(roster: &Roster, expected: &[&str]) {
    let snapshot = roster.snapshot();
    let eligible = snapshot.pools[0].eligible.iter().map(|slot| slot.key.backend.0.to_string());
    assert_eq!(eligible.collect::<Vec<_>>(), expected);
}

fn member(roster: &Roster, text: &str) -> Option<Member> {
    let key = key(text);
    let (_, members) = roster.pools().into_iter().find(|(pool, _)| *pool == key.pool)?;
    members.into_iter().find(|member| member.backend.id == key.backend)
}

#[track_caller]
fn slot(roster: &Roster, text: &str) -> Arc<Slot> {
    member(roster, text).and_then(|member| member.slot).expect("a member with an address")
}

#[track_caller]
fn is(roster: &Roster, text: &str, stage: Stage, verdict: Verdict) {
    let member = member(roster, text).expect("a member");
    assert_eq!((member.stage, member.verdict), (stage, verdict));
}

/// Slots of the first pool that workers keep connections for.
fn kept(roster: &Roster) -> Vec<Arc<Slot>> {
    roster.snapshot().pools[0].members.clone()
}

fn targets(roster: &Roster) -> Vec<String> {
    let targets = Arc::clone(&roster.targets().borrow());
    targets.iter().map(|target| format!("{} {}", target.key, target.address)).collect()
}

#[test]
fn a_new_backend_takes_nothing_before_its_first_pass() {
    let roster = Roster::new(app(&[backend("a", A), backend("b", B)]));
    takes(&roster, &[]);
    is(&roster, "app/a", Stage::Joining, Verdict::Unknown);
    assert_eq!(member(&roster, "app/a").unwrap().reason.as_deref(), Some("not checked yet"));
    roster.report(report("app/b", B, Verdict::Healthy));
    roster.report(report("app/a", A, Verdict::Unhealthy));
    takes(&roster, &["b"]);
    is(&roster, "app/b", Stage::Serving, Verdict::Healthy);
    is(&roster, "app/a", Stage::Joining, Verdict::Unhealthy);
    roster.report(report("app/a", A, Verdict::Healthy));
    takes(&roster, &["a", "b"]);
}

#[test]
fn an_unhealthy_backend_leaves_the_snapshot_and_comes_back_with_its_slot() {
    let roster = healthy(door(&[("app", &[backend("a", A), backend("b", B)])]));
    let before = slot(&roster, "app/a");
    roster.report(report("app/a", A, Verdict::Unhealthy));
    takes(&roster, &["b"]);
    is(&roster, "app/a", Stage::Serving, Verdict::Unhealthy);
    let reason = member(&roster, "app/a").unwrap().reason;
    assert_eq!(reason.as_deref(), Some("connection refused"));
    roster.report(report("app/a", A, Verdict::Healthy));
    takes(&roster, &["a", "b"]);
    assert!(Arc::ptr_eq(&before, &slot(&roster, "app/a")));
}

#[test]
fn a_verdict_that_changes_nothing_for_requests_is_not_published() {
    let roster = healthy(app_config(&[backend("a", A)]));
    let version = roster.snapshot().version;
    roster.report(report("app/a", A, Verdict::Healthy));
    roster.report(report("app/nobody", A, Verdict::Healthy));
    roster.sweep();
    assert_eq!(roster.snapshot().version, version);
}

fn app_config(backends: &[Backend]) -> crate::config::DoorConfig {
    door(&[("app", backends)])
}

#[test]
fn two_pools_with_the_same_machine_share_neither_health_nor_counts() {
    let roster = healthy(door(&[("app", &[backend("a", A)]), ("api", &[backend("a", A)])]));
    roster.report(report("api/a", A, Verdict::Unhealthy));
    takes(&roster, &["a"]);
    assert!(roster.snapshot().pools[1].eligible.is_empty());
    assert!(slot(&roster, "app/a").try_enter());
    assert_eq!(slot(&roster, "api/a").in_flight(), 0);
}

#[test]
fn a_weight_of_zero_takes_nothing() {
    let roster = healthy(app_config(&[Backend { weight: 0, ..backend("a", A) }, backend("b", B)]));
    takes(&roster, &["b"]);
    is(&roster, "app/a", Stage::Serving, Verdict::Healthy);
    roster.change(Change::Weight { key: key("app/a"), weight: 5 }).unwrap();
    takes(&roster, &["a", "b"]);
}

#[test]
fn requests_stay_in_the_zone_of_the_door() {
    let zone =
        |id, address, zone: &str| Backend { zone: Some(zone.into()), ..backend(id, address) };
    let mut config =
        app_config(&[zone("a", A, "east"), zone("b", B, "west"), zone("c", C, "east")]);
    config.zone = Some("west".into());
    let roster = healthy(config);
    let snapshot = roster.snapshot();
    let (mut turn, mut rng) = (Turn::new(0, 1), Rng::new(1));
    for _ in 0..10 {
        let picked = snapshot.pools[0].picker.pick(&Idle, &mut turn, 0, &mut rng);
        assert_eq!(picked, Some(1));
    }
}

/// Candidates with nothing to do.
struct Idle;

impl Candidates for Idle {
    fn in_flight(&self, _: usize) -> u32 {
        0
    }

    fn has_room(&self, _: usize) -> bool {
        true
    }

    fn latency_us(&self, _: usize) -> Option<u32> {
        None
    }

    fn idle_ms(&self, _: usize) -> u32 {
        0
    }
}

#[test]
fn counts_and_verdicts_survive_another_configuration() {
    let roster = healthy(app_config(&[backend("a", A), backend("b", B)]));
    let (a, b) = (slot(&roster, "app/a"), slot(&roster, "app/b"));
    assert!(a.try_enter());
    let capped = Backend { max_concurrency: Some(1), weight: 3, ..backend("a", A) };
    let mut config = app_config(&[backend("c", C), backend("b", B), capped]);
    config.pools[0].rule = Rule::First;
    roster.configure(Arc::new(config));
    takes(&roster, &["b", "a"]);
    assert!(Arc::ptr_eq(&a, &slot(&roster, "app/a")) && Arc::ptr_eq(&b, &slot(&roster, "app/b")));
    assert_eq!(roster.snapshot().generation, 2);
    assert!(!a.try_enter(), "the new cap holds, and the request from before counts");
    roster.report(report_now(&roster, "app/c", C, Verdict::Healthy));
    takes(&roster, &["c", "b", "a"]);
}

#[test]
fn what_runs_at_a_backend_counts_on_when_it_gets_another_name() {
    let capped = |id: &str| Backend { max_concurrency: Some(3), ..backend(id, A) };
    let roster = healthy(app_config(&[capped("a"), backend("b", B)]));
    let earlier = slot(&roster, "app/a");
    assert!(earlier.try_enter() && earlier.try_enter());
    roster.configure(Arc::new(app_config(&[capped("renamed"), backend("b", B)])));
    takes(&roster, &["renamed", "b"]);
    let renamed = slot(&roster, "app/renamed");
    assert!(renamed.try_enter() && !renamed.try_enter(), "two of its three run there already");
    // And again, while they still run.
    roster.configure(Arc::new(door(&[("other", &[capped("renamed")])])));
    let again = slot(&roster, "other/renamed");
    assert!(!again.try_enter(), "all three are taken under earlier names");
    earlier.leave();
    look(&roster);
    assert!(again.try_enter() && !again.try_enter());
    earlier.leave();
    renamed.leave();
    roster.sweep();
    assert_eq!(again.max_concurrency(), 3);
}

/// Nobody begins or ends anything; the rest of a ramp or of an earlier name is looked at.
fn look(roster: &Roster) {
    roster.judge(std::time::Duration::ZERO, &std::collections::BTreeMap::new(), false);
}

#[test]
fn a_name_that_is_renamed_back_keeps_its_cap_and_one_that_comes_back_beside_it_its_own() {
    let capped = |id: &str| Backend { max_concurrency: Some(2), ..backend(id, A) };
    let roster = healthy(app_config(&[capped("a"), backend("b", B)]));
    let first = slot(&roster, "app/a");
    assert!(first.try_enter());
    roster.configure(Arc::new(app_config(&[capped("c"), backend("b", B)])));
    let second = slot(&roster, "app/c");
    assert!(second.try_enter() && !second.try_enter());
    // Back: it has its own count again, and that of the name between.
    roster.configure(Arc::new(app_config(&[capped("a"), backend("b", B)])));
    assert!(Arc::ptr_eq(&first, &slot(&roster, "app/a")));
    assert!(!first.try_enter(), "one of its own runs, and one under the other name");
    // Both at once are two.
    roster.configure(Arc::new(app_config(&[capped("a"), capped("c"), backend("b", B)])));
    look(&roster);
    assert!(first.try_enter() && !first.try_enter());
    assert!(second.try_enter() && !second.try_enter());
}

#[test]
fn a_name_that_has_an_address_has_it_for_whoever_is_called_so_later() {
    let roster = healthy(app_config(&[backend("a", "app.internal:80"), backend("b", B)]));
    let (name, address) = (named("app.internal"), A.parse().unwrap());
    roster.resolved(&name, Ok(address));
    roster.report(report_now(&roster, "app/a", A, Verdict::Healthy));
    takes(&roster, &["a", "b"]);
    // Nobody resolves it anew: it is the same name.
    roster.configure(Arc::new(app_config(&[backend("c", "app.internal:80"), backend("b", B)])));
    takes(&roster, &["c", "b"]);
    let missing = named("gone.internal");
    let list = [backend("c", "app.internal:80"), backend("d", "gone.internal:80")];
    roster.configure(Arc::new(app_config(&list)));
    roster.resolved(&missing, Err("no such name".to_owned()));
    let list = [backend("c", "app.internal:80"), backend("e", "gone.internal:80")];
    roster.configure(Arc::new(app_config(&list)));
    assert_eq!(member(&roster, "app/e").unwrap().reason.as_deref(), Some("no such name"));
}

#[test]
fn a_leaving_backend_is_kept_until_its_last_request_has_ended() {
    let roster = healthy(app_config(&[backend("a", A), backend("b", B)]));
    let leaving = slot(&roster, "app/a");
    assert!(leaving.try_enter());
    roster.configure(app(&[backend("b", B)]));
    takes(&roster, &["b"]);
    roster.sweep();
    is(&roster, "app/a", Stage::Draining, Verdict::Healthy);
    assert_eq!(member(&roster, "app/a").unwrap().in_flight(), 1);
    assert!(kept(&roster).iter().any(|slot| Arc::ptr_eq(slot, &leaving)));
    // It is checked on, or what hangs there would wait for its whole limit.
    assert_eq!(targets(&roster).len(), 2);
    assert!(!leaving.try_enter(), "nobody enters, with whichever snapshot");
    leaving.leave();
    roster.sweep();
    assert_eq!(targets(&roster), ["app/b 10.0.0.2:80"]);
    assert!(member(&roster, "app/a").is_none());
    assert_eq!(kept(&roster).len(), 1);
}

#[test]
fn a_leaving_backend_without_requests_goes_at_once() {
    let roster = healthy(app_config(&[backend("a", A), backend("b", B)]));
    roster.configure(app(&[backend("b", B)]));
    assert!(member(&roster, "app/a").is_none());
}

#[test]
fn a_leaving_backend_that_is_written_down_again_goes_on_with_its_counts() {
    let roster = healthy(app_config(&[backend("a", A), backend("b", B)]));
    let before = slot(&roster, "app/a");
    assert!(before.try_enter());
    roster.configure(app(&[backend("b", B)]));
    roster.configure(app(&[backend("a", A), backend("b", B)]));
    takes(&roster, &["a", "b"]);
    assert!(Arc::ptr_eq(&before, &slot(&roster, "app/a")) && before.try_enter());
    assert_eq!(before.in_flight(), 2);
}

#[test]
fn the_backends_of_a_pool_that_is_gone_finish_too() {
    let roster = healthy(door(&[("old", &[backend("a", A)]), ("app", &[backend("b", B)])]));
    let leaving = slot(&roster, "old/a");
    assert!(leaving.try_enter());
    roster.configure(app(&[backend("b", B)]));
    takes(&roster, &["b"]);
    let pools: Vec<_> = roster.pools().into_iter().map(|(name, _)| name).collect();
    assert_eq!(pools, [PoolName("app".into()), PoolName("old".into())]);
    leaving.leave();
    roster.sweep();
    assert_eq!(roster.pools().len(), 1);
}

#[test]
fn a_backend_written_at_another_address_must_pass_there() {
    let roster = healthy(app_config(&[backend("a", A), backend("b", B)]));
    let before = slot(&roster, "app/a");
    assert!(before.try_enter());
    roster.configure(app(&[backend("a", C), backend("b", B)]));
    takes(&roster, &["b"]);
    is(&roster, "app/a", Stage::Joining, Verdict::Unknown);
    assert_eq!(member(&roster, "app/a").unwrap().in_flight(), 1);
    assert!(kept(&roster).iter().any(|slot| Arc::ptr_eq(slot, &before)));
    roster.report(report_now(&roster, "app/a", A, Verdict::Healthy));
    takes(&roster, &["b"]);
    roster.report(report_now(&roster, "app/a", C, Verdict::Healthy));
    takes(&roster, &["a", "b"]);
    before.leave();
    roster.sweep();
    assert_eq!(kept(&roster).len(), 2);
}

#[test]
fn a_name_without_an_address_says_why() {
    let roster = Roster::new(app(&[backend("a", "app.internal:80")]));
    assert_eq!(&**roster.names().borrow(), &[named("app.internal")]);
    assert!(targets(&roster).is_empty());
    let reason = |roster: &Roster| member(roster, "app/a").unwrap().reason.unwrap();
    assert_eq!(reason(&roster), "name not resolved yet");
    roster.resolved(&named("app.internal"), Err("no such name".to_owned()));
    assert_eq!(reason(&roster), "no such name");
    roster.resolved(&named("app.internal"), Ok(A.parse().unwrap()));
    assert_eq!(
        (reason(&roster).as_str(), targets(&roster)),
        ("not checked yet", vec!["app/a 10.0.0.1:80".to_owned()])
    );
    roster.report(report_now(&roster, "app/a", A, Verdict::Healthy));
    takes(&roster, &["a"]);
}

#[test]
fn a_name_with_another_address_is_checked_anew_and_one_without_keeps_the_last() {
    let roster = Roster::new(app(&[backend("a", "app.internal:80")]));
    let resolves = |result: Result<&str, &str>| {
        let result = result.map(|address| address.parse().unwrap()).map_err(str::to_owned);
        roster.resolved(&named("app.internal"), result);
    };
    resolves(Ok(A));
    roster.report(report_now(&roster, "app/a", A, Verdict::Healthy));
    resolves(Err("timed out"));
    resolves(Ok(A));
    takes(&roster, &["a"]);
    resolves(Ok(B));
    takes(&roster, &[]);
    is(&roster, "app/a", Stage::Serving, Verdict::Unknown);
    roster.report(report_now(&roster, "app/a", A, Verdict::Healthy));
    takes(&roster, &[]);
    roster.report(report_now(&roster, "app/a", B, Verdict::Healthy));
    takes(&roster, &["a"]);
    assert_eq!(slot(&roster, "app/a").address.to_string(), B);
}

#[test]
fn a_name_that_turns_back_finds_the_requests_it_left_there() {
    let capped = Backend { max_concurrency: Some(1), ..backend("a", "app.internal:80") };
    let roster = Roster::new(app(&[capped]));
    let resolves = |to: &str| roster.resolved(&named("app.internal"), Ok(to.parse().unwrap()));
    resolves(A);
    let first = slot(&roster, "app/a");
    assert!(first.try_enter());
    resolves(B);
    assert_eq!(member(&roster, "app/a").unwrap().in_flight(), 1);
    resolves(A);
    assert!(Arc::ptr_eq(&first, &slot(&roster, "app/a")));
    assert!(!first.try_enter(), "its cap of 1 counts the request from before");
    assert_eq!(kept(&roster).len(), 1);
}

#[test]
fn draining_ends_when_the_last_request_has_ended_at_every_address() {
    let roster = Roster::new(app(&[backend("a", "app.internal:80")]));
    let resolves = |to: &str| roster.resolved(&named("app.internal"), Ok(to.parse().unwrap()));
    resolves(A);
    let first = slot(&roster, "app/a");
    assert!(first.try_enter());
    resolves(B);
    roster.report(report_now(&roster, "app/a", B, Verdict::Healthy));
    roster.change(Change::Drain { key: key("app/a") }).unwrap();
    roster.sweep();
    is(&roster, "app/a", Stage::Draining, Verdict::Healthy);
    takes(&roster, &[]);
    first.leave();
    roster.sweep();
    is(&roster, "app/a", Stage::Drained, Verdict::Healthy);
}

#[test]
fn a_drained_backend_serves_again_when_it_is_undrained_and_its_checks_pass() {
    let roster = healthy(app_config(&[backend("a", A), backend("b", B)]));
    roster.change(Change::Drain { key: key("app/a") }).unwrap();
    is(&roster, "app/a", Stage::Drained, Verdict::Healthy);
    assert!(!slot(&roster, "app/a").try_enter());
    assert_eq!(targets(&roster).len(), 2, "its checks go on");
    roster.report(report("app/a", A, Verdict::Unhealthy));
    roster.change(Change::Undrain { key: key("app/a") }).unwrap();
    takes(&roster, &["b"]);
    roster.report(report("app/a", A, Verdict::Healthy));
    takes(&roster, &["a", "b"]);
    assert!(slot(&roster, "app/a").try_enter());
}

#[test]
fn an_order_that_cannot_be_followed_changes_nothing() {
    let roster = healthy(app_config(&[backend("a", A)]));
    let version = roster.snapshot().version;
    let undrain = roster.change(Change::Undrain { key: key("app/a") }).unwrap_err();
    assert!(matches!(undrain, Rejected::Stage { stage: Stage::Serving, .. }));
    let pool = PoolName("nowhere".into());
    let admit = Change::Admit { pool: pool.clone(), backend: backend("c", C) };
    assert_eq!(roster.change(admit), Err(Rejected::UnknownPool { pool }));
    assert_eq!(roster.snapshot().version, version);
}

#[test]
fn followers_are_woken_only_when_their_list_is_another() {
    let roster = healthy(app_config(&[backend("a", A), backend("b", "app.internal:80")]));
    let (mut targets, mut names) = (roster.targets(), roster.names());
    targets.mark_unchanged();
    names.mark_unchanged();
    roster.report(report("app/a", A, Verdict::Unhealthy));
    roster.configure(app(&[backend("b", "app.internal:80"), backend("a", A)]));
    assert!(!targets.has_changed().unwrap() && !names.has_changed().unwrap());
    roster.configure(app(&[backend("a", A)]));
    assert!(!targets.has_changed().unwrap() && names.has_changed().unwrap());
    roster.configure(app(&[backend("a", B)]));
    assert!(targets.has_changed().unwrap());
}

#[test]
fn a_backend_that_came_back_to_its_address_is_checked_anew_and_old_reports_do_not_count() {
    let roster = healthy(app_config(&[backend("a", A), backend("b", B)]));
    let mut targets = roster.targets();
    targets.mark_unchanged();
    roster.configure(app(&[backend("b", B)]));
    roster.configure(app(&[backend("a", A), backend("b", B)]));
    assert!(targets.has_changed().unwrap(), "who looks only now sees another list");
    takes(&roster, &["b"]);
    roster.report(report("app/a", A, Verdict::Healthy));
    takes(&roster, &["b"]);
    roster.report(report_now(&roster, "app/a", A, Verdict::Healthy));
    takes(&roster, &["a", "b"]);
}

#[test]
fn a_drain_that_has_waited_long_enough_marks_its_slot_until_it_is_taken_back() {
    let mut config = app_config(&[backend("a", A), backend("b", B)]);
    config.pools[0].drain.wait_streams = Some(std::time::Duration::ZERO);
    let roster = healthy(config);
    let (a, b) = (slot(&roster, "app/a"), slot(&roster, "app/b"));
    assert!(a.try_enter() && b.try_enter());
    roster.sweep();
    assert_eq!(a.ran_out(), RanOut::default());
    roster.change(Change::Drain { key: key("app/a") }).unwrap();
    roster.sweep();
    let streams = RanOut { streams: true, requests: false };
    assert_eq!((a.ran_out(), b.ran_out()), (streams, RanOut::default()));
    a.note_cut();
    roster.sweep();
    let drain = member(&roster, "app/a").unwrap().drain.unwrap();
    assert_eq!((drain.waited_for, drain.cut), (1, 1));
    roster.change(Change::Undrain { key: key("app/a") }).unwrap();
    assert_eq!((a.ran_out(), a.cuts()), (RanOut::default(), 0));
    // One that is gone for good is not waited for any longer either.
    roster.change(Change::Remove { key: key("app/b") }).unwrap();
    roster.sweep();
    assert_eq!(b.ran_out(), streams);
}
