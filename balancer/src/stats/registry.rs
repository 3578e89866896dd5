//! Sums the sheets of all workers, and keeps the numbers of those that are gone.
//!
//! Nobody has to say that a sheet is done: as long as a worker holds it, requests may still end on
//! it (a reload does not cut them short). Once the registry is the only one to hold it, its numbers
//! are final, are added to `past`, and the sheet is freed. So counters never go backwards.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use policies::backend::BackendKey;
use policies::outcomes::Outcomes;
use tokio::runtime::RuntimeMetrics;

use super::{BackendSheet, BackendTotals, Sheet, Totals, WorkerTotals};

/// A backend that left is reported for as long, so that its last requests reach a scraper.
const REPORTED_FOR: Duration = Duration::from_secs(90);

/// And its numbers are kept for as long: it returns with the counts it left with. Must outlast
/// [`REPORTED_FOR`] and the exporter's idle time together, or a counter there would stand still.
const REMEMBERED_FOR: Duration = Duration::from_secs(15 * 60);

/// Knows every sheet. Control path only: a worker meets its lock when it adopts a generation or
/// meets a new backend, never per request.
#[derive(Debug, Default)]
pub struct Registry {
    books: Mutex<Books>,
}

#[derive(Debug, Default)]
struct Books {
    sheets: Vec<Arc<Sheet>>,
    backends: BTreeMap<BackendKey, Member>,
    workers: BTreeMap<usize, RuntimeMetrics>,
    /// What sheets that are gone had counted, but for backends: those are in `backends`.
    past: Totals,
}

#[derive(Debug)]
struct Member {
    /// With the id of the slot whose they are.
    sheets: Vec<(u32, Arc<BackendSheet>)>,
    past: BackendTotals,
    /// Last time that a worker held a sheet of it.
    seen: Instant,
}

impl Registry {
    /// Empty.
    pub fn new() -> Arc<Registry> {
        Arc::default()
    }

    /// Counts `sheet` from now on, until its worker lets go of it and beyond.
    pub fn register(&self, sheet: Arc<Sheet>) {
        self.books().sheets.push(sheet);
    }

    /// Counts `sheet` as one of the backend `key`, in the slot of this id, from now on.
    pub fn register_backend(&self, key: BackendKey, slot: u32, sheet: Arc<BackendSheet>) {
        let mut books = self.books();
        let member = books.backends.entry(key).or_insert_with(|| Member {
            sheets: Vec::new(),
            past: BackendTotals::default(),
            seen: Instant::now(),
        });
        member.sheets.push((slot, sheet));
    }

    /// Reads how busy worker `number` is from its runtime.
    pub fn register_worker(&self, number: usize, runtime: RuntimeMetrics) {
        self.books().workers.insert(number, runtime);
    }

    /// Worker `number` takes no more connections; how busy it is says nothing any longer.
    pub fn forget_worker(&self, number: usize) {
        self.books().workers.remove(&number);
    }

    /// Everything counted until now. `now` decides about backends that left.
    pub fn totals(&self, now: Instant) -> Totals {
        let mut books = self.books();
        books.fold_sheets();
        books.fold_backends(now);
        books.sum(now)
    }

    /// What the backend in each slot has done, by the slot's id, as far as a worker that counted it
    /// still knows the slot.
    pub fn outcomes(&self) -> BTreeMap<u32, Outcomes> {
        let books = self.books();
        let mut outcomes: BTreeMap<u32, Outcomes> = BTreeMap::new();
        for (slot, sheet) in books.backends.values().flat_map(|member| &member.sheets) {
            let sum = outcomes.entry(*slot).or_default();
            *sum = sum.plus(&sheet.outcomes());
        }
        outcomes
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        // Sums are additions: half of one is no state that the next could stumble over.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books {
    fn fold_sheets(&mut self) {
        for sheet in std::mem::take(&mut self.sheets) {
            // Fails while a worker holds it; if not, all its stores are seen here.
            match Arc::try_unwrap(sheet) {
                Ok(done) => name(&[&done], &mut self.past),
                Err(live) => self.sheets.push(live),
            }
        }
    }

    fn fold_backends(&mut self, now: Instant) {
        for (key, member) in &mut self.backends {
            let pool = self.past.pools.entry(key.pool.0.clone()).or_default();
            for (slot, sheet) in std::mem::take(&mut member.sheets) {
                match Arc::try_unwrap(sheet) {
                    Ok(done) => done.sum_into(&mut member.past, pool),
                    Err(live) => member.sheets.push((slot, live)),
                }
            }
            // Connections end with the worker that held them.
            member.past.active_connections = 0;
            member.past.idle_connections = 0;
            if !member.sheets.is_empty() {
                member.seen = now;
            }
        }
        self.backends
            .retain(|_, member| now.saturating_duration_since(member.seen) < REMEMBERED_FOR);
    }

    fn sum(&self, now: Instant) -> Totals {
        let mut totals = self.past.clone();
        // Sheets of one layout lie next to each other in time, so in the list too.
        for sheets in self.sheets.chunk_by(|a, b| Arc::ptr_eq(a.layout(), b.layout())) {
            name(&sheets.iter().map(Arc::as_ref).collect::<Vec<_>>(), &mut totals);
        }
        for (key, member) in &self.backends {
            if now.saturating_duration_since(member.seen) >= REPORTED_FOR {
                continue;
            }
            let mut backend = member.past.clone();
            let pool = totals.pools.entry(key.pool.0.clone()).or_default();
            for (_, sheet) in &member.sheets {
                sheet.sum_into(&mut backend, pool);
            }
            totals.backends.insert(key.clone(), backend);
        }
        for (&number, runtime) in &self.workers {
            let busy =
                (0..runtime.num_workers()).map(|w| runtime.worker_total_busy_duration(w)).sum();
            totals.workers.insert(number, WorkerTotals { busy });
        }
        totals
    }
}

/// Adds sheets of one layout to `totals`: sums first, because names cost more than numbers.
fn name(sheets: &[&Sheet], totals: &mut Totals) {
    let Some(layout) = sheets.first().map(|sheet| sheet.layout()) else { return };
    let mut sums = vec![0; layout.cells()];
    for sheet in sheets {
        sheet.sum_into(&mut sums);
    }
    layout.name(&sums, totals);
}
