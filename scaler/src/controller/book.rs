//! Launches without an answer, and instances with their phase.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use policies::backend::BackendId;
use policies::scale::Now;

use crate::controller::{Census, Known};
use crate::look::Leaving;
use crate::ports::{Instance, InstanceState, LaunchRequest, Mark, Token};

/// First and longest pause between two tries of a call.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Calls of one kind that may be under way at once.
pub(super) const MOST_CALLS: usize = 4;

/// An instance that went without us is not replaced for this long, unless somebody waits.
pub(super) const MOURNING: Duration = Duration::from_secs(60);

/// So many boots of an offer fail in a row, and it is bad.
pub(super) const BAD_BOOTS: u32 = 3;

/// A launch whose answer is not definite yet.
#[derive(Debug, Clone)]
pub(super) struct Launch {
    pub request: LaunchRequest,
    /// When it was decided, in steady time; earlier than the start for one of the life before.
    pub decided: Duration,
    pub call: Call,
    /// Its token has lapsed: it is not repeated any more, only looked for.
    pub is_lapsed: bool,
}

/// A call that is repeated until its answer is definite.
#[derive(Debug, Clone, Default)]
pub(super) struct Call {
    pub is_under_way: bool,
    pub began: Duration,
    pub tries: u32,
    pub not_before: Duration,
}

/// How far an instance is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Phase {
    Booting,
    Serving,
    Draining { since: Duration, why: Leaving },
    Terminating { why: Leaving },
}

/// An instance of ours.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub instance: Instance,
    /// Of the launch that brought it.
    pub token: Option<Token>,
    /// What was launched, if we remember.
    pub offer: Option<Arc<str>>,
    pub phase: Phase,
    /// Launched, in steady time. Of an adopted one, as far as its provider knows.
    pub since: Duration,
    /// From when it must serve within `boot.give_up_after`: its launch, or when this life of ours
    /// learned of it.
    pub boots_from: Duration,
    /// When it was last in a list, or became known.
    pub seen: Duration,
    /// From launch to running.
    pub running: Option<Duration>,
    pub unhealthy_since: Option<Duration>,
    /// From a list or a launch of the life before, so its boot time tells nothing.
    pub is_adopted: bool,
    pub in_flight: u32,
    pub is_healthy: bool,
    /// Of its pool, as a door sees it.
    pub is_member: bool,
    /// To be given back.
    pub call: Call,
}

/// All that is remembered of launches and instances.
#[derive(Debug, Clone, Default)]
pub(super) struct Book {
    pub launches: BTreeMap<Token, Launch>,
    pub held: BTreeMap<BackendId, Held>,
    /// Gone or given up; an old list must not bring them back.
    pub buried: BTreeMap<BackendId, Duration>,
    /// Members that nobody holds and no list shows, and since which list.
    pub strangers: BTreeMap<BackendId, Duration>,
    /// Offers that failed, and when.
    pub banned: BTreeMap<Arc<str>, Duration>,
    /// When offers were last tried again although all had failed lately, and how many such rounds
    /// there were without a success.
    pub dared: Option<(Duration, u32)>,
    /// Boots that failed in a row, by offer.
    failed_boots: BTreeMap<Arc<str>, u32>,
    /// Nothing is launched before.
    pub blocked_until: Duration,
    /// What a quota stopped us at, until then.
    pub quota: Option<(u32, Duration)>,
    /// Instances that went without us still count until then.
    pub mourned: Vec<Duration>,
    /// The provider has said once what there is.
    pub is_reconciled: bool,
    list: Call,
    list_asked: Option<Duration>,
}

impl Call {
    pub(super) fn begin(&mut self, now: Duration) {
        self.is_under_way = true;
        self.began = now;
        self.tries = self.tries.saturating_add(1);
    }

    /// It failed and may be repeated; each failure doubles the pause.
    pub(super) fn fail(&mut self, now: Duration, retry_after: Option<Duration>) {
        self.is_under_way = false;
        let doubled = 2u32.saturating_pow(self.tries.saturating_sub(1).min(16));
        let pause = PAUSE.0.saturating_mul(doubled).min(PAUSE.1);
        self.not_before = now + pause.max(retry_after.unwrap_or_default());
    }

    /// Whoever carries calls out gives every one an answer, if only that it is unclear. Should
    /// even that get lost, it counts as unclear here.
    fn give_up_silent(&mut self, now: Duration, patience: Duration) {
        if self.is_under_way && now.saturating_sub(self.began) > patience {
            self.fail(now, None);
        }
    }

    pub(super) fn is_due(&self, now: Duration) -> bool {
        !self.is_under_way && now >= self.not_before
    }
}

impl Held {
    pub(super) fn is_leaving(&self) -> bool {
        matches!(self.phase, Phase::Draining { .. } | Phase::Terminating { .. })
    }

    /// One that became known at `now` and was launched at `since`.
    pub(super) fn new(instance: Instance, since: Duration, now: Duration) -> Held {
        Held {
            token: instance.mark.as_ref().map(Mark::token),
            instance,
            offer: None,
            phase: Phase::Booting,
            since,
            boots_from: since,
            seen: now,
            running: None,
            unhealthy_since: None,
            is_adopted: false,
            in_flight: 0,
            is_healthy: false,
            is_member: false,
            call: Call::default(),
        }
    }

    /// One of the life before; the next list tells how far it is.
    fn remembered(known: Known, since: Duration, now: Duration) -> Held {
        let instance = Instance {
            id: known.id,
            state: InstanceState::Pending,
            address: None,
            zone: None,
            mark: Some(known.mark),
            launched_at: None,
            kind: Arc::clone(&known.offer),
            image_made_at: None,
            is_marked: false,
            is_spot: false,
        };
        let held = Held::new(instance, since, now);
        // However old it is: it may have served until we ended, and our checks begin anew.
        Held { offer: Some(known.offer), is_adopted: true, boots_from: now, ..held }
    }

    pub(super) fn is_running(&self) -> bool {
        self.instance.state == InstanceState::Running
    }
}

impl Book {
    pub(super) fn restored(
        open: Vec<(LaunchRequest, Duration)>,
        live: Vec<Known>,
        now: Now,
    ) -> Book {
        let launch = |(request, age): (LaunchRequest, Duration)| {
            let decided = now.steady.saturating_sub(age);
            let launch = Launch { decided, call: Call::default(), is_lapsed: false, request };
            (launch.request.token(), launch)
        };
        let hold = |known: Known| {
            let since = now.steady.saturating_sub(known.age);
            (known.id.clone(), Held::remembered(known, since, now.steady))
        };
        Book {
            launches: open.into_iter().map(launch).collect(),
            held: live.into_iter().map(hold).collect(),
            ..Book::default()
        }
    }

    /// Instances that an open launch may still bring, beyond those it has brought.
    pub(super) fn expected(&self, launch: &Launch) -> u32 {
        let token = launch.request.token();
        launch.request.count.saturating_sub(self.count(|held| held.token == Some(token)))
    }

    /// What may still come out of all open launches.
    pub(super) fn open(&self) -> u32 {
        self.launches.values().map(|launch| self.expected(launch)).sum()
    }

    /// Everything that lives or may live, whatever its phase.
    pub(super) fn living(&self) -> u32 {
        self.open().saturating_add(u32::try_from(self.held.len()).unwrap_or(u32::MAX))
    }

    pub(super) fn count(&self, is: impl Fn(&Held) -> bool) -> u32 {
        u32::try_from(self.held.values().filter(|held| is(held)).count()).unwrap_or(u32::MAX)
    }

    pub(super) fn census(&self) -> Census {
        Census {
            open: self.open(),
            booting: self.count(|held| held.phase == Phase::Booting),
            serving: self.count(|held| held.phase == Phase::Serving),
            healthy: self.count(|held| held.phase == Phase::Serving && held.is_healthy),
            draining: self.count(|held| matches!(held.phase, Phase::Draining { .. })),
            terminating: self.count(|held| matches!(held.phase, Phase::Terminating { .. })),
        }
    }

    /// Something moves, so a fresh list is worth its price.
    pub(super) fn is_busy(&self) -> bool {
        let moves = |held: &Held| held.phase != Phase::Serving;
        !self.is_reconciled || !self.launches.is_empty() || self.held.values().any(moves)
    }

    /// Calls whose answer has stayed away for too long.
    pub(super) fn give_up_silent(&mut self, now: Duration, answer_within: Duration) {
        let patience = answer_within.saturating_mul(2);
        self.list.give_up_silent(now, patience);
        self.launches.values_mut().for_each(|launch| launch.call.give_up_silent(now, patience));
        self.held.values_mut().for_each(|held| held.call.give_up_silent(now, patience));
    }

    /// Whether a list is due; it counts as asked for then.
    pub(super) fn may_list(&mut self, now: Duration, every: Duration) -> bool {
        let since = self.list_asked.map(|asked| now.saturating_sub(asked));
        if !self.list.is_due(now) || since.is_some_and(|since| since < every) {
            return false;
        }
        self.list.begin(now);
        self.list_asked = Some(now);
        true
    }

    /// Boots of an offer have failed; those in a row count.
    pub(super) fn boots_failed(&mut self, offer: &Arc<str>, count: u32, now: Duration) {
        let failed = self.failed_boots.entry(Arc::clone(offer)).or_default();
        *failed = failed.saturating_add(count);
        if *failed >= BAD_BOOTS {
            self.banned.insert(Arc::clone(offer), now);
        }
    }

    /// Whether it was not refused, but does not boot.
    pub(super) fn has_bad_boots(&self, offer: &str) -> bool {
        self.failed_boots.get(offer).is_some_and(|failed| *failed >= BAD_BOOTS)
    }

    /// Instances of an offer were granted, so there is capacity. Those of one that does not boot
    /// are granted as well, and tell nothing.
    pub(super) fn launch_succeeded(&mut self, offer: &str) {
        if !self.has_bad_boots(offer) {
            self.banned.remove(offer);
            self.dared = None;
        }
    }

    /// An instance of an offer serves, so it is not the offer.
    pub(super) fn boot_succeeded(&mut self, offer: &Arc<str>) {
        self.dared = None;
        if self.failed_boots.remove(offer).is_some_and(|failed| failed >= BAD_BOOTS) {
            self.banned.remove(offer);
        }
    }

    /// Whether an instance that is gone was still there when this was asked, so that the answer says
    /// nothing new about it; some lists lag behind by `visible_within`.
    pub(super) fn is_buried(&self, id: &BackendId, asked: Duration, lag: Duration) -> bool {
        self.buried.get(id).is_some_and(|at| asked <= *at + lag)
    }

    /// The next list is due at once.
    pub(super) fn list_soon(&mut self) {
        self.list_asked = None;
    }

    pub(super) fn list_came(&mut self) {
        self.list = Call::default();
    }

    pub(super) fn list_failed(&mut self, now: Duration, retry_after: Option<Duration>) {
        self.list.fail(now, retry_after);
    }
}
