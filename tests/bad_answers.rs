//! What a backend may get wrong: the client is told so, or its copy is visibly cut, and nothing of
//! it reaches anybody else.

use std::path::Path;

use tests::backend::answer::Step;
use tests::corpus::{self, Case};
use tests::door::one_pool;
use tests::wire::{Fault, Framing};
use tests::{Answer, CEILING, Response, TestBackend, TestClient, TestDoor};

const WORKERS: [usize; 2] = [1, 4];
const OK: &str = "HTTP/1.1 200 OK\r\n";

/// Reached soon, by a backend that says nothing more.
const SOON: &str = "timeouts = { first_byte = \"250ms\", idle_stream = \"250ms\" }\n";

/// The cases of the files of `fixtures/answers` that are named, or of the others.
fn cases(of_slow: bool) -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/answers");
    let mut cases = corpus::read_folder(&folder);
    assert!(cases.len() >= 130, "{}", cases.len());
    cases.retain(|case| case.place.starts_with("slow.txt") == of_slow);
    cases
}

#[tokio::test]
async fn a_bad_answer_becomes_one_clean_refusal_or_a_visible_cut() {
    let log = "[observe]\naccess_log = { to = \"stdout\" }\n";
    let door = check(&cases(false), log, None).await;
    for word in ["bad_response", "backend_reset", "answer_cut"] {
        door.logged(&format!("\"outcome\":\"{word}\"")).await;
    }
}

#[tokio::test]
async fn a_backend_that_falls_silent_is_given_up_when_its_limit_is_reached() {
    check(&cases(true), SOON, Some(Step::Hold)).await;
}

/// Asks for each answer in every way that makes a difference; the door with most workers.
async fn check(cases: &[Case], end: &str, then: Option<Step>) -> TestDoor {
    let mut failures = Vec::new();
    let mut doors = Vec::new();
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        let door = TestDoor::checked(&(one_pool(&[&red], workers) + end), &[&red]).await;
        for case in cases {
            for ask in asks(case) {
                let then = case.keys.get("end").map(|end| step(end)).or(then.clone());
                if let Err(why) = run(&door, &red, case, ask, then).await {
                    failures.push(format!("{} ({}, {ask:?}): {why}", case.place, case.name));
                }
            }
        }
        doors.push(door);
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    doors.pop().expect("there is one")
}

/// How an answer is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ask {
    method: &'static str,
    version: &'static str,
    /// The body comes once the client has the head.
    is_late: bool,
}

fn asks(case: &Case) -> Vec<Ask> {
    let ask = |method, version, is_late| Ask { method, version, is_late };
    if case.keys.get("to").is_some_and(|method| method == "HEAD") {
        return vec![ask("HEAD", "1.1", false)];
    }
    // A GET that has reached nobody may be sent again.
    let mut all = vec![ask("POST", "1.1", false)];
    if !case.answer.ends_with("backend_reset") {
        all.extend([ask("GET", "1.1", false), ask("GET", "1.0", false)]);
    }
    if case.keys.contains_key("late") {
        all.extend([ask("GET", "1.1", true), ask("GET", "1.0", true)]);
    }
    all
}

fn step(end: &str) -> Step {
    if end == "reset" { Step::Reset } else { Step::Close }
}

async fn run(
    door: &TestDoor,
    red: &TestBackend,
    case: &Case,
    ask: Ask,
    then: Option<Step>,
) -> Result<(), String> {
    let sent = red.request_count();
    red.answer_next(script(case, ask, then));
    let mut client = door.client().await;
    let Ask { method, version, is_late } = ask;
    client.send(format!("{method} / HTTP/{version}\r\nHost: x\r\n\r\n")).await;
    if is_late {
        let head = client.read_head().await;
        red.release();
        let framing = head.framing().map_err(|fault| format!("{fault:?}"))?;
        client.read_cut_body(framing.unwrap_or(Framing::UntilClose)).await;
    } else {
        judge(&mut client, case, method == "HEAD").await?;
    }
    let connection = red.request(sent).connection;
    red.closed(connection).await;
    if red.request_count() != sent + 1 {
        return Err("it was asked more than once".to_owned());
    }
    // Nobody else gets anything of it.
    match door.client().await.get("/").await.text() {
        text if text == "red" => Ok(()),
        text => Err(format!("the next one got {text}")),
    }
}

fn script(case: &Case, ask: Ask, then: Option<Step>) -> Answer {
    let mut steps = vec![Step::ReadBody];
    let head = case.sent.windows(4).position(|four| four == b"\r\n\r\n").map_or(0, |at| at + 4);
    if ask.is_late {
        steps.extend([Step::Write(case.sent[..head].to_vec()), Step::Hold]);
        steps.push(Step::Write(case.sent[head..].to_vec()));
    } else {
        steps.push(Step::Write(case.sent.clone()));
    }
    steps.extend(then);
    Answer::steps(steps)
}

/// Whether the client has got what it shall get.
async fn judge(client: &mut TestClient, case: &Case, is_head: bool) -> Result<(), String> {
    let read = tokio::time::timeout(CEILING, client.response(is_head)).await;
    let read = read.map_err(|_| "nothing for too long")?;
    if case.answer == "cut" {
        return match read {
            Err((Fault::Closed | Fault::Reset, _)) => Ok(()),
            // Nothing was out yet.
            Ok(response) if matches!(response.status, 502 | 504) => Ok(()),
            other => Err(format!("{other:?} instead of a cut")),
        };
    }
    let response = read.map_err(|(fault, _)| format!("{fault:?} instead of {}", case.answer))?;
    let (status, word) = case.answer.split_once(' ').unwrap_or((case.answer.as_str(), ""));
    let is_right = response.status.to_string() == status && says(&response, word);
    let is_passed = case.passed.is_empty() || response.body.bytes() == case.passed;
    let forbidden = case.keys.get("lacks").map_or("evil", String::as_str);
    if is_right && is_passed && !everything(&response).contains(forbidden) {
        return Ok(());
    }
    Err(format!("{} instead of {}", everything(&response), case.answer))
}

fn says(response: &Response, word: &str) -> bool {
    word.is_empty() || response.text().contains(word)
}

fn everything(response: &Response) -> String {
    format!("{}{}{:?}", response.head.text(), response.text(), response.body.trailers)
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
    assert!(red.requests()[1..].iter().all(|request| request.connection != 0));
}

#[tokio::test]
async fn a_length_that_some_read_as_octal_goes_on_as_the_number_it_is() {
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        let door = TestDoor::in_front_of(&[&red], workers).await;
        let mut client = door.client().await;
        for (length, body) in [("010", "ten bytes."), ("0000000000000000002", "ab"), ("00", "")] {
            let lines = format!("X-A: 1\r\nContent-Length: {length}\r\nX-B: 2\r\n");
            red.answer_next(Answer::bytes([format!("HTTP/1.1 200 OK\r\n{lines}\r\n{body}")]));
            let answer = client.get("/").await;
            assert_eq!(answer.text(), body);
            // The only one there is.
            assert_eq!(answer.field("content-length"), Some(body.len().to_string()));
            assert_eq!(answer.field("x-a").as_deref(), Some("1"));
            assert_eq!(answer.field("x-b").as_deref(), Some("2"));
            assert_eq!(client.get("/").await.text(), "red", "behind {length}");
        }
    }
}
