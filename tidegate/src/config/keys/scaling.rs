//! `[scalers.*]` and `[pools.*.boot]`: how large elastic pools are.

use super::later_scaling::{EVENT, FORECAST, SIGNAL, STEP, TREND};
use super::{DURATION, DURATION_OR_ZERO, Kind, Names, Shape, key, later, word};

/// A count of instances, or a share of those there are.
static COUNT_OR_SHARE: &[Kind] = &[Kind::Integer(0, 1_000_000), Kind::Share(1000)];

pub(crate) static BOOT: Shape = Shape {
    keys: &[
        key("learn", Kind::Flag, "Measure how long launches take, and reckon with that.")
            .or("true"),
        key("assume", DURATION, "What to reckon with until 5 launches of a kind were seen.")
            .or("4m"),
        key("percentile", Kind::Integer(1, 99), "So many of 100 launches are no slower.").or("95"),
        key("give_up_after", DURATION, "A launch that takes longer has failed.").or("10m"),
    ],
};

pub(crate) static SCALER: Shape = Shape {
    keys: &[
        key("pool", Kind::Pool, "Which pool.").or_else("the pool of the same name"),
        key(
            "mode",
            Kind::Word(&[word("act"), word("shadow")]),
            "`shadow` decides and says what it would do, and touches nothing.",
        )
        .or("act"),
        key("tick", Kind::Duration("50ms", "1m"), "How often it decides.").or("1s"),
        key("floor", Kind::Integer(0, 1_000_000), "Never fewer instances.").or("0"),
        key("ceiling", Kind::Integer(1, 1_000_000), "Never more instances.").or("10"),
        key(
            "min_spare_instances",
            Kind::Integer(0, 1_000_000),
            "At least as many while any is needed; never cut by a limit other than the ceiling.",
        )
        .or("0"),
        key("target", Kind::Table(&TARGET), "How hard an instance should work.").or("{}"),
        key("up", Kind::Table(&UP), "How fast it grows.").or("{}"),
        key("down", Kind::Table(&DOWN), "How fast it shrinks.").or("{}"),
        key("on_missing_signal", Kind::Table(&ON_MISSING), "What it does when it is blind.")
            .or("{}"),
        key("windows", Kind::List(&Kind::Table(&WINDOW)), "Floor and ceiling by the clock."),
        key(
            "depends",
            Kind::Named(Names::Ours, &Kind::Table(&DEPENDS)),
            "Capacity that more instances cannot buy.",
        ),
        later("step", Kind::Table(&STEP), "Steps by a signal, beside `target`."),
        later("trend", Kind::Table(&TREND), "Look ahead along the slope."),
        later("signals", Kind::Named(Names::Ours, &Kind::Table(&SIGNAL)), "Further measurements."),
        later("forecast", Kind::Table(&FORECAST), "What it learns from the past."),
        later("events", Kind::List(&Kind::Table(&EVENT)), "Preparation for fixtures."),
    ],
};

static TARGET: Shape = Shape {
    keys: &[
        key(
            "signal",
            Kind::Word(&[word("concurrency"), word("requests")]),
            "Requests at once (in service, waiting or refused), or requests per second.",
        )
        .or("concurrency"),
        key("per_instance", Kind::Number, "What one instance should carry, in that unit.")
            .or_else("80 % of the pool's `max_concurrency`"),
        key("window", Kind::Duration("1s", "1h"), "Demand is the mean of this long.").or("60s"),
        key("burst", Kind::Table(&BURST), "A short window that only ever grows the pool.").or("{}"),
        key("spare", Kind::Share(1000), "So many more than needed.").or("10%"),
        key(
            "drain_within",
            Kind::Duration("1s", "1h"),
            "Requests that wait should be served within this time.",
        )
        .or("10s"),
    ],
};

static BURST: Shape = Shape {
    keys: &[
        key(
            "window",
            DURATION,
            "Demand is the mean of this long, or of the last second if that is more.",
        )
        .or("6s"),
        key(
            "when_above",
            Kind::Factor,
            "Counts above so many times what those that serve should carry.",
        )
        .or("1.6x"),
    ],
};

static UP: Shape = Shape {
    keys: &[
        key(
            "max_step",
            Kind::OneOf(COUNT_OR_SHARE),
            "At most this much at once, unless requests wait or are refused.",
        )
        .or("100%"),
        key("min_step", Kind::Integer(1, 1_000_000), "May always be taken at once.").or("2"),
        key("cooldown", DURATION_OR_ZERO, "Between two steps.").or("0s"),
    ],
};

static DOWN: Shape = Shape {
    keys: &[
        key("stable_for", DURATION_OR_ZERO, "The highest need of this long rules.").or("10m"),
        key(
            "max_step",
            Kind::OneOf(COUNT_OR_SHARE),
            "At most this much at once, and at least one instance.",
        )
        .or("20%"),
        key("cooldown", DURATION_OR_ZERO, "Between two steps, and after one up.").or("2m"),
        key(
            "freeze_if",
            Kind::List(&Kind::Text),
            "Nothing shrinks while one of these holds: `outage_suspected`, `error_rate > 5%`, \
             `boot_in_progress`, `signal_missing`.",
        )
        .or_else("all four"),
        key(
            "victim",
            Kind::List(&Kind::Word(&[
                word("unhealthy"),
                word("spot_marked"),
                word("fewest_inflight"),
                word("end_of_billing_hour"),
                word("oldest_image"),
            ])),
            "Who leaves first; the first that tells two apart decides. An instance that its cloud \
             will take back leaves at once, with or without `spot_marked`.",
        )
        .or_else("all of them in this order"),
    ],
};

static ON_MISSING: Shape = Shape {
    keys: &[
        key("after", DURATION_OR_ZERO, "Without a measurement for this long.").or("15s"),
        key("do", Kind::Text, "`hold`, or `instances = N`: at least so many.").or("hold"),
    ],
};

static WINDOW: Shape = Shape {
    keys: &[
        key("name", Kind::Name, "Names it.").required(),
        key("zone", Kind::Zone, "Of its times.").or_else("the site's"),
        key("days", Kind::List(&Kind::Text), "Days on which it starts, such as `Mon-Fri`.")
            .or_else("every day"),
        key("from", Kind::OneOf(&[Kind::Text, Kind::Date]), "Time of day, or date and time."),
        key("to", Kind::OneOf(&[Kind::Text, Kind::Date]), "Time of day, or date and time."),
        key("cron", Kind::Text, "Five fields, instead of `days`, `from` and `to`."),
        key("for", DURATION, "How long, with `cron`."),
        key("floor", Kind::Integer(0, 1_000_000), "Never fewer during it, serving at its start."),
        key("ceiling", Kind::Integer(0, 1_000_000), "Never more during it."),
        key("lead", DURATION_OR_ZERO, "Launches for its floor go out so much earlier.")
            .or_else("as long as a launch takes"),
    ],
};

static DEPENDS: Shape = Shape {
    keys: &[
        key("connections", Kind::Integer(0, 4_294_967_295), "What it has.").required(),
        key("per_instance", Kind::Integer(1, 4_294_967_295), "What one instance takes.").required(),
    ],
};
