//! Keeps every pool at the size its demand calls for.
//!
//! | file            | what                                                              |
//! |-----------------|-------------------------------------------------------------------|
//! | `demand.rs`     | what the doors saw of a pool → the one number its size follows    |
//! | `ports.rs`      | whom the scaler asks and tells: provider, doors, signals, people  |
//! | `look.rs`       | what it sees in a turn, and what it wants done, as values         |
//! | `controller.rs` | decides, pure: a look in, a decision and actions out              |
//! | `run.rs`        | the loop: looks, decides, acts, tells; nothing in it waits        |
//! | `journal.rs`    | what was decided, why, and what came of it, on the disk           |
//! | `ledger.rs`     | what a restarted controller must know                             |
//! | `overrides.rs`  | what operators want instead, on its way to the loop               |
//! | `clock.rs`      | the only place where a clock is read                              |
//!
//! Not here: the rules of sizes, which are `policies::scale`, and whoever launches machines, which
//! is `infra`.
//!
//! This crate sees doors and clouds as values only. Traffic flows although nobody scales.

pub mod clock;
pub mod controller;
pub mod demand;
pub mod journal;
pub mod ledger;
pub mod look;
pub mod overrides;
pub mod ports;
pub mod run;
