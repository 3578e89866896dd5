//! The backends: child processes of this executable, each on a port of its own.
//!
//! None outlives the demo: they are killed and waited for when [`Backends`] is dropped, and the
//! kernel kills them if the demo is killed. They are in process groups of their own, so that
//! Ctrl-C reaches the demo alone, which then ends in good order.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use socket2::{Domain, Socket, Type};

use super::text;

pub(super) struct Backends {
    program: PathBuf,
    members: Vec<Member>,
}

struct Member {
    name: &'static str,
    address: SocketAddr,
    /// Bound and never listening, so that nobody else gets the port while the backend is dead.
    _reserved: Socket,
    child: Option<Child>,
}

impl Backends {
    /// All of them, started. The kernel ends them with the calling thread, which must therefore be
    /// the one that goes last.
    pub(super) fn start(names: &[&'static str]) -> Result<Backends, String> {
        let failed = |error: io::Error| text::cannot_start(&error);
        let program = std::env::current_exe().map_err(failed)?;
        let mut backends = Backends { program, members: Vec::new() };
        for name in names {
            let (_reserved, address) = reserve().map_err(failed)?;
            backends.members.push(Member { name, address, _reserved, child: None });
        }
        for place in 0..names.len() {
            backends.revive(place)?;
        }
        Ok(backends)
    }

    pub(super) fn addresses(&self) -> Vec<(&'static str, SocketAddr)> {
        self.members.iter().map(|member| (member.name, member.address)).collect()
    }

    /// SIGKILL; its process id. Its connections are gone when this returns: the kernel closes them
    /// before a dead process can be waited for.
    pub(super) fn kill(&mut self, place: usize) -> Result<u32, String> {
        let member = &mut self.members[place];
        let Some(mut child) = member.child.take() else {
            return Err(text::not_running(member.name));
        };
        let pid = child.id();
        end(&mut child).map_err(|error| text::cannot_kill(member.name, pid, &error))?;
        Ok(pid)
    }

    /// Starts it, at its address; its process id.
    pub(super) fn revive(&mut self, place: usize) -> Result<u32, String> {
        let member = &mut self.members[place];
        let child = Command::new(&self.program)
            .arg("backend")
            .args(["--listen", &member.address.to_string()])
            .args(["--name", member.name])
            .args(["--parent", &std::process::id().to_string()])
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| text::cannot_start(&error))?;
        let pid = child.id();
        member.child = Some(child);
        Ok(pid)
    }

    /// Process ids of those that run.
    pub(super) fn pids(&self) -> impl Iterator<Item = (&'static str, SocketAddr, u32)> {
        self.members.iter().filter_map(|member| {
            member.child.as_ref().map(|child| (member.name, member.address, child.id()))
        })
    }
}

impl Drop for Backends {
    fn drop(&mut self) {
        for child in self.members.iter_mut().filter_map(|member| member.child.as_mut()) {
            // Fails only when it has ended, which is what is wanted.
            let _ = end(child);
        }
    }
}

fn end(child: &mut Child) -> io::Result<()> {
    child.kill()?;
    child.wait()?;
    Ok(())
}

fn reserve() -> io::Result<(Socket, SocketAddr)> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    // So that the backend may bind it too.
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    let address = socket.local_addr()?.as_socket();
    address.map(|address| (socket, address)).ok_or_else(|| io::Error::other(text::NO_ADDRESS))
}
