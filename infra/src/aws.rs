//! AWS: instances, messages to people and machines, and figures for whoever looks at the cloud's
//! dashboards.
//!
//! No type of the SDK leaves this folder. Nothing is made or looked for before the first call,
//! so a door that is not told of AWS pays nothing for it. Credentials come from where the SDK
//! finds them (environment, profile, a process, role of the machine); an endpoint of the configuration,
//! or `AWS_ENDPOINT_URL`, leads calls elsewhere.

pub mod cloudwatch;
mod connection;
pub mod ec2;
pub mod sns;
pub mod topic;

pub use connection::{Identity, Place};
