//! Which series exist in one generation, and where each has its place.

use std::sync::Arc;

use super::histogram::CELLS as HISTOGRAM;
use super::totals::{NONE, Protocol, RequestKey, Totals};
use super::{CodeClass, Finished, Shed};
use crate::config::DoorConfig;
use crate::outcome::Outcome;

/// Numbers per listener, request and pool, by their place.
pub(super) mod listener {
    pub(in crate::stats) const OPENED: usize = 0;
    pub(in crate::stats) const CLOSED: usize = 1;
    pub(in crate::stats) const BYTES_IN: usize = 2;
    pub(in crate::stats) const BYTES_OUT: usize = 3;
    pub(in crate::stats) const CELLS: usize = 4;
}

pub(super) mod pool {
    pub(in crate::stats) const ARRIVED: usize = 0;
    pub(in crate::stats) const REFUSED: usize = 1;
    pub(in crate::stats) const FINISHED: usize = 2;
    pub(in crate::stats) const SERVICE_US: usize = 3;
    pub(in crate::stats) const RETRIED_OK: usize = 4;
    pub(in crate::stats) const RETRIED_FAILED: usize = 5;
    pub(in crate::stats) const QUEUED: usize = 6;
    pub(in crate::stats) const UNQUEUED: usize = 7;
    pub(in crate::stats) const STREAMS_OPENED: usize = 8;
    pub(in crate::stats) const STREAMS_CLOSED: usize = 9;
    pub(in crate::stats) const MOVED_ON: usize = 10;
    /// As many as there are reasons.
    pub(in crate::stats) const SHED: usize = 11;
    /// A histogram.
    pub(in crate::stats) const WAITS: usize = SHED + super::Shed::ALL.len();
    pub(in crate::stats) const CELLS: usize = WAITS + super::HISTOGRAM;
}

/// One request series is as many numbers: its class, twice over for the protocol.
const REQUEST: usize = CodeClass::ALL.len() * Protocol::ALL.len();

/// Names every place of a [`super::Sheet`]. The place of a number is computed from indices of the
/// configuration that it was made from; an index of another generation finds no or the wrong place,
/// so a sheet is used together with the snapshot of its own generation only.
#[derive(Debug)]
pub struct Layout {
    listeners: Box<[Arc<str>]>,
    pools: Box<[Arc<str>]>,
    routes: Box<[Row]>,
    /// Series of one listener: what found no route, then each route without a pool and with each.
    series: usize,
    at_outcomes: usize,
    at_requests: usize,
    at_durations: usize,
    at_pools: usize,
    cells: usize,
}

#[derive(Debug)]
struct Row {
    name: Arc<str>,
    /// Place of the series without a pool; those with one follow in the order of `pools`.
    first: usize,
    pools: Box<[u16]>,
}

impl Layout {
    /// Places for all that can be counted under `config`.
    ///
    /// Their number is listeners × (1 + routes + pools that routes name) × 12 and a little more:
    /// 300 routes to one pool each behind two listeners take 115 KiB per worker.
    pub fn new(config: &DoorConfig) -> Arc<Layout> {
        let mut series = 1;
        let mut rows = Vec::with_capacity(config.routes.len());
        for route in &config.routes {
            let pools = route.pools().into_boxed_slice();
            let first = series;
            series += 1 + pools.len();
            rows.push(Row { name: route.route.name.clone(), first, pools });
        }

        let listeners: Box<[_]> = config.listeners.iter().map(|l| l.name.clone()).collect();
        let pools: Box<[_]> = config.pools.iter().map(|p| p.name.0.clone()).collect();
        let at_outcomes = listeners.len() * listener::CELLS;
        let at_requests = at_outcomes + Outcome::ALL.len();
        let at_durations = at_requests + listeners.len() * series * REQUEST;
        let at_pools = at_durations + (1 + rows.len()) * HISTOGRAM;
        let cells = at_pools + pools.len() * pool::CELLS;
        Arc::new(Layout {
            listeners,
            pools,
            routes: rows.into_boxed_slice(),
            series,
            at_outcomes,
            at_requests,
            at_durations,
            at_pools,
            cells,
        })
    }

    /// Numbers in a sheet.
    pub(super) fn cells(&self) -> usize {
        self.cells
    }

    /// First number of a listener, [`listener::CELLS`] of them.
    #[inline]
    pub(super) fn listener(&self, listener: u16) -> usize {
        usize::from(listener) * listener::CELLS
    }

    #[inline]
    pub(super) fn outcome(&self, outcome: Outcome) -> usize {
        self.at_outcomes + outcome as usize
    }

    /// The one number that `finished` adds to in `requests_total`.
    #[inline]
    pub(super) fn request(&self, finished: &Finished) -> usize {
        let series = usize::from(finished.listener) * self.series
            + self.series_of(finished.route, finished.pool);
        let column = CodeClass::of(finished.status) as usize * Protocol::ALL.len()
            + finished.protocol() as usize;
        self.at_requests + series * REQUEST + column
    }

    /// First number of a route's durations, [`HISTOGRAM`] of them.
    #[inline]
    pub(super) fn duration(&self, route: Option<u16>) -> usize {
        self.at_durations + route.map_or(0, |route| 1 + usize::from(route)) * HISTOGRAM
    }

    /// First number of a pool, [`pool::CELLS`] of them.
    #[inline]
    pub(super) fn pool(&self, pool: u16) -> usize {
        self.at_pools + usize::from(pool) * pool::CELLS
    }

    /// Adds numbers of a sheet of this layout to `totals`, under their names.
    pub(super) fn name(&self, cells: &[u64], totals: &mut Totals) {
        debug_assert_eq!(cells.len(), self.cells);
        for (numbers, name) in cells.chunks_exact(listener::CELLS).zip(&self.listeners) {
            totals.listeners.entry(name.clone()).or_default().merge_cells(numbers);
        }
        for (sum, n) in totals.outcomes.iter_mut().zip(cells.iter().skip(self.at_outcomes)) {
            *sum += n;
        }
        self.name_requests(cells, totals);
        self.name_durations(cells, totals);
        let numbers = cells.get(self.at_pools..).unwrap_or_default();
        for (numbers, name) in numbers.chunks_exact(pool::CELLS).zip(&self.pools) {
            totals.pools.entry(name.clone()).or_default().merge_cells(numbers);
        }
    }

    fn name_requests(&self, cells: &[u64], totals: &mut Totals) {
        let requests = cells.get(self.at_requests..self.at_durations).unwrap_or_default();
        for (place, &n) in requests.iter().enumerate().filter(|&(_, &n)| n > 0) {
            let (series, column) = (place / REQUEST, place % REQUEST);
            let (listener, series) = (series / self.series, series % self.series);
            let (route, pool) = self.names_of(series);
            let Some(listener) = self.listeners.get(listener) else { continue };
            let key = RequestKey {
                listener: listener.clone(),
                route,
                pool,
                class: CodeClass::ALL[column / Protocol::ALL.len()],
                protocol: Protocol::ALL[column % Protocol::ALL.len()],
            };
            *totals.requests.entry(key).or_default() += n;
        }
    }

    fn name_durations(&self, cells: &[u64], totals: &mut Totals) {
        let durations = cells.get(self.at_durations..self.at_pools).unwrap_or_default();
        let none: Arc<str> = Arc::from(NONE);
        let names = std::iter::once(&none).chain(self.routes.iter().map(|row| &row.name));
        for (numbers, name) in durations.chunks_exact(HISTOGRAM).zip(names) {
            if numbers.iter().any(|&n| n > 0) {
                totals.durations.entry(name.clone()).or_default().merge_cells(numbers);
            }
        }
    }

    #[inline]
    fn series_of(&self, route: Option<u16>, pool: Option<u16>) -> usize {
        let Some(row) = route.and_then(|route| self.routes.get(usize::from(route))) else {
            return 0;
        };
        // A route names a few pools at most; a map would be slower.
        let place = pool.and_then(|pool| row.pools.iter().position(|&p| p == pool));
        row.first + place.map_or(0, |place| 1 + place)
    }

    /// Route and pool of a series of one listener.
    fn names_of(&self, series: usize) -> (Arc<str>, Arc<str>) {
        let none = || Arc::from(NONE);
        let after = self.routes.partition_point(|row| row.first <= series);
        let Some(row) = after.checked_sub(1).and_then(|index| self.routes.get(index)) else {
            return (none(), none());
        };
        let place = (series - row.first).checked_sub(1);
        let pool = place.and_then(|place| row.pools.get(place));
        let pool = pool.and_then(|&pool| self.pools.get(usize::from(pool)));
        (row.name.clone(), pool.cloned().unwrap_or_else(none))
    }
}
