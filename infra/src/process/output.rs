//! What instances print, within bounds.
//!
//! A process writes straight into its file, so that it neither waits for us nor dies with us. When
//! the file has grown too long, its end is kept beside it and the file is emptied; whatever is
//! written goes to the end of a file, so this needs nobody's help. Between two looks a process may
//! write more than the bound; while Tidegate is down, nobody looks.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Longest file of one instance, in bytes.
pub(super) const MOST: u64 = 1 << 20;

/// What is kept of one that was too long, in bytes.
const KEPT: u64 = 128 << 10;

/// Where an instance prints to.
pub(super) fn file(folder: &Path, id: &str) -> PathBuf {
    folder.join(format!("{id}.log"))
}

/// Where the end of what it printed before is kept.
fn older(folder: &Path, id: &str) -> PathBuf {
    folder.join(format!("{id}.log.old"))
}

/// Shortens the file if it is too long.
pub(super) fn shorten(folder: &Path, id: &str) -> io::Result<()> {
    let path = file(folder, id);
    let Ok(found) = fs::metadata(&path) else { return Ok(()) };
    if found.len() <= MOST {
        return Ok(());
    }
    let mut log = File::options().read(true).write(true).open(&path)?;
    log.seek(SeekFrom::Start(found.len() - KEPT))?;
    let mut end = Vec::new();
    log.by_ref().take(KEPT).read_to_end(&mut end)?;
    // Emptied also if its end cannot be kept: a full disk is the reason to empty it.
    let kept = fs::write(older(folder, id), end);
    log.set_len(0)?;
    kept
}

/// Removes all of it.
pub(super) fn remove(folder: &Path, id: &str) {
    for path in [file(folder, id), older(folder, id)] {
        // Not there is as good as removed; anything else is met again when the record goes.
        let _ = fs::remove_file(path);
    }
}
