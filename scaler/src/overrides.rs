//! What operators want of a pool's size instead of what its rules say, on its way to the loop.
//!
//! A [`Desk`] takes a wish and wakes the loop; the next turn heeds it, writes it into the journal
//! and tells it. It never waits, on either side. A wish that is taken is on the disk within a turn:
//! a crash in between loses it, and whoever asks for the state of the pool sees whether it holds.

use std::sync::{Arc, Mutex, PoisonError};

use policies::scale::Standing;
use tokio::sync::Notify;

/// Wishes that wait for one turn; operators are few.
const MOST: usize = 16;

/// Another order for a pool, or the end of the one it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// The order from now on; none lets the rules decide again.
    pub order: Option<Standing>,
    /// Who wants it.
    pub actor: Arc<str>,
}

/// Where wishes wait for the next turn of one pool.
#[derive(Debug, Default)]
pub struct Desk {
    wishes: Mutex<Vec<Wish>>,
    wake: Notify,
}

impl Desk {
    /// Hands a wish over, and has the loop turn soon. False if too many wait already.
    pub fn ask(&self, wish: Wish) -> bool {
        let mut wishes = self.wishes.lock().unwrap_or_else(PoisonError::into_inner);
        if wishes.len() >= MOST {
            return false;
        }
        wishes.push(wish);
        drop(wishes);
        self.wake();
        true
    }

    /// Whether a wish waits for a turn: until then it is on no disk.
    pub fn is_waited_at(&self) -> bool {
        !self.wishes.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Has the loop turn soon although its tick has not come.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Comes back when somebody wakes the loop. Cancel-safe.
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// All wishes since the last time, the oldest first.
    pub(crate) fn take(&self) -> Vec<Wish> {
        std::mem::take(&mut self.wishes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
