//! Addresses, address blocks and host names.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net};
use policies::backend::Address;
use policies::route::HostPattern;

use crate::config::text::{Message, values as say};

/// An address to accept on. Port 0 is any free one.
pub(crate) fn listen(text: &str) -> Result<SocketAddr, Message> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(address);
    }
    let wrong = |why: &str, remedy: Option<String>| Err(say::address(text, why, remedy));
    if let Ok(ip) = text.parse::<IpAddr>() {
        let remedy = format!("write `{}`", bracketed(text).unwrap_or(SocketAddr::new(ip, 80)));
        return wrong("the port is missing", Some(remedy));
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return wrong("the port is missing", Some("write `0.0.0.0:8080`".to_owned()));
    };
    if port.parse::<u16>().is_err() {
        return wrong("the port is not a number from 0 to 65535", None);
    }
    match host {
        "" | "*" => {
            let remedy = format!("write `0.0.0.0:{port}`, `[::]:{port}` or both");
            wrong("the address is missing", Some(remedy))
        }
        "localhost" => wrong(
            "a name is not an address",
            Some(format!("write `127.0.0.1:{port}`, `[::1]:{port}` or both")),
        ),
        _ => wrong(
            "the address is not an IP address",
            Some("a listener needs an address of this machine, or `0.0.0.0` or `[::]`".to_owned()),
        ),
    }
}

/// An address to connect to.
pub(crate) fn backend(text: &str) -> Result<Address, Message> {
    let wrong = |why: &str, remedy: Option<String>| Err(say::address(text, why, remedy));
    if let Ok(address) = text.parse::<SocketAddr>() {
        return match address.ip().to_canonical() {
            _ if address.port() == 0 => wrong("nobody listens on port 0", None),
            ip if ip.is_unspecified() => wrong("nobody can be reached at that address", None),
            ip if ip.is_multicast() => wrong("it is a multicast address", one_machine()),
            IpAddr::V4(Ipv4Addr::BROADCAST) => wrong("it is the broadcast address", one_machine()),
            // Written in IPv6 or not, it is one address.
            ip @ IpAddr::V4(_) => Ok(Address::Socket(SocketAddr::new(ip, address.port()))),
            IpAddr::V6(_) => Ok(Address::Socket(address)),
        };
    }
    if text.contains("://") {
        return wrong("it is a URL", Some("write only host and port, `10.0.0.1:8080`".to_owned()));
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        let remedy = format!("write `{}`", bracketed(text).unwrap_or(SocketAddr::new(ip, 8080)));
        return wrong("the port is missing", Some(remedy));
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return wrong("the port is missing", Some("write `app.internal:8080`".to_owned()));
    };
    let Ok(port @ 1..) = port.parse::<u16>() else {
        return wrong("the port is not a number from 1 to 65535", None);
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    // All digits and dots is a mistyped address and not a name: no top-level domain is a number.
    if host.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit())) {
        return wrong("the address is not an IP address", None);
    }
    match domain(host) {
        Ok(()) => Ok(Address::Name { host: host.to_ascii_lowercase().into(), port }),
        Err(why) => wrong(&why, None),
    }
}

fn one_machine() -> Option<String> {
    Some("write the address of one machine".to_owned())
}

/// `::1:8080` reads as an address without a port, and is nearly always one with.
fn bracketed(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.rsplit_once(':')?;
    let ip: std::net::Ipv6Addr = ip.parse().ok()?;
    Some(SocketAddr::new(ip.into(), port.parse().ok()?))
}

/// An address block, or one address. IPv4 within IPv6 (RFC 4291 §2.5.5.2) is IPv4, as clients are.
pub(crate) fn cidr(text: &str) -> Result<IpNet, Message> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(ip.to_canonical()));
    }
    match text.parse::<IpNet>() {
        Ok(block) if block.trunc() == block => Ok(canonical(block)),
        Ok(block) => Err(say::cidr(
            text,
            "there are bits set behind the prefix",
            Some(format!(
                "write `{}` for the block or `{}` for the address",
                block.trunc(),
                block.addr()
            )),
        )),
        Err(_) => Err(say::cidr(text, "it is neither ADDRESS/BITS nor an address", None)),
    }
}

fn canonical(block: IpNet) -> IpNet {
    let IpNet::V6(mapped) = block else { return block };
    let ipv4 = mapped.addr().to_ipv4_mapped();
    let within = mapped.prefix_len().checked_sub(96);
    let ipv4 = ipv4.zip(within).and_then(|(ip, bits)| Ipv4Net::new(ip, bits).ok());
    ipv4.map_or(block, IpNet::V4)
}

/// A host, or `*.` and a domain. In lower case, without trailing dot.
pub(crate) fn host(text: &str) -> Result<HostPattern, Message> {
    let wrong =
        |why: &str, remedy: Option<&str>| Err(say::host(text, why, remedy.map(str::to_owned)));
    if !text.is_ascii() {
        return wrong("it is not ASCII", Some("write the form that browsers send, `xn--...`"));
    }
    if text == "*" {
        return wrong("`*` alone matches nothing", Some("leave `host` out to match every host"));
    }
    if text.contains("://") || text.contains('/') {
        return wrong("it is a URL", Some("write only the host"));
    }
    let domain_part = text.strip_prefix("*.").unwrap_or(text);
    if domain_part.contains('*') {
        return wrong(
            "`*` can only be the whole first label",
            Some("write `*.example.org`, or `header = { host = { regex = \"...\" } }`"),
        );
    }
    let is_ipv6 = text.starts_with('[') && text.ends_with(']');
    if text.starts_with('[') && !text.contains(']') {
        return wrong("the bracket is not closed", Some("write `[2001:db8::1]`"));
    }
    if domain_part.contains(':') && !is_ipv6 {
        return wrong("it has a port", Some("write only the host; every port matches"));
    }
    let name = domain_part.strip_suffix('.').unwrap_or(domain_part);
    if let (false, Err(why)) = (is_ipv6, domain(name)) {
        return wrong(&why, None);
    }
    // Last, because its words are meant for a request; but what it returns is what is compared.
    HostPattern::parse(text).or_else(|error| wrong(&error.to_string(), None))
}

/// A host, and not a pattern.
pub(crate) fn host_name(text: &str) -> Result<(), Message> {
    match host(text)? {
        HostPattern::Exact(_) => Ok(()),
        HostPattern::Suffix(_) => Err(say::host(text, "`*` is for matching only", None)),
    }
}

// RFC 1123 §2.1 plus `_`, which internal names use (RFC 2782).
fn domain(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("it is empty".to_owned());
    }
    if name.len() > 253 {
        return Err("it is longer than 253 letters".to_owned());
    }
    for label in name.split('.') {
        if label.is_empty() {
            return Err("a label between two dots is empty".to_owned());
        }
        if label.len() > 63 {
            return Err("a label is longer than 63 letters".to_owned());
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err("a label begins or ends with `-`".to_owned());
        }
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if let Some(c) = label.chars().find(|c| !good(*c)) {
            return Err(format!("it holds `{}`", c.escape_debug()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listen_addresses_name_a_port_and_an_address_of_this_machine() {
        assert!(listen("0.0.0.0:443").is_ok());
        assert!(listen("[::]:443").is_ok());
        for text in ["443", ":443", "*:443", "localhost:443", "1.2.3.4", "1.2.3.4:70000", "::1", ""]
        {
            assert!(listen(text).is_err(), "{text}");
        }
    }

    #[test]
    fn backends_are_addresses_or_names_with_a_port() {
        assert!(matches!(backend("10.0.0.1:80"), Ok(Address::Socket(_))));
        assert_eq!(backend("[::ffff:10.0.0.1]:80").ok(), backend("10.0.0.1:80").ok());
        assert!(
            matches!(backend("App.internal.:80"), Ok(Address::Name { host, port: 80 }) if &*host == "app.internal")
        );
        for text in [
            "10.0.0.256:80",
            "10.0.0.1",
            "http://a:80",
            "a b:80",
            "a..b:80",
            ":80",
            "a:0",
            "0.0.0.0:80",
            "[::]:80",
            "[::ffff:0.0.0.0]:80",
            "224.0.0.1:80",
            "239.255.255.255:80",
            "255.255.255.255:80",
            "[ff02::1]:80",
            "[::ffff:224.0.0.1]:80",
            "[::ffff:255.255.255.255]:80",
        ] {
            assert!(backend(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_block_has_no_bits_behind_its_prefix() {
        assert_eq!(cidr("10.0.0.0/8").unwrap().to_string(), "10.0.0.0/8");
        assert_eq!(cidr("10.0.0.1").unwrap().to_string(), "10.0.0.1/32");
        for text in ["10.0.0.1/8", "10.0.0.0/33", "10.0.0/8", "example.org", "/8"] {
            assert!(cidr(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ipv4_within_ipv6_is_ipv4() {
        for (text, block) in [
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:10.0.0.1", "10.0.0.1/32"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::/0", "::/0"),
            ("2001:db8::/32", "2001:db8::/32"),
        ] {
            assert_eq!(cidr(text).unwrap().to_string(), block);
        }
    }

    #[test]
    fn hosts_are_exact_or_everything_below_a_domain() {
        assert!(
            matches!(host("WWW.Example.org."), Ok(HostPattern::Exact(h)) if &*h == "www.example.org")
        );
        assert!(
            matches!(host("*.example.org"), Ok(HostPattern::Suffix(h)) if &*h == ".example.org")
        );
        assert!(matches!(host("[::1]"), Ok(HostPattern::Exact(_))));
        for text in ["*", "a.*.org", "a:80", "https://a", "a/b", "-a.org", "bücher.example", ""] {
            assert!(host(text).is_err(), "{text}");
        }
    }
}
