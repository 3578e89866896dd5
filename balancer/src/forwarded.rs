//! The field `Forwarded` (RFC 7239), as far as it says for whom a trusted proxy speaks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::list::{parts, unquoted};

/// Who is named as the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Named {
    /// Its address.
    pub(crate) client: IpAddr,
    /// What it speaks with the proxy that names it, if that is said: `http` or `https`.
    pub(crate) proto: Option<&'static str>,
}

/// The client that a chain of trusted proxies names by its `Forwarded` lines, which come in their
/// order: the last address that is not one of them, else the first behind the last element that names
/// nobody. `None` if there is none of these.
///
/// A line that cannot be read names nobody, as a whole: a client could have opened a quote in it that
/// the proxy behind it has closed.
pub(crate) fn named<'a>(
    lines: impl Iterator<Item = &'a [u8]>,
    trusts: impl Fn(&IpAddr) -> bool,
) -> Option<Named> {
    let mut named = None;
    for line in lines {
        if !is_readable(std::iter::once(line)) {
            named = None;
            continue;
        }
        for element in parts(line, b',').filter(|element| !element.is_empty()) {
            match read(element).flatten() {
                Some(one) if named.is_some() && trusts(&one.client) => {}
                other => named = other,
            }
        }
    }
    named
}

/// Whether each of these lines is what the RFC says (§4).
pub(crate) fn is_readable<'a>(mut lines: impl Iterator<Item = &'a [u8]>) -> bool {
    lines.all(|line| parts(line, b',').all(|element| read(element).is_some()))
}

/// Who is named by `for` in an element, if anybody; `None` if it is no element.
fn read(element: &[u8]) -> Option<Option<Named>> {
    let (mut found, mut proto) = (None, None);
    for pair in parts(element, b';').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_at(memchr::memchr(b'=', pair)?);
        let value = &value[1..];
        let text = if is_token(value) { value } else { unquoted(value)? };
        if !is_token(name) {
            return None;
        }
        // RFC 7239 §4: each parameter once.
        if name.eq_ignore_ascii_case(b"for") && found.replace(node(text)).is_some() {
            return None;
        }
        if name.eq_ignore_ascii_case(b"proto") && proto.replace(text).is_some() {
            return None;
        }
    }
    let is = |known: &&str| proto.is_some_and(|text| text.eq_ignore_ascii_case(known.as_bytes()));
    let proto = ["http", "https"].into_iter().find(is);
    Some(found.flatten().map(|ip| Named { client: ip.to_canonical(), proto }))
}

/// The address of a node (RFC 7239 §6): IPv6 stands in brackets, a port may follow. Nobody is named by
/// `unknown` and by made-up names.
fn node(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let (ip, port): (IpAddr, &str) = match text.strip_prefix('[') {
        Some(rest) => {
            let (ip, port) = rest.split_once(']')?;
            (ip.parse::<Ipv6Addr>().ok()?.into(), port)
        }
        None => {
            let (ip, port) = text.split_at(text.find(':').unwrap_or(text.len()));
            (ip.parse::<Ipv4Addr>().ok()?.into(), port)
        }
    };
    is_port(port).then_some(ip)
}

/// Nothing, or `:` with a number or a made-up name.
fn is_port(text: &str) -> bool {
    let Some(port) = text.strip_prefix(':') else { return text.is_empty() };
    let is_made_up = |name: &str| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        !name.is_empty() && name.bytes().all(is_plain)
    };
    match port.strip_prefix('_') {
        Some(name) => is_made_up(name),
        None => (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

/// RFC 9110 §5.6.2
fn is_token(text: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !text.is_empty() && text.iter().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proxies in 10.0.0.0/8 and fd00::/8 are trusted.
    #[track_caller]
    fn check(lines: &[&str], expected: Option<&str>) {
        let trusts = |ip: &IpAddr| match ip {
            IpAddr::V4(ip) => ip.octets()[0] == 10,
            IpAddr::V6(ip) => ip.octets()[0] == 0xFD,
        };
        let got = named(lines.iter().map(|line| line.as_bytes()), trusts);
        let expected = expected.map(|ip| ip.parse().unwrap());
        assert_eq!(got.map(|named| named.client), expected, "{lines:?}");
    }

    #[test]
    fn the_protocol_is_that_of_the_element_that_names_the_client() {
        for (line, expected) in [
            ("for=8.8.8.8;proto=https, for=10.0.0.1;proto=http", Some("https")),
            ("for=8.8.8.8, for=10.0.0.1;proto=https", None),
            ("for=6.6.6.6;proto=https, proto=\"HTTP\";for=8.8.8.8", Some("http")),
            ("for=8.8.8.8;proto=gopher", None),
        ] {
            let got = named([line.as_bytes()].into_iter(), |ip| *ip == IpAddr::from([10, 0, 0, 1]));
            let expected = Named { client: IpAddr::from([8, 8, 8, 8]), proto: expected };
            assert_eq!(got, Some(expected), "{line}");
        }
    }

    #[test]
    fn an_address_is_found_as_the_rfc_writes_it() {
        check(&["for=192.0.2.7"], Some("192.0.2.7"));
        check(&["For=\"192.0.2.7:4711\""], Some("192.0.2.7"));
        check(&["for=\"192.0.2.7:_port\";by=_x"], Some("192.0.2.7"));
        check(&["proto=http; FOR=\"[2001:db8::1]\" ;host=\"a;b,c\""], Some("2001:db8::1"));
        check(&["for=\"[2001:db8::1]:4711\""], Some("2001:db8::1"));
        check(&["for=\"[::ffff:192.0.2.7]\""], Some("192.0.2.7"));
    }

    #[test]
    fn the_walk_goes_past_trusted_proxies_and_no_further() {
        check(&["for=6.6.6.6, for=8.8.8.8"], Some("8.8.8.8"));
        check(&["for=6.6.6.6, for=8.8.8.8,for=10.0.0.1;by=10.0.0.2"], Some("8.8.8.8"));
        check(
            &["for=6.6.6.6", "for=8.8.8.8", "for=\"[fd00::1]\", , for=10.0.0.1"],
            Some("8.8.8.8"),
        );
        check(&["for=10.0.0.2, for=10.0.0.1"], Some("10.0.0.2"));
        check(&[], None);
        check(&[""], None);
    }

    #[test]
    fn who_is_hidden_ends_it() {
        for hidden in ["unknown", "_gazonk", "\"unknown:80\"", "\"_a:_b\"", "\"2001:db8::1\""] {
            check(&[&format!("for=8.8.8.8, for={hidden}, for=10.0.0.1")], Some("10.0.0.1"));
            check(&[&format!("for=8.8.8.8, for={hidden}")], None);
        }
        check(&["for=8.8.8.8, proto=https"], None);
    }

    #[test]
    fn a_line_that_cannot_be_read_names_nobody() {
        for line in [
            "8.8.8.8",
            "for=",
            "for=8.8.8.8:80",
            "for=[2001:db8::1]",
            "for=8.8.8.8;for=8.8.8.8",
            "for=8.8.8.8;proto=http;proto=https",
            "for =8.8.8.8",
            "for= 8.8.8.8",
            "for=\"8.8.8.8",
            "for=\"8.8.8.8\"x",
            "for=8.8.8.8, x",
            "=8.8.8.8",
        ] {
            check(&[line], None);
            check(&["for=6.6.6.6", line], None);
            check(&[line, "for=8.8.8.8"], Some("8.8.8.8"));
        }
    }

    /// A client leaves a quote open for what the proxy in front of us appends.
    #[test]
    fn an_open_quote_takes_nothing_with_it() {
        for begun in ["for=6.6.6.6;x=\"", "for=6.6.6.6, for=\"", "for=6.6.6.6;x=\"\\"] {
            for appended in
                ["for=8.8.8.8", "for=\"[2001:db8::8]:80\";proto=http", "for=\"8.8.8.8\""]
            {
                check(&[&format!("{begun}, {appended}")], None);
            }
        }
    }
}
