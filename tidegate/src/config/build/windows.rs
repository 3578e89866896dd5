//! `[[scalers.*.windows]]`: floors and ceilings by the clock.

use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use policies::scale::window::{When, Window, parse_cron};

use super::Build;
use crate::config::document::{Node, Span, Value};
use crate::config::keys::Kind;
use crate::config::text::{scaling as say, values};
use crate::config::view::View;

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// All windows of a scaler, and where each says its floor or begins; those that are wrong are left
/// out and said.
pub(super) fn windows(
    build: &mut Build<'_>,
    root: View<'_>,
    scaler: View<'_>,
) -> Vec<(Span, Window)> {
    let site = root.view("site").text("time_zone").unwrap_or("UTC");
    let tables = scaler.tables("windows");
    let mut found: Vec<(Span, Window)> = Vec::new();
    for (node, view) in tables {
        let Some(window) = window(build, site, node, view) else { continue };
        if found.iter().any(|(_, other)| other.name == window.name) {
            let span = view.own("name").map_or(node.span, |name| name.span);
            build.say(span, say::window_twice(&window.name));
        }
        let span = view.own("floor").map_or(node.span, |floor| floor.span);
        found.push((span, window));
    }
    found
}

fn window(build: &mut Build<'_>, site: &str, node: &Node, view: View<'_>) -> Option<Window> {
    // A zone that is wrong was complained about by the walk.
    let zone = TimeZone::get(view.text("zone").unwrap_or(site)).unwrap_or(TimeZone::UTC);
    let (floor, ceiling) = (view.integer("floor"), view.integer::<u32>("ceiling"));
    if floor.is_none() && ceiling.is_none() {
        build.say(node.span, say::window_of_nothing());
    }
    if let (Some(floor), Some(ceiling)) = (floor, ceiling)
        && floor > ceiling
    {
        let span = view.own("floor").map_or(node.span, |floor| floor.span);
        build.say(span, say::floor_above_ceiling(floor, ceiling));
    }
    let when = match view.own("cron") {
        Some(cron) => by_cron(build, node, view, cron)?,
        None => by_times(build, node, view)?,
    };
    Some(Window {
        name: view.text("name").unwrap_or_default().into(),
        zone,
        when,
        floor,
        ceiling,
        lead: view.given("lead").and(view.duration("lead")),
        place: build.place(node.span),
    })
}

fn by_cron(build: &mut Build<'_>, node: &Node, view: View<'_>, cron: &Node) -> Option<When> {
    for key in ["days", "from", "to"] {
        if let Some(other) = view.own(key) {
            build.say(
                other.span,
                say::window_unclear("`cron` says when it starts, and `for` how long it lasts"),
            );
        }
    }
    let Some(lasts) = view.duration("for") else {
        build.say(node.span, say::window_unclear("a window with `cron` needs `for`"));
        return None;
    };
    match parse_cron(cron.text()?) {
        Ok(parsed) if parsed.find_next_occurrence(&any_time(), false).is_err() => {
            let text = cron.text().unwrap_or_default();
            build.say(cron.span, say::window_never(text));
            None
        }
        Ok(cron) => Some(When::Cron { cron: Box::new(cron), lasts }),
        Err(why) => {
            build.say(cron.span, say::window_unclear(&why));
            None
        }
    }
}

/// What never comes after this, never comes.
fn any_time() -> Zoned {
    Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC)
}

fn by_times(build: &mut Build<'_>, node: &Node, view: View<'_>) -> Option<When> {
    let (Some(from), Some(to)) = (view.own("from"), view.own("to")) else {
        build.say(node.span, say::window_unclear("it needs `from` and `to`, or `cron` and `for`"));
        return None;
    };
    if let Some(lasts) = view.own("for") {
        build
            .say(lasts.span, say::window_unclear("`to` says when it ends; `for` goes with `cron`"));
    }
    if let (Value::Date(start), Value::Date(end)) = (&from.value, &to.value)
        && let (Ok(start), Ok(end)) = (start.parse::<DateTime>(), end.parse::<DateTime>())
    {
        if view.own("days").is_some() {
            build.say(
                node.span,
                say::window_unclear("a window with dates is open once and has no `days`"),
            );
        }
        if end <= start {
            build.say(to.span, say::window_unclear("it ends before it starts"));
            return None;
        }
        return Some(When::Once { from: start, to: end });
    }
    let days = days(build, view)?;
    Some(When::Weekly { days, from: time(build, from)?, to: time(build, to)? })
}

fn time(build: &mut Build<'_>, node: &Node) -> Option<Time> {
    let text = match &node.value {
        Value::Text(text) => text.as_str(),
        Value::Date(text) => text.as_str(),
        _ => return None,
    };
    let time = text.parse::<Time>().ok().filter(|_| text.len() >= 5 && text.as_bytes()[2] == b':');
    if time.is_none() {
        build.say(
            node.span,
            values::malformed(
                &Kind::Text,
                text,
                "a time of day is `18:30`, and dates are in both `from` and `to`",
            ),
        );
    }
    time
}

/// `Mon`, `Mon-Fri`; every day if nothing is said.
fn days(build: &mut Build<'_>, view: View<'_>) -> Option<[bool; 7]> {
    if view.own("days").is_none() {
        return Some([true; 7]);
    }
    let mut days = [false; 7];
    let mut is_right = true;
    for node in view.list("days") {
        let text = node.text().unwrap_or_default();
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let place = |day: &str| DAYS.iter().position(|name| *name == day.trim().to_lowercase());
        let (Some(first), Some(last)) = (place(first), place(last)) else {
            is_right = false;
            build.say(
                node.span,
                values::malformed(
                    &Kind::Text,
                    text,
                    "days are `Mon` to `Sun`, or a range such as `Mon-Fri`",
                ),
            );
            continue;
        };
        // A range may go round the end of the week.
        (0..=(last + 7 - first) % 7).for_each(|step| days[(first + step) % 7] = true);
    }
    is_right.then_some(days)
}
