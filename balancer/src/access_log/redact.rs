//! Values of secret query parameters do not reach the log.
//!
//! A parameter counts as secret if its name, or the part of it in brackets (`user[password]`), is
//! in the list: in any case and with any of its characters %-encoded, because the backend will
//! read it so. Parameters end at `&` or `;`.

/// Names of secret parameters.
#[derive(Debug, Default)]
pub(super) struct Redact {
    /// In lower case.
    names: Vec<Vec<u8>>,
    /// The name at hand, decoded; kept for its memory.
    name: Vec<u8>,
}

impl Redact {
    pub(super) fn new(names: &[String]) -> Redact {
        let names = names.iter().map(|name| name.to_ascii_lowercase().into_bytes()).collect();
        Redact { names, name: Vec::new() }
    }

    /// Writes `query` by `write`, in pieces, with `***` for secret values.
    pub(super) fn query(&mut self, query: &[u8], mut write: impl FnMut(&[u8])) {
        if self.names.is_empty() {
            return write(query);
        }
        // All up to `from` has been written.
        let (mut from, mut at) = (0, 0);
        while at < query.len() {
            let rest = &query[at..];
            let len = rest.iter().position(|b| matches!(b, b'&' | b';')).unwrap_or(rest.len());
            if let Some(equals) = memchr::memchr(b'=', &rest[..len])
                && self.is_secret(&rest[..equals])
            {
                write(&query[from..=at + equals]);
                write(b"***");
                from = at + len;
            }
            at += len + 1;
        }
        write(&query[from..]);
    }

    /// Writes a URL by `write`; its query is redacted up to a `#`.
    pub(super) fn url(&mut self, url: &[u8], mut write: impl FnMut(&[u8])) {
        let Some(mark) = memchr::memchr(b'?', url) else { return write(url) };
        let (path, query) = url.split_at(mark + 1);
        let (query, fragment) = query.split_at(memchr::memchr(b'#', query).unwrap_or(query.len()));
        write(path);
        self.query(query, &mut write);
        write(fragment);
    }

    fn is_secret(&mut self, name: &[u8]) -> bool {
        self.name.clear();
        let mut at = 0;
        while let Some(&byte) = name.get(at) {
            let code = (byte == b'%').then(|| decode(name.get(at + 1..at + 3)?)).flatten();
            self.name.push(code.unwrap_or(byte).to_ascii_lowercase());
            at += if code.is_some() { 3 } else { 1 };
        }
        let mut parts = self.name.split(|b| matches!(b, b'[' | b']'));
        parts.any(|part| self.names.iter().any(|secret| secret == part))
    }
}

fn decode(digits: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok());
    Some(digit(*digits.first()?)? << 4 | digit(*digits.get(1)?)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn redacted(query: &[u8]) -> Vec<u8> {
        let names = ["token", "Password", "code"].map(String::from);
        let mut out = Vec::new();
        Redact::new(&names).query(query, |piece| out.extend_from_slice(piece));
        out
    }

    #[track_caller]
    fn check(query: &str, expected: &str) {
        assert_eq!(String::from_utf8(redacted(query.as_bytes())).unwrap(), expected);
    }

    #[test]
    fn the_value_of_a_secret_is_not_written() {
        check("token=s3cret", "token=***");
        check("a=1&token=s3cret&b=2", "a=1&token=***&b=2");
        check("token=s=3=c&token=&code=x", "token=***&token=***&code=***");
        check("a=1;password=x;b", "a=1;password=***;b");
    }

    #[test]
    fn a_name_is_known_in_any_dress() {
        check("TOKEN=x&PassWord=y", "TOKEN=***&PassWord=***");
        check("%74oken=x&tok%65%4E=y", "%74oken=***&tok%65%4E=***");
        check(
            "user[password]=x&user%5Bpassword%5d=y&token[]=z",
            "user[password]=***&user%5Bpassword%5d=***&token[]=***",
        );
    }

    #[test]
    fn other_parameters_stay_as_they_are() {
        for query in
            ["", "&", "a", "tokens=1&atoken=2&tok=3", "token", "q=token=x", "%=1&%7=2&%zz=3"]
        {
            check(query, query);
        }
    }

    #[test]
    fn a_url_is_redacted_in_its_query_alone() {
        let mut out = Vec::new();
        let url = b"https://a.example/token=x?token=x&b=1#token=y";
        Redact::new(&["token".into()]).url(url, |piece| out.extend_from_slice(piece));
        assert_eq!(out, b"https://a.example/token=x?token=***&b=1#token=y");
    }

    proptest! {
        #[test]
        fn a_secret_never_gets_through(
            before in proptest::collection::vec(any::<u8>(), 0..20),
            after in proptest::collection::vec(any::<u8>(), 0..20),
        ) {
            let query = [&before[..], b"&token=S3CRETVALUE&", &after[..]].concat();
            let out = redacted(&query);
            prop_assert!(!out.windows(11).any(|window| window == b"S3CRETVALUE"));
            prop_assert!(out.windows(9).any(|window| window == b"token=***"));
        }
    }
}
