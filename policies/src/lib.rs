//! The rules of Tidegate, and the nouns they are written in.
//!
//! This crate answers seven questions and does nothing else:
//!
//! | question                            | answered by                      |
//! |-------------------------------------|----------------------------------|
//! | Which route takes this request?     | [`route::RouteTable::find`]      |
//! | Which of its pools?                 | [`waterfall::Level::is_filled`]  |
//! | Which backend of that pool?         | [`balance::Picker::pick`], [`ramp::share`] |
//! | May it be tried again?              | [`retry::again`]                 |
//! | Is this backend well?               | [`health::Judge::observe`], [`outlier::Outlier::suspect`] |
//! | Who is a member, in which stage?    | [`membership::Membership::apply`] |
//! | How many instances should there be? | [`scale::decide`]                |
//!
//! Each answer depends on the arguments alone. Time comes in as a number, chance
//! as `&mut Rng`; there is no socket, lock, thread or clock in this crate, and
//! `clippy.toml` keeps it so. That is why the rules can be replayed from a seed,
//! and why `tidegate route explain` prints exactly what the door would do.
//!
//! Whatever has to wait is elsewhere: probing in `health`, forwarding in
//! `balancer`, the control loop in `scaler`, the cloud in `infra`.

pub mod backend;
pub mod balance;
pub mod breaker;
pub mod health;
pub mod membership;
pub mod outcomes;
pub mod outlier;
pub mod panic;
pub mod ramp;
pub mod retry;
pub mod rng;
pub mod route;
pub mod scale;
pub mod secret;
pub mod waterfall;
