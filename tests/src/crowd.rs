//! Many requests over a few kept connections, for tests that count.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::client::TestClient;
use crate::within;

/// Requests that one connection sends before it reads their answers.
const PIPELINED: usize = 10;

/// For a whole crowd, on a machine that compiles something else meanwhile.
const LIMIT: Duration = Duration::from_secs(40);

/// How often which answer came: by body where the status is 200, else by `status 503`.
pub type Tally = BTreeMap<String, usize>;

/// Sends `count` requests over so many connections; `write` gives the bytes of each by its number.
/// An answer that does not come fails the test.
#[track_caller]
pub fn crowd(
    addr: SocketAddr,
    connections: usize,
    count: usize,
    write: impl Fn(usize) -> String + Send + Sync + 'static,
) -> impl Future<Output = Tally> {
    let write = Arc::new(write);
    within(LIMIT, async move {
        let mut tasks = JoinSet::new();
        for first in 0..connections {
            let write = write.clone();
            let numbers: Vec<usize> = (first..count).step_by(connections).collect();
            tasks.spawn(async move { one(addr, &numbers, &*write).await });
        }
        let mut sum = Tally::new();
        while let Some(tally) = tasks.join_next().await {
            for (answer, times) in tally.expect("a member of the crowd fails with the test") {
                *sum.entry(answer).or_default() += times;
            }
        }
        sum
    })
}

/// `GET /` for the host `test`, whatever its number.
pub fn plain(_: usize) -> String {
    "GET / HTTP/1.1\r\nHost: test\r\n\r\n".to_owned()
}

async fn one(
    addr: SocketAddr,
    numbers: &[usize],
    write: &(dyn Fn(usize) -> String + Sync),
) -> Tally {
    let mut tally = Tally::new();
    let mut client = TestClient::connect(addr).await;
    client.ceiling = LIMIT;
    for batch in numbers.chunks(PIPELINED) {
        client.send(batch.iter().map(|&number| write(number)).collect::<String>()).await;
        for _ in batch {
            let response = client.read_response().await;
            let answer = match response.status {
                200 => response.text(),
                status => format!("status {status}"),
            };
            *tally.entry(answer).or_default() += 1;
        }
    }
    tally
}
