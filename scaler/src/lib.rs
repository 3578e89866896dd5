//! Keeps every pool at the size its demand calls for.
//!
//! | file            | what                                                              |
//! |-----------------|-------------------------------------------------------------------|
//! | `demand.rs`     | what the doors saw of a pool → the one number its size follows    |
//! | `ports.rs`      | whom the scaler asks and tells: provider, doors, signals, people  |
//! | `look.rs`       | what it sees in a turn, and what it wants done, as values         |
//! | `controller.rs` | decides, pure: a look in, a decision and actions out              |
//!
//! Not here: the rules of sizes, which are `policies::scale`, and whoever launches machines, which
//! is `infra`.
//!
//! This crate sees doors and clouds as values only. Traffic flows although nobody scales.

pub mod controller;
pub mod demand;
pub mod look;
pub mod ports;
