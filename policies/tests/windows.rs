//! Windows against a scan that looks at every minute with the plainest rule there is.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test, in helpers too

use std::time::Duration;

use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use policies::scale::window::{When, Window, parse_cron};
use proptest::prelude::*;

/// Around changes of the clocks by an hour and by half of one, and where there are none.
const SCENES: [(&str, &str); 6] = [
    ("Asia/Seoul", "2026-06-10T00:00:00Z"),
    ("Europe/Berlin", "2026-03-27T00:00:00Z"),
    ("Europe/Berlin", "2026-10-23T00:00:00Z"),
    ("Australia/Lord_Howe", "2026-04-03T00:00:00Z"),
    ("America/New_York", "2026-03-06T00:00:00Z"),
    ("UTC", "2026-12-28T00:00:00Z"),
];

/// Minutes that are looked at.
const MINUTES: i64 = 5 * 24 * 60;

fn window(zone: &TimeZone, when: When) -> Window {
    let (name, place) = ("w".into(), "t.toml:1".into());
    Window { name, zone: zone.clone(), when, floor: Some(1), ceiling: None, lead: None, place }
}

fn minutes(begin: &str) -> impl Iterator<Item = Timestamp> {
    let begin: Timestamp = begin.parse().unwrap();
    (0..MINUTES).map(move |minute| begin.checked_add(minute.minutes()).unwrap())
}

/// Whether the clock on the wall shows a time of a window that opens on some of these days.
fn shows(now: DateTime, days: [bool; 7], from: Time, to: Time) -> bool {
    let on = |day: jiff::civil::Date| {
        days[usize::try_from(day.weekday().to_monday_zero_offset()).unwrap()]
    };
    let (today, yesterday) = (now.date(), now.date().yesterday().unwrap());
    match from < to {
        true => on(today) && from <= now.time() && now.time() < to,
        false => (on(today) && from <= now.time()) || (on(yesterday) && now.time() < to),
    }
}

/// Whether the clocks change within a day of it.
fn is_odd(zone: &TimeZone, at: Timestamp) -> bool {
    let offset = |hours: i64| zone.to_offset(at.checked_add(hours.hours()).unwrap());
    offset(-25) != offset(25)
}

/// One field of cron, in the forms that are generated below.
fn takes(field: &str, value: i8, first: i8) -> bool {
    match (field, field.strip_prefix("*/")) {
        ("*", _) => true,
        (_, Some(step)) => (value - first) % step.parse::<i8>().unwrap() == 0,
        (one, _) => one.parse() == Ok(value),
    }
}

/// Vixie's rule: either day is enough, unless one of them begins with a star.
fn fires(text: &str, at: DateTime) -> bool {
    let fields: Vec<&str> = text.split(' ').collect();
    let [minute, hour, day, month, weekday] = fields[..] else { panic!("{text}") };
    let of_month = takes(day, at.day(), 1);
    let of_week = takes(weekday, at.weekday().to_sunday_zero_offset(), 0);
    let is_day = match !day.starts_with('*') && !weekday.starts_with('*') {
        true => of_month || of_week,
        false => of_month && of_week,
    };
    let is_month = takes(month, at.month(), 1);
    takes(minute, at.minute(), 0) && takes(hour, at.hour(), 0) && is_month && is_day
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    #[test]
    fn a_weekly_window_is_open_when_the_clock_on_the_wall_says_so(
        scene in 0..SCENES.len(), days in any::<[bool; 7]>(), from in 0i8..96, to in 0i8..96,
    ) {
        let (zone, begin) = (TimeZone::get(SCENES[scene].0).unwrap(), SCENES[scene].1);
        let time = |quarters: i8| Time::constant(quarters / 4, quarters % 4 * 15, 0, 0);
        let (from, to) = (time(from), time(to));
        let window = window(&zone, When::Weekly { days, from, to });
        let mut longer = 0;
        for now in minutes(begin) {
            let is_shown = shows(zone.to_datetime(now), days, from, to);
            let is_open = window.is_open(now, Duration::ZERO);
            if is_odd(&zone, now) {
                prop_assert!(is_open || !is_shown, "shut at {now}");
                longer += u32::from(is_open && !is_shown);
            } else {
                prop_assert_eq!(is_open, is_shown, "at {}", now);
            }
            let opening = window.opening(now);
            let is_in = opening.is_some_and(|it| it.from <= now && now < it.to);
            prop_assert_eq!(is_open, is_in, "{} {:?}", now, opening);
        }
        prop_assert!(longer <= 60, "a change of the clocks makes it {longer} minutes longer");
    }

    #[test]
    fn a_window_by_cron_is_open_after_each_time_it_names(
        scene in 0..SCENES.len(),
        minute in prop::sample::select(vec!["0", "7", "*/15", "*"]),
        hour in prop::sample::select(vec!["*", "0", "9", "*/6", "23"]),
        day in prop::sample::select(vec!["*", "1", "30", "*/4"]),
        weekday in prop::sample::select(vec!["*", "0", "3"]),
        lasts in 1i64..300,
    ) {
        let (zone, begin) = (TimeZone::get(SCENES[scene].0).unwrap(), SCENES[scene].1);
        let text = format!("{minute} {hour} {day} * {weekday}");
        let cron = Box::new(parse_cron(&text).unwrap());
        let duration = Duration::from_secs(lasts.unsigned_abs() * 60);
        let window = window(&zone, When::Cron { cron, lasts: duration });
        let mut since = None;
        for (number, now) in minutes(begin).enumerate() {
            if fires(&text, zone.to_datetime(now)) {
                since = Some(now);
            }
            // One that opened before the scan began is not known to it.
            if number < 300 || is_odd(&zone, now) {
                continue;
            }
            let is_in = |from: Timestamp| now < from.checked_add(lasts.minutes()).unwrap();
            let is_open = window.is_open(now, Duration::ZERO);
            prop_assert_eq!(is_open, since.is_some_and(is_in), "{} at {}", text, now);
        }
    }
}
