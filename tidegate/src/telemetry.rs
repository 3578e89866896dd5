//! Metrics and events of the process.
//!
//! | kind of series                             | where it is until a scrape                   |
//! |--------------------------------------------|----------------------------------------------|
//! | counters of the data plane                 | the workers' sheets; summed once a second and at each scrape, set in the `metrics` recorder |
//! | counters of other crates                   | the `metrics` recorder, by handle            |
//! | gauges and histograms                      | nowhere; written at the scrape ([`text`])    |
//!
//! So memory does not depend on being scraped, and the counts of a scrape are those of the
//! requests that ended before it. Names and labels are in [`names`] and in `docs/metrics.md`.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use balancer::access_log::LogDrops;
use balancer::load::{DoorId, LoadMeter, PoolLoad};
use balancer::outcome::Outcome;
use balancer::stats::{BackendFault, CodeClass, Registry, Shed, Totals};
use metrics::SharedString;
use metrics_exporter_prometheus::PrometheusHandle;
use policies::backend::PoolName;
use scaler::run::Board;

use crate::admin::view::{BackendVerdict, PoolView, RouteView};
use events::EventRing;
use keeper::Keeper;
use text::Text;

pub mod events;
mod keeper;
pub mod lines;
pub mod log;
pub mod names;
mod process;
mod text;

/// Between two ticks.
pub const TICK: Duration = Duration::from_secs(1);

/// The exporter lets go of series that have ended only while it renders, so it does so once in a
/// while even if nobody asks.
const TIDY_AFTER: Duration = Duration::from_secs(60);

/// Metrics of the process.
pub struct Telemetry {
    keeper: Arc<Keeper>,
    handle: PrometheusHandle,
    registry: Arc<Registry>,
    events: Arc<EventRing>,
    door: DoorId,
    state: Mutex<State>,
}

struct State {
    meter: LoadMeter,
    loads: Arc<[PoolLoad]>,
    totals: Totals,
    ticked: Instant,
    /// Requests that ended per second, between the last two ticks.
    rps: f64,
    /// Share of the last tick's second that each worker was busy.
    busy: Vec<(usize, f64)>,
    tidied: Instant,
    log_drops: LogCount,
    config: ConfigState,
    scalers: Vec<(PoolName, Board)>,
}

/// Lines lost by access logs that are closed, and the one that is open.
#[derive(Default)]
struct LogCount {
    past: [u64; 2],
    open: Option<Arc<LogDrops>>,
}

struct ConfigState {
    hash: String,
    since: SystemTime,
    is_latest: bool,
}

impl Telemetry {
    /// Over everything that `registry` and `events` count, for the configuration with this hash.
    pub fn new(
        registry: Arc<Registry>,
        events: Arc<EventRing>,
        door: DoorId,
        config_hash: &str,
    ) -> Arc<Telemetry> {
        let keeper = Arc::new(Keeper::new(keeper::IDLE));
        let now = Instant::now();
        let totals = registry.totals(now);
        let state = State {
            meter: LoadMeter::new(door.clone(), &totals, now),
            loads: Arc::from([]),
            totals,
            ticked: now,
            rps: 0.0,
            busy: Vec::new(),
            tidied: now,
            log_drops: LogCount::default(),
            config: ConfigState {
                hash: config_hash.to_owned(),
                since: SystemTime::now(),
                is_latest: true,
            },
            scalers: Vec::new(),
        };
        let handle = keeper.handle();
        Arc::new(Telemetry { keeper, handle, registry, events, door, state: Mutex::new(state) })
    }

    /// Becomes the recorder of the `metrics` crate for the whole process; `false` if there was one
    /// already. To be called before anything registers a handle: it would count into the void.
    pub fn install(&self) -> bool {
        metrics::set_global_recorder(Arc::clone(&self.keeper)).is_ok()
    }

    /// Ticks until it is dropped.
    pub async fn run(self: Arc<Telemetry>) {
        let mut interval = tokio::time::interval(TICK);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            self.tick(Instant::now());
        }
    }

    /// Looks at what has happened since the last tick.
    pub fn tick(&self, now: Instant) {
        let totals = self.registry.totals(now);
        let mut state = self.state();
        state.loads = state.meter.read(&totals, now).into();
        let ended = totals.requests_in_all().saturating_sub(state.totals.requests_in_all());
        let seconds = now.saturating_duration_since(state.ticked).as_secs_f64();
        #[allow(clippy::cast_precision_loss)] // a second's worth of requests
        let rps = ended as f64 / seconds.max(0.001);
        state.rps = rps;
        state.busy = busy(&state.totals, &totals, now.saturating_duration_since(state.ticked));
        self.set_counters(&totals, &state.log_drops);
        (state.totals, state.ticked) = (totals, now);
        if now.saturating_duration_since(state.tidied) >= TIDY_AFTER {
            state.tidied = now;
            drop(state);
            self.handle.render();
        }
    }

    /// What each pool was asked for in the second before the last tick.
    pub fn loads(&self) -> Arc<[PoolLoad]> {
        Arc::clone(&self.state().loads)
    }

    /// Who counts here.
    pub fn door(&self) -> DoorId {
        self.door.clone()
    }

    /// Requests that ended per second, between the last two ticks.
    pub fn requests_rps(&self) -> f64 {
        self.state().rps
    }

    /// Everything counted until now.
    pub fn totals(&self) -> Totals {
        self.registry.totals(Instant::now())
    }

    /// The last things that changed.
    pub fn events(&self) -> &Arc<EventRing> {
        &self.events
    }

    /// Counts the losses of this access log from now on, beside those of earlier ones.
    pub fn set_access_log(&self, drops: Option<Arc<LogDrops>>) {
        let log = &mut self.state().log_drops;
        log.past = log.sums().map(|(_, lines)| lines);
        log.open = drops;
    }

    /// Tells how these pools stand, from now on.
    pub fn set_scalers(&self, scalers: Vec<(PoolName, Board)>) {
        self.state().scalers = scalers;
    }

    /// A configuration was offered: taken up if it has a hash, refused if not.
    pub fn reloaded(&self, hash: Option<&str>) {
        let config = &mut self.state().config;
        config.is_latest = hash.is_some();
        if let Some(hash) = hash {
            config.hash = hash.to_owned();
            config.since = SystemTime::now();
        }
    }

    /// Everything, in the Prometheus text format. `pools` are the members as they are now.
    pub fn render(&self, pools: &[PoolView], routes: &[RouteView]) -> String {
        let now = Instant::now();
        let totals = self.registry.totals(now);
        let mut text = Text::default();
        let mut state = self.state();
        self.set_counters(&totals, &state.log_drops);
        state.tidied = now;
        write_histograms(&totals, &mut text);
        write_gauges(&totals, &mut text);
        write_limits(pools, routes, &mut text);
        write_members(pools, &totals, &mut text);
        state.write(&mut text);
        drop(state);
        process::write(&mut text);
        text::in_order(&[self.handle.render(), text.into_string()])
    }

    fn set_counters(&self, totals: &Totals, log: &LogCount) {
        let set = |metric, values: &[SharedString], n| self.keeper.set(metric, values, n);
        for (key, &n) in &totals.requests {
            let (class, protocol) = (key.class.word().into(), key.protocol.word().into());
            let [listener, route, pool] = [&key.listener, &key.route, &key.pool].map(shared);
            set(&names::REQUESTS, &[listener, route, pool, class, protocol], n);
        }
        for (outcome, &n) in Outcome::ALL.iter().zip(&totals.outcomes) {
            set(&names::OUTCOMES, &[outcome.word().into()], n);
        }
        for (name, listener) in &totals.listeners {
            let name = [shared(name)];
            set(&names::REQUEST_BYTES, &name, listener.bytes_in);
            set(&names::RESPONSE_BYTES, &name, listener.bytes_out);
            set(&names::CONNECTIONS, &name, listener.opened);
        }
        for (name, pool) in &totals.pools {
            set(&names::RETRIES, &[shared(name), "ok".into()], pool.retried_ok);
            set(&names::RETRIES, &[shared(name), "failed".into()], pool.retried_failed);
            for (reason, &n) in Shed::ALL.iter().zip(&pool.shed) {
                set(&names::SHED, &[shared(name), reason.word().into()], n);
            }
        }
        for (reason, n) in log.sums() {
            set(&names::ACCESS_LOG_DROPPED, &[reason.into()], n);
        }
        for (reason, n) in lines::lost() {
            set(&names::LOG_DROPPED, &[reason.into()], n);
        }
        for (kind, n) in self.events.counts() {
            set(&names::EVENTS, &[shared(&kind)], n);
        }
        self.set_backend_counters(totals);
    }

    fn set_backend_counters(&self, totals: &Totals) {
        for (key, backend) in &totals.backends {
            let values = |last: &'static str| {
                [shared(&key.pool.0), shared(&key.backend.0), SharedString::from(last)]
            };
            let classes = CodeClass::ALL.iter().zip(&backend.requests);
            for (class, &n) in classes.filter(|(_, n)| **n > 0) {
                self.keeper.set(&names::BACKEND_REQUESTS, &values(class.word()), n);
            }
            let faults = BackendFault::ALL.iter().zip(&backend.faults);
            for (fault, &n) in faults.filter(|(_, n)| **n > 0) {
                self.keeper.set(&names::BACKEND_ERRORS, &values(fault.word()), n);
            }
        }
        let here: BTreeSet<(&str, &str)> =
            totals.backends.keys().map(|key| (&*key.pool.0, &*key.backend.0)).collect();
        self.keeper.touch(|pool, backend| here.contains(&(pool, backend)));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every field is whole by itself.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn write(&self, text: &mut Text) {
        let mut busy = text.family(&names::WORKER_BUSY);
        for (worker, ratio) in &self.busy {
            busy.add(&[&worker.to_string()], *ratio);
        }
        let commit = option_env!("TIDEGATE_COMMIT").unwrap_or("unknown");
        text.family(&names::BUILD_INFO).add(&[env!("CARGO_PKG_VERSION"), commit], 1.0);
        self.write_scalers(text);
        let config = &self.config;
        text.family(&names::CONFIG_INFO).add(&[&config.hash], 1.0);
        text.family(&names::CONFIG_OK).add(&[], f64::from(u8::from(config.is_latest)));
        text.family(&names::CONFIG_AT).add(&[], process::unix_seconds(config.since));
    }
}

impl State {
    fn write_scalers(&self, text: &mut Text) {
        let boards = || self.scalers.iter().map(|(pool, board)| (&*pool.0, board.borrow()));
        let mut desired = text.family(&names::SCALER_DESIRED);
        for (pool, standing) in boards() {
            let decision = standing.decision.as_ref();
            desired.add(&[pool], f64::from(decision.map_or(0, |decision| decision.desired)));
        }
        let mut needed = text.family(&names::SCALER_NEEDED);
        for (pool, standing) in boards() {
            let decision = standing.decision.as_ref();
            needed.add(&[pool], f64::from(decision.map_or(0, |decision| decision.need)));
        }
        let mut instances = text.family(&names::SCALER_INSTANCES);
        for (pool, standing) in boards() {
            let census = standing.census;
            let states = [
                ("asked_for", census.open),
                ("booting", census.booting),
                ("serving", census.serving),
                ("draining", census.draining),
                ("terminating", census.terminating),
            ];
            for (state, n) in states {
                instances.add(&[pool, state], f64::from(n));
            }
        }
        let mut lead = text.family(&names::SCALER_LEAD);
        for (pool, standing) in boards() {
            lead.add(&[pool], standing.lead.as_secs_f64());
        }
    }
}

impl LogCount {
    /// Lines by reason.
    fn sums(&self) -> [(&'static str, u64); 2] {
        let open = match &self.open {
            Some(drops) => drops.by_reason(),
            None => LogDrops::default().by_reason(),
        };
        let [first, second] = self.past;
        [(open[0].0, open[0].1 + first), (open[1].0, open[1].1 + second)]
    }
}

fn shared(name: &Arc<str>) -> SharedString {
    SharedString::from_shared(Arc::clone(name))
}

fn busy(before: &Totals, now: &Totals, over: Duration) -> Vec<(usize, f64)> {
    let ratio = |(&number, worker): (&usize, &balancer::stats::WorkerTotals)| {
        let before = before.workers.get(&number).map_or(Duration::ZERO, |worker| worker.busy);
        let busy = worker.busy.saturating_sub(before).as_secs_f64();
        (number, (busy / over.as_secs_f64().max(1e-3)).clamp(0.0, 1.0))
    };
    now.workers.iter().map(ratio).collect()
}

fn write_histograms(totals: &Totals, text: &mut Text) {
    let mut requests = text.family(&names::REQUEST_SECONDS);
    for (route, histogram) in &totals.durations {
        requests.histogram(&[route], histogram);
    }
    let mut waits = text.family(&names::QUEUE_SECONDS);
    for (name, pool) in &totals.pools {
        waits.histogram(&[name], &pool.waits);
    }
    let mut connects = text.family(&names::BACKEND_CONNECT_SECONDS);
    for (name, pool) in &totals.pools {
        connects.histogram(&[name], &pool.connects);
    }
    let mut answers = text.family(&names::BACKEND_SECONDS);
    for (name, pool) in &totals.pools {
        answers.histogram(&[name], &pool.answers);
    }
}

fn write_gauges(totals: &Totals, text: &mut Text) {
    let mut open = text.family(&names::CONNECTIONS_OPEN);
    for (name, listener) in &totals.listeners {
        open.add(&[name], listener.open() as f64);
    }
}

fn write_limits(pools: &[PoolView], routes: &[RouteView], text: &mut Text) {
    let mut limit = text.family(&names::CONCURRENCY_LIMIT);
    for pool in pools {
        // A pool that nothing bounds has no such series.
        if let Some(bound) = pool.concurrency_limit {
            limit.add(&[&pool.name], f64::from(bound));
        }
    }
    let limited = || routes.iter().filter_map(|route| Some((&*route.name, route.concurrency?)));
    let mut in_flight = text.family(&names::ROUTE_IN_FLIGHT);
    for (route, concurrency) in limited() {
        in_flight.add(&[route], f64::from(concurrency.in_flight));
    }
    let mut limit = text.family(&names::ROUTE_LIMIT);
    for (route, concurrency) in limited() {
        limit.add(&[route], f64::from(concurrency.limit));
    }
}

fn write_members(pools: &[PoolView], totals: &Totals, text: &mut Text) {
    let mut in_flight = text.family(&names::IN_FLIGHT);
    for pool in pools {
        let counted = totals.pools.get(&*pool.name).map_or(0, |pool| pool.in_flight());
        in_flight.add(&[&pool.name], counted as f64);
    }
    let mut queued = text.family(&names::QUEUE_LENGTH);
    for pool in pools {
        queued.add(&[&pool.name], pool.queued as f64);
    }
    let members = || pools.iter().flat_map(|pool| pool.backends.iter().map(move |b| (pool, b)));
    let mut healthy = text.family(&names::BACKEND_HEALTHY);
    for (pool, backend) in members() {
        healthy.add(
            &[&pool.name, &backend.id],
            f64::from(u8::from(backend.verdict == BackendVerdict::Healthy)),
        );
    }
    let mut eligible = text.family(&names::BACKEND_ELIGIBLE);
    for (pool, backend) in members() {
        eligible.add(&[&pool.name, &backend.id], f64::from(u8::from(backend.is_eligible)));
    }
    let mut panicking = text.family(&names::POOL_PANICKING);
    for pool in pools {
        panicking.add(&[&pool.name], f64::from(u8::from(pool.is_panicking)));
    }
    let mut breaker = text.family(&names::BACKEND_BREAKER);
    for (pool, backend) in members() {
        let state = match backend.breaker.trim_start_matches("held_") {
            "open" => 2.0,
            "half_open" => 1.0,
            _ => 0.0,
        };
        breaker.add(&[&pool.name, &backend.id], state);
    }
    let mut share = text.family(&names::BACKEND_SHARE);
    for (pool, backend) in members() {
        share.add(&[&pool.name, &backend.id], f64::from(backend.share_percent) / 100.0);
    }
    let mut in_flight = text.family(&names::BACKEND_IN_FLIGHT);
    for (pool, backend) in members() {
        in_flight.add(&[&pool.name, &backend.id], f64::from(backend.in_flight));
    }
    let mut streams = text.family(&names::BACKEND_STREAMS);
    for (pool, backend) in members() {
        streams.add(&[&pool.name, &backend.id], f64::from(backend.streams));
    }
    // Not those that left a moment ago: their counters are still told, a state they have no more.
    let here: BTreeSet<_> = members().map(|(pool, backend)| (&*pool.name, &*backend.id)).collect();
    let mut connections = text.family(&names::BACKEND_CONNECTIONS);
    for (key, backend) in &totals.backends {
        let [pool, id] = [&*key.pool.0, &*key.backend.0];
        if here.contains(&(pool, id)) {
            connections.add(&[pool, id, "active"], backend.active_connections as f64);
            connections.add(&[pool, id, "idle"], backend.idle_connections as f64);
        }
    }
}

#[cfg(test)]
mod tests;
