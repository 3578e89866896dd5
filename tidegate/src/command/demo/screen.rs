//! Lines that move: a block that is drawn over itself on a terminal, and a line a second for
//! anything else, so that a log of it can be read.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::night::Moment;
use super::story::Sight;
use super::tally::Tally;
use super::text;
use crate::admin::view::BackendState;
use crate::command::say;

/// Between two pictures on a terminal.
const REDRAW: Duration = Duration::from_millis(250);

/// Between two lines elsewhere.
const LINE: Duration = Duration::from_secs(1);

pub(super) struct Screen {
    tally: Arc<Tally>,
    is_terminal: bool,
    has_colour: bool,
    drawn: Option<Instant>,
    /// The block that is on the terminal.
    block: Vec<String>,
}

impl Screen {
    pub(super) fn new(tally: Arc<Tally>) -> Screen {
        let is_terminal = std::io::stdout().is_terminal();
        let has_colour = is_terminal && std::env::var_os("NO_COLOR").is_none();
        Screen { tally, is_terminal, has_colour, drawn: None, block: Vec::new() }
    }

    /// Something has happened: it stays, above the block.
    pub(super) fn event(&mut self, line: &str) {
        let block = self.lines();
        say(&format!("{}{line}\n{block}", self.erase()));
    }

    /// Shows how it goes, if it is time.
    pub(super) fn draw(&mut self, at: &Moment, sight: &Sight) {
        let now = Instant::now();
        let every = if self.is_terminal { REDRAW } else { LINE };
        if self.drawn.is_some_and(|drawn| now.saturating_duration_since(drawn) < every) {
            return;
        }
        // Nothing has happened yet at the first look: a line of zeros says nothing.
        let is_first = self.drawn.replace(now).is_none();
        if is_first && !self.is_terminal {
            return;
        }
        let live = self.tally.live(now);
        if self.is_terminal {
            let erase = self.erase();
            let paint = |state: BackendState, word: &str| self.paint(state, word);
            self.block = text::block(&live, at, sight, &paint);
            say(&format!("{erase}{}", self.lines()));
        } else {
            say(&(text::line(&live, at, sight) + "\n"));
        }
    }

    /// Goes back to where the block began.
    fn erase(&self) -> String {
        match self.block.len() {
            0 => String::new(),
            lines => format!("\x1b[{lines}A\x1b[J"),
        }
    }

    /// The block, cut by the terminal where it is narrow: a line that wraps would be two.
    fn lines(&self) -> String {
        let lines = self.block.iter().map(|line| format!("\x1b[?7l{line}\x1b[?7h\n"));
        lines.collect()
    }

    fn paint(&self, state: BackendState, word: &str) -> String {
        let colour = match state {
            BackendState::Serving => 32,
            BackendState::Joining | BackendState::Draining | BackendState::Drained => 33,
            BackendState::Down
            | BackendState::Ejected
            | BackendState::Open
            | BackendState::Unresolved => 31,
        };
        if self.has_colour { format!("\x1b[{colour}m{word}\x1b[0m") } else { word.to_owned() }
    }
}
