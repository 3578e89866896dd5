//! A backend for tests: a real socket on loopback whose answer can be changed while it runs.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

/// Ceiling of every wait in these tests, far above what any of them needs.
pub(crate) const CEILING: Duration = Duration::from_secs(10);

/// What a connection gets.
#[derive(Clone)]
pub(crate) enum Answer {
    /// These bytes once a head has come, then the end.
    Bytes(Vec<u8>),
    /// These bytes once a head has come, then nothing for ever.
    Stall(Vec<u8>),
    /// The end, at once.
    Close,
    /// Nothing for ever; the connection stays open.
    Silence,
}

impl Answer {
    /// A whole answer with this status and body.
    pub(crate) fn status(status: u16, body: &str) -> Answer {
        let length = body.len();
        let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n");
        Answer::Bytes([head.as_bytes(), body.as_bytes()].concat())
    }
}

pub(crate) struct TestBackend {
    pub(crate) address: SocketAddr,
    answer: watch::Sender<Answer>,
    heads: mpsc::UnboundedReceiver<String>,
    accepting: JoinHandle<()>,
}

impl TestBackend {
    pub(crate) async fn start(answer: Answer) -> TestBackend {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (answer, answers) = watch::channel(answer);
        let (sender, heads) = mpsc::unbounded_channel();
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let answer = answers.borrow().clone();
                connections.spawn(serve(stream, answer, sender.clone()));
            }
        });
        TestBackend { address, answer, heads, accepting }
    }

    pub(crate) fn now_answers(&self, answer: Answer) {
        self.answer.send_replace(answer);
    }

    /// The head of the next connection, empty where it is not read.
    pub(crate) async fn asked(&mut self) -> String {
        tokio::time::timeout(CEILING, self.heads.recv()).await.expect("asked in time").unwrap()
    }

    pub(crate) fn was_asked(&mut self) -> bool {
        self.heads.try_recv().is_ok()
    }

    pub(crate) fn forget_what_was_asked(&mut self) {
        while self.was_asked() {}
    }

    /// Closes the listener: connections are refused from now on.
    pub(crate) async fn die(&mut self) {
        self.accepting.abort();
        let _ = (&mut self.accepting).await;
    }
}

impl Drop for TestBackend {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(mut stream: TcpStream, answer: Answer, heads: mpsc::UnboundedSender<String>) {
    match answer {
        Answer::Close => {
            let _ = heads.send(String::new());
        }
        Answer::Silence => {
            let _ = heads.send(String::new());
            std::future::pending::<()>().await;
        }
        Answer::Bytes(bytes) => {
            let _ = heads.send(read_head(&mut stream).await);
            let _ = stream.write_all(&bytes).await;
        }
        Answer::Stall(bytes) => {
            let _ = heads.send(read_head(&mut stream).await);
            let _ = stream.write_all(&bytes).await;
            std::future::pending::<()>().await;
        }
    }
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).await.is_ok_and(|n| n == 1) {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}
