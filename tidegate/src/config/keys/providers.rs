//! `[pools.*.process]`, `[pools.*.exec]` and `[pools.*.aws]`: who makes the instances of an elastic
//! pool.

use super::{DURATION, DURATION_OR_ZERO, Kind, Names, Shape, key, later, word, word_awaited};

pub(crate) static PROCESS: Shape = Shape {
    keys: &[
        key(
            "command",
            Kind::Many(&Kind::Text),
            "Program and arguments, without a shell; `{address}`, `{ip}`, `{port}`, `{id}` and \
             `{pool}` are filled in.",
        )
        .required(),
        key(
            "addresses",
            Kind::Cidr,
            "A range within 127.0.0.0/8; each instance gets the next free address of it.",
        )
        .or("127.60.0.0/24"),
        key("port", Kind::Integer(1, 65_535), "Port that each instance listens on.").required(),
        key("boot_delay", DURATION_OR_ZERO, "Time from the launch to the start.").or("0s"),
        key("grace", DURATION, "Time from SIGTERM to SIGKILL.").or("10s"),
        key(
            "env",
            Kind::Named(Names::Free, &Kind::Body),
            "Further variables of its environment, filled in like `command`.",
        ),
    ],
};

pub(crate) static EXEC: Shape = Shape {
    keys: &[
        key(
            "command",
            Kind::Many(&Kind::Text),
            "Program and arguments, without a shell; it gets one request on its standard input \
             and writes one answer (`docs/providers.md`).",
        )
        .required(),
        key("timeout", Kind::Duration("100ms", "1h"), "For one answer; then it is killed.")
            .or("60s"),
        key("env", Kind::Named(Names::Free, &Kind::Body), "Further variables of its environment."),
    ],
};

pub(crate) static AWS: Shape = Shape {
    keys: &[
        key("region", Kind::Text, "Where instances are launched, such as `eu-west-2`.").required(),
        key(
            "mode",
            Kind::Word(&[word("fleet"), word_awaited("asg")]),
            "Launch instances, or drive an Auto Scaling group that exists.",
        )
        .or("fleet"),
        key(
            "credentials",
            Kind::OneOf(&[Kind::Word(&[word("instance_profile")]), Kind::Table(&CREDENTIALS)]),
            "Who we are at AWS: the role of this machine alone, or a profile.",
        )
        .or_else("whatever environment, profile or machine have"),
        key("launch_template", Kind::Table(&LAUNCH_TEMPLATE), "What is launched.").required(),
        key(
            "subnets",
            Kind::Many(&Kind::Text),
            "Where, in the order of preference; one per zone is usual.",
        )
        .required(),
        key("security_groups", Kind::List(&Kind::Text), "Who may reach them.")
            .or_else("those of the template"),
        key("instance_types", Kind::List(&Kind::Text), "In the order of preference.")
            .or_else("that of the template"),
        key("purchase", Kind::Table(&PURCHASE), "How many of which kind of offer.").or("{}"),
        key("backend_port", Kind::Integer(1, 65_535), "Port that instances listen on.").required(),
        key("tags", Kind::Named(Names::Free, &Kind::Text), "Tags of everything launched."),
        key("endpoint", Kind::Text, "URL to call instead of the region's own.")
            .or_else("AWS's own"),
        key("timeout", Kind::Duration("100ms", "1m"), "For one answer of EC2.").or("10s"),
        key(
            "visible_within",
            DURATION_OR_ZERO,
            "How long a launched instance may be missing in the list of EC2 before it counts as \
             gone. The first launch after a first start waits for as long.",
        )
        .or("1m"),
        later("price_file", Kind::File, "What an hour of each type costs."),
        later("warm_pool", Kind::Table(&WARM_POOL), "Instances kept ready."),
        later("interruptions", Kind::Table(&INTERRUPTIONS), "Where AWS says what it takes back."),
    ],
};

static CREDENTIALS: Shape =
    Shape { keys: &[key("profile", Kind::Text, "Of the AWS configuration file.").required()] };

static LAUNCH_TEMPLATE: Shape = Shape {
    keys: &[
        key("id", Kind::Text, "Of the template, such as `lt-0a1b2c3d4e5f60718`.").required(),
        key(
            "version",
            Kind::OneOf(&[Kind::Integer(1, i64::MAX), Kind::Text]),
            "A number; a moving version cannot be repeated under one token.",
        )
        .required(),
    ],
};

static PURCHASE: Shape = Shape {
    keys: &[
        key("on_demand_base", Kind::Integer(0, 100_000), "These many at full price first.").or("0"),
        key(
            "spot_share",
            Kind::Share(100),
            "Of those beyond, cheaper ones that AWS may take back; at full price where it has none.",
        )
        .or("0%"),
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
