//! An address where a connect neither succeeds nor fails.

use std::net::{SocketAddr, TcpListener, TcpStream};

use socket2::{Domain, Socket, Type};

/// A listener whose accept queue is full: the kernel drops every further SYN, so that a connect
/// hangs until the caller's own limit.
#[derive(Debug)]
pub struct DeafBackend {
    addr: SocketAddr,
    _listener: TcpListener,
    _waiting: TcpStream,
}

impl DeafBackend {
    /// Listens on a port of its own and fills its queue.
    pub fn start() -> DeafBackend {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        socket.bind(&any.into()).expect("a port of our own");
        // A backlog of 0 has room for one on Linux.
        socket.listen(0).expect("a bound socket listens");
        let listener = TcpListener::from(socket);
        let addr = listener.local_addr().expect("a bound socket has an address");
        let waiting = TcpStream::connect(addr).expect("the queue has room for one");
        DeafBackend { addr, _listener: listener, _waiting: waiting }
    }

    /// Where connects hang.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;
    use std::time::Duration;

    #[test]
    fn a_connect_hangs() {
        let deaf = DeafBackend::start();
        let hung = TcpStream::connect_timeout(&deaf.addr(), Duration::from_millis(50));
        assert_eq!(hung.unwrap_err().kind(), ErrorKind::TimedOut);
    }
}
