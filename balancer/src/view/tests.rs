//! What workers do with one snapshot, each with its own view of it.

use std::collections::BTreeSet;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Waker;

use policies::backend::Backend;
use policies::health::Verdict;

use super::*;
use crate::config::Priority;
use crate::queue::{Bearer, Stand, Ticket};
use crate::roster::Roster;
use crate::roster::fixture::{backend, door, healthy, report};

const WORKERS: usize = 4;

fn view(roster: &Roster, worker: usize, locals: &mut Locals) -> View {
    View::new(roster.snapshot(), None, locals, worker, &Registry::new())
}

fn backends(max_concurrency: Option<u32>) -> Vec<Backend> {
    let backend = |n: u8| backend(&format!("b{n}"), &format!("10.0.0.{n}:80"));
    (0..4).map(|n| Backend { max_concurrency, ..backend(n) }).collect()
}

fn pick(view: &View, exchange: &Exchange) -> Result<Lease, NoPick> {
    view.pick(0, exchange, 0, 0, &mut Rng::new(1))
}

#[test]
fn four_workers_never_exceed_the_cap_of_a_backend() {
    const CAP: u32 = 2;
    let roster = healthy(door(&[("app", &backends(Some(CAP))[..2])]));
    let (start, most) = (Barrier::new(WORKERS), AtomicU32::new(0));
    // By slot, which are numbered from 0.
    let inside = [AtomicU32::new(0), AtomicU32::new(0)];
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            let (roster, start, most, inside) = (&roster, &start, &most, &inside);
            scope.spawn(move || {
                let view = view(roster, worker, &mut Locals::new());
                let exchange = Exchange::new();
                start.wait();
                for _ in 0..30_000 {
                    // Three at a time by four workers: more than there is room for.
                    let leases: Vec<_> =
                        (0..3).filter_map(|_| pick(&view, &exchange).ok()).collect();
                    let slots = || leases.iter().map(|lease| &inside[lease.0.slot.id as usize]);
                    for slot in slots() {
                        let now = slot.fetch_add(1, Ordering::SeqCst) + 1;
                        most.fetch_max(now, Ordering::SeqCst);
                    }
                    for slot in slots() {
                        slot.fetch_sub(1, Ordering::SeqCst);
                    }
                }
            });
        }
    });
    assert!(most.into_inner() <= CAP);

    // And each place can be taken again.
    let view = view(&roster, 0, &mut Locals::new());
    let exchange = Exchange::new();
    let leases: Vec<_> = std::iter::from_fn(|| pick(&view, &exchange).ok()).collect();
    assert_eq!(leases.len(), 4);
}

#[test]
fn the_first_requests_of_four_workers_meet_at_no_backend() {
    let roster = healthy(door(&[("app", &backends(None))]));
    let exchange = Exchange::new();
    let first = |worker| {
        let view = view(&roster, worker, &mut Locals::new());
        pick(&view, &exchange).ok().unwrap().0.slot.id
    };
    assert_eq!((0..WORKERS).map(first).collect::<BTreeSet<_>>().len(), WORKERS);
}

#[test]
fn a_newcomer_does_not_overtake_who_waits() {
    let roster = healthy(door(&[("app", &backends(Some(1))[..1])]));
    let view = view(&roster, 0, &mut Locals::new());
    let exchange = Exchange::new();
    let lease = pick(&view, &exchange).ok().unwrap();
    let limited = view.limited(None, false);
    let bearer = Bearer { priority: Priority::Normal, bytes: 0, tried: &[], limited };
    let ticket = Ticket::new(bearer, Waker::noop().clone());
    let queue = &view.snapshot.pools[0].queue;
    let place = queue.join(&ticket, Stand::Home, std::time::Instant::now()).unwrap();
    // Room that has not been handed out yet, as after a slow start.
    lease.0.slot.set_max_concurrency(Some(2));
    assert_eq!(pick(&view, &exchange).err(), Some(NoPick::NoneFree));
    queue.quit(place);
    assert!(pick(&view, &exchange).is_ok());
}

#[test]
fn a_backend_that_was_tried_for_a_request_is_not_picked_again() {
    let roster = healthy(door(&[("app", &backends(None))]));
    let mut locals = Locals::new();
    let view = view(&roster, 0, &mut locals);
    let mut exchange = Exchange::new();
    let mut tried = BTreeSet::new();
    while let Ok(lease) = pick(&view, &exchange) {
        exchange.attempt_at(lease.0.slot.id);
        assert!(tried.insert(lease.0.slot.id));
    }
    assert_eq!(tried.len(), 4);
    assert_eq!(pick(&view, &exchange).err(), Some(NoPick::NoneFree));
}

#[test]
fn a_pool_of_unhealthy_backends_has_none_eligible() {
    let roster = healthy(door(&[("app", &[backend("a", "10.0.0.1:80")])]));
    roster.report(report("app/a", "10.0.0.1:80", Verdict::Unhealthy));
    let view = view(&roster, 0, &mut Locals::new());
    let exchange = Exchange::new();
    assert_eq!(pick(&view, &exchange).err(), Some(NoPick::NoneEligible));
}

#[test]
fn a_request_with_an_earlier_snapshot_does_not_enter_a_backend_that_left() {
    let roster = healthy(door(&[("app", &backends(None)[..1])]));
    let view = view(&roster, 0, &mut Locals::new());
    roster.configure(door(&[("app", &[])]).into());
    let exchange = Exchange::new();
    assert_eq!(pick(&view, &exchange).err(), Some(NoPick::NoneFree));
}

#[test]
fn the_next_view_keeps_what_is_known_of_backends_that_stay_and_drops_the_others() {
    let both = backends(None);
    let roster = healthy(door(&[("app", &both[..2])]));
    let mut locals = Locals::new();
    let first = view(&roster, 0, &mut locals);
    let known: Vec<_> = locals.values().cloned().collect();
    let lease = pick(&first, &Exchange::new()).ok().unwrap();
    assert!(Rc::ptr_eq(&lease.0, &known[0]));

    roster.configure(door(&[("app", &both[1..3])]).into());
    let next = |locals: &mut Locals| {
        View::new(roster.snapshot(), Some(&first), locals, 0, &Registry::new())
    };
    let second = next(&mut locals);
    assert!(Rc::ptr_eq(&locals[&0], &known[0]), "it is draining");
    assert!(Rc::ptr_eq(&locals[&1], &known[1]) && locals.contains_key(&2));
    assert!(second.named(0, b"app/b0").is_none() && second.named(0, b"app/b1").is_some());

    drop(lease);
    roster.sweep();
    next(&mut locals);
    assert_eq!(locals.keys().collect::<Vec<_>>(), [&1, &2]);
}
