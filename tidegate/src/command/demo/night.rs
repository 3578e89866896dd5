//! The evening, compressed: how many requests a second there are at each moment of a match night.
//!
//! ```text
//!            ______          ____|
//!           /      \________/    |\
//!  ________/                       \_____
//!    calm  rise first  half  second  ebb
//! ```

use std::time::Duration;

/// Requests a second before the crowd comes; ten times as many at the peak.
const CALM_RPS: f64 = 30.0;

/// One stretch of the evening, in which the load goes in a line from one height to another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Phase {
    pub(super) name: &'static str,
    length: Duration,
    /// Times the calm load.
    from: f64,
    to: f64,
}

/// Where the load is at a moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Moment {
    pub(super) phase: &'static str,
    /// Of the evening that is over, 0 to 1.
    pub(super) progress: f64,
    pub(super) rps: f64,
}

impl Moment {
    /// Requests at once, as long as none has to wait: a fifth of a second each.
    pub(super) fn demand(&self) -> f64 {
        self.rps * 0.2
    }
}

/// The whole of it. Its last height lasts until somebody stops.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Night {
    phases: Vec<Phase>,
}

impl Night {
    /// In three minutes, or in half a minute.
    pub(super) fn new(is_fast: bool) -> Night {
        let phase = |name, ms: [u64; 2], from, to| {
            let length = Duration::from_millis(ms[usize::from(is_fast)]);
            Phase { name, length, from, to }
        };
        let phases = vec![
            phase("calm", [16_000, 1_500], 1.0, 1.0),
            phase("the crowd comes", [20_000, 5_000], 1.0, 10.0),
            phase("first half", [30_000, 3_000], 10.0, 10.0),
            phase("half-time", [4_000, 500], 10.0, 4.0),
            phase("half-time", [20_000, 3_000], 4.0, 4.0),
            phase("second half", [6_000, 1_000], 4.0, 9.0),
            phase("second half", [26_000, 1_500], 9.0, 9.0),
            phase("final minutes", [6_000, 500], 9.0, 10.0),
            phase("final whistle", [12_000, 1_000], 10.0, 1.0),
            phase("ebb", [4_000, 500], 1.0, 0.5),
        ];
        Night { phases }
    }

    /// Until the ebb is at its lowest.
    pub(super) fn length(&self) -> Duration {
        self.phases.iter().map(|phase| phase.length).sum()
    }

    /// Half-time, when its load is at its lowest.
    pub(super) fn half_time(&self) -> Duration {
        self.phases[..4].iter().map(|phase| phase.length).sum()
    }

    /// So long after its begin.
    pub(super) fn at(&self, elapsed: Duration) -> Moment {
        let progress = (elapsed.as_secs_f64() / self.length().as_secs_f64()).min(1.0);
        let mut left = elapsed;
        for phase in &self.phases {
            if left < phase.length {
                let height = phase.height(left);
                return Moment { phase: phase.name, progress, rps: height * CALM_RPS };
            }
            left -= phase.length;
        }
        let last = self.phases[self.phases.len() - 1];
        Moment { phase: last.name, progress, rps: last.to * CALM_RPS }
    }

    /// Requests that are to have been made so long after its begin.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // some ten thousand
    pub(super) fn due(&self, elapsed: Duration) -> u64 {
        let (mut left, mut sum) = (elapsed, 0.0);
        for phase in &self.phases {
            let part = left.min(phase.length);
            // A line: its mean is that of its ends.
            sum += (phase.from + phase.height(part)) / 2.0 * part.as_secs_f64();
            left -= part;
        }
        sum += self.phases[self.phases.len() - 1].to * left.as_secs_f64();
        (sum * CALM_RPS) as u64
    }
}

impl Phase {
    fn height(&self, elapsed: Duration) -> f64 {
        let share = elapsed.as_secs_f64() / self.length.as_secs_f64();
        self.from + (self.to - self.from) * share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_phase_goes_on_where_the_one_before_has_ended() {
        for is_fast in [false, true] {
            let night = Night::new(is_fast);
            assert!(night.phases.windows(2).all(|pair| pair[0].to == pair[1].from), "{night:?}");
            assert_eq!(night.at(night.half_time()).phase, "half-time");
            assert_eq!(night.at(night.half_time()).rps, 4.0 * CALM_RPS);
        }
        assert!(Night::new(false).length() < Duration::from_secs(150));
        assert!(Night::new(true).length() < Duration::from_secs(20));
    }

    #[test]
    fn the_load_rises_tenfold_and_what_is_due_is_the_sum_of_it() {
        let night = Night::new(false);
        let step = Duration::from_millis(100);
        let (mut sum, mut most) = (0.0, 0.0f64);
        for tick in 0..2_000 {
            let rps = night.at(step * tick).rps;
            most = most.max(rps);
            sum += rps * step.as_secs_f64();
        }
        assert_eq!(most, 10.0 * CALM_RPS);
        #[allow(clippy::cast_precision_loss)]
        let due = night.due(step * 2_000) as f64;
        assert!((due - sum).abs() < 0.01 * sum, "{due} {sum}");
        assert_eq!(night.due(Duration::ZERO), 0);
    }
}
