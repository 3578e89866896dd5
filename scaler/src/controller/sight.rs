//! From what the doors count to what the rule of sizes looks at.

use std::time::Duration;

use policies::membership::Stage;
use policies::scale::demand::{Counted, Learned, OutageGuard, offered};
use policies::scale::policy::Signal;
use policies::scale::{Sample, Sight};

use crate::controller::book::Phase;
use crate::controller::{Controller, Mode};
use crate::look::Look;
use crate::ports::{MemberLook, PoolLook};

/// What is learned from one turn to the next.
#[derive(Debug, Clone, Default)]
pub(super) struct Senses {
    service: Learned,
    guard: OutageGuard,
}

/// All pools that carry the same demand, together.
#[derive(Debug, Default)]
struct Sum {
    arrivals_rps: f64,
    waiting: f64,
    in_flight: f64,
    /// Requests of processes before this one.
    elsewhere: f64,
    refused_rps: f64,
    /// Requests at once that all of them can carry; infinite if one did not say.
    capacity: f64,
    /// Of that, what those before this pool carry by `fill_to`.
    before: f64,
    /// Requests per second and their service times together, for the mean.
    served: f64,
    service_seconds: f64,
    doors: u32,
    error_rate: f64,
    connect_errors_rps: f64,
}

impl Controller {
    /// `gap` is the time since the turn before.
    pub(super) fn look_at(&mut self, look: &Look, gap: Duration) -> Sight {
        let sum = self.add_up(look);
        let sample = (sum.doors > 0).then(|| self.sample(&sum, gap));
        let remain = self.book.count(|held| held.is_adopted && !held.is_leaving());
        let is_settling = remain > 0 && look.now.steady < self.counted_from;
        let sample = sample.filter(|_| !is_settling);
        let is_outage_suspected = sum.doors > 0
            && self.sight.guard.observe(
                gap,
                sum.arrivals_rps,
                sum.error_rate,
                sum.connect_errors_rps,
            );
        let census = self.book.census();
        // One that went without us is missed at once where somebody waits.
        if sample.is_some_and(|sample| sample.is_short) {
            self.book.mourned.clear();
        }
        let mourned = u32::try_from(self.book.mourned.len()).unwrap_or(u32::MAX);
        let under_way = census.open + census.booting;
        let (current, ready, booting) = match self.settings.mode {
            Mode::Act => (under_way + census.serving + mourned, census.healthy, under_way),
            // Its instances boot in no time; those that there are belong to somebody else.
            Mode::Shadow => (self.shadow, self.shadow, 0),
        };
        // What stopped a launch stops growth; it takes nobody away who is there.
        let learned = self.book.quota.map(|(quota, _)| quota.max(current));
        let quota = self.abilities.quota.into_iter().chain(learned);
        Sight {
            now: look.now,
            sample,
            current,
            ready,
            booting,
            lead: self.lead(),
            quota: quota.min(),
            budget: None,
            critical: 0,
            error_rate: sum.error_rate,
            is_outage_suspected,
            order: self.order.clone(),
        }
    }

    fn sample(&mut self, sum: &Sum, gap: Duration) -> Sample {
        let service = (sum.served > 0.0)
            .then(|| Duration::try_from_secs_f64(sum.service_seconds / sum.served).ok());
        let counted = Counted {
            arrivals_rps: sum.arrivals_rps,
            waiting: sum.waiting,
            in_flight: sum.in_flight + sum.elsewhere,
            capacity: sum.capacity,
            service: service.flatten(),
        };
        let seconds = self.sight.service.service_seconds(&counted, gap);
        let signal = self.settings.policy.target.signal;
        let within = self.settings.drain_backlog_within;
        // What they have is not asked for again, and whoever serves it is needed until it ends. A rate
        // is whole from the beginning: all that arrives, arrives here.
        let demand = match signal {
            Signal::Concurrency => offered(signal, &counted, seconds, within).max(sum.elsewhere),
            Signal::Requests => offered(signal, &counted, seconds, within),
        };
        let before = match (signal, seconds) {
            (Signal::Concurrency, _) => sum.before,
            (Signal::Requests, Some(seconds)) if seconds > 0.0 => sum.before / seconds,
            (Signal::Requests, _) => 0.0,
        };
        let is_short = sum.waiting > 0.0 || sum.refused_rps > 1e-6;
        Sample { demand: (demand - before).max(0.0), is_short }
    }

    fn add_up(&self, look: &Look) -> Sum {
        let mut sum = Sum::default();
        for pool in &look.fleet.pools {
            if pool.pool == self.settings.pool {
                sum.capacity += capacity(pool).unwrap_or(f64::INFINITY);
                sum.add(pool);
                continue;
            }
            let before = self.settings.before.iter().find(|before| before.pool == pool.pool);
            // One that never says when it is full is never overfull, and hands nothing on.
            if let Some((before, carries)) = before.zip(capacity(pool)) {
                sum.capacity += carries;
                sum.before += carries * before.fill_to;
                sum.add(pool);
            }
        }
        sum.arrivals_rps = sum.arrivals_rps.max(0.0);
        // While nothing of ours serves, only what was learned tells how long a request takes.
        if self.book.count(|held| held.phase == Phase::Serving) == 0 && sum.before == 0.0 {
            sum.capacity = 0.0;
        }
        sum
    }
}

impl Sum {
    fn add(&mut self, pool: &PoolLook) {
        self.error_rate = self.error_rate.max(pool.error_rate);
        self.connect_errors_rps += pool.connect_errors_rps;
        self.elsewhere += pool.elsewhere as f64;
        let Some(demand) = &pool.demand else { return };
        self.doors = self.doors.max(demand.doors);
        // A request that found a pool full has arrived at the next one as well. Where it waits it
        // may have done so long before it moves on, so a difference of one pool can be negative.
        self.arrivals_rps += demand.arrivals_rps - demand.moved_on_rps;
        self.refused_rps += demand.refused_rps - demand.moved_on_rps;
        self.waiting += demand.waiting as f64;
        self.in_flight += demand.in_flight as f64;
        if let Some(service) = demand.service {
            // Weighted by what arrived: close to what ended, over a second.
            let weight = (demand.arrivals_rps - demand.refused_rps).max(1.0);
            self.served += weight;
            self.service_seconds += weight * service.as_secs_f64();
        }
    }
}

/// Requests at once that the members who take any can carry; `None` if one of them does not say.
fn capacity(pool: &PoolLook) -> Option<f64> {
    let takes_requests = |member: &&MemberLook| {
        member.stage == Stage::Serving && member.is_healthy && !member.is_ejected
    };
    let serving = pool.members.iter().filter(takes_requests);
    serving.map(|member| member.max_concurrency.map(f64::from)).sum()
}
