//! What a slot promises when many threads are at it.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::*;
use crate::roster::fixture::key;

const THREADS: usize = 4;

fn slot() -> Slot {
    Slot::new(0, key("app/a"), "10.0.0.1:80".parse().unwrap())
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
fn four_threads_never_exceed_a_cap_and_always_reach_it() {
    const CAP: u32 = 5;
    let slot = slot();
    slot.set_max_concurrency(Some(CAP));
    let (barrier, inside) = (Barrier::new(THREADS), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..2_000 {
                    barrier.wait();
                    let mut entered = 0;
                    while slot.try_enter() {
                        entered += 1;
                    }
                    inside.fetch_add(entered, Ordering::SeqCst);
                    barrier.wait();
                    assert_eq!(inside.load(Ordering::SeqCst), CAP);
                    barrier.wait();
                    inside.fetch_sub(entered, Ordering::SeqCst);
                    (0..entered).for_each(|_| slot.leave());
                }
            });
        }
    });
    assert!(slot.is_idle());
}

/// Threads enter and leave while one closes; once it has seen the slot idle, none may be inside.
#[track_caller]
fn check_closing(cap: Option<u32>) {
    let slot = slot();
    let (barrier, is_over) = (Barrier::new(THREADS), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 1..THREADS {
            scope.spawn(|| {
                for _ in 0..2_000 {
                    barrier.wait();
                    while !is_over.load(Ordering::SeqCst) {
                        if slot.try_enter() {
                            let was_over = is_over.load(Ordering::SeqCst);
                            slot.leave();
                            assert!(!was_over, "entered a slot that was closed and idle");
                        }
                    }
                    barrier.wait();
                }
            });
        }
        for _ in 0..2_000 {
            slot.set_max_concurrency(cap);
            is_over.store(false, Ordering::SeqCst);
            barrier.wait();
            slot.close();
            while !slot.is_idle() {
                std::hint::spin_loop();
            }
            is_over.store(true, Ordering::SeqCst);
            barrier.wait();
        }
    });
}

#[test]
fn a_closed_slot_that_was_seen_idle_stays_so() {
    check_closing(None);
    check_closing(Some(2));
}
