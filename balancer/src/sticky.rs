//! Sessions that stay with their backend: a signed cookie names it.
//!
//! `name.expiry.mac`: pool and id of the backend in hexadecimal (so that no name can break the
//! cookie's syntax), Unix seconds in decimal, and the first 16 bytes of HMAC-SHA-256 over both. A
//! cookie that is forged, expired, or names a backend that is draining, full or gone counts for
//! nothing: the rule of the pool decides and the client gets a new one.

use hmac::{Hmac, KeyInit, Mac};
use policies::backend::BackendKey;
use policies::route::cookies;
use sha2::Sha256;

use crate::config::Sticky;
use crate::exchange::Exchange;
use crate::http1::Known;

const MAC_BYTES: usize = 16;

/// The value of the first cookie of that name.
pub(crate) fn cookie<'a>(exchange: &'a Exchange, name: &str) -> Option<&'a [u8]> {
    let lines = exchange.head.fields.iter().filter(|line| line.known == Known::Cookie);
    lines
        .flat_map(|line| cookies(exchange.text(line.value)))
        .find(|(found, _)| *found == name.as_bytes())
        .map(|(_, value)| value)
}

/// What a valid cookie of this request names; [`is_named`] tells whom it means.
pub(crate) fn named_backend(exchange: &Exchange, sticky: &Sticky, now: u64) -> Option<Vec<u8>> {
    let value = std::str::from_utf8(cookie(exchange, &sticky.cookie)?).ok()?;
    let (signed, mac) = value.rsplit_once('.')?;
    let (name, expiry) = signed.split_once('.')?;
    if expiry.parse::<u64>().ok()? <= now {
        return None;
    }
    let mac = from_hex(mac)?;
    // Compared in constant time.
    (mac.len() == MAC_BYTES).then_some(())?;
    signer(sticky, signed).verify_truncated_left(&mac).ok()?;
    from_hex(name)
}

/// Whether `name` is that of this backend. An id alone is unique in its pool only.
pub(crate) fn is_named(key: &BackendKey, name: &[u8]) -> bool {
    let id = name.strip_prefix(key.pool.0.as_bytes()).and_then(|rest| rest.strip_prefix(b"/"));
    id == Some(key.backend.0.as_bytes())
}

/// The value of `Set-Cookie` that binds a client to this backend.
pub(crate) fn set_cookie(sticky: &Sticky, key: &BackendKey, now: u64) -> String {
    let expiry = now.saturating_add(sticky.ttl.as_secs());
    let name = format!("{}/{}", key.pool, key.backend);
    let signed = format!("{}.{expiry}", to_hex(name.as_bytes()));
    let mac = signer(sticky, &signed).finalize().into_bytes();
    format!(
        "{}={signed}.{}; Path=/; Max-Age={}; HttpOnly; SameSite=Lax",
        sticky.cookie,
        to_hex(&mac[..MAC_BYTES]),
        sticky.ttl.as_secs()
    )
}

fn signer(sticky: &Sticky, signed: &str) -> Hmac<Sha256> {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(&sticky.key).expect("HMAC takes keys of any length");
    mac.update(signed.as_bytes());
    mac
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    digits.chunks(2).map(pair).collect()
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}
