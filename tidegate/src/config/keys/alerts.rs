//! `[alerts]`: who is told, of what, and how.

use super::{
    DURATION, DURATION_OR_ZERO, Kind, Names, RETENTION, Shape, Word, key, later, word, word_later,
};

pub(crate) static ALERTS: Shape = Shape {
    keys: &[
        key(
            "sinks",
            Kind::Named(Names::Ours, &Kind::Table(&SINK)),
            "Where alerts go (`docs/alerts.md`).",
        ),
        key("rules", Kind::List(&Kind::Table(&ALERT_RULE)), "Which events are told, and to whom."),
        key("dedup_window", DURATION, "The same alert again is one alert within this time.")
            .or("5m"),
        key("redact", Kind::List(&Kind::Text), "Fields of events that are never in a message.")
            .or("[\"client_ip\", \"cookie\", \"authorization\"]"),
        key("send_resolved", Kind::Flag, "Whether it is told that something is over.").or("true"),
        key("repeat_every", DURATION, "When something that lasts is told again.").or_else("never"),
        key(
            "group_wait",
            DURATION_OR_ZERO,
            "How long a message waits for others, to be one with them; not for a `.fifo` topic.",
        )
        .or("0s"),
        key(
            "group_by",
            Kind::List(&Kind::Word(&GROUP_BY)),
            "What messages have in common that become one.",
        )
        .or("[\"site\", \"pool\"]"),
        later("spool", Kind::Table(&SPOOL), "Alerts that could not be delivered."),
        later("heartbeat", Kind::Table(&HEARTBEAT), "A sign of life; its absence is an alarm."),
    ],
};

static SPOOL: Shape = Shape {
    keys: &[
        key("max", Kind::Integer(0, 10_000_000), "How many."),
        key("keep", RETENTION, "How long."),
        key("dead_letter_after", DURATION, "When delivery is given up."),
    ],
};

static SINK: Shape = Shape {
    keys: &[
        key("kind", Kind::Word(&[word("exec"), word("sns"), word_later("webhook")]), "What it is.")
            .required(),
        key(
            "command",
            Kind::Many(&Kind::Text),
            "Of `exec`: program and arguments, without a shell; it gets one message as JSON.",
        ),
        key("timeout", Kind::Duration("100ms", "1h"), "For one message; a program is killed then.")
            .or("10s"),
        key(
            "env",
            Kind::Named(Names::Free, &Kind::Body),
            "Of `exec`: further variables of its environment.",
        ),
        key("retry", Kind::Table(&SINK_RETRY), "What happens when it does not answer.").or("{}"),
        key(
            "topic_arn",
            Kind::Text,
            "Of `sns`: the topic; one whose name ends with `.fifo` keeps order.",
        ),
        key(
            "attributes",
            Kind::List(&Kind::Word(&ATTRIBUTES)),
            "Of `sns`: message attributes, for filter policies of subscriptions.",
        )
        .or("[\"severity\", \"state\", \"site\", \"pool\", \"kind\"]"),
        key(
            "group_id",
            Kind::Text,
            "Of a `.fifo` topic: order holds within it; `{site}` and `{pool}` are filled in.",
        )
        .or("{site}/{pool}"),
        key(
            "dedup_id",
            Kind::Text,
            "Of a `.fifo` topic: `{alert}`, `{state}` and `{sequence}` are filled in.",
        )
        .or("{alert}/{state}/{sequence}"),
        key("endpoint", Kind::Text, "Of `sns`: URL to call instead of the region's own.")
            .or_else("AWS's own"),
        later("batch", Kind::Table(&BATCH), "Several alerts in one call."),
        later("url", Kind::Secret, "Of a webhook; whoever knows it can write there."),
        later("sign", Kind::Table(&SIGN), "Proves to a webhook who calls."),
    ],
};

/// What messages can have in common. The event is the one of a calendar.
static GROUP_BY: [Word; 4] = [word("site"), word("pool"), word("kind"), word_later("event")];

/// What a message attribute can be. The event is the one of a calendar.
static ATTRIBUTES: [Word; 6] = [
    word("severity"),
    word("state"),
    word("site"),
    word("pool"),
    word("kind"),
    word_later("event"),
];

static SINK_RETRY: Shape = Shape {
    keys: &[
        key("max", Kind::Integer(0, 1000), "Attempts beyond the first.").or("8"),
        key("backoff", Kind::Text, "Shortest and longest pause; it doubles in between.")
            .or("1s..2m"),
    ],
};

static BATCH: Shape = Shape {
    keys: &[
        key("max", Kind::Integer(1, 10), "How many."),
        key("wait", DURATION_OR_ZERO, "How long for more."),
    ],
};

static SIGN: Shape =
    Shape { keys: &[key("hmac_sha256", Kind::Secret, "Key of the signature.").required()] };

static ALERT_RULE: Shape = Shape {
    keys: &[
        key("when", Kind::Many(&Kind::Text), "Kinds of events, out of `docs/events.md`.")
            .required(),
        key(
            "severity",
            Kind::Word(&[word("critical"), word("warning"), word("info")]),
            "How urgent they are.",
        )
        .or("warning"),
        key("to", Kind::Many(&Kind::Text), "Sinks.").required(),
        later("quiet", Kind::Table(&QUIET), "When they can wait."),
    ],
};

static QUIET: Shape = Shape {
    keys: &[
        key("from", Kind::Text, "Time of day."),
        key("to", Kind::Text, "Time of day."),
        key("unless", Kind::List(&Kind::Text), "When they cannot wait after all."),
    ],
};

static HEARTBEAT: Shape = Shape {
    keys: &[key("every", DURATION, "How often."), key("to", Kind::List(&Kind::Text), "Sinks.")],
};
