//! The start-up story: what is opened, in which order, and how it ends.
//!
//! Everything that can fail is tried before the first client is served: the access log and the
//! admin addresses are open, all listeners are, and every worker has what it waits with, or
//! nothing is left running. Who connects meanwhile waits in a queue. The data plane then runs on
//! its own threads; all that is here (checks, names, metrics, admin) runs on the control runtime
//! and may be late without a request noticing.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use balancer::access_log::{AccessLogConfig, LogSource, LogWriter, OpenError};
use balancer::config::DoorConfig;
use balancer::door::Capacity;
use balancer::load::DoorId;
use balancer::roster::{Known, Roster};
use balancer::sockets::{BindError, Sockets};
use balancer::{Door, Stage};
use health::Monitor;
use infra::dns;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};

use crate::adapters::DoorSource;
use crate::admin::{
    Addresses, Admin, AdminError, Bound, Inherited, ReloadError, ReloadView, Source, UpgradeError,
    UpgradeView,
};
use crate::config::{Config, DrainConfig};
use crate::hand_over::Line;
use crate::scaling::{Handle, Scalers};
use crate::telemetry::Telemetry;
use crate::telemetry::events::EventRing;
use tellers::Tellers;

mod abreast;
mod descriptors;
mod exit;
mod judging;
mod origin;
mod predecessor;
mod reload;
mod successor;
mod tellers;

pub use exit::Exit;
pub use origin::Origin;
pub use predecessor::Predecessor;
pub use successor::Successor;

/// Messages that wait for the roster; senders wait when it is full, and none of them is a worker.
const MAILBOX: usize = 1024;
/// Orders that wait; further ones are refused.
const ORDERS: usize = 8;
/// For the last lines of the access log: a pipe that nobody reads must not keep the process.
const LAST_LINES: Duration = Duration::from_secs(2);
/// For those of a door that ends, which it does within a second after its last request.
const LAST_WORDS: Duration = Duration::from_millis(300);
/// Members that drain are looked at so often.
const SWEEP: Duration = Duration::from_secs(1);

/// Why the door did not open.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The access log.
    #[error(transparent)]
    AccessLog(#[from] OpenError),
    /// An admin listener.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// All of them need what this version cannot do.
    #[error("no listener of the configuration can be opened; `tidegate check` says why of each")]
    NoListener,
    /// Nobody says where the door is that is to make room.
    #[error(
        "`--take-over` finds no door: set `[admin] unix`, or name its socket, `--take-over=PATH`"
    )]
    NoSocket,
    /// Another door was to make room for this one.
    #[error("{0}; it goes on as before")]
    HandOver(String),
    /// Whoever makes instances.
    #[error("the provider of an elastic pool could not be started; raise the limit of threads")]
    Provider(#[source] std::io::Error),
    /// Whoever tells others.
    #[error("nobody could be told of alerts or figures; raise the limit of threads or open files")]
    Tellers(#[source] std::io::Error),
    /// The system has no more threads or descriptors.
    #[error(
        "the workers could not be started; raise the limit of open files (LimitNOFILE) or of \
         threads, or lower `workers`"
    )]
    Workers(#[source] std::io::Error),
}

/// The configuration that runs, as it is told.
#[derive(Debug, Clone)]
pub struct Running {
    /// Where it came from.
    pub origin: Origin,
    /// Of the effective text.
    pub hash: String,
    /// When it was taken up.
    pub since: SystemTime,
    /// Names of the listeners, and their real addresses.
    pub listeners: Vec<(Arc<str>, Vec<SocketAddr>)>,
    /// Why the last one that was offered is not in use.
    pub last_error: Option<String>,
    /// What the file says and holds only after a restart, one sentence each.
    pub needs_restart: Vec<String>,
}

/// Something that an operator wants of a running door.
#[derive(Debug)]
pub enum Order {
    /// To read the configuration again.
    Reload(oneshot::Sender<Result<ReloadView, ReloadError>>),
    /// To start the program anew, which then takes over.
    Upgrade(oneshot::Sender<Result<UpgradeView, UpgradeError>>),
    /// A process that wants to take over.
    HandOver(Line),
}

/// A running door with everything around it.
pub struct App {
    door: Door,
    running: watch::Sender<Arc<Running>>,
    fixed: reload::Fixed,
    drain: DrainConfig,
    admin: Admin,
    log: Option<Log>,
    monitor: Monitor,
    telemetry: Arc<Telemetry>,
    orders: mpsc::Receiver<Order>,
    tasks: JoinSet<()>,
    tellers: Option<Tellers>,
    /// Apart, because they end first: a door that stops sees its own traffic ebb.
    scaling: JoinSet<()>,
    /// Set when they run; operators find them there.
    scalers: Arc<OnceLock<Vec<Handle>>>,
    exit: Arc<Exit>,
    /// Hears of what is under way in the door before; ends with it.
    predecessor: Option<AbortHandle>,
    /// Tells it of what is under way here.
    successor: JoinSet<()>,
}

/// What the configuration asks for beside the door; ready before anything is opened.
struct Prepared {
    fixed: reload::Fixed,
    drain: DrainConfig,
    tellers: Option<Tellers>,
}

/// An access log that is written.
struct Log {
    config: AccessLogConfig,
    writer: LogWriter,
    source: Arc<LogSource>,
}

impl App {
    /// Opens everything, or takes it over from the door that runs. Needs a runtime with timers and
    /// I/O. `events` is what the subscriber of the process fills.
    ///
    /// # Errors
    ///
    /// The first thing that could not be opened; nothing is left running then, and the predecessor
    /// goes on.
    pub async fn start(
        mut config: Config,
        origin: Origin,
        events: Arc<EventRing>,
        mut predecessor: Option<Predecessor>,
    ) -> Result<App, StartError> {
        if config.door.listeners.is_empty() {
            return Err(StartError::NoListener);
        }
        let files = descriptors::raise_limit();
        let prepared = Prepared {
            fixed: reload::Fixed::of(&config),
            drain: config.drain,
            tellers: Tellers::prepare(&config).map_err(StartError::Tellers)?,
        };
        let scalers = Scalers::prepare(&config).map_err(StartError::Provider)?;
        if let Some(predecessor) = &predecessor {
            predecessor.keep_keys(&mut config.door);
        }
        let log = config.observe.access_log.as_ref().map(Log::open).transpose()?;
        let (capacity, addresses) = descriptors::capacity(&config, files);
        let source = log.as_ref().map(|log| Arc::clone(&log.source));
        match open(config.door, &addresses, source, capacity, predecessor.as_mut()).await {
            Ok(opened) => {
                let teach = |it: &Predecessor| it.teach(opened.door.roster(), &config.scalers);
                let known = predecessor.as_ref().map(teach).unwrap_or_default();
                scalers.expect(opened.door.roster());
                let has_queue = opened.has_queue;
                let mut app = App::around(opened, prepared, log, origin, events, &known);
                match predecessor {
                    Some(predecessor) => app.succeed(predecessor, &known).await?,
                    None if has_queue => app.open_late().await,
                    None => app.door.advance(Stage::Running),
                }
                app.scale(scalers);
                app.admin.open();
                Ok(app)
            }
            Err(error) => {
                if let Some(log) = log {
                    log.writer.stop(LAST_LINES);
                }
                Err(error)
            }
        }
    }

    /// Checks, names, metrics and admin for a door that runs. Nothing in it can fail.
    fn around(
        opened: Opened,
        prepared: Prepared,
        log: Option<Log>,
        origin: Origin,
        events: Arc<EventRing>,
        known: &[Known],
    ) -> App {
        let Opened { bound, door, listeners, .. } = opened;
        let Prepared { fixed, drain, mut tellers } = prepared;
        let running = Running::new(origin, listeners);
        let snapshot = door.roster().snapshot();
        let id = DoorId(Arc::clone(&snapshot.config.site));
        let telemetry = Telemetry::new(Arc::clone(door.registry()), events, id, &running.hash);
        telemetry.install();
        telemetry.set_access_log(log.as_ref().map(|log| Arc::clone(log.writer.drops())));

        let exit = Arc::new(Exit::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(&telemetry).run());
        let monitor = watch_backends(door.roster(), snapshot.config.seed, known, &mut tasks);
        let running = watch::Sender::new(Arc::new(running));
        let (give_order, orders) = mpsc::channel(ORDERS);
        tasks.spawn(judging::run(Arc::clone(door.roster()), Arc::clone(door.registry())));
        let scalers = Arc::<OnceLock<Vec<Handle>>>::default();
        let source: Arc<dyn Source> = Arc::new(DoorSource::new(
            Arc::clone(door.roster()),
            Arc::clone(&telemetry),
            running.subscribe(),
            give_order,
            Arc::clone(&exit),
            (bound.addresses(), Arc::clone(&scalers)),
        ));
        if let Some(tellers) = &mut tellers {
            tellers.start(Arc::clone(&source), Arc::clone(telemetry.events()));
        }
        let admin = bound.serve(source);
        App {
            door,
            running,
            fixed,
            drain,
            admin,
            log,
            monitor,
            telemetry,
            orders,
            tasks,
            tellers,
            scaling: JoinSet::new(),
            scalers,
            exit,
            predecessor: None,
            successor: JoinSet::new(),
        }
    }

    /// Decides about sizes from here on: what a predecessor knew of them is on the disk by now.
    fn scale(&mut self, scalers: Scalers) {
        let handles = scalers.run(self.door.roster(), &self.telemetry, &mut self.scaling);
        let board = |handle: &Handle| (handle.settings.pool.clone(), handle.board.clone());
        self.telemetry.set_scalers(handles.iter().map(board).collect());
        // Empty until here: a door scales once.
        let _ = self.scalers.set(handles);
    }

    /// What an operator wants next. Cancel-safe.
    pub async fn next_order(&mut self) -> Option<Order> {
        self.orders.recv().await
    }

    /// The configuration that runs.
    pub fn running(&self) -> Arc<Running> {
        Arc::clone(&self.running.borrow())
    }

    /// Where operators find it.
    pub fn admin(&self) -> &Admin {
        &self.admin
    }

    /// Who takes traffic.
    pub fn roster(&self) -> &Arc<Roster> {
        self.door.roster()
    }

    /// Opens the files of the access log again, after a rotation.
    pub fn reopen_logs(&self) {
        if let Some(log) = &self.log {
            log.writer.reopen();
        }
    }

    /// Is not ready at once, goes on for the time of grace, stops accepting, lets running requests
    /// end, and then ends everything. When `hurry` becomes true, or after the limit, what is still
    /// running is cut.
    pub async fn stop(mut self, mut hurry: watch::Receiver<bool>) {
        self.exit.is_stopping.store(true, Ordering::Relaxed);
        self.take_no_orders();
        self.scaling.shutdown().await;
        self.door.advance(Stage::Departing);
        too_long(self.drain.grace, &mut hurry).await;
        self.door.turn_away().await;
        self.door.advance(Stage::Draining);
        let limit = self.drain.limit;
        self.finish(limit, hurry).await;
    }

    /// Whoever waits for one hears that the door takes none.
    fn take_no_orders(&mut self) {
        self.orders.close();
        while self.orders.try_recv().is_ok() {}
    }

    async fn finish(mut self, limit: Duration, mut hurry: watch::Receiver<bool>) {
        self.scaling.shutdown().await;
        let stages = self.door.stages();
        let ended = self.door.ended();
        tokio::pin!(ended);
        tokio::select! {
            () = &mut ended => {}
            () = too_long(limit, &mut hurry) => {
                stages.advance(Stage::Now);
                ended.await;
            }
        }
        self.monitor.stop().await;
        self.tasks.shutdown().await;
        self.admin.stop().await;
        if let Some(tellers) = self.tellers {
            tellers.stop().await;
        }
        if let Some(log) = self.log {
            log.writer.stop(LAST_WORDS);
        }
    }
}

impl Running {
    fn new(origin: Origin, listeners: Vec<(Arc<str>, Vec<SocketAddr>)>) -> Running {
        let hash = format!("{:016x}", policies::rng::hash(origin.effective.as_bytes()));
        let (since, last_error, needs_restart) = (SystemTime::now(), None, Vec::new());
        Running { origin, hash, since, listeners, last_error, needs_restart }
    }
}

impl Log {
    fn open(config: &AccessLogConfig) -> Result<Log, OpenError> {
        let writer = LogWriter::start(config)?;
        let source = writer.source(config.clone());
        Ok(Log { config: config.clone(), writer, source })
    }
}

/// All that is open once nothing can fail any more.
struct Opened {
    bound: Bound,
    door: Door,
    listeners: Vec<(Arc<str>, Vec<SocketAddr>)>,
    /// Whether the service manager had the sockets, so that clients may wait in their queues.
    has_queue: bool,
}

/// The listeners last: a client that connects to a door that does not open is reset.
async fn open(
    config: DoorConfig,
    addresses: &Addresses,
    log: Option<Arc<LogSource>>,
    capacity: Capacity,
    predecessor: Option<&mut Predecessor>,
) -> Result<Opened, StartError> {
    let (bound, (sockets, has_queue)) = match predecessor {
        Some(predecessor) => {
            let bound = Bound::bind(addresses, predecessor.take_admin()).await?;
            let sockets = predecessor.sockets();
            (bound, (sockets.followed_by(&config.listeners, config.workers)?, false))
        }
        None => (Bound::bind(addresses, Inherited::default()).await?, bind(&config)?),
    };
    let names = config.listeners.iter().map(|listener| Arc::clone(&listener.name));
    let listeners = names.zip(sockets.addresses()).collect();
    let started = Door::start(config, sockets, log, capacity).await;
    Ok(Opened { bound, door: started.map_err(StartError::Workers)?, listeners, has_queue })
}

/// Sockets that nobody had, or a service manager; and whether it had some of them.
fn bind(config: &DoorConfig) -> Result<(Sockets, bool), BindError> {
    let mut inherited = inherited_sockets();
    let passed = inherited.len();
    let sockets = Sockets::adopt(&config.listeners, config.workers, &mut inherited)?;
    for stranger in inherited.iter().filter_map(|socket| socket.local_addr().ok()) {
        tracing::warn!(address = %stranger, "a socket passed by the service manager belongs to no listener");
    }
    Ok((sockets, inherited.len() < passed))
}

async fn too_long(limit: Duration, hurry: &mut watch::Receiver<bool>) {
    let asked = async {
        if hurry.wait_for(|hurry| *hurry).await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = tokio::time::sleep(limit) => {}
        () = asked => {}
    }
}

/// Checks and names: what they find goes to the roster, in one order.
fn watch_backends(
    roster: &Arc<Roster>,
    seed: u64,
    known: &[Known],
    tasks: &mut JoinSet<()>,
) -> Monitor {
    let (send_report, mut reports) = mpsc::channel(MAILBOX);
    let known =
        known.iter().filter_map(|known| Some((known.key.clone(), (known.address?, known.verdict))));
    let known = known.collect();
    let monitor = Monitor::start_knowing(roster.targets(), send_report, seed, known);
    let (send_resolved, mut resolved) = mpsc::channel(MAILBOX);
    let (send_names, names) = watch::channel(to_names(&roster.names().borrow()));
    tasks.spawn(dns::follow(dns::Resolver::system(), names, send_resolved));
    let mut wanted = roster.names();
    let roster = Arc::clone(roster);
    tasks.spawn(async move {
        let mut sweep = tokio::time::interval(SWEEP);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(report) = reports.recv() => roster.report(report),
                Some(news) = resolved.recv() => {
                    roster.resolved(&(news.host, news.port), news.result);
                }
                _ = sweep.tick() => roster.sweep(),
                Ok(()) = wanted.changed() => {
                    send_names.send_replace(to_names(&wanted.borrow_and_update()));
                }
            }
        }
    });
    monitor
}

fn to_names(names: &[balancer::roster::Name]) -> Arc<[dns::Name]> {
    names.iter().map(|(host, port)| dns::Name { host: Arc::clone(host), port: *port }).collect()
}

/// Listening sockets that a service manager has opened for us (`LISTEN_FDS`).
fn inherited_sockets() -> Vec<std::net::TcpListener> {
    let mut passed = listenfd::ListenFd::from_env();
    (0..passed.len()).filter_map(|place| passed.take_tcp_listener(place).ok().flatten()).collect()
}

/// Tells whoever waits (a person, a test, systemd) where the door is open.
pub fn announce(app: &App, file: &Path) -> String {
    let mut text = String::new();
    for (name, addresses) in &app.running().listeners {
        for address in addresses {
            text.push_str(&format!("listening name={name} address={address}\n"));
        }
    }
    let admin = app.admin().addresses();
    if let Some(address) = admin.metrics {
        text.push_str(&format!("metrics http://{address}/metrics\n"));
    }
    if let Some(address) = admin.loopback {
        text.push_str(&format!("admin http://{address}/v1/status (read only)\n"));
    }
    if let Some(path) = &admin.unix {
        text.push_str(&format!("admin unix:{}\n", path.display()));
    }
    text.push_str(&format!("ready, configuration {}\n", file.display()));
    text
}
