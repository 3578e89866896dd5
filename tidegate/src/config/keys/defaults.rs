//! `[defaults.*]`: what holds for every pool and route that does not say otherwise.

use super::routes::{RETRIES, TIMEOUTS};
use super::{DURATION, DURATION_OR_ZERO, Kind, Shape, key, later, word, word_later};

pub(crate) static DEFAULTS: Shape = Shape {
    keys: &[
        key("health", Kind::Table(&HEALTH), "How backends are asked whether they are well."),
        key("timeouts", Kind::Table(&TIMEOUTS), "Limits in time of every route."),
        key("retries", Kind::Table(&RETRIES), "What is tried again on every route."),
        key("outlier", Kind::Table(&OUTLIER), "When one backend is taken out by its answers."),
        key(
            "breaker",
            Kind::Table(&BREAKER),
            "When a backend gets no requests at all for a while. Without it none has a breaker.",
        ),
        key("drain", Kind::Table(&DRAIN), "How a backend leaves."),
    ],
};

pub(crate) static HEALTH: Shape = Shape {
    keys: &[
        key(
            "kind",
            Kind::Word(&[word("http"), word("tcp"), word("grpc")]),
            "Ask for a page, ask by `grpc.health.v1.Health`, or only connect.",
        )
        .or_else("\"http\" where path, status or body_contains is set, \"grpc\" where grpc_service is, else \"tcp\""),
        key("path", Kind::Target, "What an http check asks for.").or("/healthz"),
        key("host", Kind::HostName, "The `Host` of an http check, the `:authority` of a grpc one.")
            .or_else("the backend's address"),
        key("status", Kind::Many(&Kind::StatusRange), "Status codes that pass.").or("200-299"),
        key(
            "body_contains",
            Kind::Text,
            "Must occur in the first 64 KiB of the answer, and of what comes within `timeout`. \
             With or without it, a body that is cut fails the check.",
        ),
        key("grpc_service", Kind::Text, "Which service a grpc check asks about.")
            .or_else("the backend as a whole"),
        key("port", Kind::Integer(1, 65_535), "Port to ask.").or_else("the backend's own"),
        // With a timeout of half a second and three failures a backend that falls silent is out
        // after 1.2 s until the next check and three timeouts: 2.7 s at most.
        key(
            "interval",
            Kind::Duration("10ms", "1h"),
            "Between two checks of one backend; half of it while it is unhealthy, and at most 250 \
             ms from a first failure or pass until it is decided.",
        )
        .or("1s"),
        key("jitter", Kind::Share(50), "How much each interval varies, so that checks spread.")
            .or("20%"),
        key("timeout", Kind::Duration("1ms", "5m"), "For one check.").or("500ms"),
        key("healthy_after", Kind::Integer(1, 1000), "Passes in a row that bring a backend back.")
            .or("2"),
        key("unhealthy_after", Kind::Integer(1, 1000), "Failures in a row that take it out.")
            .or("3"),
        key(
            "initial",
            Kind::Word(&[word("down"), word_later("up")]),
            "What a new backend is before its first check.",
        )
        .or("down"),
        key(
            "slow_start",
            DURATION_OR_ZERO,
            "How long a backend that is new, or back, takes to rise to its whole share and its \
             whole `max_concurrency`, in a line; where no other is warm, the first has all at once. \
             0s: at once.",
        )
        .or("10s"),
        key(
            "min_healthy",
            Kind::Share(100),
            "Below this share of healthy backends (and above none) all that have ever passed a \
             check get requests, if no later pool of a route has room.",
        )
        .or_else("never"),
    ],
};

pub(crate) static OUTLIER: Shape = Shape {
    keys: &[
        key(
            "consecutive_5xx",
            Kind::Integer(0, 1000),
            "Failures in a row that eject a backend: answers of 500 and above, no connection, no \
             or no valid answer, timeouts. 0 counts none.",
        )
        .or("5"),
        key("error_rate", Kind::Table(&ERROR_RATE), "Share of failures that ejects a backend.")
            .or("{}"),
        key("latency", Kind::Table(&LATENCY), "Slowness that ejects a backend.").or("{}"),
        key(
            "eject_for",
            DURATION,
            "First absence, or 1s if each failure was a connection refused or cut. Each further one \
             soon after doubles, up to 5m; at its end the next health check that passes brings \
             the backend back.",
        )
        .or("30s"),
        key(
            "max_ejected",
            Kind::Share(100),
            "Share of the serving backends of a pool that may be out at once: at least one, but \
             never the last that takes requests. 0% ejects nobody.",
        )
        .or("30%"),
        later(
            "replace_after",
            Kind::Integer(1, 1000),
            "Ejections after which it is replaced. Until then an instance of an elastic pool that \
             is ejected again and again stays, ejected for longer each time: drain it by hand.",
        ),
    ],
};

static ERROR_RATE: Shape = Shape {
    keys: &[
        key("above", Kind::Share(100), "From this share on; 0% does not look at it.").or("20%"),
        key(
            "over",
            Kind::Duration("1s", "10m"),
            "Within this time, or within a newer part of it that has twice `min_requests`.",
        )
        .or("10s"),
        key("min_requests", Kind::Integer(1, 1_000_000), "With at least this many requests.")
            .or("50"),
    ],
};

static LATENCY: Shape = Shape {
    keys: &[
        key(
            "times",
            Kind::Integer(0, 1000),
            "The middle answer takes so many times as long as that of the pool; 0 does not look \
             at it.",
        )
        .or("10"),
        key("at_least", DURATION, "And at least so long.").or("50ms"),
        key(
            "min_requests",
            Kind::Integer(1, 1_000_000),
            "With at least this many answers within `error_rate.over`.",
        )
        .or("20"),
    ],
};

pub(crate) static BREAKER: Shape = Shape {
    keys: &[
        key("open_on", Kind::Table(&OPEN_ON), "What opens it.").or("{}"),
        key("open_for", DURATION, "How long it stays open.").or("10s"),
        key("half_open", Kind::Table(&HALF_OPEN), "How it closes again.").or("{}"),
    ],
};

static OPEN_ON: Shape = Shape {
    keys: &[
        key(
            "failure_rate",
            Kind::Share(100),
            "From this share of failures on, which are those of `outlier`; 0% does not look at it.",
        )
        .or("50%"),
        key(
            "slow_rate",
            Kind::Share(100),
            "From this share of slow answers on; an attempt that ran into a limit in time is one. \
             0% does not look at it.",
        )
        .or("0%"),
        key(
            "slower_than",
            Kind::Duration("1ms", "10s"),
            "What counts as slow: an answer whose head takes longer.",
        )
        .or("2s"),
        key("over", Kind::Duration("1s", "10m"), "Within this time.").or("10s"),
        key("min_requests", Kind::Integer(1, 1_000_000), "With at least this many requests.")
            .or("20"),
    ],
};

static HALF_OPEN: Shape = Shape {
    keys: &[
        key("probes", Kind::Integer(1, 1000), "Requests let through.").or("5"),
        key(
            "close_after",
            Kind::Integer(1, 1000),
            "Of these, those that have to go well; no more than `probes`.",
        )
        .or("4"),
    ],
};

pub(crate) static DRAIN: Shape = Shape {
    keys: &[
        key("stop_new", Kind::Word(&[word("at_once")]), "When it gets no new requests.")
            .or("at_once"),
        key(
            "wait_inflight",
            DURATION_OR_ZERO,
            "Requests under way that take longer are cut, and tried again where `retries` says so; their own timeouts go on meanwhile.",
        )
        .or_else("until they end"),
        key(
            "wait_streams",
            DURATION_OR_ZERO,
            "Tunnels (WebSocket) and answers of which nobody has said how long they are (event \
             streams) that take longer are cut, not all at once: spread over a fifth of this \
             time, at least 1s and at most 30s.",
        )
        .or("10m"),
        key(
            "after",
            Kind::Word(&[word("terminate")]),
            "What becomes of an instance of an elastic pool then.",
        )
        .or("terminate"),
    ],
};
