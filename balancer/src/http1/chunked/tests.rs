//! Chunked bodies, whole and in pieces.
use super::{BadChunk, ChunkDecoder, Decoded};
use proptest::prelude::*;

/// What became of a body: its data, where it ended, its trailers.
type Outcome = Result<(Vec<u8>, Option<usize>, Vec<u8>), BadChunk>;

/// Decodes `input` in the pieces that end at `cuts`.
fn decode(input: &[u8], cuts: &[usize]) -> Outcome {
    let mut decoder = ChunkDecoder::new();
    let (mut data, mut at) = (Vec::new(), 0);
    for end in cuts.iter().copied().chain([input.len()]) {
        let mut piece = input[at..end].to_vec();
        let decoded = decoder.decode(&mut piece)?;
        data.extend_from_slice(&piece[..decoded.data]);
        if decoded.done {
            let rest = &input[at + decoded.consumed..end];
            assert_eq!(rest, &piece[decoded.consumed..], "what follows is left alone");
            return Ok((data, Some(at + decoded.consumed), decoder.trailers().to_vec()));
        }
        assert_eq!(decoded.consumed, piece.len(), "all is taken until the end");
        at = end;
    }
    Ok((data, None, Vec::new()))
}

/// Whole, byte by byte, and cut in two at every place: always the same.
fn check(input: &[u8]) -> Outcome {
    let whole = decode(input, &[]);
    let bytes: Vec<usize> = (1..input.len()).collect();
    assert_eq!(decode(input, &bytes), whole, "{} byte by byte", input.escape_ascii());
    for cut in 0..input.len() {
        assert_eq!(decode(input, &[cut]), whole, "{} cut at {cut}", input.escape_ascii());
    }
    whole
}

fn good(input: &str) -> (String, String) {
    let (data, end, trailers) = check(input.as_bytes()).unwrap();
    assert_eq!(end, Some(input.len()), "{input:?}");
    (String::from_utf8(data).unwrap(), String::from_utf8(trailers).unwrap())
}

#[test]
fn data_comes_out_of_good_bodies() {
    for (input, data) in [
        ("0\r\n\r\n", ""),
        ("000\r\n\r\n", ""),
        ("5\r\nhello\r\n0\r\n\r\n", "hello"),
        ("1\r\na\r\n01\r\nb\r\n0\r\n\r\n", "ab"),
        ("000000000000000A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", "01234567890123456789"),
        ("2\r\n\r\n\r\n0\r\n\r\n", "\r\n"),
        ("5;a=b;c=\"d e\"\r\nhello\r\n0;x\r\n\r\n", "hello"),
        ("5;\thello\r\nhello\r\n0\r\n\r\n", "hello"),
        ("5;a ;\tb = c; d=\"\\\"\\\\;\t\" ;e\r\nhello\r\n0;x=\"\"\r\n\r\n", "hello"),
    ] {
        assert_eq!(good(input), (data.to_string(), String::new()));
    }
}

#[test]
fn the_next_message_is_left_where_it_is() {
    let (data, end, _) = check(b"3\r\nabc\r\n0\r\n\r\nGET / HTTP/1.1\r\n").unwrap();
    assert_eq!((&data[..], end), (&b"abc"[..], Some(13)));
}

#[test]
fn a_body_cut_short_is_never_done() {
    let input = b"3;x\r\nabc\r\n0\r\nA: b\r\n\r\n";
    for cut in 0..input.len() {
        assert_eq!(decode(&input[..cut], &[]).unwrap().1, None, "cut at {cut}");
    }
}

#[test]
fn a_decoder_that_is_done_takes_nothing_more() {
    let mut decoder = ChunkDecoder::new();
    decoder.decode(&mut b"0\r\n\r\n".to_vec()).unwrap();
    let mut more = *b"5\r\nhello";
    assert_eq!(decoder.decode(&mut more), Ok(Decoded { consumed: 0, data: 0, done: true }));
    assert_eq!(&more, b"5\r\nhello");
}

#[test]
fn what_can_be_read_in_two_ways_is_refused() {
    use BadChunk::*;
    let cases: &[(&[u8], BadChunk)] = &[
        (b"\r\n", Size),
        (b";a\r\n", Size),
        (b"g\r\n", Size),
        (b"+5\r\nhello\r\n", Size),
        (b"-5\r\nhello\r\n", Size),
        (b"0x5\r\nhello\r\n", Size),
        (b"5h\r\nhello\r\n", Size),
        (b"5_\r\nhello\r\n", Size),
        (b" 5\r\nhello\r\n", Size),
        (b"5 \r\nhello\r\n", Size),
        (b"5 ;a\r\nhello\r\n", Size),
        (b"5\t\r\nhello\r\n", Size),
        (b"5\0\r\nhello\r\n", Size),
        (b"00000000000000005\r\nhello\r\n", Size),
        (b"10000000000000005\r\nhello\r\n", Size),
        (b"\xb5\r\nhello\r\n", Size),
        (b"5\nhello\r\n", LineEnd),
        (b"5\rhello\r\n", LineEnd),
        (b"5\r\rhello\r\n", LineEnd),
        (b"5;a\nhello\r\n", LineEnd),
        (b"5;a\rb\r\nhello\r\n", LineEnd),
        (b"5;a\0\r\nhello\r\n", Extension),
        (b"5;a\x7f\r\nhello\r\n", Extension),
        (b"5;\xc3\xa9\r\nhello\r\n", Extension),
        (b"5;\r\nhello\r\n", Extension),
        (b"5; \r\nhello\r\n", Extension),
        (b"5;;a\r\nhello\r\n", Extension),
        (b"5;a;\r\nhello\r\n", Extension),
        (b"5;a \r\nhello\r\n", Extension),
        (b"5;a=b\t\r\nhello\r\n", Extension),
        (b"5;a=\r\nhello\r\n", Extension),
        (b"5;=b\r\nhello\r\n", Extension),
        (b"5;a=b=c\r\nhello\r\n", Extension),
        (b"5;a b\r\nhello\r\n", Extension),
        (b"5;a=b c\r\nhello\r\n", Extension),
        (b"5;a,b\r\nhello\r\n", Extension),
        (b"5;\"a\"\r\nhello\r\n", Extension),
        (b"5;a=\"b\r\nhello\r\n", Extension),
        (b"5;a=\"b\\\r\nhello\r\n", Extension),
        (b"5;a=\"b\"c\r\nhello\r\n", Extension),
        (b"5;a=b\"c\"\r\nhello\r\n", Extension),
        (b"5;a=\"\0\"\r\nhello\r\n", Extension),
        (b"5;a=\"\xc3\xa9\"\r\nhello\r\n", Extension),
        (b"5\r\nhello0\r\n\r\n", DataEnd),
        (b"5\r\nhello\n0\r\n\r\n", DataEnd),
        (b"5\r\nhello\rx0\r\n\r\n", DataEnd),
        (b"4\r\nhello\r\n0\r\n\r\n", DataEnd),
        (b"6\r\nhello\r\n0\r\n\r\n", DataEnd),
        (b"0\r\n\r\r", Trailer),
        (b"0\r\n\n", Trailer),
        (b"0\r\nA: b\n\r\n", Trailer),
        (b"0\r\nA: b\r\n\n", Trailer),
        (b"0\r\nA : b\r\n\r\n", Trailer),
        (b"0\r\n A: b\r\n\r\n", Trailer),
        (b"0\r\nA: b\r\n c\r\n\r\n", Trailer),
        (b"0\r\nA\r\n\r\n", Trailer),
        (b"0\r\n: a\r\n\r\n", Trailer),
        (b"0\r\nA: \0\r\n\r\n", Trailer),
        (b"0\r\nA: b\rc\r\n\r\n", Trailer),
        (b"0\r\nContent_Length: 5\r\n\r\n", Trailer),
    ];
    for (input, expected) in cases {
        assert_eq!(check(input), Err(*expected), "{}", input.escape_ascii());
    }
}

#[test]
fn trailers_are_written_anew_without_those_that_only_a_head_may_have() {
    let trailers = "X-Sum:1 2\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nHost: a\r\n\
        Connection: x\r\nTE: x\r\nSet-Cookie: a\r\nX-Forwarded-For: b\r\nX_Forwarded_For: b\r\n\
        X-Forwarded-Ssl: on\r\nx_forwarded-prefix: /\r\nX-Forwarded: y\r\nX-Forwardedness: y\r\n\
        Authorization: x\r\nETag:  \"x\" \r\nEmpty:\r\n";
    let (_, kept) = good(&format!("0\r\n{trailers}\r\n"));
    assert_eq!(kept, "X-Sum: 1 2\r\nX-Forwardedness: y\r\nETag: \"x\"\r\nEmpty: \r\n");
}

#[test]
fn trailers_are_limited() {
    let body = |lines: usize, value: usize| {
        let line = format!("A: {}\r\n", "x".repeat(value));
        decode(format!("0\r\n{}\r\n", line.repeat(lines)).as_bytes(), &[])
    };
    assert!(body(64, 1).is_ok());
    assert_eq!(body(65, 1), Err(BadChunk::TrailersTooLarge));
    assert!(body(1, 8000).is_ok());
    assert_eq!(body(1, 8192), Err(BadChunk::TrailersTooLarge));
    let endless = [&b"0\r\n"[..], &[b'x'; 9000]].concat();
    assert_eq!(decode(&endless, &[]), Err(BadChunk::TrailersTooLarge));
}

#[test]
fn extensions_are_limited_by_line_and_against_the_data() {
    let chunk = |extension: usize, size: usize| {
        format!("{size:x};{}\r\n{}\r\n", "e".repeat(extension), "d".repeat(size))
    };
    assert!(decode(chunk(4000, 1).as_bytes(), &[]).is_ok());
    assert_eq!(decode(chunk(4100, 1).as_bytes(), &[]), Err(BadChunk::Overhead));
    assert!(decode(chunk(1000, 1).repeat(16).as_bytes(), &[]).is_ok());
    assert_eq!(decode(chunk(1000, 1).repeat(18).as_bytes(), &[]), Err(BadChunk::Overhead));
    assert!(decode(chunk(1000, 600).repeat(100).as_bytes(), &[]).is_ok());
    assert!(decode(chunk(2, 1).repeat(100_000).as_bytes(), &[]).is_ok());
}

#[test]
fn a_decoder_without_trailers_has_no_heap() {
    let mut decoder = ChunkDecoder::new();
    decoder.decode(&mut b"5\r\nhello\r\n0\r\n\r\n".to_vec()).unwrap();
    assert_eq!(decoder.trailers.capacity(), 0);
}

/// Pieces that a chunked body is made of, and others.
fn soup() -> impl Strategy<Value = Vec<u8>> {
    let words = [
        &b"\r\n"[..],
        b"0\r\n",
        b"0\r\n\r\n",
        b"1\r\na\r\n",
        b"3\r\nabc\r\n",
        b"a\r\n",
        b";x=y",
        b"A: b\r\n",
        b"\r",
        b"\n",
        b" ",
        b"5",
        b"f",
        b"Host: a\r\n",
        b"0123456789",
        b"\0",
        b"\xff",
        b":",
    ];
    let word = proptest::sample::select(words.to_vec());
    proptest::collection::vec(word, 0..12).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn any_bytes_split_anywhere_give_the_same(input in soup(), cuts in any::<[prop::sample::Index; 3]>()) {
        let mut cuts = cuts.map(|cut| cut.index(input.len() + 1));
        cuts.sort_unstable();
        prop_assert_eq!(decode(&input, &cuts), decode(&input, &[]));
    }

    #[test]
    fn what_was_encoded_is_decoded(chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..300), 0..6)) {
        let mut body = Vec::new();
        for chunk in &chunks {
            let mut head = [0; 20];
            let len = crate::http1::encode_chunk_head(chunk.len(), &mut head);
            body.extend_from_slice(&head[..len]);
            body.extend_from_slice(chunk);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"0\r\n\r\n");
        prop_assert_eq!(decode(&body, &[]), Ok((chunks.concat(), Some(body.len()), Vec::new())));
    }
}
