//! A waterfall of pools: one is filled before the next opens, and what is down is passed over.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test, in helpers too

use tests::{Answer, CEILING, TestBackend, TestClient, TestDoor, within};

const WORKERS: [usize; 2] = [1, 4];

/// It stays where it is, whatever becomes of its backend.
const POST: &str = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";

/// Two backends on-prem with room for ten each, one in the cloud with room for four.
struct Site {
    red: TestBackend,
    blue: TestBackend,
    cloud: TestBackend,
    door: TestDoor,
    /// Each has a request under way.
    clients: Vec<TestClient>,
}

impl Site {
    async fn start(workers: usize, fill_to: &str, route: &str) -> Site {
        let red = TestBackend::start("red").await;
        let blue = TestBackend::start("blue").await;
        let cloud = TestBackend::start("cloud").await;
        let pool = |name: &str, most: u32, more: &str, backends: &[&TestBackend]| {
            let entry = |backend: &&TestBackend| {
                format!("{{ id = \"{}\", address = \"{}\" }}", backend.name(), backend.addr())
            };
            let backends: Vec<String> = backends.iter().map(entry).collect();
            format!(
                "[pools.{name}]\nmax_concurrency = {most}\n{more}\nbackends = [{}]\n\
                 [pools.{name}.health]\npath = \"/healthz\"\ninterval = \"50ms\"\n\
                 healthy_after = 1\n",
                backends.join(", ")
            )
        };
        let configuration = format!(
            "schema = 1\nworkers = {workers}\n[listeners.web]\nbind = [\"127.0.0.1:0\"]\n{}{}\
             [[routes]]\nname = \"all\"\nto = {{ waterfall = [\"onprem\", \"cloud\"] }}\n{route}\n",
            pool("onprem", 10, fill_to, &[&red, &blue]),
            pool("cloud", 4, "", &[&cloud])
        );
        let door = TestDoor::checked(&configuration, &[&red, &blue, &cloud]).await;
        for backend in [&red, &blue, &cloud] {
            backend.answer(Answer::text("done").held());
        }
        Site { red, blue, cloud, door, clients: Vec::new() }
    }

    fn counts(&self) -> [usize; 3] {
        [&self.red, &self.blue, &self.cloud].map(TestBackend::request_count)
    }

    /// One more request; whether it went to the cloud.
    async fn goes_to_the_cloud(&mut self) -> bool {
        let before = self.counts();
        let mut client = self.door.client().await;
        client.send(POST).await;
        self.clients.push(client);
        within(CEILING, async {
            while self.counts() == before {
                tokio::task::yield_now().await;
            }
        })
        .await;
        self.counts()[2] > before[2]
    }

    /// Sends so many; all must go where it says.
    async fn sends(&mut self, count: usize, is_to_the_cloud: bool) {
        for number in 0..count {
            let is_there = self.goes_to_the_cloud().await;
            assert_eq!(is_there, is_to_the_cloud, "{number} of {count}, {:?}", self.counts());
        }
    }
}

#[tokio::test]
async fn the_next_pool_opens_at_fill_to_and_the_rest_is_used_when_that_is_full() {
    for workers in WORKERS {
        let mut site = Site::start(workers, "fill_to = \"50%\"", "").await;
        site.sends(10, false).await;
        site.sends(4, true).await;
        site.sends(10, false).await;
        assert_eq!(site.counts(), [10, 10, 4]);
        // One more waits, and takes the first place that there is.
        let mut last = site.door.client().await;
        last.send(POST).await;
        site.cloud.release();
        site.cloud.received(5).await;
        for backend in [&site.red, &site.blue, &site.cloud] {
            backend.release_all();
        }
        for client in site.clients.iter_mut().chain([&mut last]) {
            assert_eq!(client.read_response().await.text(), "done");
        }
        // And with room again the first pool is filled first.
        assert_eq!(site.door.client().await.get("/").await.text(), "done");
        assert_eq!(site.cloud.request_count(), 5);
    }
}

#[tokio::test]
async fn without_fill_to_a_pool_is_filled_whole() {
    for workers in WORKERS {
        let mut site = Site::start(workers, "", "").await;
        site.sends(20, false).await;
        site.sends(4, true).await;
    }
}

#[tokio::test]
async fn what_is_down_is_no_capacity_and_a_pool_that_is_down_is_passed_over() {
    for workers in WORKERS {
        let mut site = Site::start(workers, "fill_to = \"50%\"", "").await;
        site.red.answer_probes("/healthz", 503);
        site.door.logged("backend_out_of_rotation pool=onprem backend=red").await;
        // Half of one that has ten.
        site.sends(5, false).await;
        site.sends(1, true).await;
        site.blue.answer_probes("/healthz", 503);
        site.door.logged("backend_out_of_rotation pool=onprem backend=blue").await;
        site.sends(1, true).await;
        for backend in [&site.red, &site.blue] {
            backend.answer_probes("/healthz", 200);
            let event = format!("backend_in_rotation pool=onprem backend={}", backend.name());
            site.door.logged_times(&event, 2).await;
        }
        // What `blue` has is counted again.
        site.sends(5, false).await;
        site.sends(1, true).await;
    }
}

#[tokio::test]
async fn a_session_stays_in_its_pool_although_an_earlier_one_has_room() {
    let sticky = "sticky = { cookie = \"s\", ttl = \"1m\" }";
    let mut site = Site::start(1, "fill_to = \"5%\"", sticky).await;
    // One place on-prem is taken, and with it all that is to be taken there.
    site.sends(1, false).await;
    site.cloud.answer(Answer::text("cloud"));
    let mut client = site.door.client().await;
    let answer = client.get("/").await;
    assert_eq!(answer.text(), "cloud");
    let cookie = answer.field("set-cookie").unwrap();
    let cookie = cookie.split(';').next().unwrap();
    site.red.release_all();
    site.blue.release_all();
    assert_eq!(site.clients[0].read_response().await.text(), "done");
    let bound = format!("GET / HTTP/1.1\r\nHost: x\r\nCookie: {cookie}\r\n\r\n");
    assert_eq!(client.request(bound).await.text(), "cloud");
    assert_eq!(client.get("/").await.text(), "done");
}
