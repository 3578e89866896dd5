//! One connection of a backend: read a request, write it down, do as the script says.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::answer::{Answer, Step};
use super::record::{Connection, Received};
use super::{Death, Shared};
use crate::wire::{Body, Fault, Framing, Head, Wire, pattern};

/// Serves until either side ends it, and writes down how it ended.
pub(super) async fn connection(
    stream: TcpStream,
    shared: Arc<Shared>,
    mut death: watch::Receiver<Option<Death>>,
) {
    stream.set_nodelay(true).expect("an option of every socket");
    let tap = Tap { stream, shared: shared.clone(), number: None, before: Connection::default() };
    let mut wire = Wire::new(tap);
    let ended = tokio::select! {
        // Not cancel-safe, and need not be: the connection dies with it.
        ended = requests(&mut wire) => ended,
        dead = death.wait_for(Option::is_some) => match dead.as_deref() {
            Ok(Some(Death::Reset)) => Err(Fault::Reset),
            _ => Ok(()),
        },
    };
    let ended = ended.err();
    if ended == Some(Fault::Reset) {
        // It may be reset already; then there is nothing left to do.
        let _ = wire.stream.stream.set_zero_linger();
    }
    let number = wire.stream.number;
    drop(wire);
    shared.ledger.update(|state| {
        if let Some(Fault::Malformed(what)) = &ended {
            state.malformed.push(what.clone());
        }
        if let Some(number) = number {
            state.connections[number].ended = Some(ended);
        }
        state.running -= 1;
    });
}

/// `Ok` when the connection ended between requests or because the script said so.
async fn requests(wire: &mut Wire<Tap>) -> Result<(), Fault> {
    let shared = wire.stream.shared.clone();
    while let Some(head) = wire.head().await? {
        check_start(&head)?;
        let target = head.start.split(' ').nth(1).unwrap_or_default();
        if let Some(status) = shared.script.probe_status(target) {
            shared.ledger.update(|state| state.probes += 1);
            let answer = Answer::status(status).early();
            Exchange::new(&head, 0)?.perform(wire, &answer).await?;
        } else {
            // Before anybody can hear of the request, and another one be sent.
            let planned = shared.script.next();
            let index = wire.stream.begin(&head);
            let request = shared.ledger.read(|state| state.requests[index].clone());
            let answer = planned.unwrap_or_else(|| shared.script.choose(&request));
            let mut exchange = Exchange::new(&head, index)?;
            exchange.perform(wire, &answer).await?;
            exchange.read_body(wire).await?;
            if exchange.is_last {
                return Ok(());
            }
        }
        if head.lists("connection", "close") || head.start.ends_with(" HTTP/1.0") {
            return Ok(());
        }
    }
    Ok(())
}

fn check_start(head: &Head) -> Result<(), Fault> {
    let words: Vec<&str> = head.start.split(' ').collect();
    match words[..] {
        [method, target, "HTTP/1.1" | "HTTP/1.0"] if !method.is_empty() && !target.is_empty() => {
            Ok(())
        }
        _ => Err(Fault::Malformed(format!("a request line in `{}`", head.start.escape_debug()))),
    }
}

/// One request under way.
struct Exchange {
    index: usize,
    framing: Framing,
    is_head: bool,
    expects: bool,
    is_read: bool,
    is_last: bool,
}

impl Exchange {
    fn new(head: &Head, index: usize) -> Result<Exchange, Fault> {
        Ok(Exchange {
            index,
            framing: head.framing()?.unwrap_or(Framing::Length(0)),
            is_head: head.start.starts_with("HEAD "),
            expects: head.lists("expect", "100-continue"),
            is_read: false,
            is_last: false,
        })
    }

    async fn perform(&mut self, wire: &mut Wire<Tap>, answer: &Answer) -> Result<(), Fault> {
        for step in &answer.steps {
            match step {
                Step::ReadBody => self.read_body(wire).await?,
                Step::Hold => hold(wire).await?,
                Step::Pause(pause) => tokio::time::sleep(*pause).await,
                Step::Body(_) | Step::Fill(_) if self.is_head => {}
                Step::Message(head, _) if self.is_head => write(wire, head).await?,
                Step::Message(head, body) => write(wire, &[&head[..], body].concat()).await?,
                Step::Write(bytes) | Step::Body(bytes) => write(wire, bytes).await?,
                Step::Fill(length) => fill(wire, *length).await?,
                Step::Echo => {
                    echo(wire).await?;
                    self.leave();
                }
                Step::Close => self.leave(),
                Step::Reset => return Err(Fault::Reset),
            }
            if self.is_last {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Nothing more is read or written.
    fn leave(&mut self) {
        self.is_read = true;
        self.is_last = true;
    }

    async fn read_body(&mut self, wire: &mut Wire<Tap>) -> Result<(), Fault> {
        if self.is_read {
            return Ok(());
        }
        self.is_read = true;
        if self.expects && self.framing != Framing::Length(0) && wire.pending().is_empty() {
            write(wire, b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        let mut body = Body::default();
        let ended = wire.body(self.framing, &mut body).await;
        wire.stream.shared.ledger.update(|state| {
            let request = &mut state.requests[self.index];
            (request.body, request.is_whole) = (body, ended.is_ok());
        });
        ended
    }
}

async fn write(wire: &mut Wire<Tap>, bytes: &[u8]) -> Result<(), Fault> {
    wire.stream.stream.write_all(bytes).await.map_err(|_| Fault::Reset)
}

async fn fill(wire: &mut Wire<Tap>, length: u64) -> Result<(), Fault> {
    let mut sent = 0;
    while sent < length {
        let run = pattern(sent, length - sent);
        write(wire, run).await?;
        sent += run.len() as u64;
    }
    Ok(())
}

async fn echo(wire: &mut Wire<Tap>) -> Result<(), Fault> {
    loop {
        let ready = wire.pending().len();
        let bytes = match ready {
            0 => wire.exact(1).await,
            _ => wire.exact(ready).await,
        };
        match bytes {
            Err(Fault::Closed) => return Ok(()),
            bytes => write(wire, &bytes?).await?,
        }
    }
}

/// Waits for a release. A peer that leaves is noticed only while it has nothing unread with us,
/// since looking further would take bytes that the test wants left in the socket.
async fn hold(wire: &mut Wire<Tap>) -> Result<(), Fault> {
    let shared = wire.stream.shared.clone();
    tokio::select! {
        // Both are cancel-safe: a permit is taken or not, and a peek takes nothing.
        permit = shared.gate.acquire() => {
            permit.expect("the gate is never closed").forget();
            Ok(())
        }
        gone = gone(&wire.stream.stream) => Err(gone),
    }
}

async fn gone(stream: &TcpStream) -> Fault {
    match stream.peek(&mut [0]).await {
        Ok(0) => Fault::Closed,
        Ok(_) => std::future::pending().await,
        Err(_) => Fault::Reset,
    }
}

/// The stream, with every byte that is read from it written down.
struct Tap {
    stream: TcpStream,
    shared: Arc<Shared>,
    /// The connection's place in the ledger, once it has carried a request.
    number: Option<usize>,
    /// What came before that.
    before: Connection,
}

impl Tap {
    /// Writes down a request; the first one also gives the connection its number.
    fn begin(&mut self, head: &Head) -> usize {
        self.shared.ledger.update(|state| {
            let number = *self.number.get_or_insert_with(|| {
                state.connections.push(std::mem::take(&mut self.before));
                state.connections.len() - 1
            });
            let place = state.connections[number].requests;
            state.connections[number].requests += 1;
            let head = head.clone();
            let body = Body::default();
            state.requests.push(Received {
                connection: number,
                place,
                head,
                body,
                is_whole: false,
            });
            state.requests.len() - 1
        })
    }
}

impl AsyncRead for Tap {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        let read = &buffer.filled()[before..];
        let tap = &mut *self;
        match tap.number {
            _ if read.is_empty() => {}
            None => tap.before.push(read),
            Some(number) => {
                tap.shared.ledger.update(|state| state.connections[number].push(read));
            }
        }
        polled
    }
}
