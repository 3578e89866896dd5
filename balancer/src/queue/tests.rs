//! Order, limits and hand-over of a queue, and that no wake-up is lost between threads.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::task::{Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use super::*;
use crate::config::Priority;
use crate::limits::Limited;
use crate::roster::fixture::key;

/// Nothing that works takes so long, on whatever machine.
const CEILING: Duration = Duration::from_secs(20);

fn slot(queue: &Arc<Queue>, id: u32, cap: u32) -> Arc<Slot> {
    let key = key(&format!("app/b{id}"));
    let slot = Slot::new(id, key, "10.0.0.1:80".parse().unwrap(), Arc::clone(queue));
    slot.set_max_concurrency(Some(cap));
    Arc::new(slot)
}

fn config(max: u32, bytes: u64) -> QueueConfig {
    QueueConfig { max, bytes, time: CEILING }
}

/// A queue of these limits in front of one full backend with one place.
fn full(max: u32, bytes: u64) -> (Arc<Queue>, Arc<Slot>) {
    let queue = Queue::new();
    let slot = slot(&queue, 0, 1);
    queue.publish(std::slice::from_ref(&slot), None, &config(max, bytes), false, Instant::now());
    assert!(slot.try_enter());
    (queue, slot)
}

struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn bearer(priority: Priority, bytes: u64, tried: &[u32]) -> Bearer<'_> {
    Bearer {
        priority,
        bytes,
        tried,
        limited: Limited { route: "all".into(), is_stream: false, gate: None },
    }
}

/// A ticket, and how often it was woken.
fn ticket(priority: Priority, bytes: u64, tried: &[u32]) -> (Arc<Ticket>, Arc<Count>) {
    let count = Arc::new(Count(AtomicUsize::new(0)));
    (Ticket::new(bearer(priority, bytes, tried), Waker::from(Arc::clone(&count))), count)
}

/// Joins, and says what became of it at once.
fn join(queue: &Queue, priority: Priority, bytes: u64) -> Result<Arc<Ticket>, Refusal> {
    let (ticket, _) = ticket(priority, bytes, &[]);
    queue.join(&ticket, Stand::Home, Instant::now())?;
    ticket.stands_in_one_less();
    Ok(ticket)
}

fn is_granted(ticket: &Ticket) -> bool {
    matches!(ticket.take_answer(), Some(Answer::Granted(_)))
}

fn refusal(ticket: &Ticket) -> Option<Refusal> {
    match ticket.take_answer()? {
        Answer::Refused(refusal) => Some(refusal),
        Answer::Granted(_) => None,
    }
}

const NORMAL: Priority = Priority::Normal;

#[test]
fn a_place_goes_to_the_first_in_line_as_one_that_is_taken() {
    let (queue, slot) = full(10, 1_000);
    let waiting: Vec<_> = (0..3).map(|_| join(&queue, NORMAL, 1).unwrap()).collect();
    for ticket in &waiting {
        assert!(ticket.take_answer().is_none());
        slot.leave();
        // No newcomer finds it free.
        assert!(!slot.try_enter() && slot.in_flight() == 1);
        assert!(is_granted(ticket));
    }
    assert!(!queue.is_waited_for());
    slot.leave();
    assert!(slot.is_idle());
}

#[test]
fn whoever_is_served_or_refused_is_woken_once() {
    let (queue, slot) = full(10, 1_000);
    let (ticket, woken) = ticket(NORMAL, 1, &[]);
    queue.join(&ticket, Stand::Home, Instant::now()).unwrap();
    assert_eq!(woken.0.load(Ordering::SeqCst), 0);
    slot.leave();
    queue.tick(Instant::now());
    assert_eq!(woken.0.load(Ordering::SeqCst), 1);
}

#[test]
fn a_newcomer_is_served_at_once_when_a_place_became_free_meanwhile() {
    let (queue, slot) = full(10, 1_000);
    slot.leave();
    assert!(is_granted(&join(&queue, NORMAL, 1).unwrap()));
    assert!(!queue.is_waited_for());
}

#[test]
fn a_place_that_nobody_came_for_goes_to_the_next() {
    let (queue, slot) = full(10, 1_000);
    let gone = join(&queue, NORMAL, 1).unwrap();
    let next = join(&queue, NORMAL, 1).unwrap();
    slot.leave();
    gone.end();
    assert!(is_granted(&next));
    slot.leave();
    assert!(slot.is_idle());
}

#[test]
fn whoever_leaves_gives_room_and_takes_nothing() {
    let (queue, slot) = full(1, 1_000);
    let (gone, _) = ticket(NORMAL, 1, &[]);
    let place = queue.join(&gone, Stand::Home, Instant::now()).unwrap();
    assert_eq!(join(&queue, NORMAL, 1).unwrap_err(), Refusal::QueueFull);
    gone.end();
    queue.quit(place);
    let stays = join(&queue, NORMAL, 1).unwrap();
    slot.leave();
    assert!(is_granted(&stays));
}

#[test]
fn a_queue_is_bounded_in_requests_and_in_bytes() {
    let (queue, _slot) = full(3, 100);
    let _some = [join(&queue, NORMAL, 60).unwrap(), join(&queue, NORMAL, 40).unwrap()];
    assert_eq!(join(&queue, NORMAL, 1).unwrap_err(), Refusal::QueueFull, "bytes");
    let _third = join(&queue, NORMAL, 0).unwrap();
    assert_eq!(join(&queue, NORMAL, 0).unwrap_err(), Refusal::QueueFull, "requests");
}

#[test]
fn the_newest_of_the_least_important_goes_for_somebody_more_important() {
    let (queue, _slot) = full(4, 1_000);
    let low = [0, 1].map(|_| join(&queue, Priority::Low, 1).unwrap());
    let normal = join(&queue, NORMAL, 1).unwrap();
    let critical = join(&queue, Priority::Critical, 1).unwrap();
    assert_eq!(join(&queue, Priority::Low, 1).unwrap_err(), Refusal::QueueFull);
    for expected in [&low[1], &low[0], &normal] {
        join(&queue, Priority::Critical, 1).unwrap();
        assert_eq!(refusal(expected), Some(Refusal::Displaced));
    }
    assert_eq!(join(&queue, Priority::Critical, 1).unwrap_err(), Refusal::QueueFull);
    assert!(critical.take_answer().is_none());
}

#[test]
fn of_thirteen_places_eight_go_to_critical_four_to_normal_and_one_to_low() {
    let (queue, slot) = full(1_000, 1_000);
    let mut waiting = Vec::new();
    for priority in [Priority::Low, Priority::Normal, Priority::Critical] {
        waiting.extend((0..30).map(|_| (priority, join(&queue, priority, 1).unwrap())));
    }
    let mut served = String::new();
    for _ in 0..waiting.len() {
        slot.leave();
        let next = waiting.iter().position(|(_, ticket)| is_granted(ticket)).unwrap();
        let (priority, _) = waiting.remove(next);
        served.push(['c', 'n', 'l'][priority as usize]);
    }
    // Critical is through after four rounds, normal after eight; in its line each was the first.
    assert!(served.starts_with(&"ccccccccnnnnl".repeat(3)), "{served}");
    assert_eq!(&served[39..52], "ccccccnnnnlnn", "{served}");
}

#[test]
fn who_is_back_from_a_backend_goes_first_and_not_to_that_one_again() {
    let queue = Queue::new();
    let slots = [slot(&queue, 0, 1), slot(&queue, 1, 1)];
    queue.publish(&slots, None, &config(10, 1_000), false, Instant::now());
    assert!(slots.iter().all(|slot| slot.try_enter()));
    let first = join(&queue, NORMAL, 1).unwrap();
    let (back, _) = ticket(NORMAL, 1, &[0]);
    queue.join(&back, Stand::Home, Instant::now()).unwrap();
    slots[0].leave();
    assert!(is_granted(&first) && back.take_answer().is_none());
    let second = join(&queue, NORMAL, 1).unwrap();
    slots[1].leave();
    assert!(is_granted(&back) && second.take_answer().is_none());
    let (nowhere, _) = ticket(NORMAL, 1, &[0, 1]);
    let refused = queue.join(&nowhere, Stand::Home, Instant::now());
    assert_eq!(refused.unwrap_err(), Refusal::NothingComes);
}

#[test]
fn nobody_waits_for_what_cannot_come() {
    let (queue, slot) = full(10, 1_000);
    let ticket = join(&queue, NORMAL, 1).unwrap();
    queue.publish(&[], None, &config(10, 1_000), false, Instant::now());
    assert_eq!(refusal(&ticket), Some(Refusal::NothingComes));
    assert_eq!(join(&queue, NORMAL, 1).unwrap_err(), Refusal::NothingComes);
    // A backend that is not eligible finishes its requests, and gets no other.
    queue.expect_until(Some(Instant::now() + CEILING), Instant::now());
    let ticket = join(&queue, NORMAL, 1).unwrap();
    slot.leave();
    assert!(ticket.take_answer().is_none());
}

#[test]
fn an_expected_backend_is_waited_for_until_it_comes_or_is_late() {
    let queue = Queue::new();
    let now = Instant::now();
    queue.publish(&[], None, &config(10, 1_000), false, now);
    queue.expect_until(Some(now + CEILING), now);
    let served = join(&queue, NORMAL, 1).unwrap();
    let slot = slot(&queue, 0, 1);
    queue.publish(std::slice::from_ref(&slot), None, &config(10, 1_000), false, now);
    assert!(is_granted(&served));

    let late = join(&queue, NORMAL, 1).unwrap();
    queue.publish(&[], None, &config(10, 1_000), false, now);
    queue.tick(now);
    assert!(late.take_answer().is_none());
    queue.tick(now + CEILING);
    assert_eq!(refusal(&late), Some(Refusal::NothingComes));
}

#[test]
fn the_first_check_of_a_backend_is_waited_for_where_there_is_no_other() {
    let queue = Queue::new();
    let now = Instant::now();
    let publish = |slots: &[Arc<Slot>], awaits| {
        queue.publish(slots, None, &config(10, 1_000), awaits, now);
    };
    publish(&[], true);
    let waits = join(&queue, NORMAL, 1).unwrap();
    let slot = slot(&queue, 0, 1);
    publish(std::slice::from_ref(&slot), true);
    assert!(is_granted(&waits));
    // Another may come, but nobody knows.
    let (back, _) = ticket(NORMAL, 1, &[0]);
    let refused = queue.join(&back, Stand::Home, now);
    assert_eq!(refused.unwrap_err(), Refusal::NothingComes);
    publish(&[], true);
    let waits = join(&queue, NORMAL, 1).unwrap();
    publish(&[], false);
    assert_eq!(refusal(&waits), Some(Refusal::NothingComes));
}

#[test]
fn who_is_back_from_all_that_are_left_waits_no_longer() {
    let queue = Queue::new();
    let slots = [slot(&queue, 0, 1), slot(&queue, 1, 1)];
    assert!(slots.iter().all(|slot| slot.try_enter()));
    let publish = |slots: &[Arc<Slot>]| {
        queue.publish(slots, None, &config(10, 1_000), false, Instant::now());
    };
    publish(&slots);
    let (back, _) = ticket(NORMAL, 1, &[0]);
    queue.join(&back, Stand::Home, Instant::now()).unwrap();
    back.stands_in_one_less();
    let first = join(&queue, NORMAL, 1).unwrap();
    publish(&slots[..1]);
    assert_eq!(refusal(&back), Some(Refusal::NothingComes));
    assert!(first.take_answer().is_none(), "who was nowhere yet waits on");
}

#[test]
fn a_cap_that_rises_is_filled_at_the_next_tick_and_not_beyond() {
    let (queue, slot) = full(100, 1_000);
    let waiting: Vec<_> = (0..10).map(|_| join(&queue, NORMAL, 1).unwrap()).collect();
    for cap in [2, 3, 7] {
        slot.set_max_concurrency(Some(cap));
        queue.tick(Instant::now());
        assert_eq!(slot.in_flight(), cap);
    }
    assert_eq!(waiting.iter().filter(|ticket| is_granted(ticket)).count(), 6);
}

#[test]
fn a_guest_is_served_where_a_place_is_first_and_counts_at_home_only() {
    let (home, at_home) = full(1, 1_000);
    let (other, elsewhere) = full(0, 0);
    let (ticket, _) = ticket(NORMAL, 1, &[]);
    let places = [
        home.join(&ticket, Stand::Home, Instant::now()).unwrap(),
        other.join(&ticket, Stand::Guest, Instant::now()).unwrap(),
    ];
    ticket.stands_in_one_less();
    // Where nothing comes any more is no reason to go while there is another place to stand.
    home.publish(&[], None, &config(1, 1_000), false, Instant::now());
    assert!(ticket.take_answer().is_none());
    elsewhere.leave();
    at_home.leave();
    assert!(is_granted(&ticket));
    assert_eq!((elsewhere.in_flight(), at_home.in_flight()), (1, 0));
    home.quit(places[0]);
    other.quit(places[1]);
    assert!(!home.is_waited_for() && !other.is_waited_for());
}

struct Unpark(Thread, AtomicBool);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.1.store(true, Ordering::SeqCst);
        self.0.unpark();
    }
}

/// One request of a thread: enters if nobody waits and there is a place, else stands in line.
/// Every few it loses patience. Whether it was served.
fn request(queue: &Arc<Queue>, slots: &[Arc<Slot>], number: usize) -> Option<Arc<Slot>> {
    if !queue.is_waited_for()
        && let Some(slot) = slots.iter().find(|slot| slot.try_enter())
    {
        return Some(Arc::clone(slot));
    }
    // Here a place may become free that nobody is seen to wait for.
    std::thread::yield_now();
    let wake = Arc::new(Unpark(std::thread::current(), AtomicBool::new(false)));
    let ticket = Ticket::new(bearer(NORMAL, 1, &[]), Waker::from(Arc::clone(&wake)));
    let place = queue.join(&ticket, Stand::Home, Instant::now()).unwrap();
    ticket.stands_in_one_less();
    let is_impatient = number.is_multiple_of(7);
    let begun = Instant::now();
    let served = loop {
        if let Some(Answer::Granted(grant)) = ticket.take_answer() {
            break Some(grant.slot);
        }
        if is_impatient {
            break None;
        }
        // The only thing that ends this is a wake-up: one that is lost is seen here.
        std::thread::park_timeout(CEILING);
        assert!(begun.elapsed() < CEILING, "a wake-up was lost");
    };
    ticket.end();
    queue.quit(place);
    served
}

#[test]
fn no_wake_up_is_lost_and_no_cap_exceeded_between_threads() {
    for (threads, cap) in [(2, 1), (4, 1), (8, 2)] {
        let queue = Queue::new();
        let slots = [slot(&queue, 0, cap), slot(&queue, 1, 1)];
        queue.publish(&slots, None, &config(1_000, 1_000), false, Instant::now());
        let inside = [AtomicU32::new(0), AtomicU32::new(0)];
        let (start, served) = (Barrier::new(threads), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    start.wait();
                    for number in 0..20_000 {
                        let Some(slot) = request(&queue, &slots, number) else { continue };
                        let now = &inside[slot.id as usize];
                        let most = if slot.id == 0 { cap } else { 1 };
                        assert!(now.fetch_add(1, Ordering::SeqCst) < most, "beyond the cap");
                        served.fetch_add(1, Ordering::SeqCst);
                        if number.is_multiple_of(3) {
                            std::thread::yield_now();
                        }
                        now.fetch_sub(1, Ordering::SeqCst);
                        slot.leave();
                    }
                });
            }
        });
        assert!(served.into_inner() >= threads * 17_000);
        assert!(!queue.is_waited_for() && slots.iter().all(|slot| slot.is_idle()));
    }
}

#[test]
fn a_guest_stands_in_line_whatever_room_there_is_for_others() {
    let (queue, slot) = full(2, 1_000);
    let at_home = [join(&queue, NORMAL, 1).unwrap(), join(&queue, NORMAL, 1).unwrap()];
    // A reload has lowered the limit under those who wait.
    queue.publish(std::slice::from_ref(&slot), None, &config(1, 1_000), false, Instant::now());
    let (guest, _) = ticket(Priority::Critical, 1, &[]);
    assert!(queue.join(&guest, Stand::Guest, Instant::now()).is_ok());
    assert!(at_home.iter().all(|ticket| ticket.take_answer().is_none()), "and nobody goes for it");
}
