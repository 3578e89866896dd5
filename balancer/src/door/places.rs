//! Which listener has which place in the configurations that the workers see.
//!
//! A connection knows its listener by a place alone. It may outlive many configurations, so a
//! place stays what it is as long as anything refers to it: a listener that is written down no
//! longer keeps its place and its last settings (marked as leaving) until its last connection has
//! ended and another one needs the place.

use std::sync::Arc;

use super::Capacity;
use crate::config::{DoorConfig, ListenerConfig};
use crate::listener::{Limits, Listener};
use crate::sockets::Sockets;

/// All places, by number.
#[derive(Default)]
pub(super) struct Places(Vec<Place>);

struct Place {
    config: ListenerConfig,
    limits: Arc<Limits>,
}

impl Places {
    /// The configuration with each listener in its place and with the limits that hold.
    pub(super) fn arrange(&mut self, mut config: DoorConfig, capacity: &Capacity) -> DoorConfig {
        for place in &mut self.0 {
            place.config.is_leaving = true;
        }
        let (known, new): (Vec<_>, Vec<_>) = std::mem::take(&mut config.listeners)
            .into_iter()
            .enumerate()
            .partition(|(_, listener)| self.find(&listener.name).is_some());
        for (index, listener) in known.into_iter().chain(new) {
            let max = capacity.connections.get(index).copied().unwrap_or(u32::MAX);
            let max_per_address = listener.max_connections_per_address;
            let place = match self.find(&listener.name).or_else(|| self.vacant()) {
                Some(number) => &mut self.0[number],
                None => {
                    let number = u16::try_from(self.0.len()).unwrap_or(u16::MAX);
                    self.0.push(Place { config: listener.clone(), limits: Limits::new(number) });
                    self.0.last_mut().expect("pushed just now")
                }
            };
            place.config = listener;
            place.limits.set(max, max_per_address);
        }
        config.listeners = self.0.iter().map(|place| place.config.clone()).collect();
        config
    }

    /// Each worker's part of the sockets: every queue has a worker, and every worker a queue of
    /// each address.
    pub(super) fn deal(&self, sockets: &Sockets, workers: usize) -> Vec<Vec<Listener>> {
        let mut dealt = vec![Vec::new(); workers];
        for bound in &sockets.by_listener {
            let Some(place) = self.find(&bound.name) else { continue };
            let limits = &self.0[place].limits;
            for group in bound.groups.iter().map(|group| &group.sockets) {
                for turn in 0..workers.max(group.len()) {
                    let socket = Arc::clone(&group[turn % group.len()]);
                    dealt[turn % workers].push(Listener { socket, limits: Arc::clone(limits) });
                }
            }
        }
        dealt
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|place| *place.config.name == *name)
    }

    /// A place that nothing refers to: every socket and every connection holds its limits.
    fn vacant(&self) -> Option<usize> {
        let is_vacant =
            |place: &Place| place.config.is_leaving && Arc::strong_count(&place.limits) == 1;
        self.0.iter().position(is_vacant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(names: &[&str]) -> DoorConfig {
        let mut config = crate::sample::door(1, &[]);
        let model = config.listeners.remove(0);
        let named = |name: &&str| ListenerConfig { name: (*name).into(), ..model.clone() };
        config.listeners = names.iter().map(named).collect();
        config
    }

    /// The names in their places after this configuration; those that leave in parentheses.
    #[track_caller]
    fn check(places: &mut Places, names: &[&str], expected: &[&str]) {
        let capacity = Capacity { connections: Vec::new(), refused_per_worker: 1 };
        let arranged = places.arrange(config(names), &capacity);
        let shown = arranged.listeners.iter().map(|listener| match listener.is_leaving {
            true => format!("({})", listener.name),
            false => listener.name.to_string(),
        });
        assert_eq!(shown.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_listener_keeps_its_place_whatever_comes_and_goes_around_it() {
        let mut places = Places::default();
        check(&mut places, &["b", "c"], &["b", "c"]);
        let connection = Arc::clone(&places.0[0].limits);
        check(&mut places, &["a", "c"], &["(b)", "c", "a"]);
        check(&mut places, &["a", "b", "c"], &["b", "c", "a"]);
        drop(connection);
    }

    #[test]
    fn a_place_is_given_away_when_its_last_connection_has_ended() {
        let mut places = Places::default();
        check(&mut places, &["a", "b"], &["a", "b"]);
        let connection = Arc::clone(&places.0[0].limits);
        check(&mut places, &["b", "c"], &["(a)", "b", "c"]);
        drop(connection);
        check(&mut places, &["b", "c", "d"], &["d", "b", "c"]);
        for round in 0..100 {
            check(&mut places, &[&format!("n{round}")], &[&format!("n{round}"), "(b)", "(c)"]);
        }
    }

    #[test]
    fn a_new_listener_does_not_take_the_place_of_one_that_returns() {
        let mut places = Places::default();
        check(&mut places, &["b"], &["b"]);
        check(&mut places, &[], &["(b)"]);
        check(&mut places, &["a", "b"], &["b", "a"]);
    }

    #[test]
    fn every_queue_has_a_worker_and_every_worker_a_queue() {
        let mut places = Places::default();
        check(&mut places, &["a"], &["a"]);
        for (queues, workers) in [(1, 1), (1, 4), (4, 1), (4, 4), (3, 2), (2, 3)] {
            let sockets = Sockets::bind(&config(&["a"]).listeners, queues).unwrap();
            let dealt = places.deal(&sockets, workers);
            assert!(dealt.iter().all(|listeners| !listeners.is_empty()), "{queues} {workers}");
            let group = &sockets.by_listener[0].groups[0].sockets;
            let is_dealt = |socket: &Arc<_>| {
                dealt.iter().flatten().any(|listener| Arc::ptr_eq(&listener.socket, socket))
            };
            assert!(group.iter().all(is_dealt), "{queues} {workers}");
        }
    }
}
