//! Windows over midnight, over changes of the clocks, and by cron.

use super::*;

const NO_LEAD: Duration = Duration::ZERO;

fn window(zone: &str, when: When) -> Window {
    Window {
        name: "w".into(),
        zone: TimeZone::get(zone).unwrap(),
        when,
        floor: Some(4),
        ceiling: None,
        lead: None,
        place: "t.toml:1".into(),
    }
}

fn weekly(zone: &str, days: &str, from: &str, to: &str) -> Window {
    let is_on = |day: char| day != '-';
    let mut flags = [false; 7];
    days.chars().enumerate().for_each(|(at, day)| flags[at] = is_on(day));
    let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
    window(zone, When::Weekly { days: flags, from, to })
}

fn cron(zone: &str, text: &str, minutes: u64) -> Window {
    let cron = Box::new(parse_cron(text).unwrap());
    window(zone, When::Cron { cron, lasts: Duration::from_secs(minutes * 60) })
}

#[track_caller]
fn check(window: &Window, lead: Duration, open: &[&str], shut: &[&str]) {
    let at = |text: &&str| text.parse::<Timestamp>().unwrap();
    for time in open {
        assert!(window.is_open(at(time), lead), "shut at {time}");
    }
    for time in shut {
        assert!(!window.is_open(at(time), lead), "open at {time}");
    }
}

#[test]
fn a_window_is_open_from_its_start_and_not_at_its_end() {
    // 18:00 to 23:30 in Seoul, nine hours ahead of UTC. 21 November 2026 is a Saturday.
    let evening = weekly("Asia/Seoul", "mtwtf--", "18:00", "23:30");
    check(
        &evening,
        NO_LEAD,
        &["2026-11-20T09:00:00Z", "2026-11-20T14:29:59Z"],
        &["2026-11-20T08:59:59Z", "2026-11-20T14:30:00Z", "2026-11-21T10:00:00Z"],
    );
}

#[test]
fn a_lead_opens_it_earlier_and_not_longer() {
    let evening = weekly("Asia/Seoul", "mtwtf--", "18:00", "23:30");
    check(
        &evening,
        Duration::from_secs(300),
        &["2026-11-20T08:55:00Z", "2026-11-20T14:29:59Z"],
        &["2026-11-20T08:54:59Z", "2026-11-20T14:30:00Z"],
    );
}

#[test]
fn an_end_before_the_start_is_on_the_next_day() {
    let night = weekly("UTC", "----f--", "22:00", "02:00");
    check(
        &night,
        NO_LEAD,
        &["2026-11-20T22:00:00Z", "2026-11-21T01:59:59Z"],
        &["2026-11-20T21:59:59Z", "2026-11-21T02:00:00Z", "2026-11-21T22:00:00Z"],
    );
}

#[test]
fn the_clocks_move_a_window_with_the_people() {
    // Berlin leaves summer time on 25 October 2026, at 01:00 UTC.
    let evening = weekly("Europe/Berlin", "mtwtfss", "18:00", "20:00");
    check(&evening, NO_LEAD, &["2026-10-24T16:00:00Z"], &["2026-10-24T18:00:00Z"]);
    check(&evening, NO_LEAD, &["2026-10-25T17:00:00Z"], &["2026-10-25T16:59:59Z"]);
    let by_cron = cron("Europe/Berlin", "0 18 * * *", 120);
    check(&by_cron, NO_LEAD, &["2026-10-24T16:00:00Z"], &["2026-10-24T18:00:00Z"]);
    check(&by_cron, NO_LEAD, &["2026-10-25T17:00:00Z"], &["2026-10-25T16:59:59Z"]);
}

#[test]
fn what_the_clocks_skip_is_not_lost() {
    // Berlin goes from 02:00 to 03:00 on 29 March 2026, at 01:00 UTC.
    let check_night = |from, to, open: &[&str], shut: &[&str]| {
        check(&weekly("Europe/Berlin", "------s", from, to), NO_LEAD, open, shut);
    };
    check_night(
        "02:30",
        "04:00",
        &["2026-03-29T01:00:00Z", "2026-03-29T01:59:59Z"],
        &["2026-03-29T00:59:59Z", "2026-03-29T02:00:00Z"],
    );
    check_night(
        "01:00",
        "02:30",
        &["2026-03-29T00:00:00Z", "2026-03-29T01:29:59Z"],
        &["2026-03-28T23:59:59Z", "2026-03-29T01:30:00Z"],
    );
    check_night("02:10", "02:50", &["2026-03-29T01:00:00Z"], &["2026-03-29T01:50:00Z"]);
    check_night("02:30", "03:10", &["2026-03-29T01:09:59Z"], &["2026-03-29T01:10:00Z"]);
    let by_cron = cron("Europe/Berlin", "30 2 * * SUN", 60);
    check(
        &by_cron,
        NO_LEAD,
        &["2026-03-29T01:00:00Z", "2026-03-29T01:59:59Z"],
        &["2026-03-29T00:59:59Z", "2026-03-29T02:00:00Z"],
    );
}

#[test]
fn what_comes_twice_opens_once_and_shuts_at_the_end() {
    // Berlin goes back from 03:00 to 02:00 on 25 October 2026, at 01:00 UTC.
    let check_night = |from, to, open: &[&str], shut: &[&str]| {
        check(&weekly("Europe/Berlin", "------s", from, to), NO_LEAD, open, shut);
    };
    check_night(
        "02:30",
        "04:00",
        &["2026-10-25T00:30:00Z", "2026-10-25T01:15:00Z", "2026-10-25T02:59:59Z"],
        &["2026-10-25T00:29:59Z", "2026-10-25T03:00:00Z"],
    );
    check_night(
        "01:00",
        "02:30",
        &["2026-10-24T23:00:00Z", "2026-10-25T00:45:00Z", "2026-10-25T01:29:59Z"],
        &["2026-10-25T01:30:00Z"],
    );
    let by_cron = cron("Europe/Berlin", "30 2 * * SUN", 30);
    check(&by_cron, NO_LEAD, &["2026-10-25T00:30:00Z"], &["2026-10-25T01:30:00Z"]);
}

#[test]
fn a_time_that_never_comes_opens_never() {
    let never = cron("UTC", "0 0 31 2 *", 60);
    let now = "2026-12-01T08:45:00Z".parse().unwrap();
    assert_eq!(never.opening(now), None);
}

#[test]
fn a_window_of_once_is_open_once() {
    let when = When::Once {
        from: "2026-12-24T18:00:00".parse().unwrap(),
        to: "2026-12-25T02:00:00".parse().unwrap(),
    };
    let sale = window("Asia/Seoul", when);
    check(
        &sale,
        NO_LEAD,
        &["2026-12-24T09:00:00Z", "2026-12-24T16:59:59Z"],
        &["2026-12-24T08:59:59Z", "2026-12-24T17:00:00Z", "2027-12-24T10:00:00Z"],
    );
    let soon = "2026-12-24T08:00:00Z".parse().unwrap();
    let opening = sale.opening(soon).unwrap();
    assert_eq!(opening.from, "2026-12-24T09:00:00Z".parse().unwrap());
    assert_eq!(sale.opening(opening.from), Some(opening), "which is now");
    assert_eq!(sale.next(opening.from), None);
}

#[test]
fn cron_takes_a_day_of_the_month_or_of_the_week() {
    // Vixie: the 1st, or any Monday. The 1st of December 2026 is a Tuesday, the 7th a Monday.
    let both = cron("UTC", "0 18 1 * MON", 60);
    check(
        &both,
        NO_LEAD,
        &["2026-12-01T18:00:00Z", "2026-12-07T18:59:59Z"],
        &["2026-12-02T18:00:00Z", "2026-12-07T19:00:00Z"],
    );
    let noon = "2026-12-02T12:00:00Z".parse().unwrap();
    assert_eq!(both.next(noon).unwrap().from, "2026-12-07T18:00:00Z".parse().unwrap());
}

#[test]
fn cron_with_a_lead_opens_before_its_time() {
    let morning = cron("UTC", "0 9 * * *", 120);
    check(
        &morning,
        Duration::from_secs(600),
        &["2026-12-01T08:50:00Z", "2026-12-01T10:59:59Z"],
        &["2026-12-01T08:49:59Z", "2026-12-01T11:00:00Z"],
    );
}

#[test]
fn a_lead_does_not_shut_the_window_that_is_open() {
    let hourly = cron("UTC", "0 * * * *", 90);
    check(&hourly, Duration::from_secs(1200), &["2026-12-01T08:45:00Z"], &[]);
}

#[test]
fn cron_of_six_fields_is_refused() {
    assert!(parse_cron("0 0 18 1 * MON").unwrap_err().contains("6 fields"));
    assert!(parse_cron("0 25 * * *").unwrap_err().contains("no cron expression"));
}
