//! How much each gate lets in, where its number comes from, and that nobody is forgotten in front
//! of one.

use std::sync::Barrier;
use std::task::{Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use policies::backend::{Backend, PoolIndex};
use policies::route::{Action, Target};

use super::*;
use crate::config::{DoorConfig, Priority, QueueConfig, RouteConfig};
use crate::queue::{Answer, Bearer, Grant, Refusal, Stand, Ticket};
use crate::roster::Roster;
use crate::roster::fixture::{backend, door, healthy, key};
use crate::sample;

const CEILING: Duration = Duration::from_secs(20);

fn pool(general: u32, reserved: &[(&str, u32)]) -> Arc<PoolGates> {
    let reserved = reserved.iter().map(|(route, cap)| ((*route).into(), Gate::new(*cap)));
    Arc::new(PoolGates { general: Gate::new(general), reserved: reserved.collect() })
}

fn limits<'a>(route: &'a str, gate: Option<&'a Arc<Gate>>, pool: &'a Arc<PoolGates>) -> Limits<'a> {
    Limits { route, gate, pool: Some(pool) }
}

#[test]
fn what_is_reserved_is_taken_by_nobody_else_and_first_by_its_route() {
    let pool = pool(3, &[("login", 2)]);
    let (rest, login) = (limits("rest", None, &pool), limits("login", None, &pool));
    let mut others: Vec<Pass> = (0..3).map(|_| rest.enter().unwrap()).collect();
    assert!(!rest.has_room() && rest.enter().is_none());
    let _own = [login.enter().unwrap(), login.enter().unwrap()];
    assert!(!login.has_room() && login.enter().is_none());
    others[0].leave();
    let _from_all = login.enter().unwrap();
    assert!(rest.enter().is_none());
    assert_eq!((pool.general.in_flight(), pool.reserved[0].1.in_flight()), (3, 2));
}

#[test]
fn a_request_passes_all_gates_or_none() {
    let (gate, pool) = (Gate::new(1), pool(10, &[]));
    let limits = limits("all", Some(&gate), &pool);
    let mut pass = limits.enter().unwrap();
    assert!(limits.enter().is_none());
    assert_eq!((gate.in_flight(), pool.general.in_flight()), (1, 1));
    pass.leave();
    assert!(pass.is_empty());
    assert_eq!((gate.in_flight(), pool.general.in_flight()), (0, 0));
}

/// A queue in front of these slots of one backend each, which have so many places.
fn queue(caps: &[u32], gates: Option<&Arc<PoolGates>>, max: u32) -> (Arc<Queue>, Vec<Arc<Slot>>) {
    let queue = Queue::new();
    let slots = caps.iter().zip(0..).map(|(&cap, id)| {
        let address = "10.0.0.1:80".parse().unwrap();
        let slot = Slot::new(id, key(&format!("app/b{id}")), address, Arc::clone(&queue));
        slot.set_max_concurrency(Some(cap));
        Arc::new(slot)
    });
    let slots: Vec<_> = slots.collect();
    let config = QueueConfig { max, ..QueueConfig::default() };
    queue.publish(&slots, gates, &config, false, Instant::now());
    (queue, slots)
}

fn ticket(route: &str, gate: Option<&Arc<Gate>>, waker: Waker) -> Arc<Ticket> {
    let limited = Limited { route: route.into(), is_stream: false, gate: gate.cloned() };
    Ticket::new(Bearer { priority: Priority::Normal, bytes: 1, tried: &[], limited }, waker)
}

fn join(queue: &Queue, route: &str, gate: Option<&Arc<Gate>>) -> Result<Arc<Ticket>, Refusal> {
    let ticket = ticket(route, gate, Waker::noop().clone());
    queue.join(&ticket, Stand::Home, Instant::now())?;
    ticket.stands_in_one_less();
    Ok(ticket)
}

fn granted(ticket: &Ticket) -> Option<Grant> {
    match ticket.take_answer()? {
        Answer::Granted(grant) => Some(grant),
        Answer::Refused(refusal) => panic!("{refusal:?}"),
    }
}

#[test]
fn who_is_kept_by_a_limit_stands_in_nobody_elses_way() {
    let gate = Gate::new(1);
    let (queue, slots) = queue(&[3], None, 2);
    let first = granted(&join(&queue, "write", Some(&gate)).unwrap()).unwrap();
    let kept = [0, 1].map(|_| join(&queue, "write", Some(&gate)).unwrap());
    assert!(kept.iter().all(|ticket| granted(ticket).is_none()));
    // A newcomer who lacks nothing but a backend's place looks for it himself, and even from a
    // queue that is full nobody is sent away who can be served.
    assert!(!queue.has_line() && queue.is_waited_for());
    let _read = [0, 1].map(|_| granted(&join(&queue, "read", None).unwrap()).unwrap());
    assert_eq!(join(&queue, "read", None).unwrap_err(), Refusal::QueueFull);
    assert_eq!(slots[0].in_flight(), 3);
    first.give_back();
    let second = granted(&kept[0]).unwrap();
    assert!(granted(&kept[1]).is_none() && gate.in_flight() == 1);
    second.give_back();
    assert!(granted(&kept[1]).is_some());
}

#[test]
fn who_lacks_a_backends_place_is_not_overtaken() {
    let gate = Gate::new(1);
    let (queue, slots) = queue(&[1], None, 10);
    let write = granted(&join(&queue, "write", Some(&gate)).unwrap()).unwrap();
    let kept = join(&queue, "write", Some(&gate)).unwrap();
    assert!(!queue.has_line());
    let read = join(&queue, "read", None).unwrap();
    assert!(queue.has_line());
    write.give_back();
    // The first of the line, which its limit keeps no longer.
    assert!(granted(&read).is_none());
    granted(&kept).unwrap().give_back();
    assert!(granted(&read).is_some() && slots[0].in_flight() == 1);
}

#[test]
fn a_limit_of_a_route_that_is_left_in_one_pool_lets_go_on_in_another() {
    let gate = Gate::new(1);
    let ((here, _), (there, _)) = (queue(&[1], None, 10), queue(&[1], None, 10));
    gate.set(1, vec![Arc::clone(&here), Arc::clone(&there)]);
    let inside = granted(&join(&there, "write", Some(&gate)).unwrap()).unwrap();
    let kept = join(&here, "write", Some(&gate)).unwrap();
    assert!(granted(&kept).is_none());
    inside.give_back();
    assert!(granted(&kept).is_some());
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits in both queues until it is served in one, as a request of a waterfall does.
fn wait(queues: &[Arc<Queue>; 2], route: &str, gate: &Arc<Gate>) -> Grant {
    let ticket = ticket(route, Some(gate), Waker::from(Arc::new(Unpark(std::thread::current()))));
    let places = queues.each_ref().map(|queue| {
        (queue, queue.join(&ticket, Stand::Home, Instant::now()).expect("there is room to wait"))
    });
    ticket.stands_in_one_less();
    let begun = Instant::now();
    let grant = loop {
        if let Some(grant) = granted(&ticket) {
            break grant;
        }
        std::thread::park_timeout(Duration::from_millis(50));
        assert!(begun.elapsed() < CEILING, "forgotten in front of a gate");
        queues.iter().for_each(|queue| queue.tick(Instant::now()));
    };
    places.into_iter().for_each(|(queue, place)| queue.quit(place));
    grant
}

#[test]
fn no_gate_lets_in_more_than_it_may_between_threads() {
    const ROUTES: [(&str, u32); 3] = [("login", 6), ("write", 2), ("read", 100)];
    let pools = [pool(3, &[("login", 2)]), pool(2, &[])];
    let made = pools.each_ref().map(|pool| queue(&[2, 4], Some(pool), 1_000));
    let queues = made.each_ref().map(|(queue, _)| Arc::clone(queue));
    let gates = ROUTES.map(|(_, cap)| Gate::new(cap));
    for (gate, (_, cap)) in gates.iter().zip(ROUTES) {
        gate.set(cap, queues.to_vec());
    }
    let inside = [const { AtomicU32::new(0) }; ROUTES.len()];
    let in_pool = [const { AtomicU32::new(0) }; 2];
    let start = Barrier::new(9);
    std::thread::scope(|scope| {
        for thread in 0..9 {
            let (gates, queues, inside) = (&gates, &queues, &inside);
            let (in_pool, start) = (&in_pool, &start);
            scope.spawn(move || {
                let route = thread % ROUTES.len();
                start.wait();
                for number in 0..3_000 {
                    let grant = wait(queues, ROUTES[route].0, &gates[route]);
                    let pool = usize::from(Arc::ptr_eq(&grant.slot.queue, &queues[1]));
                    let before = inside[route].fetch_add(1, Ordering::SeqCst);
                    assert!(before < ROUTES[route].1, "beyond the route's limit");
                    let before = in_pool[pool].fetch_add(1, Ordering::SeqCst);
                    assert!(before < [5, 2][pool], "beyond the pool's");
                    if number % 3 == 0 {
                        std::thread::yield_now();
                    }
                    in_pool[pool].fetch_sub(1, Ordering::SeqCst);
                    inside[route].fetch_sub(1, Ordering::SeqCst);
                    grant.give_back();
                }
            });
        }
    });
    for gate in gates.iter().chain(pools.iter().map(|pool| &pool.general)) {
        assert_eq!(gate.in_flight(), 0);
    }
    assert!(queues.iter().all(|queue| !queue.is_waited_for()));
}

/// Backends of these caps in one pool, and routes to it with these reserves.
fn configured(caps: &[Option<u32>], concurrency: Option<u32>, reserves: &[f64]) -> DoorConfig {
    let backends = caps.iter().enumerate().map(|(place, &max_concurrency)| {
        let address = format!("10.0.0.{}:80", place + 1);
        Backend { max_concurrency, ..backend(&format!("b{place}"), &address) }
    });
    let mut config = door(&[("app", &backends.collect::<Vec<_>>())]);
    config.pools[0].concurrency = concurrency;
    config.routes =
        reserves.iter().enumerate().map(|(place, &reserve)| route(place, reserve)).collect();
    config
}

fn route(place: usize, reserve: f64) -> RouteConfig {
    let mut route = sample::door(1, &[]).routes.swap_remove(0);
    route.route.name = format!("r{place}").into();
    route.route.action = Action::Forward(Target::Waterfall(vec![PoolIndex(0)]));
    route.reserve = reserve;
    route
}

/// Of the only pool: for everybody, and by route.
fn caps(roster: &Roster) -> Option<(u32, Vec<(String, u32)>)> {
    let gates = roster.snapshot().pools[0].gates.clone()?;
    let reserved = gates.reserved.iter().map(|(route, gate)| (route.to_string(), gate.cap()));
    Some((gates.general.cap(), reserved.collect()))
}

#[track_caller]
fn check(config: DoorConfig, expected: Option<(u32, &[(&str, u32)])>) {
    let expected = expected.map(|(general, reserved)| {
        let reserved = reserved.iter().map(|(route, cap)| ((*route).to_owned(), *cap));
        (general, reserved.collect())
    });
    assert_eq!(caps(&healthy(config)), expected);
}

#[test]
fn parts_are_shares_of_what_the_pool_can_have_in_flight() {
    let (ten, twenty) = (Some(10), Some(20));
    check(configured(&[ten, twenty], None, &[0.0]), None);
    check(configured(&[None, None], None, &[0.5]), None);
    check(configured(&[ten, twenty], None, &[0.1, 0.0]), Some((27, &[("r0", 3)])));
    check(configured(&[ten, twenty], Some(15), &[0.1, 0.2]), Some((10, &[("r0", 2), ("r1", 3)])));
    check(configured(&[ten, None], Some(15), &[]), Some((15, &[])));
    check(configured(&[ten, twenty], Some(100), &[1.0]), Some((0, &[("r0", 30)])));
    // Nobody is shut out by rounding.
    check(configured(&[Some(1)], None, &[0.1]), Some((1, &[("r0", 0)])));
    check(configured(&[Some(2)], None, &[0.1, 0.1]), Some((1, &[("r0", 1), ("r1", 0)])));
}

#[test]
fn who_is_inside_stays_counted_when_the_configuration_changes() {
    let config = configured(&[Some(10)], Some(8), &[0.5]);
    let roster = healthy(config.clone());
    let gates = roster.snapshot().pools[0].gates.clone().unwrap();
    let mut inside = Limits { route: "r1", gate: None, pool: Some(&gates) }.enter().unwrap();
    roster.configure(Arc::new(DoorConfig { ..configured(&[Some(10)], Some(6), &[0.5]) }));
    assert_eq!(caps(&roster), Some((3, vec![("r0".to_owned(), 3)])));
    let after = roster.snapshot().pools[0].gates.clone().unwrap();
    assert_eq!(after.general.in_flight(), 1);
    inside.leave();
    assert_eq!(after.general.in_flight(), 0);
}
