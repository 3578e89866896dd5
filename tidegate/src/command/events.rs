//! `tidegate events`: what changed, and with `-f` what changes.

use std::fmt::Write;
use std::process::ExitCode;
use std::time::Duration;

use hyper::Method;

use super::ask::{self, AskError, Socket, TIMEOUT};
use super::say;
use crate::telemetry::events::{Event, Events};

/// How long the door keeps one question of `-f` open.
const WAIT: Duration = Duration::from_secs(30);

/// Ask for the last events.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Go on with each new event until Ctrl-C
    #[arg(short, long)]
    pub follow: bool,
    /// Print JSON, one event a line
    #[arg(long)]
    pub json: bool,
    /// Only events behind this number
    #[arg(long, value_name = "SEQUENCE", default_value_t = 0)]
    pub since: u64,
    /// Which door.
    #[command(flatten)]
    pub socket: Socket,
}

/// Prints the events and ends with 0, or says why it cannot and ends with 1.
pub fn main(args: Args) -> ExitCode {
    ask::main(show(args))
}

async fn show(args: Args) -> Result<(), AskError> {
    let mut since = args.since;
    loop {
        let wait = if args.follow { WAIT } else { Duration::ZERO };
        let path = format!("/v1/events?since={since}&wait_seconds={}", wait.as_secs());
        let answer = args.socket.ask(Method::GET, &path, None, wait + TIMEOUT);
        let answer = tokio::select! {
            answer = answer => answer?,
            _ = tokio::signal::ctrl_c() => return Ok(()),
        };
        let events: Events = serde_json::from_slice(&answer)
            .map_err(|error| args.socket.strange(error.to_string()))?;
        let mut text = String::new();
        if events.missed > 0 && since > 0 && !args.json {
            let _ = writeln!(text, "({} events are not kept any more)", events.missed);
        }
        for event in &events.events {
            match serde_json::to_string(event) {
                Ok(json) if args.json => text.push_str(&(json + "\n")),
                _ => text.push_str(&line(event)),
            }
        }
        say(&text);
        if !args.follow {
            return Ok(());
        }
        since = events.next;
    }
}

/// `2026-11-21T12:00:00.000Z info  backend_drained app/a draining -> drained waited_for=3`
fn line(event: &Event) -> String {
    let mut line = format!("{} {:<5} {}", event.at, event.level, event.event);
    match (&event.pool, &event.backend) {
        (Some(pool), Some(backend)) => line.push_str(&format!(" {pool}/{backend}")),
        (one, None) | (None, one) => one.iter().for_each(|one| line.push_str(&format!(" {one}"))),
    }
    if let Some(route) = &event.route {
        line.push_str(&format!(" {route}"));
    }
    match (&event.from, &event.to) {
        (Some(from), Some(to)) => line.push_str(&format!(" {from} -> {to}")),
        (None, Some(to)) => line.push_str(&format!(" -> {to}")),
        _ => {}
    }
    let named = [("reason", &event.reason), ("actor", &event.actor)];
    for (name, value) in named.into_iter().filter_map(|(name, v)| Some((name, v.as_ref()?))) {
        line.push_str(&format!(" {name}={value:?}"));
    }
    for (name, value) in &event.fields {
        line.push_str(&format!(" {name}={value}"));
    }
    line + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_whatever_it_tells() {
        let mut event = Event {
            sequence: 7,
            at: "2026-11-21T12:00:00.000Z".into(),
            level: "info".into(),
            event: "backend_drained".into(),
            ..Event::default()
        };
        assert_eq!(line(&event), "2026-11-21T12:00:00.000Z info  backend_drained\n");
        event.pool = Some("app".into());
        event.backend = Some("a".into());
        event.from = Some("draining".into());
        event.to = Some("drained".into());
        event.reason = Some("two\nlines".into());
        event.actor = Some("uid 0".into());
        event.fields.insert("waited_for".into(), 3.into());
        assert_eq!(
            line(&event),
            "2026-11-21T12:00:00.000Z info  backend_drained app/a draining -> drained \
             reason=\"two\\nlines\" actor=\"uid 0\" waited_for=3\n"
        );
    }
}
