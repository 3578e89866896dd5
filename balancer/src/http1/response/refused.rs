//! Answers that two parsers could read differently, or that none can read.
use super::parse_response;
use crate::http1::head::{Limits, Method, ResponseHead};
use crate::http1::malformed::Malformed::{self, *};

const LIMITS: Limits = Limits { max_head: 1000, max_fields: 5, max_target: 0 };

enum Case {
    /// The whole head.
    Whole(&'static [u8]),
    /// The status line, of a head that is fine otherwise.
    Line(&'static [u8]),
    /// Field lines of a 200, without the last CRLF.
    Fields(&'static [u8]),
}
use Case::*;

impl Case {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Whole(head) => head.to_vec(),
            Line(line) => [line, &b"\r\nContent-Length: 5\r\n\r\nhello"[..]].concat(),
            Fields(lines) => [b"HTTP/1.1 200 OK\r\n", *lines, b"\r\nServer: x\r\n\r\n"].concat(),
        }
    }
}

/// RFC sections: 9112 unless said otherwise.
const CASES: &[(Case, Malformed)] = &[
    // §4: the status line.
    (Line(b"HTTP/1.1 099 Low"), StatusLine),
    (Line(b"HTTP/1.1 000 Zero"), StatusLine),
    (Line(b"HTTP/1.1 600 High"), StatusLine),
    (Line(b"HTTP/1.1 999 High"), StatusLine),
    (Line(b"HTTP/1.1 20 Short"), StatusLine),
    (Line(b"HTTP/1.1 2000 Long"), StatusLine),
    (Line(b"HTTP/1.1 2x0 OK"), StatusLine),
    (Line(b"HTTP/1.1 +20 OK"), StatusLine),
    (Line(b"HTTP/1.1 -20 OK"), StatusLine),
    (Line(b"HTTP/1.1  200 OK"), StatusLine),
    (Line(b"HTTP/1.1\t200 OK"), StatusLine),
    (Line(b"HTTP/1.1 200\tOK"), StatusLine),
    (Line(b"HTTP/1.1 200OK"), StatusLine),
    (Line(b"HTTP/1.1"), StatusLine),
    (Line(b"HTTP/1.1 "), StatusLine),
    (Line(b"HTTP/1.1 OK"), StatusLine),
    (Line(b" HTTP/1.1 200 OK"), StatusLine),
    (Line(b"HTTP/1.2 200 OK"), StatusLine),
    (Line(b"HTTP/2.0 200 OK"), StatusLine),
    (Line(b"HTTP/0.9 200 OK"), StatusLine),
    (Line(b"HTTP/1.10 200 OK"), StatusLine),
    (Line(b"HTTP/2 200"), StatusLine),
    (Line(b"http/1.1 200 OK"), StatusLine),
    (Line(b"ICY 200 OK"), StatusLine),
    (Whole(b"<html>\r\n\r\n"), StatusLine),
    (Whole(b"\r\nHTTP/1.1 200 OK\r\n\r\n"), StatusLine),
    (Whole(b"\0\0\0\x12\x04\0\0\0\0\0"), StatusLine),
    (Line(b"HTTP/1.1 200 O\0K"), Control),
    (Line(b"HTTP/1.1 200 O\x1bK"), Control),
    (Line(b"HTTP/1.1 200 OK\x7f"), Control),
    (Line(b"HTTP/1.1 200 OK\rX: y"), BareCr),
    (Line(b"HTTP/1.1 200 OK\nX: y"), BareLf),
    (Whole(b"HTTP/1.1 200 OK\n\n"), BareLf),
    (Whole(b"HTTP/1.1 200\nX: y\n\n"), BareLf),
    (Whole(b"HTTP/1.1 200\rX: y\r\r"), BareCr),
    // §5: field lines.
    (Fields(b"X : y"), SpaceInName),
    (Fields(b" X: y"), Folded),
    (Fields(b"X: y\r\n z"), Folded),
    (Fields(b": y"), FieldName),
    (Fields(b"X\xe9: y"), FieldName),
    (Fields(b"X"), NoColon),
    (Fields(b"X: a\nSet-Cookie: b"), BareLf),
    (Fields(b"X: a\rSet-Cookie: b"), BareCr),
    (Fields(b"X: \0"), Control),
    (Fields(b"X: a\x08b"), Control),
    // §6: framing.
    (Fields(b"Content-Length: 5\r\nContent-Length: 6"), ContentLengthRepeated),
    (Fields(b"Content-Length: 5\r\nContent-Length: 5"), ContentLengthRepeated),
    (Fields(b"Content-Length: 5, 5"), ContentLength),
    (Fields(b"Content-Length: +5"), ContentLength),
    (Fields(b"Content-Length: -1"), ContentLength),
    (Fields(b"Content-Length: 5x"), ContentLength),
    (Fields(b"Content-Length: 0x5"), ContentLength),
    (Fields(b"Content-Length:"), ContentLength),
    (Fields(b"Content-Length:\t5"), ContentLength),
    (Fields(b"Content-Length: 99999999999999999999"), ContentLength),
    (Fields(b"Content-Length: 5\r\nTransfer-Encoding: chunked"), LengthAndEncoding),
    (Fields(b"Transfer-Encoding: chunked\r\nContent-Length: 5"), LengthAndEncoding),
    (Fields(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x"), TransferEncodingRepeated),
    (Fields(b"Transfer-Encoding: xchunked"), TransferEncoding),
    (Fields(b"Transfer-Encoding: identity"), TransferEncoding),
    (Fields(b"Transfer-Encoding: gzip"), TransferEncoding),
    (Fields(b"Transfer-Encoding: gzip, chunked"), TransferCoding),
    (Fields(b"Content_Length: 5"), Disguised),
    (Whole(b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), TransferEncodingVersion),
    // RFC 9110 §7.6.1, §7.8.
    (Fields(b"Connection: content-length"), ConnectionNames),
    (Fields(b"Connection: a b"), Connection),
    (Whole(b"HTTP/1.1 101 x\r\n\r\n"), UpgradeMissing),
    (Whole(b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\n\r\n"), UpgradeMissing),
    (Whole(b"HTTP/1.1 101 x\r\nConnection: upgrade\r\n\r\n"), UpgradeMissing),
    (Whole(b"HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n"), UpgradeHttp2),
    (Whole(b"HTTP/1.0 101 x\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"), UpgradeMissing),
    // Limits.
    (Fields(b"1: x\r\n2: x\r\n3: x\r\n4: x\r\n5: x"), TooManyFields),
];

fn parse(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    parse_response(bytes, Method::Get, &LIMITS, &mut ResponseHead::new())
}

#[test]
fn what_can_be_read_in_two_ways_is_refused() {
    assert!(CASES.len() >= 40, "{}", CASES.len());
    for (case, expected) in CASES {
        let bytes = case.bytes();
        let text = bytes.escape_ascii();
        assert_eq!(parse(&bytes), Err(*expected), "{text}");
        for cut in 0..bytes.len() {
            let early = parse(&bytes[..cut]);
            let agrees = early == Ok(None) || early == Err(*expected);
            assert!(agrees, "{text} cut at {cut}: {early:?}");
        }
    }
}

#[test]
fn an_endless_head_is_refused_at_its_limit() {
    let endless = [b"HTTP/1.1 200 OK\r\nX: ".to_vec(), vec![b'x'; 2000]].concat();
    assert_eq!(parse(&endless[..999]), Ok(None));
    assert_eq!(parse(&endless[..1000]), Err(HeadTooLarge));
    assert_eq!(parse(&endless), Err(HeadTooLarge));
}
