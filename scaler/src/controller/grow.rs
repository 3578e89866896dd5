//! More instances: those that drain come back first, then new ones are launched.

use std::sync::Arc;
use std::time::Duration;

use policies::backend::BackendId;
use policies::membership::Stage;
use policies::scale::{Decision, Hold};

use crate::controller::book::{Call, Launch, MOST_CALLS, Phase};
use crate::controller::{Controller, Draft};
use crate::look::{Action, Leaving, Look};
use crate::ports::{LaunchRequest, Mark, Offer, Order};

/// First and longest pause between two rounds of tries while everything that can be launched has
/// failed lately. Each doubles it until one is granted, or serves where boots had failed.
const DARE: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(240));

/// The launches of one turn.
struct Wave {
    decision: u64,
    attempt: u32,
    calls: usize,
    now: Duration,
}

impl Controller {
    pub(super) fn grow(&mut self, look: &Look, decision: &mut Decision, turn: &mut Draft) {
        let missing = decision.desired - decision.current;
        let back = self.undrain(look, missing, turn);
        let wanted = missing - back;
        // What drains still lives, and costs: it leaves before others come.
        let room = decision.limit.saturating_sub(self.book.living());
        let count = wanted.min(room);
        if count < wanted {
            decision.holds.push(Hold::Crowded { rest: wanted - count });
        }
        let launched = if count > 0 { self.launch(look, count, decision, turn) } else { 0 };
        if back + launched == 0 {
            // A step that nobody takes is none: it is held, which is told and written once.
            decision.desired = decision.current;
            self.memory.retract_up();
        }
    }

    /// Whoever drains only because it was not needed is the quickest to have.
    fn undrain(&mut self, look: &Look, most: u32, turn: &mut Draft) -> u32 {
        let stage = |id: &BackendId| {
            let pool = look.fleet.pools.iter().find(|pool| pool.pool == self.settings.pool)?;
            pool.members.iter().find(|member| member.id == *id).map(|member| member.stage)
        };
        let drains = self.book.held.iter().filter(|(_, held)| {
            matches!(held.phase, Phase::Draining { why: Leaving::ScaleIn, .. })
        });
        // Drained ones would have to pass a check again; they may as well go.
        let ids: Vec<BackendId> = drains
            .filter(|(id, _)| matches!(stage(id), Some(Stage::Draining | Stage::Serving)))
            .map(|(id, _)| id.clone())
            .take(most as usize)
            .collect();
        for id in &ids {
            if let Some(held) = self.book.held.get_mut(id) {
                held.phase = Phase::Serving;
            }
            self.order(turn, Order::Undrain { id: id.clone() });
        }
        u32::try_from(ids.len()).unwrap_or(u32::MAX)
    }

    fn launch(
        &mut self,
        look: &Look,
        count: u32,
        decision: &mut Decision,
        turn: &mut Draft,
    ) -> u32 {
        let now = look.now.steady;
        if now < self.book.blocked_until {
            decision.holds.push(Hold::Blocked { left: self.book.blocked_until - now });
            return 0;
        }
        let spot = self.missing_spot(count);
        let mut wave = Wave { decision: look.decision, attempt: 0, calls: self.calls(), now };
        let mut left = 0;
        for (is_spot, part) in [(false, count - spot), (true, spot)] {
            if part == 0 {
                continue;
            }
            let Some(offer) = self.offer(now, is_spot) else {
                if !decision.holds.contains(&Hold::NoOffer) {
                    decision.holds.push(Hold::NoOffer);
                }
                left += part;
                continue;
            };
            let rest = self.launch_of(&mut wave, offer, part, turn);
            if rest > 0 {
                decision.holds.push(Hold::Busy { rest });
            }
            left += rest;
        }
        count - left
    }

    /// Of so many more, those that should be cheap ones.
    fn missing_spot(&self, count: u32) -> u32 {
        let purchase = self.abilities.purchase;
        let stays = self.book.held.values().filter(|held| !held.is_leaving());
        let (mut all, mut spot) = (count, 0);
        for held in stays {
            all += 1;
            spot += u32::from(held.instance.is_spot);
        }
        for launch in self.book.launches.values() {
            let expected = self.book.expected(launch);
            all += expected;
            spot += if launch.request.offer.is_spot { expected } else { 0 };
        }
        purchase.spot(all).saturating_sub(spot).min(count)
    }

    /// So many of one offer, as far as calls are left; says how many are not asked for.
    fn launch_of(&mut self, wave: &mut Wave, offer: Offer, count: u32, turn: &mut Draft) -> u32 {
        let mut left = count;
        while left > 0 && wave.calls < MOST_CALLS {
            let part = left.min(self.abilities.max_batch.max(1));
            let request = self.request(wave.decision, wave.attempt, part, offer.clone());
            let mut call = Call::default();
            call.begin(wave.now);
            let launch =
                Launch { request: request.clone(), decided: wave.now, call, is_lapsed: false };
            self.book.launches.insert(request.token(), launch);
            turn.actions.push(Action::Launch(request));
            left -= part;
            wave.attempt += 1;
            wave.calls += 1;
        }
        left
    }

    fn request(&self, decision: u64, attempt: u32, count: u32, offer: Offer) -> LaunchRequest {
        let mark = Mark {
            site: Arc::clone(&self.settings.site),
            pool: self.settings.pool.clone(),
            installation: Arc::clone(&self.identity.installation),
            epoch: self.identity.epoch,
            decision,
            attempt,
        };
        LaunchRequest { mark, count, offer }
    }

    /// The first that has not failed lately. If all have, one whose failure is longest ago, now and
    /// then: a cloud that had no capacity a minute ago may have some now. Instead of a cheap one that is
    /// not to be had, one at full price is taken; not the other way round.
    fn offer(&mut self, now: Duration, is_spot: bool) -> Option<Offer> {
        let failed = |offer: &&Offer| self.book.banned.get(&offer.name).copied();
        let offers: Vec<&Offer> =
            self.abilities.offers.iter().filter(|offer| is_spot || !offer.is_spot).collect();
        if let Some(fresh) = offers.iter().copied().find(|offer| failed(offer).is_none()) {
            return Some(fresh.clone());
        }
        let mut times = 0;
        if let Some((began, so_often)) = self.book.dared {
            let doubled = 2u32.saturating_pow(so_often.saturating_sub(1).min(16));
            if now.saturating_sub(began) < DARE.0.saturating_mul(doubled).min(DARE.1) {
                return self.rest_of_round(began, now, is_spot);
            }
            times = so_often;
        }
        let oldest = offers.iter().copied().min_by_key(failed).cloned()?;
        self.book.dared = Some((now, times.saturating_add(1)));
        self.book.banned.insert(Arc::clone(&oldest.name), now);
        Some(oldest)
    }

    /// What one zone does not have another may, so the others have their turn as well. Not those
    /// that do not boot: each try of one is paid.
    fn rest_of_round(&mut self, began: Duration, now: Duration, is_spot: bool) -> Option<Offer> {
        let book = &self.book;
        let failed = |offer: &&Offer| book.banned.get(&offer.name).copied();
        let is_left = |offer: &&Offer| {
            failed(offer).is_some_and(|at| at < began) && !book.has_bad_boots(&offer.name)
        };
        let offers = self.abilities.offers.iter().filter(|offer| is_spot || !offer.is_spot);
        let next = offers.filter(is_left).min_by_key(failed).cloned()?;
        self.book.banned.insert(Arc::clone(&next.name), now);
        Some(next)
    }

    fn calls(&self) -> usize {
        self.book.launches.values().filter(|launch| launch.call.is_under_way).count()
    }

    /// Open launches again, as they were.
    pub(super) fn repeat(&mut self, look: &Look, turn: &mut Draft) {
        let now = look.now.steady;
        let life = self.abilities.token_life;
        let mut calls = self.calls();
        for launch in self.book.launches.values_mut() {
            // A tenth before its end, for clocks that differ.
            launch.is_lapsed =
                life.is_some_and(|life| now.saturating_sub(launch.decided) > life - life / 10);
            if !launch.is_lapsed && launch.call.is_due(now) && calls < MOST_CALLS {
                launch.call.begin(now);
                calls += 1;
                turn.actions.push(Action::Repeat(launch.request.clone()));
            }
        }
    }
}
