//! What is said about `[scalers.*]`.

use std::time::Duration;

use crate::config::codes;

use super::{Message, shown, suggest};

/// A scaler of a pool that is not there.
pub(crate) fn no_pool_to_scale(name: &str, known: &[&str]) -> Message {
    let text = format!("there is no pool `{}` to scale", shown(name));
    let message = Message::new(&codes::NOTHING_TO_SCALE, text, "unknown pool");
    Message { help: suggest(name, known), ..message }
}

/// A scaler of a pool whose backends are written down.
pub(crate) fn not_elastic(name: &str) -> Message {
    let text = format!("pool `{}` is not elastic, so nothing can be launched for it", shown(name));
    Message::new(&codes::NOTHING_TO_SCALE, text, "")
        .help("set `kind = \"elastic\"` and a provider in the pool, or remove the scaler")
}

/// Two scalers of one pool.
pub(crate) fn scaled_twice(name: &str) -> Message {
    let text = format!("pool `{}` has two scalers", shown(name));
    Message::new(&codes::NOTHING_TO_SCALE, text, "again here").help("keep one of the two")
}

/// Bounds the wrong way round.
pub(crate) fn floor_above_ceiling(floor: u32, ceiling: u32) -> Message {
    let text = format!("`floor` ({floor}) is above `ceiling` ({ceiling})");
    Message::new(&codes::FLOOR_ABOVE_CEILING, text, "")
        .help(format!("raise `ceiling` to {floor} or more"))
}

/// Nobody says how much an instance carries.
pub(crate) fn no_target(name: &str) -> Message {
    let text = format!("nothing says how much one instance of scaler `{}` carries", shown(name));
    Message::new(&codes::NO_TARGET, text, "only floors and windows count")
        .help("set `target.per_instance`, or `max_concurrency` of the pool")
}

/// An instance is to carry more than it may.
pub(crate) fn target_above_cap(carried: f64, cap: f64) -> Message {
    let text = format!("`target.per_instance` ({carried}) is above `max_concurrency` ({cap})");
    Message::new(&codes::NO_TARGET, text, "requests wait before it grows")
        .help("leave some room: 80 % of `max_concurrency` is usual")
}

/// A window that cannot be understood.
pub(crate) fn window_unclear(why: &str) -> Message {
    Message::new(&codes::WINDOW, why.to_owned(), "")
        .help("write `from` and `to`, with `days` if wanted, or `cron` and `for`")
}

/// A window that changes nothing.
pub(crate) fn window_of_nothing() -> Message {
    Message::new(&codes::WINDOW, "a window without `floor` and `ceiling`".to_owned(), "")
        .help("say what holds while it is open")
}

/// Nobody comes for longer than a launch takes.
pub(crate) fn slow_to_grow(cooldown: Duration, boot: Duration) -> Message {
    let text = format!(
        "`up.cooldown` ({} s) is longer than a launch takes (`boot.assume`, {} s)",
        cooldown.as_secs(),
        boot.as_secs()
    );
    Message::new(&codes::ODD_SCALER, text, "a crowd that grows meanwhile waits")
        .help("leave it at `0s`: launches under way count as supply, so none is made twice")
}

/// Whoever comes first waits for less time than a launch takes.
pub(crate) fn cold_start(pool: &str, waits: Duration, launch: Duration) -> Message {
    let text = format!(
        "`{}` may be empty, and a request waits {} s (`queue.time`) for a launch that takes {} s \
         (`boot.assume`)",
        shown(pool),
        waits.as_secs(),
        launch.as_secs()
    );
    Message::new(&codes::ODD_SCALER, text, "the first requests get 503").help(
        "have `floor = 1` in its scaler, a longer `queue.time`, or in `boot.assume` what a launch \
         really takes",
    )
}

/// A floor that something else does not allow.
pub(crate) fn floor_never_reached(window: &str, floor: u32, by: &str, most: u32) -> Message {
    let text = format!("window `{window}` wants at least {floor}, and {by} allows {most}");
    Message::new(&codes::ODD_SCALER, text, "the lowest ceiling holds")
        .help(format!("have {by} allow {floor} or more, or have window `{window}` want less"))
}

/// A ceiling below what there is always.
pub(crate) fn ceiling_below_floor(window: &str, most: u32, floor: u32) -> Message {
    let text = format!("window `{window}` allows {most}, and `floor` wants at least {floor}");
    Message::new(&codes::ODD_SCALER, text, "the lowest ceiling holds")
        .help("lower `floor`, or raise the ceiling of the window")
}

/// Two windows that nobody can tell apart.
pub(crate) fn window_twice(name: &str) -> Message {
    let text = format!("two windows are called `{}`", shown(name));
    Message::new(&codes::WINDOW, text, "again here")
        .help("give each its own name: decisions and `tidegate status` name them")
}

/// A cron expression of no time.
pub(crate) fn window_never(cron: &str) -> Message {
    let text = format!("`{}` names a time that never comes", shown(cron));
    Message::new(&codes::WINDOW, text, "").help("is there such a day in that month?")
}
