//! `[[routes]]`

use super::{DURATION, Kind, Names, Shape, key, later, word};

pub(crate) static ROUTE: Shape = Shape {
    keys: &[
        key("name", Kind::Name, "Unique; a label in metrics and logs.").required(),
        key("match", Kind::Table(&MATCH), "Which requests. All conditions in it must hold.")
            .or_else("every request"),
        key("to", Kind::Table(&TO), "The pool, or pools, that answer."),
        key("redirect", Kind::Table(&REDIRECT), "Answer with a redirect."),
        key("respond", Kind::Table(&RESPOND), "Answer with something fixed."),
        key("maintenance", Kind::Flag, "Answer 503 and a short notice instead.").or("false"),
        key("rewrite", Kind::Table(&REWRITE), "What the backend sees as the path."),
        key("headers", Kind::Table(&HEADERS), "Edits of header fields."),
        key(
            "timeouts",
            Kind::Table(&TIMEOUTS),
            "Limits in time, instead of `[defaults.timeouts]`.",
        )
        .or("{}"),
        key("retries", Kind::Table(&RETRIES), "Instead of `[defaults.retries]`.").or("{}"),
        key("limits", Kind::Table(&LIMITS), "How much of it."),
        key(
            "allow",
            Kind::Many(&Kind::Cidr),
            "Client addresses that may use it; the rest gets 403.",
        )
        .or_else("everybody"),
        key(
            "deny",
            Kind::Many(&Kind::Cidr),
            "Client addresses that get 403, whatever `allow` says.",
        ),
        key("sticky", Kind::Table(&STICKY), "A signed cookie keeps a client at its backend."),
        key(
            "priority",
            Kind::Word(&[word("critical"), word("normal"), word("low")]),
            "Who goes first when requests wait, and who is sent away last when too many do.",
        )
        .or("normal"),
        later("waiting_room", Kind::Text, "Where its clients wait when there is no free slot."),
    ],
};

/// Holds itself: `any`, `all` and `not` combine matches.
pub(crate) static MATCH: Shape = Shape {
    keys: &[
        key("host", Kind::Many(&Kind::Host), "Host names; `*.example.org` is every name below it."),
        key("path", Kind::Many(&Kind::WholePath), "The whole path; `*` is that of `OPTIONS *`."),
        key("path_prefix", Kind::Many(&Kind::Path), "The path or anything below it."),
        key("path_regex", Kind::Many(&Kind::Regex), "Found anywhere in the path unless anchored."),
        key("methods", Kind::Many(&Kind::Method), "Methods."),
        key("header", Kind::Named(Names::Header, &VALUE), "Header fields and their values."),
        key("query", Kind::Named(Names::Free, &VALUE), "Query parameters and their values."),
        key("cookie", Kind::Named(Names::Free, &VALUE), "Cookies and their values."),
        key("source", Kind::Many(&Kind::Cidr), "Client addresses."),
        key("listener", Kind::Listener, "The listener that the request came in by."),
        key("any", Kind::List(&Kind::Table(&MATCH)), "One of these must hold."),
        key("all", Kind::List(&Kind::Table(&MATCH)), "All of these must hold."),
        key("not", Kind::Table(&MATCH), "This must not hold."),
    ],
};

static VALUE: Kind = Kind::OneOf(&[Kind::Body, Kind::Table(&VALUE_TABLE)]);

static VALUE_TABLE: Shape = Shape {
    keys: &[
        key("regex", Kind::Regex, "Found anywhere in the value unless anchored."),
        key("present", Kind::Flag, "Whether it is there at all."),
    ],
};

static TO: Shape = Shape {
    keys: &[
        key("pool", Kind::Pool, "This pool."),
        key("waterfall", Kind::List(&Kind::Pool), "The first of these pools that has room."),
        key("split", Kind::List(&Kind::Table(&ARM)), "Shares of the requests."),
        key("sticky", Kind::Table(&STICKY_SPLIT), "What keeps a client in its share."),
    ],
};

static ARM: Shape = Shape {
    keys: &[
        key("pool", Kind::Pool, "This pool."),
        key("waterfall", Kind::List(&Kind::Pool), "The first of these pools that has room."),
        key("weight", Kind::Integer(0, 1_000_000), "Share relative to the sum.").required(),
        later("version", Kind::Text, "Only backends of this version."),
    ],
};

static STICKY_SPLIT: Shape = Shape {
    keys: &[key(
        "by",
        Kind::OneOf(&[Kind::Word(&[word("client_address"), word("path")]), Kind::Table(&BY_FIELD)]),
        "What stands for the client.",
    )
    .required()],
};

static BY_FIELD: Shape = Shape {
    keys: &[
        key("header", Kind::HeaderName, "The first value of this header."),
        key("cookie", Kind::CookieName, "The value of this cookie."),
    ],
};

static REDIRECT: Shape = Shape {
    keys: &[
        key(
            "to",
            Kind::Location,
            "A URL or path; `{host}`, `{path}` and `{query}` stand for those of the request. `{query}` \
             brings its own `?`, if there is a query: write `/new{path}{query}`.",
        )
        .required(),
        key("status", Kind::Status(301, 308), "301, 302, 303, 307 or 308.").or("308"),
    ],
};

static RESPOND: Shape = Shape {
    keys: &[
        key("status", Kind::Status(200, 599), "Status code.").or("200"),
        key("body", Kind::Body, "What is sent."),
        key("file", Kind::File, "A file that is read at start and sent, up to 1 MiB."),
        key("content_type", Kind::HeaderValue, "Of the body.").or("text/plain; charset=utf-8"),
    ],
};

static REWRITE: Shape = Shape {
    keys: &[
        key("prefix", Kind::Path, "Takes the place of the `path_prefix` that matched."),
        key("path", Kind::Path, "Takes the place of the whole path."),
        key("regex", Kind::Regex, "Every match in the path is replaced by `replacement`."),
        key("replacement", Kind::Body, "What a match of `regex` becomes; `$1` is its first group."),
    ],
};

static HEADERS: Shape = Shape {
    keys: &[
        key("request", Kind::Table(&EDITS), "What the backend gets."),
        key("response", Kind::Table(&EDITS), "What the client gets."),
    ],
};

static EDITS: Shape = Shape {
    keys: &[
        key("remove", Kind::Many(&Kind::HeaderName), "Taken out, first."),
        key(
            "set",
            Kind::Named(Names::Header, &Kind::HeaderValue),
            "Take the place of what has that name.",
        ),
        key("add", Kind::Named(Names::Header, &Kind::HeaderValue), "Put beside what is there."),
    ],
};

pub(crate) static TIMEOUTS: Shape = Shape {
    keys: &[
        key("connect", DURATION, "To connect to a backend.").or("1s"),
        key("attempt", DURATION, "For one backend to begin its answer; then another is tried.")
            .or_else("no limit but first_byte"),
        key("first_byte", DURATION, "For all attempts together until an answer begins.").or("30s"),
        key("total", DURATION, "For the whole request, to the last byte of the answer.")
            .or_else("no limit"),
        key("idle_stream", DURATION, "Without a byte in either direction while bodies flow.")
            .or("5m"),
    ],
};

pub(crate) static RETRIES: Shape = Shape {
    keys: &[
        key(
            "max",
            Kind::Integer(0, 10),
            "Attempts beyond the first. A repeat where a kept connection turned out closed is none \
             of them: there is one at most, paid from `budget`, and with `0` only of what does no \
             harm twice, has no body, and met a reset as of a connection closed before.",
        )
        .or("1"),
        key(
            "on",
            Kind::List(&Kind::Word(&[
                word("connect_failure"),
                word("reset_before_headers"),
                word("500"),
                word("502"),
                word("503"),
                word("504"),
            ])),
            "Failures that are tried again. What `timeouts.attempt` ends always is. A `500` is the \
             application's answer and tried again only where it is named.",
        )
        .or("[\"connect_failure\", \"reset_before_headers\", \"502\", \"503\", \"504\"]"),
        key(
            "methods",
            Kind::List(&Kind::Method),
            "Methods that are tried again although a backend may have got the request; one that \
             is not idempotent only with an `Idempotency-Key`.",
        )
        .or_else("the idempotent ones"),
        key(
            "budget",
            Kind::Share(100),
            "Such retries as a share of the pool's requests, beside three a second.",
        )
        .or("10%"),
        key("other_backend", Kind::Flag, "Never the same backend again.").or("true"),
    ],
};

static LIMITS: Shape = Shape {
    keys: &[
        key("body", Kind::SizeOrNone, "The request body; 413 beyond it.")
            .or_else("the listener's max_body"),
        key(
            "concurrency",
            Kind::Integer(1, 10_000_000),
            "Requests of this route that may be in flight at once, over all its pools.",
        )
        .or_else("no limit"),
        key(
            "reserve",
            Kind::Share(100),
            "Share of the capacity of each of its pools that only this route may use.",
        )
        .or("0%"),
        later("per_client", Kind::Rate, "Requests of one client; 429 beyond it."),
    ],
};

static STICKY: Shape = Shape {
    keys: &[
        key("cookie", Kind::CookieName, "Name of the cookie.").required(),
        key("ttl", DURATION, "How long it is believed after it was set.").or("30m"),
        key(
            "key",
            Kind::Secret,
            "Signs the cookie; at least 16 bytes. Doors that share it believe each other.",
        )
        .or_else("random at each start"),
        later("rebalance_on_scale_out", Kind::Flag, "Let new backends take clients over."),
    ],
};
