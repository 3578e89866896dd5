//! The outside world: whatever answers to somebody else.
//!
//! Here now: [`dns`], which turns the names of backends into addresses and keeps them fresh,
//! [`process`], the cloud on this machine, [`exec`], any cloud that a program of the operator
//! speaks with, and [`aws`], by which instances are launched, people are told and figures are kept. Not
//! here: backends themselves (probing is `health`, traffic `balancer`).
//!
//! Two rules hold for all of it. No type of a client library appears in a public signature, so
//! that a library can be exchanged in one file. And whatever is down out there costs us
//! freshness, never traffic: the last good answer stays in force until there is a better one.

pub mod aws;
pub mod dns;
pub mod exec;
pub mod process;
mod program;
mod record;
