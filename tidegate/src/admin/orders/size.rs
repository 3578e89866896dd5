//! Orders about the size of a pool: pinned, paused, or up to its rules again.

use std::time::Duration;

use serde::Deserialize;

use super::{Deed, Refusal, parse};
use crate::config;

/// What should last for longer belongs into the configuration.
const LONGEST: Duration = Duration::from_secs(31 * 24 * 3600);

/// What is to become of the size of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// So many instances.
    Pin {
        /// How many.
        instances: u32,
        /// Then the rules decide again.
        lasts: Duration,
    },
    /// No change at all.
    Pause {
        /// Then the rules decide again.
        lasts: Duration,
    },
    /// The rules decide again.
    Auto,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    pin: Option<u32>,
    #[serde(default)]
    pause: bool,
    #[serde(rename = "for")]
    lasts: String,
    reason: String,
}

/// The order in a body, and why.
pub(super) fn order(body: &[u8]) -> Result<(Deed, Option<String>), Refusal> {
    let Body { pin, pause, lasts: text, reason } = parse(body)?;
    let lasts = config::duration(&text).map_err(|_| {
        Refusal::invalid(format!("`for` is `{text}`; give a duration such as `90m` or `3h`"))
    })?;
    if lasts.is_zero() || lasts > LONGEST {
        return Err(Refusal::invalid(format!("`for` is `{text}`; give at most `31d`, and not 0")));
    }
    if reason.trim().is_empty() {
        return Err(Refusal::invalid("`reason` is empty; say why, for those who wonder".into()));
    }
    let size = match (pin, pause) {
        (Some(instances), false) => Size::Pin { instances, lasts },
        (None, true) => Size::Pause { lasts },
        _ => {
            let detail = "give `pin` with a number of instances, or `pause` as true";
            return Err(Refusal::invalid(detail.to_owned()));
        }
    };
    Ok((Deed::Resize(size), Some(reason)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &str, expected: Result<Size, &str>) {
        match (order(body.as_bytes()), expected) {
            (Ok((Deed::Resize(found), why)), Ok(size)) => {
                assert_eq!((found, why.as_deref()), (size, Some("x")));
            }
            (Err(refusal), Err(text)) => {
                assert!(refusal.detail.contains(text), "{}", refusal.detail);
                assert_eq!(refusal.status, 422);
            }
            (found, expected) => panic!("{found:?}, not {expected:?}"),
        }
    }

    #[test]
    fn an_order_says_what_and_for_how_long_and_why() {
        let lasts = Duration::from_secs(7_200);
        check(r#"{"pin":0,"for":"2h","reason":"x"}"#, Ok(Size::Pin { instances: 0, lasts }));
        check(r#"{"pause":true,"for":"2h","reason":"x"}"#, Ok(Size::Pause { lasts }));
        let either = "give `pin` with a number of instances, or `pause` as true";
        check(r#"{"for":"2h","reason":"x"}"#, Err(either));
        check(r#"{"pin":1,"pause":true,"for":"2h","reason":"x"}"#, Err(either));
        check(r#"{"pin":1,"for":"2h","reason":" "}"#, Err("`reason` is empty"));
        check(r#"{"pin":1,"for":"2h"}"#, Err("missing field `reason`"));
        check(r#"{"pin":1,"reason":"x"}"#, Err("missing field `for`"));
        check(r#"{"pin":1,"for":"0s","reason":"x"}"#, Err("`for` is `0s`"));
        check(r#"{"pin":1,"for":"32d","reason":"x"}"#, Err("at most `31d`"));
        check(r#"{"pin":1,"for":"7","reason":"x"}"#, Err("such as `90m`"));
        check(r#"{"pin":-1,"for":"2h","reason":"x"}"#, Err("`-1`"));
    }
}
