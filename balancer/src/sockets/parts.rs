//! The sockets of a door taken apart, to be put together again in the process that follows it.
//!
//! The other process gets every queue, and then does with them what a reload does: addresses that
//! it is configured with keep theirs, whatever else it has.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use super::{Bound, Group, Sockets, take_over};

/// What is to be known of the sockets of one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// `[listeners.NAME]`
    pub listener: Arc<str>,
    /// As configured; port 0 is still 0 here.
    pub wanted: SocketAddr,
    /// Whether no service manager has a descriptor of them.
    pub is_ours: bool,
    /// How many there are.
    pub count: usize,
}

impl Sockets {
    /// One for each address.
    pub fn parts(&self) -> Vec<Part> {
        let part = |(name, group): (&Arc<str>, &Group)| Part {
            listener: Arc::clone(name),
            wanted: group.wanted,
            is_ours: group.is_ours,
            count: group.sockets.len(),
        };
        self.groups().map(part).collect()
    }

    /// All of them, in the order of [`Sockets::parts`].
    pub fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        self.all().map(|socket| socket.as_fd()).collect()
    }

    /// The sockets that another process took apart.
    ///
    /// # Errors
    ///
    /// There are fewer sockets than the parts count, or one is none.
    pub fn assemble(
        parts: &[Part],
        sockets: impl IntoIterator<Item = TcpListener>,
    ) -> io::Result<Sockets> {
        let mut sockets = sockets.into_iter();
        let mut whole = Sockets::default();
        for part in parts {
            let group: Vec<_> = sockets.by_ref().take(part.count).collect();
            if group.len() < part.count || group.is_empty() {
                return Err(io::Error::other("fewer listening sockets came than were announced"));
            }
            let (wanted, is_ours) = (part.wanted, part.is_ours);
            let group = Group { wanted, is_ours, sockets: take_over(group)? };
            match whole.by_listener.last_mut().filter(|bound| bound.name == part.listener) {
                Some(bound) => bound.groups.push(group),
                None => {
                    let name = Arc::clone(&part.listener);
                    whole.by_listener.push(Bound { name, groups: vec![group] });
                }
            }
        }
        Ok(whole)
    }

    /// Those of the parts that do not go on in `next`, by number.
    pub fn left_out_of(&self, next: &Sockets) -> Vec<usize> {
        let stays = |group: &Group| next.all().any(|kept| Arc::ptr_eq(kept, &group.sockets[0]));
        let groups = self.groups().enumerate();
        groups.filter(|(_, (_, group))| !stays(group)).map(|(number, _)| number).collect()
    }

    /// The sockets of these parts that no service manager has.
    pub(crate) fn ours_of(&self, numbers: &[usize]) -> Vec<Arc<TcpListener>> {
        let chosen = self.groups().enumerate().filter(|(number, _)| numbers.contains(number));
        let ours = chosen.map(|(_, (_, group))| group).filter(|group| group.is_ours);
        ours.flat_map(|group| &group.sockets).cloned().collect()
    }

    fn groups(&self) -> impl Iterator<Item = (&Arc<str>, &Group)> {
        self.by_listener
            .iter()
            .flat_map(|bound| bound.groups.iter().map(move |group| (&bound.name, group)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ListenerConfig;
    use crate::sockets::{pass, receive};
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::os::unix::net::UnixStream;

    fn listeners(bind: &[(&str, &[SocketAddr])]) -> Vec<ListenerConfig> {
        let model = crate::sample::door(1, &[]).listeners.remove(0);
        let named = |(name, bind): &(&str, &[SocketAddr])| ListenerConfig {
            name: (*name).into(),
            bind: bind.to_vec(),
            ..model.clone()
        };
        bind.iter().map(named).collect()
    }

    /// The same sockets as another process would get them.
    fn handed_over(sockets: &Sockets) -> Sockets {
        let (giver, taker) = UnixStream::pair().unwrap();
        pass(&sockets.descriptors(), &giver).unwrap();
        let came = receive(&taker).unwrap().into_iter().map(TcpListener::from);
        Sockets::assemble(&sockets.parts(), came).unwrap()
    }

    fn free() -> SocketAddr {
        ([127, 0, 0, 1], 0).into()
    }

    #[test]
    fn connections_that_wait_survive_the_process_that_listened() {
        let wanted = listeners(&[("a", &[free(), free()]), ("b", &[free()])]);
        let before = Sockets::bind(&wanted, 2).unwrap();
        let addresses = before.addresses();
        let mut clients: Vec<_> = addresses
            .iter()
            .flatten()
            .cycle()
            .take(30)
            .map(|address| TcpStream::connect(address).unwrap())
            .collect();
        let received = handed_over(&before);
        assert_eq!(received.parts(), before.parts());
        drop(before);
        let after = received.followed_by(&wanted, 4).unwrap();
        assert_eq!(after.addresses(), addresses);
        assert!(received.left_out_of(&after).is_empty());
        drop(received);
        for socket in after.all() {
            while let Ok((mut stream, _)) = socket.accept() {
                stream.write_all(b"!").unwrap();
            }
        }
        for client in &mut clients {
            client.read_exact(&mut [0]).unwrap();
        }
    }

    #[test]
    fn what_the_next_process_does_not_listen_on_is_left_to_the_first() {
        let before = Sockets::bind(&listeners(&[("a", &[free()]), ("b", &[free()])]), 2).unwrap();
        let kept = before.addresses()[1][0];
        let received = handed_over(&before);
        let after = received.followed_by(&listeners(&[("c", &[kept, free()])]), 1).unwrap();
        assert_eq!(after.addresses()[0][0], kept);
        assert_eq!(received.left_out_of(&after), [0]);
        assert_eq!(before.ours_of(&[0]).len(), 2);
        assert_eq!(before.ours_of(&[]).len(), 0);
    }

    #[test]
    fn sockets_that_do_not_come_are_missed() {
        let before = Sockets::bind(&listeners(&[("a", &[free()])]), 2).unwrap();
        let one = before.all().next().unwrap().try_clone().unwrap();
        assert!(Sockets::assemble(&before.parts(), [one]).is_err());
        assert!(Sockets::assemble(&before.parts(), []).is_err());
    }

    #[test]
    fn nothing_comes_from_a_door_that_has_gone() {
        let (giver, taker) = UnixStream::pair().unwrap();
        drop(giver);
        assert_eq!(receive(&taker).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
