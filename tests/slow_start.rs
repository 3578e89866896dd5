//! A backend that joins under load takes its share little by little, also of requests that wait.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test, in helpers too

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tests::door::one_pool;
use tests::steady::Steady;
use tests::{Answer, CEILING, Death, TestBackend, TestDoor, within};

const SLOW_START: Duration = Duration::from_secs(10);
const CAP: usize = 20;

/// How long each answer takes at least.
const ANSWER: Duration = Duration::from_millis(30);

/// When the requests came.
type Arrivals = Arc<Mutex<Vec<Instant>>>;

fn note_arrivals(backend: &TestBackend) -> Arrivals {
    let arrivals = Arrivals::default();
    let (noted, name) = (arrivals.clone(), backend.name().to_owned());
    backend.answer_by(move |_| {
        noted.lock().unwrap().push(Instant::now());
        Answer::text(&name).after(ANSWER)
    });
    arrivals
}

/// Lets the load go on until then, as the others see it.
async fn until(then: Instant, others: [&TestBackend; 2]) {
    while Instant::now() < then {
        for backend in others {
            backend.received(backend.request_count() + 20).await;
        }
    }
}

/// Most arrivals within the time that an answer takes: so many were there at once, or more.
fn most_at_once(arrivals: &[Instant]) -> usize {
    let within = |(place, first): (usize, &Instant)| {
        arrivals[place..].iter().take_while(|later| **later - *first < ANSWER).count()
    };
    arrivals.iter().enumerate().map(within).max().unwrap_or_default()
}

async fn joins_under_load(workers: usize) {
    let [red, green] = [TestBackend::start("red").await, TestBackend::start("green").await];
    let late = TestBackend::start("late").await;
    late.kill(Death::Fin).await;
    for backend in [&red, &green] {
        backend.answer(Answer::text(backend.name()).after(ANSWER));
    }
    let arrivals = note_arrivals(&late);
    let pool = format!("[pools.app]\nmax_concurrency = {CAP}\n");
    let config = one_pool(&[&red, &green, &late], workers)
        .replace("[pools.app]\n", &pool)
        .replace("healthy_after = 1", "healthy_after = 1\nslow_start = \"10s\"");
    let door = TestDoor::checked(&config, &[&red, &green]).await;
    // More than two can take: some of them wait all the time.
    let load = Steady::start(door.addr("web"), 60, 3_000);
    until(Instant::now() + SLOW_START, [&red, &green]).await;

    late.revive();
    late.received(1).await;
    let joined = arrivals.lock().unwrap()[0];
    until(joined + Duration::from_secs(1), [&red, &green]).await;
    let mut first_second = arrivals.lock().unwrap().clone();
    first_second.retain(|at| *at - joined < Duration::from_secs(1));
    assert!(first_second.len() > 3, "it gets nothing: {}", first_second.len());
    let most = most_at_once(&first_second);
    assert!(most <= CAP / 10, "{most} at once in the first second");

    until(joined + Duration::from_secs(4), [&red, &green]).await;
    let most = most_at_once(&arrivals.lock().unwrap());
    assert!(most <= CAP / 2, "{most} at once within four seconds of ten");
    let went = load.stop().await;
    went.was_served();
}

#[tokio::test]
async fn in_its_first_second_a_backend_has_at_most_a_tenth_of_its_cap_although_others_wait() {
    // At the same time, since most of it is waiting for backends to get warm.
    tokio::join!(joins_under_load(1), joins_under_load(4));
}

#[tokio::test]
async fn backends_that_begin_together_share_evenly_from_the_start() {
    let backends = [TestBackend::start("red").await, TestBackend::start("green").await];
    let [red, green] = &backends;
    let config = one_pool(&[red, green], 1)
        .replace("healthy_after = 1", "healthy_after = 1\nslow_start = \"10m\"");
    let door = TestDoor::checked(&config, &[red, green]).await;
    let mut client = door.client().await;
    for _ in 0..100 {
        assert_eq!(client.request("GET / HTTP/1.1\r\nHost: test\r\n\r\n").await.status, 200);
    }
    assert_eq!((red.request_count(), green.request_count()), (50, 50));
}

/// GETs are answered at once, POSTs wait until they may go on.
fn holds_posts(backend: &TestBackend) {
    let name = backend.name().to_owned();
    backend.answer_by(move |request| {
        let answer = Answer::text(&name);
        if request.method() == "POST" { answer.held() } else { answer }
    });
}

async fn comes_back_with_requests_stranded(workers: usize, rule: &str) {
    const POSTS: usize = 16;
    let [red, late] = [TestBackend::start("red").await, TestBackend::start("late").await];
    late.answer(Answer::stall());
    holds_posts(&red);
    let pool = format!("[pools.app]\nbalance = \"{rule}\"\n");
    let config = one_pool(&[&red, &late], workers)
        .replace("[pools.app]\n", &pool)
        .replace("healthy_after = 1", "healthy_after = 1\nslow_start = \"1m\"");
    let door = TestDoor::checked(&config, &[&red, &late]).await;
    let mut posts = Vec::new();
    for sent in 1..=POSTS {
        let mut client = door.client().await;
        client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n").await;
        posts.push(client);
        within(CEILING, async {
            while red.request_count() + late.request_count() < sent {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
    let stuck = late.request_count();
    assert!(stuck > POSTS / 4, "{rule}: {stuck}");
    // These were sent later and look later whether it is well: when they are answered, all have.
    let mut gets = Vec::new();
    while late.request_count() < stuck + 2 * workers {
        let mut client = door.client().await;
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n").await;
        gets.push(client);
        tokio::task::yield_now().await;
    }
    late.answer_probes("/healthz", 500);
    door.logged("backend_out_of_rotation pool=app backend=late").await;
    for client in &mut gets {
        assert_eq!(client.read_response().await.text(), "red");
    }
    red.release_all();

    let before = late.request_count();
    late.answer(Answer::text("late"));
    late.answer_probes("/healthz", 200);
    let mut client = door.client().await;
    within(CEILING, async { while client.get("/").await.text() != "late" {} }).await;
    assert!(late.request_count() > before);
}

#[tokio::test]
async fn a_backend_with_requests_stranded_on_it_gets_others_as_soon_as_it_is_well() {
    for (workers, rule) in [(1, "least_requests"), (4, "two_choices")] {
        comes_back_with_requests_stranded(workers, rule).await;
    }
}
