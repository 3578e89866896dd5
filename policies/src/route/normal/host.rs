//! The normal form of a host.

use std::io::Write as _;
use std::net::Ipv6Addr;

use super::Normal;

/// Why a host has no normal form. The answer is 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// Nothing there, or a port or dot alone.
    #[error("host is empty; name the site")]
    Empty,
    /// `user@host`.
    #[error("host has `@`; leave out who asks, it belongs in `Authorization`")]
    UserInfo,
    /// Not a letter, digit, `-`, `.` or `_`.
    #[error("host has the byte `0x{0:02X}`; use letters, digits, `-`, `.`, `_`")]
    BadByte(u8),
    /// `a..b`, `.a` or more than one dot at the end.
    #[error("host has an empty label; put one dot between labels")]
    EmptyLabel,
    /// Longer than a name can be.
    #[error("host is longer than 253 bytes; no name in DNS is")]
    TooLong,
    /// Not 0 to 65535.
    #[error("port of the host is not a number up to 65535; correct it or leave it out")]
    BadPort,
    /// `[` without a well-formed IPv6 address and `]`.
    #[error("host in `[ ]` is not an IPv6 address; zones have no place in a request")]
    BadIpv6,
}

impl HostError {
    /// One word for logs.
    pub fn word(self) -> &'static str {
        match self {
            HostError::Empty => "host_empty",
            HostError::UserInfo => "host_userinfo",
            HostError::BadByte(_) => "host_byte",
            HostError::EmptyLabel => "host_empty_label",
            HostError::TooLong => "host_too_long",
            HostError::BadPort => "host_port",
            HostError::BadIpv6 => "host_ipv6",
        }
    }
}

/// Longest name in DNS as text without its trailing dot (RFC 1035 §3.1: 255 bytes on the wire).
/// Also bounds the walk over labels in [`crate::route::RouteTable::find`].
const MAX_NAME: usize = 253;

/// Brings the value of `Host`, or an authority, into normal form: lower case, without port and
/// without one trailing dot; an IPv6 address in its canonical text (RFC 5952), in brackets.
/// Stricter than RFC 3986 `reg-name`: no %-codes and no sub-delims, which no DNS name has.
///
/// # Errors
/// What is wrong first; `out` is then untouched.
pub fn host(raw: &[u8], out: &mut Vec<u8>) -> Result<Normal, HostError> {
    if raw.first() == Some(&b'[') {
        return ipv6(raw, out);
    }
    let colon = memchr::memchr(b':', raw).unwrap_or(raw.len());
    let (name, port) = raw.split_at(colon);
    let name = name.strip_suffix(b".").unwrap_or(name);
    check_port(port)?;
    let has_upper = check_name(name)?;

    if name.len() == raw.len() && !has_upper {
        return Ok(Normal::Same);
    }
    out.clear();
    out.extend(name.iter().map(u8::to_ascii_lowercase));
    Ok(Normal::Changed)
}

/// Whether a well-formed name has letters in upper case.
fn check_name(name: &[u8]) -> Result<bool, HostError> {
    if name.is_empty() {
        return Err(HostError::Empty);
    }
    let (mut has_upper, mut before) = (false, b'.');
    for &byte in name {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => {}
            b'A'..=b'Z' => has_upper = true,
            b'.' if before == b'.' => return Err(HostError::EmptyLabel),
            b'.' => {}
            b'@' => return Err(HostError::UserInfo),
            other => return Err(HostError::BadByte(other)),
        }
        before = byte;
    }
    if before == b'.' {
        return Err(HostError::EmptyLabel);
    }
    if name.len() > MAX_NAME {
        return Err(HostError::TooLong);
    }
    Ok(has_upper)
}

/// `port` is empty or begins with its colon; digits may be missing (RFC 3986 §3.2.3).
fn check_port(port: &[u8]) -> Result<(), HostError> {
    let digits = port.strip_prefix(b":").unwrap_or(port);
    if memchr::memchr(b'@', digits).is_some() {
        return Err(HostError::UserInfo);
    }
    if digits.len() > 5 || !digits.iter().all(u8::is_ascii_digit) {
        return Err(HostError::BadPort);
    }
    let number = digits.iter().fold(0, |number, &b| number * 10 + u32::from(b - b'0'));
    if number > 65_535 { Err(HostError::BadPort) } else { Ok(()) }
}

fn ipv6(raw: &[u8], out: &mut Vec<u8>) -> Result<Normal, HostError> {
    let close = memchr::memchr(b']', raw).ok_or(HostError::BadIpv6)?;
    let (address, port) = (&raw[1..close], &raw[close + 1..]);
    if !port.is_empty() && port[0] != b':' {
        return Err(HostError::BadIpv6);
    }
    check_port(port)?;
    let address: Ipv6Addr = str::from_utf8(address)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or(HostError::BadIpv6)?;

    let mut buffer = [0; 48]; // 39 or, with an IPv4 tail, 45 bytes, and the brackets
    let mut unused = &mut buffer[..];
    write!(unused, "[{address}]").map_err(|_| HostError::BadIpv6)?;
    let unused = unused.len();
    let canonical = &buffer[..buffer.len() - unused];
    if canonical == raw {
        return Ok(Normal::Same);
    }
    out.clear();
    out.extend_from_slice(canonical);
    Ok(Normal::Changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(raw: &str, wanted: Result<&str, HostError>) {
        let mut out = b"before".to_vec();
        let got = host(raw.as_bytes(), &mut out).map(|normal| match normal {
            Normal::Same => {
                assert_eq!(out, b"before", "`Same` touched out");
                raw.to_string()
            }
            Normal::Changed => {
                assert_ne!(out, raw.as_bytes(), "`Changed` changed nothing");
                String::from_utf8(out).unwrap()
            }
        });
        assert_eq!(got.as_deref(), wanted.as_ref().map(|&text| text), "for {raw}");
    }

    #[test]
    fn leaves_a_normal_host_alone() {
        for raw in ["a", "live.kgsports.example", "127.0.0.1", "x_y.z-1.example", "[::1]"] {
            check(raw, Ok(raw));
        }
    }

    #[test]
    fn drops_case_port_and_one_dot() {
        check("Live.KGsports.Example", Ok("live.kgsports.example"));
        check("a.example:8080", Ok("a.example"));
        check("a.example:", Ok("a.example"));
        check("a.example.", Ok("a.example"));
        check("A.example.:65535", Ok("a.example"));
    }

    #[test]
    fn has_one_text_for_each_ipv6_address() {
        check("[0:0::0:1]:80", Ok("[::1]"));
        check("[2001:DB8::A]", Ok("[2001:db8::a]"));
        check("[::ffff:1.2.3.4]", Ok("[::ffff:1.2.3.4]"));
        for raw in ["[::1", "[]", "[1.2.3.4]", "[::1].", "[::1]x", "[fe80::1%25eth0]", "[v1.a]"] {
            check(raw, Err(HostError::BadIpv6));
        }
        check("[::1]:x", Err(HostError::BadPort));
        check("::1", Err(HostError::BadPort));
    }

    #[test]
    fn refuses_what_is_no_host() {
        for raw in ["", ".", ":80", ".:80"] {
            check(raw, Err(HostError::Empty));
        }
        for raw in ["a..", "a..b", ".a", "a..:80"] {
            check(raw, Err(HostError::EmptyLabel));
        }
        for raw in ["u@a", "u:p@a", "a:80@b", "@"] {
            check(raw, Err(HostError::UserInfo));
        }
        for raw in ["a:65536", "a:100000", "a:-1", "a:8 0", "a:1:2", "a:99999999999", "a:+1"] {
            check(raw, Err(HostError::BadPort));
        }
        for raw in ["a b", "a,b", "a/b", "a%2eb", "*.a", "a\\b", "a\0", "\u{e9}.a", "a#b", "a?b"] {
            let byte = raw.bytes().find(|b| !b.is_ascii_alphanumeric()).unwrap();
            check(raw, Err(HostError::BadByte(byte)));
        }
    }

    #[test]
    fn refuses_a_name_longer_than_dns_has() {
        let longest = "a.".repeat(126) + "a";
        check(&longest, Ok(&longest));
        check(&(longest.clone() + "."), Ok(&longest));
        check(&(longest + "a"), Err(HostError::TooLong));
    }
}
