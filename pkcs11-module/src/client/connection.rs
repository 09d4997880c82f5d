//! One authenticated connection: whole frames out, whole frames in, each reply bound to its request.

use std::collections::TryReserveError;
use std::time::Instant;

use enclave_wire::frame::{HEADER_LEN, Header, limit};
use enclave_wire::signing::{Reply, Request, SignError};
use enclave_wire::{BootId, Writer};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::registry::Registered;
use crate::token::deadline::Deadline;

/// A connection. Any failure but a proper error reply is the end of it: what is still on its way could be taken for a later answer.
#[derive(Debug)]
pub(super) struct Connection {
    socket: Registered,
    next_request: u64,
    boot: BootId,
    answered: Option<Instant>,
    received: Vec<u8>,
}

/// Why an exchange brought no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ExchangeError {
    /// The deadline has passed.
    Timeout,
    /// The peer is gone. `untouched` where no byte of a reply had come, so that asking again elsewhere is harmless.
    Closed { untouched: bool },
    /// The peer broke the protocol.
    Protocol,
    /// There is no memory for the reply.
    NoMemory,
    /// A proper reply that says no.
    Answer(SignError),
}

impl Connection {
    /// A connection over a socket that has just connected, not authenticated yet. The first request's id is random.
    pub(super) fn new(socket: Registered) -> Result<Self, ExchangeError> {
        // Numbers that cannot be had are as good as no connection: nothing here may be guessed.
        let next_request = getrandom::u64().map_err(|_| ExchangeError::Closed { untouched: true })?;
        Ok(Self {
            socket,
            next_request,
            boot: BootId([0; 16]),
            answered: None,
            received: vec![0; USUAL_REPLY],
        })
    }

    /// The run of the service at the other end.
    pub(super) fn boot(&self) -> BootId {
        self.boot
    }

    /// Notes what the peer said when authentication ended.
    pub(super) fn set_boot(&mut self, boot: BootId) {
        self.boot = boot;
    }

    /// Begins a call, in which nothing was answered yet.
    pub(super) fn begin(&mut self) {
        self.answered = None;
    }

    /// When the last exchange of this call was answered, if one was.
    pub(super) fn answered(&self) -> Option<Instant> {
        self.answered
    }

    /// Sends a request and waits for its reply: `send`, `poll` and `recv`, each once, when nothing is amiss.
    pub(super) fn exchange(&mut self, request: &Request<'_>, deadline: Deadline) -> Result<Reply, ExchangeError> {
        let id = self.next_request;
        self.next_request = id.wrapping_add(1);
        let input = if let Request::Sign(sign) = request {
            sign.input
        } else {
            &[]
        };
        let mut frame = Writer::try_with_capacity(input.len().saturating_add(USUAL_REQUEST))?;
        request.write(&mut frame, id);
        let sent = self.send_all(&frame.into_bytes(), deadline);
        if let Err(error @ (ExchangeError::Timeout | ExchangeError::Protocol | ExchangeError::NoMemory)) = sent {
            return Err(error);
        }
        // One that has closed already may have said why: a service that has no place does so before it is asked.
        let (header, reply) = self.receive(deadline)?;
        self.answered = Some(Instant::now());
        let is_bound = header.request_id == id;
        if let Reply::Error(error) = reply
            && (is_bound || is_unbound_busy(&header, error))
        {
            return Err(ExchangeError::Answer(error));
        }
        if is_bound {
            Ok(reply)
        } else {
            Err(ExchangeError::Protocol)
        }
    }

    fn send_all(&mut self, mut frame: &[u8], deadline: Deadline) -> Result<(), ExchangeError> {
        while !frame.is_empty() {
            match send(&self.socket, frame, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(sent) => frame = frame.get(sent..).unwrap_or_default(),
                Err(Errno::AGAIN) => self.wait_for(PollFlags::OUT, deadline)?,
                Err(error) => failed(error, true)?,
            }
        }
        Ok(())
    }

    /// One frame, and nothing after it: whatever follows was not asked for.
    fn receive(&mut self, deadline: Deadline) -> Result<(Header, Reply), ExchangeError> {
        let mut have = 0;
        loop {
            self.wait_for(PollFlags::IN, deadline)?;
            let room = self.received.get_mut(have..).unwrap_or_default();
            match recv(&self.socket, room, RecvFlags::DONTWAIT) {
                Ok((_, 0)) => return Err(ExchangeError::Closed { untouched: have == 0 }),
                Ok((_, more)) => have = have.saturating_add(more),
                Err(error) => failed(error, have == 0)?,
            }
            let Some(header) = self.received.get(..have).and_then(|bytes| bytes.first_chunk()) else {
                continue;
            };
            let header = Header::decode(header, limit::SIGNING_REPLY).map_err(|_| ExchangeError::Protocol)?;
            let whole = HEADER_LEN.saturating_add(header.body_len());
            if have > whole {
                return Err(ExchangeError::Protocol);
            }
            if have == whole {
                let body = self.received.get(HEADER_LEN..whole).unwrap_or_default();
                let reply = Reply::decode(&header, body).map_err(|_| ExchangeError::Protocol)?;
                return Ok((header, reply));
            }
            // Bounded by the plane's limit, which the header was held against.
            if self.received.len() < whole {
                let more = whole.saturating_sub(self.received.len());
                self.received.try_reserve_exact(more)?;
                self.received.resize(whole, 0);
            }
        }
    }

    /// Waits until there is something to receive, or room to send, or an end of either.
    ///
    /// A receive that waits by itself saves this call and costs more: the kernel wakes it as soon as the service has taken the request,
    /// for nothing, since that makes room to send. `poll` wakes for what it was asked for.
    fn wait_for(&self, what: PollFlags, deadline: Deadline) -> Result<(), ExchangeError> {
        let left = deadline.remaining().ok_or(ExchangeError::Timeout)?;
        // What is left is below a second.
        let left = Timespec::try_from(left).map_err(|_| ExchangeError::Timeout)?;
        match poll(&mut [PollFd::new(&self.socket, what)], Some(&left)) {
            Ok(0) => Err(ExchangeError::Timeout),
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(_) => Err(ExchangeError::Closed { untouched: true }),
        }
    }
}

impl From<TryReserveError> for ExchangeError {
    fn from(_: TryReserveError) -> Self {
        Self::NoMemory
    }
}

/// A service over its limit of connections answers before it has read anything, so with no request's id.
fn is_unbound_busy(header: &Header, error: SignError) -> bool {
    header.request_id == 0 && error == SignError::Busy
}

/// Sorts out a failed system call. One that was interrupted, or that came too early, is no failure.
fn failed(error: Errno, untouched: bool) -> Result<(), ExchangeError> {
    match error {
        Errno::INTR | Errno::AGAIN => Ok(()),
        _ => Err(ExchangeError::Closed { untouched }),
    }
}

/// Every reply but listings and chains: a signature of RSA-8192 has 1,075 bytes with all around it.
const USUAL_REPLY: usize = 2_048;
/// Every request but a long message to sign.
const USUAL_REQUEST: usize = 128;

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::net::UnixStream;

    use super::super::registry::Registry;
    use super::*;
    use crate::token::deadline::CALL;

    #[test]
    fn threat_08_a_service_that_is_busy_and_closed_before_it_was_asked_is_heard() {
        let (ours, mut service) = UnixStream::pair().unwrap();
        let mut busy = Writer::new();
        Reply::Error(SignError::Busy).write(&mut busy, 0);
        service.write_all(&busy.into_bytes()).unwrap();
        drop(service);
        let mut connection = Connection::new(Registry::new().enter(ours.into()).unwrap()).unwrap();
        let heard = connection.exchange(&Request::Ping, Deadline::within(CALL));
        assert_eq!(heard, Err(ExchangeError::Answer(SignError::Busy)));
    }

    #[test]
    fn one_that_is_closed_and_said_nothing_may_be_asked_elsewhere() {
        let (ours, mut service) = UnixStream::pair().unwrap();
        let mut connection = Connection::new(Registry::new().enter(ours.into()).unwrap()).unwrap();
        service.write_all(&[0; HEADER_LEN - 1]).unwrap();
        drop(service);
        let ask = |connection: &mut Connection| connection.exchange(&Request::Ping, Deadline::within(CALL));
        assert_eq!(ask(&mut connection), Err(ExchangeError::Closed { untouched: false }));
        assert_eq!(ask(&mut connection), Err(ExchangeError::Closed { untouched: true }));
    }
}
