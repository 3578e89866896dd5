//! Lines of a journal: a JSON object, a tab, and 16 digits that say whether it is whole.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use policies::rng::hash;

use super::record::Record;
use crate::ledger::Ledger;

/// More is not read at once: what follows is read the next time.
const MOST: u64 = 256 << 20;

/// What a file says.
#[derive(Debug, Default)]
pub(super) struct Replayed {
    pub(super) ledger: Ledger,
    /// The name it has given itself; none if there is no journal that can be gone on with.
    pub(super) journal: Option<String>,
    /// Bytes up to the end of its last whole line.
    pub(super) good: u64,
    /// There was something, and it made no sense.
    pub(super) is_damaged: bool,
    /// Of what makes no sense: a later version of this program has written it.
    pub(super) is_later: bool,
}

/// Reads all of a file. One that is not there is an empty one. What a crash has left of a last
/// line is as if it had not been written; anything else that is wrong is damage.
pub(super) fn replay(path: &Path) -> Replayed {
    let mut replayed = Replayed::default();
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            replayed.is_damaged = error.kind() != io::ErrorKind::NotFound;
            return replayed;
        }
    };
    let mut rest = bytes.as_slice();
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let (line, after) = rest.split_at(end + 1);
        let Some(record) = parse(&line[..end]) else { break };
        if !record.fold(&mut replayed.ledger) {
            replayed.is_later = record.is_later();
            break;
        }
        if let Record::Begin(begin) = &record {
            replayed.journal = Some(begin.journal.clone());
        }
        replayed.good += line.len() as u64;
        rest = after;
    }
    // Of a torn line there is one at most, and it is the last.
    let torn = rest.iter().filter(|byte| **byte == b'\n').count();
    if replayed.is_later || torn > 1 || (torn == 1 && rest.last() != Some(&b'\n')) {
        // What follows may hold launches. Those that live are found by their marks.
        replayed.is_damaged = true;
        replayed.journal = None;
    }
    replayed
}

/// The whole records from a place on, and the place behind them.
pub(super) fn read(path: &Path, from: u64) -> io::Result<(Vec<Record>, u64)> {
    let mut file = File::open(path)?;
    // Shorter than before: another file has taken its place.
    let from = if file.metadata()?.len() < from { 0 } else { from };
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(MOST).read_to_end(&mut bytes)?;
    let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let lines = bytes[..end].split(|byte| *byte == b'\n');
    Ok((lines.filter_map(parse).collect(), from + end as u64))
}

/// As it is written.
pub(super) fn line(record: &Record) -> Vec<u8> {
    // Numbers and texts only: nothing that JSON could not say.
    let json = serde_json::to_string(record).unwrap_or_default();
    format!("{json}\t{:016x}\n", hash(json.as_bytes())).into_bytes()
}

fn parse(line: &[u8]) -> Option<Record> {
    let text = std::str::from_utf8(line).ok()?;
    let (json, sum) = text.rsplit_once('\t')?;
    if u64::from_str_radix(sum, 16).ok()? != hash(json.as_bytes()) {
        return None;
    }
    serde_json::from_str(json).ok()
}
