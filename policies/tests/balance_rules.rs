//! Properties of the balancing rules, on simulated pools: any weights, any number in flight,
//! one worker and four. Cases are drawn from a fixed seed; nothing here can fail now and then.

#![allow(clippy::unwrap_used)] // the lint does not see that helpers of tests are tests

#[path = "balance/consistent.rs"]
mod consistent;
#[path = "balance/evenness.rs"]
mod evenness;
#[path = "balance/latency.rs"]
mod latency;
#[path = "balance/pool.rs"]
mod pool;
#[path = "balance/room.rs"]
mod room;
#[path = "balance/zones.rs"]
mod zones;
