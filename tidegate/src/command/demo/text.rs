//! Every word of the demo, in one place, so that it can be said in another language.

use std::error::Error;
use std::fmt::{Display, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use scaler::journal::record::{EventRecord, TurnRecord};
use scaler::ports::with_causes;

use super::backends::Backends;
use super::cloud::{Bill, Census};
use super::folder::Folder;
use super::night::Moment;
use super::story::{Absence, Sight};
use super::tally::{Live, Sum};
use crate::admin::Addresses;
use crate::admin::view::{BackendState, BackendView};

pub(super) const NO_ADDRESS: &str = "the system did not say which port it chose";
pub(super) const UNSIGNED: &str = "200 of none of the backends";
pub(super) const WRONG_BODY: &str = "200 with the wrong body";
pub(super) const UNASKED: &str = "not asked, too many wait for an answer";
pub(super) const STOPPING: &str =
    "* no more requests; the cloud is given back (Ctrl-C again ends it at once)";

/// Characters of a whole bar.
const BAR: f64 = 30.0;

pub(super) fn cannot_start(error: &dyn Error) -> String {
    format!("the demo cannot start: {}", with_causes(error))
}

pub(super) fn cannot_make(path: &Path, error: &dyn Display) -> String {
    format!("cannot make `{}`: {error}; set TMPDIR to another place", path.display())
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

pub(super) fn not_given_back(living: u32) -> String {
    format!("{living} instances of the cloud were not given back in time")
}

/// What there is, and what one can do with it meanwhile.
pub(super) fn opening(backends: &Backends, door: SocketAddr, admin: &Addresses) -> String {
    let mut text = String::from(
        "Tidegate demo: a match night. Three backends on-prem, a cloud of local processes behind\n\
         them, and a crowd that grows tenfold.\n\n",
    );
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

/// What was decided or noticed in a turn, with its reason, in lines.
pub(super) fn decision(turn: &TurnRecord) -> Vec<String> {
    let TurnRecord { current, desired, need, limit, .. } = turn;
    let mut lines = Vec::new();
    if desired != current {
        let why = if desired > current { asked(turn) } else { format!("{need} are enough") };
        let cut = if need > limit { format!("; {limit} is the limit") } else { String::new() };
        let shadow = if turn.mode == "shadow" { " (shadow: nothing is done)" } else { "" };
        lines.push(format!("* cloud {current} -> {desired}: {why}{cut}{shadow}"));
    } else if let (Some(hold), true) = (turn.holds.first(), need != current) {
        lines.push(format!("* cloud stays at {current}, {need} asked for: {}", hold.text));
    }
    lines.extend(events(&turn.events));
    lines
}

/// One line for all that are alike.
fn events(events: &[EventRecord]) -> Vec<String> {
    let mut alike: Vec<EventRecord> = Vec::new();
    for event in events {
        let is_like =
            |known: &&mut EventRecord| known.event == event.event && known.reason == event.reason;
        match alike.iter_mut().find(is_like) {
            Some(known) => known.backends.extend(event.backends.iter().cloned()),
            None => alike.push(event.clone()),
        }
    }
    alike.iter().filter_map(event).collect()
}

/// `a burst asks for 4: 17.2 requests at once beyond on-prem (demo.toml:62)`
fn asked(turn: &TurnRecord) -> String {
    let asking = turn.terms.iter().filter(|term| term.verb == "asks");
    let Some(term) = asking.max_by_key(|term| term.instances) else { return String::new() };
    let who = match term.name.as_str() {
        "target" => "the last seconds ask",
        "burst" => "a burst asks",
        other => return format!("{other} asks for {} ({})", term.instances, term.place),
    };
    let demand = term.from.unwrap_or_default();
    let (count, place) = (term.instances, &term.place);
    format!("{who} for {count}, {demand:.1} requests at once beyond on-prem ({place})")
}

fn event(event: &EventRecord) -> Option<String> {
    let count = event.backends.len();
    let many = if count == 1 { "1 instance".to_owned() } else { format!("{count} instances") };
    let text = event.text.as_deref().unwrap_or_default();
    let reason = event.reason.as_deref().unwrap_or_default();
    Some(match event.event.as_str() {
        "launch_answered" => format!("* cloud: {many} launched"),
        "instance_serves" => {
            let after = event.boot_ms.map_or(0.0, |(_, passed)| passed as f64 / 1e3);
            format!("* cloud: {many} more at work, {after:.1} s after the launch")
        }
        "instance_gone" => format!("* cloud: {many} given back"),
        "instance_lost" => format!("* cloud: {many} ended without being told to"),
        "instance_leaves" if reason != "scale_in" => format!("* cloud: {many} leaves: {reason}"),
        "launch_failed" | "provider_failed" => format!("* cloud: {}: {text}", event.event),
        _ => return None,
    })
}

/// How it goes, on one line.
pub(super) fn line(live: &Live, at: &Moment, sight: &Sight) -> String {
    let census = census(sight.census);
    let mut line = format!(
        "{:>6}  {}: {} requests, {:.0}/s, p99 {}, {} failed | demand {:.0}",
        seconds(live.elapsed),
        at.phase,
        live.requests,
        live.rps,
        ms(live.p99),
        live.failed,
        at.demand(),
    );
    for pool in &sight.pools {
        let of = pool.concurrency_limit.unwrap_or_default();
        let _ = write!(line, " | {} {} of {of} in flight", pool.name, pool.in_flight);
    }
    let _ = write!(line, ", {} waiting | {census}", waiting(sight));
    for backend in sight.onprem().filter(|backend| backend.state != BackendState::Serving) {
        let _ = write!(line, " | {} {}", backend.id, backend.state.word());
    }
    line
}

/// How it goes, on several. `paint` colours a state word.
pub(super) fn block(
    live: &Live,
    at: &Moment,
    sight: &Sight,
    paint: &dyn Fn(BackendState, &str) -> String,
) -> Vec<String> {
    let mut lines = vec![
        format!(
            "{:>6}  {:<16} [{:<30}] {}",
            seconds(live.elapsed),
            at.phase,
            bar(at.progress),
            percent(at.progress)
        ),
        format!(
            "        {:>6} requests  {:>4.0}/s  p50 {:>8}  p99 {:>8}  {} failed",
            live.requests,
            live.rps,
            ms(live.p50),
            ms(live.p99),
            live.failed
        ),
    ];
    let wanted = at.demand();
    // As long as the highest bar of the evening.
    let scale = |value: f64| bar(value / 75.0);
    lines.push(format!("        demand  {wanted:>3.0} at once            {}", scale(wanted)));
    for pool in &sight.pools {
        let of = pool.concurrency_limit.unwrap_or_default();
        let (name, in_flight) = (&pool.name, pool.in_flight);
        let bar = scale(f64::from(in_flight));
        lines.push(format!("        {name:<7} {in_flight:>3} of {of:>3} in flight    {bar}"));
    }
    lines.push(format!("        waiting {:>3}", waiting(sight)));
    lines.push(format!("        {}", census(sight.census)));
    for (backend, share) in sight.onprem().zip(&live.shares) {
        let state = paint(backend.state, &format!("{:<8}", backend.state.word()));
        let (id, in_flight, share) = (&backend.id, backend.in_flight, percent(*share));
        lines.push(format!("        {id:<7} {state} {in_flight:>2} in flight {share:>6}"));
    }
    lines
}

/// Each stands in the queue of every pool of its route.
fn waiting(sight: &Sight) -> u64 {
    sight.pools.iter().map(|pool| pool.queued).max().unwrap_or_default()
}

fn census(census: Census) -> String {
    let Census { asked_for, booting, serving, draining, terminating } = census;
    format!(
        "cloud: {serving} serve, {} boot, {} leave",
        asked_for + booting,
        draining + terminating
    )
}

fn bar(share: f64) -> String {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // at most `BAR`
    "#".repeat((share.clamp(0.0, 1.0) * BAR).round() as usize)
}

/// How it went.
pub(super) fn summary(sum: &Sum, names: &[&str], bill: &Bill) -> String {
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
    for (name, served) in names.iter().chain(&["cloud"]).zip(&sum.served) {
        let share = *served as f64 / answers.max(1) as f64;
        row("served", format!("{name:<6} {served:>6} {:>6}", percent(share)));
    }
    row("cloud", cost(bill));
    text
}

/// What was paid for, boots and drains included.
fn cost(bill: &Bill) -> String {
    let (used, fixed) = (bill.used / 60.0, bill.fixed() / 60.0);
    if bill.most == 0 {
        return "no instance".to_owned();
    }
    format!(
        "{used:.1} instance-minutes, {} at most at once; so many all the time\n            \
         would have been {fixed:.1}, {} more",
        bill.most,
        percent(fixed / used.max(f64::MIN_POSITIVE) - 1.0)
    )
}

/// Where to look now.
pub(super) fn afterwards(folder: &Folder) -> String {
    let (path, file) = (folder.path().display(), folder.configuration());
    let file = file.display();
    format!(
        "  journal   {}\n\nTry\n  \
         tidegate decisions {file}\n  \
         tidegate why --config {file}\n  \
         rm -r {path}\n",
        folder.state().join("journal").display()
    )
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
        (0, Some(_)) => {
            "Every request that could be answered was, and the cloud is given back.".to_owned()
        }
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
