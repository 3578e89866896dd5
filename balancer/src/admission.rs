//! What becomes of a request, before any backend is asked: one step with one of three results.
//!
//! The rules stand in one function, in the order in which they are asked. A later rule (a rate
//! limit, a waiting room) is a further line there, never a second place.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use policies::backend::PoolIndex;
use policies::balance::HashKey;
use policies::rng;
use policies::route::normal::{self, Normal};
use policies::route::{Action, Location, Request, Target, even_dice};

use crate::config::ListenerConfig;
use crate::exchange::{Exchange, FieldsOf};
use crate::forwarded;
use crate::http1::{Framing, Known, Method};
use crate::outcome::Outcome;
use crate::reason::Reason;
use crate::refuse::is_refused;
use crate::view::View;

/// The result.
pub(crate) enum Admission<'v> {
    /// To one of these pools, in order.
    Forward {
        /// Place of the route.
        route: usize,
        /// Where to.
        pools: &'v [PoolIndex],
    },
    /// A redirect.
    Redirect {
        /// 301 to 308.
        status: u16,
        /// `Location`.
        location: Vec<u8>,
    },
    /// The answer to an OPTIONS that may go no further.
    Options,
    /// A fixed answer of a route.
    Respond {
        /// Place of the route.
        route: usize,
    },
    /// Not at all.
    Refuse(Outcome),
}

/// Applies the rules. Fills in the normal forms and the client.
pub(crate) fn admit<'v>(
    view: &'v View,
    exchange: &mut Exchange,
    listener: &ListenerConfig,
    peer: IpAddr,
) -> Admission<'v> {
    let config = &view.snapshot.config;
    if is_refused(exchange.head.method) {
        return Admission::Refuse(Outcome::MethodRefused);
    }
    if let Err(reason) = normalise(exchange, listener) {
        return refuse(exchange, reason);
    }
    if exchange.head.has_via && is_loop(exchange, &config.site) {
        return Admission::Refuse(Outcome::Loop);
    }
    find_client(exchange, listener, peer);
    if !is_allowed(exchange.client, &listener.allow, &listener.deny) {
        return Admission::Refuse(Outcome::Forbidden);
    }
    if exchange.head.method == Method::Options {
        match max_forwards(exchange) {
            Err(reason) => return refuse(exchange, reason),
            Ok(Some(0)) => return Admission::Options,
            Ok(_) => {}
        }
    }
    if let Some(port) = listener.redirect_to_https {
        return redirect(exchange, &Location::Https { port }, 308);
    }
    let Some(route) = find_route(view, exchange, listener) else {
        return Admission::Refuse(Outcome::NoRoute);
    };
    exchange.record.route = u16::try_from(route).ok();
    let settings = &config.routes[route];
    if !is_allowed(exchange.client, &settings.allow, &settings.deny) {
        return Admission::Refuse(Outcome::Forbidden);
    }
    if settings.in_maintenance {
        return Admission::Refuse(Outcome::Maintenance);
    }
    let max_body = settings.max_body.or(listener.max_body).unwrap_or(u64::MAX);
    if matches!(exchange.head.framing, Framing::Length(length) if length > max_body) {
        return Admission::Refuse(Outcome::BodyTooLarge);
    }
    match &settings.route.action {
        Action::Forward(target) => {
            let Target::Split { sticky, .. } = target else {
                return Admission::Forward { route, pools: target.choose(0, None) };
            };
            let key = sticky.as_ref().map(|by| hash_key(exchange, by));
            let dice = even_dice(view.next_turn(route));
            Admission::Forward { route, pools: target.choose(dice, key) }
        }
        Action::Redirect { location, status } => redirect(exchange, location, *status),
        Action::Respond { .. } => Admission::Respond { route },
    }
}

#[cold]
fn refuse<'v>(exchange: &mut Exchange, reason: Reason) -> Admission<'v> {
    exchange.record.reason = Some(reason);
    Admission::Refuse(Outcome::BadRequest)
}

/// Doors of one site that may stand behind each other.
const MOST_PASSES: usize = 3;

/// Whether the request has passed doors of this site so often that it goes in a circle: a backend is
/// our own address by another name (RFC 9110 §7.6.3).
#[cold]
fn is_loop(exchange: &Exchange, site: &str) -> bool {
    let elements = exchange.values(Known::Via).flat_map(|line| line.split(|&byte| byte == b','));
    let is_ours = |element: &&[u8]| {
        let mut words =
            element.split(|byte| matches!(byte, b' ' | b'\t')).filter(|w| !w.is_empty());
        words.nth(1).is_some_and(|by| by.eq_ignore_ascii_case(site.as_bytes()))
    };
    elements.filter(is_ours).take(MOST_PASSES).count() == MOST_PASSES
}

fn find_route(view: &View, exchange: &Exchange, listener: &ListenerConfig) -> Option<usize> {
    view.snapshot.routes.find(&asked(exchange, &listener.name, &FieldsOf(exchange)))
}

/// What routes see of a request.
#[inline]
pub(crate) fn asked<'a>(
    exchange: &'a Exchange,
    listener: &'a str,
    fields: &'a FieldsOf<'a>,
) -> Request<'a, FieldsOf<'a>> {
    Request {
        listener,
        method: exchange.text(exchange.head.method_span),
        host: exchange.host(),
        path: exchange.path(),
        query: exchange.head.query.map(|span| exchange.text(span)),
        client: exchange.client,
        fields,
    }
}

/// How many more hops an OPTIONS may go, if it says (RFC 9110 §7.6.2): a recipient must look at
/// it for that method and TRACE alone, and TRACE goes nowhere. More than 255 is 255.
pub(crate) fn max_forwards(exchange: &Exchange) -> Result<Option<u8>, Reason> {
    let mut lines = exchange.head.fields.iter().filter(|line| line.known == Known::MaxForwards);
    let Some(line) = lines.next() else { return Ok(None) };
    let digits = exchange.text(line.value);
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    if !is_number || lines.next().is_some() {
        return Err(Reason::MaxForwards);
    }
    let add = |sum: u8, digit: &u8| sum.saturating_mul(10).saturating_add(digit - b'0');
    Ok(Some(digits.iter().fold(0, add)))
}

/// Brings path and host into their normal forms, or says why either has none.
fn normalise(exchange: &mut Exchange, listener: &ListenerConfig) -> Result<(), Reason> {
    let mut path = std::mem::take(&mut exchange.path);
    path.clear();
    let raw = match exchange.text(exchange.head.path) {
        // RFC 9112 §3.2.1, §3.2.4: `http://host` asks for `/`, or as OPTIONS for `*`.
        b"" if exchange.head.method == Method::Options => b"*",
        b"" => b"/".as_slice(),
        raw => raw,
    };
    let is_filled_in = exchange.head.path.is_empty();
    let form = normal::path(raw, listener.path_rules, &mut path).map_err(Reason::Path)?;
    if is_filled_in && form == Normal::Same {
        path.extend_from_slice(raw);
    }
    exchange.path_changed = form == Normal::Changed || is_filled_in;
    exchange.path = path;

    normalise_host(exchange)
}

/// Most requests ask for the host that an earlier one has asked for: its form is still here.
fn normalise_host(exchange: &mut Exchange) -> Result<(), Reason> {
    let mut known = std::mem::take(&mut exchange.known_host);
    let Some(raw) = exchange.raw_host() else {
        exchange.known_host = known;
        exchange.host_changed = false;
        return Ok(());
    };
    if known.raw != raw {
        known.raw.clear();
        known.normal.clear();
        let form = normal::host(raw, &mut known.normal).map_err(Reason::Host)?;
        known.is_changed = form == Normal::Changed;
        known.raw.extend_from_slice(raw);
    }
    exchange.host_changed = known.is_changed;
    exchange.known_host = known;
    Ok(())
}

/// The peer, or who a chain of trusted proxies says it speaks for: the last entry of
/// `X-Forwarded-For` that is not one of them, or where that field is not there, of `Forwarded`.
fn find_client(exchange: &mut Exchange, listener: &ListenerConfig, peer: IpAddr) {
    (exchange.client, exchange.is_trusted) = (peer, false);
    if listener.trusted_proxies.is_empty() {
        return;
    }
    let trusts = |ip: &IpAddr| is_in(*ip, &listener.trusted_proxies);
    if !trusts(&peer) {
        return;
    }
    exchange.is_trusted = true;
    let mut client = peer;
    if exchange.field(Known::XForwardedFor).is_none() {
        let named = forwarded::named(exchange.values(Known::Forwarded), trusts);
        client = named.map_or(peer, |named| named.client);
    }
    let lines = exchange.head.fields.iter().rev();
    'lines: for line in lines.filter(|line| line.known == Known::XForwardedFor) {
        for entry in exchange.text(line.value).rsplit(|&byte| byte == b',') {
            let Some(ip) = node(entry) else { break 'lines };
            client = ip.to_canonical();
            if !trusts(&client) {
                break 'lines;
            }
        }
    }
    exchange.client = client;
}

/// The address of an entry: alone, in brackets, or with a port, as some proxies write it.
fn node(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry.trim_ascii()).ok()?;
    let inner = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || text.parse().ok().map(|address: SocketAddr| address.ip());
    text.parse().ok().or_else(inner).or_else(with_port)
}

pub(crate) fn is_in(ip: IpAddr, blocks: &[IpNet]) -> bool {
    blocks.iter().any(|block| block.contains(&ip))
}

fn is_allowed(ip: IpAddr, allow: &[IpNet], deny: &[IpNet]) -> bool {
    !is_in(ip, deny) && (allow.is_empty() || is_in(ip, allow))
}

/// A number that stays the same for what the request is hashed by; the client's address where
/// the request has no such header or cookie.
pub(crate) fn hash_key(exchange: &Exchange, by: &HashKey) -> u64 {
    let mut found = None;
    match by {
        HashKey::ClientAddress => {}
        HashKey::Path => found = Some(rng::hash(exchange.path())),
        HashKey::Header(name) => {
            use policies::route::Fields;
            FieldsOf(exchange).any(name, &mut |value| {
                found = Some(rng::hash(value));
                true
            });
        }
        HashKey::Cookie(name) => {
            found = crate::sticky::cookie(exchange, name).map(rng::hash);
        }
    }
    found.unwrap_or_else(|| match exchange.client {
        IpAddr::V4(ip) => rng::hash(&ip.octets()),
        IpAddr::V6(ip) => rng::hash(&ip.octets()),
    })
}

fn redirect<'v>(exchange: &mut Exchange, location: &Location, status: u16) -> Admission<'v> {
    let needs_host = match location {
        Location::Https { .. } => true,
        Location::To(template) => template.contains("{host}"),
    };
    if needs_host && exchange.host().is_empty() {
        return refuse(exchange, Reason::NoHostToRedirect);
    }
    Admission::Redirect { status, location: locate(exchange, location) }
}

/// The value of `Location`. Host and path are in normal form, so nothing can be smuggled in.
fn locate(exchange: &Exchange, location: &Location) -> Vec<u8> {
    let mut out = Vec::new();
    match location {
        Location::Https { port } => {
            out.extend_from_slice(b"https://");
            out.extend_from_slice(exchange.host());
            if *port != 443 {
                out.extend_from_slice(format!(":{port}").as_bytes());
            }
            if exchange.path() != b"*" {
                out.extend_from_slice(exchange.path());
            }
            write_query(exchange, &mut out);
        }
        Location::To(template) => {
            let mut rest: &str = template;
            while let Some((before, after)) = rest.split_once('{') {
                out.extend_from_slice(before.as_bytes());
                let Some((name, tail)) = after.split_once('}') else { break };
                match name {
                    "host" => out.extend_from_slice(exchange.host()),
                    "path" => out.extend_from_slice(exchange.path()),
                    "query" => write_query(exchange, &mut out),
                    _ => {}
                }
                rest = tail;
            }
            out.extend_from_slice(rest.as_bytes());
        }
    }
    out
}

/// `?query`, if there is one.
fn write_query(exchange: &Exchange, out: &mut Vec<u8>) {
    if let Some(query) = exchange.head.query {
        out.push(b'?');
        out.extend_from_slice(exchange.text(query));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_found_as_proxies_write_it() {
        let v6 = "2001:db8::1".parse().ok();
        for text in ["2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:443", " [2001:db8::1] "] {
            assert_eq!(node(text.as_bytes()), v6, "{text}");
        }
        for text in ["192.0.2.7", "192.0.2.7:5555", "\t192.0.2.7"] {
            assert_eq!(node(text.as_bytes()), "192.0.2.7".parse().ok(), "{text}");
        }
        for text in ["", "unknown", "192.0.2.7:", "[192.0.2.7", "192.0.2.7:x", "2001:db8::1]"] {
            assert_eq!(node(text.as_bytes()), None, "{text}");
        }
    }
}
