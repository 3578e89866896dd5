//! Moves requests from clients to backends.
pub mod access_log;
pub mod config;
pub mod http1;
pub mod outcome;
pub mod stats;
