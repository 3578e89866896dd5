//! Keeps every pool at the size its demand calls for.
//!
//! Here now: [`demand`], which turns what the doors saw of a pool into the one number that its
//! size follows, and [`ports`], through which the scaler reaches the world. Here later: the loop
//! that looks, decides, writes down and acts (`controller`, `run`, `journal`). Not here: the rules
//! of deciding, which are `policies`, and whoever launches machines, which is `infra`.
//!
//! This crate sees doors and clouds as values only. Traffic flows although nobody scales.

pub mod demand;
pub mod ports;
