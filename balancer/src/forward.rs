//! The head that a backend gets: the client's, without what concerned only the hop to us, with
//! what the backend must know of it.

use std::borrow::Cow;
use std::net::IpAddr;

use policies::route::normal::{self, Normal, PathRules};

use crate::admission::{is_in, max_forwards};
use crate::answer::{copy_lines, push_decimal, push_field};
use crate::config::{ForwardedStyle, ListenerConfig, Rewrite, RouteConfig};
use crate::exchange::Exchange;
use crate::forwarded;
use crate::http1::{Framing, Known, Method, Version};

/// Fixed for a generation: what every forwarded head needs besides the request.
pub(crate) struct Forwarding<'a> {
    pub(crate) listener: &'a ListenerConfig,
    pub(crate) route: &'a RouteConfig,
    /// Our line of `Via`, whole.
    pub(crate) via: &'a [u8],
    /// The peer of the connection, who is the last entry of `X-Forwarded-For`.
    pub(crate) peer: IpAddr,
    /// `Host` where the request has none (HTTP/1.0).
    pub(crate) authority: &'a str,
}

impl Forwarding<'_> {
    /// Writes the head into `exchange.up`.
    pub(crate) fn write(&self, exchange: &mut Exchange) {
        let mut out = std::mem::take(&mut exchange.up);
        out.clear();
        self.write_request_line(exchange, &mut out);
        self.write_host(exchange, &mut out);
        self.write_passed_fields(exchange, &mut out);
        self.write_forwarding_fields(exchange, &mut out);
        if !self.is_edited(b"via") {
            out.extend_from_slice(self.via);
        }
        self.write_ids(exchange, &mut out);
        if exchange.head.method == Method::Options {
            write_max_forwards(exchange, &mut out);
        }
        self.write_connection(exchange, &mut out);
        self.route.request_headers.write(&mut out);
        out.extend_from_slice(b"\r\n");
        exchange.up = out;
    }

    fn write_request_line(&self, exchange: &Exchange, out: &mut Vec<u8>) {
        out.extend_from_slice(exchange.text(exchange.head.method_span));
        out.push(b' ');
        match &self.route.rewrite {
            None => out.extend_from_slice(exchange.path()),
            Some(rewrite) => rewrite.write(exchange.path(), self.listener.path_rules, out),
        }
        if let Some(query) = exchange.head.query {
            out.push(b'?');
            out.extend_from_slice(exchange.text(query));
        }
        out.extend_from_slice(b" HTTP/1.1\r\n");
    }

    /// The host that routing saw, with the port that the client sent.
    fn write_host(&self, exchange: &Exchange, out: &mut Vec<u8>) {
        if self.route.request_headers.replaces(b"host") {
            return;
        }
        let Some(raw) = exchange.raw_host() else {
            return push_field(out, b"host", self.authority.as_bytes());
        };
        if !exchange.host_changed {
            return push_field(out, b"host", raw);
        }
        out.extend_from_slice(b"host: ");
        out.extend_from_slice(exchange.host());
        out.extend_from_slice(port_of(raw));
        out.extend_from_slice(b"\r\n");
    }

    fn write_passed_fields(&self, exchange: &Exchange, out: &mut Vec<u8>) {
        let edits = &self.route.request_headers;
        let edited = !edits.is_empty();
        copy_lines(&exchange.bytes, &exchange.head.fields, out, |line| {
            line.hop
                || self.is_ours(line.known, exchange)
                || (edited && edits.replaces(exchange.text(line.name)))
        });
    }

    /// Fields that we write ourselves, that nobody but a trusted proxy may write, or that say nothing
    /// in this request.
    fn is_ours(&self, known: Known, exchange: &Exchange) -> bool {
        let is_trusted = exchange.is_trusted;
        match known {
            Known::Host | Known::XRequestId => true,
            Known::MaxForwards => exchange.head.method == Method::Options,
            // Both, also where one is written: the other would go on without the peer, and could
            // name somebody else.
            Known::XForwardedFor => !is_trusted || self.listener.forwarded != ForwardedStyle::Off,
            Known::XForwardedProto | Known::XForwardedHost => {
                !is_trusted || self.writes_x_forwarded()
            }
            Known::Forwarded => !is_trusted || self.listener.forwarded != ForwardedStyle::Off,
            Known::XForwardedPort | Known::XForwardedOther | Known::XRealIp => !is_trusted,
            Known::Traceparent | Known::Tracestate => exchange.trace().is_none(),
            // RFC 9110 §10.1.1: HTTP/1.0 knows none, and nobody waits for the answer to it.
            Known::Expect => exchange.head.version == Version::Http10,
            _ => false,
        }
    }

    /// A field of ours, unless the route has its own mind about it.
    fn write_own(&self, name: &[u8], value: &[u8], out: &mut Vec<u8>) {
        if !self.is_edited(name) {
            push_field(out, name, value);
        }
    }

    fn is_edited(&self, name: &[u8]) -> bool {
        self.route.request_headers.replaces(name)
    }

    fn writes_x_forwarded(&self) -> bool {
        matches!(self.listener.forwarded, ForwardedStyle::XForwarded | ForwardedStyle::Both)
    }

    fn writes_forwarded(&self) -> bool {
        matches!(self.listener.forwarded, ForwardedStyle::Forwarded | ForwardedStyle::Both)
    }

    fn write_forwarding_fields(&self, exchange: &Exchange, out: &mut Vec<u8>) {
        let is_trusted = exchange.is_trusted;
        let earlier = |known| if is_trusted { exchange.field(known) } else { None };
        if self.writes_x_forwarded() {
            if !self.is_edited(b"x-forwarded-for") {
                out.extend_from_slice(b"x-forwarded-for: ");
                if is_trusted && !write_list(exchange, Known::XForwardedFor, out) {
                    self.write_named(exchange, out);
                }
                write_ip(self.peer, out);
                out.extend_from_slice(b"\r\n");
            }
            let proto = match earlier(Known::XForwardedProto) {
                Some(proto) => proto,
                None if is_trusted => self.named_proto(exchange).as_bytes(),
                None => b"http",
            };
            self.write_own(b"x-forwarded-proto", proto, out);
            if let Some(host) = earlier(Known::XForwardedHost).or(exchange.raw_host()) {
                self.write_own(b"x-forwarded-host", host, out);
            }
        }
        if self.writes_forwarded() && !self.is_edited(b"forwarded") {
            self.write_forwarded(exchange, out);
        }
    }

    /// RFC 7239 §4; a host with a port stands in quotes (§6).
    fn write_forwarded(&self, exchange: &Exchange, out: &mut Vec<u8>) {
        out.extend_from_slice(b"forwarded: ");
        // What the door goes by, and nothing that others could read differently.
        let goes_by_it = || {
            exchange.field(Known::XForwardedFor).is_none()
                && forwarded::is_readable(exchange.values(Known::Forwarded))
        };
        if exchange.is_trusted && !(goes_by_it() && write_list(exchange, Known::Forwarded, out)) {
            self.write_older(exchange, out);
        }
        write_for(self.peer, out);
        out.extend_from_slice(b";proto=http");
        if let Some(host) = exchange.raw_host() {
            out.extend_from_slice(b";host=\"");
            out.extend_from_slice(host);
            out.push(b'"');
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Whom a proxy has named by `Forwarded` alone, for those behind us that read the older field.
    #[cold]
    fn write_named(&self, exchange: &Exchange, out: &mut Vec<u8>) {
        if exchange.client != self.peer {
            write_ip(exchange.client, out);
            out.extend_from_slice(b", ");
        }
    }

    /// Whom a proxy has named by `X-Forwarded-For`, for those that read `Forwarded`.
    #[cold]
    fn write_older(&self, exchange: &Exchange, out: &mut Vec<u8>) {
        if exchange.client == self.peer {
            return;
        }
        write_for(exchange.client, out);
        // The two that are tokens here, and nothing else that came.
        let is_https = exchange
            .field(Known::XForwardedProto)
            .is_some_and(|proto| proto.eq_ignore_ascii_case(b"https"));
        out.extend_from_slice(if is_https { &b";proto=https, "[..] } else { b";proto=http, " });
    }

    /// What that client speaks with the proxy. Without a word about it: `http`, as we do.
    #[cold]
    fn named_proto(&self, exchange: &Exchange) -> &'static str {
        let trusts = |ip: &IpAddr| is_in(*ip, &self.listener.trusted_proxies);
        let is_older_there = exchange.field(Known::XForwardedFor).is_some();
        let lines = exchange.values(Known::Forwarded).filter(|_| !is_older_there);
        forwarded::named(lines, trusts).and_then(|named| named.proto).unwrap_or("http")
    }

    /// A request id always; a trace where none can be continued (W3C Trace Context §3.2).
    fn write_ids(&self, exchange: &Exchange, out: &mut Vec<u8>) {
        self.write_own(b"x-request-id", exchange.id(), out);
        if self.is_edited(b"traceparent") {
            return;
        }
        if exchange.trace().is_some() {
            return;
        }
        out.extend_from_slice(b"traceparent: 00-");
        out.extend_from_slice(&exchange.request_id);
        out.push(b'-');
        // The parent id of a fresh trace: any nonzero 8 bytes; the ids are random already.
        out.extend_from_slice(&exchange.request_id[16..]);
        out.extend_from_slice(b"-00\r\n");
    }

    fn write_connection(&self, exchange: &Exchange, out: &mut Vec<u8>) {
        if exchange.head.framing == Framing::Chunked {
            out.extend_from_slice(b"transfer-encoding: chunked\r\n");
        }
        let te = exchange.head.te_trailers;
        if te {
            out.extend_from_slice(b"te: trailers\r\n");
        }
        if let Some(protocol) = exchange.head.upgrade {
            let options = if te { "upgrade, te" } else { "upgrade" };
            push_field(out, b"connection", options.as_bytes());
            push_field(out, b"upgrade", exchange.text(protocol));
        } else if te {
            out.extend_from_slice(b"connection: te\r\n");
        }
    }
}

impl Rewrite {
    fn write(&self, path: &[u8], rules: PathRules, out: &mut Vec<u8>) {
        match self {
            Rewrite::Path(to) => out.extend_from_slice(to.as_bytes()),
            Rewrite::Prefix { from, to } => {
                let from = from.strip_suffix('/').unwrap_or(from);
                let Some(rest) = path.strip_prefix(from.as_bytes()) else {
                    return out.extend_from_slice(path);
                };
                let to = to.strip_suffix('/').unwrap_or(to);
                out.extend_from_slice(to.as_bytes());
                // `/a` with `/b` for `/a` is `/b`; the root is never empty.
                if to.is_empty() && rest.is_empty() {
                    out.push(b'/');
                }
                out.extend_from_slice(rest);
            }
            Rewrite::Regex { pattern, replacement } => {
                match pattern.replace_all(path, replacement.as_bytes()) {
                    Cow::Borrowed(same) => out.extend_from_slice(same),
                    Cow::Owned(changed) => write_path(&changed, path, rules, out),
                }
            }
        }
    }
}

/// What an expression has made of `path`, in normal form: it may have joined what a client wrote to
/// dot segments. Where it has made something that has no normal form, the path goes on as it came.
fn write_path(changed: &[u8], path: &[u8], rules: PathRules, out: &mut Vec<u8>) {
    let (mut escaped, mut normal) = (Vec::with_capacity(changed.len() + 1), Vec::new());
    if !changed.starts_with(b"/") {
        escaped.push(b'/');
    }
    for (at, &byte) in changed.iter().enumerate() {
        let is_code =
            || changed[at + 1..].iter().take(2).filter(|b| b.is_ascii_hexdigit()).count() == 2;
        match byte {
            b'%' if !is_code() => escape(byte, &mut escaped),
            b'#' | b'?' => escape(byte, &mut escaped),
            b'!'..=b'~' => escaped.push(byte),
            _ => escape(byte, &mut escaped),
        }
    }
    out.extend_from_slice(match normal::path(&escaped, rules, &mut normal) {
        Ok(Normal::Same) => &escaped,
        Ok(Normal::Changed) => &normal,
        Err(_) => path,
    });
}

fn escape(byte: u8, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
    out.extend_from_slice(&[b'%', HEX[high], HEX[low]]);
}

/// One hop less (RFC 9110 §7.6.2). What may go no further was answered before.
fn write_max_forwards(exchange: &Exchange, out: &mut Vec<u8>) {
    if let Ok(Some(hops @ 1..)) = max_forwards(exchange) {
        out.extend_from_slice(b"max-forwards: ");
        push_decimal(out, u64::from(hops - 1));
        out.extend_from_slice(b"\r\n");
    }
}

/// All values of a list field but empty ones, each followed by `, `; whether there are any.
fn write_list(exchange: &Exchange, known: Known, out: &mut Vec<u8>) -> bool {
    let before = out.len();
    for value in exchange.values(known).filter(|value| !value.is_empty()) {
        out.extend_from_slice(value);
        out.extend_from_slice(b", ");
    }
    out.len() > before
}

/// An element of `Forwarded` as far as the address (RFC 7239 §6).
fn write_for(ip: IpAddr, out: &mut Vec<u8>) {
    out.extend_from_slice(b"for=");
    if ip.is_ipv6() {
        out.extend_from_slice(b"\"[");
        write_ip(ip, out);
        out.extend_from_slice(b"]\"");
    } else {
        write_ip(ip, out);
    }
}

/// `:8080` of `example.org:8080`, or nothing.
fn port_of(authority: &[u8]) -> &[u8] {
    match memchr::memrchr(b':', authority) {
        Some(at) if !authority[at..].contains(&b']') => &authority[at..],
        _ => b"",
    }
}

/// An address as text, without a formatter for the common case.
pub(crate) fn write_ip(ip: IpAddr, out: &mut Vec<u8>) {
    let IpAddr::V4(v4) = ip.to_canonical() else {
        use std::io::Write;
        // Writing to a vector cannot fail.
        let _ = write!(out, "{ip}");
        return;
    };
    // Longest: `255.255.255.255`, each octet with the dot behind it.
    let (mut text, mut len) = ([0; 16], 0);
    for octet in v4.octets() {
        if octet >= 100 {
            text[len] = b'0' + octet / 100;
            len += 1;
        }
        if octet >= 10 {
            text[len] = b'0' + octet / 10 % 10;
            len += 1;
        }
        text[len] = b'0' + octet % 10;
        text[len + 1] = b'.';
        len += 2;
    }
    out.extend_from_slice(&text[..len - 1]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, replacement: &str, path: &str, expected: &str) {
        let rewrite = Rewrite::Regex {
            pattern: regex::bytes::Regex::new(pattern).unwrap(),
            replacement: replacement.into(),
        };
        let mut out = Vec::new();
        rewrite.write(path.as_bytes(), PathRules::default(), &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), expected, "{path}");
    }

    #[test]
    fn what_an_expression_makes_is_in_normal_form() {
        check("v[0-9]+", "", "/pub/a", "/pub/a");
        check("v[0-9]+", "", "/pub/v1/x", "/pub/x");
        check("v[0-9]+", "", "/pub/.v1/internal", "/pub/internal");
        check("v[0-9]+", "", "/pub/.v1./internal", "/internal");
        check("^/a", "b c?d#e%zz%41", "/a", "/b%20c%3Fd%23e%25zzA");
    }

    #[test]
    fn what_would_have_no_normal_form_is_not_made() {
        check("v[0-9]+", "", "/.v1./x", "/.v1./x");
        check("v", "%2F", "/a/v", "/a/v");
    }
}
