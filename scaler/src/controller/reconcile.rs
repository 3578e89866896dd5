//! Facts from the provider and from the doors, into the book.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use policies::backend::BackendId;
use policies::membership::Stage;

use crate::controller::book::{BAD_BOOTS, Held, Launch, MOURNING, Phase};
use crate::controller::{Controller, Draft};
use crate::look::{Action, Event, Fact, Failure, FailureKind, Leaving, Look};
use crate::ports::{Instance, InstanceState, MemberLook, Order, Token};

/// An offer that failed is not tried again for this long.
const BAN: Duration = Duration::from_secs(600);

/// A quota is tried again after this long; raising one takes people hours.
const QUOTA_HOLDS: Duration = Duration::from_secs(300);

/// Nothing is launched for this long after the credentials were not enough.
const DENIED_HOLDS: Duration = Duration::from_secs(60);

/// Checks that fail for this long cost an instance its place.
const UNHEALTHY_FOR: Duration = Duration::from_secs(60);

/// An answer takes no longer, so none that is older than a burial comes after this.
const BURIED_FOR: Duration = Duration::from_secs(3600);

impl Controller {
    pub(super) fn take_facts(&mut self, look: &Look, turn: &mut Draft) {
        let now = look.now.steady;
        for fact in &look.facts {
            match fact {
                Fact::Listed { asked, result: Ok(list) } => {
                    self.book.list_came();
                    self.reconcile(look, *asked, list, turn);
                }
                Fact::Listed { result: Err(failure), .. } => {
                    self.book.list_failed(now, failure.retry_after);
                    turn.failed("list", failure);
                }
                Fact::Launched { token, result } => match result {
                    Ok(instances) => self.launched(look, *token, instances, turn),
                    Err(failure) => self.not_launched(now, *token, failure, turn),
                },
                Fact::Terminated { ids, result } => {
                    self.terminated(now, ids, result.as_ref().err(), turn);
                }
            }
        }
        self.book.buried.retain(|_, at| now.saturating_sub(*at) < BURIED_FOR);
        self.book.banned.retain(|_, failed| now.saturating_sub(*failed) < BAN);
        self.book.mourned.retain(|until| now < *until);
        self.book.quota = self.book.quota.filter(|(_, until)| now < *until);
    }

    fn launched(&mut self, look: &Look, token: Token, answer: &[Instance], turn: &mut Draft) {
        let now = look.now.steady;
        let launch = self.book.launches.remove(&token);
        // An answer to a launch that is settled already can still name an instance we have not seen.
        let since = launch.as_ref().map_or(now, |launch| launch.decided);
        let asked = launch.as_ref().map_or(Duration::ZERO, |launch| launch.call.began);
        let offer = launch.as_ref().map(|launch| Arc::clone(&launch.request.offer.name));
        let live: Vec<&Instance> = answer.iter().filter(|one| one.state.is_live()).collect();
        for instance in &live {
            self.hold(instance, (since, now), asked, offer.clone());
        }
        let Some(launch) = launch else { return };
        if live.is_empty() {
            let text = "the instances of this launch are gone already".to_owned();
            let failure = Failure { kind: FailureKind::NoCapacity, retry_after: None, text };
            self.memory.retract_up();
            // Whatever it is that ends them, it would end the next ones as well.
            self.book.boots_failed(&launch.request.offer.name, BAD_BOOTS, now);
            turn.events.push(failed(&launch, failure));
            return;
        }
        self.book.launch_succeeded(&launch.request.offer.name);
        let ids = live.iter().map(|instance| instance.id.clone()).collect();
        let count = launch.request.count;
        turn.events.push(Event::LaunchAnswered { token, ids, count });
    }

    fn not_launched(&mut self, now: Duration, token: Token, failure: &Failure, turn: &mut Draft) {
        let Some(launch) = self.book.launches.get_mut(&token) else { return };
        if failure.kind.is_open() {
            let is_first = launch.call.tries == 1;
            launch.call.fail(now, failure.retry_after);
            if is_first {
                turn.failed("launch", failure);
            }
            return;
        }
        let Some(launch) = self.book.launches.remove(&token) else { return };
        // Whatever it says: what is there is for a list to tell.
        self.book.list_soon();
        match failure.kind {
            FailureKind::NoCapacity | FailureKind::Refused => {
                let offer = Arc::clone(&launch.request.offer.name);
                self.book.banned.insert(offer, now);
            }
            // There is one for cheap ones alone; others may still be had.
            FailureKind::Quota if launch.request.offer.is_spot => {
                let spot = self.abilities.offers.iter().filter(|offer| offer.is_spot);
                let names = spot.map(|offer| (Arc::clone(&offer.name), now));
                self.book.banned.extend(names);
            }
            FailureKind::Quota => {
                self.book.quota = Some((self.book.living(), now + QUOTA_HOLDS));
            }
            FailureKind::Denied => self.book.blocked_until = now + DENIED_HOLDS,
            FailureKind::Unclear | FailureKind::Throttled | FailureKind::TokenReused => {}
        }
        self.memory.retract_up();
        turn.events.push(failed(&launch, failure.clone()));
    }

    fn terminated(
        &mut self,
        now: Duration,
        ids: &[BackendId],
        failure: Option<&Failure>,
        turn: &mut Draft,
    ) {
        let patience = self.abilities.visible_within.max(Duration::from_secs(10));
        for id in ids {
            let Some(held) = self.book.held.get_mut(id) else { continue };
            match failure {
                Some(failure) => held.call.fail(now, failure.retry_after),
                None => {
                    held.call.is_under_way = false;
                    held.call.tries = 0;
                    // Asked again if it still lives then: an answer of success is not its end.
                    held.call.not_before = now + patience;
                }
            }
        }
        if let Some(failure) = failure {
            turn.failed("terminate", failure);
        }
    }

    /// What the provider says there is.
    fn reconcile(&mut self, look: &Look, asked: Duration, list: &[Instance], turn: &mut Draft) {
        self.book.is_reconciled |= asked >= self.trusted_from;
        let mut listed = BTreeSet::new();
        for instance in list {
            listed.insert(&instance.id);
            if let Some(held) = self.book.held.get_mut(&instance.id) {
                held.seen = held.seen.max(asked);
                let mark = instance.mark.clone().or_else(|| held.instance.mark.clone());
                held.instance = Instance { mark, ..instance.clone() };
                if !instance.state.is_live() {
                    self.ended(look, &instance.id, instance.state, turn);
                }
            } else if instance.state.is_live() && self.is_ours(instance) {
                self.found(look, asked, instance, turn);
            }
        }
        let patience = self.abilities.visible_within;
        let gone = self.book.held.iter().filter(|(id, held)| {
            !listed.contains(id) && asked.saturating_sub(held.seen) > patience
        });
        let gone: Vec<BackendId> = gone.map(|(id, _)| id.clone()).collect();
        for id in gone {
            self.ended(look, &id, InstanceState::Terminated, turn);
        }
        self.dismiss(look, asked, list, turn);
        self.settle(asked, turn);
    }

    /// Members that nobody has launched: known from a door before this one, whose scaler has given
    /// them back after that door had told of them. Not because a list does not show them yet.
    fn dismiss(&mut self, look: &Look, asked: Duration, list: &[Instance], turn: &mut Draft) {
        let pool = look.fleet.pools.iter().find(|pool| pool.pool == self.settings.pool);
        let listed = |id: &BackendId| list.iter().find(|one| one.id == *id);
        let is_nobodys = |member: &&MemberLook| {
            member.is_launched
                && !self.book.held.contains_key(&member.id)
                && !listed(&member.id).is_some_and(|one| one.state.is_live())
        };
        let members = pool.iter().flat_map(|pool| &pool.members).filter(is_nobodys);
        let before = &self.book.strangers;
        let since = |id: &BackendId| before.get(id).copied().unwrap_or(asked);
        let strangers: BTreeMap<BackendId, Duration> =
            members.map(|member| (member.id.clone(), since(&member.id))).collect();
        if self.book.is_reconciled {
            let patience = self.abilities.visible_within;
            for (id, since) in &strangers {
                if listed(id).is_some() || asked.saturating_sub(*since) >= patience {
                    self.order(turn, Order::Remove { id: id.clone() });
                }
            }
        }
        self.book.strangers = strangers;
    }

    fn is_ours(&self, instance: &Instance) -> bool {
        let settings = &self.settings;
        instance
            .mark
            .as_ref()
            .is_some_and(|mark| mark.site == settings.site && mark.pool == settings.pool)
    }

    /// One that is in no book: of an open launch, or of a life that nobody remembers.
    fn found(&mut self, look: &Look, asked: Duration, instance: &Instance, turn: &mut Draft) {
        let now = look.now.steady;
        if self.book.is_buried(&instance.id, asked, self.abilities.visible_within) {
            return;
        }
        let token = instance.mark.as_ref().map(crate::ports::Mark::token);
        let launch = token.and_then(|token| self.book.launches.get(&token));
        if let Some(launch) = launch {
            let offer = Arc::clone(&launch.request.offer.name);
            self.hold(instance, (launch.decided, now), asked, Some(offer));
            return;
        }
        let age = instance.launched_at.map(|at| look.now.wall.duration_since(at));
        let age = age.and_then(|age| Duration::try_from(age).ok()).unwrap_or_default();
        self.hold(instance, (now.saturating_sub(age), now), asked, None);
        if let Some(held) = self.book.held.get_mut(&instance.id) {
            held.is_adopted = true;
            held.boots_from = now;
        }
        turn.events.push(Event::Adopted { id: instance.id.clone() });
    }

    /// Launched and noticed then, by an answer to what was `asked` then.
    fn hold(
        &mut self,
        instance: &Instance,
        (since, now): (Duration, Duration),
        asked: Duration,
        offer: Option<Arc<str>>,
    ) {
        if self.book.is_buried(&instance.id, asked, self.abilities.visible_within) {
            return;
        }
        let held = self.book.held.entry(instance.id.clone());
        let held = held.or_insert_with(|| Held::new(instance.clone(), since, now));
        held.offer = held.offer.take().or(offer);
    }

    /// It runs no more, or is about to.
    fn ended(&mut self, look: &Look, id: &BackendId, state: InstanceState, turn: &mut Draft) {
        let now = look.now.steady;
        let Some(held) = self.book.held.get(id) else { return };
        if matches!(held.phase, Phase::Terminating { .. }) && state == InstanceState::Stopping {
            return;
        }
        let is_expected = held.is_leaving();
        // What was launched in the life before may have served, and ended with the machine.
        let failed = (held.phase == Phase::Booting && !held.is_adopted).then(|| held.offer.clone());
        self.book.held.remove(id);
        if let Some(offer) = failed.flatten() {
            self.book.boots_failed(&offer, 1, now);
        }
        self.book.buried.insert(id.clone(), now);
        self.order(turn, Order::Remove { id: id.clone() });
        if is_expected {
            turn.events.push(Event::Gone { id: id.clone() });
        } else {
            self.book.mourned.push(now + MOURNING);
            turn.events.push(Event::Lost { id: id.clone() });
        }
    }

    /// Launches that a list has answered, and those whose token means nothing any more.
    fn settle(&mut self, asked: Duration, turn: &mut Draft) {
        let life = self.abilities.token_life;
        let visible = self.abilities.visible_within;
        let tokens: Vec<Token> = self.book.launches.keys().copied().collect();
        for token in tokens {
            let Some(launch) = self.book.launches.get(&token) else { continue };
            let has_all = self.book.expected(launch) == 0;
            let has_lapsed = life.is_some_and(|life| asked > launch.decided + life + visible);
            if !has_all && !has_lapsed {
                continue;
            }
            let (count, offer) = (launch.request.count, Arc::clone(&launch.request.offer.name));
            self.book.launches.remove(&token);
            if has_all {
                self.book.launch_succeeded(&offer);
                let ids = self.book.held.iter().filter(|(_, held)| held.token == Some(token));
                let ids = ids.map(|(id, _)| id.clone()).collect();
                turn.events.push(Event::LaunchAnswered { token, ids, count });
            } else {
                turn.events.push(Event::LaunchForgotten { token });
            }
        }
    }

    /// What the doors say about our instances.
    pub(super) fn take_members(&mut self, look: &Look, turn: &mut Draft) {
        if self.settings.mode == super::Mode::Shadow {
            return;
        }
        let pool = look.fleet.pools.iter().find(|pool| pool.pool == self.settings.pool);
        let members = pool.map_or(&[][..], |pool| &pool.members);
        let ids: Vec<BackendId> = self.book.held.keys().cloned().collect();
        for id in ids {
            let member = members.iter().find(|member| member.id == id);
            self.take_member(look, &id, member, turn);
        }
        self.replace_unhealthy(look, turn);
    }

    fn take_member(
        &mut self,
        look: &Look,
        id: &BackendId,
        member: Option<&MemberLook>,
        turn: &mut Draft,
    ) {
        let now = look.now.steady;
        let Some(held) = self.book.held.get_mut(id) else { return };
        held.is_member = member.is_some();
        held.in_flight = member.map_or(0, |member| member.in_flight);
        held.is_healthy = member.is_some_and(|m| m.is_healthy && m.stage == Stage::Serving);
        if held.running.is_none() && held.is_running() {
            held.running = Some(now.saturating_sub(held.since));
        }
        if held.is_leaving() {
            return;
        }
        let is_sick = member.is_some_and(|m| m.stage == Stage::Serving && !m.is_healthy);
        held.unhealthy_since = is_sick.then(|| held.unhealthy_since.unwrap_or(now));
        if held.instance.is_marked {
            self.drain(id, now, Leaving::Marked, turn);
            return;
        }
        match (member, held.instance.address) {
            (None, Some(address)) => {
                let zone = held.instance.zone.clone();
                self.order(turn, Order::Admit { id: id.clone(), address, zone });
            }
            (Some(member), _) if held.phase == Phase::Booting && member.stage == Stage::Serving => {
                self.serves(now, id, turn);
                return;
            }
            _ => {}
        }
        let held = self.book.held.get(id);
        let give_up = self.settings.boot.give_up_after;
        let is_lame = |held: &Held| {
            held.phase == Phase::Booting && now.saturating_sub(held.boots_from) > give_up
        };
        if held.is_some_and(is_lame) {
            self.boot_failed(now, id, turn);
        }
    }

    fn serves(&mut self, now: Duration, id: &BackendId, turn: &mut Draft) {
        let Some(held) = self.book.held.get_mut(id) else { return };
        held.phase = Phase::Serving;
        let passed = now.saturating_sub(held.since);
        let running = held.running.unwrap_or(passed).min(passed);
        let kind = Arc::clone(&held.instance.kind);
        let (offer, is_adopted) = (held.offer.clone(), held.is_adopted);
        if let Some(offer) = offer {
            self.book.boot_succeeded(&offer);
        }
        if is_adopted {
            return;
        }
        let from = self.boots.lead(&self.settings.boot);
        self.boots.learn(&kind, running, passed);
        let to = self.boots.lead(&self.settings.boot);
        let kind = kind.to_string();
        turn.events.push(Event::Serves { id: id.clone(), kind, running, passed });
        // A fifth is more than the chance of one boot.
        if to.abs_diff(from) > from / 5 {
            turn.events.push(Event::LeadMoved { from, to });
        }
    }

    fn boot_failed(&mut self, now: Duration, id: &BackendId, turn: &mut Draft) {
        if let Some(offer) = self.book.held.get(id).and_then(|held| held.offer.clone()) {
            self.book.boots_failed(&offer, 1, now);
        }
        self.drain(id, now, Leaving::BootFailed, turn);
    }

    /// At most a third of a pool at once, and at least one: if all are sick, it is not them.
    fn replace_unhealthy(&mut self, look: &Look, turn: &mut Draft) {
        let now = look.now.steady;
        let sick = |held: &Held| {
            held.phase == Phase::Serving
                && held.unhealthy_since.is_some_and(|at| now.saturating_sub(at) > UNHEALTHY_FOR)
        };
        let all = self.book.count(|held| held.phase == Phase::Serving);
        let leaving = |held: &Held| match held.phase {
            Phase::Draining { why, .. } | Phase::Terminating { why } => why == Leaving::Unhealthy,
            _ => false,
        };
        let room = (all / 3).max(1).saturating_sub(self.book.count(leaving));
        let sick: Vec<BackendId> = self
            .book
            .held
            .iter()
            .filter(|(_, held)| sick(held))
            .map(|(id, _)| id.clone())
            .collect();
        for id in sick.iter().take(room as usize) {
            self.drain(id, now, Leaving::Unhealthy, turn);
        }
    }

    /// A shadow says what it would do.
    pub(super) fn order(&self, turn: &mut Draft, order: Order) {
        if self.settings.mode == super::Mode::Act {
            turn.actions.push(Action::Order { pool: self.settings.pool.clone(), order });
        }
    }
}

impl Draft {
    fn failed(&mut self, what: &'static str, failure: &Failure) {
        self.events.push(Event::ProviderFailed { what, failure: failure.clone() });
    }
}

fn failed(launch: &Launch, failure: Failure) -> Event {
    let offer = launch.request.offer.name.to_string();
    Event::LaunchFailed { token: launch.request.token(), failure, offer }
}
