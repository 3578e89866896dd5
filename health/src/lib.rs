//! Asks backends how they are.
//!
//! Here: one probe ([`probe::probe`]) and the [`Monitor`] that repeats it for every backend of
//! every pool and reports each change of verdict. Not here: what makes a verdict (rise and fall
//! are `policies::health`), what follows from one (eligibility is the roster's, in `balancer`),
//! and who asks: a probe goes from an address to an answer and knows neither pool nor request.
//!
//! Checking is constant work. A target has one task and at most one probe under way, whatever
//! the backend does; a probe reads a bounded head and at most 64 KiB of body, and ends at its
//! timeout. A backend that fails makes the monitor neither slower nor busier than one that
//! answers, so an outage of many backends is no storm of checks.

pub mod config;
pub mod connect;
mod deadline;
pub mod error;
pub mod metrics;
pub mod monitor;
pub mod probe;
#[cfg(test)]
mod test_backend;

pub use error::{Phase, ProbeError};
pub use monitor::{Monitor, Pulse, Report, Target};
