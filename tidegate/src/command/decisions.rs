//! `tidegate decisions` and `tidegate why`: the journal of sizes, as a list and one by one.
//!
//! Both read the files of the journal, so they answer although no door runs.

use std::fmt::Write;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use jiff::Timestamp;
use scaler::journal::{self, record::Record, record::TurnRecord};

use super::{complain, end, say};
use crate::cli::{ConfigFile, FAILED, INVALID_CONFIG};
use crate::config;

/// Between two looks at a journal that is followed.
const LOOK: Duration = Duration::from_millis(300);

/// List the decisions about the size of elastic pools.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where the journal lies is in its `[site] state_dir`.
    #[command(flatten)]
    pub file: ConfigFile,
    /// Only of this pool
    #[arg(long, value_name = "POOL")]
    pub pool: Option<String>,
    /// Go on with each new one until Ctrl-C
    #[arg(short, long)]
    pub follow: bool,
    /// Print JSON, one record a line
    #[arg(long)]
    pub json: bool,
}

/// Explain a decision.
#[derive(Debug, clap::Args)]
pub struct WhyArgs {
    /// Of which pool; may be left out if there is one
    #[arg(value_name = "POOL")]
    pub pool: Option<String>,
    /// The decision that held at this time, such as 2026-11-21T20:15:00Z [default: now]
    #[arg(long, value_name = "TIME")]
    pub at: Option<Timestamp>,
    /// Configuration file [default: /etc/tidegate/tidegate.toml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// A journal that is read.
struct Reader {
    pool: String,
    path: PathBuf,
    place: u64,
}

/// Prints the decisions.
pub fn main(args: Args) -> ExitCode {
    let mut readers = match readers(args.file.path(), args.pool.as_deref()) {
        Ok(readers) => readers,
        Err(code) => return code,
    };
    loop {
        let mut text = String::new();
        for reader in &mut readers {
            let records = match reader.next() {
                Ok(records) => records,
                Err(error) => return failed(&error),
            };
            for record in records {
                text.push_str(&show(&reader.pool, &record, args.json));
            }
        }
        if !args.follow {
            return end(&text, ExitCode::SUCCESS);
        }
        say(&text);
        std::thread::sleep(LOOK);
    }
}

/// Prints why.
pub fn why(args: WhyArgs) -> ExitCode {
    let file = ConfigFile { file: None, config: args.config };
    let mut readers = match readers(file.path(), args.pool.as_deref()) {
        Ok(readers) => readers,
        Err(code) => return code,
    };
    let [reader] = readers.as_mut_slice() else {
        let names: Vec<&str> = readers.iter().map(|reader| reader.pool.as_str()).collect();
        complain(&format!("error: which pool? there are {}\n", names.join(", ")));
        return ExitCode::from(2);
    };
    let records = match reader.next() {
        Ok(records) => records,
        Err(error) => return failed(&error),
    };
    let until = args.at.unwrap_or(Timestamp::MAX);
    let is_before = |record: &&Record| record.at().is_some_and(|at| at <= until);
    let mut turns = records.iter().filter(is_before).filter_map(|record| match record {
        Record::Turn(turn) => Some(turn),
        Record::Begin(_) => None,
    });
    // The turns after a decision tell what came of it; those that only hold tell nothing more.
    match turns.next_back() {
        Some(turn) => end(&explain(&reader.pool, turn), ExitCode::SUCCESS),
        None => {
            complain(&format!("error: nothing was decided about `{}` until then\n", reader.pool));
            ExitCode::from(FAILED)
        }
    }
}

impl Reader {
    fn next(&mut self) -> Result<Vec<Record>, String> {
        match journal::read(&self.path, self.place) {
            Ok((records, place)) => {
                self.place = place;
                Ok(records)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(format!("cannot read `{}`: {error}", self.path.display())),
        }
    }
}

/// Of the pools that this configuration scales, or of one of them.
fn readers(file: &Path, wanted: Option<&str>) -> Result<Vec<Reader>, ExitCode> {
    let loaded = config::load(file);
    let Some(config) = loaded.config else {
        complain(&config::render_text(&loaded.problems));
        return Err(ExitCode::from(INVALID_CONFIG));
    };
    let pools = config.scalers.iter().map(|scaler| &scaler.pool);
    let known: Vec<String> = pools.clone().map(ToString::to_string).collect();
    let readers: Vec<Reader> = pools
        .filter(|pool| wanted.is_none_or(|wanted| wanted == &*pool.0))
        .map(|pool| Reader {
            pool: pool.to_string(),
            path: journal::path(&config.site.state_dir, pool),
            place: 0,
        })
        .collect();
    if readers.is_empty() {
        let text = match (wanted, known.as_slice()) {
            (_, []) => "no pool is scaled by this configuration".to_owned(),
            (wanted, known) => format!(
                "no scaler is about `{}`; there are {}",
                wanted.unwrap_or_default(),
                known.join(", ")
            ),
        };
        complain(&format!("error: {text}\n"));
        return Err(ExitCode::from(FAILED));
    }
    Ok(readers)
}

fn failed(error: &str) -> ExitCode {
    complain(&format!("error: {error}\n"));
    ExitCode::from(FAILED)
}

/// One line: JSON as it is written, or what somebody wants to know first.
fn show(pool: &str, record: &Record, json: bool) -> String {
    match (record, json) {
        (_, true) => serde_json::to_string(record).map_or_else(|_| String::new(), |s| s + "\n"),
        (Record::Begin(begin), _) => {
            let (open, live) = (begin.open.len(), begin.live.len());
            format!("{} {pool} begins: {live} instances, {open} launches open\n", begin.at)
        }
        (Record::Turn(turn), _) => line(pool, turn),
    }
}

/// `2026-11-21T20:15:00Z burst 12  2 -> 4 (need 4, at most 20): burst asks 4`
fn line(pool: &str, turn: &TurnRecord) -> String {
    let TurnRecord { at, decision, current, desired, need, limit, .. } = turn;
    let mut line =
        format!("{at} {pool} {decision}  {current} -> {desired} (need {need}, at most {limit})");
    if let Some(term) = winner(turn) {
        let _ = write!(line, ": {} asks {}", term.name, term.instances);
    }
    for hold in &turn.holds {
        let _ = write!(line, "; {}", hold.text);
    }
    for event in &turn.events {
        let _ = write!(line, "; {} {}", event.event, event.backends.join(" "));
    }
    line.trim_end().to_owned() + "\n"
}

/// Who asked for the most.
fn winner(turn: &TurnRecord) -> Option<&journal::record::TermRecord> {
    turn.terms.iter().filter(|term| term.verb == "asks").max_by_key(|term| term.instances)
}

/// All that one decision came from.
fn explain(pool: &str, turn: &TurnRecord) -> String {
    let mut text = format!(
        "pool {pool}, decision {}, {}{}\n\n{} instances wanted, {} there; {} needed, at most {}\n\n",
        turn.decision,
        turn.at,
        if turn.mode == "shadow" { " (shadow: nothing was done)" } else { "" },
        turn.desired,
        turn.current,
        turn.need,
        turn.limit,
    );
    for term in &turn.terms {
        let from = term.from.map(|from| format!("from {from:.1}")).unwrap_or_default();
        let (name, verb, instances, place) = (&term.name, &term.verb, term.instances, &term.place);
        let _ = writeln!(text, "  {name:<20} {verb:<8} {instances:>6}  {from:<16} {place}");
    }
    for hold in &turn.holds {
        let _ = writeln!(text, "\nheld: {}", hold.text);
    }
    for concern in &turn.concerns {
        let _ = writeln!(text, "\nlook at this: {concern}");
    }
    for launch in &turn.launches {
        let (count, offer, token) = (launch.count, &launch.offer, &launch.token);
        let _ = writeln!(text, "\nlaunched: {count} of {offer}, token {token}");
    }
    if !turn.terminates.is_empty() {
        let _ = writeln!(text, "\ngiven back: {}", turn.terminates.join(", "));
    }
    for event in &turn.events {
        let what = [Some(event.backends.join(" ")), event.reason.clone(), event.text.clone()];
        let what: Vec<String> = what.into_iter().flatten().filter(|s| !s.is_empty()).collect();
        let _ = writeln!(text, "\nnoticed: {} {}", event.event, what.join(", "));
    }
    text
}
