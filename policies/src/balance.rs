//! Which backend of the pool takes the request.
//!
//! A [`Picker`] is built when a snapshot is published and shared by all workers; it never
//! changes. What a worker keeps between two picks is its [`Turn`]. What changes all the time
//! (requests in flight, room, latency) is asked of [`Candidates`]. A pick takes no lock,
//! allocates nothing and reads no clock.
//!
//! | rule                      | cost of a pick over n backends | file                |
//! |---------------------------|--------------------------------|---------------------|
//! | [`Rule::RoundRobin`]      | one table look-up              | `round_robin.rs`    |
//! | [`Rule::LeastRequests`]   | reads all n                    | `least_requests.rs` |
//! | [`Rule::TwoChoices`]      | reads two                      | `two_choices.rs`    |
//! | [`Rule::PeakEwma`]        | reads two, or one asked again  | `peak_ewma.rs`      |
//! | [`Rule::ConsistentHash`]  | reads all n, hashes n times    | `consistent.rs`     |
//! | [`Rule::First`]           | up to the first with room      | here                |
//!
//! When many are full every rule may read all n: it never gives up while one has room.
//!
//! Not here: whether a backend is eligible (decided before [`Picker::new`] is called) and
//! claiming its slot (the balancer's; `has_room` may be outdated a moment later, then the
//! balancer picks again).

use std::sync::Arc;

use crate::rng::{self, Rng};

mod consistent;
mod dice;
mod ewma;
mod least_requests;
mod mean;
mod peak_ewma;
mod round_robin;
mod schedule;
mod turn;
mod two_choices;

pub use ewma::Ewma;
pub use turn::Turn;

use consistent::ConsistentHash;
use least_requests::LeastRequests;
use peak_ewma::PeakEwma;
use round_robin::RoundRobin;
use turn::Cursor;
use two_choices::TwoChoices;

/// How a pool chooses among its eligible backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Smooth weighted round robin: no bursts to one backend.
    RoundRobin,
    /// Fewest requests in flight relative to weight; ties in turn.
    LeastRequests,
    /// The better of two at random, by requests in flight relative to weight.
    TwoChoices,
    /// The better of two at random, by moving-average latency × (requests in flight + 1), with a
    /// re-probe floor so that a backend once slow is asked again.
    PeakEwma,
    /// The same key goes to the same backend while membership lasts; with bounded load.
    ConsistentHash,
    /// The first in order that has room.
    First,
}

impl Rule {
    /// The rule of a pool that names none.
    ///
    /// Up to 16 backends [`Rule::LeastRequests`]: reading them all is cheaper than a cache miss
    /// more, and a stalled backend gets no second request while another is idle, which round
    /// robin would give it. Above 16 [`Rule::TwoChoices`]: nearly as even at a cost that does
    /// not grow, and workers that read the same counters at the same moment do not all run to
    /// the same backend.
    pub fn default_for(backends: usize) -> Rule {
        if backends > 16 { Rule::TwoChoices } else { Rule::LeastRequests }
    }
}

/// What a request is hashed by (`ConsistentHash`, sticky splits).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashKey {
    /// The client's address.
    ClientAddress,
    /// The first value of this header (lower case).
    Header(Arc<str>),
    /// The value of this cookie.
    Cookie(Arc<str>),
    /// The normalised path.
    Path,
}

/// What a rule may know of the eligible backends of a pool, by their place in the list that
/// [`Picker::new`] was given.
pub trait Candidates {
    /// Requests in flight now.
    fn in_flight(&self, index: usize) -> u32;
    /// Whether it may get this request: below its cap and not tried before for this request.
    fn has_room(&self, index: usize) -> bool;
    /// Moving average of the time to the first answer byte in microseconds; `None` before the first.
    fn latency_us(&self, index: usize) -> Option<u32>;
    /// Milliseconds since it was last picked by this worker, for the re-probe floor.
    fn idle_ms(&self, index: usize) -> u32;
}

/// One eligible backend as [`Picker::new`] wants to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Unique in the pool; decides the backend's place in a consistent hash, for ever.
    pub id: &'a str,
    /// Share of requests relative to the others; 0 is never picked.
    pub weight: u32,
    /// It stands in the door's own zone.
    pub zone_preferred: bool,
    /// Requests it may have in flight at once, for zone preference; `None` is no limit.
    pub max_concurrency: Option<u32>,
}

/// A pool's rule with everything worked out that does not change between two snapshots.
///
/// **Zones.** If some entries are `zone_preferred` and some are not, the preferred ones take
/// every request until each of them is 85 % full by its `max_concurrency`; then the others by
/// the same rule; and when those have no room either, the preferred ones up to their cap. A
/// preferred entry without a cap takes requests for as long as it has room.
#[derive(Debug)]
pub struct Picker {
    /// The preferred ones, if that tells them from the others.
    near: Option<Group>,
    /// The others, or all.
    far: Group,
    /// By index: requests in flight from which a preferred entry counts as full.
    spill_at: Box<[u32]>,
}

impl Picker {
    /// Prepares `rule` for these backends; an entry's index is its place in `entries`.
    pub fn new(rule: Rule, entries: &[Entry<'_>]) -> Picker {
        let shares = || entries.iter().enumerate().filter(|(_, entry)| entry.weight > 0);
        let (near, far): (Vec<_>, Vec<_>) = shares().partition(|(_, entry)| entry.zone_preferred);
        let spill_at = entries.iter().map(|entry| entry.max_concurrency.map_or(u32::MAX, spill_at));
        let (near, far) = if near.is_empty() || far.is_empty() {
            (None, Group::new(rule, shares()))
        } else {
            (Some(Group::new(rule, near.into_iter())), Group::new(rule, far.into_iter()))
        };
        Picker { near, far, spill_at: spill_at.collect() }
    }

    /// The entry that should take the next request, or `None` if none with a weight has room.
    ///
    /// `turn` belongs to this worker and pool, `key` is the request's hash and matters to
    /// [`Rule::ConsistentHash`] alone.
    pub fn pick<C: Candidates>(
        &self,
        candidates: &C,
        turn: &mut Turn,
        key: u64,
        rng: &mut Rng,
    ) -> Option<usize> {
        let Some(near) = &self.near else {
            return self.far.pick(candidates, &mut turn.far, key, rng);
        };
        let below = BelowSpill { candidates, spill_at: &self.spill_at };
        near.pick(&below, &mut turn.near, key, rng)
            .or_else(|| self.far.pick(candidates, &mut turn.far, key, rng))
            .or_else(|| near.pick(candidates, &mut turn.near, key, rng))
    }
}

/// 85 % of a cap, rounded up so that a cap of 1 is of use.
fn spill_at(max_concurrency: u32) -> u32 {
    max_concurrency - max_concurrency / 20 * 3 - max_concurrency % 20 * 3 / 20
}

/// The preferred entries of a zone, full at their share instead of at their cap.
struct BelowSpill<'a, C> {
    candidates: &'a C,
    spill_at: &'a [u32],
}

impl<C: Candidates> Candidates for BelowSpill<'_, C> {
    fn in_flight(&self, index: usize) -> u32 {
        self.candidates.in_flight(index)
    }

    fn has_room(&self, index: usize) -> bool {
        self.candidates.in_flight(index) < self.spill_at[index] && self.candidates.has_room(index)
    }

    fn latency_us(&self, index: usize) -> Option<u32> {
        self.candidates.latency_us(index)
    }

    fn idle_ms(&self, index: usize) -> u32 {
        self.candidates.idle_ms(index)
    }
}

/// One entry that can be picked. Rules know it by its *position* among the shares of its group
/// and answer with that; `index` is its place in the caller's list.
#[derive(Debug, Clone, Copy)]
struct Share {
    index: usize,
    /// At least 1.
    weight: u32,
    /// Where a consistent hash places it.
    place: u64,
}

/// Entries among which one rule chooses.
#[derive(Debug)]
struct Group {
    shares: Box<[Share]>,
    method: Method,
}

#[derive(Debug)]
enum Method {
    RoundRobin(RoundRobin),
    LeastRequests(LeastRequests),
    TwoChoices(TwoChoices),
    PeakEwma(PeakEwma),
    ConsistentHash(ConsistentHash),
    First,
}

impl Group {
    fn new<'a>(rule: Rule, entries: impl Iterator<Item = (usize, &'a Entry<'a>)>) -> Group {
        let shares: Box<[Share]> = entries
            .map(|(index, entry)| Share {
                index,
                weight: entry.weight,
                place: rng::hash(entry.id.as_bytes()),
            })
            .collect();
        let method = match rule {
            Rule::RoundRobin => Method::RoundRobin(RoundRobin::new(&shares)),
            Rule::LeastRequests => Method::LeastRequests(LeastRequests::new(&shares)),
            Rule::TwoChoices => Method::TwoChoices(TwoChoices::new(&shares)),
            Rule::PeakEwma => Method::PeakEwma(PeakEwma::new(&shares)),
            Rule::ConsistentHash => Method::ConsistentHash(ConsistentHash::new(&shares)),
            Rule::First => Method::First,
        };
        Group { shares, method }
    }

    fn pick<C: Candidates>(
        &self,
        candidates: &C,
        cursor: &mut Cursor,
        key: u64,
        rng: &mut Rng,
    ) -> Option<usize> {
        let shares = &*self.shares;
        let position = match (&self.method, shares) {
            (_, []) => None,
            (Method::RoundRobin(rule), _) => rule.pick(shares, candidates, cursor, rng),
            (Method::LeastRequests(rule), _) => rule.pick(shares, candidates, cursor, rng),
            (Method::TwoChoices(rule), _) => rule.pick(shares, candidates, rng),
            (Method::PeakEwma(rule), _) => rule.pick(shares, candidates, cursor, rng),
            (Method::ConsistentHash(rule), _) => rule.pick(shares, candidates, key),
            (Method::First, _) => shares.iter().position(|share| candidates.has_room(share.index)),
        };
        position.map(|position| shares[position].index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preferred_entry_spills_at_85_percent_of_its_cap_rounded_up() {
        for cap in 0..2_000_u64 {
            let spill = spill_at(u32::try_from(cap).unwrap());
            assert_eq!(u64::from(spill), (cap * 85).div_ceil(100), "cap {cap}");
        }
        assert_eq!(u64::from(spill_at(u32::MAX)), (u64::from(u32::MAX) * 85).div_ceil(100));
    }

    #[test]
    fn the_default_rule_looks_at_all_of_few_and_at_two_of_many() {
        assert_eq!(Rule::default_for(1), Rule::LeastRequests);
        assert_eq!(Rule::default_for(16), Rule::LeastRequests);
        assert_eq!(Rule::default_for(17), Rule::TwoChoices);
    }
}
