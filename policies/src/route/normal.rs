//! The one normal form of a host and a path.

/// What a listener allows in a path beyond the strict default. All `false` but `merge_slashes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathRules {
    /// `//` becomes `/`.
    pub merge_slashes: bool,
    /// Let `%2F` through as it is (never decoded).
    pub allow_encoded_slash: bool,
    /// Let `%5C` and `\` through as they are.
    pub allow_backslash: bool,
}

impl Default for PathRules {
    fn default() -> PathRules {
        PathRules { merge_slashes: true, allow_encoded_slash: false, allow_backslash: false }
    }
}
