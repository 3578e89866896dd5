//! The same key to the same backend, with bounded load.

use crate::rng;

use super::mean::Mean;
use super::{Candidates, Share};

/// A backend takes at most this part of the mean load (Mirrokni et al. 2018 call it 1 + ε).
const BOUND_PERCENT: u32 = 125;

/// Weighted rendezvous (Thaler, Ravishankar 1998; weights: Schindelhauer, Schomaker 2005).
///
/// Each backend draws a distance from the key and the nearest takes it. A backend that comes
/// or goes moves its own keys and no others, `w / total` of all: with a ring that is so only on
/// the average over many points, with Maglev's table never quite. In exchange a pick
/// hashes once per backend, some nanoseconds each; the mean load is read from all of them anyway.
///
/// A backend that has 1.25 times its part of all requests in flight passes the key on
/// to the next nearest, always the same one for a key.
#[derive(Debug)]
pub(super) struct ConsistentHash {
    /// All weights are equal: the order of distances is the order of hashes.
    even: bool,
}

impl ConsistentHash {
    pub(super) fn new(shares: &[Share]) -> ConsistentHash {
        let even = shares.windows(2).all(|pair| pair[0].weight == pair[1].weight);
        ConsistentHash { even }
    }

    pub(super) fn pick<C: Candidates>(
        &self,
        shares: &[Share],
        candidates: &C,
        key: u64,
    ) -> Option<usize> {
        let mean = Mean::of(shares, candidates);
        let is_within = |share: &Share| {
            mean.allows(candidates.in_flight(share.index), share.weight, BOUND_PERCENT)
        };
        let home = self.nearest(shares, key, |share| candidates.has_room(share.index))?;
        if is_within(&shares[home]) {
            return Some(home);
        }
        self.nearest(shares, key, |share| candidates.has_room(share.index) && is_within(share))
            // Another worker's requests may have moved the mean while we looked.
            .or(Some(home))
    }

    /// The position nearest to `key` of those that `may` take it.
    fn nearest(&self, shares: &[Share], key: u64, may: impl Fn(&Share) -> bool) -> Option<usize> {
        let mut best: Option<(f64, usize)> = None;
        for (position, share) in shares.iter().enumerate().filter(|(_, share)| may(share)) {
            let distance = self.distance(share, key);
            if best.is_none_or(|(nearest, _)| distance < nearest) {
                best = Some((distance, position));
            }
        }
        best.map(|(_, position)| position)
    }

    fn distance(&self, share: &Share, key: u64) -> f64 {
        // 53 bits, in the middle of their step: never 0, never 1.
        let chance = ((rng::mix(key ^ share.place) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
        if self.even { 1.0 - chance } else { -ln(chance) / f64::from(share.weight) }
    }
}

/// Natural logarithm of a normal number in (0, 1), to 1e-8. The standard library's may differ
/// between platforms, and two doors must agree where a key belongs.
fn ln(x: f64) -> f64 {
    const EXPONENT: u64 = 0x7FF << 52;
    let exponent = (x.to_bits() >> 52) as f64 - 1023.0;
    let mantissa = f64::from_bits(x.to_bits() & !EXPONENT | 1023 << 52);
    // ln m = 2 artanh s, s within 1/3.
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let q = s * s;
    let series = [1.0 / 13.0, 1.0 / 11.0, 1.0 / 9.0, 1.0 / 7.0, 1.0 / 5.0, 1.0 / 3.0, 1.0];
    let sum = series.iter().fold(1.0 / 15.0, |sum, term| sum * q + term);
    exponent * std::f64::consts::LN_2 + 2.0 * s * sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_logarithm_is_the_logarithm() {
        for step in 1..10_000 {
            let x = f64::from(step) / 10_000.0;
            assert!((ln(x) - x.ln()).abs() < 1e-8, "{x}");
        }
        assert!((ln(1e-16) - 1e-16_f64.ln()).abs() < 1e-8);
    }
}
