//! Is this backend well?
//!
//! One [`Judge`] per backend counts what the probes say and changes its [`Verdict`] only after
//! enough of them agree. When to probe and how is in the `health` crate.
//!
//! ```text
//!               first pass                 unhealthy_after failures in a row
//!   Unknown ───────────────────► Healthy ◄───────────────────────────────────► Unhealthy
//!      │                                       healthy_after passes in a row       ▲
//!      └───────────────────────────────────────────────────────────────────────────┘
//!                                    first failure
//! ```

/// How many probes in a row must agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthPolicy {
    /// Passes until an unhealthy backend is healthy; 0 counts as 1.
    pub healthy_after: u32,
    /// Failures until a healthy backend is unhealthy; 0 counts as 1.
    pub unhealthy_after: u32,
}

/// What is held of a backend. Only a healthy one is eligible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verdict {
    /// No probe has answered yet: as good as down.
    #[default]
    Unknown,
    /// It takes requests.
    Healthy,
    /// It takes none.
    Unhealthy,
}

/// The rise and fall of one backend.
///
/// A new backend is down until its first pass; that one is enough, because there is no
/// failure yet to be doubted, and a door that has just started should not keep a whole site
/// waiting for a second look. The first failure of a new one is enough for the same reason.
#[derive(Debug, Clone)]
pub struct Judge {
    policy: HealthPolicy,
    verdict: Verdict,
    /// Probes in a row, up to now, that disagree with the verdict.
    against: u32,
}

impl Judge {
    /// Of a backend that nobody has asked yet.
    pub fn new(policy: HealthPolicy) -> Judge {
        Judge { policy, verdict: Verdict::Unknown, against: 0 }
    }

    /// Takes in one probe; the new verdict if that changed it.
    pub fn observe(&mut self, passed: bool) -> Option<Verdict> {
        let told = if passed { Verdict::Healthy } else { Verdict::Unhealthy };
        if told == self.verdict {
            self.against = 0;
            return None;
        }
        self.against += 1;
        let needed = match self.verdict {
            Verdict::Unknown => 1,
            Verdict::Healthy => self.policy.unhealthy_after,
            Verdict::Unhealthy => self.policy.healthy_after,
        };
        if self.against < needed {
            return None;
        }
        self.against = 0;
        self.verdict = told;
        Some(told)
    }

    /// What is held of the backend now.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Whether the next probe may change the verdict's direction: it is unknown, or the last
    /// probe disagreed with it. Then it is worth asking sooner.
    pub fn is_deciding(&self) -> bool {
        self.verdict == Verdict::Unknown || self.against > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Up after 2 passes, down after 3 failures; `+` is a pass, `-` a failure. Each probe's
    /// outcome: `H` or `U` where the verdict changes, `?` while it is being decided, `.` else.
    #[track_caller]
    fn check(probes: &str, expected: &str) {
        check_with(HealthPolicy { healthy_after: 2, unhealthy_after: 3 }, probes, expected);
    }

    #[track_caller]
    fn check_with(policy: HealthPolicy, probes: &str, expected: &str) {
        let mut judge = Judge::new(policy);
        let story = probes.chars().map(|probe| match judge.observe(probe == '+') {
            Some(Verdict::Healthy) => 'H',
            Some(Verdict::Unhealthy) => 'U',
            Some(Verdict::Unknown) => '!',
            None if judge.is_deciding() => '?',
            None => '.',
        });
        assert_eq!(story.collect::<String>(), expected);
    }

    #[test]
    fn a_new_backend_is_unknown_and_being_decided() {
        let judge = Judge::new(HealthPolicy { healthy_after: 2, unhealthy_after: 3 });
        assert_eq!(judge.verdict(), Verdict::Unknown);
        assert!(judge.is_deciding());
    }

    #[test]
    fn a_new_backend_is_healthy_at_its_first_pass() {
        check("+++", "H..");
    }

    #[test]
    fn a_new_backend_is_unhealthy_at_its_first_failure_and_then_needs_two_passes() {
        check("-++", "U?H");
    }

    #[test]
    fn it_falls_after_three_failures_in_a_row() {
        check("+---", "H??U");
    }

    #[test]
    fn one_pass_between_failures_starts_the_count_again() {
        check("+--+--+---", "H??.??.??U");
    }

    #[test]
    fn one_failure_between_passes_starts_the_count_again() {
        check("-+-+-++", "U?.?.?H");
    }

    #[test]
    fn thresholds_of_one_and_of_nought_change_at_once() {
        for after in [0, 1] {
            let policy = HealthPolicy { healthy_after: after, unhealthy_after: after };
            check_with(policy, "+-+-", "HUHU");
        }
    }
}
