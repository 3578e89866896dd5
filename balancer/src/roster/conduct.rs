//! What one member's own requests say of it, beside its checks.

use std::sync::Arc;
use std::time::Duration;

use health::Pulse;
use policies::breaker::Breaker;
use policies::outcomes::Outcomes;
use policies::outlier::Outlier;
use policies::ramp::WHOLE;

use super::breakers::Granted;

/// What a member takes of the requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    Nothing,
    /// A share that rises while it is fresh.
    ItsShare,
    /// Its whole share at once: its pool panics.
    All,
    /// So many as its breaker lets through.
    Probes,
}

/// Kept as long as the member stays at its address.
#[derive(Debug)]
pub(super) struct Conduct {
    /// Of its checks.
    pub(super) pulse: Arc<Pulse>,
    pub(super) outlier: Outlier,
    pub(super) breaker: Breaker,
    /// Permits for its breaker's probes.
    pub(super) granted: Option<Granted>,
    takes: Takes,
    /// What was counted until the last look.
    counted: Option<Outcomes>,
    /// Checks that had passed when its ejection was over; the next one brings it back.
    asked: Option<u64>,
    /// Since when it takes requests: since the first look that found it so. The look before that is
    /// older than its beginning, and a ramp that began then would be ahead of what it says.
    since: Option<Duration>,
    /// Whether it was spared then.
    is_spared: bool,
    /// How much of its share it takes while it is fresh, in percent.
    pub(super) share: u32,
}

/// Of one that takes no requests.
impl Default for Conduct {
    fn default() -> Conduct {
        Conduct {
            pulse: Arc::default(),
            outlier: Outlier::default(),
            breaker: Breaker::default(),
            granted: None,
            takes: Takes::Nothing,
            counted: None,
            asked: None,
            since: None,
            is_spared: true,
            share: WHOLE,
        }
    }
}

impl Conduct {
    /// Takes note of whether it takes requests from now on. What it did before it was out says
    /// nothing about it.
    pub(super) fn note(&mut self, takes: Takes) {
        let before = std::mem::replace(&mut self.takes, takes);
        let begins = matches!(before, Takes::Nothing | Takes::Probes) && takes != before;
        if takes == Takes::Nothing {
            self.since = None;
        } else if begins {
            self.outlier.forget();
            self.since = None;
            self.is_spared = takes == Takes::ItsShare;
        }
    }

    /// It is looked at, now.
    pub(super) fn look(&mut self, now: Duration) {
        if self.is_eligible() {
            self.since.get_or_insert(now);
        }
    }

    /// What it takes now.
    pub(super) fn takes(&self) -> Takes {
        self.takes
    }

    /// How long it has taken requests; `None` if it takes none.
    pub(super) fn age(&self, now: Duration) -> Option<Duration> {
        let age = match self.since {
            _ if !self.is_spared => Duration::MAX,
            Some(since) => now.saturating_sub(since),
            None => Duration::ZERO,
        };
        self.is_eligible().then_some(age)
    }

    /// Whether it takes requests.
    pub(super) fn is_eligible(&self) -> bool {
        self.takes != Takes::Nothing
    }

    /// What has happened since the last look. `None` at the first, and while it takes no
    /// requests: the last ones of a backend that is out do not speak against it twice.
    pub(super) fn fresh(&mut self, counted: Outcomes) -> Option<Outcomes> {
        let before = self.counted.replace(counted)?;
        self.is_eligible().then(|| counted.since(&before))
    }

    /// Whether its ejection is over and a check has passed since.
    pub(super) fn may_return(&mut self, now: Duration) -> bool {
        if !self.outlier.is_due(now) {
            self.asked = None;
            return false;
        }
        let passes = self.pulse.passes();
        passes > *self.asked.get_or_insert(passes)
    }
}
