//! Requests that two parsers could read differently, or that none can read.
use super::parse_request;
use crate::http1::head::{Limits, RequestHead};
use crate::http1::malformed::Malformed::{self, *};

const LIMITS: Limits = Limits { max_head: 1000, max_fields: 10, max_target: 100 };

enum Case {
    /// The whole head.
    Whole(&'static [u8]),
    /// The request line, of a head that is fine otherwise.
    Line(&'static [u8]),
    /// Field lines after the Host of a head that is fine otherwise, without the last CRLF.
    Fields(&'static [u8]),
    /// The value of the only Host.
    Host(&'static [u8]),
}
use Case::*;

impl Case {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Whole(head) => head.to_vec(),
            Line(line) => [line, &b"\r\nHost: a\r\n\r\n"[..]].concat(),
            Fields(lines) => {
                [b"POST / HTTP/1.1\r\nHost: a\r\n", *lines, b"\r\nAccept: */*\r\n\r\n"].concat()
            }
            Host(value) => [b"GET / HTTP/1.1\r\nHost:", *value, b"\r\n\r\n"].concat(),
        }
    }
}

/// RFC sections: 9112 unless said otherwise.
const CASES: &[(Case, u16, Malformed)] = &[
    // §3: the request line.
    (Line(b"GET  / HTTP/1.1"), 400, RequestLine),
    (Line(b"GET /  HTTP/1.1"), 400, Version),
    (Line(b"GET / HTTP/1.1 "), 400, Version),
    (Line(b" GET / HTTP/1.1"), 400, RequestLine),
    (Line(b"GET\t/ HTTP/1.1"), 400, Method),
    (Line(b"GET /\tHTTP/1.1"), 400, Target),
    (Line(b"GET / \tHTTP/1.1"), 400, Version),
    (Line(b"GET / HTTP/1.1\t"), 400, Version),
    (Line(b"GET /a b HTTP/1.1"), 400, Version),
    (Line(b"GET HTTP/1.1"), 400, RequestLine),
    (Line(b"GET"), 400, RequestLine),
    (Line(b"GET /"), 400, RequestLine),
    (Line(b"GET / "), 400, Version),
    (Line(b"/ HTTP/1.1"), 400, Method),
    (Whole(b"\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), 400, RequestLine),
    (Whole(b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), 400, BareLf),
    (Whole(b"\rGET / HTTP/1.1\r\nHost: a\r\n\r\n"), 400, BareCr),
    (Whole(b"\0GET / HTTP/1.1\r\nHost: a\r\n\r\n"), 400, Method),
    (Whole(b"\xef\xbb\xbfGET / HTTP/1.1\r\nHost: a\r\n\r\n"), 400, Method),
    (Whole(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), 400, Method),
    // RFC 9110 §9.1: the method is a token, and case-sensitive.
    (Line(b"get / HTTP/1.1"), 400, Method),
    (Line(b"Head / HTTP/1.1"), 400, Method),
    (Line(b"connect a:80 HTTP/1.1"), 400, Method),
    (Line(b"G@T / HTTP/1.1"), 400, Method),
    (Line(b"G\xc3\x8bT / HTTP/1.1"), 400, Method),
    (Line(b"GET\0 / HTTP/1.1"), 400, Method),
    (Line(b"\"GET\" / HTTP/1.1"), 400, Method),
    (Line(b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA / HTTP/1.1"), 501, MethodTooLong),
    // §2.3: the version.
    (Line(b"GET / HTTP/0.9"), 505, VersionUnsupported),
    (Line(b"GET / HTTP/1.2"), 505, VersionUnsupported),
    (Line(b"GET / HTTP/2.0"), 505, VersionUnsupported),
    (Line(b"GET / HTTP/3.0"), 505, VersionUnsupported),
    (Line(b"GET / HTTP/9.9"), 505, VersionUnsupported),
    (Whole(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505, VersionUnsupported),
    (Line(b"GET / HTTP/1.10"), 400, Version),
    (Line(b"GET / HTTP/1.01"), 400, Version),
    (Line(b"GET / HTTP/01.1"), 400, Version),
    (Line(b"GET / HTTP/11.1"), 400, Version),
    (Line(b"GET / HTTP/2"), 400, Version),
    (Line(b"GET / HTTP/1."), 400, Version),
    (Line(b"GET / HTTP/1,1"), 400, Version),
    (Line(b"GET / HTTP /1.1"), 400, Version),
    (Line(b"GET / http/1.1"), 400, Version),
    (Line(b"GET / HTTPS/1.1"), 400, Version),
    (Line(b"GET / HTTP/1.1a"), 400, Version),
    (Line(b"GET / HTTP/-1.1"), 400, Version),
    (Line(b"GET / HTTP/1.\xb9"), 400, Version),
    (Line(b"GET / ICY/1.1"), 400, Version),
    // §3.2: the target.
    (Line(b"GET /a#b HTTP/1.1"), 400, Target),
    (Line(b"GET /?a#b HTTP/1.1"), 400, Target),
    (Line(b"GET /\x00 HTTP/1.1"), 400, Target),
    (Line(b"GET /\x7f HTTP/1.1"), 400, Target),
    (Line(b"GET /\x0b HTTP/1.1"), 400, Target),
    (Line(b"GET /?\x1f HTTP/1.1"), 400, Target),
    (Line(b"GET /\xc3\xa9 HTTP/1.1"), 400, Target),
    (Line(b"GET /?\xff HTTP/1.1"), 400, Target),
    (Line(b"GET /\rx HTTP/1.1"), 400, RequestLine),
    (Line(b"GET /\nx HTTP/1.1"), 400, RequestLine),
    (Line(b"GET a HTTP/1.1"), 400, Target),
    (Line(b"GET ?a HTTP/1.1"), 400, Target),
    (Line(b"GET \\a HTTP/1.1"), 400, Target),
    (Line(b"GET * HTTP/1.1"), 400, Target),
    (Line(b"OPTIONS ** HTTP/1.1"), 400, Target),
    (Line(b"GET a:80 HTTP/1.1"), 400, Target),
    (Line(b"CONNECT / HTTP/1.1"), 400, Target),
    (Line(b"CONNECT a HTTP/1.1"), 400, Target),
    (Line(b"CONNECT a: HTTP/1.1"), 400, Target),
    (Line(b"CONNECT :80 HTTP/1.1"), 400, Target),
    (Line(b"CONNECT a:8x HTTP/1.1"), 400, Target),
    (Line(b"CONNECT a:800000 HTTP/1.1"), 400, Target),
    (Line(b"CONNECT u@a:80 HTTP/1.1"), 400, Target),
    (Line(b"CONNECT http://a:80 HTTP/1.1"), 400, Target),
    (Line(b"GET ftp://a/ HTTP/1.1"), 400, Target),
    (Line(b"GET file:///etc HTTP/1.1"), 400, Target),
    (Line(b"GET http:/a HTTP/1.1"), 400, Target),
    (Line(b"GET http:a HTTP/1.1"), 400, Target),
    (Line(b"GET //a HTTP/1.1 x"), 400, Version),
    // §3.2.2: the absolute form, and RFC 9110 §4.2.4: no user in it.
    (Line(b"GET http:///a HTTP/1.1"), 400, HostInvalid),
    (Line(b"GET http://?a HTTP/1.1"), 400, HostInvalid),
    (Line(b"GET http://u@a/ HTTP/1.1"), 400, HostInvalid),
    (Line(b"GET http://u:p@a/ HTTP/1.1"), 400, HostInvalid),
    (Line(b"GET http://a,b/ HTTP/1.1"), 400, HostInvalid),
    (Line(b"GET http://a\\b/ HTTP/1.1"), 400, HostInvalid),
    (Line(b"GET http://b/ HTTP/1.1"), 400, HostMismatch),
    (Line(b"GET http://a:8080/ HTTP/1.1"), 400, HostMismatch),
    (Line(b"GET https://a:80/ HTTP/1.1"), 400, HostMismatch),
    (Line(b"GET http://a./ HTTP/1.1"), 400, HostMismatch),
    (Line(b"CONNECT b:80 HTTP/1.1"), 400, HostMismatch),
    // RFC 9110 §7.2: Host.
    (Whole(b"GET / HTTP/1.1\r\n\r\n"), 400, HostMissing),
    (Whole(b"GET / HTTP/1.1\r\nAccept: */*\r\n\r\n"), 400, HostMissing),
    (Whole(b"GET http://a/ HTTP/1.1\r\n\r\n"), 400, HostMissing),
    (Fields(b"Host: a"), 400, HostRepeated),
    (Fields(b"host: b"), 400, HostRepeated),
    (Whole(b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n"), 400, HostRepeated),
    (Host(b""), 400, HostInvalid),
    (Host(b"   "), 400, HostInvalid),
    (Host(b" a,b"), 400, HostInvalid),
    (Host(b" a b"), 400, HostInvalid),
    (Host(b" a/b"), 400, HostInvalid),
    (Host(b" u@a"), 400, HostInvalid),
    (Host(b" a?b"), 400, HostInvalid),
    (Host(b" a#b"), 400, HostInvalid),
    (Host(b" a\\b"), 400, HostInvalid),
    (Host(b" \xc3\xa9"), 400, HostInvalid),
    (Host(b"\ta"), 400, HostInvalid),
    (Host(b" a\t"), 400, HostInvalid),
    (Host(b" a\0b"), 400, Control),
    // §2.2: line ends.
    (Whole(b"GET / HTTP/1.1\nHost: a\n\n"), 400, BareLf),
    (Whole(b"GET / HTTP/1.1\r\nHost: a\n\r\n"), 400, BareLf),
    (Whole(b"GET / HTTP/1.1\r\nHost: a\r\n\n"), 400, BareLf),
    (Whole(b"GET / HTTP/1.1\rHost: a\r\r"), 400, BareCr),
    (Whole(b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n"), 400, BareCr),
    (Whole(b"GET / HTTP/1.1\r\nHost: a\r\n\rX: y\r\n\r\n"), 400, BareCr),
    (Fields(b"X: a\nContent-Length: 5"), 400, BareLf),
    (Fields(b"X: a\rContent-Length: 5"), 400, BareCr),
    (Fields(b"X: a\r\r"), 400, BareCr),
    // §5: field lines.
    (Fields(b"X : y"), 400, SpaceInName),
    (Fields(b"X\t: y"), 400, SpaceInName),
    (Fields(b"X Y: z"), 400, SpaceInName),
    (Fields(b"Content-Length : 5"), 400, SpaceInName),
    (Fields(b"Transfer-Encoding\t: chunked"), 400, SpaceInName),
    (Fields(b" X: y"), 400, Folded),
    (Fields(b"\tX: y"), 400, Folded),
    (Fields(b"X: a\r\n b"), 400, Folded),
    (Fields(b"X: a\r\n\tb"), 400, Folded),
    (Fields(b"X: a\r\n \r\nContent-Length: 5"), 400, Folded),
    (Whole(b"GET / HTTP/1.1\r\n Host: a\r\n\r\n"), 400, Folded),
    (Fields(b": y"), 400, FieldName),
    (Fields(b"X"), 400, NoColon),
    (Fields(b"Content\rLength: 5"), 400, NoColon),
    (Fields(b"Content\nLength: 5"), 400, NoColon),
    (Fields(b"X\0Y: z"), 400, FieldName),
    (Fields(b"X\x0b: z"), 400, FieldName),
    (Fields(b"X\x7f: z"), 400, FieldName),
    (Fields(b"\xc3\x89: z"), 400, FieldName),
    (Fields(b"X(Y): z"), 400, FieldName),
    (Fields(b"\"X\": z"), 400, FieldName),
    (Fields(b"{X}: z"), 400, FieldName),
    (Fields(b"X: \0"), 400, Control),
    (Fields(b"X: a\x0bb"), 400, Control),
    (Fields(b"X: a\x0cb"), 400, Control),
    (Fields(b"X: \x7f"), 400, Control),
    (Fields(b"X: a\t\x01"), 400, Control),
    (Fields(b"Cookie: 0123456789abcdef0123456789abcdef\x08"), 400, Control),
    // §6.3: Content-Length.
    (Fields(b"Content-Length:"), 400, ContentLength),
    (Fields(b"Content-Length: "), 400, ContentLength),
    (Fields(b"Content-Length: +5"), 400, ContentLength),
    (Fields(b"Content-Length: -5"), 400, ContentLength),
    (Fields(b"Content-Length: 0x5"), 400, ContentLength),
    (Fields(b"Content-Length: 5.0"), 400, ContentLength),
    (Fields(b"Content-Length: 5e1"), 400, ContentLength),
    (Fields(b"Content-Length: 5:"), 400, ContentLength),
    (Fields(b"Content-Length: 5/1"), 400, ContentLength),
    (Fields(b"Content-Length: 5 5"), 400, ContentLength),
    (Fields(b"Content-Length: 5, 5"), 400, ContentLength),
    (Fields(b"Content-Length: 5,6"), 400, ContentLength),
    (Fields(b"Content-Length: 5,"), 400, ContentLength),
    (Fields(b"Content-Length: 5;a"), 400, ContentLength),
    (Fields(b"Content-Length: \"5\""), 400, ContentLength),
    (Fields(b"Content-Length: 05"), 400, ContentLength),
    (Fields(b"Content-Length: 00"), 400, ContentLength),
    (Fields(b"Content-Length:\t5"), 400, ContentLength),
    (Fields(b"Content-Length: 5\t"), 400, ContentLength),
    (Fields(b"Content-Length: \xb2"), 400, ContentLength),
    (Fields(b"Content-Length: 18446744073709551616"), 400, ContentLength),
    (Fields(b"Content-Length: 10000000000000000000"), 400, ContentLength),
    (Fields(b"Content-Length: 99999999999999999999999999"), 400, ContentLength),
    (Fields(b"Content-Length: 5\r\nContent-Length: 5"), 400, ContentLengthRepeated),
    (Fields(b"Content-Length: 5\r\ncontent-length: 6"), 400, ContentLengthRepeated),
    // §6.1: Transfer-Encoding.
    (Fields(b"Content-Length: 5\r\nTransfer-Encoding: chunked"), 400, LengthAndEncoding),
    (Fields(b"Transfer-Encoding: chunked\r\nContent-Length: 5"), 400, LengthAndEncoding),
    (Fields(b"Transfer-Encoding: x\r\nContent-Length: 5"), 400, TransferEncoding),
    (
        Fields(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
        400,
        TransferEncodingRepeated,
    ),
    (
        Fields(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity"),
        400,
        TransferEncodingRepeated,
    ),
    (Fields(b"Transfer-Encoding:"), 400, TransferEncoding),
    (Fields(b"Transfer-Encoding: ,"), 400, TransferEncoding),
    (Fields(b"Transfer-Encoding: identity"), 400, TransferEncoding),
    (Fields(b"Transfer-Encoding: xchunked"), 400, TransferEncoding),
    (Fields(b"Transfer-Encoding: chunkedx"), 400, TransferEncoding),
    (Fields(b"Transfer-Encoding: chunked, chunked"), 400, TransferEncoding),
    (Fields(b"Transfer-Encoding: chunked, identity"), 400, TransferEncoding),
    (Fields(b"Transfer-Encoding: identity, chunked"), 400, TransferEncoding),
    (Fields(b"Transfer-Encoding: chunked, gzip"), 400, TransferEncoding),
    (Fields(b"Transfer-Encoding: gzip"), 400, TransferEncoding),
    (Fields(b"Transfer-Encoding: chunked,"), 400, TransferEncoding),
    (Fields(b"Transfer-Encoding: ,chunked"), 400, TransferEncoding),
    (Fields(b"Transfer-Encoding: chunked;q=1"), 400, TransferEncoding),
    (Fields(b"Transfer-Encoding: \"chunked\""), 400, TransferEncoding),
    (Fields(b"Transfer-Encoding:\tchunked"), 400, TransferEncoding),
    (Fields(b"Transfer-Encoding: chunked\t"), 400, TransferEncoding),
    (Fields(b"Transfer-Encoding: \x0bchunked"), 400, Control),
    (Fields(b"Transfer-Encoding: chun ked"), 400, TransferEncoding),
    (Fields(b"Transfer-Encoding: gzip, chunked"), 501, TransferCoding),
    (Fields(b"Transfer-Encoding: deflate , Chunked"), 501, TransferCoding),
    (Whole(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), 400, TransferEncodingVersion),
    (Fields(b"Content_Length: 5"), 400, Disguised),
    (Fields(b"transfer_encoding: chunked"), 400, Disguised),
    // RFC 9110 §7.6.1: Connection.
    (Fields(b"Connection: Host"), 400, ConnectionNames),
    (Fields(b"Connection: close, content-length"), 400, ConnectionNames),
    (Fields(b"Connection: Transfer-Encoding"), 400, ConnectionNames),
    (Fields(b"Connection: a b"), 400, Connection),
    (Fields(b"Connection: \"close\""), 400, Connection),
    (Fields(b"Connection: close;x"), 400, Connection),
    (Fields(b"Connection: \xc3\xa9"), 400, Connection),
    (
        Fields(b"Connection: a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a"),
        400,
        Connection,
    ),
    // RFC 9113 §3.1: withdrawn.
    (Fields(b"Connection: upgrade\r\nUpgrade: h2c"), 400, UpgradeHttp2),
    (Fields(b"Upgrade: websocket, H2C-14\r\nConnection: Upgrade"), 400, UpgradeHttp2),
    (Fields(b"Upgrade: h2c\r\nUpgrade: x\r\nConnection: close, upgrade"), 400, UpgradeHttp2),
    // RFC 9110 §10.1.1: Expect.
    (Fields(b"Expect: 200-ok"), 417, Expectation),
    (Fields(b"Expect: 100-continue, x"), 417, Expectation),
    (Fields(b"Expect:"), 417, Expectation),
    // Limits.
    (
        Fields(b"1: x\r\n2: x\r\n3: x\r\n4: x\r\n5: x\r\n6: x\r\n7: x\r\n8: x\r\n9: x\r\n10: x"),
        431,
        TooManyFields,
    ),
];

fn parse(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    parse_request(bytes, &LIMITS, &mut RequestHead::new())
}

#[test]
fn what_can_be_read_in_two_ways_is_refused() {
    assert!(CASES.len() >= 120, "{}", CASES.len());
    for (case, status, expected) in CASES {
        let bytes = case.bytes();
        let text = bytes.escape_ascii();
        assert_eq!(parse(&bytes), Err(*expected), "{text}");
        assert_eq!(expected.status(), *status, "{text}");
        for cut in 0..bytes.len() {
            let early = parse(&bytes[..cut]);
            let agrees = early == Ok(None) || early == Err(*expected);
            assert!(agrees, "{text} cut at {cut}: {early:?}");
        }
        let more = [&bytes[..], b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
        assert_eq!(parse(&more), Err(*expected), "{text} and more");
    }
}

/// A head of `len` bytes with a target of `target` bytes.
fn sized(len: usize, target: usize) -> Vec<u8> {
    let begin = format!("GET /{} HTTP/1.1\r\nHost: a\r\nX: ", "a".repeat(target - 1));
    let rest = len - begin.len() - 4;
    format!("{begin}{}\r\n\r\n", "x".repeat(rest)).into_bytes()
}

#[test]
fn limits_hold_to_the_byte_and_before_the_head_is_whole() {
    assert_eq!(parse(&sized(1000, 100)), Ok(Some(1000)));
    assert_eq!(parse(&sized(1001, 100)), Err(HeadTooLarge));
    assert_eq!(parse(&sized(1000, 101)), Err(TargetTooLong));
    assert_eq!(parse(&sized(2000, 1)[..999]), Ok(None));
    assert_eq!(parse(&sized(2000, 1)[..1000]), Err(HeadTooLarge));
    assert_eq!(parse(&sized(2000, 1500)[..104]), Ok(None));
    assert_eq!(parse(&sized(2000, 1500)[..105]), Err(TargetTooLong));
    assert_eq!((HeadTooLarge.status(), TargetTooLong.status()), (431, 414));
    let ten =
        b"GET / HTTP/1.1\r\nHost: a\r\n1:\r\n2:\r\n3:\r\n4:\r\n5:\r\n6:\r\n7:\r\n8:\r\n9:\r\n\r\n";
    assert_eq!(parse(ten), Ok(Some(ten.len())));
}
