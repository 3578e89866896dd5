//! Caps and queues under pressure: crowds against caps of every size. `TIDEGATE_DRILL=1` runs the
//! long forms (`make drills`).

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test, in helpers too

use std::net::SocketAddr;
use std::time::Duration;

use policies::rng::Rng;
use tests::door::one_pool;
use tests::drill::rounds;
use tests::{CEILING, Meter, TestClient, TestDoor, within};
use tokio::task::JoinSet;

const WORKERS: [usize; 2] = [1, 4];
const METRICS: &str = "[observe]\nmetrics = { listen = \"127.0.0.1:0\" }\n";

/// For everybody of a crowd to be served, on a machine that compiles something else meanwhile.
const LIMIT: Duration = Duration::from_secs(120);

/// A door in front of backends at these addresses with these caps, and these settings of the pool.
async fn door(backends: &[(SocketAddr, u64)], workers: usize, pool: &str) -> TestDoor {
    let ids: Vec<String> = (0..backends.len()).map(|number| format!("b{number}")).collect();
    let entry = |(id, (address, cap)): (&String, &(SocketAddr, u64))| {
        format!("{{ id = \"{id}\", address = \"{address}\", max_concurrency = {cap} }}")
    };
    let entries: Vec<String> = ids.iter().zip(backends).map(entry).collect();
    let backends = format!("backends = [{}]\n{pool}", entries.join(", "));
    let config = one_pool(&[], workers).replace("backends = []", &backends);
    let door = TestDoor::start(&(config + "timeouts = { first_byte = \"2m\" }\n" + METRICS)).await;
    for id in &ids {
        door.logged(&format!("backend_in_rotation pool=app backend={id}")).await;
    }
    door
}

/// As many descriptors as may be: each client is one here and one in the door.
fn raise_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let all = Rlimit { current: limit.maximum, maximum: limit.maximum };
    setrlimit(Resource::Nofile, all).expect("up to the hard limit everybody may");
}

/// Sends requests one after the other.
async fn member(addr: SocketAddr, requests: usize) {
    let mut client = TestClient::connect(addr).await;
    client.ceiling = LIMIT;
    for _ in 0..requests {
        assert_eq!(client.get("/").await.text(), "in");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_crowd_exceeds_a_cap_and_everybody_is_served() {
    raise_limit();
    let clients = rounds(400, 10_000);
    for workers in WORKERS {
        for seed in 0..rounds(2, 6) as u64 {
            let mut rng = Rng::new(seed);
            let caps: Vec<u64> = (0..1 + rng.below(4)).map(|_| 1 + rng.below(20)).collect();
            let meters: Vec<Meter> = caps.iter().map(|_| Meter::default()).collect();
            let mut backends = Vec::new();
            for (meter, cap) in meters.iter().zip(&caps) {
                backends.push((meter.backend().await, *cap));
            }
            let door = door(&backends, workers, "queue = { max = 20000, time = \"2m\" }").await;
            let mut tasks = JoinSet::new();
            for _ in 0..clients {
                tasks.spawn(member(door.addr("web"), 3));
            }
            within(LIMIT, tasks.join_all()).await;
            let served: usize = meters.iter().map(|meter| meter.of("").served).sum();
            assert_eq!(served, clients * 3);
            for (meter, cap) in meters.iter().zip(&caps) {
                assert!(meter.of("").most as u64 <= *cap, "seed {seed}: {meter:?} of {caps:?}");
            }
            let length = "tidegate_queue_length{pool=\"app\"}";
            within(CEILING, async { while door.metric(length).await != 0.0 {} }).await;
        }
    }
}
