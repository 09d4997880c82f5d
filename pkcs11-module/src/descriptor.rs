//! Descriptors in a process whose host may close any number, and open a file of its own under it.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

use rustix::fs::fstat;

/// A descriptor that is closed when this is dropped, unless its number means something else by then.
#[derive(Debug)]
pub(crate) struct Descriptor {
    descriptor: Arc<OwnedFd>,
    identity: Identity,
}

/// Which file, socket or directory it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

impl Descriptor {
    /// None where it cannot be looked at.
    pub(crate) fn new(descriptor: OwnedFd) -> Option<Self> {
        let identity = Identity::of(&descriptor)?;
        Some(Self {
            descriptor: Arc::new(descriptor),
            identity,
        })
    }

    /// Its number, as long as that means what it meant at first.
    pub(crate) fn number(&self) -> Option<RawFd> {
        (Identity::of(&self.descriptor)? == self.identity).then(|| self.descriptor.as_raw_fd())
    }

    pub(crate) fn inode(&self) -> u64 {
        self.identity.inode
    }

    /// As a host does that opens a file of its own under this number.
    #[cfg(test)]
    pub(crate) fn give_to(&mut self, file: impl AsFd) {
        rustix::io::dup2(file, Arc::get_mut(&mut self.descriptor).unwrap()).unwrap();
    }
}

impl AsFd for Descriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        if self.number().is_none() {
            // One owner too many, so that the last one never goes.
            std::mem::forget(self.descriptor.clone());
        }
    }
}

impl Identity {
    fn of(descriptor: &OwnedFd) -> Option<Self> {
        let stat = fstat(descriptor).ok()?;
        Some(Self {
            device: stat.st_dev,
            inode: stat.st_ino,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_number_that_means_the_hosts_file_by_now_is_not_closed() {
        let (mut near, far) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        let mut ours = Descriptor::new(UnixStream::pair().unwrap().0.into()).unwrap();
        let number = ours.as_fd().as_raw_fd();
        assert_eq!(ours.number(), Some(number));
        ours.give_to(&far);
        drop(far);
        assert_eq!(ours.number(), None);
        drop(ours);
        assert_eq!(near.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock, "open");
    }
}
