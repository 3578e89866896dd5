//! `--key value` arguments, every one optional.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddrV4;
use std::str::FromStr;

/// The arguments after the command, by key without its dashes.
pub(crate) struct Args(BTreeMap<String, String>);

impl Args {
    /// Reads `--key value` pairs; a key followed by another key or by nothing is a flag.
    ///
    /// # Errors
    /// A word that is neither a key nor the value of one.
    pub(crate) fn parse(words: impl Iterator<Item = String>) -> io::Result<Args> {
        let mut found = BTreeMap::new();
        let mut words = words.peekable();
        while let Some(word) = words.next() {
            let Some(key) = word.strip_prefix("--") else {
                return Err(io::Error::other(format!(
                    "`{word}` stands alone; write `--key value`"
                )));
            };
            let value = words.next_if(|next| !next.starts_with("--")).unwrap_or_default();
            found.insert(key.to_owned(), value);
        }
        Ok(Args(found))
    }

    /// The value of `key`, or `default`.
    pub(crate) fn text<'a>(&'a self, key: &str, default: &'a str) -> &'a str {
        self.0.get(key).map_or(default, String::as_str)
    }

    /// The value of `key` as a number, or `default`.
    ///
    /// # Errors
    /// A value that is no number of this type.
    pub(crate) fn number<N: FromStr>(&self, key: &str, default: N) -> io::Result<N> {
        let Some(value) = self.0.get(key) else { return Ok(default) };
        value.parse().map_err(|_| io::Error::other(format!("`--{key} {value}` is no such number")))
    }

    /// Whether `key` was given at all.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// The value of `--addr`.
    ///
    /// # Errors
    /// No address, or one that is not on loopback.
    pub(crate) fn addr(&self) -> io::Result<SocketAddrV4> {
        let text = self.text("addr", "127.0.0.1:28080");
        match text.parse::<SocketAddrV4>() {
            Ok(addr) if addr.ip().is_loopback() => Ok(addr),
            _ => Err(io::Error::other(format!("`--addr {text}` is no loopback address with port"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &str) -> io::Result<Args> {
        Args::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn a_key_without_a_value_is_a_flag() {
        let args = args("--churn --conns 8").unwrap();
        assert!(args.has("churn"));
        assert_eq!(args.number("conns", 0).unwrap(), 8);
        assert_eq!(args.text("path", "/t"), "/t");
    }

    #[test]
    fn an_address_off_loopback_is_refused() {
        assert!(args("--addr 127.9.9.9:80").unwrap().addr().is_ok());
        assert!(args("--addr 192.0.2.1:80").unwrap().addr().is_err());
    }

    #[test]
    fn a_stray_word_is_refused() {
        assert!(args("--conns 8 9").is_err());
    }
}
