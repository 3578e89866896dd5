//! Records of a journal: what they hold, and how they become a ledger again.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use policies::backend::{BackendId, PoolName};
use policies::scale::{Override, Standing};
use serde::{Deserialize, Serialize};

use crate::controller::{Mode, Turn};
use crate::ledger::{Launched, Ledger};
use crate::look::{Action, Event};
use crate::ports::{LaunchRequest, Mark, Offer, Token};

/// Raised when a record changes its meaning.
const VERSION: u32 = 1;

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum Record {
    /// A life or a file begins: all that was known until then.
    Begin(Box<Begin>),
    /// A turn that decided, did or noticed something.
    Turn(Box<TurnRecord>),
}

/// All that was known at a moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)] // as in `Ledger`
pub struct Begin {
    pub at: String,
    pub version: u32,
    pub pool: String,
    pub journal: String,
    pub last_decision: u64,
    pub open: Vec<LaunchRecord>,
    pub live: Vec<LiveRecord>,
    pub up: Option<String>,
    pub down: Option<String>,
    pub boots: Vec<BootRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<OverrideRecord>,
}

/// One turn, with every number it came from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)] // as in `Decision`
pub struct TurnRecord {
    pub at: String,
    pub mode: String,
    pub decision: u64,
    pub desired: u32,
    pub current: u32,
    pub need: u32,
    pub limit: u32,
    pub terms: Vec<TermRecord>,
    pub holds: Vec<HoldRecord>,
    pub concerns: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub launches: Vec<LaunchRecord>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub terminates: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<EventRecord>,
}

/// One number of a decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)] // as in `Term`
pub struct TermRecord {
    pub name: String,
    pub verb: String,
    pub instances: u32,
    /// What it was computed from; none where that is no number.
    pub from: Option<f64>,
    pub place: String,
}

/// Why the size stayed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HoldRecord {
    /// One word.
    pub reason: String,
    /// In a sentence.
    pub text: String,
}

/// A launch, whole, so that it can be repeated as it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)] // as in `LaunchRequest`
pub struct LaunchRecord {
    pub at: String,
    pub token: String,
    pub count: u32,
    pub offer: String,
    pub spec: String,
    pub is_spot: bool,
    pub mark: MarkRecord,
}

/// Who launched, and by which decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)] // as in `Mark`
pub struct MarkRecord {
    pub site: String,
    pub pool: String,
    pub installation: String,
    pub epoch: u64,
    pub decision: u64,
    pub attempt: u32,
}

/// An instance that was launched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)] // as in `Launched`
pub struct LiveRecord {
    pub id: String,
    pub at: String,
    pub offer: String,
    pub mark: MarkRecord,
}

/// Boots of one kind, in milliseconds to running and to the first passed check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)] // said above
pub struct BootRecord {
    pub kind: String,
    pub ms: Vec<(u64, u64)>,
}

/// Something that was noticed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)] // as in `Event`
pub struct EventRecord {
    pub event: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub backends: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_ms: Option<(u64, u64)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<OverrideRecord>,
}

/// What an operator wants instead of what the rules say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // as in `Standing`
pub struct OverrideRecord {
    /// So many instances; none is a pause.
    pub pin: Option<u32>,
    pub until: String,
    pub reason: String,
    pub actor: String,
}

impl Begin {
    /// With all that the ledger knows.
    pub fn new(at: Timestamp, pool: &PoolName, journal: &str, ledger: &Ledger) -> Begin {
        let open = ledger.open.values().map(|(request, at)| LaunchRecord::new(*at, request));
        let live = ledger.live.iter().map(|(id, launched)| LiveRecord {
            id: id.to_string(),
            at: launched.at.to_string(),
            offer: launched.offer.to_string(),
            mark: MarkRecord::from(&launched.mark),
        });
        let boots = ledger.boots.seen().map(|(kind, seen)| BootRecord {
            kind: kind.to_string(),
            ms: seen.map(|(running, passed)| (ms(running), ms(passed))).collect(),
        });
        Begin {
            at: at.to_string(),
            version: VERSION,
            pool: pool.to_string(),
            journal: journal.to_owned(),
            last_decision: ledger.last_decision,
            open: open.collect(),
            live: live.collect(),
            up: ledger.up.map(|at| at.to_string()),
            down: ledger.down.map(|at| at.to_string()),
            boots: boots.collect(),
            order: ledger.order.as_ref().map(OverrideRecord::new),
        }
    }

    fn ledger(&self) -> Option<Ledger> {
        let mut ledger = Ledger { last_decision: self.last_decision, ..Ledger::default() };
        for launch in &self.open {
            ledger.intend(launch.at.parse().ok()?, launch.request());
        }
        for live in &self.live {
            let launched = Launched {
                mark: Mark::from(&live.mark),
                offer: live.offer.as_str().into(),
                at: live.at.parse().ok()?,
            };
            ledger.live.insert(BackendId(live.id.as_str().into()), launched);
        }
        ledger.up = self.up.as_deref().and_then(|at| at.parse().ok());
        ledger.down = self.down.as_deref().and_then(|at| at.parse().ok());
        for boot in &self.boots {
            let kind: Arc<str> = boot.kind.as_str().into();
            for (running, passed) in &boot.ms {
                let ms = Duration::from_millis;
                ledger.boots.learn(&kind, ms(*running), ms(*passed));
            }
        }
        ledger.order = self.order.as_ref().and_then(OverrideRecord::standing);
        Some(ledger)
    }
}

impl OverrideRecord {
    fn new(order: &Standing) -> OverrideRecord {
        OverrideRecord {
            pin: match order.order {
                Override::Pin(instances) => Some(instances),
                Override::Pause => None,
            },
            until: order.until.to_string(),
            reason: order.why.to_string(),
            actor: order.actor.to_string(),
        }
    }

    /// None if its time is none: it has ended then.
    fn standing(&self) -> Option<Standing> {
        Some(Standing {
            order: self.pin.map_or(Override::Pause, Override::Pin),
            until: self.until.parse().ok()?,
            why: self.reason.as_str().into(),
            actor: self.actor.as_str().into(),
        })
    }
}

impl Record {
    /// When.
    pub fn at(&self) -> Option<Timestamp> {
        match self {
            Record::Begin(begin) => begin.at.parse().ok(),
            Record::Turn(turn) => turn.at.parse().ok(),
        }
    }

    /// Whether it begins what a later version of this program has written.
    pub fn is_later(&self) -> bool {
        matches!(self, Record::Begin(begin) if begin.version > VERSION)
    }

    /// Brings a ledger from the record before this one to this one; false if it makes no sense.
    pub fn fold(&self, ledger: &mut Ledger) -> bool {
        match self {
            Record::Begin(begin) => match begin.ledger() {
                Some(known) if begin.version == VERSION => *ledger = known,
                _ => return false,
            },
            Record::Turn(turn) => turn.fold(ledger),
        }
        true
    }
}

impl TurnRecord {
    /// Of a turn that is about to be carried out.
    pub fn new(at: Timestamp, mode: Mode, number: u64, turn: &Turn) -> TurnRecord {
        let decision = &turn.decision;
        let mut launches = Vec::new();
        let mut terminates = Vec::new();
        for action in &turn.actions {
            match action {
                Action::Launch(request) => launches.push(LaunchRecord::new(at, request)),
                Action::Terminate { ids, .. } => terminates.extend(ids.iter().map(name)),
                _ => {}
            }
        }
        let terms = decision.terms.iter().map(|term| TermRecord {
            name: term.name(),
            verb: term.verb().to_owned(),
            instances: term.instances,
            from: Some(term.from).filter(|from| from.is_finite()),
            place: term.place.to_string(),
        });
        let holds = decision
            .holds
            .iter()
            .map(|hold| HoldRecord { reason: hold.word().to_owned(), text: hold.to_string() });
        TurnRecord {
            at: at.to_string(),
            mode: if mode == Mode::Shadow { "shadow" } else { "act" }.to_owned(),
            decision: number,
            desired: decision.desired,
            current: decision.current,
            need: decision.need,
            limit: decision.limit,
            terms: terms.collect(),
            holds: holds.collect(),
            concerns: decision.concerns.iter().map(ToString::to_string).collect(),
            launches,
            terminates,
            events: turn.events.iter().map(EventRecord::new).collect(),
        }
    }

    fn fold(&self, ledger: &mut Ledger) {
        for event in &self.events {
            event.fold(ledger);
        }
        let Ok(at) = self.at.parse() else { return };
        for launch in &self.launches {
            ledger.intend(at, launch.request());
        }
        ledger.step(at, self.current, self.desired);
    }
}

impl LaunchRecord {
    fn new(at: Timestamp, request: &LaunchRequest) -> LaunchRecord {
        LaunchRecord {
            at: at.to_string(),
            token: request.token().to_string(),
            count: request.count,
            offer: request.offer.name.to_string(),
            spec: request.offer.spec.to_string(),
            is_spot: request.offer.is_spot,
            mark: MarkRecord::from(&request.mark),
        }
    }

    fn request(&self) -> LaunchRequest {
        let offer = Offer {
            name: self.offer.as_str().into(),
            spec: self.spec.as_str().into(),
            is_spot: self.is_spot,
        };
        LaunchRequest { mark: Mark::from(&self.mark), count: self.count, offer }
    }
}

impl From<&Mark> for MarkRecord {
    fn from(mark: &Mark) -> MarkRecord {
        MarkRecord {
            site: mark.site.to_string(),
            pool: mark.pool.to_string(),
            installation: mark.installation.to_string(),
            epoch: mark.epoch,
            decision: mark.decision,
            attempt: mark.attempt,
        }
    }
}

impl From<&MarkRecord> for Mark {
    fn from(record: &MarkRecord) -> Mark {
        Mark {
            site: record.site.as_str().into(),
            pool: PoolName(record.pool.as_str().into()),
            installation: record.installation.as_str().into(),
            epoch: record.epoch,
            decision: record.decision,
            attempt: record.attempt,
        }
    }
}

impl EventRecord {
    fn new(event: &Event) -> EventRecord {
        let base = EventRecord { event: event.word().to_owned(), ..EventRecord::default() };
        let token = |token: &Token| Some(token.to_string());
        match event {
            Event::LaunchAnswered { token: of, ids, .. } => {
                EventRecord { token: token(of), backends: ids.iter().map(name).collect(), ..base }
            }
            Event::LaunchFailed { token: of, failure, offer } => EventRecord {
                token: token(of),
                reason: Some(failure.kind.word().to_owned()),
                text: Some(format!("{offer}: {}", failure.text)),
                ..base
            },
            Event::LaunchForgotten { token: of } => EventRecord { token: token(of), ..base },
            Event::Serves { id, kind, running, passed } => EventRecord {
                backends: vec![name(id)],
                text: Some(kind.clone()),
                boot_ms: Some((ms(*running), ms(*passed))),
                ..base
            },
            Event::LeadMoved { from, to } => {
                EventRecord { boot_ms: Some((ms(*from), ms(*to))), ..base }
            }
            Event::Leaves { id, why } => EventRecord {
                backends: vec![name(id)],
                reason: Some(why.word().to_owned()),
                ..base
            },
            Event::CutShort { id, in_flight } => EventRecord {
                backends: vec![name(id)],
                text: Some(format!("{in_flight} in flight")),
                ..base
            },
            Event::Adopted { id } | Event::Lost { id } | Event::Gone { id } => {
                EventRecord { backends: vec![name(id)], ..base }
            }
            Event::OverrideSet { order } => EventRecord {
                text: Some(order.order.to_string()),
                order: Some(OverrideRecord::new(order)),
                ..base
            },
            Event::OverrideEnded { order, actor } => EventRecord {
                text: Some(order.order.to_string()),
                reason: Some(actor.as_deref().unwrap_or("expired").to_owned()),
                ..base
            },
            Event::ProviderFailed { what, failure } => EventRecord {
                reason: Some(failure.kind.word().to_owned()),
                text: Some(format!("{what}: {}", failure.text)),
                ..base
            },
        }
    }

    fn fold(&self, ledger: &mut Ledger) {
        let ids = || self.backends.iter().map(|id| BackendId(id.as_str().into()));
        let token = self.token.as_deref().and_then(Token::parse);
        match (self.event.as_str(), token) {
            ("launch_answered", Some(token)) => {
                ledger.answered(token, &ids().collect::<Vec<_>>());
            }
            ("launch_failed" | "launch_forgotten", Some(token)) => {
                ledger.open.remove(&token);
            }
            ("instance_gone" | "instance_lost", _) => {
                ids().for_each(|id| drop(ledger.live.remove(&id)));
            }
            ("instance_serves", _) => {
                if let (Some(kind), Some((running, passed))) = (&self.text, self.boot_ms) {
                    let of = Duration::from_millis;
                    ledger.boots.learn(&kind.as_str().into(), of(running), of(passed));
                }
            }
            ("override_set", _) => {
                ledger.order = self.order.as_ref().and_then(OverrideRecord::standing);
            }
            ("override_ended", _) => ledger.order = None,
            _ => {}
        }
    }
}

fn name(id: &BackendId) -> String {
    id.to_string()
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
