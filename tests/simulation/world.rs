//! A day: demand, weather, crashes, and the rules.

use std::collections::BTreeMap;
use std::time::Duration;

use policies::backend::{BackendId, PoolName};
use policies::membership::Stage;
use policies::rng::Rng;
use policies::scale::Now;
use policies::scale::policy::{Burst, ScalingPolicy};
use scaler::controller::{
    BootSettings, Census, Controller, Identity, Mode, Past, Settings, Turn, Victim,
};
use scaler::journal::record::{Record, TurnRecord};
use scaler::ledger::Ledger;
use scaler::look::{Action, Event, Fact, JournalState, Look};
use scaler::ports::{Abilities, Mark, Offer, Order, Purchase};

use crate::cloud::{Cloud, LAG, Weather};
use crate::door::Door;

/// Turns of a day.
const TURNS: u64 = 1440;
/// From here on demand is steady, and soon nothing goes wrong.
const EVENING: u64 = 1000;
/// From here on nothing goes wrong.
const CALM: u64 = 1060;
/// From here on nobody wants anything.
const NIGHT: u64 = 1240;
/// Concurrent requests in the evening.
const EVENING_DEMAND: u32 = 55;
/// Six carry that, and a tenth is spare.
const SERVES_AT_NIGHT: std::ops::RangeInclusive<usize> = 6..=7;
const CEILING: u32 = 20;
const DRAIN_LIMIT: Duration = Duration::from_secs(20);
/// So old is the world; ages reach back before the start of the process.
const START: Duration = Duration::from_secs(1_000_000);

/// A link of the chain that is missing, to see that the rules can be broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    Nothing,
    /// The provider does not honour tokens.
    Tokens,
    /// Intents are written down after acting.
    JournalOrder,
    /// Requests in flight are not seen.
    Drain,
    /// Launches without an answer are forgotten by a restart.
    OpenLaunches,
}

/// What happened on a day.
#[derive(Debug, Clone, Default)]
pub(crate) struct Day {
    pub(crate) launched: u64,
    pub(crate) lost_answers: u64,
    pub(crate) crashes: u64,
    pub(crate) failed_boots: u64,
    pub(crate) taken: u64,
    pub(crate) adopted: u64,
    pub(crate) cut_short: u64,
    pub(crate) throttled: u64,
    pub(crate) journals_lost: u64,
}

/// What the disk remembers.
#[derive(Debug, Clone, Default)]
struct Disk {
    installation: u64,
    ledger: Ledger,
    is_new: bool,
}

/// A call on its way.
struct Op {
    done_at: Duration,
    answered_at: Duration,
    life: u64,
    asked: Duration,
    action: Action,
}

struct World {
    rng: Rng,
    broken: Broken,
    now: Now,
    cloud: Cloud,
    door: Door,
    disk: Disk,
    backup: Disk,
    controller: Controller,
    life: u64,
    ops: Vec<Op>,
    answers: Vec<(Duration, u64, Fact)>,
    /// First wish of each mark: nobody may ever launch more under it.
    wished: BTreeMap<Mark, u32>,
    day: Day,
}

/// Lives through the day of `seed`; the rule that was broken, and when, if one was.
pub(crate) fn live(seed: u64, broken: Broken) -> Result<Day, String> {
    let mut world = World::new(seed, broken);
    let peak_at = 200 + world.rng.below(400);
    let peak = 60 + world.rng.below(240);
    for turn in 0..TURNS {
        let demand = demand(turn, peak_at, peak);
        world.turn(turn, demand).map_err(|rule| format!("turn {turn}: {rule}"))?;
    }
    let left = world.cloud.living();
    if left > 0 {
        return Err(format!("{left} instances are left in the evening"));
    }
    world.day.lost_answers = world.cloud.lost_answers;
    world.day.failed_boots = world.cloud.failed_boots;
    world.day.throttled = world.cloud.throttled;
    world.day.launched = world.cloud.machines.len() as u64;
    Ok(world.day)
}

/// Concurrent requests: few, then a crowd within half a minute, then none.
fn demand(turn: u64, peak_at: u64, peak: u64) -> f64 {
    let quiet = 15.0 + (turn % 120) as f64 / 20.0;
    let risen = turn.saturating_sub(peak_at).min(30) as f64 / 30.0;
    let fallen = turn.saturating_sub(peak_at + 250).min(60) as f64 / 60.0;
    let crowd = peak as f64 * (risen - fallen);
    match turn {
        ..EVENING => quiet + crowd,
        EVENING..NIGHT => f64::from(EVENING_DEMAND),
        NIGHT.. => 0.0,
    }
}

fn pool() -> PoolName {
    PoolName("cloud".into())
}

fn settings() -> Settings {
    let mut policy = ScalingPolicy { ceiling: CEILING, ..ScalingPolicy::default() };
    policy.target.per_instance = 10.0;
    policy.target.window = Duration::from_secs(10);
    policy.target.burst = Some(Burst { window: Duration::from_secs(3), when_above: 1.6 });
    policy.down.stable_for = Duration::from_secs(40);
    policy.down.cooldown = Duration::from_secs(3);
    Settings {
        site: "sim".into(),
        pool: pool(),
        policy,
        tick: Duration::from_secs(1),
        mode: Mode::Act,
        before: Vec::new(),
        boot: BootSettings {
            learn: true,
            assume: Duration::from_secs(15),
            percentile: 95,
            give_up_after: Duration::from_secs(40),
            slow_start: Duration::ZERO,
        },
        drain_limit: DRAIN_LIMIT,
        drain_backlog_within: Duration::from_secs(10),
        victims: vec![Victim::Unhealthy, Victim::FewestInFlight],
    }
}

fn abilities() -> Abilities {
    let offer = |name: &str| Offer { name: name.into(), spec: name.into(), is_spot: false };
    Abilities {
        provider: "sim",
        offers: ["a", "b", "c", "d", "e", "f"].map(offer).to_vec(),
        purchase: Purchase::default(),
        max_batch: 7,
        token_life: None,
        visible_within: LAG + Duration::from_secs(2),
        answer_within: Duration::from_secs(8),
        quota: None,
        billing_step: None,
    }
}

impl World {
    fn new(seed: u64, broken: Broken) -> World {
        let wall = "2026-11-20T00:00:00Z".parse().unwrap();
        let now = Now { wall, steady: START };
        let disk = Disk { is_new: true, ..Disk::default() };
        World {
            rng: Rng::new(seed),
            broken,
            now,
            cloud: Cloud::new(broken != Broken::Tokens),
            door: Door::default(),
            controller: start(&disk, now),
            backup: disk.clone(),
            disk,
            life: 0,
            ops: Vec::new(),
            answers: Vec::new(),
            wished: BTreeMap::new(),
            day: Day::default(),
        }
    }

    fn weather(&mut self, turn: u64) -> Weather {
        if turn >= CALM {
            let none =
                Weather { lost: 0, dropped: 0, throttled: 0, bad_boots: 0, full: 0, partial: 0 };
            return none;
        }
        Weather { lost: 150, dropped: 100, throttled: 100, bad_boots: 60, full: 60, partial: 100 }
    }

    fn turn(&mut self, turn: u64, demand: f64) -> Result<(), String> {
        let is_calm = turn >= CALM;
        self.pass_time(is_calm);
        self.mischief(is_calm);
        let weather = self.weather(turn);
        self.run_calls(weather);
        self.door.pass(self.now.steady, demand, &self.cloud, &mut self.rng);
        if is_calm || self.rng.below(150) > 0 {
            self.scale(turn, demand, is_calm)?;
        } else {
            self.crash();
        }
        self.check()
    }

    /// A second, now and then more; the clock of the day is set now and then.
    fn pass_time(&mut self, is_calm: bool) {
        let mut second = Duration::from_secs(1);
        if !is_calm && self.rng.below(200) == 0 {
            second = Duration::from_secs(2 + self.rng.below(10));
        }
        self.now.steady += second;
        self.now.wall = self.now.wall.checked_add(second).unwrap();
        if !is_calm && self.rng.below(300) == 0 {
            let step = Duration::from_secs(self.rng.below(7200));
            let later = self.now.wall.checked_add(step).unwrap();
            let earlier = self.now.wall.checked_sub(step).unwrap();
            self.now.wall = if self.rng.below(2) == 0 { later } else { earlier };
        }
    }

    /// Somebody terminates by hand, a machine dies, the journal is lost or restored.
    fn mischief(&mut self, is_calm: bool) {
        if is_calm {
            return;
        }
        if self.rng.below(100) == 0 {
            let ids: Vec<BackendId> = self.cloud.machines.keys().cloned().collect();
            if !ids.is_empty() {
                let one = &ids[usize::try_from(self.rng.below(ids.len() as u64)).unwrap()];
                let is_killed = self.rng.below(2) == 0;
                let machine = self.cloud.machines.get_mut(one).unwrap();
                if is_killed {
                    machine.is_dead = true;
                } else {
                    machine.ended.get_or_insert(self.now.steady);
                }
                self.day.taken += 1;
            }
        }
        if self.rng.below(200) == 0 {
            self.backup = self.disk.clone();
        }
        if self.rng.below(400) == 0 {
            // Whoever opens a journal that is not the one it left takes a new name.
            let mut disk =
                if self.rng.below(2) == 0 { self.backup.clone() } else { Disk::default() };
            disk.installation = self.disk.installation + 1;
            disk.is_new = true;
            self.disk = disk;
            self.day.journals_lost += 1;
            self.crash();
        }
    }

    fn run_calls(&mut self, weather: Weather) {
        let now = self.now;
        let (due, later) =
            std::mem::take(&mut self.ops).into_iter().partition(|op| op.done_at <= now.steady);
        self.ops = later;
        let due: Vec<Op> = due;
        for op in due {
            let rng = &mut self.rng;
            let fact = match &op.action {
                Action::Launch(request) | Action::Repeat(request) => Fact::Launched {
                    token: request.token(),
                    result: self.cloud.launch((now.steady, now.wall), request, weather, rng),
                },
                Action::Terminate { ids, .. } => Fact::Terminated {
                    ids: ids.clone(),
                    result: self.cloud.terminate(now.steady, ids, weather, rng),
                },
                Action::List => Fact::Listed {
                    asked: op.asked,
                    result: self.cloud.list(now.steady, weather, rng),
                },
                Action::Order { .. } => continue,
            };
            self.answers.push((op.answered_at.max(now.steady), op.life, fact));
        }
    }

    fn facts(&mut self) -> Vec<Fact> {
        let now = self.now.steady;
        let life = self.life;
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.answers).into_iter().partition(|(at, _, _)| *at <= now);
        self.answers = later;
        due.into_iter().filter(|(_, of, _)| *of == life).map(|(_, _, fact)| fact).collect()
    }

    /// One turn of the scaler.
    fn scale(&mut self, turn: u64, demand: f64, is_calm: bool) -> Result<(), String> {
        let look = self.look(demand, is_calm);
        let out = self.controller.tick(&look);
        if !self.carry_out(&out, is_calm)? {
            self.crash();
            return Ok(());
        }
        for event in &out.events {
            match event {
                Event::Adopted { .. } => self.day.adopted += 1,
                Event::CutShort { .. } => self.day.cut_short += 1,
                _ => {}
            }
        }
        if turn + 1 == TURNS && out.census != Census::default() {
            return Err(format!("the book is not empty in the evening: {:?}", out.census));
        }
        let serving = self.door.serving();
        if turn + 1 == NIGHT && !SERVES_AT_NIGHT.contains(&serving) {
            return Err(format!("{serving} serve a demand of {EVENING_DEMAND}: {out:?}"));
        }
        Ok(())
    }

    fn look(&mut self, demand: f64, is_calm: bool) -> Look {
        let is_counted = is_calm || self.rng.below(50) > 0;
        let mut fleet = self.door.look(&pool(), demand, is_counted);
        if self.broken == Broken::Drain {
            let members = &mut fleet.pools[0].members;
            for member in members.iter_mut().filter(|member| member.stage == Stage::Draining) {
                member.stage = Stage::Drained;
                member.in_flight = 0;
            }
        }
        Look {
            now: self.now,
            decision: self.disk.ledger.next_decision(),
            fleet,
            facts: self.facts(),
            journal: JournalState::Durable,
            wishes: Vec::new(),
        }
    }

    /// Writes down and acts; false if the process was killed between two of these steps.
    fn carry_out(&mut self, out: &Turn, is_calm: bool) -> Result<bool, String> {
        let is_killed = |world: &mut World, of: u64| !is_calm && world.rng.below(of) == 0;
        if is_killed(self, 300) {
            return Ok(false);
        }
        if self.broken != Broken::JournalOrder {
            self.write(out);
        }
        for action in &out.actions {
            if is_killed(self, 300) {
                return Ok(false);
            }
            self.act(action)?;
            // Most is to be learned from an end just after a launch.
            if matches!(action, Action::Launch(_)) && is_killed(self, 10) {
                return Ok(false);
            }
        }
        if self.broken == Broken::JournalOrder {
            self.write(out);
        }
        Ok(true)
    }

    /// As a line of the journal, read again: what the disk has is what a line can say.
    fn write(&mut self, out: &Turn) {
        for action in &out.actions {
            if let Action::Launch(request) = action {
                self.wished.entry(request.mark.clone()).or_insert(request.count);
            }
        }
        let number = self.disk.ledger.next_decision();
        let record = TurnRecord::new(self.now.wall, Mode::Act, number, out);
        let line = serde_json::to_string(&Record::Turn(Box::new(record))).unwrap();
        let record: Record = serde_json::from_str(&line).unwrap();
        record.fold(&mut self.disk.ledger);
    }

    fn act(&mut self, action: &Action) -> Result<(), String> {
        let now = self.now.steady;
        match action {
            Action::Order { order, .. } => {
                self.check_order(order)?;
                self.door.order(now, order);
                return Ok(());
            }
            Action::Terminate { ids, .. } => {
                // The orders of this turn came first: who is terminated has no seat any more.
                if let Some(id) = ids.iter().find(|id| self.door.seats.contains_key(*id)) {
                    return Err(format!("{id} is terminated while it has a seat"));
                }
            }
            Action::Launch(request) => {
                self.wished.entry(request.mark.clone()).or_insert(request.count);
            }
            Action::Repeat(_) | Action::List => {}
        }
        let seconds = |rng: &mut Rng, most| Duration::from_secs(rng.below(most));
        let done_at = now + seconds(&mut self.rng, 3);
        let answered_at = done_at + seconds(&mut self.rng, 4);
        let op = Op { done_at, answered_at, life: self.life, asked: now, action: action.clone() };
        self.ops.push(op);
        Ok(())
    }

    /// A seat that is taken away has no requests, or had all the time it may have.
    fn check_order(&self, order: &Order) -> Result<(), String> {
        let Order::Remove { id } = order else { return Ok(()) };
        let lives = self.cloud.machines[id].ended.is_none();
        let Some(seat) = self.door.seats.get(id).filter(|_| lives) else { return Ok(()) };
        let waited = seat.drains_since.map_or(Duration::ZERO, |at| self.now.steady - at);
        if seat.in_flight > 0 && waited < DRAIN_LIMIT {
            let in_flight = seat.in_flight;
            return Err(format!("{id} is removed with {in_flight} in flight after {waited:?}"));
        }
        Ok(())
    }

    /// The process ends at once. What is on the wire may still arrive; the doors start anew.
    fn crash(&mut self) {
        self.day.crashes += 1;
        self.life += 1;
        let rng = &mut self.rng;
        self.ops.retain(|_| rng.below(10) < 7);
        self.door = Door::default();
        if self.broken == Broken::OpenLaunches {
            self.disk.ledger.open.clear();
        }
        self.controller = start(&self.disk, self.now);
        self.disk.is_new = false;
    }

    /// What holds after every turn.
    fn check(&mut self) -> Result<(), String> {
        if let Some(violation) = &self.cloud.violation {
            return Err(violation.clone());
        }
        let living = self.cloud.living();
        if living > CEILING {
            return Err(format!("{living} instances, {CEILING} allowed"));
        }
        let mut launched: BTreeMap<&Mark, u32> = BTreeMap::new();
        for machine in self.cloud.machines.values() {
            *launched.entry(&machine.mark).or_default() += 1;
        }
        for (mark, count) in launched {
            let wished = self.wished.get(mark).copied().unwrap_or(0);
            if count > wished {
                return Err(format!("{count} launched, {wished} wanted by {mark:?}"));
            }
        }
        Ok(())
    }
}

fn start(disk: &Disk, now: Now) -> Controller {
    let identity = Identity { installation: format!("{}", disk.installation).into(), epoch: 1 };
    Controller::new(settings(), abilities(), identity, past(disk, now), now)
}

fn past(disk: &Disk, now: Now) -> Past {
    disk.ledger.past(now.wall, disk.is_new)
}
