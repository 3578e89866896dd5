//! Any bytes as a configuration: parse, check, render, write out again. Nothing may panic, and
//! what is shown as effective must be read again as a configuration.
//!
//! ```text
//! tests/fuzz/run.sh config 600
//! ```

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::config::{self, Severity};

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let loaded = config::parse("fuzz.toml", &text);
    assert_eq!(loaded.config.is_none(), loaded.has(Severity::Error));
    let _ = config::render_text(&loaded.problems);
    let _ = config::render_json(&loaded.problems);
    let shown = loaded.effective(true);
    if loaded.config.is_some() {
        let again = config::parse("again.toml", &shown);
        assert!(again.config.is_some(), "{}", config::render_text(&again.problems));
    }
});
