//! What one member's own requests say of it, beside its checks.

use std::sync::Arc;
use std::time::Duration;

use health::Pulse;
use policies::outcomes::Outcomes;
use policies::outlier::Outlier;

/// Kept as long as the member stays at its address.
#[derive(Debug, Default)]
pub(super) struct Conduct {
    /// Of its checks.
    pub(super) pulse: Arc<Pulse>,
    pub(super) outlier: Outlier,
    /// What was counted until the last look.
    counted: Option<Outcomes>,
    /// Checks that had passed when its ejection was over; the next one brings it back.
    asked: Option<u64>,
    was_eligible: bool,
}

impl Conduct {
    /// Takes note of whether it takes requests from now on. What it did before it was out says
    /// nothing about it.
    pub(super) fn note_eligible(&mut self, is_eligible: bool) {
        if is_eligible && !self.was_eligible {
            self.outlier.forget();
        }
        self.was_eligible = is_eligible;
    }

    /// Whether it takes requests.
    pub(super) fn is_eligible(&self) -> bool {
        self.was_eligible
    }

    /// What has happened since the last look. `None` at the first, and while it takes no
    /// requests: the last ones of a backend that is out do not speak against it twice.
    pub(super) fn fresh(&mut self, counted: Outcomes) -> Option<Outcomes> {
        let before = self.counted.replace(counted)?;
        self.was_eligible.then(|| counted.since(&before))
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
