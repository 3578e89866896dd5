//! `tidegate demo`: a match night on this machine, on loopback, in three minutes.
//!
//! ```text
//!  load ──► door ──► on-prem: amber, blue, coral   (child processes of the same executable)
//!  (a thread)   └──► cloud: as many as are needed  (the same, launched by the scaler)
//! ```
//!
//! Nothing is played: the requests are real, backends and instances are processes, and the one that
//! dies gets SIGKILL. What is shown of it is what an operator can see: the demo asks the admin
//! socket and reads the journal. It ends with 0 only if every request got its answer, except for
//! what may not be sent twice, and if the cloud was given back.
//!
//! | what                                        | where         |
//! |---------------------------------------------|---------------|
//! | the start and the end                       | here          |
//! | the story                                   | `story.rs`    |
//! | the configuration of the door               | `setup.rs`    |
//! | how many requests at which moment           | `night.rs`    |
//! | the requests                                | `load.rs`     |
//! | what became of them                         | `tally.rs`    |
//! | the backends, and that none is left behind  | `backends.rs` |
//! | instances, and what they cost               | `cloud.rs`    |
//! | questions to the door                       | `client.rs`   |
//! | lines that move                             | `screen.rs`   |
//! | every word that is shown                    | `text.rs`     |

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::app::{App, Origin};
use crate::cli::FAILED;
use crate::command::{complain, say};
use crate::config;
use crate::telemetry::events::EventRing;
use backends::Backends;
use folder::Folder;
use setup::Setup;
use story::Story;
use tally::Tally;

mod backends;
mod client;
mod cloud;
mod folder;
mod load;
mod night;
mod screen;
mod setup;
mod story;
mod tally;
mod text;

/// The backends on-prem, in the order in which they die.
const NAMES: [&str; 3] = ["amber", "blue", "coral"];

/// All instances of the cloud, where those of [`NAMES`] are counted by their place.
const CLOUD: usize = NAMES.len();

/// Show the product.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The same in half a minute
    #[arg(long)]
    pub fast: bool,
    /// Have the scaler say what it would do, and do nothing: requests then fail, which the exit code
    /// tells
    #[arg(long)]
    pub shadow: bool,
    /// How many of the three on-prem backends to kill
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u8).range(1..=NAMES.len() as i64))]
    pub kill: u8,
    /// Have every launch end before it serves
    #[arg(long, hide = true)]
    pub broken_launches: bool,
}

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

/// Ctrl-C, or a signal to end.
struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupts {
    fn new() -> Result<Interrupts, String> {
        let hear = |kind| signal(kind).map_err(|error| text::cannot_start(&error));
        let (interrupt, terminate) = (SignalKind::interrupt(), SignalKind::terminate());
        Ok(Interrupts { interrupt: hear(interrupt)?, terminate: hear(terminate)? })
    }

    async fn come(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Whether all went as it should.
async fn show(args: &Args) -> Result<bool, String> {
    let mut interrupts = Interrupts::new()?;
    let folder = Folder::new()?;
    let mut backends = Backends::start(&NAMES)?;
    let configuration = Setup::new(args, &folder)?.configuration(&backends.addresses());
    folder.write(&configuration)?;
    let app = open_door(&configuration, &folder).await?;
    let Some(door) = address_of(&app) else { return Err(text::NO_ADDRESS.to_owned()) };
    say(&text::opening(&backends, door, app.admin().addresses()));

    let tally = Arc::new(Tally::new(NAMES.len() + 1));
    let mut story = Story::new(args, &folder, Arc::clone(&tally));
    let told = tokio::select! {
        told = story.tell(&mut backends, door, usize::from(args.kill)) => told.map(Some),
        () = interrupts.come() => Ok(None),
    };
    // Who interrupts twice means it: instances end with this process then.
    let is_left_behind = tokio::select! {
        left = story.end() => left,
        () = interrupts.come() => Ok(()),
    };
    let (_hurry, hurried) = watch::channel(false);
    app.stop(hurried).await;
    drop(backends);

    let sum = tally.sum();
    say(&text::summary(&sum, &NAMES, story.bill()));
    say(&text::afterwards(&folder));
    let absences = told?;
    is_left_behind?;
    say(&text::verdict(&sum, absences.as_deref(), &NAMES));
    Ok(sum.failures.is_empty())
}

async fn open_door(configuration: &str, folder: &Folder) -> Result<App, String> {
    let loaded = config::parse("demo.toml", configuration);
    let (effective, compared) = (loaded.effective(true), loaded.compared());
    let Some(config) = loaded.config else {
        return Err(config::render_text(&loaded.problems));
    };
    let origin = Origin { file: folder.configuration(), effective, compared };
    App::start(config, origin, EventRing::new(), None)
        .await
        .map_err(|error| text::cannot_start(&error))
}

fn address_of(app: &App) -> Option<SocketAddr> {
    app.running().listeners.first().and_then(|(_, addresses)| addresses.first()).copied()
}
