//! Closing what a fork left behind, or what is left when the module is unloaded.

use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};

use rustix::fs::{FileType, fstat};

use crate::token::backend::SocketId;

/// Closes a socket, of its parent for a child. Closed, never shut down: the parent's copy goes on.
///
/// A daemon may have closed it and opened a file of its own under its number, so it is closed only if it is still that socket.
///
/// # Safety
/// Nothing in this process will use the number as that socket's any more.
pub(super) unsafe fn close(socket: SocketId) {
    // SAFETY: not -1, since sockets that are open have numbers from 3 up; borrowed only to look at, and one that is closed already is
    // an error of `fstat`.
    let borrowed = unsafe { BorrowedFd::borrow_raw(socket.number) };
    let is_it = fstat(borrowed)
        .is_ok_and(|stat| stat.st_ino == socket.inode && FileType::from_raw_mode(stat.st_mode) == FileType::Socket);
    if is_it {
        // SAFETY: it is that socket, and the caller promised that what owned it does not use it any more.
        drop(unsafe { OwnedFd::from_raw_fd(socket.number) });
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::{AsRawFd, IntoRawFd};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_number_that_means_another_file_is_left_alone() {
        let (mut near, far) = UnixStream::pair().unwrap();
        let inode = fstat(&far).unwrap().st_ino;
        let other = SocketId {
            number: far.as_raw_fd(),
            inode: inode + 1,
        };
        // SAFETY: it does not close what has another inode.
        unsafe { close(other) };
        let number = far.into_raw_fd();
        // SAFETY: `far` gave up its number in the line above.
        unsafe { close(SocketId { number, inode }) };
        assert_eq!(near.read(&mut [0]).unwrap(), 0, "closed");
    }
}
