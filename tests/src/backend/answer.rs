//! What a backend does with a request: a list of steps, with words for the usual lists.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use super::record::Received;

/// A script for one request, step by step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub(super) steps: Vec<Step>,
}

/// One thing to do. A `HEAD` request skips [`Step::Body`] and [`Step::Fill`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Send `100 Continue` if the request expects it, then read its body to the end.
    ReadBody,
    /// Wait for [`release`](super::TestBackend::release), or for the other side to leave.
    Hold,
    /// Take so long.
    Pause(Duration),
    /// Send these bytes as they are, in one write.
    Write(Vec<u8>),
    /// Send these bytes of a body, in one write.
    Body(Vec<u8>),
    /// Send a head and the body's first bytes in one write.
    Message(Vec<u8>, Vec<u8>),
    /// Send so many bytes of the [pattern](crate::wire::pattern).
    Fill(u64),
    /// Send back whatever comes, until the other side closes its half; then close.
    Echo,
    /// Close in an orderly way.
    Close,
    /// End with RST.
    Reset,
}

impl Answer {
    /// Exactly these steps.
    pub fn steps(steps: impl Into<Vec<Step>>) -> Answer {
        Answer { steps: steps.into() }
    }

    /// 200 with a text.
    pub fn text(text: &str) -> Answer {
        Answer::full(200, &[], text.as_bytes())
    }

    /// That status with a short text; none where there can be none (204, 304).
    pub fn status(status: u16) -> Answer {
        if matches!(status, 204 | 304) {
            let head = format!("HTTP/1.1 {status} {}\r\n\r\n", reason(status));
            return Answer::bytes([head]);
        }
        Answer::full(status, &[], format!("status {status}").as_bytes())
    }

    /// Status, further field lines (`"X-A: b"`) and a body with its length.
    pub fn full(status: u16, lines: &[&str], body: &[u8]) -> Answer {
        let mut head = format!("HTTP/1.1 {status} {}\r\n", reason(status));
        for line in lines {
            head += line;
            head += "\r\n";
        }
        head += &format!("Content-Length: {}\r\n\r\n", body.len());
        Answer::steps([Step::ReadBody, Step::Message(head.into_bytes(), body.to_vec())])
    }

    /// These bytes after the request's body was read, one write for each piece.
    pub fn bytes(pieces: impl IntoIterator<Item = impl Into<Vec<u8>>>) -> Answer {
        let writes = pieces.into_iter().map(|piece| Step::Write(piece.into()));
        Answer::steps([Step::ReadBody].into_iter().chain(writes).collect::<Vec<_>>())
    }

    /// 200, chunked: one write for each chunk, trailer lines (`"X-Sum: 5"`) at the end.
    pub fn chunked(chunks: &[&str], trailers: &[&str]) -> Answer {
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        let mut steps = vec![Step::ReadBody, Step::Write(head)];
        for chunk in chunks {
            let framed = format!("{:x}\r\n{chunk}\r\n", chunk.len());
            steps.push(Step::Body(framed.into_bytes()));
        }
        let trailers: String = trailers.iter().map(|line| format!("{line}\r\n")).collect();
        steps.push(Step::Body(format!("0\r\n{trailers}\r\n").into_bytes()));
        Answer::steps(steps)
    }

    /// 200 without a length: the body ends with the connection.
    pub fn until_close(body: &str) -> Answer {
        let head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_vec();
        Answer::steps([Step::ReadBody, Step::Message(head, body.into()), Step::Close])
    }

    /// 200 with so many bytes of the [pattern](crate::wire::pattern).
    pub fn big(length: u64) -> Answer {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
        Answer::steps([Step::ReadBody, Step::Write(head.into_bytes()), Step::Fill(length)])
    }

    /// 200 that promises `length` bytes, sends `sent` of them and closes.
    pub fn cut(length: u64, sent: u64) -> Answer {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
        let head = Step::Write(head.into_bytes());
        Answer::steps([Step::ReadBody, head, Step::Fill(sent), Step::Close])
    }

    /// 101, then an echo. `protocol` as in the `Upgrade` field.
    pub fn upgrade(protocol: &str) -> Answer {
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n"
        );
        Answer::steps([Step::ReadBody, Step::Write(head.into_bytes()), Step::Echo])
    }

    /// No answer: the connection ends with RST once the request is read.
    pub fn reset() -> Answer {
        Answer::steps([Step::ReadBody, Step::Reset])
    }

    /// No answer: the connection is closed once the request is read.
    pub fn close() -> Answer {
        Answer::steps([Step::ReadBody, Step::Close])
    }

    /// No answer, and the request's body is not read either, until it is released.
    pub fn stall() -> Answer {
        Answer::steps([Step::Hold])
    }

    /// The same, but its first byte waits for a release; the request's body is read before.
    pub fn held(mut self) -> Answer {
        let reads = usize::from(self.steps.first() == Some(&Step::ReadBody));
        self.steps.insert(reads, Step::Hold);
        self
    }

    /// The same, so much later: a slow backend.
    pub fn after(mut self, pause: Duration) -> Answer {
        let reads = usize::from(self.steps.first() == Some(&Step::ReadBody));
        self.steps.insert(reads, Step::Pause(pause));
        self
    }

    /// The same, but sent at once, without a look at the request's body.
    pub fn early(mut self) -> Answer {
        self.steps.retain(|step| *step != Step::ReadBody);
        self
    }

    /// The same, and then this step.
    pub fn then(mut self, step: Step) -> Answer {
        self.steps.push(step);
        self
    }

    /// The same, and then the connection is closed without having said so.
    pub fn close_after(self) -> Answer {
        self.then(Step::Close)
    }
}

/// The phrase of the statuses that tests use.
fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        304 => "Not Modified",
        404 => "Not Found",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Status",
    }
}

/// Which answer a request gets.
pub(super) struct Script {
    inner: Mutex<Inner>,
}

struct Inner {
    next: VecDeque<Answer>,
    always: Box<dyn Fn(&Received) -> Answer + Send + Sync>,
    probe_path: String,
    probe_status: u16,
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script").finish_non_exhaustive()
    }
}

impl Script {
    pub(super) fn new(answer: Answer) -> Script {
        let inner = Inner {
            next: VecDeque::new(),
            always: Box::new(move |_| answer.clone()),
            probe_path: "/healthz".to_owned(),
            probe_status: 200,
        };
        Script { inner: Mutex::new(inner) }
    }

    pub(super) fn always(&self, choose: impl Fn(&Received) -> Answer + Send + Sync + 'static) {
        self.with(|inner| inner.always = Box::new(choose));
    }

    pub(super) fn push(&self, answer: Answer) {
        self.with(|inner| inner.next.push_back(answer));
    }

    pub(super) fn probes(&self, path: &str, status: u16) {
        self.with(|inner| (inner.probe_path, inner.probe_status) = (path.to_owned(), status));
    }

    /// The status for a probe, `None` for anything else.
    pub(super) fn probe_status(&self, target: &str) -> Option<u16> {
        self.with(|inner| (target == inner.probe_path).then_some(inner.probe_status))
    }

    /// What was told for the next request alone.
    pub(super) fn next(&self) -> Option<Answer> {
        self.with(|inner| inner.next.pop_front())
    }

    pub(super) fn choose(&self, request: &Received) -> Answer {
        self.with(|inner| (inner.always)(request))
    }

    fn with<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> T {
        act(&mut self.inner.lock().expect("the test's own closure panicked"))
    }
}
