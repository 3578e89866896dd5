//! One large body over one connection: through the door as fast as it goes, or toward an origin
//! that does not read. Memory and socket queues are looked at from outside meanwhile.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use crate::args::Args;
use crate::idle::read_answer;

/// Longest wait for a door that has stopped: nothing here takes a tenth of it.
const PATIENCE: Duration = Duration::from_secs(30);
const BLOCK: usize = 256 << 10;

/// `--up BYTES` or `--down BYTES`; prints one JSON object.
///
/// # Errors
/// A door that stops, ends early or answers other than 200.
pub(crate) fn run(args: &Args) -> io::Result<()> {
    let addr = args.addr()?;
    let (up, down) = (args.number("up", 0)?, args.number("down", 0)?);
    let start = Instant::now();
    let mut stream = TcpStream::connect(addr)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    if up > 0 {
        post(&mut stream, addr, "/t", up)?;
        if send(&mut stream, up)? < up {
            return Err(io::Error::other("the door stopped reading"));
        }
    } else {
        write!(stream, "GET /b{down} HTTP/1.1\r\nHost: {addr}\r\n\r\n")?;
    }
    let answered = read_answer(&mut stream)?;
    println!("{{\"up\":{up},\"down\":{answered},\"secs\":{:.3}}}", start.elapsed().as_secs_f64());
    Ok(())
}

/// Sends a body of `--bytes` to a path that the origin does not read from, until nothing more is
/// taken for `--quiet-ms`. Prints `STALLED sent port` and keeps the connection until stdin closes.
///
/// # Errors
/// A door that closes instead of waiting.
pub(crate) fn stall(args: &Args) -> io::Result<()> {
    let addr = args.addr()?;
    let bytes = args.number("bytes", 256 << 20)?;
    let mut stream = TcpStream::connect(addr)?;
    stream.set_write_timeout(Some(Duration::from_millis(args.number("quiet-ms", 1000)?)))?;
    let head = post(&mut stream, addr, "/s", bytes)?;
    let sent = head + send(&mut stream, bytes)?;
    println!("STALLED {sent} {}", stream.local_addr()?.port());
    io::stdout().flush()?;
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// Sends the head of an upload; its length.
fn post(stream: &mut TcpStream, addr: SocketAddrV4, path: &str, body: u64) -> io::Result<u64> {
    let head = format!("POST {path} HTTP/1.1\r\nHost: {addr}\r\nContent-Length: {body}\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    Ok(head.len() as u64)
}

/// Sends `bytes` of a body; fewer if the socket took nothing within its write timeout.
fn send(stream: &mut TcpStream, bytes: u64) -> io::Result<u64> {
    let block = vec![b'u'; BLOCK];
    let mut sent = 0;
    while sent < bytes {
        let next = (bytes - sent).min(BLOCK as u64) as usize;
        match stream.write(&block[..next]) {
            Ok(taken) => sent += taken as u64,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                break;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(sent)
}
