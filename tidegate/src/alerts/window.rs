//! The same thing again within a while is one message.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// Kinds of things remembered at once; there are fewer kinds of events times backends.
const MOST: usize = 10_000;

/// What was told lately.
pub(super) struct Window {
    length: Duration,
    /// When it was told, and how often it came since.
    told: BTreeMap<String, (Instant, u64)>,
}

impl Window {
    pub(super) fn new(length: Duration) -> Window {
        Window { length, told: BTreeMap::new() }
    }

    /// Whether to tell it now: then, how often it came since it was told before.
    pub(super) fn admit(&mut self, key: &str, now: Instant) -> Option<u64> {
        if let Some((at, more)) = self.told.get_mut(key)
            && now.saturating_duration_since(*at) < self.length
        {
            *more += 1;
            return None;
        }
        if self.told.len() >= MOST {
            self.told.retain(|_, (at, _)| now.saturating_duration_since(*at) < self.length);
        }
        if self.told.len() >= MOST {
            // A storm of things that are all different: better told twice than not at all.
            self.told.clear();
        }
        let before = self.told.insert(key.to_owned(), (now, 0));
        Some(before.map_or(0, |(_, more)| more))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_told_once_in_a_window_and_then_with_its_count() {
        let mut window = Window::new(Duration::from_secs(300));
        let now = Instant::now();
        assert_eq!(window.admit("a", now), Some(0));
        assert_eq!(window.admit("b", now), Some(0));
        assert_eq!(window.admit("a", now + Duration::from_secs(299)), None);
        assert_eq!(window.admit("a", now + Duration::from_secs(300)), Some(1));
        assert_eq!(window.admit("a", now + Duration::from_secs(301)), None);
    }

    #[test]
    fn a_storm_of_different_things_takes_a_bounded_memory() {
        let mut window = Window::new(Duration::from_secs(300));
        let now = Instant::now();
        for number in 0..3 * MOST {
            assert_eq!(window.admit(&number.to_string(), now), Some(0));
        }
        assert!(window.told.len() <= MOST);
    }
}
