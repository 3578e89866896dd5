//! The ring by itself, and behind a real subscriber.

use tracing_subscriber::layer::SubscriberExt;

use super::record::is_kind;
use super::*;

fn kind(word: &str) -> Event {
    Event { event: word.to_owned(), ..Event::default() }
}

fn numbers(events: &Events) -> Vec<u64> {
    events.events.iter().map(|event| event.sequence).collect()
}

/// What the ring holds after `tell`.
fn told(tell: impl FnOnce()) -> Vec<Event> {
    let ring = EventRing::new();
    let subscriber = tracing_subscriber::registry().with(ring.layer());
    tracing::subscriber::with_default(subscriber, tell);
    ring.since(0, usize::MAX).events
}

#[test]
fn a_record_with_one_word_is_an_event_with_its_fields() {
    let events = told(|| {
        let pool = "app";
        tracing::warn!(
            %pool, backend = "a", from = "closed", to = ?Some(1), actor = "uid 0", reason = "why",
            failed = 7, share = 0.5, is_last = true, "backend_ejected"
        );
    });
    let json = serde_json::to_value(&events).unwrap();
    assert_eq!(json[0]["at"].as_str().unwrap().len(), "2026-01-01T00:00:00.000Z".len());
    let expected = serde_json::json!([{
        "sequence": 1, "at": json[0]["at"], "level": "warn", "event": "backend_ejected",
        "pool": "app", "backend": "a", "reason": "why", "from": "closed", "to": "Some(1)",
        "actor": "uid 0", "fields": { "failed": 7, "is_last": true, "share": 0.5 },
    }]);
    assert_eq!(json, expected);
    let back: Vec<Event> = serde_json::from_value(json).unwrap();
    assert_eq!(back, events);
}

#[test]
fn sentences_details_and_the_words_of_others_are_no_events() {
    let events = told(|| {
        tracing::info!("a sentence of several words");
        tracing::info!("word");
        tracing::debug!("not_important");
        tracing::info!(target: "hyper::proto", "one_word");
        tracing::error!("one_word");
    });
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!((&*events[0].event, &*events[0].level), ("one_word", "error"));
    for message in ["_a", "a_", "a-b_c", "A_b", "a b_c", "", "1_a"] {
        assert!(!is_kind(message), "{message}");
    }
}

#[test]
fn what_a_peer_can_make_long_is_cut() {
    let long = "é".repeat(400);
    let events = told(|| tracing::info!(reason = %long, quoted = ?long, "some_event"));
    assert_eq!(events[0].reason.as_deref(), Some(&*"é".repeat(128)));
    assert_eq!(events[0].fields["quoted"].as_str().unwrap().len(), 255);
}

#[test]
fn a_reader_goes_on_where_it_was_and_learns_what_it_missed() {
    let ring = EventRing::new();
    assert_eq!(ring.since(0, 10), Events { events: Vec::new(), next: 0, missed: 0 });
    for _ in 0..5 {
        ring.push(kind("a_b"));
    }
    let first = ring.since(0, 3);
    assert_eq!((numbers(&first), first.next, first.missed), (vec![1, 2, 3], 3, 0));
    let rest = ring.since(first.next, 3);
    assert_eq!((numbers(&rest), rest.next, rest.missed), (vec![4, 5], 5, 0));
    let none = ring.since(rest.next, 3);
    assert_eq!((numbers(&none), none.next, none.missed), (vec![], 5, 0));
    assert_eq!(numbers(&ring.since(99, 2)), [1, 2], "another process's number");

    for _ in 0..CAPACITY {
        ring.push(kind("c_d"));
    }
    let late = ring.since(2, 2);
    assert_eq!((numbers(&late), late.next, late.missed), (vec![6, 7], 7, 3));
    assert_eq!(ring.since(0, usize::MAX).events.len(), CAPACITY);
    let counts = ring.counts();
    let counts: Vec<_> = counts.iter().map(|(kind, count)| (&**kind, *count)).collect();
    assert_eq!(counts, [("a_b", 5), ("c_d", CAPACITY as u64)]);
}

#[test]
fn many_writers_leave_no_gap_and_who_waits_is_woken() {
    let ring = EventRing::new();
    let mut last = ring.last();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..100).for_each(|_| ring.push(kind("a_b"))));
        }
    });
    assert!(last.has_changed().unwrap());
    assert_eq!(*last.borrow_and_update(), 400);
    assert_eq!(numbers(&ring.since(0, usize::MAX)), (1..=400).collect::<Vec<_>>());
}
