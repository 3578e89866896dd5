//! Every word of the demo, in one place, so that it can be said in another language.

use std::error::Error;
use std::fmt::{Display, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::Absence;
use super::backends::Backends;
use super::tally::{Live, Sum};
use crate::admin::Addresses;
use crate::admin::view::{BackendState, BackendView};
use scaler::ports::with_causes;

/// Stands where the name of the configuration file would.
pub(super) const BUILT_IN: &str = "(built into the demo)";
pub(super) const NO_ADDRESS: &str = "the system did not say which port it chose";
pub(super) const UNSIGNED: &str = "200 of none of the backends";
pub(super) const WRONG_BODY: &str = "200 with the wrong body";

pub(super) fn cannot_start(error: &dyn Error) -> String {
    format!("the demo cannot start: {}", with_causes(error))
}

pub(super) fn cannot_make(path: &Path, error: &dyn Display) -> String {
    format!("cannot make the folder `{}`: {error}; set TMPDIR to another place", path.display())
}

pub(super) fn cannot_kill(name: &str, pid: u32, error: &dyn Display) -> String {
    format!("{name} (process {pid}) could not be killed: {error}")
}

pub(super) fn not_running(name: &str) -> String {
    format!("{name} is not running")
}

pub(super) fn no_answer(limit: Duration) -> String {
    format!("no answer within {} s", limit.as_secs())
}

pub(super) fn no_view(why: &str) -> String {
    format!("the door does not say how its backends are: {why}")
}

pub(super) fn idle(name: &str) -> String {
    format!("{name} came back and got no request")
}

pub(super) fn in_vain(name: &str, state: BackendState, seen: Option<&BackendView>) -> String {
    let is = seen.map_or("unknown", |backend| backend.state.word());
    let why = seen.and_then(|backend| backend.last_reason.as_deref()).unwrap_or_default();
    let why = if why.is_empty() { String::new() } else { format!(" ({why})") };
    format!("waited in vain for {name} to be {}; it is {is}{why}", state.word())
}

/// What there is, and what one can do with it meanwhile.
pub(super) fn opening(backends: &Backends, door: SocketAddr, admin: &Addresses) -> String {
    let mut text = String::from("Tidegate demo: a door, three backends and their clients.\n\n");
    let mut row = |what: &str, is: String| {
        let _ = writeln!(text, "  {what:<9} {is}");
    };
    for (name, address, pid) in backends.pids() {
        row("backend", format!("{name:<6} http://{address}/  process {pid}"));
    }
    row("door", format!("http://{door}/"));
    row("try", format!("curl -i http://{door}/echo"));
    if let Some(metrics) = admin.metrics {
        row("metrics", format!("http://{metrics}/metrics"));
    }
    if let Some(loopback) = admin.loopback {
        row("admin", format!("http://{loopback}/v1/pools"));
    }
    if let Some(socket) = &admin.unix {
        row("status", format!("tidegate status --watch --socket {}", socket.display()));
    }
    text.push('\n');
    text
}

pub(super) fn killed(name: &str, pid: u32) -> String {
    format!("* {name} (process {pid}) is killed with SIGKILL")
}

pub(super) fn revived(name: &str, pid: u32) -> String {
    format!("* {name} is started again (process {pid})")
}

pub(super) fn became(name: &str, state: BackendState, after: Duration) -> String {
    format!("* {name} is {} after {}", state.word(), seconds(after))
}

/// How it goes, on one line.
pub(super) fn line(live: &Live, seen: &[BackendView]) -> String {
    let mut line = format!(
        "{:>6}  {} requests, {:.0}/s, p50 {}, p99 {}, {} failed",
        seconds(live.elapsed),
        live.requests,
        live.rps,
        ms(live.p50),
        ms(live.p99),
        live.failed
    );
    for (backend, share) in seen.iter().zip(&live.shares) {
        let (id, state, in_flight) = (&backend.id, backend.state.word(), backend.in_flight);
        let _ = write!(line, " | {id} {state} {in_flight} in flight {}", percent(*share));
    }
    line
}

/// How it goes, on a line and one for each backend. `paint` colours a state word.
pub(super) fn block(
    live: &Live,
    seen: &[BackendView],
    paint: &dyn Fn(BackendState, &str) -> String,
) -> Vec<String> {
    let mut lines = vec![format!(
        "{:>6}  {:>6} requests  {:>4.0}/s  p50 {:>7}  p99 {:>7}  {} failed",
        seconds(live.elapsed),
        live.requests,
        live.rps,
        ms(live.p50),
        ms(live.p99),
        live.failed
    )];
    for (backend, share) in seen.iter().zip(&live.shares) {
        let state = paint(backend.state, &format!("{:<8}", backend.state.word()));
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // at most 1
        let bar = "#".repeat((share * 30.0).round() as usize);
        let (id, in_flight, share) = (&backend.id, backend.in_flight, percent(*share));
        lines.push(format!("        {id:<6} {state} {in_flight:>2} in flight {share:>6}  {bar}"));
    }
    lines
}

/// How it went.
pub(super) fn summary(sum: &Sum, names: &[&str]) -> String {
    let failed: usize = sum.failures.values().sum();
    let mut text = String::from("\nSummary\n");
    let mut row = |what: &str, is: String| {
        let _ = writeln!(text, "  {what:<9} {is}");
    };
    row("requests", format!("{}, {} of them POST", sum.requests, sum.posts));
    row("failures", format!("{failed} failed"));
    for (reason, count) in &sum.failures {
        row("", format!("{count} x {reason}"));
    }
    if sum.excused > 0 {
        row("cut", cut(sum.excused));
    }
    row("latency", format!("p50 {}, p99 {}", ms(sum.p50), ms(sum.p99)));
    let answers: usize = sum.served.iter().sum();
    for (name, served) in names.iter().zip(&sum.served) {
        let share = *served as f64 / answers.max(1) as f64;
        row("served", format!("{name:<6} {served:>6} {:>6}", percent(share)));
    }
    text
}

fn cut(count: usize) -> String {
    let requests = if count == 1 { "request" } else { "requests" };
    format!(
        "{count} POST {requests} in flight at the moment of the kill; a POST is not sent\n            \
         twice, because the backend may have done its work before it died"
    )
}

/// What it has shown; `absences` is `None` if somebody stopped it before the end.
pub(super) fn verdict(sum: &Sum, absences: Option<&[Absence]>, names: &[&str]) -> String {
    let mut text = String::new();
    for (absence, name) in absences.unwrap_or_default().iter().zip(names) {
        let (down, back) = (seconds(absence.down_after), seconds(absence.back_after));
        let _ = writeln!(
            text,
            "  {name:<9} found down {down} after it was killed, serving again {back} after its start"
        );
    }
    let failed: usize = sum.failures.values().sum();
    let verdict = match (failed, absences) {
        (0, Some(_)) => "Every request that could be answered was.".to_owned(),
        (0, None) => "Stopped before the end; no request had failed.".to_owned(),
        (1, _) => "1 request failed that should not have.".to_owned(),
        (failed, _) => format!("{failed} requests failed that should not have."),
    };
    let _ = writeln!(text, "\n{verdict}");
    text
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

fn ms(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1e3)
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}
