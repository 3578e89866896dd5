//! Programs of the operator: where they are found, and what they are told of our environment.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// What every program may expect to find. The rest of our environment stays here: it may hold
/// secrets, and the service manager's words are for us alone.
const PASSED_ON: [&str; 6] = ["HOME", "LANG", "PATH", "TMPDIR", "TZ", "USER"];

/// The variables of ours that a program gets.
pub(crate) fn environment() -> impl Iterator<Item = (&'static str, OsString)> {
    PASSED_ON.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)))
}

/// The file that `program` names: itself if it has a slash, else the first in `PATH`. `Err` says
/// why it could not be started.
pub(crate) fn find(program: &str) -> Result<PathBuf, String> {
    let is_program = |path: &Path| {
        fs::metadata(path)
            .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    if program.contains('/') {
        let path = PathBuf::from(program);
        return match is_program(&path) {
            true => Ok(path),
            false => Err(format!("`{program}` is no program that may be run")),
        };
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&path).map(|folder| folder.join(program)).find(|p| is_program(p));
    found.ok_or_else(|| format!("no program `{program}` in PATH"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_as_a_shell_would_find_it() {
        assert!(find("sh").unwrap().is_absolute());
        assert!(find("/proc/version").unwrap_err().contains("may be run"));
        assert!(find("no-such-program-at-all").unwrap_err().contains("in PATH"));
    }
}
