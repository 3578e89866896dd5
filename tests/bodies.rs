//! Bodies through the door: every framing, both ways, byte for byte or visibly not whole.

use tests::backend::answer::Step;
use tests::door::one_pool;
use tests::wire::Framing;
use tests::{Answer, CEILING, End, Response, TestBackend, TestDoor, within};

const WORKERS: [usize; 2] = [1, 4];

/// Fields and bytes of a request's body, and what the backend shall get of it.
struct Upload {
    fields: &'static str,
    wire: &'static str,
    body: &'static str,
    trailers: &'static [(&'static str, &'static str)],
}

const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";

const UPLOADS: [Upload; 9] = [
    Upload { fields: "", wire: "", body: "", trailers: &[] },
    Upload { fields: "Content-Length: 0\r\n", wire: "", body: "", trailers: &[] },
    Upload { fields: "Content-Length: 1\r\n", wire: "a", body: "a", trailers: &[] },
    Upload {
        fields: "Content-Length: 11\r\n",
        wire: "0\r\n\r\nGET / ",
        body: "0\r\n\r\nGET / ",
        trailers: &[],
    },
    Upload { fields: CHUNKED, wire: "0\r\n\r\n", body: "", trailers: &[] },
    Upload { fields: CHUNKED, wire: "3\r\nabc\r\n0\r\n\r\n", body: "abc", trailers: &[] },
    Upload {
        fields: CHUNKED,
        wire: "1;a=\"b c\"\r\na\r\n00c;x\r\nbcdefghijklm\r\n0;last\r\n\r\n",
        body: "abcdefghijklm",
        trailers: &[],
    },
    Upload {
        fields: "Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n",
        wire: "2\r\n\r\n\r\n0\r\nX-Sum: 5\r\nX-Two:b\r\n\r\n",
        body: "\r\n",
        trailers: &[("X-Sum", "5"), ("X-Two", "b")],
    },
    Upload {
        // What may not be merged into a head is left out (RFC 9110 §6.5.1).
        fields: CHUNKED,
        wire: "1\r\na\r\n0\r\nContent-Length: 7\r\nX-A: 1\r\nHost: evil\r\n\r\n",
        body: "a",
        trailers: &[("X-A", "1")],
    },
];

#[tokio::test]
async fn a_request_arrives_whole_wherever_it_is_cut_into_pieces() {
    let red = TestBackend::start("red").await;
    let door = TestDoor::in_front_of(&[&red], 1).await;
    let mut client = door.client().await;
    for upload in &UPLOADS {
        let request = format!("PUT /a HTTP/1.1\r\nHost: x\r\n{}\r\n{}", upload.fields, upload.wire);
        for cut in 0..request.len() {
            client.send(&request[..cut]).await;
            // The door has its turn; whether it takes it or not, the result is the same.
            tokio::task::yield_now().await;
            client.send(&request[cut..]).await;
            assert_eq!(client.read_response().await.text(), "red", "{cut} of {request:?}");
            assert_uploaded(&red, upload);
        }
        for byte in request.as_bytes().chunks(1) {
            client.send(byte).await;
        }
        assert_eq!(client.read_response().await.text(), "red");
        assert_uploaded(&red, upload);
    }
    // A body that has gone out cannot go out again, so it takes a connection that has rested, or a new
    // one; were the end of a body missed, every request would need a new one.
    let (connections, requests) = (red.connection_count(), red.request_count());
    assert!(connections < requests / 4, "{connections} connections for {requests} requests");
}

#[tokio::test]
async fn a_request_of_every_framing_and_method_arrives_whole() {
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        let door = TestDoor::in_front_of(&[&red], workers).await;
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY"] {
            let mut client = door.client().await;
            for upload in &UPLOADS {
                let head = format!("{method} /a HTTP/1.1\r\nHost: x\r\n{}\r\n", upload.fields);
                client.send(head + upload.wire).await;
                assert_eq!(client.read_response().await.text(), "red", "{method}");
                assert_uploaded(&red, upload);
            }
        }
    }
}

#[track_caller]
fn assert_uploaded(backend: &TestBackend, upload: &Upload) {
    let request = backend.request(backend.request_count() - 1);
    assert_eq!(request.body.text(), upload.body);
    let trailers: Vec<(&str, &str)> =
        request.body.trailers.iter().map(|(name, value)| (&**name, &**value)).collect();
    assert_eq!(trailers, upload.trailers);
    let framing = request.head.framing().expect("one framing");
    match upload.fields {
        "" => assert_eq!(framing, None),
        fields if fields.starts_with("Content") => {
            assert_eq!(framing, Some(Framing::Length(upload.body.len() as u64)));
        }
        _ => assert_eq!(framing, Some(Framing::Chunked)),
    }
}

/// A backend's answer, and what the client shall get of it.
struct Download {
    wire: &'static str,
    body: &'static str,
    trailers: usize,
    /// For an HTTP/1.1 client; an HTTP/1.0 client never gets chunks.
    framing: Framing,
}

const DOWNLOADS: [Download; 9] = [
    Download {
        wire: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        body: "hello",
        trailers: 0,
        framing: Framing::Length(5),
    },
    Download {
        wire: "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        body: "",
        trailers: 0,
        framing: Framing::Length(0),
    },
    Download {
        wire: "HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        body: "",
        trailers: 0,
        framing: Framing::Chunked,
    },
    Download {
        wire: "HTTP/1.1 200 \r\nTransfer-Encoding: Chunked\r\n\r\n1\r\na\r\n0B;e=1\r\nbcdefghijkl\r\n00\r\n\r\n",
        body: "abcdefghijkl",
        trailers: 0,
        framing: Framing::Chunked,
    },
    Download {
        wire: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
               2\r\n\r\n\r\n0\r\nX-Sum: 3\r\nX-B: \r\n\r\n",
        body: "\r\n",
        trailers: 2,
        framing: Framing::Chunked,
    },
    Download {
        wire: "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end",
        body: "until the end",
        trailers: 0,
        framing: Framing::Chunked,
    },
    Download { wire: "HTTP/1.1 200 OK\r\n\r\n", body: "", trailers: 0, framing: Framing::Chunked },
    Download {
        wire: "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nold",
        body: "old",
        trailers: 0,
        framing: Framing::Length(3),
    },
    Download {
        wire: "HTTP/1.0 200 OK\r\n\r\nold until the end",
        body: "old until the end",
        trailers: 0,
        framing: Framing::Chunked,
    },
];

impl Download {
    fn answer(&self, pieces: &[&str]) -> Answer {
        let answer = Answer::bytes(pieces.iter().map(|piece| piece.as_bytes()));
        let says_its_end = self.wire.contains("-Length:") || self.wire.contains("-Encoding:");
        let is_old = self.wire.starts_with("HTTP/1.0");
        if says_its_end && !is_old { answer } else { answer.close_after() }
    }
}

#[tokio::test]
async fn an_answer_arrives_whole_wherever_it_is_cut_into_pieces() {
    let red = TestBackend::start("red").await;
    let door = TestDoor::in_front_of(&[&red], 1).await;
    let mut client = door.client().await;
    for download in &DOWNLOADS {
        for cut in 0..download.wire.len() {
            let (head, rest) = download.wire.split_at(cut);
            red.answer_next(download.answer(&[head, rest]));
            assert_downloaded(&client.get("/").await, download);
        }
        let bytes: Vec<&str> = (0..download.wire.len()).map(|at| &download.wire[at..=at]).collect();
        red.answer_next(download.answer(&bytes));
        assert_downloaded(&client.get("/").await, download);
    }
}

#[track_caller]
fn assert_downloaded(response: &Response, download: &Download) {
    assert_eq!((response.status, response.text().as_str()), (200, download.body));
    assert_eq!(response.framing, download.framing, "{:?}", download.wire);
    assert_eq!(response.body.trailers.len(), download.trailers);
}

#[tokio::test]
async fn an_answer_to_an_old_client_comes_without_chunks() {
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        let door = TestDoor::in_front_of(&[&red], workers).await;
        for download in &DOWNLOADS {
            for keep_alive in ["", "Connection: keep-alive\r\n"] {
                red.answer_next(download.answer(&[download.wire]));
                let mut client = door.client().await;
                let response = client.request(format!("GET / HTTP/1.0\r\n{keep_alive}\r\n")).await;
                assert_eq!((response.status, response.text().as_str()), (200, download.body));
                assert!(response.body.trailers.is_empty());
                let expected = match download.framing {
                    Framing::Chunked => Framing::UntilClose,
                    framing => framing,
                };
                assert_eq!(response.framing, expected);
                let is_kept = !keep_alive.is_empty() && expected != Framing::UntilClose;
                let connection = if is_kept { "keep-alive" } else { "close" };
                assert_eq!(response.field("connection").as_deref(), Some(connection));
                if is_kept {
                    assert_eq!(client.get("/").await.text(), "red");
                } else {
                    assert_eq!(client.ended().await, End::Fin);
                }
            }
        }
    }
}

/// Answers that have no body whatever their fields say: request method, the answer, and the
/// `Content-Length` that the client sees.
const BODILESS: [(&str, &str, Option<&str>); 14] = [
    ("GET", "HTTP/1.1 204 No Content\r\n\r\n", None),
    ("GET", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", None),
    ("GET", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", None),
    ("DELETE", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", None),
    ("GET", "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n", None),
    ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", Some("5")),
    ("GET", "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", None),
    ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", Some("1000000")),
    ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", None),
    ("HEAD", "HTTP/1.1 200 OK\r\n\r\n", None),
    ("HEAD", "HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\n", Some("9")),
    ("GET", "HTTP/1.1 204 No Content\r\nContent-Length: 000\r\n\r\n", None),
    ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 000\r\n\r\n", Some("0")),
    ("HEAD", "HTTP/1.1 200 OK\r\ncontent-LENGTH:   0010  \r\n\r\n", Some("10")),
];

#[tokio::test]
async fn answers_without_a_body_leave_the_connection_in_step() {
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        let door = TestDoor::in_front_of(&[&red], workers).await;
        let mut client = door.client().await;
        for (method, answer, length) in BODILESS {
            red.answer_next(Answer::bytes([answer]));
            client.send(format!("{method} / HTTP/1.1\r\nHost: x\r\n\r\n")).await;
            let response = client.read_head_response().await;
            assert!(answer.contains(&response.status.to_string()));
            assert_eq!(response.field("content-length").as_deref(), length, "{answer:?}");
            assert_eq!(response.field("transfer-encoding"), None, "{answer:?}");
            assert_eq!(client.get("/").await.text(), "red", "after {answer:?}");
        }
    }
}

#[tokio::test]
async fn a_body_where_there_can_be_none_reaches_nobody() {
    let red = TestBackend::start("red").await;
    let door = TestDoor::in_front_of(&[&red], 1).await;
    let mut client = door.client().await;
    for (method, answer, _) in BODILESS {
        let smuggled = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
        red.answer_next(Answer::bytes([format!("{answer}{smuggled}")]));
        client.send(format!("{method} / HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        client.read_head_response().await;
        for _ in 0..3 {
            assert_eq!(client.get("/").await.text(), "red", "after {answer:?}");
        }
    }
}

#[tokio::test]
async fn interim_answers_pass_in_order() {
    let red = TestBackend::start("red").await;
    let door = TestDoor::in_front_of(&[&red], 1).await;
    let wire = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nConnection: x-hop\r\nX-Hop: 1\r\n\r\n\
                HTTP/1.1 102 Processing\r\n\r\n\
                HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let mut client = door.client().await;
    for cut in 0..wire.len() {
        red.answer_next(Answer::bytes([&wire[..cut], &wire[cut..]]));
        let response = client.get("/").await;
        assert_eq!(response.text(), "ok", "cut at {cut}");
        let starts: Vec<&str> = response.interim.iter().map(|head| &*head.start).collect();
        assert_eq!(starts, ["HTTP/1.1 103 Early Hints", "HTTP/1.1 102 Processing"], "cut at {cut}");
        assert_eq!(response.interim[0].field("link").as_deref(), Some("</a.css>"));
        assert_eq!(response.interim[0].field("x-hop"), None);
    }
    // RFC 9110 §15.2: never to a client that does not know them.
    red.answer_next(Answer::bytes([wire]));
    let mut old = door.client().await;
    let response = old.request("GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!((response.text().as_str(), response.interim.len()), ("ok", 0));
}

const EXPECTING: &str =
    "PUT / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";

#[tokio::test]
async fn who_waits_for_100_gets_it_from_the_backend() {
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        let door = TestDoor::in_front_of(&[&red], workers).await;
        let mut client = door.client().await;
        for _ in 0..3 {
            client.send(EXPECTING).await;
            assert_eq!(client.read_head().await.start, "HTTP/1.1 100 Continue");
            client.send("body").await;
            assert_eq!(client.read_response().await.text(), "red");
            assert_eq!(red.request(red.request_count() - 1).body.text(), "body");
        }
        assert_eq!(red.connection_count(), 1);
    }
}

#[tokio::test]
async fn who_does_not_wait_for_100_is_served_as_well() {
    let red = TestBackend::start("red").await;
    let door = TestDoor::in_front_of(&[&red], 1).await;
    let mut client = door.client().await;
    client.send(format!("{EXPECTING}body")).await;
    assert_eq!(client.read_response().await.text(), "red");

    // This backend never says 100: it waits, and the client sends at last.
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate".to_vec();
    red.answer_next(Answer::steps([Step::Hold, Step::Write(answer)]));
    client.send(EXPECTING).await;
    red.received(2).await;
    assert!(client.is_quiet());
    client.send("body").await;
    red.release();
    assert_eq!(client.read_response().await.text(), "late");
    assert_eq!(client.get("/").await.text(), "red");
}

#[tokio::test]
async fn an_old_client_never_gets_a_100() {
    let red = TestBackend::start("red").await;
    let door = TestDoor::in_front_of(&[&red], 1).await;
    let mut client = door.client().await;
    client.send(EXPECTING.replace("HTTP/1.1", "HTTP/1.0")).await;
    red.received(1).await;
    client.send("body").await;
    let response = client.read_response().await;
    assert_eq!((response.text().as_str(), response.interim.len()), ("red", 0));
}

#[tokio::test]
async fn a_refusal_instead_of_100_reaches_a_client_that_has_sent_no_body() {
    let red = TestBackend::start("red").await;
    let door = TestDoor::in_front_of(&[&red], 1).await;
    red.answer_next(Answer::full(413, &["Connection: close"], b"no").early());
    let mut client = door.client().await;
    client.send(EXPECTING).await;
    let response = client.read_response().await;
    assert_eq!((response.status, response.text().as_str()), (413, "no"));
    assert_eq!(response.field("connection").as_deref(), Some("close"));
    assert_eq!(client.ended().await, End::Fin);
}

const LARGE: u64 = 8 << 20;

#[tokio::test]
async fn a_413_of_the_door_arrives_although_the_body_is_still_coming() {
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        let configuration = one_pool(&[&red], workers) + "limits = { body = \"1MiB\" }\n";
        let door = TestDoor::checked(&configuration, &[&red]).await;
        let mut client = door.client().await;
        client.send(format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {LARGE}\r\n\r\n")).await;
        // All of it before the answer is looked at: a reset would have eaten the answer by then.
        client.send_pattern(LARGE).await;
        let response = client.read_response().await;
        assert_eq!(response.status, 413);
        assert!(response.text().contains("body_too_large"), "{}", response.text());
        assert_eq!(response.field("connection").as_deref(), Some("close"));
        client.half_close().await;
        assert_eq!(client.ended().await, End::Fin);
        assert_eq!(red.request_count(), 0);
    }
}

#[tokio::test]
async fn a_413_for_chunks_comes_when_the_limit_is_passed_and_the_backend_sees_the_cut() {
    let red = TestBackend::start("red").await;
    let configuration = one_pool(&[&red], 1) + "limits = { body = \"10B\" }\n";
    let door = TestDoor::checked(&configuration, &[&red]).await;
    let mut client = door.client().await;
    client.send("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    client.send("a\r\n0123456789\r\n").await;
    red.received(1).await;
    client.send("1\r\nx\r\n0\r\n\r\n").await;
    assert_eq!(client.read_response().await.status, 413);
    assert!(red.closed(0).await.is_some());
    assert!(!red.request(0).is_whole);

    // Exactly the limit passes.
    let mut client = door.client().await;
    client.send("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    client.send("a\r\n0123456789\r\n0\r\n\r\n").await;
    assert_eq!(client.read_response().await.text(), "red");
}

#[tokio::test]
async fn an_early_answer_of_the_backend_arrives_whole_although_it_reads_no_body() {
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        let door = TestDoor::in_front_of(&[&red], workers).await;
        // A backend that closes with bytes unread resets, and what does not fit into the first
        // window (64 KiB) may be lost with that.
        let refusal = vec![b'n'; 30_000];
        let answer = Answer::full(413, &["Connection: close"], &refusal).early();
        red.answer_by(move |_| answer.clone().close_after());
        for fields in [format!("Content-Length: {LARGE}"), "Transfer-Encoding: chunked".into()] {
            let mut client = door.client().await;
            client.send(format!("POST / HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n")).await;
            if fields.contains("chunked") {
                client.send(format!("{LARGE:x}\r\n")).await;
            }
            client.send_pattern(LARGE).await;
            let response = client.read_response().await;
            assert_eq!((response.status, response.body.len), (413, 30_000));
        }
    }
}

#[tokio::test]
async fn an_answer_flows_while_the_request_is_still_coming() {
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        let door = TestDoor::in_front_of(&[&red], workers).await;
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst".to_vec();
        let steps = [Step::Write(head), Step::ReadBody, Step::Write(b"-last".to_vec())];
        red.answer(Answer::steps(steps));
        let mut client = door.client().await;
        client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\nhalf").await;
        let head = client.read_head().await;
        assert_eq!(head.start, "HTTP/1.1 200 OK");
        assert_eq!(client.read_exact(5).await, b"first");
        assert!(client.is_quiet());
        client.send("rest").await;
        assert_eq!(client.read_exact(5).await, b"-last");
        red.completed(1).await;
        assert_eq!(red.request(0).body.text(), "halfrest");
    }
}

#[tokio::test]
async fn large_bodies_pass_both_ways_at_once() {
    for workers in WORKERS {
        let red = TestBackend::start_with("red", Answer::big(LARGE)).await;
        let door = TestDoor::in_front_of(&[&red], workers).await;
        let mut clients = Vec::new();
        for _ in 0..4 {
            clients.push(door.client().await);
        }
        let transfers = clients.into_iter().map(|mut client| {
            tokio::spawn(async move {
                client.ceiling = CEILING * 4;
                let head = format!("PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: {LARGE}\r\n\r\n");
                client.send(head).await;
                client.send_pattern(LARGE).await;
                client.read_response().await
            })
        });
        for transfer in transfers.collect::<Vec<_>>() {
            let response = within(CEILING * 4, transfer).await.unwrap();
            assert!(response.body.is_pattern);
            assert_eq!(response.body.len, LARGE);
        }
        for request in red.requests() {
            assert!(request.body.is_pattern);
            assert_eq!(request.body.len, LARGE);
        }
    }
}
