//! Where a worker accepts: one task for each of its sockets, begun and ended as it is told.

use std::io;
use std::rc::Rc;

use tokio::io::unix::AsyncFd;
use tokio::task::JoinHandle;

use super::Worker;
use crate::listener::{self, Listener, accept};

/// The sockets that a worker accepts from.
pub(super) struct Accepting {
    /// Watched, and not accepted from yet.
    prepared: Vec<AsyncFd<Rc<Listener>>>,
    running: Vec<(Rc<Listener>, JoinHandle<()>)>,
}

impl Accepting {
    /// All that can fail, while the door may still be stopped without anybody noticing.
    ///
    /// # Errors
    ///
    /// No descriptor or memory left.
    pub(super) fn prepare(listeners: &[Listener]) -> io::Result<Accepting> {
        let watch = |listener: &Listener| listener::watch(Rc::new(listener.clone()));
        let prepared = listeners.iter().map(watch).collect::<io::Result<_>>()?;
        Ok(Accepting { prepared, running: Vec::new() })
    }

    /// Accepts from these and no others. What waits in the queue of one that is left is taken
    /// along: it may be closed next.
    pub(super) async fn follow(&mut self, worker: &Rc<Worker>, wanted: &[Listener]) {
        let is_wanted = |listener: &Listener| wanted.iter().any(|other| other.is(listener));
        let (kept, left) = std::mem::take(&mut self.running)
            .into_iter()
            .partition::<Vec<_>, _>(|(listener, _)| is_wanted(listener));
        self.running = kept;
        for (listener, task) in left {
            task.abort();
            // Cancelled, and out of the poll set: only then may it enter under another listener.
            let _ = task.await;
            listener.empty_queue(worker);
        }
        for listener in wanted {
            if !self.running.iter().any(|(running, _)| running.is(listener)) {
                self.begin(worker, listener);
            }
        }
        self.prepared.clear();
    }

    /// Whether nothing can be accepted any more.
    pub(super) fn is_nowhere(&self) -> bool {
        self.running.is_empty()
    }

    fn begin(&mut self, worker: &Rc<Worker>, listener: &Listener) {
        let found = self.prepared.iter().position(|socket| socket.get_ref().is(listener));
        let prepared = found.map(|place| self.prepared.swap_remove(place));
        let listener = match &prepared {
            Some(socket) => Rc::clone(socket.get_ref()),
            None => Rc::new(listener.clone()),
        };
        let (worker, ours) = (Rc::clone(worker), Rc::clone(&listener));
        let task = tokio::task::spawn_local(async move {
            let socket = match prepared {
                Some(socket) => socket,
                None => listener::watch_at_last(&ours).await,
            };
            accept(worker, socket).await;
        });
        self.running.push((listener, task));
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::sync::Arc;

    use super::*;
    use crate::listener::Limits;
    use crate::roster::Roster;
    use crate::shared::Shared;
    use crate::stats::Registry;

    fn worker() -> Rc<Worker> {
        let roster = Roster::new(Arc::new(crate::sample::door(1, &[])));
        let shared = Shared {
            snapshot: roster.published(),
            registry: Registry::new(),
            refused_per_worker: 1.into(),
            exhaustions: 0.into(),
        };
        Worker::new(0, Arc::new(shared))
    }

    /// What comes back until the end.
    fn answer(mut stream: TcpStream) -> io::Result<String> {
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    #[test]
    fn what_waits_in_the_queue_of_a_listener_that_is_left_is_served() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(tokio::runtime::LocalOptions::default())
            .unwrap();
        runtime.block_on(async {
            let worker = worker();
            let socket = TcpListener::bind("127.0.0.1:0").unwrap();
            socket.set_nonblocking(true).unwrap();
            let address = socket.local_addr().unwrap();
            let listener = Listener { socket: Arc::new(socket), limits: Limits::new(0) };
            let mut accepting = Accepting::prepare(std::slice::from_ref(&listener)).unwrap();
            accepting.follow(&worker, std::slice::from_ref(&listener)).await;
            // Nothing is accepted before this gives way to other tasks, and it does not before it
            // follows others.
            let mut client = TcpStream::connect(address).unwrap();
            client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
            accepting.follow(&worker, &[]).await;
            assert!(accepting.is_nowhere());
            drop((accepting, listener));
            let answer = tokio::task::spawn_blocking(move || answer(client)).await.unwrap();
            let answer = answer.expect("nobody is reset");
            assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        });
    }
}
