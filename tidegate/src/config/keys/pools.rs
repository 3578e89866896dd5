//! `[pools.*]`

use super::defaults::{BREAKER, DRAIN, HEALTH, OUTLIER};
use super::listeners::CERTIFICATE;
use super::providers::{AWS, EXEC, PROCESS};
use super::{DURATION, Kind, Shape, awaited, key, later, word, word_awaited};

static HASH_FIELD: Shape = Shape {
    keys: &[
        key("header", Kind::HeaderName, "The first value of this header."),
        key("cookie", Kind::CookieName, "The value of this cookie."),
    ],
};

pub(crate) static POOL: Shape = Shape {
    keys: &[
        key(
            "kind",
            Kind::Word(&[word("static"), word("elastic")]),
            "Whether its backends are listed here or launched when they are needed.",
        )
        .or("static"),
        key(
            "balance",
            Kind::Word(&[
                word("round_robin"),
                word("least_requests"),
                word("two_choices"),
                word("peak_ewma"),
                word("consistent_hash"),
                word("first"),
            ]),
            "How a backend is chosen.",
        )
        .or_else("\"least_requests\" up to 16 backends, \"two_choices\" above"),
        key(
            "hash_by",
            Kind::OneOf(&[
                Kind::Word(&[word("client_address"), word("path")]),
                Kind::Table(&HASH_FIELD),
            ]),
            "What `balance = \"consistent_hash\"` looks at.",
        )
        .or("client_address"),
        key("backends", Kind::List(&Kind::Table(&BACKEND)), "The servers of a static pool."),
        key(
            "max_concurrency",
            Kind::Integer(1, 1_000_000),
            "Requests that one backend may have in flight, where the backend does not say.",
        )
        .or_else("no limit"),
        key("limits", Kind::Table(&LIMITS), "What bounds the pool as a whole."),
        key(
            "queue",
            Kind::Table(&QUEUE),
            "Requests wait here while every backend, the pool or their route has as many as it may \
             have.",
        )
        .or("{}"),
        key("upstream", Kind::Table(&UPSTREAM), "How connections to backends are kept.").or("{}"),
        key(
            "health",
            Kind::Table(&HEALTH),
            "How backends are asked whether they are well, instead of `[defaults.health]`.",
        )
        .or("{}"),
        key("drain", Kind::Table(&DRAIN), "How a backend leaves, instead of `[defaults.drain]`.")
            .or("{}"),
        key(
            "outlier",
            Kind::Table(&OUTLIER),
            "When one backend is taken out by its answers, instead of `[defaults.outlier]`.",
        )
        .or("{}"),
        key(
            "breaker",
            Kind::Table(&BREAKER),
            "When a backend gets no requests at all for a while, instead of `[defaults.breaker]`.",
        ),
        key(
            "protocol",
            Kind::Word(&[word("http/1.1"), word_awaited("h2"), word_awaited("h2c")]),
            "What is spoken with the backends.",
        )
        .or("http/1.1"),
        awaited(
            "tls",
            Kind::Table(&POOL_TLS),
            "TLS toward the backends. A pool with it has no backends before it is supported.",
        ),
        key(
            "max_streams",
            Kind::Integer(1, 10_000_000),
            "WebSocket and event streams that one backend may carry. They take no place of \
             `max_concurrency`.",
        )
        .or_else("`max_concurrency` divided by `stream_weight`"),
        key("stream_weight", Kind::Number, "What one stream counts as demand, in requests.")
            .or("0.1"),
        key(
            "tier",
            Kind::Integer(0, 1000),
            "Lower tiers are filled before elastic pools above them grow.",
        )
        .or("0"),
        key(
            "fill_to",
            Kind::Share(100),
            "Share of the pool's capacity, the sum of `max_concurrency`, that a waterfall uses \
             before it opens the next pool, and that is filled before an elastic pool grows.",
        )
        .or("100%"),
        later("cost", Kind::Table(&COST), "What it costs."),
        later("link", Kind::Table(&LINK), "The line to the backends."),
        key(
            "boot",
            Kind::Table(&super::scaling::BOOT),
            "How long an instance of an elastic pool takes to start.",
        )
        .or("{}"),
        key(
            "process",
            Kind::Table(&PROCESS),
            "Instances of an elastic pool that are local processes.",
        ),
        key("exec", Kind::Table(&EXEC), "Instances of an elastic pool made by a program of yours."),
        key("aws", Kind::Table(&AWS), "Instances of an elastic pool at AWS EC2."),
    ],
};

static BACKEND: Shape = Shape {
    keys: &[
        key("id", Kind::Name, "Unique in the pool.").or_else("the address"),
        key(
            "address",
            Kind::BackendAddress,
            "Address and port, or a name and port; a name is resolved by its TTL.",
        )
        .required(),
        key(
            "weight",
            Kind::Integer(0, 1000),
            "Share of requests relative to the others of the pool; 0 takes none.",
        )
        .or("1"),
        key("zone", Kind::Name, "Failure domain it stands in; the door prefers its own."),
        key("max_concurrency", Kind::Integer(1, 1_000_000), "Requests it may have in flight.")
            .or_else("the pool's"),
    ],
};

static LIMITS: Shape = Shape {
    keys: &[key(
        "concurrency",
        Kind::Integer(1, 10_000_000),
        "Requests that all its backends together may have in flight.",
    )
    .or_else("the sum of the backends' `max_concurrency`")],
};

static QUEUE: Shape = Shape {
    keys: &[
        key(
            "max",
            Kind::Integer(0, 1_000_000),
            "Requests that may wait at once; 503 beyond it. 0: nobody waits.",
        )
        .or("1000"),
        key("bytes", Kind::Size("1KiB", "1TiB"), "What their heads may take together.").or("16MiB"),
        key("time", DURATION, "How long one may wait; 503 beyond it.").or("10s"),
    ],
};

static UPSTREAM: Shape = Shape {
    keys: &[
        key(
            "idle",
            DURATION,
            "Longest idle life of a connection; the backend's `Keep-Alive: timeout` shortens it.",
        )
        .or("4s"),
        key(
            "max_requests",
            Kind::Integer(1, 1_000_000_000),
            "Requests that one connection carries.",
        )
        .or("10000"),
        key("max_age", DURATION, "Longest life of a connection.").or("10m"),
        key("max_idle", Kind::Integer(0, 100_000), "Idle connections per backend and worker.")
            .or("256"),
        later("max_connections", Kind::Integer(1, 1_000_000), "Connections per backend."),
    ],
};

static POOL_TLS: Shape = Shape {
    keys: &[
        key("ca", Kind::File, "Authorities that may sign the backends' certificates.")
            .or_else("those of the system"),
        key("server_name", Kind::HostName, "The name that the certificate must have."),
        key("client", Kind::Table(&CERTIFICATE), "What the door shows to backends."),
    ],
};

static COST: Shape =
    Shape { keys: &[key("per_instance_hour", Kind::Number, "In the site's currency.")] };

static LINK: Shape = Shape {
    keys: &[
        key("max_bandwidth", Kind::Bandwidth, "What the line carries."),
        key("probe", Kind::BackendAddress, "Whom to ask whether it is up."),
        key("max_rtt", DURATION, "Longest round trip that counts as up."),
    ],
};
