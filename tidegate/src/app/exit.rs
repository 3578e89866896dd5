//! Whether a door is on its way out.

use std::sync::atomic::AtomicBool;

/// What operators must know of it.
#[derive(Debug, Default)]
pub struct Exit {
    /// It was told to stop, or has left.
    pub is_stopping: AtomicBool,
    /// Orders would be lost with it: another process takes its place, with what it has been told.
    pub takes_no_orders: AtomicBool,
}
