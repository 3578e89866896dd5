//! What a backend may get wrong: the client is told so, or its copy is visibly cut, and nothing of
//! it reaches anybody else.

use tests::backend::answer::Step;
use tests::door::one_pool;
use tests::{Answer, TestBackend, TestDoor};

const WORKERS: [usize; 2] = [1, 4];
const OK: &str = "HTTP/1.1 200 OK\r\n";

/// What is wrong, and the bytes.
fn bad_answers() -> Vec<(&'static str, String)> {
    let with = |line: &str| format!("{OK}{line}\r\n\r\n");
    let many = "A: b\r\n".repeat(201);
    vec![
        ("two lengths", with("Content-Length: 3\r\nContent-Length: 4")),
        ("one length twice", with("Content-Length: 3\r\nContent-Length: 3")),
        ("a list of lengths", with("Content-Length: 3, 3")),
        ("a signed length", with("Content-Length: +3")),
        ("a negative length", with("Content-Length: -3")),
        ("a length in words", with("Content-Length: three")),
        ("an empty length", with("Content-Length: ")),
        ("a length without end", with("Content-Length: 99999999999999999999")),
        ("length and chunks", with("Content-Length: 3\r\nTransfer-Encoding: chunked")),
        ("chunks and length", with("Transfer-Encoding: chunked\r\nContent-Length: 3")),
        ("chunks twice", with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked")),
        ("chunks in chunks", with("Transfer-Encoding: chunked, chunked")),
        ("another coding", with("Transfer-Encoding: gzip")),
        ("a coding nobody knows", with("Transfer-Encoding: xchunked")),
        ("a disguised length", with("Content_Length: 3")),
        ("chunks of HTTP/1.0", with("Transfer-Encoding: chunked").replace("1.1", "1.0")),
        ("a bad chunk", with("Transfer-Encoding: chunked") + "zz\r\nabc\r\n0\r\n\r\n"),
        ("a signed chunk", with("Transfer-Encoding: chunked") + "-1\r\nabc\r\n0\r\n\r\n"),
        ("an endless chunk", with("Transfer-Encoding: chunked") + "11111111111111111\r\n"),
        ("HTTP/0.9", "<html>hello</html>\r\n\r\n".into()),
        ("another protocol", "SSH-2.0-OpenSSH_9.2\r\n\r\n".into()),
        ("HTTP/2", "HTTP/2.0 200 OK\r\n\r\n".into()),
        ("HTTP/1.2", "HTTP/1.2 200 OK\r\n\r\n".into()),
        ("a version in small letters", "http/1.1 200 OK\r\n\r\n".into()),
        ("a line before", format!("\r\n{OK}Content-Length: 0\r\n\r\n")),
        ("a short status", "HTTP/1.1 20 OK\r\n\r\n".into()),
        ("a long status", "HTTP/1.1 2000 OK\r\n\r\n".into()),
        ("a status of letters", "HTTP/1.1 2xx OK\r\n\r\n".into()),
        ("status 099", "HTTP/1.1 099 OK\r\n\r\n".into()),
        ("status 600", "HTTP/1.1 600 OK\r\n\r\n".into()),
        ("no colon", with("Server")),
        ("no name", with(": a")),
        ("a space before the colon", with("Content-Length : 0")),
        ("a space before the name", with(" Server: a")),
        ("a folded line", with("Server: a\r\n b")),
        ("a NUL", with("Server: a\0b")),
        ("a bare CR", with("Server: a\rb")),
        ("bare line feeds", with("Content-Length: 0").replace("\r\n", "\n")),
        (
            "a 101 that nobody asked for",
            "HTTP/1.1 101 Hi\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n".into(),
        ),
        ("a 101 to nothing", "HTTP/1.1 101 Hi\r\n\r\n".into()),
        ("interim answers without end", "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(50)),
        ("a giant head", with(&format!("Server: {}", "s".repeat(70_000)))),
        ("a head without end", format!("{OK}Server: {}", "s".repeat(70_000))),
        ("too many fields", format!("{OK}{many}\r\n")),
    ]
}

#[tokio::test]
async fn a_bad_answer_becomes_one_clean_502() {
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        let log = "[observe]\naccess_log = { to = \"stdout\" }\n";
        let door = TestDoor::checked(&(one_pool(&[&red], workers) + log), &[&red]).await;
        let mut client = door.client().await;
        for (what, bytes) in bad_answers() {
            for method in ["GET", "POST"] {
                let sent = red.request_count();
                red.answer_next(Answer::bytes([bytes.as_bytes()]));
                let response =
                    client.request(format!("{method} / HTTP/1.1\r\nHost: x\r\n\r\n")).await;
                assert_eq!(response.status, 502, "{what}");
                assert!(response.text().contains("bad_response"), "{what}: {}", response.text());
                let connection = red.request(sent).connection;
                red.closed(connection).await;
                // It is asked once, and the client's connection goes on in step.
                assert_eq!(red.request_count(), sent + 1, "{what}");
                assert_eq!(client.get("/").await.text(), "red", "after {what}");
            }
        }
        door.logged("\"outcome\":\"bad_response\"").await;
    }
}

#[tokio::test]
async fn a_head_that_is_cut_becomes_a_502() {
    let red = TestBackend::start("red").await;
    let door = TestDoor::in_front_of(&[&red], 1).await;
    let mut client = door.client().await;
    let whole = format!("{OK}Content-Length: 0\r\n\r\n");
    for cut in 0..whole.len() {
        for end in [Step::Close, Step::Reset] {
            red.answer_next(Answer::bytes([&whole[..cut]]).then(end.clone()));
            let response = client.request("POST / HTTP/1.1\r\nHost: x\r\n\r\n").await;
            assert_eq!(response.status, 502, "cut at {cut}, {end:?}");
            assert!(response.text().contains("backend_reset"), "{}", response.text());
        }
    }
    assert_eq!(red.request_count(), 2 * whole.len());
}

#[tokio::test]
async fn bytes_behind_an_answer_are_nobodys() {
    let evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        let door = TestDoor::in_front_of(&[&red], workers).await;
        for answer in [
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        ] {
            // With the answer, and behind it in a segment of its own.
            for pieces in [vec![[answer, evil].concat()], vec![answer.into(), evil.into()]] {
                let sent = red.request_count();
                red.answer_next(Answer::bytes(pieces));
                door.client().await.get("/").await;
                red.completed(sent + 1).await;
                let connection = red.request(sent).connection;
                for _ in 0..4 * workers {
                    assert_eq!(door.client().await.get("/").await.text(), "red");
                }
                assert!(red.requests()[sent + 1..].iter().all(|r| r.connection != connection));
            }
        }
    }
}

/// An answer that a backend has sent before it was asked belongs to no request.
#[tokio::test]
async fn a_backend_that_answers_before_it_is_asked_is_not_used() {
    let red = TestBackend::start("red").await;
    let door = TestDoor::in_front_of(&[&red], 1).await;
    let evil = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil".to_vec();
    let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec();
    red.answer_next(Answer::steps([Step::Write(ok), Step::Hold, Step::Write(evil)]));
    let mut client = door.client().await;
    assert_eq!(client.get("/").await.text(), "ok");
    // The connection is idle now, and gets bytes.
    red.release();
    red.closed(0).await;
    for method in ["GET", "POST", "GET"] {
        let response = client.request(format!("{method} / HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        assert_eq!(response.text(), "red");
    }
    assert_eq!(red.connection_count(), 2);
}
