//! The screen: one sentence, then pools and their backends in columns. Colour only repeats what a
//! word says.

use std::fmt::Write;

use crate::admin::view::{BackendState, BackendView, PoolView, ScalerView, StatusView};

/// What the terminal can do.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Style {
    pub(super) has_colour: bool,
    /// Each screen takes the place of the one before.
    pub(super) is_redrawn: bool,
}

const RED: &str = "31";
const GREEN: &str = "32";
const YELLOW: &str = "33";
const BOLD: &str = "1";

/// Home, and clear below: no flicker, unlike clearing first.
const REDRAW: &str = "\x1b[H\x1b[J";

pub(super) fn draw(status: &StatusView, pools: &[PoolView], style: Style) -> String {
    let mut out = String::from(if style.is_redrawn { REDRAW } else { "" });
    let paint = |code: &str, text: &str| {
        if style.has_colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    };
    // A String takes everything.
    let _ = writeln!(out, "{}", paint(BOLD, &status.summary));
    let _ = writeln!(
        out,
        "{} · tidegate {} · up {} · {} workers · {} requests, {} failed, {} refused · configuration {}",
        status.site,
        status.version,
        age(status.uptime_seconds),
        status.workers,
        status.requests,
        status.failed_requests,
        status.refused_requests,
        status.config.hash,
    );
    for problem in &status.problems {
        let _ = writeln!(out, "{} {problem}", paint(RED, "not ready:"));
    }
    if let Some(error) = &status.config.last_error {
        let _ = writeln!(out, "{} {error}", paint(RED, "refused configuration:"));
    }
    for listener in &status.listeners {
        let _ = writeln!(
            out,
            "listener {} on {}: {} connections",
            listener.name,
            listener.addresses.join(", "),
            listener.connections,
        );
    }
    for pool in pools {
        draw_pool(pool, &mut out, &paint);
    }
    out
}

fn draw_pool(pool: &PoolView, out: &mut String, paint: &impl Fn(&str, &str) -> String) {
    let refused = match pool.demand.refused_rps {
        none if none <= 0.0 => String::new(),
        rps => format!(", {}", paint(RED, &format!("{rps:.1} refused"))),
    };
    let queued = match pool.queued {
        0 => String::new(),
        some => format!(", {}", paint(YELLOW, &format!("{some} waiting"))),
    };
    let _ = writeln!(
        out,
        "\npool {} ({}): {} of {} serve, {:.0} requests a second{refused}, {} in flight{queued}",
        paint(BOLD, &pool.name),
        pool.rule,
        pool.serving(),
        pool.backends.len(),
        pool.demand.arrivals_rps,
        pool.in_flight,
    );
    for text in pool.scaler.iter().flat_map(ScalerView::lines) {
        let _ = writeln!(out, "{text}");
    }
    let rows: Vec<[String; 7]> = pool.backends.iter().map(row).collect();
    let head =
        ["", "backend", "address", "state", "in flight", "requests", "errors"].map(String::from);
    let mut widths = head.each_ref().map(|cell| cell.chars().count());
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    line(&head, &widths, None, "", out);
    for (row, backend) in rows.iter().zip(&pool.backends) {
        let state = paint(colour(backend.state), &row[3]);
        line(row, &widths, Some(&state), backend.last_reason.as_deref().unwrap_or_default(), out);
    }
}

/// Figures are put to the right; the state's colour does not count as width.
fn line(
    row: &[String; 7],
    widths: &[usize; 7],
    state: Option<&str>,
    reason: &str,
    out: &mut String,
) {
    let mut text = String::new();
    for (place, (cell, width)) in row.iter().zip(widths).enumerate() {
        let gap = " ".repeat(width - cell.chars().count());
        let shown = if place == 3 { state.unwrap_or(cell) } else { cell };
        let _ =
            if place > 3 { write!(text, "{gap}{shown}  ") } else { write!(text, "{shown}{gap}  ") };
    }
    let _ = writeln!(out, "{}", format!("{text}{reason}").trim_end());
}

fn row(backend: &BackendView) -> [String; 7] {
    [
        mark(backend.state).into(),
        backend.id.clone(),
        backend.address.clone(),
        state(backend),
        backend.in_flight.to_string(),
        backend.requests.to_string(),
        backend.errors.to_string(),
    ]
}

/// Of one that is fresh also how far it has come.
fn state(backend: &BackendView) -> String {
    if !matches!(&*backend.breaker, "" | "closed" | "open") {
        return format!("{}, breaker {}", backend.state.word(), backend.breaker);
    }
    match (backend.state, backend.share_percent) {
        (BackendState::Serving, share @ 0..100) => format!("serving {share}%"),
        (state, _) => state.word().to_owned(),
    }
}

/// A shape beside the word, for a glance without colour.
fn mark(state: BackendState) -> &'static str {
    match state {
        BackendState::Serving => "+",
        BackendState::Joining => "~",
        BackendState::Draining | BackendState::Drained => "-",
        BackendState::Down
        | BackendState::Ejected
        | BackendState::Open
        | BackendState::Unresolved => "!",
    }
}

fn colour(state: BackendState) -> &'static str {
    match state {
        BackendState::Serving => GREEN,
        BackendState::Joining | BackendState::Draining | BackendState::Drained => YELLOW,
        BackendState::Down
        | BackendState::Ejected
        | BackendState::Open
        | BackendState::Unresolved => RED,
    }
}

/// `2 d 3 h`, `1 h 2 m`, `5 m`, `42 s`
fn age(seconds: u64) -> String {
    match (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} m"),
        (0, hours, minutes) => format!("{hours} h {minutes} m"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::view::tests::well;

    fn screen(style: Style) -> String {
        let (mut status, pools) = well(BackendState::Down);
        status.summary = status.sentence(&pools);
        draw(&status, &pools, style)
    }

    #[test]
    fn the_screen_begins_with_the_sentence_and_shows_every_backend() {
        let expected = "\
Coping: 4210 requests a second, 1 of 2 backends serve.
test · tidegate 0.0.0 · up 1 h 2 m · 2 workers · 1234567 requests, 3 failed, 4 refused · configuration abc123
listener web on 127.0.0.1:8080: 7 connections

pool app (two_choices): 1 of 2 serve, 4210 requests a second, 5 in flight, 3 waiting
   backend  address      state    in flight  requests  errors
+  a        10.0.0.1:80  serving          2    600000       1
!  b        10.0.0.1:80  down             2    600000       1  connection refused
";
        assert_eq!(screen(Style::default()), expected);
    }

    #[test]
    fn colour_changes_no_letter() {
        let coloured = screen(Style { has_colour: true, is_redrawn: true });
        assert!(coloured.contains("\x1b[31mdown\x1b[0m"));
        let mut plain = coloured.replace("\x1b[0m", "").replace(REDRAW, "");
        for code in [RED, GREEN, YELLOW, BOLD] {
            plain = plain.replace(&format!("\x1b[{code}m"), "");
        }
        assert_eq!(plain, screen(Style::default()));
    }

    #[test]
    fn trouble_is_named() {
        let (mut status, mut pools) = well(BackendState::Serving);
        status.problems.push("draining".into());
        status.config.last_error = Some("`pol` is no key".into());
        pools[0].demand.refused_rps = 2.5;
        let screen = draw(&status, &pools, Style::default());
        for text in
            ["not ready: draining\n", "refused configuration: `pol` is no key\n", ", 2.5 refused,"]
        {
            assert!(screen.contains(text), "{text} in\n{screen}");
        }
    }

    #[test]
    fn ages_have_two_figures_at_most() {
        let ages = [0, 59, 60, 3_599, 3_600, 86_399, 86_400, 180_000].map(age);
        let expected = ["0 s", "59 s", "1 m", "59 m", "1 h 0 m", "23 h 59 m", "1 d 0 h", "2 d 2 h"];
        assert_eq!(ages, expected);
    }
}
