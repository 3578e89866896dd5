//! `tidegate demo`: the whole product on this machine, on loopback, in half a minute.
//!
//! ```text
//!  load ──► door ──► amber, blue, coral
//!  (a thread) (its workers)  (child processes of the same executable)
//! ```
//!
//! Nothing is played: the requests are real, the backends are processes, and the one that dies
//! gets SIGKILL. What is shown of it is what an operator can see: the demo asks the admin socket.
//! It ends with 0 only if every request got its answer, except for what may not be sent twice.
//!
//! | what                                        | where         |
//! |---------------------------------------------|---------------|
//! | the story, its start and its end            | here          |
//! | the backends, and that none is left behind  | `backends.rs` |
//! | the requests                                | `load.rs`     |
//! | what became of them                         | `tally.rs`    |
//! | questions to the door                       | `client.rs`   |
//! | lines that move                             | `screen.rs`   |
//! | every word that is shown                    | `text.rs`     |

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::admin::view::{BackendState, BackendView};
use crate::app::{App, Origin};
use crate::cli::FAILED;
use crate::command::{complain, say};
use crate::config;
use crate::telemetry::events::EventRing;
use backends::Backends;
use client::{Client, Place};
use load::Load;
use screen::Screen;
use tally::{Kill, Tally};

mod backends;
mod client;
mod folder;
mod load;
mod screen;
mod tally;
mod text;

/// The backends, in the order in which they die.
const NAMES: [&str; 3] = ["amber", "blue", "coral"];

/// Show the product.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only a few seconds of it
    #[arg(long)]
    pub fast: bool,
    /// How many of the three backends to kill. With all of them gone requests do fail, which the
    /// exit code tells
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u8).range(1..=NAMES.len() as i64))]
    pub kill: u8,
}

/// Between two looks at the door.
const LOOK: Duration = Duration::from_millis(50);

/// Longest wait for a state to change. Checks need a second or two; a busy machine more.
const CEILING: Duration = Duration::from_secs(15);

/// Shows everything, and ends with 0 if all went as it should.
pub fn main(args: Args) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let shown = match runtime {
        Ok(runtime) => runtime.block_on(show(&args)),
        Err(error) => Err(text::cannot_start(&error)),
    };
    match shown {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(FAILED),
        Err(text) => {
            complain(&format!("error: {text}\n"));
            ExitCode::from(FAILED)
        }
    }
}

/// Whether all went as it should.
async fn show(args: &Args) -> Result<bool, String> {
    let hear = |kind| signal(kind).map_err(|error| text::cannot_start(&error));
    let (mut interrupt, mut terminate) =
        (hear(SignalKind::interrupt())?, hear(SignalKind::terminate())?);
    let folder = folder::Folder::new()?;
    let mut backends = Backends::start(&NAMES)?;
    let socket = folder.path().join("admin.sock");
    let app = open_door(&configuration(&backends.addresses(), &socket)).await?;
    let Some(door) = address_of(&app) else { return Err(text::NO_ADDRESS.to_owned()) };
    say(&text::opening(&backends, door, app.admin().addresses()));

    let tally = Arc::new(Tally::new(NAMES.len()));
    let mut story = Story {
        admin: Client::new(Place::Unix(socket)),
        screen: Screen::new(Arc::clone(&tally)),
        tally: Arc::clone(&tally),
        pace: Pace::of(args.fast),
        load: None,
        seen: Vec::new(),
    };
    let told = tokio::select! {
        told = story.tell(&mut backends, door, usize::from(args.kill)) => told.map(Some),
        _ = interrupt.recv() => Ok(None),
        _ = terminate.recv() => Ok(None),
    };
    if let Some(load) = story.load.take() {
        load.stop().await;
    }
    let (_hurry, hurried) = watch::channel(false);
    app.stop(hurried).await;
    drop(backends);

    let sum = tally.sum();
    say(&text::summary(&sum, &NAMES));
    let absences = told?;
    say(&text::verdict(&sum, absences.as_deref(), &NAMES));
    Ok(sum.failures.is_empty())
}

/// The configuration of the door, with the addresses that are known only now.
fn configuration(backends: &[(&str, SocketAddr)], socket: &Path) -> String {
    let entry = |(name, address): &(&str, SocketAddr)| {
        format!("    {{ id = \"{name}\", address = \"{address}\" }},\n")
    };
    let entries: String = backends.iter().map(entry).collect();
    let socket = toml::Value::String(socket.to_string_lossy().into_owned()).to_string();
    include_str!("demo/door.toml")
        .replace("@BACKENDS@", &format!("[\n{entries}]"))
        .replace("@SOCKET@", &socket)
}

async fn open_door(configuration: &str) -> Result<App, String> {
    let loaded = config::parse("demo.toml", configuration);
    let (effective, compared) = (loaded.effective(true), loaded.compared());
    let Some(config) = loaded.config else {
        return Err(config::render_text(&loaded.problems));
    };
    let origin = Origin { file: PathBuf::from(text::BUILT_IN), effective, compared };
    App::start(config, origin, EventRing::new(), None)
        .await
        .map_err(|error| text::cannot_start(&error))
}

fn address_of(app: &App) -> Option<SocketAddr> {
    app.running().listeners.first().and_then(|(_, addresses)| addresses.first()).copied()
}

/// How long each part is shown.
#[derive(Debug, Clone, Copy)]
struct Pace {
    before: Duration,
    without: Duration,
    after: Duration,
}

impl Pace {
    fn of(is_fast: bool) -> Pace {
        let ms = Duration::from_millis;
        if is_fast {
            Pace { before: ms(800), without: ms(500), after: ms(700) }
        } else {
            Pace { before: ms(6_000), without: ms(5_000), after: ms(6_000) }
        }
    }
}

/// What the door saw of one backend's death and return.
#[derive(Debug, Clone, Copy)]
struct Absence {
    /// From SIGKILL until its state was `down`.
    down_after: Duration,
    /// From its new start until its state was `serving`.
    back_after: Duration,
}

/// The part of the demo that one can watch.
struct Story {
    admin: Client,
    screen: Screen,
    tally: Arc<Tally>,
    pace: Pace,
    load: Option<Load>,
    /// The backends at the last look, in the order of [`NAMES`].
    seen: Vec<BackendView>,
}

impl Story {
    /// From the first request to the last, with the death of the first `victims` in between.
    async fn tell(
        &mut self,
        backends: &mut Backends,
        door: SocketAddr,
        victims: usize,
    ) -> Result<Vec<Absence>, String> {
        self.until(NAMES.len(), BackendState::Serving).await?;
        self.load = Some(Load::start(door, Arc::clone(&self.tally))?);
        self.hold(self.pace.before).await?;

        let asked = Instant::now();
        for (victim, name) in NAMES.iter().enumerate().take(victims) {
            let pid = backends.kill(victim)?;
            self.screen.event(&text::killed(name, pid));
        }
        self.tally.killed(Kill { asked, done: Instant::now() });
        let down = self.until(victims, BackendState::Down).await?;
        self.hold(self.pace.without).await?;

        for (victim, name) in NAMES.iter().enumerate().take(victims) {
            let pid = backends.revive(victim)?;
            self.screen.event(&text::revived(name, pid));
        }
        let back = self.until(victims, BackendState::Serving).await?;
        let returned = Instant::now();
        self.hold(self.pace.after).await?;
        if let Some(idle) = (0..victims).find(|victim| !self.tally.has_served(*victim, returned)) {
            return Err(text::idle(NAMES[idle]));
        }
        let absences = down.into_iter().zip(back);
        Ok(absences.map(|(down_after, back_after)| Absence { down_after, back_after }).collect())
    }

    /// Looks until the first `count` backends are in this state; how long each took.
    async fn until(&mut self, count: usize, state: BackendState) -> Result<Vec<Duration>, String> {
        let began = Instant::now();
        let mut found = vec![None; count];
        while let Some(missing) = found.iter().position(Option::is_none) {
            if began.elapsed() > CEILING {
                return Err(text::in_vain(NAMES[missing], state, self.seen.get(missing)));
            }
            self.look().await?;
            for (place, found) in found.iter_mut().enumerate() {
                if found.is_none() && self.seen.get(place).is_some_and(|b| b.state == state) {
                    *found = Some(began.elapsed());
                    self.screen.event(&text::became(NAMES[place], state, began.elapsed()));
                }
            }
        }
        Ok(found.into_iter().flatten().collect())
    }

    /// Goes on looking for so long.
    async fn hold(&mut self, length: Duration) -> Result<(), String> {
        let began = Instant::now();
        while began.elapsed() < length {
            self.look().await?;
        }
        Ok(())
    }

    /// Asks the door how its backends are, and shows it.
    async fn look(&mut self) -> Result<(), String> {
        self.seen = self.admin.backends().await.map_err(|why| text::no_view(&why))?;
        if self.load.is_some() {
            self.screen.draw(&self.seen);
        }
        tokio::time::sleep(LOOK).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_configuration_has_no_problem_wherever_the_socket_is() {
        for socket in ["/tmp/a/admin.sock", "/tmp/it's \"quoted\"/admin.sock"] {
            let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
            let entries = [("amber", address(1)), ("blue", address(2))];
            let loaded = config::parse("demo.toml", &configuration(&entries, Path::new(socket)));
            assert!(loaded.problems.is_empty(), "{}", config::render_text(&loaded.problems));
            let config = loaded.config.unwrap();
            assert_eq!(config.admin.unix.as_deref(), Some(Path::new(socket)));
            assert_eq!(config.door.pools[0].backends.len(), 2);
        }
    }
}
