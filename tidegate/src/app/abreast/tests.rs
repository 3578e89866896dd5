//! Two sides of one line, without processes.

use balancer::roster::Roster;
use policies::membership::{Change, Stage};
use tokio::net::UnixStream;

use super::*;

const TEXT: &str = "schema = 1\n[listeners.web]\nbind = \"127.0.0.1:0\"\n[pools.a]\n\
                    backends = [{ id = \"red\", address = \"10.0.0.1:80\" }]\n";

fn pair() -> (Line, Line) {
    let (one, other) = UnixStream::pair().unwrap();
    (Line::new(one, bytes::Bytes::new()), Line::new(other, bytes::Bytes::new()))
}

fn roster() -> Arc<Roster> {
    let config = crate::config::parse("test.toml", TEXT).config.unwrap();
    Arc::new(Roster::new(Arc::new(config.door)))
}

fn red() -> BackendKey {
    key(("a".into(), "red".into()))
}

fn many(count: u32) -> Vec<UnderWay> {
    (0..count).map(|at| UnderWay { key: red(), in_flight: at, streams: 0 }).collect()
}

/// The time passes by itself where nobody has anything to do.
#[tokio::test(start_paused = true)]
async fn one_that_does_not_listen_for_minutes_hears_all_of_it_afterwards() {
    let (old, mut new) = pair();
    let roster = roster();
    roster.believe(&[], Vec::new(), Vec::new());
    // More than the socket holds: the first message is stuck in the middle.
    roster.hear_of_elsewhere(many(50_000), None);
    let telling = tokio::spawn(report(old, Arc::clone(&roster)));
    tokio::time::sleep(Duration::from_secs(300)).await;
    roster.hear_of_elsewhere(many(1), None);
    let first: Left = new.hear(Duration::from_secs(5)).await.unwrap();
    assert_eq!(first.under_way.len(), 50_000);
    let next: Left = new.hear(Duration::from_secs(5)).await.unwrap();
    assert_eq!(next.under_way.len(), 1);
    // Nothing is new; it is said again all the same.
    assert_eq!(new.hear::<Left>(2 * ANYWAY).await.unwrap(), next);
    drop(new);
    telling.await.unwrap();
}

#[tokio::test]
async fn a_backend_that_is_shut_here_is_shut_there_before_it_is_drained() {
    let (older, younger) = pair();
    let (old, new) = (roster(), roster());
    new.believe(&old.known(), Vec::new(), Vec::new());
    let _telling = tokio::spawn(report(older, Arc::clone(&old)));
    let (tell, left) = oneshot::channel();
    let hearer = Arc::clone(&new);
    let hearing =
        tokio::spawn(async move { hear(younger, &hearer, Duration::from_secs(60), tell).await });
    left.await.unwrap();
    new.change(Change::Drain { key: red() }).unwrap();
    let stage = || new.member(&red()).unwrap().stage;
    assert_eq!(stage(), Stage::Draining);
    let drained = async {
        while stage() != Stage::Drained {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), drained).await.unwrap();
    hearing.abort();
}

/// The release before says nothing of what it heeds, and would not read what it is told.
#[tokio::test(start_paused = true)]
async fn one_that_listens_to_nothing_is_told_nothing_and_waited_for() {
    let (mut old, line) = pair();
    let new = roster();
    new.believe(&[], Vec::new(), Vec::new());
    let hearer = Arc::clone(&new);
    let (tell, left) = oneshot::channel();
    let hearing = tokio::spawn(async move {
        hear(line, &hearer, Duration::from_secs(600), tell).await;
        hearer.is_alone();
    });
    old.say(&serde_json::json!({ "under_way": [] })).await.unwrap();
    left.await.unwrap();
    new.change(Change::Drain { key: red() }).unwrap();
    assert!(old.hear::<Shut>(Duration::from_secs(60)).await.is_err(), "it was told something");
    let stage = || new.member(&red()).unwrap().stage;
    assert_eq!(stage(), Stage::Draining);
    drop(old);
    hearing.await.unwrap();
    assert_eq!(stage(), Stage::Drained);
}
