//! What the controller does, turn by turn, in a world that a test makes up.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use policies::backend::{BackendId, PoolName};
use policies::membership::Stage;
use policies::scale::policy::{ScalingPolicy, Step};
use policies::scale::{Hold, Now, Override, Standing};

use super::{BootSettings, Controller, Identity, Mode, Past, Settings, Turn, Victim};
use crate::demand::Demand;
use crate::look::{Action, Event, Fact, Failure, FailureKind, JournalState, Leaving, Look};
use crate::overrides::Wish;
use crate::ports::{
    Abilities, FleetLook, Instance, InstanceState, LaunchRequest, Mark, MemberLook, Offer, Order,
    PoolLook, Purchase,
};

mod buying;
mod launching;
mod leaving;
mod losing;
mod obeying;
mod seeing;

const DRAIN_LIMIT: Duration = Duration::from_secs(90);

/// A controller and the world around it.
struct Rig {
    controller: Controller,
    now: Now,
    members: Vec<MemberLook>,
    /// Pools besides the elastic one.
    others: Vec<PoolLook>,
    facts: Vec<Fact>,
    /// Concurrent requests that clients want.
    demand: f64,
    /// Of those, who wait for a place.
    waiting: u64,
    /// Requests of a process before this one.
    elsewhere: u64,
    journal: JournalState,
    decision: u64,
    wishes: Vec<Wish>,
}

/// 10 requests an instance, at most 20 of them, two quiet seconds before one leaves.
fn settings() -> Settings {
    let mut policy = ScalingPolicy { ceiling: 20, ..ScalingPolicy::default() };
    policy.target.per_instance = 10.0;
    policy.target.window = Duration::from_secs(1);
    policy.target.spare = 0.0;
    policy.up.min_step = 20;
    policy.down.stable_for = Duration::from_secs(2);
    policy.down.cooldown = Duration::ZERO;
    policy.down.max_step = Step::Share(1.0);
    Settings {
        site: "kg".into(),
        pool: PoolName("cloud".into()),
        policy,
        tick: Duration::from_secs(1),
        mode: Mode::Act,
        before: Vec::new(),
        boot: BootSettings {
            learn: true,
            assume: Duration::from_secs(60),
            percentile: 95,
            give_up_after: Duration::from_secs(120),
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
        provider: "test",
        offers: ["a", "b"].map(offer).to_vec(),
        purchase: Purchase::default(),
        max_batch: 4,
        token_life: None,
        visible_within: Duration::from_secs(10),
        answer_within: Duration::from_secs(5),
        quota: None,
        billing_step: None,
    }
}

impl Rig {
    fn new(settings: Settings, past: Past) -> Rig {
        let wall = "2026-11-20T12:00:00Z".parse().unwrap();
        let now = Now { wall, steady: Duration::from_secs(10_000) };
        let identity = Identity { installation: "5f0c".into(), epoch: 1 };
        Rig {
            controller: Controller::new(settings, abilities(), identity, past, now),
            now,
            members: Vec::new(),
            others: Vec::new(),
            facts: Vec::new(),
            demand: 0.0,
            waiting: 0,
            elsewhere: 0,
            journal: JournalState::Durable,
            decision: 0,
            wishes: Vec::new(),
        }
    }

    /// A rig whose provider has said that there is nothing.
    fn ready() -> Rig {
        Rig::ready_with(settings())
    }

    fn ready_with(settings: Settings) -> Rig {
        let mut rig = Rig::new(settings, Past::default());
        rig.turn();
        rig.listed(Vec::new());
        rig
    }

    /// One second later.
    fn turn(&mut self) -> Turn {
        self.turn_after(Duration::from_secs(1))
    }

    fn turn_after(&mut self, gap: Duration) -> Turn {
        self.now =
            Now { wall: self.now.wall.checked_add(gap).unwrap(), steady: self.now.steady + gap };
        self.decision += 1;
        let demand = Demand {
            doors: 1,
            arrivals_rps: self.demand * 10.0,
            waiting: self.waiting,
            service: (self.demand > 0.0).then_some(Duration::from_millis(100)),
            ..Demand::default()
        };
        let pool = PoolLook {
            pool: PoolName("cloud".into()),
            demand: Some(demand),
            elsewhere: self.elsewhere,
            members: self.members.clone(),
            error_rate: 0.0,
            connect_errors_rps: 0.0,
        };
        let look = Look {
            now: self.now,
            decision: self.decision,
            fleet: FleetLook { pools: self.others.iter().cloned().chain([pool]).collect() },
            facts: std::mem::take(&mut self.facts),
            journal: self.journal,
            wishes: std::mem::take(&mut self.wishes),
        };
        self.controller.tick(&look)
    }

    fn turns(&mut self, count: u64) -> Turn {
        (1..count).for_each(|_| drop(self.turn()));
        self.turn()
    }

    fn listed(&mut self, list: Vec<Instance>) {
        self.facts.push(Fact::Listed { asked: self.now.steady, result: Ok(list) });
    }

    fn answered(&mut self, request: &LaunchRequest, result: Result<Vec<Instance>, Failure>) {
        self.facts.push(Fact::Launched { token: request.token(), result });
    }

    /// Instances that serve, with so many requests each.
    fn serving(in_flight: &[u32]) -> Rig {
        let mut rig = Rig::ready();
        let names: Vec<String> = (0..in_flight.len()).map(|number| format!("i-{number}")).collect();
        let mark = mark(1);
        rig.listed(names.iter().map(|name| instance(name, &mark)).collect());
        for (name, in_flight) in names.iter().zip(in_flight) {
            rig.members.push(member(name, Stage::Serving, *in_flight));
        }
        rig.demand = 10.0 * in_flight.len() as f64;
        let out = rig.turns(3);
        assert_eq!(out.census.healthy as usize, in_flight.len(), "{out:?}");
        rig
    }
}

fn mark(decision: u64) -> Mark {
    Mark {
        site: "kg".into(),
        pool: PoolName("cloud".into()),
        installation: "5f0c".into(),
        epoch: 1,
        decision,
        attempt: 0,
    }
}

fn id(name: &str) -> BackendId {
    BackendId(Arc::from(name))
}

/// One that runs and has an address.
fn instance(name: &str, mark: &Mark) -> Instance {
    Instance {
        id: id(name),
        state: InstanceState::Running,
        address: Some(SocketAddr::from(([127, 0, 0, 1], 80))),
        zone: None,
        mark: Some(mark.clone()),
        launched_at: None,
        kind: "small".into(),
        image_made_at: None,
        is_marked: false,
        is_spot: false,
    }
}

fn member(name: &str, stage: Stage, in_flight: u32) -> MemberLook {
    MemberLook {
        id: id(name),
        stage,
        is_healthy: true,
        in_flight,
        max_concurrency: None,
        is_ejected: false,
        is_launched: true,
    }
}

fn failure(kind: FailureKind) -> Failure {
    Failure { kind, retry_after: None, text: kind.word().into() }
}

fn launches(turn: &Turn) -> Vec<LaunchRequest> {
    let launch = |action: &Action| match action {
        Action::Launch(request) => Some(request.clone()),
        _ => None,
    };
    turn.actions.iter().filter_map(launch).collect()
}

fn repeats(turn: &Turn) -> Vec<LaunchRequest> {
    let repeat = |action: &Action| match action {
        Action::Repeat(request) => Some(request.clone()),
        _ => None,
    };
    turn.actions.iter().filter_map(repeat).collect()
}

fn orders(turn: &Turn) -> Vec<Order> {
    let order = |action: &Action| match action {
        Action::Order { order, .. } => Some(order.clone()),
        _ => None,
    };
    let is_change = |order: &Order| !matches!(order, Order::Expect { .. });
    turn.actions.iter().filter_map(order).filter(is_change).collect()
}

fn terminated(turn: &Turn) -> Vec<BackendId> {
    let terminated = |action: &Action| match action {
        Action::Terminate { ids, .. } => ids.clone(),
        _ => Vec::new(),
    };
    turn.actions.iter().flat_map(terminated).collect()
}
