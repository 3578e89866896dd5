//! The one owner of all instances of a pool: a thread that starts, watches and ends them.
//!
//! A thread and not a task, because all it does may wait: for the disk, for a fork. The others
//! speak to it through a bounded channel. It looks at its processes five times a second while
//! there are any; between two looks it sleeps.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::process::Child;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use policies::backend::BackendId;
use rustix::process::Signal;
use scaler::journal::record::MarkRecord;
use scaler::ports::{Instance, LaunchRequest, ProviderError, Source};
use tokio::sync::oneshot;

use super::record::{End, Phase, Record, id_of};
use super::spec::{Spec, Taken};
use super::{NAME, ProcessSettings, TOKEN_LIFE, child, output, record};
use crate::program;

/// Between two looks at the processes.
const LOOK: Duration = Duration::from_millis(200);

/// How long an instance that has ended is still listed; EC2 does so for about an hour.
const LISTED_MS: i64 = 3_600_000;

type Reply<T> = oneshot::Sender<Result<T, ProviderError>>;

/// What the others want.
pub(super) enum Ask {
    /// Of the port; boxed, because the others are small.
    Launch(Box<LaunchRequest>, Reply<Vec<Instance>>),
    /// Of the port.
    Terminate(Vec<BackendId>, Reply<()>),
    /// Of the port.
    List(Reply<Vec<Instance>>),
}

/// All instances, and the folder in which they are written down.
pub(super) struct Keeper {
    settings: ProcessSettings,
    /// Held while the records are ours to change.
    lock: Option<File>,
    entries: BTreeMap<String, Entry>,
}

/// One instance.
struct Entry {
    record: Record,
    spec: Spec,
    /// To be waited for, if this life of Tidegate has started it.
    child: Option<Child>,
    /// When it is to be started (pending) or killed (stopping).
    due: Option<Instant>,
}

impl Keeper {
    pub(super) fn new(settings: ProcessSettings) -> Keeper {
        Keeper { settings, lock: None, entries: BTreeMap::new() }
    }

    /// Works until nobody can ask any more. Instances stay as they are then.
    pub(super) fn run(mut self, inbox: &Receiver<Ask>) {
        // What was launched in an earlier life goes on before anybody asks.
        if let Err(error) = self.open() {
            tracing::warn!(pool = %self.settings.pool, %error, "instances_unknown");
        }
        loop {
            let is_busy = self.entries.values().any(|entry| entry.record.phase != Phase::Ended);
            let ask = match is_busy {
                true => inbox.recv_timeout(LOOK),
                false => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            self.look();
            match ask {
                // Who asked may have given up meanwhile; nothing is lost by that.
                Ok(Ask::Launch(request, reply)) => drop(reply.send(self.launch(&request))),
                Ok(Ask::Terminate(ids, reply)) => drop(reply.send(self.terminate(&ids))),
                Ok(Ask::List(reply)) => drop(reply.send(self.list())),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Takes the folder and reads what is there, once.
    fn open(&mut self) -> io::Result<()> {
        if self.lock.is_some() {
            return Ok(());
        }
        let folder = &self.settings.folder;
        fs::create_dir_all(folder)?;
        let lock = File::options().create(true).append(true).open(folder.join("lock"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let text = format!("`{}` is in use by another Tidegate", folder.display());
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, text));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let boot = child::boot()?;
        let mut entries = BTreeMap::new();
        for record in record::load(folder)? {
            let spec = Spec::parse(&record.spec)
                .map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why))?;
            entries.insert(record.id.clone(), Entry { record, spec, child: None, due: None });
        }
        self.lock = Some(lock);
        self.entries = entries;
        let ids: Vec<String> = self.entries.keys().cloned().collect();
        ids.iter().for_each(|id| self.take_up(id, &boot));
        Ok(())
    }

    /// Finds out what became of an instance while nobody looked.
    fn take_up(&mut self, id: &str, boot: &str) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        let record = &mut entry.record;
        if record.phase == Phase::Ended {
            return;
        }
        if record.process.as_ref().is_some_and(|process| process.boot != boot) {
            record.process = None;
            return self.end(id, End::Rebooted);
        }
        match record.phase {
            Phase::Pending => match child::marked(id).into_iter().next() {
                // Started, and we ended before that was written down.
                Some(process) => {
                    (record.process, record.phase) = (Some(process), Phase::Running);
                    self.save(id);
                }
                None => entry.due = Some(Instant::now() + left_of_boot(record, &entry.spec)),
            },
            Phase::Running | Phase::Ended => {}
            Phase::Stopping => self.tell_to_end(id),
        }
        tracing::info!(pool = %self.settings.pool, instance = id, "instance_found");
    }

    fn launch(&mut self, request: &LaunchRequest) -> Result<Vec<Instance>, ProviderError> {
        self.open().map_err(|error| unclear("launch", error))?;
        let refused = |reason| ProviderError::Refused { provider: NAME, action: "launch", reason };
        let token = request.token().to_string();
        let spec = Spec::parse(&request.offer.spec).map_err(refused)?;
        let earlier = self.entries.values().find(|entry| entry.record.token == token);
        let granted = match earlier {
            Some(Entry { record, .. })
                if record.asked != request.count || *record.spec != *request.offer.spec =>
            {
                return Err(ProviderError::TokenReused { provider: NAME });
            }
            Some(entry) => entry.record.granted,
            None => {
                program::find(spec.program()).map_err(refused)?;
                self.room(&spec, request.count)?
            }
        };
        for index in 0..granted {
            let id = id_of(&request.token(), index);
            if self.entries.contains_key(&id) {
                continue;
            }
            match self.create(id, index, granted, request, &spec) {
                Ok(()) => {}
                // Those that there are would run, and nobody would know which launch they are of.
                Err(error) if index > 0 && !error.is_open() => {
                    self.grant(&token, index)?;
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        self.look();
        Ok(self.entries.values().filter(|entry| entry.record.token == token).map(shown).collect())
    }

    /// A launch gets no more than these: also when it is repeated.
    fn grant(&mut self, token: &str, granted: u32) -> Result<(), ProviderError> {
        for entry in self.entries.values_mut().filter(|entry| entry.record.token == token) {
            entry.record.granted = granted;
            let saved = entry.record.save(&self.settings.folder);
            saved.map_err(|error| unclear("launch", error))?;
        }
        Ok(())
    }

    /// How many of `count` there are addresses for, at least one.
    fn room(&self, spec: &Spec, count: u32) -> Result<u32, ProviderError> {
        let taken = self.taken();
        let free = spec.hosts().filter(|host| {
            !taken.iter().any(|address| address.ip() == std::net::IpAddr::from(*host))
        });
        let free = u32::try_from(free.take(count as usize).count()).unwrap_or(count);
        match free {
            0 => Err(self.full()),
            free => Ok(free),
        }
    }

    /// Writes one instance down; it is started when its time has come.
    fn create(
        &mut self,
        id: String,
        index: u32,
        granted: u32,
        request: &LaunchRequest,
        spec: &Spec,
    ) -> Result<(), ProviderError> {
        let taken = self.taken();
        let newest = self
            .entries
            .values()
            .max_by_key(|entry| (entry.record.launched_ms, entry.record.index));
        let last = newest.map(|entry| entry.record.address.ip());
        let is_free = |address| !taken.contains(&address) && is_unused(address);
        let address = spec.next_address(last, is_free).ok_or_else(|| self.full())?;
        let record = Record {
            id,
            token: request.token().to_string(),
            index,
            asked: request.count,
            granted,
            mark: MarkRecord::from(&request.mark),
            spec: request.offer.spec.to_string(),
            address,
            launched_ms: now_ms(),
            phase: Phase::Pending,
            process: None,
            end: None,
            ended_ms: None,
        };
        record.save(&self.settings.folder).map_err(|error| unclear("launch", error))?;
        let due = Some(Instant::now() + spec.boot_delay());
        let entry = Entry { record, spec: spec.clone(), child: None, due };
        self.entries.insert(entry.record.id.clone(), entry);
        Ok(())
    }

    fn terminate(&mut self, ids: &[BackendId]) -> Result<(), ProviderError> {
        self.open().map_err(|error| unclear("terminate", error))?;
        for BackendId(id) in ids {
            let phase = self.entries.get(&**id).map(|entry| entry.record.phase);
            match phase {
                Some(Phase::Pending) => self.end(id, End::NeverStarted),
                Some(Phase::Running) => self.tell_to_end(id),
                Some(Phase::Stopping | Phase::Ended) | None => {}
            }
        }
        Ok(())
    }

    fn list(&mut self) -> Result<Vec<Instance>, ProviderError> {
        self.open().map_err(|error| unclear("list", error))?;
        let now = now_ms();
        let is_listed = |entry: &&Entry| {
            entry.record.ended_ms.is_none_or(|ended| now.saturating_sub(ended) < LISTED_MS)
        };
        Ok(self.entries.values().filter(is_listed).map(shown).collect())
    }

    /// Starts, kills and buries whoever's time has come, and forgets the old.
    fn look(&mut self) {
        let now = Instant::now();
        let ids: Vec<String> = self.entries.keys().cloned().collect();
        for id in &ids {
            let Some(entry) = self.entries.get_mut(id) else { continue };
            let is_due = entry.due.is_some_and(|due| due <= now);
            let process = entry.record.process.clone();
            let is_alive =
                entry.record.phase != Phase::Ended && process.as_ref().is_some_and(child::is_alive);
            match entry.record.phase {
                Phase::Pending if is_due => self.boot(id),
                Phase::Running if !is_alive => self.end(id, End::Crashed),
                Phase::Stopping if !is_alive => self.end(id, End::Terminated),
                Phase::Stopping if is_due => {
                    let killed = process.iter().map(|process| child::signal(process, Signal::KILL));
                    // One that could not be recognised is tried again at the next look.
                    if killed.collect::<io::Result<()>>().is_ok() {
                        entry.due = None;
                    }
                }
                Phase::Ended if is_old(&entry.record) => self.forget(id),
                // The system keeps a dead process until it was waited for.
                Phase::Ended => {
                    entry.child.take_if(|child| child.try_wait().is_ok_and(|end| end.is_some()));
                }
                _ => {}
            }
            if is_alive && let Err(error) = output::shorten(&self.settings.folder, id) {
                tracing::warn!(pool = %self.settings.pool, instance = id, %error, "output_too_long");
            }
        }
    }

    fn boot(&mut self, id: &str) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        let (pool, address) = (&self.settings.pool, entry.record.address);
        entry.due = None;
        let mut command = entry.spec.command_for(id, &pool.0, address);
        let env = entry.spec.env_for(id, &pool.0, address);
        let log = output::file(&self.settings.folder, id);
        let started =
            program::find(entry.spec.program()).map_err(io::Error::other).and_then(|found| {
                command[0] = found.to_string_lossy().into_owned();
                child::start(&command, &env, &log)
            });
        match started {
            Ok((started, identity)) => {
                tracing::info!(%pool, instance = id, %address, pid = identity.pid, "instance_started");
                entry.record.process = Some(identity);
                entry.record.phase = Phase::Running;
                entry.child = Some(started);
                self.save(id);
            }
            Err(error) => self.end(id, End::NotStarted(error)),
        }
    }

    /// SIGTERM now, SIGKILL when its grace is over.
    fn tell_to_end(&mut self, id: &str) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        entry.record.phase = Phase::Stopping;
        entry.due = Some(Instant::now() + self.settings.grace);
        self.save(id);
        let process = self.entries.get(id).and_then(|entry| entry.record.process.as_ref());
        if let Some(process) = process {
            // One that could not be recognised is killed when its grace is over.
            let _ = child::signal(process, Signal::TERM);
        }
    }

    /// Its leader is dead, or never was: the rest of it follows.
    fn end(&mut self, id: &str, why: End) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        if let Some(process) = &entry.record.process {
            // Its leader is not there, or dead: what follows is done by the marks as well.
            let _ = child::signal(process, Signal::KILL);
            child::marked(id).iter().for_each(child::kill_one);
        }
        // Not waited for: threads of it may live on behind a dead leader, until they are killed.
        let status = entry.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
        let why = match (why, status) {
            (End::Crashed, Some(status)) => End::CrashedWith(status),
            (why, _) => why,
        };
        entry.due = None;
        entry.record.phase = Phase::Ended;
        entry.record.ended_ms = Some(now_ms());
        let (pool, address) = (&self.settings.pool, entry.record.address);
        if why.is_wanted() {
            tracing::info!(%pool, instance = id, %address, %why, "instance_ended");
        } else {
            let log = output::file(&self.settings.folder, id);
            tracing::warn!(%pool, instance = id, %address, %why, log = %log.display(), "instance_crashed");
        }
        entry.record.end = Some(why.to_string());
        self.save(id);
    }

    /// What cannot be written down is done all the same: after a restart the process itself tells.
    fn save(&self, id: &str) {
        let Some(entry) = self.entries.get(id) else { return };
        if let Err(error) = entry.record.save(&self.settings.folder) {
            tracing::warn!(pool = %self.settings.pool, instance = id, %error, "record_not_written");
        }
    }

    fn forget(&mut self, id: &str) {
        if let Some(entry) = self.entries.remove(id) {
            output::remove(&self.settings.folder, id);
            // Read again after a restart at worst, and forgotten then.
            let _ = fs::remove_file(entry.record.file(&self.settings.folder));
        }
    }

    fn taken(&self) -> Taken {
        let living = self.entries.values().filter(|entry| entry.record.phase != Phase::Ended);
        living.map(|entry| entry.record.address).collect()
    }

    fn full(&self) -> ProviderError {
        let pool = &self.settings.pool;
        ProviderError::Quota { provider: NAME, quota: format!("pools.{pool}.process.addresses") }
    }
}

fn shown(entry: &Entry) -> Instance {
    entry.record.instance(&entry.spec.kind())
}

/// Whether nobody listens there, as far as one try can tell.
fn is_unused(address: SocketAddr) -> bool {
    TcpListener::bind(address).is_ok()
}

/// What is left of its time to boot; all of it if the clock was set back.
fn left_of_boot(record: &Record, spec: &Spec) -> Duration {
    let passed = u64::try_from(now_ms().saturating_sub(record.launched_ms)).unwrap_or(0);
    spec.boot_delay().saturating_sub(Duration::from_millis(passed))
}

fn is_old(record: &Record) -> bool {
    let life = i64::try_from(TOKEN_LIFE.as_millis()).unwrap_or(i64::MAX);
    now_ms().saturating_sub(record.launched_ms) > life
}

fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

fn unclear(action: &'static str, error: io::Error) -> ProviderError {
    ProviderError::Unclear { provider: NAME, action, source: Source::from(error) }
}
