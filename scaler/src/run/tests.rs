//! The loop against providers and doors that a test makes up, in real time with short ticks.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use async_trait::async_trait;
use policies::backend::BackendId;
use policies::scale::policy::ScalingPolicy;

use super::*;
use crate::controller::{BootSettings, Victim};
use crate::demand::Demand;
use crate::ports::{
    Abilities, FleetLook, Instance, InstanceState, LaunchRequest, Offer, Order, PoolLook,
    ProviderError, Purchase,
};

const TICK: Duration = Duration::from_millis(10);
const CEILING: Duration = Duration::from_secs(20);

/// Launches at once what it is asked for, unless it is to hang.
#[derive(Default)]
struct TestProvider {
    hangs: AtomicBool,
    /// No earlier life of it is left, and an answer may take an hour.
    is_exclusive: bool,
    launched: Mutex<Vec<(LaunchRequest, Instance)>>,
    calls: AtomicU32,
}

#[async_trait]
impl Provider for TestProvider {
    fn abilities(&self) -> Abilities {
        Abilities {
            provider: "test",
            offers: vec![Offer { name: "a".into(), spec: "a".into(), is_spot: false }],
            purchase: Purchase::default(),
            max_batch: 10,
            token_life: None,
            visible_within: Duration::ZERO,
            answer_within: match self.is_exclusive {
                true => Duration::from_secs(3600),
                false => Duration::from_millis(200),
            },
            quota: None,
            billing_step: None,
        }
    }

    fn is_exclusive(&self) -> bool {
        self.is_exclusive
    }

    async fn launch(&self, request: &LaunchRequest) -> Result<Vec<Instance>, ProviderError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if self.hangs.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        let mut launched = self.launched.lock().unwrap();
        if !launched.iter().any(|(other, _)| other.token() == request.token()) {
            for _ in 0..request.count {
                let number = launched.len();
                let instance = Instance {
                    id: BackendId(format!("i-{number}").into()),
                    state: InstanceState::Running,
                    address: Some(([127, 0, 0, 1], 80).into()),
                    zone: None,
                    mark: Some(request.mark.clone()),
                    launched_at: None,
                    kind: "small".into(),
                    image_made_at: None,
                    is_marked: false,
                    is_spot: false,
                };
                launched.push((request.clone(), instance));
            }
        }
        let of_token = launched.iter().filter(|(other, _)| other.token() == request.token());
        Ok(of_token.map(|(_, instance)| instance.clone()).collect())
    }

    async fn terminate(&self, _: &[BackendId]) -> Result<(), ProviderError> {
        Ok(())
    }

    async fn list(&self) -> Result<Vec<Instance>, ProviderError> {
        Ok(self.launched.lock().unwrap().iter().map(|(_, instance)| instance.clone()).collect())
    }
}

/// A door of which somebody wants 40 requests at once, and that panics when it is told to.
#[derive(Default)]
struct TestFleet {
    panics: AtomicBool,
    orders: Mutex<Vec<Order>>,
}

impl Fleet for TestFleet {
    fn look(&self) -> FleetLook {
        assert!(!self.panics.swap(false, Ordering::Relaxed), "on purpose");
        let demand = Demand { doors: 1, waiting: 40, ..Demand::default() };
        let pool = PoolLook {
            pool: PoolName("cloud".into()),
            demand: Some(demand),
            elsewhere: 0,
            members: Vec::new(),
            error_rate: 0.0,
            connect_errors_rps: 0.0,
        };
        FleetLook { pools: vec![pool] }
    }

    fn order(&self, _: &PoolName, order: &Order) -> Result<(), String> {
        self.orders.lock().unwrap().push(order.clone());
        Ok(())
    }
}

struct Rig {
    provider: Arc<TestProvider>,
    fleet: Arc<TestFleet>,
    board: Board,
    task: tokio::task::JoinHandle<()>,
    folder: PathBuf,
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.task.abort();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn start(provider: TestProvider) -> Rig {
    let name = std::thread::current().name().unwrap_or_default().replace("::", "-");
    let folder = std::env::temp_dir().join(format!("tidegate-{name}-{}", std::process::id()));
    start_in(folder, Arc::new(provider), Arc::default())
}

/// With a journal that may be there already.
fn start_in(folder: PathBuf, provider: Arc<TestProvider>, fleet: Arc<TestFleet>) -> Rig {
    let mut policy = ScalingPolicy { ceiling: 20, ..ScalingPolicy::default() };
    policy.target.per_instance = 10.0;
    policy.target.spare = 0.0;
    let settings = Settings {
        site: "kg".into(),
        pool: PoolName("cloud".into()),
        policy,
        tick: TICK,
        mode: Mode::Act,
        before: Vec::new(),
        boot: BootSettings {
            learn: true,
            assume: Duration::from_secs(60),
            percentile: 95,
            give_up_after: Duration::from_secs(120),
            slow_start: Duration::ZERO,
        },
        drain_limit: Duration::from_secs(90),
        drain_backlog_within: Duration::from_secs(10),
        victims: vec![Victim::FewestInFlight],
    };
    let scaler = Scaler::new(Plan {
        settings,
        journal: (folder.join("cloud.jsonl"), 7),
        provider: provider.clone(),
        fleet: fleet.clone(),
    });
    let board = scaler.board();
    Rig { provider, fleet, board, task: tokio::spawn(scaler.run()), folder }
}

impl Rig {
    /// Its files are closed then.
    async fn until_ended(&mut self) {
        let ended = tokio::time::timeout(CEILING, &mut self.task).await;
        assert!(ended.expect("it ends").is_err_and(|error| error.is_cancelled()));
    }

    async fn until(&mut self, what: impl FnMut(&Standing) -> bool) -> Standing {
        let found = tokio::time::timeout(CEILING, self.board.wait_for(what)).await;
        found.expect("it happens").expect("the loop lives").clone()
    }
}

#[tokio::test]
async fn what_is_decided_is_launched_and_admitted() {
    let mut rig = start(TestProvider::default());
    let standing = rig.until(|standing| standing.census.booting == 4).await;
    assert_eq!(standing.decision.unwrap().desired, 4);
    let admitted = |fleet: &TestFleet| {
        let orders = fleet.orders.lock().unwrap();
        orders.iter().filter(|order| matches!(order, Order::Admit { .. })).count()
    };
    rig.until(|_| true).await;
    let deadline = tokio::time::Instant::now() + CEILING;
    while admitted(&rig.fleet) < 4 && tokio::time::Instant::now() < deadline {
        tokio::task::yield_now().await;
    }
    assert!(admitted(&rig.fleet) >= 4);
}

#[tokio::test]
async fn a_new_journal_waits_for_no_call_of_a_life_that_cannot_have_left_one() {
    let mut rig = start(TestProvider { is_exclusive: true, ..TestProvider::default() });
    rig.until(|standing| standing.census.booting == 4).await;
}

#[tokio::test]
async fn a_provider_that_hangs_holds_up_no_turn_and_is_asked_again_under_the_same_token() {
    let provider = TestProvider::default();
    provider.hangs.store(true, Ordering::Relaxed);
    let mut rig = start(provider);
    rig.until(|standing| standing.census.open == 4).await;
    let before = rig.board.borrow().turns;
    rig.until(|standing| standing.turns > before + 20).await;
    rig.provider.hangs.store(false, Ordering::Relaxed);
    let standing = rig.until(|standing| standing.census.booting > 0).await;
    assert_eq!((standing.census.booting, standing.census.open), (4, 0));
    assert!(rig.provider.calls.load(Ordering::Relaxed) > 1);
    assert_eq!(rig.provider.launched.lock().unwrap().len(), 4);
}

#[tokio::test]
async fn a_panic_is_counted_and_the_loop_begins_anew_with_what_it_knew() {
    let mut rig = start(TestProvider::default());
    rig.until(|standing| standing.census.booting == 4).await;
    rig.fleet.panics.store(true, Ordering::Relaxed);
    let standing = rig.until(|standing| standing.panics == 1).await;
    let turns = standing.turns;
    let standing = rig.until(|standing| standing.turns > turns + 20).await;
    assert_eq!(standing.census.booting, 4);
    assert_eq!(rig.provider.launched.lock().unwrap().len(), 4, "no second launch");
}

#[tokio::test]
async fn whoever_comes_after_a_kill_folds_the_journal_and_decides_the_same() {
    let mut rig = start(TestProvider::default());
    let before = rig.until(|standing| standing.census.booting == 4).await;
    // Nothing that a killed process could not do: no last word is written.
    rig.task.abort();
    rig.until_ended().await;
    let (folder, provider) = (rig.folder.clone(), Arc::clone(&rig.provider));
    let mut next = start_in(folder, provider, Arc::clone(&rig.fleet));
    let after = next.until(|standing| standing.decision.as_ref().is_some_and(is_free)).await;
    assert_eq!(after.census, before.census);
    let (before, after) = (before.decision.unwrap(), after.decision.unwrap());
    assert_eq!((after.desired, after.need, &after.terms), (4, before.need, &before.terms));
    assert_eq!(rig.provider.launched.lock().unwrap().len(), 4, "no second launch");
}

/// It was decided by the rules, and not put off.
fn is_free(decision: &Decision) -> bool {
    decision.holds.is_empty()
}

#[test]
fn pauses_grow_while_panics_follow_each_other_and_begin_anew_after_a_good_time() {
    let seconds = Duration::from_secs;
    let mut last = None;
    let pauses = [0, 1, 5, 0, 0, 0, 0, 9, 61, 3].map(|lived| {
        last = Some(pause_after(last, seconds(lived)));
        last.unwrap().as_secs()
    });
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 1, 2]);
}
