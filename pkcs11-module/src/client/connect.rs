//! From an address to an authenticated connection, within a bounded time.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use enclave_wire::BootId;
use enclave_wire::address::Address;
use enclave_wire::credential::{Challenge, Hello, Transcript};
use enclave_wire::signing::{Reply, Request, SignError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::net::sockopt::{Timeout, set_socket_timeout, socket_error};
use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use super::connection::{Connection, ExchangeError};
use super::registry::{Registered, Registry};
use crate::config::Credential;
use crate::token::backend::Unavailable;
use crate::token::deadline::Deadline;

/// Connects to the first endpoint that authenticates. Where none does, says what was worst: a refused credential can be read again, a
/// stall opens the breaker.
pub(super) fn connect(
    endpoints: &[Address],
    credential: &Credential,
    registry: &Arc<Registry>,
    deadline: Deadline,
) -> Result<Connection, Unavailable> {
    let mut worst = Unavailable::Unreachable;
    for (endpoint, behind) in endpoints.iter().zip((0..endpoints.len()).rev()) {
        match connect_to(endpoint, credential, registry, share(deadline, behind)) {
            Ok(connection) => return Ok(connection),
            Err(cause) => worst = worst.max(cause),
        }
    }
    Err(worst)
}

/// The time of an endpoint with so many behind it: what stalls must leave them as much, however little there is.
fn share(deadline: Deadline, behind: usize) -> Deadline {
    let all = u32::try_from(behind).unwrap_or(u32::MAX).saturating_add(1);
    match deadline.remaining() {
        Some(left) if behind > 0 => deadline.at_most(CONNECT.min(left.checked_div(all).unwrap_or(left))),
        Some(_) | None => deadline,
    }
}

fn connect_to(
    endpoint: &Address,
    credential: &Credential,
    registry: &Arc<Registry>,
    deadline: Deadline,
) -> Result<Connection, Unavailable> {
    let socket = open(endpoint, registry, deadline.at_most(CONNECT)).map_err(|error| match error {
        Errno::AGAIN | Errno::TIMEDOUT => Unavailable::Stalled,
        _ => Unavailable::Unreachable,
    })?;
    let mut connection = Connection::new(socket).map_err(unavailable)?;
    let boot = authenticate(&mut connection, credential, deadline)?;
    connection.set_boot(boot);
    Ok(connection)
}

/// Mutual: the service proves itself first, and learns nothing from a client that does not believe it.
fn authenticate(
    connection: &mut Connection,
    credential: &Credential,
    deadline: Deadline,
) -> Result<BootId, Unavailable> {
    let mut client_nonce = [0; 32];
    getrandom::fill(&mut client_nonce).map_err(|_| Unavailable::Unreachable)?;
    let hello = Hello {
        credential: credential.id(),
        client_nonce,
    };
    let reply = connection
        .exchange(&Request::Hello(hello), deadline)
        .map_err(unavailable)?;
    let Reply::Challenge(Challenge {
        server_nonce,
        server_proof,
    }) = reply
    else {
        return Err(Unavailable::Protocol);
    };
    let transcript = Transcript {
        credential: credential.id(),
        client_nonce,
        server_nonce,
    };
    if !credential.accepts(&transcript, &server_proof) {
        return Err(Unavailable::Refused);
    }
    let proof = Request::Authenticate(credential.client_proof(&transcript));
    let Reply::Authenticated(boot) = connection.exchange(&proof, deadline).map_err(unavailable)? else {
        return Err(Unavailable::Protocol);
    };
    Ok(boot)
}

/// What a failed exchange means before there is a connection to speak of.
fn unavailable(error: ExchangeError) -> Unavailable {
    match error {
        ExchangeError::Timeout => Unavailable::Stalled,
        ExchangeError::Closed { .. } => Unavailable::Unreachable,
        ExchangeError::Protocol => Unavailable::Protocol,
        ExchangeError::NoMemory => Unavailable::NoMemory,
        ExchangeError::Answer(error) => match error {
            SignError::AuthenticationFailed => Unavailable::Refused,
            SignError::Busy => Unavailable::Busy,
            SignError::Malformed
            | SignError::Version
            | SignError::NoSuchKey
            | SignError::UsageRefused
            | SignError::InputLength
            | SignError::ListChanged
            | SignError::Failed => Unavailable::Protocol,
        },
    }
}

/// A connected socket, registered before it connects: a child that is forked meanwhile shall find it.
fn open(endpoint: &Address, registry: &Arc<Registry>, deadline: Deadline) -> Result<Registered, Errno> {
    let (domain, address) = socket_address(endpoint)?;
    let socket = Socket::new(domain, Type::STREAM, None).map_err(errno)?;
    let registered = registry.enter(above_the_streams(socket.into())?).ok_or(Errno::NFILE)?;
    let socket = SockRef::from(&registered);
    match domain {
        Domain::UNIX => connect_unix(&socket, &address, deadline)?,
        _ => connect_vsock(&socket, &address, deadline)?,
    }
    Ok(registered)
}

/// Numbers 0 to 2 are the host's: a daemon that had closed them would open /dev/null over this.
fn above_the_streams(socket: OwnedFd) -> Result<OwnedFd, Errno> {
    if socket.as_raw_fd() > 2 {
        return Ok(socket);
    }
    fcntl_dupfd_cloexec(socket, 3)
}

/// A unix socket waits for a place in the listener's backlog only while it blocks, and then as long as it may send.
fn connect_unix(socket: &Socket, address: &SockAddr, deadline: Deadline) -> Result<(), Errno> {
    loop {
        let left = deadline.remaining().ok_or(Errno::TIMEDOUT)?;
        set_socket_timeout(socket, Timeout::Send, Some(left))?;
        match socket.connect(address).map_err(errno) {
            Err(Errno::INTR) => (),
            done => return done,
        }
    }
}

/// A vsock has a time limit of its own for connecting, two seconds, so it is watched instead.
fn connect_vsock(socket: &Socket, address: &SockAddr, deadline: Deadline) -> Result<(), Errno> {
    socket.set_nonblocking(true).map_err(errno)?;
    match socket.connect(address).map_err(errno) {
        Ok(()) => (),
        Err(Errno::INPROGRESS) => wait_until_connected(socket, deadline)?,
        Err(error) => return Err(error),
    }
    socket.set_nonblocking(false).map_err(errno)
}

fn wait_until_connected(socket: &Socket, deadline: Deadline) -> Result<(), Errno> {
    loop {
        let left = deadline.remaining().ok_or(Errno::TIMEDOUT)?;
        let left = Timespec::try_from(left).map_err(|_| Errno::TIMEDOUT)?;
        match poll(&mut [PollFd::new(socket, PollFlags::OUT)], Some(&left)) {
            Ok(0) => return Err(Errno::TIMEDOUT),
            Ok(_) => return socket_error(socket)?,
            Err(Errno::INTR) => (),
            Err(error) => return Err(error),
        }
    }
}

fn socket_address(endpoint: &Address) -> Result<(Domain, SockAddr), Errno> {
    match endpoint {
        Address::UnixPath(path) => Ok((Domain::UNIX, SockAddr::unix(path).map_err(errno)?)),
        Address::UnixAbstract(name) => {
            let address = SockAddr::unix(format!("\0{name}")).map_err(errno)?;
            Ok((Domain::UNIX, address))
        }
        Address::Vsock { cid: Some(cid), port } => Ok((Domain::VSOCK, SockAddr::vsock(*cid, *port))),
        Address::Vsock { cid: None, .. } => Err(Errno::INVAL),
    }
}

fn errno(error: io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::INVAL)
}

/// What connecting may take of a call's time, and the most that an endpoint may take where there is another.
const CONNECT: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threat_57_an_endpoint_leaves_the_next_its_share() {
        let left = |deadline: Deadline| deadline.remaining().unwrap_or_default();
        let probe = Deadline::within(Duration::from_millis(50));
        assert!(left(share(probe, 1)) <= Duration::from_millis(25));
        assert_eq!(share(probe, 0), probe, "the last has the rest");
        let whole = Deadline::within(Duration::from_secs(3_600));
        let one = left(share(whole, 1));
        assert!(one <= CONNECT && one > Duration::ZERO, "{one:?}");
    }
}
