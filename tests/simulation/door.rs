//! A door in front of the pool: members, their checks, the requests they have.

use std::collections::BTreeMap;
use std::time::Duration;

use policies::backend::{BackendId, PoolName};
use policies::membership::Stage;
use policies::rng::Rng;
use scaler::demand::Demand;
use scaler::ports::{FleetLook, MemberLook, Order, PoolLook};

use crate::cloud::Cloud;

/// Requests at once that an instance takes before others wait.
pub(crate) const CAP: f64 = 13.0;

/// One member as the door knows it.
#[derive(Debug, Clone)]
pub(crate) struct Seat {
    pub(crate) stage: Stage,
    pub(crate) is_healthy: bool,
    pub(crate) in_flight: u32,
    /// Since when it takes nothing new.
    pub(crate) drains_since: Option<Duration>,
    /// It has a request that does not end.
    is_stuck: bool,
}

/// All members.
#[derive(Debug, Default)]
pub(crate) struct Door {
    pub(crate) seats: BTreeMap<BackendId, Seat>,
    waiting: f64,
}

impl Door {
    /// One second: checks, requests that come and end.
    pub(crate) fn pass(&mut self, now: Duration, demand: f64, cloud: &Cloud, rng: &mut Rng) {
        for (id, seat) in &mut self.seats {
            let machine = &cloud.machines[id];
            let answers = machine.answers.is_some_and(|at| at <= now);
            seat.is_healthy = answers && machine.ended.is_none() && !machine.is_dead;
            if seat.stage == Stage::Joining && seat.is_healthy {
                seat.stage = Stage::Serving;
            }
            if seat.stage == Stage::Draining {
                seat.in_flight = if seat.is_stuck { 1 } else { seat.in_flight / 2 };
                if seat.in_flight == 0 {
                    seat.stage = Stage::Drained;
                }
            }
        }
        let serving = |seat: &&mut Seat| seat.stage == Stage::Serving && seat.is_healthy;
        let count = self.seats.values_mut().filter(serving).count() as f64;
        let share = if count > 0.0 { (demand / count).min(CAP) } else { 0.0 };
        self.waiting = (demand - share * count).max(0.0).floor();
        for seat in self.seats.values_mut().filter(serving) {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // at most CAP
            let in_flight = share.ceil() as u32;
            seat.in_flight = in_flight;
            seat.is_stuck = rng.below(12) == 0;
        }
    }

    pub(crate) fn order(&mut self, now: Duration, order: &Order) {
        match order {
            Order::Admit { id, .. } => {
                let seat = Seat {
                    stage: Stage::Joining,
                    is_healthy: false,
                    in_flight: 0,
                    drains_since: None,
                    is_stuck: false,
                };
                self.seats.entry(id.clone()).or_insert(seat);
            }
            Order::Drain { id } => {
                let Some(seat) = self.seats.get_mut(id) else { return };
                seat.stage = match seat.stage {
                    Stage::Joining => Stage::Drained,
                    Stage::Serving => Stage::Draining,
                    stage => stage,
                };
                seat.drains_since.get_or_insert(now);
            }
            Order::Undrain { id } => {
                let Some(seat) = self.seats.get_mut(id) else { return };
                seat.stage = match seat.stage {
                    Stage::Draining => Stage::Serving,
                    Stage::Drained => Stage::Joining,
                    stage => stage,
                };
                seat.drains_since = None;
            }
            Order::Expect { .. } => {}
            // Requests under way may finish; whoever terminates it has to have waited.
            Order::Remove { id } => drop(self.seats.remove(id)),
        }
    }

    pub(crate) fn look(&self, pool: &PoolName, demand: f64, is_counted: bool) -> FleetLook {
        let members = self.seats.iter().map(|(id, seat)| MemberLook {
            id: id.clone(),
            stage: seat.stage,
            is_healthy: seat.is_healthy,
            in_flight: seat.in_flight,
            max_concurrency: None,
            is_ejected: false,
            is_launched: true,
        });
        let members: Vec<MemberLook> = members.collect();
        let in_flight = members.iter().map(|member| u64::from(member.in_flight)).sum();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // small
        let waiting = self.waiting as u64;
        let demand = Demand {
            doors: 1,
            arrivals_rps: demand / 0.1,
            in_flight,
            waiting,
            service: (in_flight > 0).then_some(Duration::from_millis(100)),
            ..Demand::default()
        };
        let pool = PoolLook {
            pool: pool.clone(),
            demand: is_counted.then_some(demand),
            elsewhere: 0,
            members,
            error_rate: 0.0,
            connect_errors_rps: 0.0,
        };
        FleetLook { pools: vec![pool] }
    }

    /// Healthy members that take requests.
    pub(crate) fn serving(&self) -> usize {
        self.seats.values().filter(|seat| seat.stage == Stage::Serving && seat.is_healthy).count()
    }
}
