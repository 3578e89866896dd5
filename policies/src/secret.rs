//! What is a secret by its name: such values are shown to nobody. In doubt it is one: what is
//! hidden too much costs a glance at the file.

/// Stands for a hidden value, and tells nothing of its length.
pub const MASK: &str = "***";

/// In the name of a secret, wherever.
const PARTS: [&str; 13] = [
    "token",
    "secret",
    "passw",
    "passphrase",
    "credential",
    "authorization",
    "authentication",
    "session",
    "apikey",
    "webhook",
    "bearer",
    "private",
    "signature",
];
/// The same where they are a word of their own: they are part of harmless ones.
const WORDS: [&str; 15] = [
    "auth", "pwd", "pw", "pass", "pat", "jwt", "dsn", "hmac", "keys", "sid", "otp", "pin", "sig",
    "code", "verify",
];
/// Headers that carry credentials and are not found by the lists above.
const HEADERS: [&str; 2] = ["cookie", "set-cookie"];

/// Whether a value of that name should be hidden: `token`, `api-key`, `DB_PASSWORD`.
pub fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    speaks_of_secret(&name)
        || name.ends_with("key")
        || name.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| WORDS.contains(&word))
}

/// Whether a header of that name carries credentials.
pub fn is_secret_header(name: &str) -> bool {
    is_secret_name(name) || HEADERS.contains(&name.to_ascii_lowercase().as_str())
}

/// Whether a text in lower case has a word for a secret anywhere.
pub fn speaks_of_secret(lower: &str) -> bool {
    PARTS.iter().any(|part| lower.contains(part))
}

/// A URL, or the target of a request, without the values of secret query parameters. A name with
/// %-codes may be any, and so is secret.
pub fn without_secrets(url: &str) -> String {
    let Some((path, query)) = url.split_once('?') else { return url.to_owned() };
    let (query, fragment) = query.split_at(query.find('#').unwrap_or(query.len()));
    let parameters = query.split_inclusive(['&', ';']).map(|parameter| {
        let (whole, end) = match parameter.strip_suffix(['&', ';']) {
            Some(whole) => parameter.split_at(whole.len()),
            None => (parameter, ""),
        };
        match whole.split_once('=') {
            Some((name, _)) if name.contains('%') || is_secret_name(name) => {
                format!("{name}={MASK}{end}")
            }
            _ => parameter.to_owned(),
        }
    });
    format!("{path}?{}{fragment}", parameters.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets_are_known_by_their_words() {
        for name in [
            "token",
            "key",
            "API_KEY",
            "x-api-key",
            "DB_PASSWORD",
            "webhook",
            "auth",
            "PHPSESSIONID",
            "x-sid",
            "sig",
            "X-Origin-Verify",
        ] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in [
            "author",
            "path",
            "compass",
            "keep_alive",
            "bind",
            "cookie",
            "keyed",
            "decode",
            "shipping",
        ] {
            assert!(!is_secret_name(name), "{name}");
        }
        assert!(is_secret_header("Set-Cookie"));
    }

    #[test]
    fn a_url_keeps_all_but_the_values_of_secrets() {
        let shown = without_secrets("/a?b=c&token=s3cr3t;%74oken=s3cr3t&d=#token=e");
        assert_eq!(shown, "/a?b=c&token=***;%74oken=***&d=#token=e");
        assert_eq!(without_secrets("/token=a"), "/token=a");
    }
}
