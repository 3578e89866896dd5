//! What is a stream: a tunnel, or an answer of events that goes on until somebody has enough of it.
//!
//! A stream costs its backend a connection and now and then a few bytes, where a request costs it
//! work. So it takes no place of a request: it has a cap of its own, and counts as a small part of
//! a request where demand is counted (docs/decisions/0019).

/// The media type of server-sent events (HTML standard, section 9.2).
const EVENTS: &[u8] = b"text/event-stream";

/// Whether the value of `Accept` or `Content-Type` names server-sent events.
pub(crate) fn is_events(value: &[u8]) -> bool {
    value.split(|byte| *byte == b',').any(|one| {
        let kind = one.split(|byte| *byte == b';').next().unwrap_or_default();
        kind.trim_ascii().eq_ignore_ascii_case(EVENTS)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_told_by_their_media_type() {
        for yes in [
            "text/event-stream",
            "text/html, TEXT/event-stream;q=0.5",
            "text/event-stream ; charset=utf-8",
        ] {
            assert!(is_events(yes.as_bytes()), "{yes}");
        }
        for no in ["", "text/event", "text/event-streams", "*/*", "text/html; x=text/event-stream"]
        {
            assert!(!is_events(no.as_bytes()), "{no}");
        }
    }
}
