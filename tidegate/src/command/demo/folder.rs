//! A folder for the admin socket, for this user alone, gone with the demo.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::text;

#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new() -> Result<Folder, String> {
        let path = std::env::temp_dir().join(format!("tidegate-demo-{}", std::process::id()));
        // Left by a demo that was killed, whose process id has come round again.
        let _ = std::fs::remove_dir_all(&path);
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|error| text::cannot_make(&path, &error))?;
        Ok(Folder(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // The system cleans up what stays.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
