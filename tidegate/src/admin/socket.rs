//! The Unix socket: never open to more than its mode says, not even for a moment, and never taken
//! from a door that is running.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path as StdPath, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::UnixListener;

use super::AdminError;

/// The owner and the group may connect.
const MODE: u32 = 0o660;
const BACKLOG: i32 = 64;

/// A socket that listens.
#[derive(Debug)]
pub(super) struct UnixSocket {
    pub(super) listener: UnixListener,
    pub(super) path: Path,
}

/// The file of a socket. It is removed on drop if it is still the same one: a successor may have
/// put its own in its place.
#[derive(Debug)]
pub(super) struct Path {
    path: PathBuf,
    /// Device and inode; `None` when it is a successor's.
    identity: Option<(u64, u64)>,
}

impl UnixSocket {
    pub(super) fn bind(path: &StdPath) -> Result<UnixSocket, AdminError> {
        let failed = |source| AdminError::Unix { path: path.to_owned(), source };
        // A file that nobody answers on is what a killed door leaves behind.
        if is_answered(path).map_err(failed)? {
            return Err(AdminError::SocketInUse { path: path.to_owned() });
        }
        bind(path).map_err(failed)
    }

    /// The socket of a door that ran before, with its file.
    pub(super) fn adopt(listener: StdListener, path: &StdPath) -> io::Result<UnixSocket> {
        if !is_socket(&fs::symlink_metadata(path)?) {
            return Err(io::Error::from(io::ErrorKind::NotFound));
        }
        listener.set_nonblocking(true)?;
        let listener = UnixListener::from_std(listener)?;
        // Until that door has left, the file is to stay if this process ends.
        let path = Path { path: path.to_owned(), identity: None };
        Ok(UnixSocket { listener, path })
    }
}

impl Path {
    /// From now on it is ours to remove.
    pub(super) fn own(&mut self) {
        let found = fs::symlink_metadata(&self.path);
        self.identity = found.ok().map(|found| (found.dev(), found.ino()));
    }

    /// From now on it is a successor's.
    pub(super) fn disown(&mut self) {
        self.identity = None;
    }
}

fn is_answered(path: &StdPath) -> io::Result<bool> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Else this would wait for a door that is stuck with its queue full.
    socket.set_nonblocking(true)?;
    Ok(match socket.connect(&SockAddr::unix(path)?) {
        Ok(()) => true,
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
    })
}

/// Makes the file under another name and renames it when it is complete. Before `listen` nobody
/// can connect, so the mode is right from the first moment.
fn bind(path: &StdPath) -> io::Result<UnixSocket> {
    if fs::symlink_metadata(path).is_ok_and(|found| !is_socket(&found)) {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "a file that is no socket is there",
        ));
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    let new = path.with_file_name(name);
    // Of an earlier process with our id.
    let _ = fs::remove_file(&new);

    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(&new)?)?;
    let finished = (|| {
        fs::set_permissions(&new, Permissions::from_mode(MODE))?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        let found = fs::symlink_metadata(&new)?;
        fs::rename(&new, path)?;
        let listener = UnixListener::from_std(socket.into())?;
        let path = Path { path: path.to_owned(), identity: Some((found.dev(), found.ino())) };
        Ok(UnixSocket { listener, path })
    })();
    if finished.is_err() {
        let _ = fs::remove_file(&new);
    }
    finished
}

fn is_socket(found: &fs::Metadata) -> bool {
    use std::os::unix::fs::FileTypeExt;
    found.file_type().is_socket()
}

impl AsRef<StdPath> for Path {
    fn as_ref(&self) -> &StdPath {
        &self.path
    }
}

impl Drop for Path {
    fn drop(&mut self) {
        let is_ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|found| Some((found.dev(), found.ino())) == self.identity);
        if is_ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}
