//! What the fields say about the message itself: how its body ends, what becomes of the
//! connection (RFC 9110 §7.6.1, RFC 9112 §6 and §9). The same for requests and answers.
use crate::http1::head::{FieldLine, Span};
use crate::http1::malformed::Malformed;
use crate::http1::name::Known;
use crate::http1::scan;

/// Gathered line by line.
pub(super) struct Facts {
    side: Side,
    pub(super) length: Option<u64>,
    pub(super) chunked: bool,
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    /// Seconds, from `Keep-Alive: timeout=`; answers only.
    pub(super) keep_alive_timeout: Option<u32>,
    /// The value of Host; requests only, like the next two.
    pub(super) host: Option<Span>,
    pub(super) expect_continue: bool,
    /// There is an expectation other than `100-continue`.
    pub(super) expects_other: bool,
    pub(super) te_trailers: bool,
    /// Other proxies have passed it on.
    pub(super) has_via: bool,
    /// Connection says `upgrade`.
    upgrade: bool,
    /// The last Upgrade line, and how many there were.
    protocol: Option<Span>,
    protocols: usize,
    /// One of them names HTTP/2 without TLS, in whatever version of its name.
    names_http2: bool,
    /// Content-Length of an answer begins with a zero that says nothing.
    pub(super) is_padded: bool,
    /// Fields that Connection names beside its own options.
    named: usize,
}

/// A client that names more fields than this for removal means no good, and each costs a walk
/// over all lines.
const MOST_NAMED: usize = 32;

/// Whose head it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// A leading zero in Content-Length is refused: some read it as octal.
    Request,
    /// A leading zero is taken, as old servers pad the field to a fixed width, and goes no
    /// further.
    Response,
}

impl Facts {
    pub(super) fn new(side: Side) -> Facts {
        Facts {
            side,
            length: None,
            chunked: false,
            close: false,
            keep_alive: false,
            keep_alive_timeout: None,
            host: None,
            expect_continue: false,
            expects_other: false,
            te_trailers: false,
            has_via: false,
            upgrade: false,
            protocol: None,
            protocols: 0,
            names_http2: false,
            is_padded: false,
            named: 0,
        }
    }

    /// Takes in what a line says about the message.
    ///
    /// A tab around the value is white space by the RFC, but part of the value to some: in the
    /// fields that frame and route, it is refused.
    #[inline]
    pub(super) fn note(
        &mut self,
        bytes: &[u8],
        known: Known,
        value: Span,
        has_tab: bool,
    ) -> Result<(), Malformed> {
        if known.is_plain() { Ok(()) } else { self.note_special(bytes, known, value, has_tab) }
    }

    #[inline(never)]
    fn note_special(
        &mut self,
        bytes: &[u8],
        known: Known,
        span: Span,
        has_tab: bool,
    ) -> Result<(), Malformed> {
        let value = span.of(bytes);
        match (known, self.side) {
            (Known::Connection, _) => return self.connection(value),
            (Known::ContentLength, _) => return self.content_length(value, has_tab),
            (Known::TransferEncoding, _) => return self.transfer_encoding(value, has_tab),
            (Known::Host, Side::Request) => return self.host(value, span, has_tab),
            (Known::Expect, Side::Request) => {
                let is_continue = value.eq_ignore_ascii_case(b"100-continue");
                self.expect_continue |= is_continue;
                self.expects_other |= !is_continue;
            }
            (Known::Via, Side::Request) => self.has_via = true,
            (Known::Te, Side::Request) => {
                let mut options = options(value);
                self.te_trailers |= options.any(|option| option.eq_ignore_ascii_case(b"trailers"));
            }
            (Known::KeepAlive, Side::Response) => {
                self.keep_alive_timeout = timeout(value).or(self.keep_alive_timeout);
            }
            (Known::Upgrade, _) => {
                self.protocol = Some(span);
                self.protocols += 1;
                let mut names = value.split(|byte| *byte == b',').map(scan::trim);
                self.names_http2 |=
                    names.any(|name| name.get(..3).is_some_and(|n| n.eq_ignore_ascii_case(b"h2c")));
            }
            _ => {}
        }
        Ok(())
    }

    /// The protocol to change to, if it is named once and Connection says so.
    ///
    /// # Errors
    /// It is HTTP/2 without TLS, which we do not speak and must not let a backend speak past us.
    #[inline]
    pub(super) fn upgrade(&self, bytes: &[u8]) -> Result<Option<Span>, Malformed> {
        if !self.upgrade || self.protocols == 0 {
            return Ok(None);
        }
        if self.names_http2 {
            return Err(Malformed::UpgradeHttp2);
        }
        let protocol = self.protocol.filter(|protocol| !protocol.of(bytes).is_empty());
        Ok(protocol.filter(|_| self.protocols == 1))
    }

    /// Marks the fields that Connection names.
    #[inline]
    pub(super) fn mark_named(&self, bytes: &[u8], fields: &mut [FieldLine]) {
        if self.named > 0 {
            mark_named(bytes, fields);
        }
    }

    fn host(&mut self, value: &[u8], span: Span, has_tab: bool) -> Result<(), Malformed> {
        if self.host.replace(span).is_some() {
            return Err(Malformed::HostRepeated);
        }
        let is_host = !value.is_empty() && !has_tab && scan::all_host(value);
        if is_host { Ok(()) } else { Err(Malformed::HostInvalid) }
    }

    fn connection(&mut self, value: &[u8]) -> Result<(), Malformed> {
        if value.eq_ignore_ascii_case(b"keep-alive") {
            self.keep_alive = true;
            return Ok(());
        }
        for option in options(value) {
            if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                self.upgrade = true;
            } else {
                self.name_for_removal(option)?;
            }
        }
        Ok(())
    }

    fn name_for_removal(&mut self, name: &[u8]) -> Result<(), Malformed> {
        if self.named == MOST_NAMED || !name.iter().all(|byte| scan::is_token(*byte)) {
            return Err(Malformed::Connection);
        }
        self.named += 1;
        match Known::of(name) {
            Known::Host | Known::ContentLength | Known::TransferEncoding => {
                Err(Malformed::ConnectionNames)
            }
            _ => Ok(()),
        }
    }

    fn content_length(&mut self, value: &[u8], has_tab: bool) -> Result<(), Malformed> {
        self.is_padded = value.len() > 1 && value[0] == b'0';
        if has_tab || (self.is_padded && self.side == Side::Request) {
            return Err(Malformed::ContentLength);
        }
        let length = decimal(value).ok_or(Malformed::ContentLength)?;
        if self.length.replace(length).is_some() {
            return Err(Malformed::ContentLengthRepeated);
        }
        if self.chunked { Err(Malformed::LengthAndEncoding) } else { Ok(()) }
    }

    fn transfer_encoding(&mut self, value: &[u8], has_tab: bool) -> Result<(), Malformed> {
        if self.length.is_some() {
            return Err(Malformed::LengthAndEncoding);
        }
        if self.chunked {
            return Err(Malformed::TransferEncodingRepeated);
        }
        if has_tab {
            return Err(Malformed::TransferEncoding);
        }
        if !value.eq_ignore_ascii_case(b"chunked") {
            return Err(refused_coding(value));
        }
        self.chunked = true;
        Ok(())
    }
}

fn mark_named(bytes: &[u8], fields: &mut [FieldLine]) {
    for at in 0..fields.len() {
        if fields[at].known != Known::Connection {
            continue;
        }
        for name in options(fields[at].value.of(bytes)) {
            for line in fields.iter_mut() {
                line.hop |= line.name.of(bytes).eq_ignore_ascii_case(name);
            }
        }
    }
}

/// The elements of a list, without the empty ones (RFC 9110 §5.6.1).
fn options(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(scan::trim).filter(|option| !option.is_empty())
}

/// The seconds of `timeout=5, max=100`; what cannot be read is no promise.
fn timeout(value: &[u8]) -> Option<u32> {
    const NAME: &[u8] = b"timeout=";
    let seconds = options(value).find_map(|option| {
        let (name, seconds) = option.split_at_checked(NAME.len())?;
        name.eq_ignore_ascii_case(NAME).then_some(seconds)
    })?;
    u32::try_from(decimal(seconds)?).ok()
}

/// 1 to 19 digits: all that fits a `u64` whatever the digits are.
fn decimal(value: &[u8]) -> Option<u64> {
    if !(1..=19).contains(&value.len()) {
        return None;
    }
    value.iter().try_fold(0, |number: u64, byte| {
        let digit = byte.wrapping_sub(b'0');
        (digit < 10).then(|| number * 10 + u64::from(digit))
    })
}

/// A list of known codings that ends with the only `chunked` has one meaning, but one that we do
/// not implement (RFC 9112 §6.1); anything else has none.
fn refused_coding(value: &[u8]) -> Malformed {
    let known = [&b"gzip"[..], b"x-gzip", b"deflate", b"compress", b"x-compress"];
    let mut codings = value.rsplit(|byte| *byte == b',').map(scan::trim);
    let ends_chunked = codings.next().is_some_and(|c| c.eq_ignore_ascii_case(b"chunked"));
    let is_list = value.contains(&b',');
    let are_known = codings.all(|c| known.iter().any(|k| c.eq_ignore_ascii_case(k)));
    if is_list && ends_chunked && are_known {
        Malformed::TransferCoding
    } else {
        Malformed::TransferEncoding
    }
}
