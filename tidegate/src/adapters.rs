//! The door as the admin listeners see it.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, UNIX_EPOCH};

use balancer::config::{DoorConfig, PoolConfig, RouteConfig};
use balancer::limits::Gate;
use balancer::load::PoolLoad;
use balancer::outcome::Ending;
use balancer::roster::{Member, Roster};
use balancer::snapshot::PoolView as Pool;
use balancer::stats::Totals;
use policies::backend::{PoolIndex, PoolName};
use policies::balance::Rule;
use policies::breaker::Phase;
use policies::health::Verdict;
use policies::membership::Stage;
use policies::route::{Action, Location, Target};
use scaler::demand::{Demand, DoorLoad};
use tokio::sync::{mpsc, oneshot, watch};

use crate::admin::orders::{Done, Order, Refusal};
use crate::admin::view::{
    BackendState, BackendVerdict, BackendView, ConcurrencyView, ConfigView, DemandView, DrainView,
    ListenerView, MaintenanceView, PoolView, RouteView, StatusView,
};
use crate::admin::{Addresses, ReloadError, Reloading, Source, UpgradeError, Upgrading};
use crate::app::{self, Exit, Running};
use crate::hand_over::Line;
use crate::scaling::Handle;
use crate::telemetry::Telemetry;
use crate::telemetry::events::EventRing;

mod fleet;
mod orders;
mod size;

pub use fleet::DoorFleet;
pub(crate) use size::window_view;

/// A load that is older does not count.
const OLDEST_LOAD: Duration = Duration::from_secs(5);

/// Reads the roster and the counts, and takes orders.
pub struct DoorSource {
    roster: Arc<Roster>,
    telemetry: Arc<Telemetry>,
    running: watch::Receiver<Arc<Running>>,
    orders: mpsc::Sender<app::Order>,
    exit: Arc<Exit>,
    /// Where operators and scrapers find us.
    desks: Addresses,
    /// Empty until they run, and for a door that scales nothing.
    scalers: Arc<OnceLock<Vec<Handle>>>,
    started: Instant,
}

impl DoorSource {
    /// Over a door that is open.
    pub fn new(
        roster: Arc<Roster>,
        telemetry: Arc<Telemetry>,
        running: watch::Receiver<Arc<Running>>,
        orders: mpsc::Sender<app::Order>,
        exit: Arc<Exit>,
        (desks, scalers): (Addresses, Arc<OnceLock<Vec<Handle>>>),
    ) -> DoorSource {
        let started = Instant::now();
        DoorSource { roster, telemetry, running, orders, exit, desks, scalers, started }
    }

    fn running(&self) -> Arc<Running> {
        Arc::clone(&self.running.borrow())
    }
}

impl Source for DoorSource {
    fn status(&self) -> StatusView {
        let snapshot = self.roster.snapshot();
        let totals = self.telemetry.totals();
        let problems = self.ready().err().unwrap_or_default();
        let running = self.running();
        let since = running.since.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let listeners = running.listeners.iter().map(|(name, addresses)| ListenerView {
            name: name.to_string(),
            addresses: addresses.iter().map(SocketAddr::to_string).collect(),
            connections: totals.listeners.get(name).map_or(0, |listener| listener.open()),
        });
        StatusView {
            summary: String::new(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            site: snapshot.config.site.to_string(),
            uptime_seconds: self.started.elapsed().as_secs(),
            is_ready: problems.is_empty(),
            problems,
            maintenance: in_maintenance(&snapshot.config),
            config: ConfigView {
                file: running.origin.file.display().to_string(),
                hash: running.hash.clone(),
                since_unix_seconds: since.as_secs(),
                last_error: running.last_error.clone(),
                needs_restart: running.needs_restart.clone(),
            },
            workers: snapshot.config.workers,
            listeners: listeners.collect(),
            requests: totals.requests_in_all(),
            failed_requests: totals.ended(Ending::Failed),
            refused_requests: totals.ended(Ending::Refused),
            requests_rps: self.telemetry.requests_rps(),
        }
    }

    fn pools(&self) -> Vec<PoolView> {
        let snapshot = self.roster.snapshot();
        let totals = self.telemetry.totals();
        let loads = self.telemetry.loads();
        let configured = snapshot.config.pools.iter().zip(&snapshot.pools);
        let view =
            |((name, members), (config, pool)): ((PoolName, Vec<Member>), (&PoolConfig, &Pool))| {
                let load = loads.iter().find(|load| load.pool == name);
                let in_flight = members.iter().map(Member::in_flight).sum();
                PoolView {
                    name: name.to_string(),
                    rule: rule_word(config.rule).to_owned(),
                    in_flight,
                    concurrency_limit: pool.capacity,
                    queued: totals.pools.get(&name.0).map_or(0, |pool| pool.waiting()),
                    is_panicking: self.roster.is_panicking(&name),
                    demand: load
                        .map(|load| demand_of(load, config.stream_weight))
                        .unwrap_or_default(),
                    backends: members
                        .iter()
                        .map(|member| backend_view(&name, member, &totals))
                        .collect(),
                    scaler: self.scaler(&name).map(size::view),
                }
            };
        self.roster.pools().into_iter().zip(configured).map(view).collect()
    }

    fn routes(&self) -> Vec<RouteView> {
        let snapshot = self.roster.snapshot();
        let totals = self.telemetry.totals();
        let pool = |place: &PoolIndex| snapshot.config.pools[usize::from(place.0)].name.to_string();
        let view = |(route, gate): (&RouteConfig, &Option<Arc<Gate>>)| {
            let in_maintenance = route.in_maintenance;
            let route = &route.route;
            let taken = totals.requests.iter().filter(|(key, _)| key.route == route.name);
            let (action, pools) = match in_maintenance {
                true => ("in maintenance: 503".to_owned(), Vec::new()),
                false => describe(&route.action, &pool),
            };
            RouteView {
                name: route.name.to_string(),
                when: route.when.to_string(),
                action,
                pools,
                requests: taken.map(|(_, count)| count).sum(),
                concurrency: gate
                    .as_ref()
                    .map(|gate| ConcurrencyView { in_flight: gate.in_flight(), limit: gate.cap() }),
            }
        };
        snapshot.config.routes.iter().zip(&snapshot.gates).map(view).collect()
    }

    fn config(&self) -> String {
        let running = self.running();
        let notes = running.needs_restart.iter().map(|note| format!("# {note}\n"));
        notes.collect::<String>() + &running.origin.effective
    }

    fn reload(&self) -> Reloading {
        let (tell, told) = oneshot::channel();
        let is_given = self.orders.try_send(app::Order::Reload(tell)).is_ok();
        Box::pin(async move {
            match is_given {
                true => told.await.unwrap_or(Err(ReloadError::Busy)),
                false => Err(ReloadError::Busy),
            }
        })
    }

    fn upgrade(&self) -> Upgrading {
        let (tell, told) = oneshot::channel();
        let is_given = self.orders.try_send(app::Order::Upgrade(tell)).is_ok();
        Box::pin(async move {
            match is_given {
                true => told.await.unwrap_or(Err(UpgradeError::Busy)),
                false => Err(UpgradeError::Busy),
            }
        })
    }

    fn hand_over(&self, successor: Line) {
        // Refused, it hears that nobody is there.
        let _ = self.orders.try_send(app::Order::HandOver(successor));
    }

    fn events(&self) -> Arc<EventRing> {
        Arc::clone(self.telemetry.events())
    }

    fn metrics(&self) -> String {
        self.telemetry.render(&self.pools(), &self.routes())
    }

    fn backend(&self, pool: &str, id: &str) -> Result<BackendView, Refusal> {
        let (key, member) = self.find(pool, id)?;
        Ok(self.view(&key, &member))
    }

    fn order(&self, order: Order, actor: String) -> Result<Done, Refusal> {
        self.carry_out(order, actor)
    }

    fn maintenance(&self, route: Option<&str>) -> Result<MaintenanceView, Refusal> {
        match self.roster.maintenance(route) {
            Some(switch) => Ok(orders::maintenance_view(switch)),
            None => Err(self.no_route(route)),
        }
    }

    fn ready(&self) -> Result<(), Vec<String>> {
        if self.exit.is_stopping.load(Ordering::Relaxed) {
            return Err(vec!["the door was told to stop".to_owned()]);
        }
        Ok(())
    }

    fn has_started(&self) -> bool {
        true
    }
}

/// The site, or the routes that are.
fn in_maintenance(config: &DoorConfig) -> Vec<String> {
    let routes = config.routes.iter().filter(|route| route.in_maintenance);
    let site = config.in_maintenance.then(|| "the site".to_owned());
    // The first is the site's own.
    let routes = routes.skip(usize::from(config.in_maintenance));
    site.into_iter().chain(routes.map(|route| route.route.name.to_string())).collect()
}

/// Of this door alone, in the sums that are made of several.
fn demand_of(load: &PoolLoad, stream_weight: f64) -> DemandView {
    // What we counted ourselves is never too old.
    let demand = Demand::merge(&[door_load(load, stream_weight)], Duration::MAX);
    DemandView {
        arrivals_rps: demand.arrivals_rps,
        refused_rps: demand.refused_rps,
        concurrency: demand.concurrency(),
    }
}

/// The same counts in the words of `scaler`, which knows no balancer and no streams: to it they are
/// as many requests as they weigh, rounded up.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
fn door_load(load: &PoolLoad, stream_weight: f64) -> DoorLoad {
    let streams = (load.streams as f64 * stream_weight).ceil() as u64;
    DoorLoad {
        door: Arc::clone(&load.door.0),
        age: load.age,
        over: load.over,
        arrivals: load.arrivals,
        refused: load.refused,
        moved_on: load.moved_on,
        // Arrivals are those of clients already.
        retries: 0,
        waiting: load.queued,
        in_flight: load.in_flight.saturating_add(streams),
        finished: load.finished,
        service_us: load.service_us,
    }
}

fn backend_view(
    pool: &policies::backend::PoolName,
    member: &Member,
    totals: &Totals,
) -> BackendView {
    let key =
        policies::backend::BackendKey { pool: pool.clone(), backend: member.backend.id.clone() };
    let counted = totals.backends.get(&key);
    let address = member.slot.as_ref().map(|slot| slot.address.to_string());
    BackendView {
        id: member.backend.id.to_string(),
        address: address.unwrap_or_else(|| member.backend.address.to_string()),
        state: state_of(member),
        verdict: match member.verdict {
            Verdict::Unknown => BackendVerdict::Unknown,
            Verdict::Healthy => BackendVerdict::Healthy,
            Verdict::Unhealthy => BackendVerdict::Unhealthy,
        },
        is_eligible: member.is_eligible,
        breaker: breaker_word(member),
        share_percent: member.share,
        in_flight: member.in_flight(),
        streams: member.streams(),
        weight: member.backend.weight,
        max_concurrency: member.backend.max_concurrency,
        is_written: member.is_written,
        drain: member.drain.map(|drain| DrainView {
            since_seconds: drain.since.elapsed().as_secs(),
            waited_for: drain.waited_for,
            cut: drain.cut,
            is_leaving: member.is_leaving,
        }),
        requests: counted.map_or(0, |backend| backend.answers()),
        errors: counted.map_or(0, |backend| backend.errors()),
        last_reason: member.reason.clone(),
    }
}

fn breaker_word(member: &Member) -> String {
    let held = if member.is_breaker_held { "held_" } else { "" };
    format!("{held}{}", member.breaker.word())
}

fn state_of(member: &Member) -> BackendState {
    match (member.stage, member.verdict) {
        (Stage::Draining, _) => BackendState::Draining,
        (Stage::Drained, _) => BackendState::Drained,
        _ if member.slot.is_none() => BackendState::Unresolved,
        (_, Verdict::Unhealthy) => BackendState::Down,
        (Stage::Joining, _) | (_, Verdict::Unknown) => BackendState::Joining,
        (Stage::Serving, Verdict::Healthy) if member.breaker == Phase::Open => BackendState::Open,
        (Stage::Serving, Verdict::Healthy) if member.is_ejected => BackendState::Ejected,
        (Stage::Serving, Verdict::Healthy) => BackendState::Serving,
    }
}

fn rule_word(rule: Rule) -> &'static str {
    match rule {
        Rule::RoundRobin => "round_robin",
        Rule::LeastRequests => "least_requests",
        Rule::TwoChoices => "two_choices",
        Rule::PeakEwma => "peak_ewma",
        Rule::ConsistentHash => "consistent_hash",
        Rule::First => "first",
    }
}

/// An action in words, and the pools it may send to.
fn describe(action: &Action, pool: &dyn Fn(&PoolIndex) -> String) -> (String, Vec<String>) {
    match action {
        Action::Forward(Target::Waterfall(pools)) => {
            let pools: Vec<_> = pools.iter().map(pool).collect();
            (format!("to {}", pools.join(", then ")), pools)
        }
        Action::Forward(Target::Split { arms, sticky }) => {
            let arm = |arm: &policies::route::Arm| {
                let pools: Vec<_> = arm.to.iter().map(pool).collect();
                format!("{} {}", arm.weight, pools.join(", then "))
            };
            let shares: Vec<_> = arms.iter().map(arm).collect();
            let kind = if sticky.is_some() { "sticky split" } else { "split" };
            let pools = arms.iter().flat_map(|arm| arm.to.iter().map(pool)).collect();
            (format!("{kind} {}", shares.join(" / ")), pools)
        }
        Action::Redirect { location: Location::Https { port }, status } => {
            (format!("redirect {status} to https, port {port}"), Vec::new())
        }
        Action::Redirect { location: Location::To(to), status } => {
            (format!("redirect {status} to {to}"), Vec::new())
        }
        Action::Respond { status, body, .. } => {
            (format!("respond {status}, {} bytes", body.len()), Vec::new())
        }
    }
}
