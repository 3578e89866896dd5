//! Holds many keep-alive connections: each makes one request, then stays idle until stdin closes.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::time::Duration;

use crate::args::Args;
use crate::http::{field, head_end, number};

const PATIENCE: Duration = Duration::from_secs(5);

/// Prints `READY held failed`, waits for stdin to close, then prints how many are `OPEN`.
///
/// # Errors
/// Bad arguments only; a connection that fails is counted.
pub(crate) fn run(args: &Args) -> io::Result<()> {
    let addr = args.addr()?;
    let wanted = args.number("conns", 6000)?;
    let path = args.text("path", "/t");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\nUser-Agent: kit\r\n\r\n");
    let held: Vec<TcpStream> =
        (0..wanted).filter_map(|_| ask(addr, request.as_bytes()).ok()).collect();

    println!("READY {} {}", held.len(), wanted - held.len());
    io::stdout().flush()?;
    io::stdin().read_to_end(&mut Vec::new())?;
    println!("OPEN {}", held.iter().filter(|stream| is_open(stream)).count());
    Ok(())
}

/// Connects and makes one request; the connection, idle again.
fn ask(addr: SocketAddrV4, request: &[u8]) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&addr.into(), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request)?;
    read_answer(&mut stream)?;
    Ok(stream)
}

/// Reads one answer with a Content-Length; the bytes of its body.
///
/// # Errors
/// An answer other than 200, one without Content-Length, or an early end.
pub(crate) fn read_answer(stream: &mut TcpStream) -> io::Result<u64> {
    let mut head = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    let end = loop {
        if let Some(end) = head_end(&head) {
            break end;
        }
        head.extend_from_slice(more(stream, &mut buffer)?);
    };
    if head.get(9..12) != Some(b"200") {
        let line = head.split(|&byte| byte == b'\r').next().unwrap_or_default();
        return Err(io::Error::other(format!("answered `{}`", String::from_utf8_lossy(line))));
    }
    let length = field(&head[..end], "Content-Length").map(number);
    let length = length.ok_or_else(|| io::Error::other("answered without Content-Length"))?;
    let mut got = (head.len() - end) as u64;
    while got < length {
        got += more(stream, &mut buffer)?.len() as u64;
    }
    Ok(got)
}

fn more<'a>(stream: &mut TcpStream, buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
    match stream.read(buffer)? {
        0 => Err(ErrorKind::UnexpectedEof.into()),
        got => Ok(&buffer[..got]),
    }
}

fn is_open(stream: &TcpStream) -> bool {
    let nothing_to_read = |error: io::Error| error.kind() == ErrorKind::WouldBlock;
    stream.set_nonblocking(true).is_ok() && stream.peek(&mut [0]).is_err_and(nothing_to_read)
}
