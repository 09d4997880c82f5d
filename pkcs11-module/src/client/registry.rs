//! The numbers of the open sockets, readable without a lock, for a forked child to close its copies.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use super::pool::MAX_CONNECTIONS;
use crate::descriptor::Descriptor;
use crate::token::backend::SocketId;

/// A fixed table. A child reads its copy of it as it was at the fork, so nothing here may need another thread to go on.
#[derive(Debug)]
pub(super) struct Registry([Row; MAX_CONNECTIONS]);

#[derive(Debug)]
struct Row {
    number: AtomicI32,
    inode: AtomicU64,
}

/// A socket that is in the registry as long as it is open. Fields are dropped in this order, so a row never names a closed number.
#[derive(Debug)]
pub(super) struct Registered {
    _row: Claim,
    socket: Descriptor,
}

impl AsFd for Registered {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[derive(Debug)]
struct Claim {
    registry: Arc<Registry>,
    row: usize,
}

impl Registry {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(std::array::from_fn(|_| Row {
            number: AtomicI32::new(FREE),
            inode: AtomicU64::new(0),
        })))
    }

    /// Enters a socket. None where the table is full, which the pool's limit rules out, or the socket cannot be looked at.
    pub(super) fn enter(self: &Arc<Self>, socket: OwnedFd) -> Option<Registered> {
        let socket = Descriptor::new(socket)?;
        let claim = |row: &Row| {
            let claimed = row
                .number
                .compare_exchange(FREE, CLAIMED, Ordering::AcqRel, Ordering::Relaxed);
            claimed.is_ok()
        };
        let row = self.0.iter().position(claim)?;
        let place = self.0.get(row)?;
        place.inode.store(socket.inode(), Ordering::Release);
        place.number.store(socket.as_fd().as_raw_fd(), Ordering::Release);
        let claim = Claim {
            registry: self.clone(),
            row,
        };
        Some(Registered { _row: claim, socket })
    }

    pub(super) fn sockets(&self) -> impl Iterator<Item = SocketId> {
        let sockets = self.0.iter().map(|row| SocketId {
            number: row.number.load(Ordering::Acquire),
            inode: row.inode.load(Ordering::Acquire),
        });
        sockets.filter(|socket| socket.number >= 0)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(row) = self.registry.0.get(self.row) {
            row.number.store(FREE, Ordering::Release);
        }
    }
}

const FREE: i32 = -1;
const CLAIMED: i32 = -2;

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn no_child_closes_a_number_that_means_the_hosts_file_by_now() {
        let registry = Registry::new();
        let mut registered = registry.enter(UnixStream::pair().unwrap().0.into()).unwrap();
        registered.socket.give_to(UnixStream::pair().unwrap().1);
        drop(registered);
        assert_eq!(registry.sockets().count(), 0);
    }

    #[test]
    fn a_row_lasts_as_long_as_its_socket() {
        let registry = Registry::new();
        let socket = || OwnedFd::from(UnixStream::pair().unwrap().0);
        let registered = registry.enter(socket()).unwrap();
        let rows: Vec<_> = registry.sockets().collect();
        assert_eq!((rows.len(), rows[0].number), (1, registered.as_fd().as_raw_fd()));
        drop(registered);
        assert_eq!(registry.sockets().count(), 0);
        let all: Vec<_> = (0..MAX_CONNECTIONS)
            .map(|_| registry.enter(socket()).unwrap())
            .collect();
        assert!(registry.enter(socket()).is_none());
        assert_eq!(registry.sockets().count(), all.len());
    }
}
