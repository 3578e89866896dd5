//! Which field a name stands for. Names are compared sixteen bytes at once in lower case, found
//! by a hash that is free of collisions by construction (the multiplier is searched when this
//! file is compiled), so that a name costs the same whether it is known or not.
use crate::http1::scan;

/// The fields that somebody in the door looks at, and those that are so frequent that knowing
/// them spares the check of their name byte by byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "all other variants are the names in `NAMES`")]
pub enum Known {
    /// None of these.
    Other,
    // The order makes `is_plain` and `is_hop` comparisons: first those that say something about
    // the message itself, of which the last concern the connection only, then others of these.
    Via,
    ContentLength,
    Expect,
    Host,
    Connection,
    KeepAlive,
    Te,
    TransferEncoding,
    Upgrade,
    Http2Settings,
    Proxy,
    ProxyAuthenticate,
    ProxyAuthorization,
    ProxyConnection,
    // All others.
    Accept,
    AcceptEncoding,
    AcceptLanguage,
    AcceptRanges,
    Age,
    Allow,
    Authorization,
    CacheControl,
    ContentDisposition,
    ContentEncoding,
    ContentLanguage,
    ContentLocation,
    ContentRange,
    ContentType,
    Cookie,
    Date,
    Etag,
    Expires,
    Forwarded,
    From,
    IdempotencyKey,
    IfMatch,
    IfModifiedSince,
    IfNoneMatch,
    IfRange,
    IfUnmodifiedSince,
    LastModified,
    Location,
    MaxForwards,
    Origin,
    Pragma,
    Range,
    Referer,
    RetryAfter,
    SecFetchDest,
    SecFetchMode,
    SecFetchSite,
    SecWebsocketAccept,
    SecWebsocketKey,
    SecWebsocketProtocol,
    SecWebsocketVersion,
    Server,
    SetCookie,
    Traceparent,
    Tracestate,
    Trailer,
    UserAgent,
    Vary,
    WwwAuthenticate,
    XForwardedFor,
    XForwardedHost,
    XForwardedPort,
    XForwardedProto,
    /// `X-Forwarded` and any other `X-Forwarded-*`, which backends may believe as they do those above.
    XForwardedOther,
    XRealIp,
    XRequestId,
}

impl Known {
    /// The field of this name, in any case.
    pub fn of(name: &[u8]) -> Known {
        let block = match name.first_chunk::<16>() {
            Some(block) => u128::from_le_bytes(*block),
            None => name.iter().rev().fold(0, |block, byte| block << 8 | u128::from(*byte)),
        };
        let entry = entry(block);
        let tail = name.get(16..).unwrap_or_default();
        let is_equal = block | entry.case == entry.word && tail.eq_ignore_ascii_case(entry.tail);
        if is_equal { entry.known } else { Known::Other }
    }

    /// The length of the name and the field, if the line begins with a known name of less than
    /// 16 bytes, as most do, and is not near its end.
    #[inline]
    pub(super) fn at_a_glance(line: &[u8]) -> Option<(usize, Known)> {
        let block = u128::from_le_bytes(*line.first_chunk::<16>()?);
        #[expect(clippy::cast_possible_truncation, reason = "the two halves, on purpose")]
        let (low, high) = (block as u64, (block >> 64) as u64);
        let mut len = scan::before_colon(low);
        if len == 8 {
            len += scan::before_colon(high);
        }
        let block = block & MASKS[len & 31];
        let entry = entry(block);
        // The length too: a name that ends with NUL is equal to the padded word. A word of 16
        // bytes is the beginning of a longer name and has no length that `len` could be.
        let is_equal = block | entry.case == entry.word && len == usize::from(entry.len);
        is_equal.then_some((len, entry.known))
    }

    /// Whether the field concerns one connection only and is never forwarded, be it named by
    /// Connection or not (RFC 9110 §7.6.1; the proxy fields are for us: §11.7). `Proxy` is no
    /// field of HTTP, but CGI turns it into `HTTP_PROXY` (httpoxy).
    #[inline]
    pub(super) fn is_hop(self) -> bool {
        (Known::Connection..=Known::ProxyConnection).contains(&self)
    }

    /// Whether nobody but a trusted proxy may tell backends this.
    pub(crate) fn is_of_proxies(self) -> bool {
        (Known::XForwardedFor..=Known::XRequestId).contains(&self)
            || matches!(self, Known::Forwarded | Known::Traceparent | Known::Tracestate)
    }

    /// Whether the field says nothing about how its message or the connection is to be handled.
    #[inline]
    pub(super) fn is_plain(self) -> bool {
        !(Known::Via..=Known::Upgrade).contains(&self)
    }
}

/// Whether an unknown name is `x-forwarded` or begins with `x-forwarded-`, in any case. Most end here at the first byte.
#[inline]
pub(super) fn is_x_forwarded(name: &[u8]) -> bool {
    matches!(name, [b'x' | b'X', ..])
        && name.len() >= 11
        && name[..11].eq_ignore_ascii_case(b"x-forwarded")
        && matches!(name.get(11), None | Some(b'-'))
}

/// The only entry that a name which begins with `block` can be.
#[inline]
fn entry(block: u128) -> &'static Entry {
    &ENTRIES[SLOTS[slot(block, MULTIPLIER)] as usize]
}

/// The first `n` bytes of a block, for n from 0 to 16.
static MASKS: [u128; 32] = {
    let mut masks = [u128::MAX; 32];
    let mut len = 0;
    while len < 16 {
        masks[len] = (1 << (8 * len)) - 1;
        len += 1;
    }
    masks
};

#[derive(Clone, Copy)]
struct Entry {
    /// The first 16 bytes in lower case, padded with zeros.
    word: u128,
    /// The bits of `word` that are clear in upper case.
    case: u128,
    /// What follows them.
    tail: &'static [u8],
    /// The bytes of a name that is all in `word`, or 255.
    len: u8,
    known: Known,
}

/// Entry 0 stands for all that is unknown, and is equal to no name.
static ENTRIES: [Entry; NAMES.len() + 1] = {
    let unknown = Entry { word: u128::MAX, case: 0, tail: b"", len: 255, known: Known::Other };
    let mut entries = [unknown; NAMES.len() + 1];
    let mut at = 0;
    while at < NAMES.len() {
        let (name, known) = NAMES[at];
        let word = word(name);
        let tail = if name.len() > 16 { name.split_at(16).1 } else { "" };
        #[expect(clippy::cast_possible_truncation, reason = "less than 16")]
        let len = if name.len() < 16 { name.len() as u8 } else { 255 };
        entries[at + 1] = Entry { word, case: case(word), tail: tail.as_bytes(), len, known };
        at += 1;
    }
    entries
};

const SLOT_BITS: u32 = 10;
/// From the hash of a word to its entry.
static SLOTS: [u8; 1 << SLOT_BITS] = match fill(MULTIPLIER) {
    Some(slots) => slots,
    None => panic!("the search stopped at a multiplier that fits"),
};

const MULTIPLIER: u64 = {
    // Any odd number will do to begin with; this one is 2^64 divided by the golden ratio.
    let mut multiplier: u64 = 0x9e37_79b9_7f4a_7c15;
    while fill(multiplier).is_none() {
        multiplier = multiplier.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(2) | 1;
    }
    multiplier
};

/// The slots under this multiplier, or `None` if two names would share one.
#[expect(clippy::cast_possible_truncation, reason = "there are fewer than 255 names")]
const fn fill(multiplier: u64) -> Option<[u8; 1 << SLOT_BITS]> {
    let mut slots = [0; 1 << SLOT_BITS];
    let mut at = 0;
    while at < NAMES.len() {
        let slot = slot(word(NAMES[at].0), multiplier);
        if slots[slot] != 0 {
            return None;
        }
        at += 1;
        slots[slot] = at as u8;
    }
    Some(slots)
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the two halves, on purpose")]
const fn slot(word: u128, multiplier: u64) -> usize {
    let (low, high) = (word as u64, (word >> 64) as u64);
    let both = (low ^ high.rotate_left(24)) & !CASE as u64;
    both.wrapping_mul(multiplier) as usize >> (64 - SLOT_BITS)
}

/// The bit by which letters in lower case differ from those in upper case. Without it, a hash does
/// not depend on the case.
const CASE: u128 = u128::from_le_bytes([0x20; 16]);

/// The case bits of the letters: in our names, of all but `-` and the digits, which are below 0x40.
const fn case(word: u128) -> u128 {
    (word >> 1) & CASE
}

const fn word(name: &str) -> u128 {
    let name = name.as_bytes();
    let mut word = 0;
    let mut at = 0;
    while at < name.len() && at < 16 {
        word |= (name[at] as u128) << (8 * at);
        at += 1;
    }
    word
}

/// In lower case. Two names must differ in their first 16 bytes.
const NAMES: [(&str, Known); 69] = [
    ("accept", Known::Accept),
    ("accept-encoding", Known::AcceptEncoding),
    ("accept-language", Known::AcceptLanguage),
    ("accept-ranges", Known::AcceptRanges),
    ("age", Known::Age),
    ("allow", Known::Allow),
    ("authorization", Known::Authorization),
    ("cache-control", Known::CacheControl),
    ("connection", Known::Connection),
    ("content-disposition", Known::ContentDisposition),
    ("content-encoding", Known::ContentEncoding),
    ("content-language", Known::ContentLanguage),
    ("content-length", Known::ContentLength),
    ("content-location", Known::ContentLocation),
    ("content-range", Known::ContentRange),
    ("content-type", Known::ContentType),
    ("cookie", Known::Cookie),
    ("date", Known::Date),
    ("etag", Known::Etag),
    ("expect", Known::Expect),
    ("expires", Known::Expires),
    ("forwarded", Known::Forwarded),
    ("from", Known::From),
    ("host", Known::Host),
    ("http2-settings", Known::Http2Settings),
    ("idempotency-key", Known::IdempotencyKey),
    ("if-match", Known::IfMatch),
    ("if-modified-since", Known::IfModifiedSince),
    ("if-none-match", Known::IfNoneMatch),
    ("if-range", Known::IfRange),
    ("if-unmodified-since", Known::IfUnmodifiedSince),
    ("keep-alive", Known::KeepAlive),
    ("last-modified", Known::LastModified),
    ("location", Known::Location),
    ("max-forwards", Known::MaxForwards),
    ("origin", Known::Origin),
    ("pragma", Known::Pragma),
    ("proxy", Known::Proxy),
    ("proxy-authenticate", Known::ProxyAuthenticate),
    ("proxy-authorization", Known::ProxyAuthorization),
    ("proxy-connection", Known::ProxyConnection),
    ("range", Known::Range),
    ("referer", Known::Referer),
    ("retry-after", Known::RetryAfter),
    ("sec-fetch-dest", Known::SecFetchDest),
    ("sec-fetch-mode", Known::SecFetchMode),
    ("sec-fetch-site", Known::SecFetchSite),
    ("sec-websocket-accept", Known::SecWebsocketAccept),
    ("sec-websocket-key", Known::SecWebsocketKey),
    ("sec-websocket-protocol", Known::SecWebsocketProtocol),
    ("sec-websocket-version", Known::SecWebsocketVersion),
    ("server", Known::Server),
    ("set-cookie", Known::SetCookie),
    ("te", Known::Te),
    ("traceparent", Known::Traceparent),
    ("tracestate", Known::Tracestate),
    ("trailer", Known::Trailer),
    ("transfer-encoding", Known::TransferEncoding),
    ("upgrade", Known::Upgrade),
    ("user-agent", Known::UserAgent),
    ("vary", Known::Vary),
    ("via", Known::Via),
    ("www-authenticate", Known::WwwAuthenticate),
    ("x-forwarded-for", Known::XForwardedFor),
    ("x-forwarded-host", Known::XForwardedHost),
    ("x-forwarded-port", Known::XForwardedPort),
    ("x-forwarded-proto", Known::XForwardedProto),
    ("x-real-ip", Known::XRealIp),
    ("x-request-id", Known::XRequestId),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_name_is_found_in_any_case() {
        for (name, known) in NAMES {
            assert_eq!(Known::of(name.as_bytes()), known);
            assert_eq!(Known::of(name.to_uppercase().as_bytes()), known);
        }
    }

    #[test]
    fn a_name_that_is_one_byte_off_is_another_field() {
        for (name, known) in NAMES {
            for at in 0..name.len() {
                let mut other = name.as_bytes().to_vec();
                other[at] = if other[at] == b'-' { b'_' } else { b'-' };
                assert_eq!(Known::of(&other), Known::Other, "{name} at {at}");
                assert_ne!(Known::of(&name.as_bytes()[..at]), known, "{name} cut at {at}");
            }
            assert_eq!(Known::of(format!("{name}x").as_bytes()), Known::Other);
        }
        assert_eq!(Known::of(b""), Known::Other);
    }

    #[test]
    fn a_short_name_is_found_whatever_follows_it() {
        assert_eq!(Known::at_a_glance(b"HOST: a\r\nFoo: 1\r"), Some((4, Known::Host)));
        assert_eq!(Known::at_a_glance(b"Accept-Language:"), Some((15, Known::AcceptLanguage)));
        assert_eq!(Known::at_a_glance(b"Proxy-Connection:"), None);
        assert_eq!(Known::at_a_glance(b"Hos: a\r\nFoo: 1\r\n"), None);
        assert_eq!(Known::at_a_glance(b": a\r\nHost: 1\r\n\r\n"), None);
        assert_eq!(Known::at_a_glance(b"Content\rLength: 1"), None);
    }

    #[test]
    fn a_name_with_nul_at_its_end_is_unknown() {
        for (name, _) in NAMES {
            for nuls in 1..16 {
                let line = format!("{name}{}: 1\r\nHost: a\r\n", "\0".repeat(nuls));
                assert_eq!(Known::at_a_glance(line.as_bytes()), None, "{line:?}");
            }
        }
    }
}
