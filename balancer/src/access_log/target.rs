//! One file that lines go to, and what becomes of it when it cannot be written.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

use super::LogTarget;

/// After a failed write, lines are dropped for as long before the next attempt.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// An open target.
#[derive(Debug)]
pub(super) struct Sink {
    target: LogTarget,
    file: File,
    failing: Option<Failing>,
    /// The last write ended inside a line: the next one begins on a new line.
    is_torn: bool,
}

#[derive(Debug)]
struct Failing {
    retry_at: Instant,
    dropped: u64,
}

impl Sink {
    /// Opens `target`; a file is made if it is not there, its directory is not.
    pub(super) fn open(target: LogTarget) -> io::Result<Sink> {
        let file = open(&target)?;
        Ok(Sink { target, file, failing: None, is_torn: false })
    }

    /// Turns to the file that has the name now. The old one stays if that cannot be opened.
    pub(super) fn reopen(&mut self) {
        match open(&self.target) {
            Ok(file) => {
                self.file = file;
                self.is_torn = false;
                tracing::info!(file = %self.target, "access log reopened");
            }
            Err(error) => tracing::warn!(
                file = %self.target, %error,
                "access log cannot be reopened; lines still go to the file that was open"
            ),
        }
    }

    /// Writes whole lines, given in two pieces. Returns how many of them are lost.
    pub(super) fn write(&mut self, pieces: [&[u8]; 2], now: Instant) -> u64 {
        if let Some(failing) = &mut self.failing {
            if now < failing.retry_at {
                let lines = lines(pieces, 0);
                failing.dropped += lines;
                return lines;
            }
            // The file may have been removed together with its full disk, say.
            if let (LogTarget::File(_), Ok(file)) = (&self.target, open(&self.target)) {
                self.file = file;
            }
        }
        // A line cut short by the last failure ends here, so that the next one is whole.
        let lead: &[u8] = if self.is_torn { b"\n" } else { b"" };
        let [first, second] = pieces;
        let mut written = 0;
        let result = put(&mut self.file, [lead, first, second], &mut written);
        if written > 0 {
            self.is_torn = byte_before([lead, first, second], written) != Some(b'\n');
        }
        match result {
            Ok(()) => {
                self.recovered();
                0
            }
            Err(error) => {
                let lines = lines(pieces, written.saturating_sub(lead.len()));
                self.failed(lines, now, &error);
                lines
            }
        }
    }

    fn failed(&mut self, lines: u64, now: Instant, error: &io::Error) {
        let dropped = self.failing.as_ref().map_or(0, |failing| failing.dropped) + lines;
        if self.failing.is_none() {
            tracing::error!(
                file = %self.target, %error,
                "access log cannot be written; lines are dropped and counted until it can"
            );
        }
        self.failing = Some(Failing { retry_at: now + RETRY_AFTER, dropped });
    }

    fn recovered(&mut self) {
        if let Some(failing) = self.failing.take() {
            tracing::info!(
                file = %self.target, dropped = failing.dropped, "access log is written again"
            );
        }
    }
}

fn open(target: &LogTarget) -> io::Result<File> {
    let LogTarget::File(path) = target else {
        return Ok(io::stdout().as_fd().try_clone_to_owned()?.into());
    };
    // To open a named pipe that nobody reads is then an error instead of a wait without end.
    let nonblocking = i32::from_ne_bytes(OFlags::NONBLOCK.bits().to_ne_bytes());
    let mut options = OpenOptions::new();
    let file =
        options.append(true).create(true).mode(0o640).custom_flags(nonblocking).open(path)?;
    // To write to one that is full waits all the same, and the rings take the strain.
    rustix::fs::fcntl_setfl(&file, OFlags::APPEND)?;
    Ok(file)
}

/// Writes the pieces; `written` is how far it came, also on failure.
fn put(file: &mut File, pieces: [&[u8]; 3], written: &mut usize) -> io::Result<()> {
    for piece in pieces {
        let mut rest = piece;
        while !rest.is_empty() {
            match file.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    *written += n;
                    rest = rest.get(n..).unwrap_or_default();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

fn byte_before(pieces: [&[u8]; 3], end: usize) -> Option<u8> {
    pieces.into_iter().flatten().nth(end.checked_sub(1)?).copied()
}

/// Lines that end after the first `written` bytes.
fn lines(pieces: [&[u8]; 2], written: usize) -> u64 {
    let [first, second] = pieces;
    let first_rest = first.get(written..).unwrap_or_default();
    let second_rest = second.get(written.saturating_sub(first.len())..).unwrap_or_default();
    [first_rest, second_rest]
        .map(|rest| memchr::memchr_iter(b'\n', rest).count() as u64)
        .iter()
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_is_counted_in_whole_lines() {
        for (written, lost) in [(0, 3), (1, 3), (2, 2), (3, 2), (5, 1), (6, 0)] {
            assert_eq!(lines([b"a\nb", b"b\n\n"], written), lost, "{written}");
        }
    }

    #[test]
    fn the_byte_at_a_cut_is_found_in_any_piece() {
        let bytes: Vec<_> = (0..=4).map(|end| byte_before([b"\n", b"a", b"b\n"], end)).collect();
        assert_eq!(bytes, [None, Some(b'\n'), Some(b'a'), Some(b'b'), Some(b'\n')]);
    }

    #[test]
    fn a_line_that_was_cut_does_not_spoil_the_next() {
        let (mut near, file) = std::os::unix::net::UnixStream::pair().unwrap();
        file.set_nonblocking(true).unwrap();
        let owned: std::os::fd::OwnedFd = file.into();
        let (target, start) = (LogTarget::Stdout, Instant::now());
        let mut sink = Sink { target, file: owned.into(), failing: None, is_torn: false };

        let long = [&[b'x'; 10_000_000][..], b"\n"].concat();
        assert_eq!(sink.write([b"first\n", &long], start), 1);
        assert_eq!(sink.write([b"not tried\n", b""], start), 1);
        let reader = std::thread::spawn(move || {
            let mut text = String::new();
            std::io::Read::read_to_string(&mut near, &mut text).map(|_| text)
        });
        let later = start + RETRY_AFTER;
        let deadline = Instant::now() + Duration::from_secs(5);
        let mut lost = 1;
        while lost > 0 && Instant::now() < deadline {
            sink.failing = None;
            lost = sink.write([b"last\n", b""], later);
        }
        assert_eq!(lost, 0);
        drop(sink);
        let text = reader.join().unwrap().unwrap();
        assert!(text.starts_with("first\nxxx"));
        assert!(text.ends_with("x\nlast\n"), "{:?}", &text[text.len() - 20..]);
    }
}
