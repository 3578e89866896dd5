//! From one worker to the writer, without a lock and without waking anybody.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rtrb::{Consumer, Producer, RingBuffer};

use super::LogDrops;

/// Bytes that wait for the writer. At 100,000 requests a second of one worker and 350 bytes a line
/// it fills in 30 ms; the writer looks every 20 ms, and more often while there is much.
pub(super) const CAPACITY: usize = 1 << 20;

/// The worker's end of its ring. Dropping it is how a worker says that no more comes.
#[derive(Debug)]
pub struct LogRing {
    producer: Producer<u8>,
    drops: Arc<LogDrops>,
}

impl LogRing {
    pub(super) fn new(capacity: usize, drops: Arc<LogDrops>) -> (LogRing, Consumer<u8>) {
        let (producer, consumer) = RingBuffer::new(capacity);
        (LogRing { producer, drops }, consumer)
    }

    /// Hands over a line (with its `\n`), whole or not at all; `false` and counted if there is no
    /// room.
    pub fn push(&mut self, line: &[u8]) -> bool {
        let fits = self.producer.push_entire_slice(line).is_ok();
        if !fits {
            // Shared with other workers, but only when it goes wrong.
            self.drops.ring_full.fetch_add(1, Ordering::Relaxed);
        }
        fits
    }

    /// What was dropped, by all rings of the same writer.
    pub(super) fn drops(&self) -> &Arc<LogDrops> {
        &self.drops
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_does_not_fit_is_dropped_whole_and_counted() {
        let drops = Arc::<LogDrops>::default();
        let (mut ring, mut consumer) = LogRing::new(10, drops.clone());
        assert!(ring.push(b"1234\n"));
        assert!(ring.push(b"123\n"));
        assert!(!ring.push(b"1\n"));
        assert!(ring.push(b"\n"));
        assert!(!ring.push(b"\n"));
        assert_eq!(drops.by_reason()[0], ("ring_full", 2));

        let mut all = [0; 10];
        consumer.pop_entire_slice(&mut all).unwrap();
        assert_eq!(&all, b"1234\n123\n\n");
        assert!(ring.push(b"0123456\n"));
        assert!(!ring.push(b"a line longer than the ring\n"));
    }
}
