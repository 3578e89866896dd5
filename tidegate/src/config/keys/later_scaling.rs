//! Sections about scaling that are known and have no effect yet.

use super::{DURATION, DURATION_OR_ZERO, Kind, Shape, key, word};

/// A count of instances, or a share of those that an event needs.
static COUNT_OR_SHARE: &[Kind] = &[Kind::Integer(0, 1_000_000), Kind::Share(1000)];

pub(crate) static CALENDAR: Shape = Shape {
    keys: &[
        key("source", Kind::Text, "URL or `file:///path` of an iCalendar file.").required(),
        key("refresh", DURATION, "How often it is read."),
        key("keep_last_good", Kind::Flag, "A broken feed never erases known fixtures."),
        key("max_change", Kind::Share(100), "More than this vanished: ask first."),
    ],
};

pub(crate) static STEP: Shape = Shape {
    keys: &[
        key("signal", Kind::Text, "What is measured."),
        key("steps", Kind::List(&Kind::Table(&STEP_ENTRY)), "From small to large."),
    ],
};

static STEP_ENTRY: Shape = Shape {
    keys: &[
        key("above", Kind::OneOf(&[DURATION, Kind::Number]), "More than this.").required(),
        key("add", Kind::OneOf(COUNT_OR_SHARE), "Adds this many instances, or this share."),
    ],
};

pub(crate) static TREND: Shape =
    Shape { keys: &[key("horizon", Kind::Text, "How far: `boot`, or a duration.")] };

pub(crate) static SIGNAL: Shape = Shape {
    keys: &[
        key("kind", Kind::Word(&[word("cloudwatch")]), "Where it comes from.").required(),
        key("metric", Kind::Table(&METRIC), "Which figure."),
        key("max_age", DURATION, "Older is missing."),
    ],
};

static METRIC: Shape = Shape {
    keys: &[
        key("namespace", Kind::Text, "Of CloudWatch."),
        key("name", Kind::Text, "Of the figure."),
        key("stat", Kind::Text, "How samples become one."),
        key("period", DURATION, "Over how long."),
    ],
};

pub(crate) static FORECAST: Shape = Shape {
    keys: &[
        key("mode", Kind::Word(&[word("shadow"), word("act"), word("off")]), "Whether it counts."),
        key("history", DURATION, "How far back."),
        key("season", DURATION, "After which time traffic repeats."),
    ],
};

pub(crate) static EVENT: Shape = Shape {
    keys: &[
        key("name", Kind::Name, "Names it.").required(),
        key("calendar", Kind::Name, "Where its fixtures are."),
        key("match", Kind::Table(&EVENT_MATCH), "Which fixtures of the calendar."),
        key("expect", Kind::Table(&EXPECT), "What they bring."),
        key("phases", Kind::List(&Kind::Table(&PHASE)), "Before, during and after."),
        key("extend", Kind::Table(&EXTEND), "When it lasts longer."),
        key("rehearse", Kind::Table(&REHEARSE), "What is tried out before."),
        key("on_conflict", Kind::Word(&[word("max"), word("sum")]), "Two fixtures at once."),
        key("ceiling", Kind::Integer(0, 1_000_000), "Never more during it."),
    ],
};

static EVENT_MATCH: Shape = Shape {
    keys: &[
        key("categories", Kind::List(&Kind::Text), "Any of these categories."),
        key("summary", Kind::Text, "This in the summary."),
    ],
};

static EXPECT: Shape = Shape {
    keys: &[
        key("concurrency", Kind::Integer(0, i64::MAX), "Concurrent requests at weight 1."),
        key("weight_from", Kind::Text, "Property of the fixture that holds its weight."),
    ],
};

static PHASE: Shape = Shape {
    keys: &[
        key("name", Kind::Name, "Names it."),
        key("from", Kind::Text, "Such as `start-60m`.").required(),
        key("to", Kind::Text, "Such as `end+30m`.").required(),
        key("floor", Kind::OneOf(COUNT_OR_SHARE), "Never fewer, or share of what is expected."),
        key("ramp", DURATION_OR_ZERO, "Spread launches over this time."),
        key("no_scale_in", Kind::Flag, "Nothing shrinks."),
        key("lead", DURATION_OR_ZERO, "How much earlier launches go out."),
    ],
};

static EXTEND: Shape = Shape {
    keys: &[
        key("while_concurrency_above", Kind::Integer(0, i64::MAX), "As long as this holds."),
        key("max", DURATION, "And no longer."),
    ],
};

static REHEARSE: Shape = Shape {
    keys: &[
        key("at", Kind::Text, "Such as `start-24h`."),
        key("check", Kind::List(&Kind::Text), "What is tried."),
    ],
};
