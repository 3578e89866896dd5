//! The cheapest HTTP/1.1 keep-alive origin: one thread, answers made once.
//!
//! | path      | answer                                                        |
//! |-----------|---------------------------------------------------------------|
//! | `/m...`   | 16 KiB                                                        |
//! | `/l...`   | 1 MiB, by sendfile                                            |
//! | `/bN`     | N bytes, by sendfile                                          |
//! | `/c...`   | 16 KiB in four chunks                                         |
//! | `/h...`   | the request head, and in `X-Port` the port that it came to    |
//! | `/s...`   | none: nothing more is read from that connection               |
//! | any other | 128 bytes                                                     |
//!
//! Request bodies, with Content-Length or chunked, are read and thrown away, and answered with
//! 128 bytes at their end.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::MemfdFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use crate::args::Args;
use crate::http::{field, head_end, number};
use crate::net::{EDGES, ENDED, Epoll, EventFlags, READABLE, accept, listen};

/// Length of the file that every large body is sent from, over and over.
const BLOCK: u64 = 1 << 20;
/// More than any head we are sent, and few reads for a large request body.
const READ_BUFFER: usize = 64 << 10;

/// Serves until killed.
///
/// # Errors
/// A port that cannot be had, or a kernel without memory.
pub(crate) fn run(args: &Args) -> io::Result<()> {
    let ports = args.text("ports", "29001,29002,29003,29004");
    let ports = ports.split(',').map(|port| port.parse::<u16>().map_err(io::Error::other));
    Origin::new(ports.collect::<io::Result<Vec<u16>>>()?)?.serve()
}

struct Origin {
    epoll: Epoll,
    /// By descriptor, like `conns`: a descriptor is the token of its events.
    listeners: Vec<(OwnedFd, u16)>,
    conns: Vec<Option<Box<Conn>>>,
    answers: Answers,
    buffer: Vec<u8>,
}

impl Origin {
    fn new(ports: Vec<u16>) -> io::Result<Origin> {
        let epoll = Epoll::new()?;
        let mut listeners = Vec::new();
        for port in ports {
            let listener = listen(port)?;
            epoll.add(&listener, EventFlags::IN, token(&listener))?;
            listeners.push((listener, port));
        }
        let answers = Answers::new()?;
        let buffer = vec![0; READ_BUFFER];
        Ok(Origin { epoll, listeners, conns: Vec::new(), answers, buffer })
    }

    fn serve(&mut self) -> io::Result<()> {
        loop {
            for index in 0..self.epoll.wait(None)? {
                let (token, flags) = self.epoll.event(index);
                match self.listeners.iter().position(|(socket, _)| self::token(socket) == token) {
                    Some(listener) => self.accept_all(listener)?,
                    None => self.advance(token, flags),
                }
            }
        }
    }

    fn accept_all(&mut self, listener: usize) -> io::Result<()> {
        let (listener, port) = &self.listeners[listener];
        while let Some(socket) = accept(listener) {
            let token = token(&socket);
            self.epoll.add(&socket, EDGES, token)?;
            if self.conns.len() <= token {
                self.conns.resize_with(token + 1, || None);
            }
            self.conns[token] = Some(Box::new(Conn::new(socket, *port)));
        }
        Ok(())
    }

    /// Does what one connection is ready for, and forgets it once it is over.
    fn advance(&mut self, token: usize, flags: EventFlags) {
        let Some(conn) = self.conns[token].as_mut() else { return };
        let mut result = Ok(true);
        if flags.contains(EventFlags::OUT) {
            result = conn.flush(&self.answers).map(|()| true);
        }
        if result.is_ok() && flags.intersects(READABLE) {
            result = conn.read(&mut self.buffer, &self.answers);
        }
        if conn.is_stalled && flags.intersects(ENDED) {
            result = Ok(false);
        }
        // An error is the other side's: this origin is asked by doors that are killed on purpose.
        if !matches!(result, Ok(true)) {
            self.conns[token] = None;
        }
    }
}

fn token(socket: &OwnedFd) -> usize {
    socket.as_raw_fd().unsigned_abs() as usize
}

/// The answers, whole and ready to send.
struct Answers {
    small: Vec<u8>,
    medium: Vec<u8>,
    chunked: Vec<u8>,
    block: File,
}

impl Answers {
    fn new() -> io::Result<Answers> {
        let mut block = File::from(rustix::fs::memfd_create("block", MemfdFlags::CLOEXEC)?);
        block.write_all(&vec![b'x'; BLOCK as usize])?;
        let mut chunked = head("Transfer-Encoding: chunked");
        for _ in 0..4 {
            chunked.extend_from_slice(b"1000\r\n");
            chunked.resize(chunked.len() + 0x1000, b'x');
            chunked.extend_from_slice(b"\r\n");
        }
        chunked.extend_from_slice(b"0\r\n\r\n");
        Ok(Answers { small: filled(128), medium: filled(16 << 10), chunked, block })
    }
}

fn filled(length: usize) -> Vec<u8> {
    let mut answer = head(&format!("Content-Length: {length}"));
    answer.resize(answer.len() + length, b'x');
    answer
}

fn head(fields: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nServer: kit\r\nContent-Type: text/plain\r\n{fields}\r\n\r\n").into()
}

/// One connection of a door.
struct Conn {
    socket: OwnedFd,
    port: u16,
    /// A head that came in pieces, so far.
    unread: Vec<u8>,
    /// Bytes of a request body still to throw away.
    skip: u64,
    /// Within a chunked request body.
    in_chunks: bool,
    /// A request body was begun that is not answered yet.
    owes_answer: bool,
    /// Asked not to read any more.
    is_stalled: bool,
    /// What did not fit into the socket, sent before anything else.
    unsent: Vec<u8>,
    /// Bytes of a large answer still to send, after `unsent`.
    large_left: u64,
}

impl Conn {
    fn new(socket: OwnedFd, port: u16) -> Conn {
        let (unread, unsent) = (Vec::new(), Vec::new());
        let (is_stalled, in_chunks, owes_answer) = (false, false, false);
        let (skip, large_left) = (0, 0);
        Conn { socket, port, unread, skip, in_chunks, owes_answer, is_stalled, unsent, large_left }
    }

    /// Reads until the socket is drained; false at its end.
    fn read(&mut self, buffer: &mut [u8], answers: &Answers) -> io::Result<bool> {
        while !self.is_stalled {
            let got = match rustix::net::recv(&self.socket, &mut *buffer, RecvFlags::empty()) {
                Ok((0, _)) => return Ok(false),
                Ok((got, _)) => got,
                Err(Errno::WOULDBLOCK) => return Ok(true),
                Err(error) => return Err(error.into()),
            };
            if self.unread.is_empty() {
                let used = self.take_in(&buffer[..got], answers)?;
                self.unread.extend_from_slice(&buffer[used..got]);
            } else {
                let mut joined = std::mem::take(&mut self.unread);
                joined.extend_from_slice(&buffer[..got]);
                let used = self.take_in(&joined, answers)?;
                self.unread.extend_from_slice(&joined[used..]);
            }
            if got < buffer.len() {
                break; // A short read drained the socket; what comes later is a new edge.
            }
        }
        Ok(true)
    }

    /// Answers every whole request in `data`; how much of it is done with.
    fn take_in(&mut self, data: &[u8], answers: &Answers) -> io::Result<usize> {
        let mut at = 0;
        while at < data.len() && !self.is_stalled {
            let rest = &data[at..];
            if self.skip > 0 {
                let skipped = self.skip.min(rest.len() as u64);
                self.skip -= skipped;
                at += skipped as usize;
                if self.skip == 0 && self.owes_answer && !self.in_chunks {
                    self.owes_answer = false;
                    self.send(&answers.small)?;
                }
            } else if self.in_chunks {
                let Some(end) = rest.iter().position(|&byte| byte == b'\n') else { break };
                at += end + 1;
                self.chunk(&rest[..end])?;
            } else {
                let Some(end) = head_end(rest) else { break };
                at += end;
                self.request(&rest[..end], answers)?;
            }
        }
        Ok(at)
    }

    /// One chunk-size line. Trailers are not expected.
    fn chunk(&mut self, line: &[u8]) -> io::Result<()> {
        let line = std::str::from_utf8(line).unwrap_or("0");
        let size = line.split(';').next().unwrap_or("0").trim();
        let size = u64::from_str_radix(size, 16).map_err(io::Error::other)?;
        self.skip = size + 2; // With the line end behind the chunk, or behind the last one.
        self.in_chunks = size > 0;
        Ok(())
    }

    fn request(&mut self, head: &[u8], answers: &Answers) -> io::Result<()> {
        let slash = head.iter().position(|&byte| byte == b'/').unwrap_or(0);
        if !head.starts_with(b"G") && head.get(slash + 1) != Some(&b's') {
            self.skip = field(head, "Content-Length").map_or(0, number);
            self.in_chunks = field(head, "Transfer-Encoding").is_some();
            self.owes_answer = self.skip > 0 || self.in_chunks;
            if self.owes_answer {
                return Ok(());
            }
        }
        match &head[slash + 1..] {
            [b'm', ..] => self.send(&answers.medium),
            [b'c', ..] => self.send(&answers.chunked),
            [b'l', ..] => self.send_large(BLOCK, answers),
            [b'b', length @ ..] => self.send_large(number(length), answers),
            [b'h', ..] => self.echo(head),
            [b's', ..] => {
                self.is_stalled = true;
                Ok(())
            }
            _ => self.send(&answers.small),
        }
    }

    fn echo(&mut self, request: &[u8]) -> io::Result<()> {
        let (port, length) = (self.port, request.len());
        let fields = format!("X-Port: {port}\r\nContent-Length: {length}");
        let mut answer = head(&fields);
        answer.extend_from_slice(request);
        self.send(&answer)
    }

    fn send_large(&mut self, length: u64, answers: &Answers) -> io::Result<()> {
        self.large_left = length;
        self.send(&head(&format!("Content-Length: {length}")))?;
        self.flush(answers)
    }

    /// Sends `data`, or keeps what does not fit.
    fn send(&mut self, data: &[u8]) -> io::Result<()> {
        if !self.unsent.is_empty() {
            self.unsent.extend_from_slice(data);
            return Ok(());
        }
        let more = if self.large_left > 0 { SendFlags::MORE } else { SendFlags::empty() };
        let sent = match rustix::net::send(&self.socket, data, SendFlags::NOSIGNAL | more) {
            Ok(sent) => sent,
            Err(Errno::WOULDBLOCK) => 0,
            Err(error) => return Err(error.into()),
        };
        if sent < data.len() {
            self.unsent.extend_from_slice(&data[sent..]);
        }
        Ok(())
    }

    /// Sends what was left over, then the rest of a large answer.
    fn flush(&mut self, answers: &Answers) -> io::Result<()> {
        if !self.unsent.is_empty() {
            let unsent = std::mem::take(&mut self.unsent);
            self.send(&unsent)?;
        }
        while self.unsent.is_empty() && self.large_left > 0 {
            let length = self.large_left.min(BLOCK);
            let from = Some(&mut (BLOCK - length));
            match rustix::fs::sendfile(&self.socket, &answers.block, from, length as usize) {
                Ok(sent) => self.large_left -= sent as u64,
                Err(Errno::WOULDBLOCK) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
