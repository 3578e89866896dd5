//! Asks backends how they are.
pub mod config;
