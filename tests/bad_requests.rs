//! Requests that two parsers could read differently, or that none can read, through a real door.
//!
//! `fixtures/requests` has them as data. Each is sent in one piece and in several, to doors with one
//! and with four workers; what the backend has got is compared with what it may have got, and in
//! the end every byte of every connection to it must have one reading (`tests::readings`).

use std::path::Path;

use tests::corpus::{self, Case};
use tests::readings::{self, Habit, Reading};
use tests::wire::Fault;
use tests::{CEILING, Recorder, Response, TestBackend, TestClient, TestDoor};

/// A door whose only backend is the recorder; its health is somebody else's.
async fn door(recorder: &Recorder, health: &TestBackend, workers: usize) -> TestDoor {
    let configuration = tests::door::one_pool(&[health], workers);
    let probed = format!("[pools.app.health]\nport = {}", health.addr().port());
    let configuration = configuration
        .replace(&health.addr().to_string(), &recorder.addr().to_string())
        .replace("[pools.app.health]", &probed);
    TestDoor::checked(&configuration, &[health]).await
}

/// How a case is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pieces {
    One,
    Many,
}

#[tokio::test]
async fn nothing_of_a_request_that_can_be_read_in_two_ways_goes_on() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/requests");
    let cases = corpus::read_folder(&folder);
    assert!(cases.len() >= 350, "{}", cases.len());
    let mut failures = Vec::new();
    for workers in [1, 4] {
        let recorder = Recorder::start().await;
        let health = TestBackend::start("red").await;
        let door = door(&recorder, &health, workers).await;
        for pieces in [Pieces::One, Pieces::Many] {
            for case in &cases {
                if let Err(why) = run(&door, &recorder, case, pieces).await {
                    failures.push(format!("{} ({}): {why}", case.place, case.name));
                }
            }
        }
        for stream in recorder.streams() {
            if let Err(why) = readings::agreed(&stream) {
                failures.push(format!("two readings: {why}"));
            }
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

async fn run(
    door: &TestDoor,
    recorder: &Recorder,
    case: &Case,
    pieces: Pieces,
) -> Result<(), String> {
    let mut client = door.client().await;
    let before = recorder.mark();
    send(&mut client, case, pieces).await;
    let (statuses, end) = case.answer.rsplit_once(", ").ok_or("no end in `answer`")?;
    for status in statuses.split(", ").filter(|status| *status != "none") {
        let is_head = status.ends_with("/head");
        let got = read(&mut client, is_head).await;
        let got = got.map_err(|fault| format!("{fault:?} instead of {status}"))?.status;
        if status.trim_end_matches("/head") != got.to_string() {
            return Err(format!("{got} instead of {status}"));
        }
    }
    if end != "stays" {
        let ended = read(&mut client, false).await;
        let expected = if end == "close" { Fault::Closed } else { Fault::Reset };
        if ended.as_ref().err() != Some(&expected) {
            return Err(format!("{ended:?} instead of the end: {end}"));
        }
    }
    compare(recorder, &before, case, pieces)?;
    if end == "stays" && client.get("/after").await.status != 200 {
        return Err("the connection is out of step".to_owned());
    }
    Ok(())
}

/// The next answer, or why none came.
async fn read(client: &mut TestClient, is_head: bool) -> Result<Response, Fault> {
    let answer = async {
        match is_head {
            true => client.try_read_head_response().await,
            false => client.try_read_response().await,
        }
    };
    let in_time = tokio::time::timeout(CEILING, answer).await;
    in_time.unwrap_or_else(|_| Err(Fault::Malformed("nothing for too long".to_owned())))
}

async fn send(client: &mut TestClient, case: &Case, pieces: Pieces) {
    let count = match pieces {
        Pieces::One => 1,
        Pieces::Many => 4,
    };
    let size = case.sent.len().div_ceil(count).max(1);
    for piece in case.sent.chunks(size) {
        // The door may have refused what came before.
        let _ = client.try_send(piece).await;
        tokio::task::yield_now().await;
    }
    if case.keys.get("client").is_some_and(|what| what == "ends") {
        client.half_close().await;
    }
}

/// What has come to the backend is what may have come.
fn compare(
    recorder: &Recorder,
    before: &tests::recorder::Mark,
    case: &Case,
    pieces: Pieces,
) -> Result<(), String> {
    let authority = recorder.addr().to_string();
    let came = without_ours(&recorder.since(before), &authority)?;
    if case.keys.get("backend").is_some_and(|what| what == "cut") {
        return compare_cut(&came, case);
    }
    let is_same = match pieces {
        Pieces::One => came == case.passed,
        // A chunked body may be cut elsewhere.
        Pieces::Many => readings::read(&came, Habit::None) == expected(case),
    };
    if is_same {
        return Ok(());
    }
    Err(format!("the backend got\n{}\ninstead of\n{}", show(&came), show(&case.passed)))
}

/// At most the beginning of one request, which no reader takes for a whole one.
fn compare_cut(came: &[u8], case: &Case) -> Result<(), String> {
    for habit in Habit::ALL {
        let readings = readings::read(came, habit);
        let is_beginning = |reading: &Reading| match expected(case).first() {
            Some(whole) => {
                let is_same = (&whole.target, &whole.hosts) == (&reading.target, &reading.hosts);
                is_same && whole.body.starts_with(&reading.body)
            }
            None => reading.target == "/",
        };
        if readings.len() > 1 || readings.iter().any(|one| one.is_whole || !is_beginning(one)) {
            return Err(format!("{habit:?} reads {readings:?}"));
        }
    }
    Ok(())
}

fn expected(case: &Case) -> Vec<Reading> {
    readings::read(&case.passed, Habit::None)
}

fn show(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace('\r', "\\r").replace('\0', "\\0")
}

/// The same with `...` in place of the lines that the door adds to every head, once they are as they
/// should be.
fn without_ours(bytes: &[u8], authority: &str) -> Result<Vec<u8>, String> {
    const FIRST: &[u8] = b"x-forwarded-for: 127.0.0.1\r\nx-forwarded-proto: http\r\n";
    let mut out = Vec::new();
    let mut rest = bytes;
    while let Some(at) = rest.windows(FIRST.len()).position(|window| window == FIRST) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(b"...\r\n");
        rest = skip_ours(&rest[at + FIRST.len()..])
            .ok_or_else(|| format!("odd lines of ours in\n{}", show(bytes)))?;
    }
    out.extend_from_slice(rest);
    let text = String::from_utf8_lossy(&out).replace(authority, "BACKEND");
    Ok(if text.contains("BACKEND") { text.into_bytes() } else { out })
}

/// What follows our lines behind the first two.
fn skip_ours(bytes: &[u8]) -> Option<&[u8]> {
    let line = |bytes: &'_ [u8]| bytes.windows(2).position(|two| two == b"\r\n").map(|end| end + 2);
    let mut rest = bytes;
    if rest.starts_with(b"x-forwarded-host: ") {
        rest = &rest[line(rest)?..];
    }
    // The version that the request came in (RFC 9110 §7.6.3).
    let via = rest.strip_prefix(b"via: 1.1 test\r\n");
    rest = via.or_else(|| rest.strip_prefix(b"via: 1.0 test\r\n"))?;
    rest = rest.strip_prefix(b"x-request-id: ")?;
    let (id, after) = rest.split_at_checked(32)?;
    let trace = [b"\r\ntraceparent: 00-", id, b"-", &id[16..], b"-00\r\n"].concat();
    let is_hex = id.iter().all(u8::is_ascii_hexdigit);
    after.strip_prefix(&trace[..]).filter(|_| is_hex)
}
