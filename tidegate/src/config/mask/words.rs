//! What looks like a secret by itself, and what is said of one; those by name are in
//! [`policies::secret`]. In doubt it is one.

use policies::secret::{is_secret_name, speaks_of_secret};

/// Whether a text has a secret in it, whatever it is called: a URL with a user, a PEM block,
/// `Bearer ...`, `--token=...`, `?key=...`.
pub(super) fn has_secret(text: &str) -> bool {
    let lower = text.trim_start().to_ascii_lowercase();
    text.contains("-----BEGIN")
        || lower.contains("://hooks.")
        || lower.starts_with("bearer ")
        || lower.starts_with("basic ")
        || has_user(text)
        || has_assignment(text)
}

/// RFC 3986 §3.2.1: what stands before `@` in the authority.
fn has_user(text: &str) -> bool {
    text.match_indices("://").any(|(at, mark)| {
        let rest = &text[at + mark.len()..];
        let end = rest.find(|c: char| "/?#".contains(c) || c.is_whitespace()).unwrap_or(rest.len());
        rest[..end].contains('@')
    })
}

fn has_assignment(text: &str) -> bool {
    let ends = |c: char| "?&;,\"'".contains(c) || c.is_whitespace();
    text.split(ends)
        .filter_map(|part| part.split_once('='))
        .any(|(name, value)| !value.is_empty() && is_secret_name(name))
}

/// Whether a comment may have a secret in it: it speaks of one, or has something behind the name
/// of one (`key: abc`). The word `key` alone is in half of all comments.
pub(super) fn is_about_secrets(comment: &str) -> bool {
    let lower = comment.to_ascii_lowercase();
    let name = |before: &str| {
        let ends = |c: char| !(c.is_ascii_alphanumeric() || "_-".contains(c));
        is_secret_name(before.trim_end().rsplit(ends).next().unwrap_or_default())
    };
    has_secret(comment)
        || speaks_of_secret(&lower)
        || comment.match_indices(['=', ':']).any(|(at, _)| name(&comment[..at]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_is_hidden_for_a_secret_and_not_for_a_key() {
        for comment in ["# the password was abc", "# key = abc", "# https://u:p@h"] {
            assert!(is_about_secrets(comment), "{comment}");
        }
        for comment in ["# no key twice", "# 10:30, = so it is", "#", "# keyed: a"] {
            assert!(!is_about_secrets(comment), "{comment}");
        }
    }

    #[test]
    fn texts_with_a_secret_in_them_are_known_by_their_form() {
        for text in [
            "https://user:pw@host/x",
            "postgres://u@h",
            "Bearer abc",
            "--token=abc",
            "https://h/x?a=b&key=c",
            "-----BEGIN PRIVATE KEY-----",
        ] {
            assert!(has_secret(text), "{text}");
        }
        for text in ["https://host/a@b", "no-store, max-age=0", "a=b", "/x?{query}", "--token"] {
            assert!(!has_secret(text), "{text}");
        }
    }
}
