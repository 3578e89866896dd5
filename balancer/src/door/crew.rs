//! The workers' threads and what they are told.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::access_log::LogSource;
use crate::listener::Listener;
use crate::shared::{Shared, Stage};
use crate::worker::{self, Line, Orders};

/// Those who work, and those who were told to go and still have connections.
///
/// Dropped, it ends them all at once.
#[derive(Default)]
pub(super) struct Crew {
    working: Vec<Hand>,
    retired: Vec<Hand>,
    /// Of the last orders.
    number: u64,
}

/// One worker as the door knows it.
struct Hand {
    orders: watch::Sender<Orders>,
    acknowledged: watch::Receiver<u64>,
    thread: JoinHandle<()>,
}

impl Crew {
    /// How many work.
    pub(super) fn len(&self) -> usize {
        self.working.len()
    }

    /// As many more, each with these sockets; returns when all are ready.
    ///
    /// # Errors
    ///
    /// The first that could not start; none of them is there then.
    pub(super) async fn hire(
        &mut self,
        shared: &Arc<Shared>,
        dealt: Vec<Vec<Listener>>,
        log: Option<Arc<LogSource>>,
    ) -> io::Result<()> {
        let before = self.working.len();
        let (ready, mut readiness) = mpsc::channel(dealt.len().max(1));
        let mut hired = Ok(());
        for listeners in dealt {
            let orders = Orders {
                number: self.number,
                stage: Stage::Starting,
                listeners: listeners.into(),
                log: log.clone(),
            };
            match hire(self.working.len(), shared, orders, ready.clone()) {
                Ok(hand) => self.working.push(hand),
                Err(error) => {
                    hired = Err(error);
                    break;
                }
            }
        }
        drop(ready);
        for _ in before..self.working.len() {
            // A worker that panicked reports nothing.
            let is_ready = readiness.recv().await;
            let is_ready = is_ready.unwrap_or_else(|| Err(io::Error::other("a worker is gone")));
            hired = hired.and(is_ready);
        }
        if hired.is_err() {
            // Here and not on a thread of its own: there may be no more threads. They have served
            // nobody and end at once.
            let failed = self.working.split_off(before);
            failed.iter().for_each(|hand| hand.advance(Stage::Now));
            failed.into_iter().for_each(Hand::join);
        }
        hired
    }

    /// Gives each worker its sockets. Those for whom there are none take no more and end with
    /// their last connection: how many.
    pub(super) fn order(
        &mut self,
        dealt: Vec<Vec<Listener>>,
        log: Option<Arc<LogSource>>,
    ) -> usize {
        self.number += 1;
        self.reap();
        let number = self.number;
        let retired = self.working.split_off(dealt.len().min(self.working.len()));
        for (hand, listeners) in self.working.iter().zip(dealt) {
            hand.orders.send_modify(|orders| {
                let stage = orders.stage.max(Stage::Running);
                *orders = Orders { number, stage, listeners: listeners.into(), log: log.clone() };
            });
        }
        for hand in &retired {
            hand.orders.send_modify(|orders| {
                let (listeners, log) = (Arc::new([]), log.clone());
                let stage = orders.stage.max(Stage::Departing);
                *orders = Orders { number, stage, listeners, log };
            });
        }
        // Those that went earlier go on writing to the log that is open.
        for hand in &self.retired {
            hand.orders.send_modify(|orders| orders.log.clone_from(&log));
        }
        let count = retired.len();
        self.retired.extend(retired);
        count
    }

    /// Nobody accepts any more, and each ends with its last connection.
    pub(super) fn retire(&mut self) {
        self.number += 1;
        for hand in &self.working {
            hand.orders.send_modify(|orders| {
                orders.number = self.number;
                orders.listeners = Arc::new([]);
                orders.stage = orders.stage.max(Stage::Departing);
            });
        }
    }

    /// Where they write what they log.
    pub(super) fn log(&self) -> Option<Arc<LogSource>> {
        self.working.first().and_then(|hand| hand.orders.borrow().log.clone())
    }

    /// Whether all have carried out the last orders within `limit`.
    pub(super) async fn acknowledged(&mut self, limit: Duration) -> bool {
        let number = self.number;
        let all = async {
            for hand in self.working.iter_mut() {
                // An error means that it has ended, which is no reason to wait for it.
                let _ = hand.acknowledged.wait_for(|done| *done >= number).await;
            }
            for hand in self.retired.iter_mut() {
                let due = hand.orders.borrow().number;
                let _ = hand.acknowledged.wait_for(|done| *done >= due).await;
            }
        };
        tokio::time::timeout(limit, all).await.is_ok()
    }

    pub(super) fn stages(&self) -> Stages {
        Stages(self.all().map(|hand| hand.orders.clone()).collect())
    }

    pub(super) async fn ended(mut self) {
        let hands: Vec<Hand> = self.working.drain(..).chain(self.retired.drain(..)).collect();
        let join = move || hands.into_iter().for_each(Hand::join);
        // It can only have been cancelled by the runtime's own end.
        let _ = tokio::task::spawn_blocking(join).await;
    }

    /// Lets go of those that have ended.
    fn reap(&mut self) {
        let (ended, still) = std::mem::take(&mut self.retired)
            .into_iter()
            .partition::<Vec<_>, _>(|hand| hand.thread.is_finished());
        self.retired = still;
        ended.into_iter().for_each(Hand::join);
    }

    fn all(&self) -> impl Iterator<Item = &Hand> {
        self.working.iter().chain(&self.retired)
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.all().for_each(|hand| hand.advance(Stage::Now));
    }
}

impl Hand {
    fn advance(&self, stage: Stage) {
        advance(&self.orders, stage);
    }

    fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!("a worker panicked");
        }
    }
}

/// Moves a door towards its end, never back.
pub struct Stages(Vec<watch::Sender<Orders>>);

impl Stages {
    /// Moves the stage on.
    pub fn advance(&self, stage: Stage) {
        self.0.iter().for_each(|orders| advance(orders, stage));
    }
}

fn advance(orders: &watch::Sender<Orders>, stage: Stage) {
    orders.send_if_modified(|orders| {
        let is_later = stage > orders.stage;
        orders.stage = orders.stage.max(stage);
        if orders.stage >= Stage::Draining {
            // A socket closes only with its last holder, and orders are kept.
            orders.listeners = Arc::new([]);
        }
        is_later
    });
}

fn hire(
    index: usize,
    shared: &Arc<Shared>,
    orders: Orders,
    ready: mpsc::Sender<io::Result<()>>,
) -> io::Result<Hand> {
    let (orders, told) = watch::channel(orders);
    let (tell, acknowledged) = watch::channel(0);
    let line = Line { orders: told, acknowledged: tell, ready };
    let shared = Arc::clone(shared);
    let thread = std::thread::Builder::new().name(format!("worker-{index}"));
    let thread = thread.spawn(move || worker::run(index, shared, line))?;
    Ok(Hand { orders, acknowledged, thread })
}
