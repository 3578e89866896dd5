//! A connection between two doors.
//!
//! A message is its length (four bytes, big-endian) and JSON. Descriptors come behind the message that
//! announces them, and nothing is read beyond a message, because a plain read would lose them.

use std::io::{self, Cursor};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use balancer::sockets::{PER_MESSAGE, pass, receive};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, Chain, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use super::PROMPT;

/// Longest message: some hundred bytes for each backend.
const MAX_BYTES: u32 = 64 << 20;
/// More sockets than any door has.
const MAX_SOCKETS: usize = 1 << 16;

/// A connection between two doors.
#[derive(Debug)]
pub struct Line {
    stream: UnixStream,
    /// Of what the other side says, read already.
    ahead: Cursor<Bytes>,
}

/// The half of a [`Line`] that hears.
#[derive(Debug)]
pub struct Ear(Chain<Cursor<Bytes>, OwnedReadHalf>);

/// The half of a [`Line`] that says.
#[derive(Debug)]
pub struct Mouth(OwnedWriteHalf);

impl Line {
    /// Over a connection from which so much has been read of what the other side says.
    pub fn new(stream: UnixStream, ahead: Bytes) -> Line {
        Line { stream, ahead: Cursor::new(ahead) }
    }

    /// Says one thing.
    ///
    /// # Errors
    ///
    /// The other side has gone, or has not listened for [`PROMPT`]. Nothing more may be said then.
    pub async fn say<T: Serialize>(&mut self, message: &T) -> io::Result<()> {
        within(PROMPT, self.stream.write_all(&frame(message)?)).await
    }

    /// Hears one thing, within `limit`.
    ///
    /// # Errors
    ///
    /// The other side has gone, says nothing, or something else. Nothing more can be heard then.
    pub async fn hear<T: DeserializeOwned>(&mut self, limit: Duration) -> io::Result<T> {
        within(limit, hear((&mut self.ahead).chain(&mut self.stream))).await
    }

    /// For two that speak when they like.
    pub fn split(self) -> (Ear, Mouth) {
        let (from, to) = self.stream.into_split();
        (Ear(self.ahead.chain(from)), Mouth(to))
    }

    /// Passes sockets.
    ///
    /// # Errors
    ///
    /// As [`Line::say`].
    pub async fn pass(&self, sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
        within(PROMPT, async {
            for part in sockets.chunks(PER_MESSAGE) {
                self.stream.async_io(Interest::WRITABLE, || pass(part, &self.stream)).await?;
            }
            Ok(())
        })
        .await
    }

    /// As many sockets as were announced.
    ///
    /// # Errors
    ///
    /// As [`Line::hear`], or there is no room for them.
    pub async fn receive(&self, count: usize) -> io::Result<Vec<OwnedFd>> {
        if count > MAX_SOCKETS {
            return Err(io::Error::other("the other door has too many sockets"));
        }
        within(PROMPT, async {
            let mut sockets = Vec::new();
            while sockets.len() < count {
                let came =
                    self.stream.async_io(Interest::READABLE, || receive(&self.stream)).await?;
                if came.is_empty() || sockets.len() + came.len() > count {
                    return Err(io::Error::other("other sockets came than were announced"));
                }
                sockets.extend(came);
            }
            Ok(sockets)
        })
        .await
    }
}

impl Ear {
    /// Hears one thing, within `limit`, or whenever it comes.
    ///
    /// # Errors
    ///
    /// As [`Line::hear`].
    pub async fn hear<T: DeserializeOwned>(&mut self, limit: Option<Duration>) -> io::Result<T> {
        match limit {
            Some(limit) => within(limit, hear(&mut self.0)).await,
            None => hear(&mut self.0).await,
        }
    }
}

impl Mouth {
    /// Says one thing, and waits for as long as the other side does not listen: who was stopped
    /// listens later, and half a message must not be followed by another. So not cancel-safe.
    ///
    /// # Errors
    ///
    /// The other side has gone.
    pub async fn say<T: Serialize>(&mut self, message: &T) -> io::Result<()> {
        self.0.write_all(&frame(message)?).await
    }
}

fn frame<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    let text = serde_json::to_vec(message)?;
    let length = u32::try_from(text.len()).map_err(io::Error::other)?;
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend(text);
    Ok(bytes)
}

async fn hear<T: DeserializeOwned>(mut from: impl AsyncRead + Unpin) -> io::Result<T> {
    let length = from.read_u32().await?;
    if length > MAX_BYTES {
        return Err(io::Error::other("the other door says too much"));
    }
    let mut text = Vec::new();
    // Grows with what comes, not with what is announced.
    from.take(u64::from(length)).read_to_end(&mut text).await?;
    Ok(serde_json::from_slice(&text)?)
}

async fn within<T>(limit: Duration, what: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let result = tokio::time::timeout(limit, what).await;
    result.unwrap_or_else(|_| {
        let text = format!("the other door said nothing for {} s", limit.as_secs());
        Err(io::Error::new(io::ErrorKind::TimedOut, text))
    })
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::super::{Go, Hello, Left, State};
    use super::*;

    fn pair() -> (Line, Line) {
        let (one, other) = UnixStream::pair().unwrap();
        (Line::new(one, Bytes::new()), Line::new(other, Bytes::new()))
    }

    #[tokio::test]
    async fn sockets_come_behind_what_announces_them() {
        let (mut old, mut new) = pair();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let many = vec![listener.as_fd(); 300];
        let talk = async {
            old.say(&Hello { pid: 7, version: "x".into() }).await.unwrap();
            old.pass(&many).await.unwrap();
            old.say(&Go {}).await.unwrap();
        };
        let ((), (hello, sockets)) = tokio::join!(talk, async {
            let hello: Hello = new.hear(PROMPT).await.unwrap();
            (hello, new.receive(300).await.unwrap())
        });
        assert_eq!((hello.pid, sockets.len()), (7, 300));
        let _: Go = new.hear(PROMPT).await.unwrap();
        drop(old);
        assert!(new.hear::<Left>(PROMPT).await.is_err());
    }

    #[tokio::test]
    async fn nonsense_is_an_error_and_no_memory() {
        for bytes in [&b"\xff\xff\xff\xff"[..], b"\0\0\0\x05hello", b"\0\0\0\x40{", b"\0"] {
            let (mut old, mut new) = pair();
            old.stream.write_all(bytes).await.unwrap();
            drop(old);
            assert!(new.hear::<State>(PROMPT).await.is_err(), "{bytes:?}");
        }
    }
}
