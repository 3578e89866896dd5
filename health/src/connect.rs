//! What whoever connects to a backend has to know, for a probe or for a request.

use std::io;
use std::net::SocketAddr;

use rustix::io::Errno;
use tokio::net::TcpStream;

/// A free local port can, by chance, be given to our own end, and TCP then connects us to
/// ourselves (simultaneous open, RFC 9293 §3.5): nobody is listening there.
///
/// # Errors
///
/// `ConnectionRefused` then, and what the system says if it does not know our own address.
pub fn refuse_ourselves(stream: TcpStream, target: SocketAddr) -> io::Result<TcpStream> {
    if stream.local_addr()? == target {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(stream)
}

/// Whether there is no descriptor, memory or port left: the other side has no part in it.
pub fn is_exhausted(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw_os_error);
    let is_full = matches!(code, Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM));
    is_full || code == Some(Errno::ADDRNOTAVAIL)
}
