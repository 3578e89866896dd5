//! `[site]`, `[observe]` and `[admin]`

use super::{DURATION, Kind, Names, RETENTION, Shape, key, later, word};

pub(crate) static SITE: Shape = Shape {
    keys: &[
        key("name", Kind::Name, "Names this site in `Via`, metrics and alerts.").or("tidegate"),
        key("zone", Kind::Name, "Failure domain the door stands in; backends in it are preferred."),
        key("time_zone", Kind::Zone, "Zone of every time in this file that names none.").or("UTC"),
        key("state_dir", Kind::File, "Where state is kept.").or("/var/lib/tidegate"),
        key(
            "maintenance",
            Kind::Flag,
            "Answer every request with 503 and a short notice; checks and metrics go on.",
        )
        .or("false"),
        key("seed", Kind::Integer(0, i64::MAX), "Seed of every die that is rolled, for tests.")
            .or_else("random at each start"),
        later("locale", Kind::Text, "Language of alert text.").or("en"),
        later("currency", Kind::Text, "Of every sum of money in this file."),
    ],
};

pub(crate) static OBSERVE: Shape = Shape {
    keys: &[
        key("metrics", Kind::Table(&METRICS), "Metrics and health for scrapers, read only."),
        key("access_log", Kind::Table(&ACCESS_LOG), "One line per request.").or_else("off"),
        key("log", Kind::Table(&LOG), "What the program says of itself, on standard error.")
            .or("{}"),
        later("traces", Kind::Table(&TRACES), "Spans for a tracing backend."),
        later("shape", Kind::Table(&SHAPE), "Counts per second, kept for simulations."),
        later("journal", Kind::Table(&JOURNAL), "Every scaling decision and why."),
        key(
            "cloudwatch",
            Kind::Table(&CLOUDWATCH),
            "Headline figures for CloudWatch (`docs/alerts.md`).",
        )
        .or_else("off"),
    ],
};

static METRICS: Shape = Shape {
    keys: &[
        key("listen", Kind::ListenAddress, "Address and port of `/metrics`, `/livez`, `/readyz`."),
        key("format", Kind::Word(&[word("prometheus")]), "What it is written in.").or("prometheus"),
    ],
};

static ACCESS_LOG: Shape = Shape {
    keys: &[
        key(
            "to",
            Kind::Many(&Kind::LogTarget),
            "`stdout`, or `file:///path`; the file is opened again on SIGUSR1.",
        )
        .required(),
        key("format", Kind::Word(&[word("json"), word("combined"), word("clf")]), "Of a line.")
            .or("json"),
        key(
            "redact_query",
            Kind::Many(&Kind::Text),
            "Query parameters whose values are not written.",
        )
        .or("[\"access_token\", \"token\", \"password\", \"secret\", \"signature\", \"code\"]"),
        later("sample", Kind::Share(100), "Share of the requests that is written.").or("100%"),
    ],
};

static LOG: Shape = Shape {
    keys: &[
        key(
            "level",
            Kind::Word(&[word("error"), word("warn"), word("info"), word("debug"), word("trace")]),
            "The least important events that are written.",
        )
        .or("info"),
        key("format", Kind::Word(&[word("text"), word("json")]), "Of a line.").or("text"),
    ],
};

static TRACES: Shape = Shape {
    keys: &[
        key("otlp", Kind::Text, "URL of the collector."),
        key("sample", Kind::Share(100), "Share of the requests."),
        key(
            "always_if",
            Kind::List(&Kind::Text),
            "Conditions under which a request is always kept.",
        ),
    ],
};

static SHAPE: Shape = Shape {
    keys: &[
        key("record", Kind::Flag, "Whether to."),
        key("keep", RETENTION, "How long."),
        key("per", DURATION, "Length of one count."),
    ],
};

static JOURNAL: Shape = Shape {
    keys: &[key("keep", RETENTION, "How long."), key("export", Kind::Text, "Where copies go.")],
};

static CLOUDWATCH: Shape = Shape {
    keys: &[
        key("namespace", Kind::Text, "Of the figures.").or("Tidegate"),
        key("every", Kind::Duration("1s", "1d"), "How often they are written; each call costs.")
            .or("60s"),
        key("region", Kind::Text, "Of AWS, such as `eu-west-2`.")
            .or_else("that of environment, profile or machine"),
        key("endpoint", Kind::Text, "URL to call instead of the region's own.")
            .or_else("AWS's own"),
    ],
};

pub(crate) static ADMIN: Shape = Shape {
    keys: &[
        key("listen", Kind::ListenAddress, "Loopback address and port; read only."),
        key("unix", Kind::File, "Unix socket, mode 0660; who may open it may change things."),
        later("tls", Kind::Table(&ADMIN_TLS), "TLS for operators."),
        later("audit_log", Kind::File, "Who did what."),
        later("roles", Kind::Named(Names::Ours, &Kind::List(&Kind::Text)), "What a role may do."),
        later("users", Kind::List(&Kind::Table(&USER)), "People."),
        later("tokens", Kind::List(&Kind::Table(&TOKEN)), "Programs."),
        later("approve", Kind::Table(&APPROVE), "What needs a second look."),
    ],
};

static ADMIN_TLS: Shape = Shape {
    keys: &[
        key("cert", Kind::File, "The chain, PEM."),
        key("key", Kind::OneOf(&[Kind::File, Kind::Secret]), "The private key, PEM."),
        key("client_ca", Kind::File, "Authorities whose client certificates are accepted."),
    ],
};

static USER: Shape = Shape {
    keys: &[
        key("name", Kind::Name, "Who.").required(),
        key("role", Kind::Text, "What they may do."),
        key("password_hash", Kind::Secret, "Argon2 hash."),
        key("totp", Kind::Flag, "Whether a second factor is needed."),
    ],
};

static TOKEN: Shape = Shape {
    keys: &[
        key("name", Kind::Name, "Whose.").required(),
        key("role", Kind::Text, "What it may do."),
        key("hash", Kind::Secret, "Hash of the token."),
        key("expires", Kind::Date, "When it ends."),
    ],
};

static APPROVE: Shape = Shape {
    keys: &[
        key("two_people", Kind::List(&Kind::Text), "What needs two people."),
        key("ask_first", Kind::List(&Kind::Text), "What waits for a yes."),
    ],
};

pub(crate) static DRAIN: Shape = Shape {
    keys: &[
        key(
            "grace",
            Kind::Duration("0s", "1h"),
            "From SIGTERM on it is not ready, and only after this long it stops accepting: time for \
             whoever asks `/readyz` to send clients elsewhere.",
        )
        .or("0s"),
        key(
            "limit",
            Kind::Duration("1s", "24h"),
            "What still runs this long after it has stopped accepting is cut.",
        )
        .or("75s"),
        key(
            "hand_over",
            Kind::Duration("1s", "24h"),
            "The same in a process from which another has taken over.",
        )
        .or("10m"),
    ],
};
