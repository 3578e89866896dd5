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
use jiff::tz::{AmbiguousOffset, TimeZone};
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

/// One time that a window is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opening {
    /// Its first moment.
    pub from: Timestamp,
    /// The first moment after it.
    pub to: Timestamp,
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
    let fields: Vec<&str> = text.split_whitespace().collect();
    let [_, _, day, _, weekday] = fields[..] else {
        let found = fields.len();
        return Err(format!(
            "`{text}` has {found} fields; write five: minute, hour, day, month, day of the week"
        ));
    };
    // As Vixie's cron has it, `*/2` too is a star, and a star beside a day leaves the day alone.
    let is_both = day.starts_with('*') || weekday.starts_with('*');
    let parser = CronParser::builder();
    let parser = parser.seconds(Seconds::Disallowed).year(Year::Disallowed).dom_and_dow(is_both);
    let parser = parser.build();
    parser.parse(text).map_err(|error| format!("`{text}` is no cron expression: {error}"))
}

impl Window {
    /// Whether it is open at `now`, or will be within `lead`.
    pub fn is_open(&self, now: Timestamp, lead: Duration) -> bool {
        let soon = now.saturating_add(signed(lead.min(LONGEST_LEAD))).unwrap_or(Timestamp::MAX);
        let is_near = |opening: Opening| opening.from > now || now < opening.to;
        self.latest(soon).is_some_and(is_near) || self.latest(now).is_some_and(is_near)
    }

    /// When it is open: the time that `now` is in, or else the next.
    pub fn opening(&self, now: Timestamp) -> Option<Opening> {
        self.latest(now).filter(|opening| now < opening.to).or_else(|| self.next(now))
    }

    /// The next time that it opens after `now`.
    pub fn next(&self, now: Timestamp) -> Option<Opening> {
        match &self.when {
            When::Once { from, to } => self.between(*from, *to).filter(|next| next.from > now),
            When::Weekly { .. } => {
                let today = now.to_zoned(self.zone.clone()).date();
                let days = (-1i64..=8).filter_map(|days| add_days(today, days));
                days.filter_map(|day| self.on(day)).find(|next| next.from > now)
            }
            When::Cron { cron, lasts } => {
                let now = now.to_zoned(self.zone.clone());
                let next = cron.find_next_occurrence(&now, false).ok()?;
                Opening::lasting(next.timestamp(), *lasts)
            }
        }
    }

    /// The last time that it opened at or before `at`.
    fn latest(&self, at: Timestamp) -> Option<Opening> {
        match &self.when {
            When::Once { from, to } => self.between(*from, *to).filter(|last| last.from <= at),
            When::Weekly { .. } => {
                let today = at.to_zoned(self.zone.clone()).date();
                let days = (-1i64..=8).filter_map(|days| add_days(today, -days));
                days.filter_map(|day| self.on(day)).find(|last| last.from <= at)
            }
            When::Cron { cron, lasts } => {
                let at = at.to_zoned(self.zone.clone());
                let last = cron.find_previous_occurrence(&at, true).ok()?;
                Opening::lasting(last.timestamp(), *lasts)
            }
        }
    }

    /// Of a weekly one, if it opens on this day.
    fn on(&self, day: Date) -> Option<Opening> {
        let When::Weekly { days, from, to } = &self.when else { return None };
        let weekday = usize::from(day.weekday().to_monday_zero_offset().unsigned_abs());
        if !days.get(weekday).copied().unwrap_or(false) {
            return None;
        }
        let last = if to > from { day } else { add_days(day, 1)? };
        self.between(day.to_datetime(*from), last.to_datetime(*to))
    }

    /// Where the clocks change it is open too long rather than too short. A start that they skip is
    /// when they have skipped it, as for cron, and an end that they skip is as much later; of
    /// what comes twice, it opens at the first and shuts at the second.
    fn between(&self, from: DateTime, to: DateTime) -> Option<Opening> {
        let start = self.zone.to_ambiguous_timestamp(from);
        let from = match start.offset() {
            AmbiguousOffset::Gap { .. } => {
                let before = start.earlier().ok()?;
                self.zone.following(before).next()?.timestamp()
            }
            _ => start.earlier().ok()?,
        };
        Some(Opening { from, to: self.zone.to_ambiguous_timestamp(to).later().ok()? })
    }
}

impl Opening {
    fn lasting(from: Timestamp, lasts: Duration) -> Option<Opening> {
        Some(Opening { from, to: from.checked_add(signed(lasts)).ok()? })
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
