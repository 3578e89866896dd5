//! The one big buffer of a worker, and the only way bytes move between sockets.
//!
//! Bytes are read behind a headroom, so that a message head or a chunk size can be put in front
//! of them and head and body leave in one `send`, without moving the body. Whatever cannot be
//! sent at once is copied out into the connection that owes it (`wire.rs`); between two polls
//! the window holds nothing. That is why an idle connection costs no buffer.

/// Room in front of what is read: for a rewritten head and a chunk size.
pub(crate) const HEADROOM: usize = 8 * 1024;
/// Room behind it: `CRLF 0 CRLF CRLF` and short trailers.
pub(crate) const TAILROOM: usize = 1024;
/// What one read may take. 512 KiB halves the wake-ups of large bodies against 64 KiB and still
/// fits into the second-level cache (docs/performance.md).
pub(crate) const CAPACITY: usize = 512 * 1024;

/// A buffer with a filled part `start..end`.
pub(crate) struct Window {
    buf: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Window {
    pub(crate) fn new() -> Window {
        let buf = vec![0; HEADROOM + CAPACITY + TAILROOM].into_boxed_slice();
        Window { buf, start: HEADROOM, end: HEADROOM }
    }

    /// Forgets what is in it.
    pub(crate) fn clear(&mut self) {
        (self.start, self.end) = (HEADROOM, HEADROOM);
    }

    pub(crate) fn data(&self) -> &[u8] {
        &self.buf[self.start..self.end]
    }

    pub(crate) fn data_mut(&mut self) -> &mut [u8] {
        &mut self.buf[self.start..self.end]
    }

    pub(crate) fn len(&self) -> usize {
        self.end - self.start
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Free room behind the filled part, at most `limit` bytes; the tail room is kept.
    pub(crate) fn space(&mut self, limit: usize) -> &mut [u8] {
        let last = (HEADROOM + CAPACITY).max(self.end);
        let end = last.min(self.end.saturating_add(limit));
        &mut self.buf[self.end..end]
    }

    /// `count` bytes of [`Window::space`] were filled.
    pub(crate) fn filled(&mut self, count: usize) {
        self.end += count;
        debug_assert!(self.end <= self.buf.len());
    }

    /// Drops the first `count` bytes.
    pub(crate) fn skip(&mut self, count: usize) {
        self.start += count;
        debug_assert!(self.start <= self.end);
    }

    /// Keeps the first `count` bytes.
    pub(crate) fn truncate(&mut self, count: usize) {
        debug_assert!(count <= self.len());
        self.end = self.start + count;
    }

    /// Puts `bytes` in front. False, and nothing done, when there is no room.
    #[must_use]
    pub(crate) fn prepend(&mut self, bytes: &[u8]) -> bool {
        let Some(start) = self.start.checked_sub(bytes.len()) else { return false };
        self.buf[start..self.start].copy_from_slice(bytes);
        self.start = start;
        true
    }

    /// Puts `bytes` behind. False, and nothing done, when there is no room.
    #[must_use]
    pub(crate) fn append(&mut self, bytes: &[u8]) -> bool {
        let end = self.end + bytes.len();
        if end > self.buf.len() {
            return false;
        }
        self.buf[self.end..end].copy_from_slice(bytes);
        self.end = end;
        true
    }
}
