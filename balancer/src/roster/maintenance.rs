//! The maintenance switches of the site and of its routes, beside what the file says.
//!
//! A switch that says what the file says is none. One that says otherwise stays until it is turned
//! back, also over a reload: that must not open a site in the middle of the work on it.

use std::sync::Arc;

use super::state::State;
use super::{Order, Roster};
use crate::config::DoorConfig;

/// How a switch stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Maintenance {
    /// Requests are answered with 503.
    pub is_on: bool,
    /// So says the configuration.
    pub is_written: bool,
}

impl Roster {
    /// How the switch of the site stands, or of a route; `None` if there is no such route.
    pub fn maintenance(&self, route: Option<&str>) -> Option<Maintenance> {
        self.lock().maintenance(route)
    }

    /// Turns it, for requests that come from now on. `None` if there is no such route.
    pub fn maintain(&self, route: Option<&str>, is_on: bool, order: &Order) -> Option<Maintenance> {
        let mut state = self.lock();
        let before = state.maintenance(route)?;
        let after = Maintenance { is_on, ..before };
        if before == after {
            return Some(after);
        }
        let key = route.map(Arc::from);
        match is_on == before.is_written {
            true => state.switches.remove(&key),
            false => state.switches.insert(key, is_on),
        };
        state.take_up();
        self.publish(&mut state);
        drop(state);
        let (actor, reason) = (order.actor.as_str(), order.reason.as_deref());
        match is_on {
            true => tracing::info!(route, actor, reason, "maintenance_on"),
            false => tracing::info!(route, actor, reason, "maintenance_off"),
        }
        Some(after)
    }
}

impl State {
    fn maintenance(&self, route: Option<&str>) -> Option<Maintenance> {
        let is_written = match route {
            None => self.written.in_maintenance,
            Some(name) => {
                let routes = &self.written.routes;
                routes.iter().find(|route| *route.route.name == *name)?.in_maintenance
            }
        };
        let switch = self.switches.get(&route.map(Arc::from)).copied();
        Some(Maintenance { is_on: switch.unwrap_or(is_written), is_written })
    }

    /// The configuration with all switches, after those that have become meaningless are gone.
    pub(super) fn switched(&mut self) -> Arc<DoorConfig> {
        let mut switches = std::mem::take(&mut self.switches);
        switches.retain(|route, is_on| {
            let now = self.maintenance(route.as_deref());
            now.is_some_and(|now| now.is_written != *is_on)
        });
        let mut config = DoorConfig::clone(&self.written);
        for (route, is_on) in &switches {
            match route {
                None => config.in_maintenance = *is_on,
                Some(name) => {
                    let named = config.routes.iter_mut().filter(|one| one.route.name == *name);
                    named.for_each(|one| one.in_maintenance = *is_on);
                }
            }
        }
        self.switches = switches;
        Arc::new(config.with_maintenance())
    }
}
