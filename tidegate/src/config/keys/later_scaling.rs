//! Sections about scaling that are known and have no effect yet.

use super::{DURATION, DURATION_OR_ZERO, Kind, Names, Shape, key, word};

/// A count of instances, or a share of those that an event needs.
static COUNT_OR_SHARE: &[Kind] = &[Kind::Integer(0, 1_000_000), Kind::Share(1000)];

pub(crate) static AWS: Shape = Shape {
    keys: &[
        key("region", Kind::Text, "Where instances are launched.").required(),
        key(
            "mode",
            Kind::Word(&[word("fleet"), word("asg")]),
            "Launch instances, or drive an Auto Scaling group that exists.",
        ),
        key(
            "credentials",
            Kind::OneOf(&[Kind::Word(&[word("instance_profile")]), Kind::Table(&CREDENTIALS)]),
            "Who we are at AWS.",
        ),
        key("launch_template", Kind::Table(&LAUNCH_TEMPLATE), "What is launched."),
        key("subnets", Kind::List(&Kind::Text), "Where, one per zone."),
        key("security_groups", Kind::List(&Kind::Text), "Who may reach them."),
        key("instance_types", Kind::List(&Kind::Text), "In the order of preference."),
        key("purchase", Kind::Table(&PURCHASE), "How many of which kind of offer."),
        key("price_file", Kind::File, "What an hour of each type costs."),
        key("warm_pool", Kind::Table(&WARM_POOL), "Instances kept ready."),
        key("interruptions", Kind::Table(&INTERRUPTIONS), "Where AWS says what it takes back."),
        key("backend_port", Kind::Integer(1, 65_535), "Port that instances listen on."),
        key("tags", Kind::Named(Names::Free, &Kind::Text), "Tags of everything launched."),
    ],
};

static CREDENTIALS: Shape =
    Shape { keys: &[key("profile", Kind::Text, "Of the AWS configuration file.")] };

static LAUNCH_TEMPLATE: Shape = Shape {
    keys: &[
        key("id", Kind::Text, "Of the template.").required(),
        key("version", Kind::Text, "A number; a moving version cannot be repeated.").required(),
    ],
};

static PURCHASE: Shape = Shape {
    keys: &[
        key("on_demand_base", Kind::Integer(0, 100_000), "These many at full price first."),
        key("spot_share", Kind::Share(100), "Of those beyond."),
    ],
};

static WARM_POOL: Shape = Shape {
    keys: &[
        key("state", Kind::Word(&[word("stopped"), word("running")]), "How they are kept."),
        key("min", Kind::Integer(0, 100_000), "How many at least."),
        key("max", Kind::Integer(0, 100_000), "How many at most."),
    ],
};

static INTERRUPTIONS: Shape = Shape { keys: &[key("queue_url", Kind::Text, "Of an SQS queue.")] };

pub(crate) static BOOT: Shape = Shape {
    keys: &[
        key("learn", Kind::Flag, "Measure it."),
        key("assume", DURATION, "Until enough launches were seen."),
        key("percentile", Kind::Integer(1, 99), "Of the launches seen."),
        key("give_up_after", DURATION, "When a launch has failed."),
    ],
};

pub(crate) static CALENDAR: Shape = Shape {
    keys: &[
        key("source", Kind::Text, "URL or `file:///path` of an iCalendar file.").required(),
        key("refresh", DURATION, "How often it is read."),
        key("keep_last_good", Kind::Flag, "A broken feed never erases known fixtures."),
        key("max_change", Kind::Share(100), "More than this vanished: ask first."),
    ],
};

pub(crate) static SCALER: Shape = Shape {
    keys: &[
        key("pool", Kind::Pool, "Which pool; its own name if left out."),
        key("mode", Kind::Word(&[word("act"), word("shadow")]), "Act, or only say what it would."),
        key("tick", DURATION, "How often it decides."),
        key("floor", Kind::Integer(0, 1_000_000), "Never fewer."),
        key("ceiling", Kind::Integer(0, 1_000_000), "Never more."),
        key("min_spare_instances", Kind::Integer(0, 1_000_000), "Never cut by the budget."),
        key("target", Kind::Table(&TARGET), "How hard an instance should work."),
        key("step", Kind::Table(&STEP), "Steps by a signal, beside `target`."),
        key("trend", Kind::Table(&TREND), "Look ahead along the slope."),
        key("signals", Kind::Named(Names::Ours, &Kind::Table(&SIGNAL)), "Further measurements."),
        key("up", Kind::Table(&PACE), "How fast it grows."),
        key("down", Kind::Table(&PACE), "How fast it shrinks."),
        key("on_missing_signal", Kind::Table(&ON_MISSING), "What it does when it is blind."),
        key("forecast", Kind::Table(&FORECAST), "What it learns from the past."),
        key("events", Kind::List(&Kind::Table(&EVENT)), "Preparation for fixtures."),
        key("windows", Kind::List(&Kind::Table(&WINDOW)), "Floor and ceiling by the clock."),
        key(
            "depends",
            Kind::Named(Names::Ours, &Kind::Table(&DEPENDS)),
            "Capacity that more instances cannot buy.",
        ),
    ],
};

static TARGET: Shape = Shape {
    keys: &[
        key("signal", Kind::Text, "What is measured."),
        key("per_instance", Kind::Number, "What one instance should carry."),
        key("window", DURATION, "Over how long."),
        key("burst", Kind::Table(&BURST), "A short window that only ever grows the pool."),
        key("spare", Kind::Share(1000), "On top."),
    ],
};

static BURST: Shape = Shape {
    keys: &[
        key("window", DURATION, "Over how long."),
        key("when_above", Kind::Factor, "Times the target."),
    ],
};

static STEP: Shape = Shape {
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

static TREND: Shape =
    Shape { keys: &[key("horizon", Kind::Text, "How far: `boot`, or a duration.")] };

static SIGNAL: Shape = Shape {
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

static PACE: Shape = Shape {
    keys: &[
        key("max_step", Kind::OneOf(COUNT_OR_SHARE), "At most this much at once."),
        key("min_step", Kind::Integer(1, 1_000_000), "At least this many at once."),
        key("cooldown", DURATION_OR_ZERO, "Between two steps."),
        key("stable_for", DURATION_OR_ZERO, "How long demand must stay low."),
        key("freeze_if", Kind::List(&Kind::Text), "Conditions under which nothing shrinks."),
        key("victim", Kind::List(&Kind::Text), "Who leaves first."),
    ],
};

static ON_MISSING: Shape = Shape {
    keys: &[
        key("after", DURATION_OR_ZERO, "Without a measurement."),
        key("do", Kind::Text, "`hold`, `floor_of_event` or `instances = N`."),
    ],
};

static FORECAST: Shape = Shape {
    keys: &[
        key("mode", Kind::Word(&[word("shadow"), word("act"), word("off")]), "Whether it counts."),
        key("history", DURATION, "How far back."),
        key("season", DURATION, "After which time traffic repeats."),
    ],
};

static EVENT: Shape = Shape {
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

static WINDOW: Shape = Shape {
    keys: &[
        key("name", Kind::Name, "Names it.").required(),
        key("zone", Kind::Zone, "Of its times; the site's if left out."),
        key("days", Kind::List(&Kind::Text), "Such as `Mon-Fri`."),
        key("from", Kind::OneOf(&[Kind::Text, Kind::Date]), "Time of day, or date and time."),
        key("to", Kind::OneOf(&[Kind::Text, Kind::Date]), "Time of day, or date and time."),
        key("cron", Kind::Text, "Five fields, instead of `days` and `from`."),
        key("for", DURATION, "How long, with `cron`."),
        key("floor", Kind::Integer(0, 1_000_000), "Never fewer during it."),
        key("ceiling", Kind::Integer(0, 1_000_000), "Never more during it."),
    ],
};

static DEPENDS: Shape = Shape {
    keys: &[
        key("connections", Kind::Integer(0, i64::MAX), "What it has."),
        key("per_instance", Kind::Integer(0, i64::MAX), "What one instance takes."),
    ],
};
