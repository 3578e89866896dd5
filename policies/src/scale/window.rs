//! Floors and ceilings by the clock: windows of a week, one-off windows, and cron.
//!
//! What is open now is a function of now alone. Nothing fires, so nothing can be missed while the
//! program was down, late or asleep, and a change of the clocks moves a window with the people who
//! live by them. A floor asks for *at least* and a ceiling allows *at most*; demand still decides
//! between them.

use std::sync::Arc;
use std::time::Duration;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp};

/// Longer leads make no sense for an instance and would need more days to be looked at.
pub const LONGEST_LEAD: Duration = Duration::from_secs(24 * 3600);

/// One `[[scalers.*.windows]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    /// Names it.
    pub name: Arc<str>,
    /// Of its times.
    pub zone: TimeZone,
    /// When it is open.
    pub when: When,
    /// Never fewer while it is open, serving from its start.
    pub floor: Option<u32>,
    /// Never more while it is open.
    pub ceiling: Option<u32>,
    /// How much earlier launches go out; `None` is as long as a boot takes.
    pub lead: Option<Duration>,
    /// Where it is written.
    pub place: Arc<str>,
}

/// When a window is open. From its start on, and no longer at its end.
#[derive(Debug, Clone, PartialEq)]
pub enum When {
    /// On days of the week, Monday first. An end that is not after the start is on the next day.
    Weekly {
        /// Days on which it starts.
        days: [bool; 7],
        /// Time of day of the start.
        from: Time,
        /// Time of day of the end.
        to: Time,
    },
    /// Once.
    Once {
        /// The start.
        from: DateTime,
        /// The end, after the start.
        to: DateTime,
    },
    /// After each time that a cron expression names.
    Cron {
        /// Five fields; a day of the month *or* of the week, as Vixie's cron reads them.
        cron: Box<Cron>,
        /// How long.
        lasts: Duration,
    },
}

/// Reads a cron expression of five fields.
///
/// # Errors
///
/// What is wrong with it, in words for whoever wrote it.
pub fn parse_cron(text: &str) -> Result<Cron, String> {
    let fields = text.split_whitespace().count();
    if fields != 5 {
        return Err(format!(
            "`{text}` has {fields} fields; write five: minute, hour, day, month, day of the week"
        ));
    }
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
    parser.parse(text).map_err(|error| format!("`{text}` is no cron expression: {error}"))
}

impl Window {
    /// Whether it is open at `now`, or will be within `lead`.
    pub fn is_open(&self, now: Timestamp, lead: Duration) -> bool {
        let lead = lead.min(LONGEST_LEAD);
        let soon = now.saturating_add(signed(lead)).unwrap_or(Timestamp::MAX);
        self.latest_start(soon).is_some_and(|start| start > now || self.is_in(start, now))
            || self.latest_start(now).is_some_and(|start| self.is_in(start, now))
    }

    /// Its next start after `now`.
    pub fn next_start(&self, now: Timestamp) -> Option<Timestamp> {
        match &self.when {
            When::Once { from, .. } => self.at(*from).filter(|start| *start > now),
            When::Weekly { .. } => {
                let today = now.to_zoned(self.zone.clone()).date();
                let days = (-1i64..=8).filter_map(|days| add_days(today, days));
                let mut starts = days.filter_map(|day| self.weekly_start(day));
                starts.find(|start| *start > now)
            }
            When::Cron { cron, .. } => {
                let now = now.to_zoned(self.zone.clone());
                cron.find_next_occurrence(&now, false).ok().map(|next| next.timestamp())
            }
        }
    }

    fn is_in(&self, start: Timestamp, now: Timestamp) -> bool {
        start <= now && self.end_of(start).is_some_and(|end| now < end)
    }

    /// The last start at or before `at`.
    fn latest_start(&self, at: Timestamp) -> Option<Timestamp> {
        match &self.when {
            When::Once { from, .. } => self.at(*from).filter(|start| *start <= at),
            When::Weekly { .. } => {
                let today = at.to_zoned(self.zone.clone()).date();
                let days = (0i64..=8).filter_map(|days| add_days(today, -days));
                let mut starts = days.filter_map(|day| self.weekly_start(day));
                starts.find(|start| *start <= at)
            }
            When::Cron { cron, .. } => {
                let at = at.to_zoned(self.zone.clone());
                cron.find_previous_occurrence(&at, true).ok().map(|start| start.timestamp())
            }
        }
    }

    fn end_of(&self, start: Timestamp) -> Option<Timestamp> {
        match &self.when {
            When::Once { to, .. } => self.at(*to),
            When::Weekly { from, to, .. } => {
                let day = start.to_zoned(self.zone.clone()).date();
                let day = if to > from { day } else { add_days(day, 1)? };
                self.at(day.to_datetime(*to))
            }
            When::Cron { lasts, .. } => start.checked_add(signed(*lasts)).ok(),
        }
    }

    fn weekly_start(&self, day: Date) -> Option<Timestamp> {
        let When::Weekly { days, from, .. } = &self.when else { return None };
        let weekday = usize::from(day.weekday().to_monday_zero_offset().unsigned_abs());
        days.get(weekday).copied().unwrap_or(false).then(|| self.at(day.to_datetime(*from)))?
    }

    /// A time that the clocks skip is as much later as they skip; one that comes twice is the first.
    fn at(&self, civil: DateTime) -> Option<Timestamp> {
        self.zone.to_ambiguous_timestamp(civil).compatible().ok()
    }
}

fn add_days(day: Date, days: i64) -> Option<Date> {
    day.checked_add(Span::new().try_days(days).ok()?).ok()
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
mod tests;
