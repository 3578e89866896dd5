//! Moves requests from clients to backends.
//!
//! | question                          | answered in                                  |
//! |-----------------------------------|----------------------------------------------|
//! | What happens to a request?        | `proxy::serve`, top to bottom                |
//! | May it pass at all?               | `admission::admit`, one rule per line        |
//! | What does one try at a backend do? | `attempt`, `relay`                          |
//! | Who may change what takes traffic? | [`roster::Roster`], the only writer         |
//! | What does a request see?          | [`snapshot::Snapshot`], immutable            |
//! | How are bytes read and written?   | [`http1`] (no I/O), `wire`, `window`         |
//! | What is counted and logged?       | [`stats`], [`access_log`]                    |
//! | What would become of a request?   | [`explain`], by the functions above          |
//!
//! One thread per core, each for itself: runtime, sockets, connections, counters. The only things
//! that requests of two workers both write are the padded counts in a backend's slot. Nothing here
//! knows of the scaler or of a cloud: traffic flows although they are down.

mod accept;
pub mod access_log;
mod admission;
mod answer;
mod attempt;
mod body;
pub mod budget;
pub mod config;
mod connection;
mod debt;
pub mod door;
mod exchange;
pub mod explain;
mod forward;
mod forwarded;
mod front;
pub mod http1;
pub mod limits;
mod list;
mod listener;
pub mod load;
pub mod outcome;
mod owed;
mod parting;
mod proxy;
mod proxy_protocol;
pub mod queue;
mod reason;
mod record;
mod refuse;
mod relay;
mod retry;
pub mod roster;
pub mod sample;
mod shared;
pub mod snapshot;
mod socket;
pub mod sockets;
pub mod stats;
mod sticky;
mod streams;
mod timer;
mod trace;
mod tunnel;
mod upstream;
mod view;
mod waiting;
mod window;
mod wire;
mod words;
mod worker;

pub use door::Door;
pub use shared::Stage;
