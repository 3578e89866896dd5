//! What an open, a half-open and a held breaker let in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use policies::backend::Backend;
use policies::breaker::{BreakerPolicy, Phase};
use policies::membership::Rejected;
use policies::outcomes::Outcomes;

use crate::roster::Roster;
use crate::roster::fixture::{backend, door, healthy, key};
use crate::snapshot::Slot;

const POLICY: BreakerPolicy = BreakerPolicy {
    failure_rate: Some(50.0),
    slow_rate: None,
    slower_than_us: 2_000_000,
    over: Duration::from_secs(10),
    min_requests: 20,
    open_for: Duration::from_secs(10),
    probes: 5,
    close_after: 4,
};

/// `a` with a cap, and `b`.
fn roster(cap: Option<u32>) -> (Roster, Arc<Slot>) {
    let a = Backend { max_concurrency: cap, ..backend("a", "10.0.0.1:80") };
    let mut config = door(&[("app", &[a, backend("b", "10.0.0.2:80")])]);
    config.pools[0].conduct.breaker = Some(POLICY);
    let roster = healthy(config);
    let slot = Arc::clone(&roster.snapshot().pools[0].eligible[0]);
    judge(&roster, &slot, 0, 0, 0);
    (roster, slot)
}

/// So many good and bad ones of `a` in all, at that second.
fn judge(roster: &Roster, slot: &Slot, second: u64, good: u64, bad: u64) {
    let outcomes = Outcomes { good, bad, ..Outcomes::default() };
    roster.judge(Duration::from_secs(second), &BTreeMap::from([(slot.id, outcomes)]), false);
}

fn eligible(roster: &Roster) -> usize {
    roster.snapshot().pools[0].eligible.len()
}

fn enter(slot: &Slot) -> usize {
    (0..50).filter(|_| slot.try_enter()).count()
}

#[test]
fn while_it_is_open_nobody_enters_and_then_as_many_as_there_are_probes() {
    let (roster, slot) = roster(Some(9));
    judge(&roster, &slot, 1, 5, 20);
    assert_eq!((eligible(&roster), enter(&slot)), (1, 0));
    judge(&roster, &slot, 10, 5, 20);
    assert_eq!((eligible(&roster), enter(&slot)), (1, 0));
    judge(&roster, &slot, 11, 5, 20);
    assert_eq!((eligible(&roster), enter(&slot)), (2, 5));
    judge(&roster, &slot, 12, 8, 20);
    assert_eq!(enter(&slot), 0);
    judge(&roster, &slot, 13, 9, 20);
    // Five of nine places are taken by the probes still.
    assert_eq!((eligible(&roster), enter(&slot)), (2, 4));
}

#[test]
fn probes_are_not_let_in_beyond_the_cap() {
    let (roster, slot) = roster(Some(3));
    assert!(slot.try_enter());
    judge(&roster, &slot, 1, 0, 20);
    judge(&roster, &slot, 11, 0, 20);
    assert_eq!(enter(&slot), 2);
}

#[test]
fn a_probe_that_came_to_nothing_is_asked_again() {
    let (roster, slot) = roster(None);
    judge(&roster, &slot, 1, 0, 20);
    judge(&roster, &slot, 11, 0, 20);
    assert_eq!(enter(&slot), 5);
    (0..5).for_each(|_| slot.leave());
    // Three went well, two clients left; that is believed at the second look.
    judge(&roster, &slot, 12, 3, 20);
    assert_eq!(enter(&slot), 0);
    judge(&roster, &slot, 13, 3, 20);
    assert_eq!(enter(&slot), 2);
}

#[test]
fn an_operator_holds_a_breaker_open_or_closed() {
    let (roster, slot) = roster(None);
    roster.hold_breaker(&key("app/a"), Some(Phase::Open), None).unwrap();
    assert_eq!((eligible(&roster), enter(&slot)), (1, 0));
    roster.hold_breaker(&key("app/a"), Some(Phase::Closed), None).unwrap();
    judge(&roster, &slot, 1, 0, 999);
    assert_eq!((eligible(&roster), enter(&slot)), (2, 50));
    roster.hold_breaker(&key("app/a"), None, None).unwrap();
    judge(&roster, &slot, 2, 0, 2_000);
    assert_eq!(eligible(&roster), 1);
    let nobody = roster.hold_breaker(&key("app/nobody"), Some(Phase::Open), None);
    assert!(matches!(nobody, Err(Rejected::Unknown { .. })));
}
