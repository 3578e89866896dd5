//! Requests and answers that chance has made from those of `fixtures`, through a running door:
//! nothing that goes on has two readings, nothing that comes back is malformed, and it lives.
//!
//! Two seconds here, as long as `TIDEGATE_FUZZ_SECONDS` says in `make fuzz`; `TIDEGATE_SEED` repeats
//! what failed. The codec alone is fuzzed faster and deeper by `fuzz/`.

use std::path::Path;
use std::time::Instant;

use policies::rng::Rng;
use tests::backend::answer::Step;
use tests::chance::{below, seed, time};
use tests::door::one_pool;
use tests::wire::Fault;
use tests::{Answer, CEILING, Recorder, TestBackend, TestDoor, corpus, readings};

/// After so many rounds everything begins anew, so that no record grows without end.
const ROUNDS: usize = 2_000;

fn messages(folder: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(folder);
    corpus::read_folder(&folder).into_iter().map(|case| case.sent).collect()
}

/// What makes a difference to somebody.
const WORDS: [&[u8]; 24] = [
    b"\r\n",
    b"\r",
    b"\n",
    b"\0",
    b" ",
    b"\t",
    b":",
    b",",
    b";",
    b"_",
    b"0",
    b"5",
    b"\x0b",
    b"\xff",
    b"chunked",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Host: b\r\n",
    b"Connection: close\r\n",
    b"\r\n\r\n",
    b"5\r\nhello\r\n",
    b"0\r\n\r\n",
    b"GET /evil HTTP/1.1\r\nHost: a\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
];

/// One to four changes of one message, or of the beginning of one and the end of another.
fn mutate(rng: &mut Rng, messages: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = messages[below(rng, messages.len())].clone();
    bytes.truncate(2_000);
    for _ in 0..=below(rng, 4) {
        let at = below(rng, bytes.len() + 1);
        let end = (at + 1 + below(rng, 8)).min(bytes.len());
        match below(rng, 6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << below(rng, 8),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            3 => {
                let other = &messages[below(rng, messages.len())];
                let from = below(rng, other.len() + 1);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
                bytes.truncate(4_000);
            }
            _ => {
                let word = WORDS[below(rng, WORDS.len())];
                bytes.splice(at..at, word.iter().copied());
            }
        }
    }
    bytes
}

#[tokio::test]
async fn nothing_that_chance_makes_of_a_request_has_two_readings() {
    let messages = messages("requests");
    let (begun, mut rng) = (Instant::now(), Rng::new(seed()));
    let mut count = 0;
    while begun.elapsed() < time() {
        let recorder = Recorder::start().await;
        let health = TestBackend::start("red").await;
        let probed = format!("[pools.app.health]\nport = {}", health.addr().port());
        let config = one_pool(&[&health], 1 + count % 2)
            .replace(&health.addr().to_string(), &recorder.addr().to_string())
            .replace("[pools.app.health]", &probed);
        let door = TestDoor::checked(&config, &[&health]).await;
        for _ in 0..ROUNDS {
            if begun.elapsed() >= time() {
                break;
            }
            count += 1;
            let bytes = mutate(&mut rng, &messages);
            let before = recorder.mark();
            send(&door, &bytes).await;
            for stream in recorder.streams_since(&before) {
                if let Err(why) = readings::agreed(&stream) {
                    panic!("seed {}: `{}` became two: {why}", seed(), bytes.escape_ascii());
                }
            }
        }
        assert_eq!(door.client().await.get("/").await.status, 200, "seed {}", seed());
        assert!(!door.output().contains("panicked"));
    }
    println!("{count} requests");
}

/// Sends all of it, and takes strict answers until there are no more.
async fn send(door: &TestDoor, bytes: &[u8]) {
    let mut client = door.client().await;
    // What is left of a refused request is not taken.
    let _ = client.try_send(bytes).await;
    client.half_close().await;
    loop {
        let answer = tokio::time::timeout(CEILING * 3, client.response(false)).await;
        match answer.unwrap_or_else(|_| panic!("no end of `{}`", bytes.escape_ascii())) {
            // The recorder does not answer what its strict reader does not take.
            Ok(answer) => assert_ne!(answer.status, 504, "{}", bytes.escape_ascii()),
            // An answer to HEAD has no body, whatever this reader expects.
            Err((Fault::Malformed(what), _)) if !bytes.windows(5).any(|five| five == b"HEAD ") => {
                panic!("`{}` was answered by {what}", bytes.escape_ascii());
            }
            Err(_) => return,
        }
    }
}

#[tokio::test]
async fn nothing_that_chance_makes_of_an_answer_is_passed_on_malformed() {
    let messages = messages("answers");
    let (begun, mut rng) = (Instant::now(), Rng::new(seed()));
    let mut count = 0;
    while begun.elapsed() < time() {
        let red = TestBackend::start("red").await;
        let door = TestDoor::in_front_of(&[&red], 1 + count % 2).await;
        for _ in 0..ROUNDS {
            if begun.elapsed() >= time() {
                break;
            }
            count += 1;
            let bytes = mutate(&mut rng, &messages);
            let end = if rng.below(2) == 0 { Step::Close } else { Step::Reset };
            red.answer_next(Answer::bytes([&bytes[..]]).then(end));
            let mut client = door.client().await;
            let version = rng.below(2);
            // A POST, because a GET that has reached nobody would be sent again.
            client.send(format!("POST / HTTP/1.{version}\r\nHost: x\r\n\r\n")).await;
            let answer = tokio::time::timeout(CEILING * 3, client.response(false)).await;
            let answer = answer.unwrap_or_else(|_| panic!("no end of `{}`", bytes.escape_ascii()));
            if let Err((Fault::Malformed(what), _)) = answer {
                panic!("seed {}: `{}` became {what}", seed(), bytes.escape_ascii());
            }
            let next = door.client().await.get("/").await.text();
            assert_eq!(next, "red", "seed {}: behind `{}`", seed(), bytes.escape_ascii());
        }
        assert!(!door.output().contains("panicked"));
    }
    println!("{count} answers");
}
