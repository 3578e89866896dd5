//! What a slot promises when many threads are at it.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::*;
use crate::roster::fixture::key;

const THREADS: usize = 4;

fn slot() -> Arc<Slot> {
    Arc::new(Slot::new(0, key("app/a"), "10.0.0.1:80".parse().unwrap(), Queue::new()))
}

#[test]
fn nobody_enters_a_slot_before_it_is_given_a_cap() {
    let slot = slot();
    assert!(!slot.try_enter());
    slot.set_max_concurrency(None);
    assert!(slot.try_enter() && !slot.is_idle());
    slot.leave();
    assert!(slot.is_idle());
}

#[test]
fn four_threads_never_exceed_a_cap() {
    // One place and two or more cores: any two that overlap are too many.
    let slot = slot();
    slot.set_max_concurrency(Some(1));
    let (start, inside, most) = (Barrier::new(THREADS), AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                start.wait();
                for _ in 0..500_000 {
                    if slot.try_enter() {
                        let now = inside.fetch_add(1, Ordering::SeqCst) + 1;
                        most.fetch_max(now.max(slot.in_flight()), Ordering::SeqCst);
                        inside.fetch_sub(1, Ordering::SeqCst);
                        slot.leave();
                    }
                }
            });
        }
    });
    assert_eq!(most.into_inner(), 1);
    assert!(slot.is_idle() && slot.try_enter() && !slot.try_enter());
}

/// Threads enter and leave while one closes; how often one was inside after the slot was seen idle.
fn late_entries(cap: Option<u32>) -> u32 {
    const ROUNDS: usize = 500;
    let slot = slot();
    let (barrier, is_over) = (Barrier::new(THREADS), AtomicBool::new(false));
    // Counted, not asserted: a thread that panics would leave the others at the barrier.
    let late = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 1..THREADS {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    barrier.wait();
                    while !is_over.load(Ordering::SeqCst) {
                        if slot.try_enter() {
                            late.fetch_add(is_over.load(Ordering::SeqCst).into(), Ordering::SeqCst);
                            slot.leave();
                        } else {
                            std::thread::yield_now();
                        }
                    }
                    barrier.wait();
                }
            });
        }
        for _ in 0..ROUNDS {
            slot.set_max_concurrency(cap);
            is_over.store(false, Ordering::SeqCst);
            barrier.wait();
            slot.close();
            while !slot.is_idle() {
                std::thread::yield_now();
            }
            is_over.store(true, Ordering::SeqCst);
            barrier.wait();
        }
    });
    late.into_inner()
}

#[test]
fn nobody_is_in_a_closed_slot_that_was_seen_idle() {
    assert_eq!(late_entries(None), 0);
    assert_eq!(late_entries(Some(2)), 0);
}

#[test]
fn on_probation_exactly_as_many_enter_as_there_are_permits() {
    for round in 0..200 {
        let slot = slot();
        let permits = round % 7;
        slot.set_probation(permits);
        let (start, entered) = (Barrier::new(THREADS), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    start.wait();
                    for _ in 0..50 {
                        if slot.try_enter() {
                            entered.fetch_add(1, Ordering::SeqCst);
                            slot.leave();
                        }
                    }
                });
            }
        });
        assert_eq!(entered.into_inner(), permits);
        assert!(slot.is_idle() && !slot.has_permits() && !slot.try_enter());
        slot.set_max_concurrency(Some(1));
        assert!(slot.try_enter() && !slot.try_enter());
    }
}

#[test]
fn a_cap_or_the_end_takes_permits_away() {
    let slot = slot();
    slot.set_probation(3);
    assert!(slot.try_enter());
    slot.set_max_concurrency(Some(1));
    assert!(!slot.try_enter());
    slot.set_probation(3);
    slot.close();
    assert!(!slot.try_enter() && slot.in_flight() == 1);
}
