//! A row of processes, without processes.

use policies::membership::Change;

use super::super::fixture::{backend, door, healthy, key};
use super::*;

const A: &str = "10.0.0.1:80";
const B: &str = "10.0.0.2:80";

fn backends() -> [policies::backend::Backend; 2] {
    [backend("a", A), backend("b", B)]
}

fn first() -> Roster {
    healthy(door(&[("app", &backends())]))
}

fn successor(of: &Roster) -> Roster {
    let next = Roster::new(Arc::new(door(&[("app", &backends())])));
    next.believe(&of.known(), Vec::new(), of.under_way());
    next
}

fn stage(roster: &Roster, id: &str) -> Stage {
    roster.member(&key(id)).unwrap().stage
}

fn shut(roster: &Roster) -> Arc<[BackendKey]> {
    Arc::clone(&roster.shut().borrow())
}

/// All that the younger one has to say, and what the older one answers.
fn talk(younger: &Roster, older: &Roster) {
    let shut = shut(younger);
    younger.about_to_tell(&shut);
    older.heed(shut.iter().cloned());
    let is_heeded = older.is_heeded();
    younger.hear_of_elsewhere(older.under_way(), is_heeded.then_some(&*shut));
}

fn eligible(roster: &Roster) -> Vec<String> {
    let snapshot = roster.snapshot();
    let ids = snapshot.pools[0].eligible.iter().map(|slot| slot.key.backend.0.to_string());
    ids.collect()
}

#[test]
fn a_backend_is_drained_when_the_process_before_lets_nobody_in_either() {
    let old = first();
    let new = successor(&old);
    let slot = old.member(&key("app/a")).unwrap().slot.unwrap();
    new.change(Change::Drain { key: key("app/a") }).unwrap();
    new.hear_of_elsewhere(Vec::new(), None);
    assert_eq!(stage(&new, "app/a"), Stage::Draining, "it could get one more there");
    assert!(slot.try_enter());
    talk(&new, &old);
    assert_eq!(stage(&new, "app/a"), Stage::Draining, "it got one");
    assert_eq!(eligible(&old), ["b"]);
    assert!(!slot.try_enter());
    slot.leave();
    talk(&new, &old);
    assert_eq!(stage(&new, "app/a"), Stage::Drained);
    // There it serves as before: that it is not asked for is no drain of its own.
    assert_eq!(stage(&old, "app/a"), Stage::Serving);
}

#[test]
fn the_end_of_the_process_before_is_as_good_as_its_word() {
    let new = successor(&first());
    new.change(Change::Drain { key: key("app/a") }).unwrap();
    assert_eq!(stage(&new, "app/a"), Stage::Draining);
    new.is_alone();
    assert_eq!(stage(&new, "app/a"), Stage::Drained);
    assert!(shut(&new).is_empty() || new.is_heeded());
}

#[test]
fn what_is_wanted_again_is_open_again_there_and_not_believed_to_be_shut() {
    let old = first();
    let new = successor(&old);
    new.change(Change::Drain { key: key("app/a") }).unwrap();
    talk(&new, &old);
    assert_eq!(stage(&new, "app/a"), Stage::Drained);
    new.change(Change::Undrain { key: key("app/a") }).unwrap();
    let again = shut(&new);
    assert!(again.is_empty());
    // On its way; nobody knows whether it is there already.
    new.about_to_tell(&again);
    new.change(Change::Drain { key: key("app/a") }).unwrap();
    assert_eq!(stage(&new, "app/a"), Stage::Draining);
    old.heed(again.iter().cloned());
    assert_eq!(eligible(&old), ["a", "b"]);
    talk(&new, &old);
    assert_eq!((stage(&new, "app/a"), eligible(&old)), (Stage::Drained, vec!["b".to_owned()]));
}

#[test]
fn who_is_a_member_no_longer_is_shut_and_who_never_was_is_not() {
    let old = first();
    let new = Roster::new(Arc::new(door(&[("app", &[backend("a", A)])])));
    new.believe(&old.known(), Vec::new(), old.under_way());
    assert!(shut(&new).is_empty(), "nobody here has anything to do with b");
    new.change(Change::Remove { key: key("app/a") }).unwrap();
    assert_eq!(*shut(&new), [key("app/a")]);
    talk(&new, &old);
    assert_eq!(eligible(&old), ["b"]);
    let pool = key("app/a").pool;
    new.change(Change::Join { pool, backend: backend("a", A) }).unwrap();
    assert!(shut(&new).is_empty());
}

#[test]
fn one_in_the_middle_passes_it_on_and_answers_for_all_before_it() {
    let oldest = first();
    let middle = successor(&oldest);
    let newest = successor(&middle);
    newest.change(Change::Drain { key: key("app/a") }).unwrap();
    talk(&newest, &middle);
    assert_eq!(eligible(&middle), ["b"]);
    assert!(!middle.is_heeded());
    assert_eq!(stage(&newest, "app/a"), Stage::Draining, "the oldest has not heard of it");
    talk(&middle, &oldest);
    assert_eq!(eligible(&oldest), ["b"]);
    talk(&newest, &middle);
    assert_eq!(stage(&newest, "app/a"), Stage::Drained);
}

#[test]
fn one_that_was_never_well_here_leaves_only_after_the_requests_it_has_elsewhere() {
    let old = first();
    let new = Roster::new(Arc::new(door(&[("app", &backends())])));
    let at = UnderWay { key: key("app/a"), in_flight: 1, streams: 0 };
    new.believe(&[], Vec::new(), vec![at]);
    new.configure(Arc::new(door(&[("app", &[backend("b", B)])])));
    let leaving = new.member(&key("app/a")).map(|member| (member.stage, member.is_leaving));
    assert_eq!(leaving, Some((Stage::Draining, true)));
    talk(&new, &old);
    assert!(new.member(&key("app/a")).is_none());
    // By itself it goes at once.
    old.configure(Arc::new(door(&[("app", &[backend("a", A), backend("new", B)])])));
    old.configure(Arc::new(door(&[("app", &[backend("a", A)])])));
    assert!(old.member(&key("app/new")).is_none());
}

#[test]
fn what_has_drained_in_the_process_before_has_drained() {
    let old = first();
    old.change(Change::Drain { key: key("app/a") }).unwrap();
    assert_eq!(stage(&successor(&old), "app/a"), Stage::Drained);
    // Not where it waits for one still.
    let middle = successor(&first());
    middle.change(Change::Drain { key: key("app/b") }).unwrap();
    assert_eq!(stage(&successor(&middle), "app/b"), Stage::Draining);
}
