//! Tidegate as a library: the configuration, the commands, and the wiring of the crates.

pub mod adapters;
pub mod admin;
pub mod alerts;
pub mod app;
pub mod cli;
pub mod cloudwatch;
pub mod command;
pub mod config;
pub mod hand_over;
pub mod providers;
pub mod scaling;
pub mod telemetry;
