//! What holds for any bytes: no panic, no verdict that depends on how they came, no range outside
//! of them.
use crate::http1::{
    FieldLine, Framing, Limits, Malformed, Method, RequestHead, ResponseHead, Span, parse_request,
    parse_response,
};
use proptest::collection::vec;
use proptest::prelude::*;

const LIMITS: Limits = Limits { max_head: 300, max_fields: 6, max_target: 40 };

type Verdict = Result<Option<usize>, Malformed>;

fn request(bytes: &[u8]) -> (Verdict, RequestHead) {
    let mut head = RequestHead::new();
    (parse_request(bytes, &LIMITS, &mut head), head)
}

fn response(bytes: &[u8]) -> (Verdict, ResponseHead) {
    let mut head = ResponseHead::new();
    (parse_response(bytes, Method::Get, &LIMITS, &mut head), head)
}

/// Pieces of heads, so that chance gets past the first line, and noise.
fn soup(first: &'static [&'static [u8]]) -> impl Strategy<Value = Vec<u8>> {
    const WORDS: [&[u8]; 32] = [
        b"Host: a\r\n",
        b"Host:",
        b"Content-Length: 5\r\n",
        b"Content-Length:",
        b"chunked",
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding:",
        b"Connection: close, X\r\n",
        b"Connection:",
        b"Upgrade: websocket\r\n",
        b"upgrade",
        b"Keep-Alive: timeout=5\r\n",
        b"X: y\r\n",
        b"X_Forwarded_For: 1\r\n",
        b"Accept-Language: de,en;q=0.5\r\n",
        b"a,b",
        b"\r\n",
        b"\r\n\r\n",
        b"\r",
        b"\n",
        b"\t",
        b" ",
        b":",
        b"_",
        b"5",
        b"/",
        b"?",
        b"\0",
        b"\x7f",
        b"\xe9",
        b"0123456789abcdef0123456789abcdef",
        b"TE: trailers\r\n",
    ];
    let noise = vec(any::<u8>(), 0..20);
    let word = prop_oneof![
        20 => proptest::sample::select(WORDS.to_vec()).prop_map(<[u8]>::to_vec),
        1 => noise,
    ];
    (proptest::sample::select(first.to_vec()), vec(word, 0..14))
        .prop_map(|(first, words)| [first, &words.concat()].concat())
}

const REQUEST_LINES: &[&[u8]] = &[
    b"",
    b"GET / HTTP/1.1\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n",
    b"POST /a?b HTTP/1.1\r\nHost: a\r\n",
    b"GET http://a/b HTTP/1.1\r\n",
    b"OPTIONS * HTTP/1.1\r\n",
    b"CONNECT a:80 HTTP/1.1\r\n",
    b"GET / HTTP/1.0\r\n",
    b"\r\nGET /",
    b"GET /0123456789012345678901234567890123456789",
];
const STATUS_LINES: &[&[u8]] = &[
    b"",
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 101 x\r\n",
    b"HTTP/1.0 200 OK\r\n",
    b"HTTP/1.1 204\r\n",
    b"HTTP/1.1 ",
];

/// What must hold for the lines of any head that was taken.
fn check_lines(bytes: &[u8], len: usize, fields: &[FieldLine]) {
    for line in fields {
        let (name, value) = (line.name.of(bytes), line.value.of(bytes));
        assert!(!name.is_empty() && name.iter().all(|byte| byte.is_ascii_graphic()));
        assert!(!value.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t'));
        assert_eq!(value, value.trim_ascii());
        assert!(line.value.end as usize <= len);
    }
    assert!(bytes[..len].ends_with(b"\r\n\r\n"));
    let controls = bytes[..len].iter().filter(|b| b.is_ascii_control() && **b != b'\t').count();
    let ends = bytes[..len].windows(2).filter(|pair| pair == b"\r\n").count();
    assert_eq!(controls, 2 * ends, "no control but in CRLF");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn a_request_is_judged_alike_whole_and_in_parts(bytes in soup(REQUEST_LINES)) {
        let (whole, head) = request(&bytes);
        for cut in 0..bytes.len() {
            let (early, part) = request(&bytes[..cut]);
            match early {
                Ok(None) => prop_assert!(whole != Ok(Some(cut))),
                verdict => prop_assert_eq!(verdict, whole),
            }
            if early.is_ok_and(|len| len.is_some()) {
                prop_assert_eq!(format!("{:?}", &part), format!("{:?}", &head));
            }
        }
        if let Ok(Some(len)) = whole {
            check_lines(&bytes, len, &head.fields);
            prop_assert!(len <= LIMITS.max_head && head.fields.len() <= LIMITS.max_fields);
            prop_assert!(head.framing != Framing::UntilClose);
            let parts = head.path.len() + head.query.map_or(0, |q| q.len() + 1);
            prop_assert!(parts <= head.target.len() && head.target.len() <= LIMITS.max_target);
        }
    }

    #[test]
    fn an_answer_is_judged_alike_whole_and_in_parts(bytes in soup(STATUS_LINES)) {
        let (whole, head) = response(&bytes);
        for cut in 0..bytes.len() {
            match response(&bytes[..cut]).0 {
                Ok(None) => prop_assert!(whole != Ok(Some(cut))),
                verdict => prop_assert_eq!(verdict, whole),
            }
        }
        if let Ok(Some(len)) = whole {
            check_lines(&bytes, len, &head.fields);
            prop_assert!((100..600).contains(&head.status));
        }
    }

    #[test]
    fn noise_never_panics(bytes in vec(any::<u8>(), 0..400), max in 0..400usize) {
        let limits = Limits { max_head: max, max_fields: max, max_target: max };
        let _ = parse_request(&bytes, &limits, &mut RequestHead::new());
        for to in [Method::Get, Method::Head, Method::Connect] {
            let _ = parse_response(&bytes, to, &limits, &mut ResponseHead::new());
        }
        let _ = Span { start: 5, end: 3 }.of(&bytes);
    }
}
