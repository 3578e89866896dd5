//! A client that sends exactly what the test says and reads exactly what comes.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

use crate::wire::{Body, Fault, Framing, Head, Wire, pattern};
use crate::{CEILING, within};

/// One connection to the door.
#[derive(Debug)]
pub struct TestClient {
    wire: Wire<TcpStream>,
    /// Limit of every wait; [`CEILING`] unless the test moves a lot of bytes.
    pub ceiling: Duration,
}

/// One answer, read to its end.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The head, byte for byte.
    pub head: Head,
    /// The decoded body.
    pub body: Body,
    /// The 1xx answers that came before, 101 excepted: that one is the answer.
    pub interim: Vec<Head>,
    /// How the end of the body was found.
    pub framing: Framing,
}

impl Response {
    /// The body as text.
    #[track_caller]
    pub fn text(&self) -> String {
        self.body.text()
    }

    /// The value of the only field of that name.
    #[track_caller]
    pub fn field(&self, name: &str) -> Option<String> {
        self.head.field(name)
    }
}

/// How the other side ended the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// In an orderly way.
    Fin,
    /// By a reset.
    Reset,
}

impl TestClient {
    /// Connects from a port that may still be remembered for connections to elsewhere: those to
    /// one address do not run out for all of them.
    #[track_caller]
    pub fn connect(addr: SocketAddr) -> impl Future<Output = TestClient> {
        within(CEILING, async move { TestClient::of(TcpStream::connect(addr).await, addr) })
    }

    /// Connects from an address of its own; the whole of 127.0.0.0/8 is ours.
    #[track_caller]
    pub fn connect_from(source: IpAddr, addr: SocketAddr) -> impl Future<Output = TestClient> {
        within(CEILING, async move {
            let socket = TcpSocket::new_v4().expect("a socket");
            socket.bind((source, 0).into()).expect("a loopback address");
            TestClient::of(socket.connect(addr).await, addr)
        })
    }

    #[track_caller]
    fn of(connected: std::io::Result<TcpStream>, addr: SocketAddr) -> TestClient {
        let stream = connected.unwrap_or_else(|error| panic!("no connection to {addr}: {error}"));
        stream.set_nodelay(true).expect("an option of every socket");
        TestClient { wire: Wire::new(stream), ceiling: CEILING }
    }

    /// The address the door sees.
    pub fn local_addr(&self) -> SocketAddr {
        self.wire.stream.local_addr().expect("a connected socket has an address")
    }

    /// Sends these bytes in one write. Fails the test when the connection is gone; see
    /// [`TestClient::try_send`].
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> impl Future<Output = ()> {
        within(self.ceiling, async move {
            let sent = self.try_send(bytes).await;
            sent.expect("the connection takes bytes");
        })
    }

    /// Sends these bytes in one write where the door may have closed already.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.wire.stream.write_all(bytes.as_ref()).await
    }

    /// Sends so many bytes of the [`pattern`].
    #[track_caller]
    pub fn send_pattern(&mut self, length: u64) -> impl Future<Output = ()> {
        within(self.ceiling, async move {
            let mut sent = 0;
            while sent < length {
                let run = pattern(sent, length - sent);
                self.wire.stream.write_all(run).await.expect("the connection takes bytes");
                sent += run.len() as u64;
            }
        })
    }

    /// The next answer, whole. For the answer to a HEAD see [`TestClient::read_head_response`].
    #[track_caller]
    pub fn read_response(&mut self) -> impl Future<Output = Response> {
        within(self.ceiling, async move {
            self.try_read_response().await.unwrap_or_else(|fault| panic!("no answer: {fault:?}"))
        })
    }

    /// The next answer to a HEAD request: whatever its fields say, it has no body.
    #[track_caller]
    pub fn read_head_response(&mut self) -> impl Future<Output = Response> {
        within(self.ceiling, async move {
            let read = self.response(true).await;
            read.unwrap_or_else(|(fault, _)| panic!("no answer: {fault:?}"))
        })
    }

    /// The next answer, or why it did not come whole.
    pub async fn try_read_response(&mut self) -> Result<Response, Fault> {
        self.response(false).await.map_err(|(fault, _)| fault)
    }

    /// The same for the answer to a HEAD request.
    pub async fn try_read_head_response(&mut self) -> Result<Response, Fault> {
        self.response(true).await.map_err(|(fault, _)| fault)
    }

    /// An answer that is expected to be cut: what came of it, and how it ended.
    #[track_caller]
    pub fn read_cut_response(&mut self) -> impl Future<Output = (Response, Fault)> {
        within(self.ceiling, async move {
            match self.response(false).await {
                Err((fault, Some(part))) => (*part, fault),
                other => panic!("not an answer that is cut: {other:?}"),
            }
        })
    }

    /// The rest of a body that is expected to be cut: how it ended.
    #[track_caller]
    pub fn read_cut_body(&mut self, framing: Framing) -> impl Future<Output = Fault> {
        within(self.ceiling, async move {
            let mut body = Body::default();
            match self.wire.body(framing, &mut body).await {
                Err(fault) => fault,
                Ok(()) => panic!("a clean end of {body:?}"),
            }
        })
    }

    /// The next head, with its body left unread.
    #[track_caller]
    pub fn read_head(&mut self) -> impl Future<Output = Head> {
        within(self.ceiling, async move {
            self.wire.head().await.expect("a head").expect("a head before the end")
        })
    }

    /// Sends a request as written and reads its answer.
    #[track_caller]
    pub fn request(&mut self, bytes: impl AsRef<[u8]>) -> impl Future<Output = Response> {
        let is_head = bytes.as_ref().starts_with(b"HEAD ");
        within(self.ceiling, async move {
            self.try_send(bytes).await.expect("the connection takes bytes");
            let read = self.response(is_head).await;
            read.unwrap_or_else(|(fault, _)| panic!("no answer: {fault:?}"))
        })
    }

    /// `GET path` with the host `test`, and its answer.
    #[track_caller]
    pub fn get(&mut self, path: &str) -> impl Future<Output = Response> {
        self.request(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"))
    }

    /// Exactly `count` bytes, as they are.
    #[track_caller]
    pub fn read_exact(&mut self, count: usize) -> impl Future<Output = Vec<u8>> {
        within(self.ceiling, async move { self.wire.exact(count).await.expect("more bytes") })
    }

    /// Everything until the door closes.
    #[track_caller]
    pub fn read_to_end(&mut self) -> impl Future<Output = Vec<u8>> {
        within(self.ceiling, async move { self.wire.rest().await.expect("an orderly end") })
    }

    /// Waits until the door ends the connection; fails when it sends something before.
    #[track_caller]
    pub fn ended(&mut self) -> impl Future<Output = End> {
        within(self.ceiling, async move {
            match self.wire.exact(1).await {
                Err(Fault::Closed) => End::Fin,
                Err(Fault::Reset) => End::Reset,
                more => panic!("not the end: {more:?} and {:?}", self.wire.pending()),
            }
        })
    }

    /// Whether nothing has come and the door has not ended the connection, as far as the kernel
    /// knows now.
    pub fn is_quiet(&self) -> bool {
        let peeked =
            socket2::SockRef::from(&self.wire.stream).peek(&mut [std::mem::MaybeUninit::uninit()]);
        let nothing = peeked.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        nothing && self.wire.pending().is_empty()
    }

    /// Says that no more bytes will come, and goes on reading.
    pub async fn half_close(&mut self) {
        self.wire.stream.shutdown().await.expect("an open connection");
    }

    /// Ends the connection with RST.
    pub fn reset(self) {
        self.wire.stream.set_zero_linger().expect("an option of every socket");
    }

    /// The answer, or the fault with what had come of the answer if its head had.
    ///
    /// # Errors
    /// It did not come whole.
    pub async fn response(
        &mut self,
        to_head: bool,
    ) -> Result<Response, (Fault, Option<Box<Response>>)> {
        let mut interim = Vec::new();
        let (status, head) = loop {
            let head = self.wire.head().await.map_err(|fault| (fault, None))?;
            let head = head.ok_or((Fault::Closed, None))?;
            match status_of(&head).map_err(|fault| (fault, None))? {
                100 | 102..=199 => interim.push(head),
                status => break (status, head),
            }
        };
        let declared = head.framing().map_err(|fault| (fault, None))?;
        let framing = match status {
            _ if to_head => Framing::Length(0),
            101 | 204 | 304 => Framing::Length(0),
            _ => declared.unwrap_or(Framing::UntilClose),
        };
        let mut response = Response { status, head, body: Body::default(), interim, framing };
        match self.wire.body(framing, &mut response.body).await {
            Ok(()) => Ok(response),
            Err(fault) => Err((fault, Some(Box::new(response)))),
        }
    }
}

fn status_of(head: &Head) -> Result<u16, Fault> {
    let status = head.start.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..4));
    let digits = status.and_then(|status| status.strip_suffix(' '));
    let status = digits.and_then(|digits| digits.parse().ok()).filter(|s| (100..600).contains(s));
    status.ok_or_else(|| {
        Fault::Malformed(format!("a status line in `{}`", head.start.escape_debug()))
    })
}
