//! The PROXY protocol, versions 1 and 2: for whom a trusted proxy has connected
//! (<https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>). Bytes in, a verdict out.
//!
//! A peer that is to send a header must: one that is missing, or that can be read in two ways, is
//! refused, for who else would be taken for the client? Of the additional values of version 2 only
//! the checksum is looked at; the others must fit into their header and are dropped.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What a header says, and where the first request begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// Who has connected to the proxy; `None` where it speaks for itself (a health check), or does
    /// not know, or speaks for a socket that is not of the internet.
    pub(crate) source: Option<SocketAddr>,
    /// Bytes of the header.
    pub(crate) len: usize,
}

/// Why a header was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub(crate) enum BadHeader {
    /// Neither version begins like that.
    #[error("a trusted proxy sent no PROXY protocol header")]
    Missing,
    /// Version 1 is `PROXY TCP4|TCP6 source destination port port CRLF`.
    #[error("a PROXY protocol header of version 1 is malformed")]
    Line,
    /// Version 2 with a version, command, family or transport that is none, or that does not go
    /// with its length.
    #[error("a PROXY protocol header of version 2 is malformed")]
    Binary,
    /// Above [`LARGEST`].
    #[error("a PROXY protocol header is larger than 4 KiB")]
    TooLarge,
    /// The checksum is that of other bytes.
    #[error("the checksum of a PROXY protocol header is wrong")]
    Checksum,
}

impl BadHeader {
    /// The word for the log.
    pub(crate) fn word(self) -> &'static str {
        match self {
            BadHeader::Missing => "proxy_header_missing",
            BadHeader::Line => "proxy_header_line",
            BadHeader::Binary => "proxy_header_binary",
            BadHeader::TooLarge => "proxy_header_too_large",
            BadHeader::Checksum => "proxy_header_checksum",
        }
    }
}

/// Bytes that a header may have. Version 2 could say 64 KiB; certificates of clients, the largest
/// thing that anybody sends, fit into this.
pub(crate) const LARGEST: usize = 4 << 10;

/// Longest line of version 1, with CRLF (§2.1).
const LONGEST_LINE: usize = 107;
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and transport, length.
const FIXED: usize = 16;

/// Reads the header at the front of `bytes`; `Ok(None)`: more bytes are needed.
///
/// # Errors
/// What is wrong; it is the same however the bytes were split between calls.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<Header>, BadHeader> {
    if begins(bytes, SIGNATURE) {
        binary(bytes)
    } else if begins(bytes, b"PROXY ") {
        line(bytes)
    } else {
        Err(BadHeader::Missing)
    }
}

/// Whether one begins with the other, as far as it has come.
fn begins(bytes: &[u8], with: &[u8]) -> bool {
    let len = bytes.len().min(with.len());
    bytes[..len] == with[..len]
}

/// Version 1 (§2.1).
fn line(bytes: &[u8]) -> Result<Option<Header>, BadHeader> {
    let window = &bytes[..bytes.len().min(LONGEST_LINE)];
    let Some(end) = window.iter().position(|byte| *byte == b'\n') else {
        return if bytes.len() < LONGEST_LINE { Ok(None) } else { Err(BadHeader::Line) };
    };
    let text = window[..end].strip_suffix(b"\r").ok_or(BadHeader::Line)?;
    let text = std::str::from_utf8(text).map_err(|_| BadHeader::Line)?;
    let words: Vec<&str> = text.split(' ').collect();
    let source = match words[..] {
        // Whatever follows is to be ignored.
        ["PROXY", "UNKNOWN", ..] => None,
        ["PROXY", "TCP4", from, to, from_port, to_port] => {
            let _: Ipv4Addr = address(to)?;
            let ip: Ipv4Addr = address(from)?;
            port(to_port)?;
            Some(SocketAddr::new(ip.into(), port(from_port)?))
        }
        ["PROXY", "TCP6", from, to, from_port, to_port] => {
            let _: Ipv6Addr = address(to)?;
            let ip: Ipv6Addr = address(from)?;
            port(to_port)?;
            Some(SocketAddr::new(ip.into(), port(from_port)?))
        }
        _ => return Err(BadHeader::Line),
    };
    Ok(Some(Header { source, len: end + 1 }))
}

fn address<T: std::str::FromStr>(text: &str) -> Result<T, BadHeader> {
    text.parse().map_err(|_| BadHeader::Line)
}

/// Decimal, without sign and leading zeros.
fn port(text: &str) -> Result<u16, BadHeader> {
    let is_plain = text == "0" || text.starts_with(|first: char| ('1'..='9').contains(&first));
    text.parse().ok().filter(|_| is_plain).ok_or(BadHeader::Line)
}

/// Version 2 (§2.2).
fn binary(bytes: &[u8]) -> Result<Option<Header>, BadHeader> {
    let Some(fixed) = bytes.first_chunk::<FIXED>() else { return Ok(None) };
    let [.., command, family, high, low] = *fixed;
    let len = FIXED + usize::from(u16::from_be_bytes([high, low]));
    if len > LARGEST {
        return Err(BadHeader::TooLarge);
    }
    let is_local = match command {
        0x20 => true,
        0x21 => false,
        _ => return Err(BadHeader::Binary),
    };
    if is_local {
        // Whatever it says besides is to be ignored.
        return Ok((bytes.len() >= len).then_some(Header { source: None, len }));
    }
    // Unspecified, TCP over IPv4 and IPv6, and streams between processes of one machine.
    let addresses = match family {
        0x00 => 0,
        0x11 => 12,
        0x21 => 36,
        0x31 => 216,
        _ => return Err(BadHeader::Binary),
    };
    if len < FIXED + addresses {
        return Err(BadHeader::Binary);
    }
    let Some(header) = bytes.get(..len) else { return Ok(None) };
    let (body, values) = header[FIXED..].split_at(addresses);
    // What follows the addresses of an unknown family is not said.
    if family != 0x00 {
        check_values(header, values)?;
    }
    Ok(Some(Header { source: source(family, body), len }))
}

/// Addresses first, then ports, the source before the destination.
fn source(family: u8, body: &[u8]) -> Option<SocketAddr> {
    let (ip, ports): (IpAddr, _) = match family {
        0x11 => ((*body.first_chunk::<4>()?).into(), body.get(8..)?),
        0x21 => ((*body.first_chunk::<16>()?).into(), body.get(32..)?),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_be_bytes(*ports.first_chunk()?)))
}

const CHECKSUM: u8 = 0x03;

/// Type, length, value, one after another to the end; a checksum is that of the whole header with
/// zeros in its own place (§2.2.3).
fn check_values(header: &[u8], mut values: &[u8]) -> Result<(), BadHeader> {
    while let [kind, high, low, rest @ ..] = values {
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        let (value, after) = rest.split_at_checked(len).ok_or(BadHeader::Binary)?;
        if *kind == CHECKSUM {
            let sent = u32::from_be_bytes(*value.first_chunk().ok_or(BadHeader::Binary)?);
            let at = header.len() - rest.len();
            let zeroed = header
                .iter()
                .enumerate()
                .map(|(place, byte)| if (at..at + 4).contains(&place) { 0 } else { *byte });
            if len != 4 || crc32c(zeroed) != sent {
                return Err(BadHeader::Checksum);
            }
        }
        values = after;
    }
    if values.is_empty() { Ok(()) } else { Err(BadHeader::Binary) }
}

/// RFC 3720 §B.4, bit by bit: a header comes once per connection, if it has a checksum at all.
fn crc32c(bytes: impl Iterator<Item = u8>) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    !bytes.fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| {
            if sum & 1 == 1 { (sum >> 1) ^ POLYNOMIAL } else { sum >> 1 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The verdict, which must not depend on how the bytes came and on what follows.
    #[track_caller]
    fn check(bytes: &[u8], expected: Result<Option<&str>, BadHeader>) {
        let parsed = parse(&[bytes, b"GET / HTTP/1.1\r\n"].concat());
        let source = parsed.map(|header| header.expect("a whole header").source);
        let expected_source = expected.map(|text| text.map(|text| text.parse().unwrap()));
        assert_eq!(source, expected_source, "{}", bytes.escape_ascii());
        for cut in 0..bytes.len() {
            match parse(&bytes[..cut]) {
                Ok(None) => {}
                early => {
                    assert!(early.is_err() && early == parse(bytes), "cut at {cut}: {early:?}");
                }
            }
        }
        if let Ok(Some(header)) = parse(bytes) {
            assert_eq!(header.len, bytes.len());
        }
    }

    #[test]
    fn lines_of_version_1_name_the_client() {
        check(b"PROXY TCP4 192.0.2.7 10.0.0.1 56324 443\r\n", Ok(Some("192.0.2.7:56324")));
        check(b"PROXY TCP6 2001:db8::7 ::1 0 65535\r\n", Ok(Some("[2001:db8::7]:0")));
        check(b"PROXY UNKNOWN\r\n", Ok(None));
        let most = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        check(format!("PROXY UNKNOWN {most} {most} 65535 65535\r\n").as_bytes(), Ok(None));
    }

    #[test]
    fn lines_that_can_be_read_in_two_ways_are_refused() {
        for line in [
            &b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2\n"[..],
            b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2 3\r\n",
            b"PROXY TCP4 192.0.2.7 10.0.0.1 1\r\n",
            b"PROXY  TCP4 192.0.2.7 10.0.0.1 1 2\r\n",
            b"PROXY TCP4 192.0.2.7 10.0.0.1  1 2\r\n",
            b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2 \r\n",
            b"PROXY TCP4 192.0.2.007 10.0.0.1 1 2\r\n",
            b"PROXY TCP4 192.0.2 10.0.0.1 1 2\r\n",
            b"PROXY TCP4 192.0.2.256 10.0.0.1 1 2\r\n",
            b"PROXY TCP4 192.0.2.7 10.0.0.x 1 2\r\n",
            b"PROXY TCP4 ::1 ::1 1 2\r\n",
            b"PROXY TCP6 192.0.2.7 10.0.0.1 1 2\r\n",
            b"PROXY TCP6 [::1] ::1 1 2\r\n",
            b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
            b"PROXY TCP4 192.0.2.7 10.0.0.1 65536 2\r\n",
            b"PROXY TCP4 192.0.2.7 10.0.0.1 01 2\r\n",
            b"PROXY TCP4 192.0.2.7 10.0.0.1 +1 2\r\n",
            b"PROXY TCP4 192.0.2.7 10.0.0.1 1 -2\r\n",
            b"PROXY TCP5 192.0.2.7 10.0.0.1 1 2\r\n",
            b"PROXY tcp4 192.0.2.7 10.0.0.1 1 2\r\n",
            b"PROXY UDP4 192.0.2.7 10.0.0.1 1 2\r\n",
            b"PROXY \r\n",
            b"PROXY TCP4 192.0.2.7\0 10.0.0.1 1 2\r\n",
            b"PROXY TCP4 192.0.2.7\t10.0.0.1 1 2\r\n",
            b"PROXY UNKNOWN \xff\r\n",
        ] {
            check(line, Err(BadHeader::Line));
        }
        check(format!("PROXY UNKNOWN {}\r\n", "a".repeat(100)).as_bytes(), Err(BadHeader::Line));
    }

    #[test]
    fn what_is_no_header_is_refused_with_its_first_byte_that_differs() {
        for bytes in [&b"GET / HTTP/1.1\r\n"[..], b"proxy TCP4", b"PROXI", b"\r\nGET", b"\x16\x03"]
        {
            check(bytes, Err(BadHeader::Missing));
        }
    }

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let len = u16::try_from(body.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &len, body].concat()
    }

    const V4: [u8; 12] = [192, 0, 2, 7, 10, 0, 0, 1, 0xdc, 0x04, 1, 0xbb];

    #[test]
    fn headers_of_version_2_name_the_client() {
        check(&v2(0x21, 0x11, &V4), Ok(Some("192.0.2.7:56324")));
        let mut v6 = [0; 36];
        (v6[0], v6[1], v6[15], v6[33]) = (0x20, 0x01, 7, 80);
        check(&v2(0x21, 0x21, &v6), Ok(Some("[2001::7]:80")));
        check(&v2(0x21, 0x31, &[b'x'; 216]), Ok(None));
        check(&v2(0x21, 0x00, b""), Ok(None));
        check(&v2(0x21, 0x00, b"anything"), Ok(None));
        check(&v2(0x20, 0x00, b""), Ok(None));
        check(&v2(0x20, 0x11, &V4), Ok(None));
        check(&v2(0x20, 0xff, b"anything"), Ok(None));
    }

    #[test]
    fn values_behind_the_addresses_must_fit_and_are_dropped() {
        let with = |values: &[u8]| v2(0x21, 0x11, &[&V4[..], values].concat());
        let client = Ok(Some("192.0.2.7:56324"));
        check(&with(&[0x04, 0, 0]), client);
        check(&with(&[0x02, 0, 1, b'a', 0xea, 0, 2, 1, 2]), client);
        for values in [&[0x04][..], &[0x04, 0], &[0x04, 0, 1], &[0x04, 0xff, 0xff, 1]] {
            check(&with(values), Err(BadHeader::Binary));
        }
    }

    #[test]
    fn a_checksum_is_that_of_the_header() {
        assert_eq!(crc32c(b"123456789".iter().copied()), 0xe306_9283);
        let zeroed = v2(0x21, 0x11, &[&V4[..], &[CHECKSUM, 0, 4, 0, 0, 0, 0]].concat());
        let sum = crc32c(zeroed.iter().copied()).to_be_bytes();
        let mut right = zeroed.clone();
        right[zeroed.len() - 4..].copy_from_slice(&sum);
        check(&right, Ok(Some("192.0.2.7:56324")));
        check(&zeroed, Err(BadHeader::Checksum));
        check(
            &v2(0x21, 0x11, &[&V4[..], &[CHECKSUM, 0, 2, 0, 0]].concat()),
            Err(BadHeader::Binary),
        );
    }

    #[test]
    fn binary_headers_that_say_nothing_known_are_refused() {
        for (command, family) in
            [(0x11, 0x11), (0x22, 0x11), (0x31, 0x11), (0x21, 0x12), (0x21, 0x41), (0x21, 0x01)]
        {
            check(&v2(command, family, &V4), Err(BadHeader::Binary));
        }
        check(&v2(0x21, 0x11, &V4[..11]), Err(BadHeader::Binary));
        check(&v2(0x21, 0x21, &V4), Err(BadHeader::Binary));
        check(&v2(0x21, 0x11, &[0; 5000]), Err(BadHeader::TooLarge));
    }
}
