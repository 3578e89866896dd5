//! The part of the demo that one can watch.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use policies::backend::PoolName;
use scaler::journal::{self, record::Record};

use super::backends::Backends;
use super::client::{Client, Place};
use super::cloud::{Bill, Census};
use super::folder::Folder;
use super::load::Load;
use super::night::Night;
use super::screen::Screen;
use super::tally::{Kill, Tally};
use super::{Args, NAMES, text};
use crate::admin::view::{BackendState, BackendView, PoolView};

/// The elastic pool of the configuration.
const POOL: &str = "cloud";

/// Between two looks at the door.
const LOOK: Duration = Duration::from_millis(100);

/// Longest wait for a state to change. Checks need a second or two; a busy machine more.
const CEILING: Duration = Duration::from_secs(15);

/// Longest wait until the cloud is given back.
const GIVEN_BACK: Duration = Duration::from_secs(60);

/// What the door saw of one backend's death and return.
#[derive(Debug, Clone, Copy)]
pub(super) struct Absence {
    /// From SIGKILL until its state was `down`.
    pub(super) down_after: Duration,
    /// From its new start until its state was `serving`.
    pub(super) back_after: Duration,
}

/// What the door said at the last look.
#[derive(Debug, Clone, Default)]
pub(super) struct Sight {
    pub(super) pools: Vec<PoolView>,
    pub(super) census: Census,
}

impl Sight {
    /// The backends on-prem, in the order of [`NAMES`].
    pub(super) fn onprem(&self) -> impl Iterator<Item = &BackendView> {
        let pools = self.pools.iter().filter(|pool| pool.name != POOL);
        pools.flat_map(|pool| &pool.backends)
    }
}

/// The evening, from the first request to the last instance.
pub(super) struct Story {
    admin: Client,
    screen: Screen,
    tally: Arc<Tally>,
    night: Night,
    /// How long the killed are left dead.
    without: Duration,
    load: Option<(Instant, Load)>,
    sight: Sight,
    bill: Bill,
    journal: (PathBuf, u64),
}

impl Story {
    pub(super) fn new(args: &Args, folder: &Folder, tally: Arc<Tally>) -> Story {
        let journal = journal::path(&folder.state(), &PoolName(POOL.into()));
        Story {
            admin: Client::new(Place::Unix(folder.socket())),
            screen: Screen::new(Arc::clone(&tally)),
            tally,
            night: Night::new(args.fast),
            without: Duration::from_millis(if args.fast { 500 } else { 5_000 }),
            load: None,
            sight: Sight::default(),
            bill: Bill::default(),
            journal: (journal, 0),
        }
    }

    /// The evening, with the death of the first `victims` at half-time.
    pub(super) async fn tell(
        &mut self,
        backends: &mut Backends,
        door: SocketAddr,
        victims: usize,
    ) -> Result<Vec<Absence>, String> {
        self.until(NAMES.len(), BackendState::Serving).await?;
        let load = Load::start(door, self.night.clone(), Arc::clone(&self.tally))?;
        self.load = Some((Instant::now(), load));
        self.hold_until(self.night.half_time()).await?;

        let asked = Instant::now();
        for (victim, name) in NAMES.iter().enumerate().take(victims) {
            let pid = backends.kill(victim)?;
            self.screen.event(&text::killed(name, pid));
        }
        self.tally.killed(Kill { asked, done: Instant::now() });
        let down = self.until(victims, BackendState::Down).await?;
        let (since, _) = self.clock();
        self.hold_until(since + self.without).await?;

        for (victim, name) in NAMES.iter().enumerate().take(victims) {
            let pid = backends.revive(victim)?;
            self.screen.event(&text::revived(name, pid));
        }
        let back = self.until(victims, BackendState::Serving).await?;
        let returned = Instant::now();
        self.hold_until(self.night.length()).await?;
        let idle = (0..victims).find(|victim| !self.tally.has_served(*victim, returned));
        // Where requests wait for too long, those that came later have not had their turn.
        if let (Some(idle), true) = (idle, self.tally.sum().failures.is_empty()) {
            return Err(text::idle(NAMES[idle]));
        }
        let absences = down.into_iter().zip(back);
        Ok(absences.map(|(down_after, back_after)| Absence { down_after, back_after }).collect())
    }

    /// The cloud is given back: under the last requests of an evening that is over, and after the
    /// last request of one that was broken off.
    pub(super) async fn end(&mut self) -> Result<(), String> {
        let is_over = self.clock().0 >= self.night.length();
        let given_back = if is_over {
            let given_back = self.until_given_back().await;
            self.stop_load().await;
            given_back
        } else {
            self.stop_load().await;
            self.screen.event(text::STOPPING);
            self.until_given_back().await
        };
        self.tell_decisions();
        given_back
    }

    /// What the cloud has cost.
    pub(super) fn bill(&self) -> &Bill {
        &self.bill
    }

    async fn stop_load(&mut self) {
        if let Some((_, load)) = self.load.take() {
            load.stop().await;
        }
    }

    /// Since the first request, and whether there was one.
    fn clock(&self) -> (Duration, bool) {
        let began = self.load.as_ref().map(|(began, _)| began.elapsed());
        (began.unwrap_or_default(), began.is_some())
    }

    /// Looks until the first `count` backends are in this state; how long each took.
    async fn until(&mut self, count: usize, state: BackendState) -> Result<Vec<Duration>, String> {
        let began = Instant::now();
        let mut found = vec![None; count];
        while let Some(missing) = found.iter().position(Option::is_none) {
            if began.elapsed() > CEILING {
                let seen = self.sight.onprem().nth(missing);
                return Err(text::in_vain(NAMES[missing], state, seen));
            }
            self.look().await?;
            for (place, found) in found.iter_mut().enumerate() {
                let is_so = self.sight.onprem().nth(place).is_some_and(|b| b.state == state);
                if found.is_none() && is_so {
                    *found = Some(began.elapsed());
                    self.screen.event(&text::became(NAMES[place], state, began.elapsed()));
                }
            }
        }
        Ok(found.into_iter().flatten().collect())
    }

    /// Looks until the evening has lasted so long.
    async fn hold_until(&mut self, time: Duration) -> Result<(), String> {
        while self.clock().0 < time {
            self.look().await?;
        }
        Ok(())
    }

    async fn until_given_back(&mut self) -> Result<(), String> {
        let began = Instant::now();
        loop {
            self.look().await?;
            let living = self.sight.census.living();
            if living == 0 {
                return Ok(());
            }
            if began.elapsed() > GIVEN_BACK {
                return Err(text::not_given_back(living));
            }
        }
    }

    /// Asks the door how all is, and shows it.
    async fn look(&mut self) -> Result<(), String> {
        let pools = self.admin.pools().await.map_err(|why| text::no_view(&why))?;
        let metrics = self.admin.metrics().await.map_err(|why| text::no_view(&why))?;
        self.sight = Sight { pools, census: Census::parse(&metrics, POOL) };
        let (elapsed, has_begun) = self.clock();
        if has_begun {
            self.bill.note(Instant::now(), self.sight.census.living());
        }
        self.tell_decisions();
        if has_begun {
            self.screen.draw(&self.night.at(elapsed), &self.sight);
        }
        tokio::time::sleep(LOOK).await;
        Ok(())
    }

    /// What the journal has got since the last time.
    fn tell_decisions(&mut self) {
        let (path, place) = &mut self.journal;
        // Not there before the first decision.
        let Ok((records, next)) = journal::read(path, *place) else { return };
        *place = next;
        for record in &records {
            let Record::Turn(turn) = record else { continue };
            for line in text::decision(turn) {
                self.screen.event(&line);
            }
        }
    }
}
