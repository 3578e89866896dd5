//! `[pools.*.process]` and `[pools.*.exec]`: who makes the instances of an elastic pool.

use super::{DURATION, DURATION_OR_ZERO, Kind, Names, Shape, key};

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
