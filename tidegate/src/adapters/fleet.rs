//! The door as the scaler sees it, and the only way in which the scaler changes it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use balancer::load::LoadMeter;
use balancer::roster::{Member, Roster, UnderWay};
use balancer::stats::{BackendFault, CodeClass, Totals};
use policies::backend::{Address, Backend, BackendKey, Origin, PoolName};
use policies::breaker::Phase;
use policies::health::Verdict;
use policies::membership::{Change, Rejected};
use scaler::demand::Demand;
use scaler::ports::{Fleet, FleetLook, MemberLook, Order, PoolLook};

use super::{OLDEST_LOAD, door_load};
use crate::telemetry::Telemetry;

/// One scaler's eyes and hands: each has its own, because it counts from look to look.
pub struct DoorFleet {
    roster: Arc<Roster>,
    telemetry: Arc<Telemetry>,
    /// Requests that an instance of the pool may have.
    max_concurrency: Option<u32>,
    before: Mutex<Before>,
}

/// What the look before has counted.
struct Before {
    meter: LoadMeter,
    at: Instant,
    backends: BTreeMap<BackendKey, Answers>,
}

/// Since the start of the door.
#[derive(Debug, Clone, Copy, Default)]
struct Answers {
    all: u64,
    /// Of the 5xx kind, or none at all.
    bad: u64,
    /// Of those, without a connection.
    unconnected: u64,
}

impl DoorFleet {
    /// For a pool whose instances may have so many requests each.
    pub fn new(
        roster: Arc<Roster>,
        telemetry: Arc<Telemetry>,
        max_concurrency: Option<u32>,
    ) -> DoorFleet {
        let (now, totals) = (Instant::now(), telemetry.totals());
        let before = Before {
            meter: LoadMeter::new(telemetry.door(), &totals, now),
            at: now,
            backends: answers(&totals),
        };
        DoorFleet { roster, telemetry, max_concurrency, before: Mutex::new(before) }
    }

    fn change(&self, change: Change) -> Result<(), String> {
        match self.roster.change(change) {
            // Carried out before: a look may be older than the order that it led to.
            Ok(()) | Err(Rejected::Exists { .. } | Rejected::Stage { .. }) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Fleet for DoorFleet {
    fn look(&self) -> FleetLook {
        let (now, totals) = (Instant::now(), self.telemetry.totals());
        let config = Arc::clone(&self.roster.snapshot().config);
        let mut before = self.before.lock().unwrap_or_else(PoisonError::into_inner);
        let seconds = now.saturating_duration_since(before.at).as_secs_f64().max(1e-3);
        let loads = before.meter.read(&totals, now);
        let counted = std::mem::replace(&mut before.backends, answers(&totals));
        before.at = now;
        let others = self.roster.under_way_before();
        let pool = |(pool, members): (PoolName, Vec<Member>)| {
            let configured = config.pools.iter().find(|configured| configured.name == pool);
            let weight = configured.map_or(0.0, |configured| configured.stream_weight);
            let own = loads.iter().filter(|load| load.pool == pool);
            let own: Vec<_> = own.map(|load| door_load(load, weight)).collect();
            let since = since(&pool, &counted, &before.backends);
            PoolLook {
                demand: Some(Demand::merge(&own, OLDEST_LOAD)),
                elsewhere: elsewhere(&others, &pool),
                members: members.iter().map(member).collect(),
                error_rate: ratio(since.bad, since.all),
                connect_errors_rps: since.unconnected as f64 / seconds,
                pool,
            }
        };
        FleetLook { pools: self.roster.pools().into_iter().map(pool).collect() }
    }

    fn order(&self, pool: &PoolName, order: &Order) -> Result<(), String> {
        let key = |id: &policies::backend::BackendId| BackendKey {
            pool: pool.clone(),
            backend: id.clone(),
        };
        match order {
            Order::Admit { id, address, zone } => {
                let backend = Backend {
                    id: id.clone(),
                    address: Address::Socket(*address),
                    weight: 1,
                    max_concurrency: self.max_concurrency,
                    zone: zone.clone(),
                    origin: Origin::Cloud,
                };
                self.change(Change::Join { pool: pool.clone(), backend })
            }
            Order::Drain { id } => self.change(Change::Drain { key: key(id) }),
            Order::Undrain { id } => self.change(Change::Undrain { key: key(id) }),
            Order::Remove { id } => match self.roster.change(Change::Remove { key: key(id) }) {
                Ok(()) | Err(Rejected::Unknown { .. }) => Ok(()),
                Err(error) => Err(error.to_string()),
            },
            Order::Expect { within } => {
                self.roster.expect_capacity(pool, Some(Instant::now() + *within));
                Ok(())
            }
        }
    }
}

/// Requests at backends of a pool, whoever of them is a member.
fn elsewhere(under_way: &[UnderWay], pool: &PoolName) -> u64 {
    let there = under_way.iter().filter(|at| at.key.pool == *pool);
    there.map(|at| u64::from(at.in_flight)).sum()
}

fn member(member: &Member) -> MemberLook {
    MemberLook {
        id: member.backend.id.clone(),
        stage: member.stage,
        is_healthy: member.verdict == Verdict::Healthy,
        in_flight: member.in_flight(),
        max_concurrency: member.backend.max_concurrency,
        is_ejected: member.is_ejected || member.breaker != Phase::Closed,
        is_launched: member.backend.origin == Origin::Cloud,
    }
}

fn answers(totals: &Totals) -> BTreeMap<BackendKey, Answers> {
    let count = |(key, backend): (&BackendKey, &balancer::stats::BackendTotals)| {
        let faults = || BackendFault::ALL.iter().zip(&backend.faults);
        // No fault of the backend's, and repeated on another connection.
        let failed: u64 = faults()
            .filter(|(fault, _)| **fault != BackendFault::StaleConnection)
            .map(|(_, count)| count)
            .sum();
        let unconnected = faults().filter(|(fault, _)| {
            matches!(fault, BackendFault::ConnectFailed | BackendFault::ConnectTimeout)
        });
        let classes = CodeClass::ALL.iter().zip(&backend.requests);
        let errors = classes.filter(|(class, _)| **class == CodeClass::ServerError);
        let answers = Answers {
            all: backend.requests.iter().sum::<u64>() + failed,
            bad: errors.map(|(_, count)| count).sum::<u64>() + failed,
            unconnected: unconnected.map(|(_, count)| count).sum(),
        };
        (key.clone(), answers)
    };
    totals.backends.iter().map(count).collect()
}

/// What the members of a pool have answered from one count to the next.
fn since(
    pool: &PoolName,
    before: &BTreeMap<BackendKey, Answers>,
    now: &BTreeMap<BackendKey, Answers>,
) -> Answers {
    let mut sum = Answers::default();
    for (key, now) in now.iter().filter(|(key, _)| key.pool == *pool) {
        let before = before.get(key).copied().unwrap_or_default();
        sum.all += now.all.saturating_sub(before.all);
        sum.bad += now.bad.saturating_sub(before.bad);
        sum.unconnected += now.unconnected.saturating_sub(before.unconnected);
    }
    sum
}

fn ratio(part: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { part as f64 / all as f64 }
}

#[cfg(test)]
mod tests {
    use policies::backend::BackendId;

    use super::*;

    #[test]
    fn a_member_that_is_taken_out_by_its_answers_is_seen_as_such() {
        let text = "schema = 1\n[listeners.web]\nbind = \"127.0.0.1:0\"\n\
                    [pools.a]\nbackends = [{ address = \"10.0.0.1:80\" }]\n";
        let config = crate::config::parse("test.toml", text).config.unwrap();
        let roster = Roster::new(Arc::new(config.door));
        let backend = BackendId("10.0.0.1:80".into());
        let key = BackendKey { pool: PoolName("a".into()), backend };
        let is_ejected = || member(&roster.member(&key).unwrap()).is_ejected;
        assert!(!is_ejected());
        roster.hold_breaker(&key, Some(Phase::Open), None).unwrap();
        assert!(is_ejected());
        roster.hold_breaker(&key, None, None).unwrap();
        let mut taken_out = roster.member(&key).unwrap();
        taken_out.is_ejected = true;
        assert!(member(&taken_out).is_ejected);
    }
}
