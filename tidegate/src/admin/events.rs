//! `/v1/events`: what changed since a number, at once or when there is something.
//!
//! `?since=N` goes on behind number N, `limit=N` wants at most so many, `wait_seconds=N` waits so
//! long for a first one. `next` of the answer is the `since` of the next question, so that a
//! reader misses nothing as long as the ring still holds it, and is told when it does not.

use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use tokio::sync::watch;

use super::answer::{Answer, json, problem};
use crate::telemetry::events::{CAPACITY, EventRing};

/// Longest wait; far below the time after which a connection is closed.
const MAX_WAIT_SECONDS: u64 = 60;

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
struct Question {
    since: u64,
    limit: usize,
    wait: Duration,
}

/// Answers at once if there is something or nobody wants to wait, and when the door stops.
pub(super) async fn answer(
    query: &str,
    ring: Arc<EventRing>,
    mut stopped: watch::Receiver<bool>,
) -> Answer {
    let question = match Question::parse(query) {
        Ok(question) => question,
        Err(why) => return problem(StatusCode::BAD_REQUEST, &why),
    };
    let mut last = ring.last();
    let something = async {
        // An error means that the ring is gone, and we hold it.
        let _ = last.wait_for(|last| !is_behind(*last, question.since)).await;
    };
    tokio::select! {
        () = something => {}
        () = tokio::time::sleep(question.wait) => {}
        _ = stopped.wait_for(|stop| *stop) => {}
    }
    json(StatusCode::OK, &ring.since(question.since, question.limit))
}

/// Whether there is nothing behind `since` yet.
fn is_behind(last: u64, since: u64) -> bool {
    last == since || last == 0
}

impl Question {
    fn parse(query: &str) -> Result<Question, String> {
        let mut question = Question { since: 0, limit: CAPACITY, wait: Duration::ZERO };
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let number = |max: u64| {
                let number = value.parse().ok().filter(|number| *number <= max);
                number.ok_or_else(|| {
                    format!("`{name}` is `{value}`; give a whole number from 0 to {max}")
                })
            };
            match name {
                "since" => question.since = number(u64::MAX)?,
                "limit" => {
                    let max = CAPACITY as u64;
                    question.limit = usize::try_from(number(max)?).unwrap_or(CAPACITY);
                }
                "wait_seconds" => question.wait = Duration::from_secs(number(MAX_WAIT_SECONDS)?),
                _ => {
                    return Err(format!(
                        "`{name}` is no parameter of this page; allowed are `since`, `limit` \
                         and `wait_seconds`"
                    ));
                }
            }
        }
        Ok(question)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(query: &str, since: u64, limit: usize, wait_seconds: u64) {
        let wait = Duration::from_secs(wait_seconds);
        assert_eq!(Question::parse(query), Ok(Question { since, limit, wait }), "{query}");
    }

    #[test]
    fn a_question_has_defaults_and_limits() {
        check("", 0, CAPACITY, 0);
        check("since=7", 7, CAPACITY, 0);
        check("since=18446744073709551615&limit=1&wait_seconds=60", u64::MAX, 1, 60);
        for (query, why) in [
            ("since=-1", "`since` is `-1`; give a whole number from 0 to 18446744073709551615"),
            ("since", "`since` is ``"),
            ("limit=2049", "`limit` is `2049`; give a whole number from 0 to 2048"),
            ("wait_seconds=61", "from 0 to 60"),
            ("wait_seconds=5s", "`5s`"),
            ("from=1", "`from` is no parameter of this page; allowed are `since`, `limit`"),
        ] {
            let error = Question::parse(query).unwrap_err();
            assert!(error.contains(why), "{query}: {error}");
        }
    }
}
