//! Where a configuration came from.

use std::path::PathBuf;

/// Where a configuration came from and what it says.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The file.
    pub file: PathBuf,
    /// All of it with defaults, secrets left out.
    pub effective: String,
    /// The same to compare with ([`crate::config::Loaded::compared`]); shown to nobody.
    pub compared: String,
}
