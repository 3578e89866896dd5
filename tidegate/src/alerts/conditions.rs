//! What is told when: the same thing again is one message, and what ends is told to have ended.
//!
//! Of each key it is known what people believe (told, and not told to have ended) and what is so. When
//! the two differ, a message makes them the same: at once, or, where something comes and goes, when its
//! window is over. So a thing that flaps makes at most two messages per window, and the last message is
//! true.

use std::collections::BTreeMap;
use std::time::Duration;

use scaler::ports::State;
use tokio::time::Instant;

/// Things remembered at once; there are fewer kinds of events times backends.
const MOST: usize = 10_000;

/// When things are told again, and whether their end is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Manner {
    /// The same is told once within it.
    pub(super) window: Duration,
    /// What lasts is told again so often.
    pub(super) repeat: Option<Duration>,
    /// Whether it is told that something has ended.
    pub(super) is_end_told: bool,
}

/// What there is to say of a thing now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Say {
    pub(super) state: State,
    /// How often it came since it was said before that it is so.
    pub(super) held_back: u64,
}

/// What was told lately, and what lasts. `T` is what a message about it is made of.
pub(super) struct Conditions<T> {
    manner: Manner,
    known: BTreeMap<String, Condition<T>>,
}

struct Condition<T> {
    /// When it was last said that it is so.
    told: Instant,
    /// How often it came since.
    held_back: u64,
    /// What it was when it began, if it has not ended and is of a kind that ends.
    lasts: Option<T>,
    /// Nobody was told that it has ended.
    is_believed: bool,
}

impl<T: Clone> Conditions<T> {
    pub(super) fn new(manner: Manner) -> Conditions<T> {
        Conditions { manner, known: BTreeMap::new() }
    }

    /// It happened; `lasts` if it is of a kind that ends.
    pub(super) fn came(&mut self, key: &str, lasts: Option<T>, now: Instant) -> Option<Say> {
        let window = self.manner.window;
        if let Some(known) = self.known.get_mut(key)
            && now.saturating_duration_since(known.told) < window
        {
            known.held_back += 1;
            known.lasts = known.lasts.take().or(lasts);
            return None;
        }
        self.make_room(now);
        let before = self.known.remove(key);
        let held_back = before.as_ref().map_or(0, |before| before.held_back);
        let lasts = before.and_then(|before| before.lasts).or(lasts);
        let is_believed = lasts.is_some();
        let fresh = Condition { told: now, held_back: 0, lasts, is_believed };
        self.known.insert(key.to_owned(), fresh);
        Some(Say { state: State::Fired, held_back })
    }

    /// It has ended, if it ever began: then what it was, if that is to be told.
    pub(super) fn ended(&mut self, key: &str) -> Option<(Say, T)> {
        let known = self.known.get_mut(key)?;
        let was = known.lasts.take()?;
        if !std::mem::take(&mut known.is_believed) || !self.manner.is_end_told {
            return None;
        }
        let held_back = std::mem::take(&mut known.held_back);
        Some((Say { state: State::Resolved, held_back }, was))
    }

    /// What is so, and people do not know it or may have forgotten it.
    pub(super) fn due(&mut self, now: Instant) -> Vec<(String, Say, T)> {
        let manner = self.manner;
        let mut due = Vec::new();
        for (key, known) in &mut self.known {
            let Some(was) = known.lasts.clone() else { continue };
            if known.due(manner).is_none_or(|due| now < due) {
                continue;
            }
            let state = if known.is_believed { State::Repeated } else { State::Fired };
            let held_back = std::mem::take(&mut known.held_back);
            known.told = now;
            known.is_believed = true;
            due.push((key.clone(), Say { state, held_back }, was));
        }
        due
    }

    /// When to ask for that again.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.known.values().filter_map(|known| known.due(self.manner)).min()
    }

    fn make_room(&mut self, now: Instant) {
        let window = self.manner.window;
        if self.known.len() >= MOST {
            let is_young = |at: Instant| now.saturating_duration_since(at) < window;
            self.known.retain(|_, known| known.lasts.is_some() || is_young(known.told));
        }
        if self.known.len() >= MOST {
            // A storm of things that are all different: better told twice than not at all.
            self.known.clear();
        }
    }
}

impl<T> Condition<T> {
    fn due(&self, manner: Manner) -> Option<Instant> {
        self.lasts.as_ref()?;
        match self.is_believed {
            true => self.told.checked_add(manner.repeat?),
            false => self.told.checked_add(manner.window),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    const MANNER: Manner =
        Manner { window: seconds(300), repeat: Some(seconds(1_800)), is_end_told: true };

    fn fired(held_back: u64) -> Option<Say> {
        Some(Say { state: State::Fired, held_back })
    }

    #[test]
    fn the_same_is_told_once_in_a_window_and_then_with_its_count() {
        let mut known = Conditions::<()>::new(MANNER);
        let now = Instant::now();
        assert_eq!(known.came("a", None, now), fired(0));
        assert_eq!(known.came("b", None, now), fired(0));
        assert_eq!(known.came("a", None, now + seconds(299)), None);
        assert_eq!(known.came("a", None, now + seconds(300)), fired(1));
        assert_eq!(known.came("a", None, now + seconds(301)), None);
        assert_eq!(known.next_due(), None, "what does not end is not told again by itself");
    }

    #[test]
    fn an_end_is_told_at_once_and_once() {
        let mut known = Conditions::new(MANNER);
        let now = Instant::now();
        assert_eq!(known.ended("a"), None, "it never began");
        assert_eq!(known.came("a", Some(1), now), fired(0));
        assert_eq!(known.came("a", Some(2), now + seconds(1)), None);
        let resolved = Say { state: State::Resolved, held_back: 1 };
        assert_eq!(known.ended("a"), Some((resolved, 1)));
        assert_eq!(known.ended("a"), None);
    }

    #[test]
    fn what_flaps_is_two_messages_a_window_and_the_last_one_is_true() {
        let mut known = Conditions::new(MANNER);
        let now = Instant::now();
        assert_eq!(known.came("a", Some(()), now), fired(0));
        assert!(known.ended("a").is_some());
        for second in 1..100 {
            assert_eq!(known.came("a", Some(()), now + seconds(second)), None);
            if second < 99 {
                assert_eq!(known.ended("a"), None, "nobody knows that it had come back");
            }
        }
        let over = now + seconds(300);
        assert_eq!(known.next_due(), Some(over));
        assert_eq!(known.due(over - seconds(1)), []);
        let say = Say { state: State::Fired, held_back: 99 };
        assert_eq!(known.due(over), [("a".to_owned(), say, ())]);
        assert!(known.ended("a").is_some());
        assert_eq!(known.next_due(), None);
    }

    #[test]
    fn what_lasts_is_told_again_if_that_is_wanted() {
        let mut known = Conditions::new(MANNER);
        let now = Instant::now();
        assert_eq!(known.came("a", Some(()), now), fired(0));
        assert_eq!(known.came("a", Some(()), now + seconds(5)), None);
        let then = now + seconds(1_800);
        let say = Say { state: State::Repeated, held_back: 1 };
        assert_eq!(known.due(then), [("a".to_owned(), say, ())]);
        assert_eq!(known.next_due(), Some(then + seconds(1_800)));

        let mut once = Conditions::new(Manner { repeat: None, is_end_told: false, ..MANNER });
        assert_eq!(once.came("a", Some(()), now), fired(0));
        assert_eq!(once.next_due(), None);
        assert_eq!(once.ended("a"), None, "nobody wants to know");
    }

    #[test]
    fn a_storm_of_different_things_takes_a_bounded_memory() {
        let mut known = Conditions::new(MANNER);
        let now = Instant::now();
        for number in 0..3 * MOST {
            assert_eq!(known.came(&number.to_string(), Some(()), now), fired(0));
        }
        assert!(known.known.len() <= MOST);
    }
}
