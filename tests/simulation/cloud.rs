//! A cloud that goes wrong: tokens are honoured, answers get lost, lists lag behind.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use policies::backend::BackendId;
use policies::rng::Rng;
use scaler::look::{Failure, FailureKind};
use scaler::ports::{Instance, InstanceState, LaunchRequest, Mark, Token};

/// How long a launch stays invisible in lists at most.
pub(crate) const LAG: Duration = Duration::from_secs(4);

/// One instance and its fate.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    pub(crate) mark: Mark,
    pub(crate) launched_at: Timestamp,
    pub(crate) visible: Duration,
    pub(crate) runs: Duration,
    /// When its backend answers; never, if the boot fails.
    pub(crate) answers: Option<Duration>,
    /// Terminated, by whomever.
    pub(crate) ended: Option<Duration>,
    /// Its backend is dead though it runs.
    pub(crate) is_dead: bool,
}

/// How bad the weather is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weather {
    /// Of 1,000 calls: done, but nobody hears of it.
    pub(crate) lost: u64,
    /// Of 1,000 calls: not done, and nobody knows.
    pub(crate) dropped: u64,
    /// Of 1,000 calls: too many requests.
    pub(crate) throttled: u64,
    /// Of 1,000 boots: never answers.
    pub(crate) bad_boots: u64,
    /// Of 1,000 launches: no capacity for this offer.
    pub(crate) full: u64,
    /// Of 1,000 launches: fewer than asked for.
    pub(crate) partial: u64,
}

/// The provider's side.
pub(crate) struct Cloud {
    pub(crate) machines: BTreeMap<BackendId, Machine>,
    tokens: BTreeMap<Token, (LaunchRequest, Vec<BackendId>)>,
    honours_tokens: bool,
    next: u64,
    pub(crate) lost_answers: u64,
    pub(crate) throttled: u64,
    pub(crate) failed_boots: u64,
    /// What no provider should ever see.
    pub(crate) violation: Option<String>,
}

impl Cloud {
    pub(crate) fn new(honours_tokens: bool) -> Cloud {
        Cloud {
            machines: BTreeMap::new(),
            tokens: BTreeMap::new(),
            honours_tokens,
            next: 0,
            lost_answers: 0,
            throttled: 0,
            failed_boots: 0,
            violation: None,
        }
    }

    /// Alive as far as the bill is concerned.
    pub(crate) fn living(&self) -> u32 {
        u32::try_from(self.machines.values().filter(|m| m.ended.is_none()).count()).unwrap()
    }

    pub(crate) fn launch(
        &mut self,
        now: (Duration, Timestamp),
        request: &LaunchRequest,
        weather: Weather,
        rng: &mut Rng,
    ) -> Result<Vec<Instance>, Failure> {
        self.gate(weather, rng)?;
        let token = request.token();
        if let Some((first, ids)) = self.tokens.get(&token).filter(|_| self.honours_tokens) {
            if first != request {
                self.violation = Some(format!("token {token} came with another request"));
                return Err(failure(FailureKind::TokenReused));
            }
            let ids = ids.clone();
            return self.answer(ids, now.0, weather, rng);
        }
        if rng.below(1000) < weather.full {
            return Err(failure(FailureKind::NoCapacity));
        }
        let mut count = request.count;
        if rng.below(1000) < weather.partial {
            count = 1 + u32::try_from(rng.below(u64::from(count))).unwrap();
        }
        let ids: Vec<BackendId> =
            (0..count).map(|_| self.boot(now, request, weather, rng)).collect();
        self.tokens.insert(token, (request.clone(), ids.clone()));
        self.answer(ids, now.0, weather, rng)
    }

    fn boot(
        &mut self,
        (now, wall): (Duration, Timestamp),
        request: &LaunchRequest,
        weather: Weather,
        rng: &mut Rng,
    ) -> BackendId {
        self.next += 1;
        let id = BackendId(format!("i-{:05}", self.next).into());
        let seconds = |rng: &mut Rng, most| Duration::from_secs(rng.below(most));
        let runs = now + Duration::from_secs(2) + seconds(rng, 6);
        let is_bad = rng.below(1000) < weather.bad_boots;
        self.failed_boots += u64::from(is_bad);
        let late = if rng.below(20) == 0 { seconds(rng, 40) } else { Duration::ZERO };
        let answers = (!is_bad).then(|| runs + Duration::from_secs(1) + seconds(rng, 8) + late);
        let machine = Machine {
            mark: request.mark.clone(),
            launched_at: wall,
            visible: now + seconds(rng, LAG.as_secs()),
            runs,
            answers,
            ended: None,
            is_dead: false,
        };
        self.machines.insert(id.clone(), machine);
        id
    }

    pub(crate) fn terminate(
        &mut self,
        now: Duration,
        ids: &[BackendId],
        weather: Weather,
        rng: &mut Rng,
    ) -> Result<(), Failure> {
        self.gate(weather, rng)?;
        for id in ids {
            if let Some(machine) = self.machines.get_mut(id) {
                machine.ended.get_or_insert(now);
            }
        }
        self.maybe_lost(weather, rng)
    }

    pub(crate) fn list(
        &mut self,
        now: Duration,
        weather: Weather,
        rng: &mut Rng,
    ) -> Result<Vec<Instance>, Failure> {
        self.gate(weather, rng)?;
        // What ended long ago is not listed any more.
        let visible = |m: &Machine| {
            m.visible <= now && m.ended.is_none_or(|at| now < at + Duration::from_secs(30))
        };
        let seen = self.machines.iter().filter(|(_, m)| visible(m));
        let list = seen.map(|(id, machine)| instance(id, machine, now)).collect();
        self.maybe_lost(weather, rng).map(|()| list)
    }

    fn answer(
        &mut self,
        ids: Vec<BackendId>,
        now: Duration,
        weather: Weather,
        rng: &mut Rng,
    ) -> Result<Vec<Instance>, Failure> {
        let answer = ids.iter().map(|id| instance(id, &self.machines[id], now)).collect();
        self.maybe_lost(weather, rng).map(|()| answer)
    }

    /// What may happen before anything is done.
    fn gate(&mut self, weather: Weather, rng: &mut Rng) -> Result<(), Failure> {
        if rng.below(1000) < weather.throttled {
            self.throttled += 1;
            return Err(failure(FailureKind::Throttled));
        }
        if rng.below(1000) < weather.dropped {
            self.lost_answers += 1;
            return Err(failure(FailureKind::Unclear));
        }
        Ok(())
    }

    fn maybe_lost(&mut self, weather: Weather, rng: &mut Rng) -> Result<(), Failure> {
        if rng.below(1000) < weather.lost {
            self.lost_answers += 1;
            return Err(failure(FailureKind::Unclear));
        }
        Ok(())
    }
}

fn instance(id: &BackendId, machine: &Machine, now: Duration) -> Instance {
    let state = match machine.ended {
        Some(at) if now < at + Duration::from_secs(3) => InstanceState::Stopping,
        Some(_) => InstanceState::Terminated,
        None if now < machine.runs => InstanceState::Pending,
        None => InstanceState::Running,
    };
    Instance {
        id: id.clone(),
        state,
        address: (now >= machine.runs).then(|| "127.0.0.1:80".parse().unwrap()),
        zone: None,
        mark: Some(machine.mark.clone()),
        launched_at: Some(machine.launched_at),
        kind: Arc::from("small"),
        image_made_at: None,
        is_marked: false,
        is_spot: false,
    }
}

fn failure(kind: FailureKind) -> Failure {
    Failure { kind, retry_after: None, text: kind.word().into() }
}
