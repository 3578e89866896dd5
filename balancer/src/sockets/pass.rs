//! Sockets on their way to another process, over a Unix socket (SCM_RIGHTS).
//!
//! One call is one message, so that whoever waits can do so as it likes. Nothing else may be read
//! from the Unix socket while sockets are due: a plain read would take their byte and drop them.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// Sockets that one message carries at most; the kernel takes up to 253 (SCM_MAX_FD).
pub const PER_MESSAGE: usize = 128;

/// Passes up to [`PER_MESSAGE`] sockets to another process, which has [`receive`]. Both then have
/// them.
///
/// # Errors
///
/// The other side has gone, or is not ready (`WouldBlock`), or there are too many.
pub fn pass(sockets: &[BorrowedFd<'_>], to: impl AsFd) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PER_MESSAGE))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(sockets)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    sendmsg(to, &[IoSlice::new(b"s")], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// The sockets of one message that another process passes on.
///
/// # Errors
///
/// The connection has ended, nothing has come yet (`WouldBlock`), or this process has no room for
/// all of them.
pub fn receive(from: impl AsFd) -> io::Result<Vec<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PER_MESSAGE))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let came = recvmsg(from, &mut [IoSliceMut::new(&mut byte)], &mut control, flags)?;
    let mut sockets = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            sockets.extend(descriptors);
        }
    }
    if came.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if came.flags.contains(ReturnFlags::CTRUNC) {
        return Err(io::Error::other("no descriptors left for the sockets of the running door"));
    }
    Ok(sockets)
}
