//! How long a boot takes: from launch to running, to the first passed check, to full weight.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Boots remembered per kind.
const KEPT: usize = 50;

/// Kinds remembered: an image that is replaced every week is a kind every week.
const MOST_KINDS: usize = 8;

/// Boots of a kind that must have been seen before they are believed.
const ENOUGH: usize = 5;

/// `[pools.*.boot]`.
#[derive(Debug, Clone, PartialEq)]
pub struct BootSettings {
    /// Measure it.
    pub learn: bool,
    /// Until enough boots were seen.
    pub assume: Duration,
    /// Of the boots seen, 1 to 99: so many percent are no longer than what is reckoned with.
    pub percentile: u8,
    /// When a boot has failed.
    pub give_up_after: Duration,
    /// From the first passed check to full weight.
    pub slow_start: Duration,
}

/// Boots of one kind, from launch to running and to the first passed check; the latest is the last.
type Seen = VecDeque<(Duration, Duration)>;

/// The boots that were seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Boots {
    /// The one that was launched last is the last.
    kinds: VecDeque<(Arc<str>, Seen)>,
}

impl Boots {
    /// Remembers a boot of this kind: launch to running, and launch to the first passed check.
    pub fn learn(&mut self, kind: &Arc<str>, running: Duration, passed: Duration) {
        let place = self.kinds.iter().position(|(known, _)| known == kind);
        let known = place.and_then(|place| self.kinds.remove(place));
        let (kind, mut seen) = known.unwrap_or_else(|| (Arc::clone(kind), VecDeque::new()));
        seen.push_back((running, passed));
        while seen.len() > KEPT {
            seen.pop_front();
        }
        self.kinds.push_back((kind, seen));
        if self.kinds.len() > MOST_KINDS {
            self.kinds.pop_front();
        }
    }

    /// All boots that are remembered, by kind, the latest kind last: launch to running, and to the first passed check.
    pub fn seen(
        &self,
    ) -> impl Iterator<Item = (&Arc<str>, impl Iterator<Item = (Duration, Duration)> + '_)> {
        self.kinds.iter().map(|(kind, seen)| (kind, seen.iter().copied()))
    }

    /// From launch to full weight, as is to be reckoned with. Of several kinds the slowest: nobody
    /// knows which will be launched.
    pub fn lead(&self, settings: &BootSettings) -> Duration {
        let seen = self.kinds.iter().map(|(_, seen)| seen);
        let known = seen.filter(|seen| seen.len() >= ENOUGH && settings.learn);
        let passed = known.map(|seen| percentile(seen, settings.percentile)).max();
        passed.unwrap_or(settings.assume).saturating_add(settings.slow_start)
    }
}

/// The smallest boot that so many percent are not longer than.
fn percentile(seen: &Seen, percent: u8) -> Duration {
    let mut passed: Vec<Duration> = seen.iter().map(|(_, passed)| *passed).collect();
    passed.sort_unstable();
    let rank = (passed.len() * usize::from(percent)).div_ceil(100);
    passed.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> BootSettings {
        BootSettings {
            learn: true,
            assume: Duration::from_secs(240),
            percentile: 95,
            give_up_after: Duration::from_secs(600),
            slow_start: Duration::from_secs(45),
        }
    }

    #[track_caller]
    fn check(boots: &[(&str, u64)], settings: &BootSettings, lead: u64) {
        let mut seen = Boots::default();
        for (kind, seconds) in boots {
            let passed = Duration::from_secs(*seconds);
            seen.learn(&Arc::from(*kind), passed / 2, passed);
        }
        assert_eq!(seen.lead(settings), Duration::from_secs(lead));
    }

    #[test]
    fn a_boot_is_assumed_until_enough_were_seen() {
        check(&[("a", 60); 4], &settings(), 240 + 45);
        check(&[("a", 60); 5], &settings(), 60 + 45);
        check(&[("a", 60); 5], &BootSettings { learn: false, ..settings() }, 240 + 45);
    }

    #[test]
    fn the_percentile_of_the_slowest_kind_counts() {
        let mut boots: Vec<(&str, u64)> = (1..=20).map(|seconds| ("a", seconds)).collect();
        check(&boots, &settings(), 19 + 45);
        boots.extend([("b", 90); 5]);
        check(&boots, &settings(), 90 + 45);
    }

    #[test]
    fn what_was_long_ago_is_forgotten() {
        let mut boots = vec![("a", 500); 50];
        boots.extend([("a", 30); 50]);
        check(&boots, &settings(), 30 + 45);
    }

    #[test]
    fn kinds_that_were_not_launched_for_long_are_forgotten() {
        let kinds: Vec<String> = (0..9).map(|number| format!("image-{number}")).collect();
        let mut boots = vec![("slow", 500); 5];
        boots.extend(kinds.iter().flat_map(|kind| [(kind.as_str(), 30); 5]));
        check(&boots, &settings(), 30 + 45);
        boots.truncate(5 + 7 * 5);
        check(&boots, &settings(), 500 + 45);
    }
}
