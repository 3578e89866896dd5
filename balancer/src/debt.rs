//! What an end has not taken yet of what it was sent: whoever takes some of it is slow, and not
//! silent.

/// Bytes that were not taken at the last look.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Debt(usize);

impl Debt {
    /// What is owed now.
    pub(crate) fn note(&mut self, now: usize) {
        self.0 = now;
    }

    /// Whether less is owed than at the last look. `now` is what is owed.
    pub(crate) fn has_shrunk(&mut self, now: usize) -> bool {
        now < std::mem::replace(&mut self.0, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_a_part_between_two_looks_is_not_silent() {
        let mut debt = Debt::default();
        let looks = [100, 100, 60, 60, 80, 79, 0, 0].map(|owed| debt.has_shrunk(owed));
        assert_eq!(looks, [false, false, true, false, false, true, true, false]);
    }
}
