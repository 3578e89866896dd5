//! Eight bytes at a time, without `unsafe`: questions about each byte of a word at once.
//!
//! An answer sets the high bit of the first byte that it is about, and of none before it. What it
//! does to the other bits, and to bytes behind the first, does not matter.

/// `0x01` in each byte; multiplied, any byte in each.
const ONES: u64 = u64::MAX / 255;
/// The high bit of each byte.
pub(crate) const HIGHS: u64 = 0x80 * ONES;

/// Bytes below `limit` (at most 0x80). The borrow of a hit can reach the byte above it, never one
/// below.
#[inline]
pub(crate) fn less_than(word: u64, limit: u8) -> u64 {
    word.wrapping_sub(ONES * u64::from(limit)) & !word
}

/// Bytes that are `byte`.
#[inline]
pub(crate) fn equal(word: u64, byte: u8) -> u64 {
    less_than(word ^ (ONES * u64::from(byte)), 1)
}

/// Bytes that are 0x7F.
#[inline]
pub(crate) fn delete(word: u64) -> u64 {
    ((word & !HIGHS) + ONES) & !word
}
