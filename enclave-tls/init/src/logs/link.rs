//! The connection that carries records to the parent.

use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::{Duration, Instant};

use enclave_wire::address::Address;
use rustix::event::PollFlags;
use socket2::{Domain, SockAddr, Socket, Type};

use super::queue::Queue;

/// Dials, sends, and dials again: the parent's agent restarts, and comes later than the enclave.
pub(super) struct Link {
    address: Address,
    state: State,
}

enum State {
    Away {
        dial_at: Instant,
    },
    Dialling {
        socket: Socket,
        since: Instant,
    },
    /// How much of the first frame has been sent.
    Up {
        socket: Socket,
        sent: usize,
    },
}

impl Link {
    pub(super) fn new(address: Address, now: Instant) -> Self {
        Self {
            address,
            state: State::Away { dial_at: now },
        }
    }

    pub(super) fn advance(&mut self, queue: &mut Queue, now: Instant) {
        match &self.state {
            State::Away { dial_at } if now >= *dial_at => match dial(&self.address) {
                Ok(socket) => self.state = State::Dialling { socket, since: now },
                Err(_) => self.go_away(now),
            },
            State::Away { .. } | State::Dialling { .. } | State::Up { .. } => (),
        }
        self.settle(now);
        if let State::Up { socket, sent } = &mut self.state
            && send(socket, sent, queue).is_err()
        {
            // The parent forgets half a frame, and gets the whole one again.
            self.go_away(now);
        }
    }

    /// Looks whether the connection is there by now.
    fn settle(&mut self, now: Instant) {
        let State::Dialling { socket, since } = &self.state else {
            return;
        };
        let is_late = now.saturating_duration_since(*since) > PATIENCE;
        let error = socket.take_error();
        let is_there = socket.peer_addr().is_ok();
        match (error, std::mem::replace(&mut self.state, State::Away { dial_at: now })) {
            (Ok(None), State::Dialling { socket, .. }) if is_there => self.state = State::Up { socket, sent: 0 },
            (Ok(None), state) if !is_late => self.state = state,
            _ => self.go_away(now),
        }
    }

    fn go_away(&mut self, now: Instant) {
        let dial_at = now.checked_add(PAUSE).unwrap_or(now);
        self.state = State::Away { dial_at };
    }

    pub(super) fn awaits(&self, nothing_to_send: bool) -> Option<(BorrowedFd<'_>, PollFlags)> {
        match &self.state {
            State::Dialling { socket, .. } => Some((socket.as_fd(), PollFlags::OUT)),
            State::Up { socket, .. } if !nothing_to_send => Some((socket.as_fd(), PollFlags::OUT)),
            State::Away { .. } | State::Up { .. } => None,
        }
    }
}

fn send(socket: &mut Socket, sent: &mut usize, queue: &mut Queue) -> io::Result<()> {
    while let Some(frame) = queue.first() {
        let rest = frame.get(*sent..).unwrap_or_default();
        // One frame a write, so never more than the 16 KiB that vsock takes at once on every machine.
        match socket.write(rest) {
            Ok(count) if count >= rest.len() => {
                queue.remove_first();
                *sent = 0;
            }
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => *sent = sent.saturating_add(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Begins to connect. Nothing is ever read: the parent has nothing to say here.
fn dial(address: &Address) -> io::Result<Socket> {
    let address = socket_address(address)?;
    let socket = Socket::new(Domain::from(i32::from(address.family())), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&address) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(socket),
    }
}

/// The address as the kernel takes it.
pub(crate) fn socket_address(address: &Address) -> io::Result<SockAddr> {
    match address {
        Address::UnixPath(path) => SockAddr::unix(path),
        Address::UnixAbstract(name) => SockAddr::unix(format!("\0{name}")),
        Address::Vsock { cid: Some(cid), port } => Ok(SockAddr::vsock(*cid, *port)),
        Address::Vsock { cid: None, .. } => Err(io::ErrorKind::AddrNotAvailable.into()),
    }
}

/// Until the next attempt. A vsock peer that is not there answers at once.
const PAUSE: Duration = Duration::from_millis(100);
/// The kernel's own limit for a connection over vsock is 2 s.
const PATIENCE: Duration = Duration::from_secs(3);
