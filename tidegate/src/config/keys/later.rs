//! Sections that are known and have no effect yet, but for scaling ([`super::later_scaling`]).
//!
//! They are here so that a file for the finished product can be checked today: a typing mistake
//! in them is an error already, and the section as a whole is one warning.

use super::{DURATION, Kind, RETENTION, Shape, key, word};

pub(crate) static CLUSTER: Shape = Shape {
    keys: &[
        key("node", Kind::Name, "Names this door among the others."),
        key("listen", Kind::ListenAddress, "Where the others reach it."),
        key("peers", Kind::Many(&Kind::BackendAddress), "Where it reaches the others."),
        key("lease", Kind::Table(&LEASE), "Who decides which door leads the scaler."),
        key(
            "when_split",
            Kind::Word(&[word("fail_static")]),
            "What a door does that cannot reach the lease.",
        ),
    ],
};

static LEASE: Shape = Shape {
    keys: &[
        key("kind", Kind::Word(&[word("etcd"), word("none")]), "Who keeps it.").required(),
        key("endpoints", Kind::List(&Kind::Text), "URLs of the keeper."),
        key("ttl", DURATION, "How long it holds without renewal."),
    ],
};

pub(crate) static WAITING_ROOM: Shape = Shape {
    keys: &[
        key(
            "open_when",
            Kind::Word(&[word("no_free_slot"), word("always"), word("calendar")]),
            "When clients have to wait.",
        ),
        key("hold", Kind::Table(&HOLD), "Short waits: the request itself is held."),
        key("then", Kind::Word(&[word("page")]), "What a longer wait looks like."),
        key("order", Kind::Word(&[word("fifo"), word("random")]), "Who is next."),
        key("admit", Kind::Word(&[word("measured_capacity")]), "How many are let in."),
        key("session", DURATION, "How long somebody who was let in stays in."),
        key("abandon_after", DURATION, "When somebody who stopped asking gives the place back."),
        key("bypass", Kind::List(&Kind::Table(&BYPASS)), "Who does not wait."),
        key("page", Kind::File, "What those who wait see."),
    ],
};

static HOLD: Shape = Shape {
    keys: &[
        key("for", DURATION, "How long at most."),
        key("max", Kind::Integer(0, 10_000_000), "How many at most."),
    ],
};

static BYPASS: Shape = Shape {
    keys: &[
        key("cookie", Kind::CookieName, "Who has this cookie."),
        key("route", Kind::Name, "Requests of this route."),
    ],
};

pub(crate) static BUDGET: Shape = Shape {
    keys: &[
        key("pools", Kind::List(&Kind::Pool), "What is counted."),
        key("per_event", Kind::Number, "For one event, in the site's currency."),
        key("per_month", Kind::Number, "For a calendar month, in the site's currency."),
        key("warn_at", Kind::List(&Kind::Share(1000)), "Shares at which somebody is told."),
        key(
            "at_limit",
            Kind::Word(&[word("hold"), word("waiting_room"), word("alert_only")]),
            "What happens when it is used up.",
        ),
        key("override", Kind::Table(&OVERRIDE), "Who may spend more."),
    ],
};

static OVERRIDE: Shape = Shape {
    keys: &[
        key("roles", Kind::List(&Kind::Text), "Roles that may."),
        key("expires", DURATION, "How long it holds."),
    ],
};

pub(crate) static ANOMALY: Shape = Shape {
    keys: &[
        key("metric", Kind::Text, "What is watched."),
        key("method", Kind::Word(&[word("dynamic_band")]), "How the usual is learned."),
        key("season", DURATION, "After which time the usual repeats."),
        key("width", Kind::Number, "How far from the usual is unusual."),
        key("for", DURATION, "How long it must last."),
        key("know_events", Kind::List(&Kind::Text), "Calendars whose events are compared."),
        key(
            "sides",
            Kind::List(&Kind::Word(&[word("upper"), word("lower")])),
            "Too much, too little, or both.",
        ),
    ],
};

pub(crate) static BACKUP: Shape = Shape {
    keys: &[
        key("state", Kind::Table(&BACKUP_STATE), "The state directory."),
        key("images", Kind::Table(&BACKUP_IMAGES), "Machine images."),
        key("disks", Kind::Table(&BACKUP_DISKS), "Disk snapshots."),
    ],
};

static BACKUP_STATE: Shape = Shape {
    keys: &[
        key("every", DURATION, "How often."),
        key("to", Kind::Text, "Where to."),
        key("keep", RETENTION, "How long."),
        key("encrypt", Kind::Text, "With which key."),
    ],
};

static BACKUP_IMAGES: Shape = Shape {
    keys: &[
        key("from_pool", Kind::Pool, "An instance of this pool is the model."),
        key("bake", Kind::Text, "When."),
        key("keep", Kind::Integer(1, 1000), "How many."),
    ],
};

static BACKUP_DISKS: Shape = Shape {
    keys: &[
        key("tag", Kind::Text, "Disks with this tag."),
        key("snapshot", Kind::Text, "When."),
        key("keep", RETENTION, "How long."),
    ],
};
