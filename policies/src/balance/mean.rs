//! The mean load of those with room, against which one backend's load is judged.

use super::{Candidates, Share};

/// Requests in flight and weight of all shares with room. Those without are left out: there is
/// always one with room at or below this mean, so a rule that insists on it finds one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mean {
    requests: u64,
    weight: u64,
}

impl Mean {
    pub(super) fn of<C: Candidates>(shares: &[Share], candidates: &C) -> Mean {
        let roomy = shares.iter().filter(|share| candidates.has_room(share.index));
        roomy.fold(Mean { requests: 0, weight: 0 }, |mean, share| Mean {
            requests: mean.requests + u64::from(candidates.in_flight(share.index)),
            weight: mean.weight + u64::from(share.weight),
        })
    }

    /// Whether a share of `weight` with `in_flight` requests may take one more and stay within
    /// `percent` of its part of all requests, this one included, rounded up.
    pub(super) fn allows(self, in_flight: u32, weight: u32, percent: u32) -> bool {
        let has = u128::from(in_flight) * u128::from(self.weight) * 100;
        let may = u128::from(self.requests + 1) * u128::from(weight) * u128::from(percent);
        has < may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_may_have_its_part_of_all_requests_rounded_up() {
        let mean = Mean { requests: 9, weight: 4 };
        assert!(mean.allows(2, 1, 100)); // 3 of 2.5 rounded up
        assert!(!mean.allows(3, 1, 100));
        assert!(mean.allows(3, 1, 125)); // 4 of 3.125 rounded up
        assert!(!mean.allows(4, 1, 125));
    }
}
