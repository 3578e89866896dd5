//! What tests that mutate messages and documents draw, and for how long.

use std::time::Duration;

use policies::rng::Rng;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// How long to look: a moment in CI, and as long as `TIDEGATE_FUZZ_SECONDS` says in a drill.
pub fn time() -> Duration {
    Duration::from_secs(number("TIDEGATE_FUZZ_SECONDS").unwrap_or(2))
}

/// Another seed for every run of a drill, always the same in CI; `TIDEGATE_SEED` repeats a run.
pub fn seed() -> u64 {
    number("TIDEGATE_SEED").unwrap_or_else(|| match number("TIDEGATE_FUZZ_SECONDS") {
        Some(_) => u64::from(std::process::id()),
        None => 7,
    })
}

/// A place below `bound`; the first of none.
///
/// # Panics
///
/// Where a place is no `usize`, which cannot be.
pub fn below(rng: &mut Rng, bound: usize) -> usize {
    usize::try_from(rng.below(bound.max(1) as u64)).expect("below a usize")
}
