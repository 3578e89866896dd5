//! The harness: a real backend, a real client and the real door, on loopback sockets.
//!
//! | what                    | for                                                             |
//! |-------------------------|-----------------------------------------------------------------|
//! | [`TestBackend`]         | records every byte it gets, answers by a script, dies, returns  |
//! | [`Meter`]               | backends that count how many requests they have at once         |
//! | [`DeafBackend`]         | an address where a connect hangs                                |
//! | [`TestClient`]          | sends exactly the bytes of the test, reads strictly             |
//! | [`TestDoor`]            | the program itself, with the configuration of the test          |
//! | [`TestCloud`](cloud::TestCloud) | an AWS on loopback, with faults and a ledger          |
//! | [`Elastic`](elastic::Elastic) | a door with a pool of local processes               |
//! | [`Operator`](operator::Operator) | asks and orders over the admin socket                  |
//! | [`Recorder`]            | keeps every byte it gets and judges none of them                |
//! | [`proc`](mod@proc)      | memory and open files of the door, as the kernel counts them    |
//! | [`corpus`], [`readings`] | messages as data, and how different readers take them          |
//! | [`crowd`](crowd::crowd)  | many requests over a few connections, and what came back        |
//! | [`Load`](load::Load)    | as many requests as are answered, and what failed               |
//! | [`Steady`](steady::Steady) | so many requests a second, and how each went                 |
//! | [`Process`](drill::Process) | a backend that can be killed and frozen as a whole           |
//! | [`Mixed`](mixed::Mixed) | GET and POST that go on meanwhile, and what failed of them      |
//! | [`within`], [`CEILING`] | no test waits for ever                                          |
//! | [`rest`]                | time that passes, where that is what is tried                   |
//!
//! The two ends share [`wire`], a small strict HTTP/1.1 reader that has nothing in common with
//! the door's own codec: an error in one is not an error in the other.
//!
//! Every wait here is for an event and has a ceiling, or else a [`rest`] with its reason; ports are chosen by the kernel. What is
//! wrong with a test's own set-up panics, since that is how a test fails.

pub mod backend;
pub mod chance;
pub mod client;
pub mod cloud;
pub mod corpus;
pub mod crowd;
pub mod door;
pub mod drill;
pub mod elastic;
pub mod load;
pub mod mixed;
pub mod operator;
pub mod proc;
pub mod readings;
pub mod recorder;
pub mod scrape;
pub mod steady;
pub mod tidy;
pub mod wire;

use std::panic::Location;
use std::time::Duration;

pub use backend::answer::Answer;
pub use backend::counting::Meter;
pub use backend::deaf::DeafBackend;
pub use backend::record::Received;
pub use backend::{Death, TestBackend};
pub use client::{End, Response, TestClient};
pub use door::TestDoor;
pub use recorder::Recorder;

/// How long an event may take that is expected at once. A hundred times what an idle machine
/// needs, because tests run beside compilers.
pub const CEILING: Duration = Duration::from_secs(5);

/// The output of `future`, or a failed test at the caller's line when it takes longer than
/// `limit`.
#[track_caller]
pub fn within<F: Future>(limit: Duration, future: F) -> impl Future<Output = F::Output> {
    let caller = Location::caller();
    async move {
        match tokio::time::timeout(limit, future).await {
            Ok(output) => output,
            Err(_) => panic!("nothing happened within {limit:?}, waited for at {caller}"),
        }
    }
}

/// Lets time pass, where time itself is what is tried: a connection that lies idle, a slow uplink, a
/// limit that has gone by. Never for something to happen: that is waited for.
pub async fn rest(time: Duration) {
    tokio::time::sleep(time).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn within_gives_what_the_future_gives() {
        assert_eq!(within(CEILING, async { 7 }).await, 7);
    }

    #[tokio::test]
    #[should_panic(expected = "nothing happened within 1ms, waited for at tests/src/lib.rs")]
    async fn within_names_the_line_that_waited_in_vain() {
        within(Duration::from_millis(1), std::future::pending::<()>()).await;
    }
}
