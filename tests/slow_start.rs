//! A backend that joins under load takes its share little by little, also of requests that wait.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test, in helpers too

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tests::door::one_pool;
use tests::steady::Steady;
use tests::{Answer, Death, TestBackend, TestDoor};

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
