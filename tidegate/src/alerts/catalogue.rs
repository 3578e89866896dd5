//! Every sentence of a message, in English: what an event means to somebody whose phone rings.
//!
//! Kinds that are not here are told by their name, time and fields. Each kind of event that is a
//! warning or an error is here; a test compares this with the page of events.

/// What is said of one kind of event.
pub(super) struct Text {
    pub(super) kind: &'static str,
    /// What happened, and what it means.
    pub(super) says: &'static str,
    /// What Tidegate does about it.
    pub(super) does: &'static str,
    /// What whoever reads it can do.
    pub(super) can: &'static str,
    /// Kinds of events about the same thing that say that it is over.
    pub(super) ends: &'static [&'static str],
}

/// The text of a kind, if there is one.
pub(super) fn text(kind: &str) -> Option<&'static Text> {
    TEXTS.iter().find(|text| text.kind == kind)
}

/// Kinds that are over when an event of this kind comes.
pub(super) fn ended_by(kind: &str) -> impl Iterator<Item = &'static str> + use<'_> {
    TEXTS.iter().filter(move |text| text.ends.contains(&kind)).map(|text| text.kind)
}

const NEVER: &[&str] = &[];

static TEXTS: &[Text] = &[
    Text {
        kind: "backend_unhealthy",
        says: "The checks of a backend fail.",
        does: "It goes on checking; the backend gets no requests while its checks fail.",
        can: "Look at the backend; `tidegate backends` has the reason.",
        ends: &["backend_healthy", "backend_removed"],
    },
    Text {
        kind: "backend_out_of_rotation",
        says: "A backend gets no requests any more, because its checks fail.",
        does: "Requests go to the others of its pool, or wait; it is back when its checks pass.",
        can: "Look at the backend; `tidegate backends` has the reason.",
        ends: &["backend_in_rotation", "backend_removed"],
    },
    Text {
        kind: "backend_ejected",
        says: "A backend passes its checks, but its requests fail or are far slower than others'.",
        does: "It gets no requests for a while, and is tried again after that.",
        can: "Look at the backend; the limits are `outlier` of its pool.",
        ends: &["backend_readmitted", "backend_removed"],
    },
    Text {
        kind: "breaker_opened",
        says: "A backend mostly fails or is mostly slow, and its breaker has opened.",
        does: "It gets nothing for a while, then a few probes.",
        can: "Look at the backend; `tidegate backends breaker` holds a breaker open or closed.",
        ends: &["breaker_closed", "backend_removed"],
    },
    Text {
        kind: "pool_panicked",
        says: "Fewer backends of a pool are healthy than `health.min_healthy`.",
        does: "It does not believe that, and sends requests to all that have ever been healthy.",
        can: "Find what the backends, or the checks, have in common.",
        ends: &["pool_calmed"],
    },
    Text {
        kind: "monitor_exhausted",
        says: "The door has no descriptors, ports or memory left for its checks.",
        does: "The check counts for nobody, and comes again.",
        can: "Raise the limit of open files (LimitNOFILE) of Tidegate.",
        ends: NEVER,
    },
    Text {
        kind: "log_lines_lost",
        says: "Lines of the log were lost, because nobody read standard error for a while.",
        does: "Traffic and checks went on; `tidegate events` still has what happened.",
        can: "Look at what reads the log: a shipper, the log driver of a container, a terminal.",
        ends: NEVER,
    },
    Text {
        kind: "monitor_late",
        says: "The door, or its machine, is overloaded: its own timers fire late.",
        does: "Checks and timeouts of that time count for nobody.",
        can: "Look at the load of the machine and at what else runs there.",
        ends: NEVER,
    },
    Text {
        kind: "drain_ran_out",
        says: "A backend that drains still had requests when its time was over.",
        does: "They are cut.",
        can: "Give the drain of its pool more time if that happens often.",
        ends: NEVER,
    },
    Text {
        kind: "maintenance_on",
        says: "An operator has closed the site or a route.",
        does: "It answers with 503 and a short notice; checks go on.",
        can: "`tidegate maintenance off` opens it again.",
        ends: &["maintenance_off"],
    },
    Text {
        kind: "reload_failed",
        says: "A configuration that was offered is not usable.",
        does: "The one before is in use, unchanged.",
        can: "`tidegate check FILE` says everything that is wrong with it.",
        ends: &["config_reloaded"],
    },
    Text {
        kind: "scale_limit_reached",
        says: "A pool needs more instances than it may have.",
        does: "It has as many as it may; what they cannot take waits, or is refused.",
        can: "Raise the limit that `why` names, and `tidegate reload`.",
        ends: NEVER,
    },
    Text {
        kind: "interruptions_unknown",
        says: "EC2 does not say which spot instances it takes back.",
        does: "Those are found when they end; all else goes on, and it asks again.",
        can: "Allow ec2:DescribeSpotInstanceRequests: docs/aws-permissions.md.",
        ends: NEVER,
    },
    Text {
        kind: "launch_failed",
        says: "An instance could not be launched.",
        does: "The next offer is tried, or the same later.",
        can: "The error says who refused it and why; a quota or a right may be missing.",
        ends: NEVER,
    },
    Text {
        kind: "launch_forgotten",
        says: "Whether a launch has happened was never answered.",
        does: "It is not repeated any more; what it launched is found by its mark.",
        can: "Compare the provider's list of instances with `tidegate backends`.",
        ends: NEVER,
    },
    Text {
        kind: "instance_leaves",
        says: "An instance is taken out of its pool.",
        does: "It gets no new requests, ends what it has, and is given back.",
        can: "If it was ill or never served, look at its log.",
        ends: NEVER,
    },
    Text {
        kind: "drain_cut_short",
        says: "An instance is given back with requests under way: its drain took too long.",
        does: "They are cut.",
        can: "Give the drain of its pool more time if that happens often.",
        ends: NEVER,
    },
    Text {
        kind: "instance_lost",
        says: "An instance is gone that nobody here gave back.",
        does: "Demand decides whether another is launched.",
        can: "Find who terminated it, or why it broke.",
        ends: NEVER,
    },
    Text {
        kind: "provider_failed",
        says: "Whoever makes instances does not answer, or refuses.",
        does: "It asks again; what is known of instances stays as it was.",
        can: "The error says what is missing: a network, a right, a program.",
        ends: NEVER,
    },
    Text {
        kind: "journal_degraded",
        says: "The disk takes no records of decisions about size.",
        does: "It keeps them in memory; no instance leaves until the disk takes them again.",
        can: "Make room in `state_dir`; it goes on by itself.",
        ends: &["journal_recovered"],
    },
    Text {
        kind: "journal_damaged",
        says: "The journal of a pool cannot be read.",
        does: "It begins a new one, and adopts the instances that it finds by their mark.",
        can: "A copy of the file lies beside it; look at the disk.",
        ends: NEVER,
    },
    Text {
        kind: "journal_not_put_aside",
        says: "The journal of a pool is large, and the disk does not let it be put aside.",
        does: "It writes on in the large file, and tries again.",
        can: "Make room in `state_dir`; the error says what is in the way.",
        ends: NEVER,
    },
    Text {
        kind: "scaler_panicked",
        says: "A fault in Tidegate stopped the scaling of a pool.",
        does: "Requests are served; scaling begins anew in a moment from its journal.",
        can: "Report it, with the log.",
        ends: NEVER,
    },
    Text {
        kind: "instance_crashed",
        says: "A local instance ended by itself, or could not be started.",
        does: "Demand decides whether another is launched.",
        can: "Its output is in the file that `log` names.",
        ends: NEVER,
    },
    Text {
        kind: "instances_unknown",
        says: "The records of local instances cannot be read, or are another Tidegate's.",
        does: "It launches nothing.",
        can: "See that only one Tidegate has this `state_dir`.",
        ends: NEVER,
    },
    Text {
        kind: "record_not_written",
        says: "The disk does not take the record of a local instance.",
        does: "What the record says was done all the same.",
        can: "Make room in `state_dir`.",
        ends: NEVER,
    },
    Text {
        kind: "output_too_long",
        says: "The output of a local instance fills the disk and cannot be shortened.",
        does: "It goes on without.",
        can: "Look at what it writes; see that the file can be changed.",
        ends: NEVER,
    },
    Text {
        kind: "program_failed",
        says: "A program of yours hung, failed, or gave an answer that makes no sense.",
        does: "It is run again later.",
        can: "Run it by hand with the same input.",
        ends: NEVER,
    },
    Text {
        kind: "program_quarantined",
        says: "A program of yours failed three times in a row.",
        does: "It is left alone for a while, then tried again.",
        can: "Run it by hand with the same input.",
        ends: &["program_trusted"],
    },
    Text {
        kind: "hand_over_failed",
        says: "A process that was to take over from this one could not.",
        does: "The one before goes on with all connections.",
        can: "Read the reason; then `tidegate upgrade` again.",
        ends: NEVER,
    },
    Text {
        kind: "figures_not_written",
        says: "CloudWatch takes no figures; an alarm on a missing heartbeat may fire.",
        does: "It tries again each time; requests are counted meanwhile.",
        can: "Check network and rights: docs/aws-permissions.md.",
        ends: &["figures_written"],
    },
    Text {
        kind: "name_stale",
        says: "The name of a backend does not resolve any more.",
        does: "Its last address stays in use.",
        can: "Check the name servers of this machine.",
        ends: NEVER,
    },
    Text {
        kind: "name_unresolved",
        says: "The name of a backend has never resolved.",
        does: "It gets no requests; the name is asked for again.",
        can: "Check its spelling, and the name servers of this machine.",
        ends: NEVER,
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: &str = include_str!("../../../docs/events.md");

    /// Kind and level of each row of the page.
    fn rows() -> impl Iterator<Item = (&'static str, &'static str)> {
        EVENTS.lines().filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split('|');
            let kind = cells.next()?.trim().trim_end_matches('`');
            kind.contains('_').then_some((kind, cells.next()?.trim()))
        })
    }

    #[test]
    fn every_warning_and_error_has_a_text() {
        let is_bad = |level: &str| level.contains("warn") || level.contains("error");
        let bad = rows().filter(|(kind, level)| is_bad(level) && !kind.starts_with("alert_"));
        let without: Vec<_> = bad.filter(|(kind, _)| text(kind).is_none()).collect();
        assert!(without.is_empty(), "no text for {without:?}");
    }

    #[test]
    fn texts_are_of_events_that_there_are_and_fit_a_message() {
        let kinds: Vec<_> = rows().map(|(kind, _)| kind).collect();
        for text in TEXTS {
            for kind in [text.kind].iter().chain(text.ends) {
                assert!(kinds.contains(kind), "no event `{kind}`");
            }
            for sentence in [text.says, text.does, text.can] {
                assert!(sentence.ends_with('.') && sentence.len() <= 100, "{sentence}");
            }
        }
    }

    #[test]
    fn one_event_may_end_several_things() {
        let ended: Vec<_> = ended_by("backend_removed").collect();
        let four =
            ["backend_unhealthy", "backend_out_of_rotation", "backend_ejected", "breaker_opened"];
        assert_eq!(ended, four);
        assert_eq!(ended_by("backend_added").next(), None);
    }
}
