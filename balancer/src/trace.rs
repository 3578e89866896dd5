//! The field `traceparent` (W3C Trace Context, level 1 §3.2): whether it can be gone by.

/// Whether a trace can be continued by this value. If not, it is as if it were not there, and
/// `tracestate` must not be looked at either (§3.2.2.3, §4.3).
pub(crate) fn is_traceparent(value: &[u8]) -> bool {
    let Some((fixed, rest)) = value.split_at_checked(55) else { return false };
    let is_hex = |part: &[u8]| part.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let is_zero = |part: &[u8]| part.iter().all(|&byte| byte == b'0');
    let dashes = [fixed[2], fixed[35], fixed[52]];
    let (version, trace, parent, flags) =
        (&fixed[..2], &fixed[3..35], &fixed[36..52], &fixed[53..]);
    let is_end = match version {
        b"ff" => false,
        b"00" => rest.is_empty(),
        // A later version may have more to say (§4.3).
        _ => rest.first().is_none_or(|&byte| byte == b'-'),
    };
    is_end
        && dashes == *b"---"
        && [version, trace, parent, flags].into_iter().all(is_hex)
        && !is_zero(trace)
        && !is_zero(parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_continued_by_what_the_recommendation_allows() {
        let (trace, parent) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
        let (no_trace, no_parent) = ("0".repeat(32), "0".repeat(16));
        for (value, expected) in [
            (format!("00-{trace}-{parent}-01"), true),
            (format!("00-{trace}-{parent}-ff"), true),
            (format!("cc-{trace}-{parent}-01"), true),
            (format!("cc-{trace}-{parent}-01-what-is-new"), true),
            (format!("cc-{trace}-{parent}-01.what-is-new"), false),
            (format!("00-{trace}-{parent}-01-what-is-new"), false),
            (format!("ff-{trace}-{parent}-01"), false),
            (format!("00-{no_trace}-{parent}-01"), false),
            (format!("00-{trace}-{no_parent}-01"), false),
            (format!("00-{}-{parent}-01", trace.to_uppercase()), false),
            (format!("00-{trace}-{parent}-1"), false),
            (format!("00-{trace}-{parent}-0g"), false),
            (format!("00_{trace}-{parent}-01"), false),
            (format!("00-{trace}+{parent}-01"), false),
            (format!("00-{trace}-{parent}_01"), false),
            (format!("0-{trace}-{parent}-01"), false),
            (format!(" 00-{trace}-{parent}-01"), false),
            (String::new(), false),
        ] {
            assert_eq!(is_traceparent(value.as_bytes()), expected, "{value}");
        }
    }
}
