//! A folder for the configuration, the state and the admin socket, for this user alone.
//!
//! The journal and the configuration stay behind, for `tidegate why` and `tidegate decisions`.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::text;

#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new() -> Result<Folder, String> {
        let path = std::env::temp_dir().join(format!("tidegate-demo-{}", std::process::id()));
        // Left by a demo of before, whose process id has come round again.
        let _ = std::fs::remove_dir_all(&path);
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|error| text::cannot_make(&path, &error))?;
        Ok(Folder(path))
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.0.join("admin.sock")
    }

    pub(super) fn state(&self) -> PathBuf {
        self.0.join("state")
    }

    pub(super) fn configuration(&self) -> PathBuf {
        self.0.join("demo.toml")
    }

    /// So that other commands can read it too.
    pub(super) fn write(&self, configuration: &str) -> Result<(), String> {
        let path = self.configuration();
        std::fs::write(&path, configuration).map_err(|error| text::cannot_make(&path, &error))
    }

    /// Has to be kept: somebody may want to know why.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Records of processes that have ended, and a socket that nobody listens on; the system
        // cleans up what stays.
        let _ = std::fs::remove_dir_all(self.state().join("instances"));
        let _ = std::fs::remove_file(self.socket());
    }
}
