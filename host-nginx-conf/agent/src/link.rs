//! One control connection, from this end: requests and their replies, and the enclave's heartbeat.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, MutexGuard, PoisonError};
use std::time::Duration;

use enclave_wire::control::{EnclaveRequest, Reply, Request};
use enclave_wire::frame::{ERROR, FrameError, REPLY, limit};
use enclave_wire::{DecodeError, Writer};

use crate::Shared;
use crate::parent::Parent;
use crate::sockets::Stream;
use enclave_tls_admin::deadline::Deadline;
use enclave_tls_admin::frames::{self, Frame, ReadError};

/// A connection. One thread calls [`Link::serve`]; any other may [`Link::call`].
pub(crate) struct Link {
    writer: Shared<Stream>,
    /// To end the connection by, even while somebody writes.
    handle: Stream,
    /// Held by the one caller whose turn it is.
    turn: Shared<u64>,
    under_way: Shared<Exchange>,
    changed: Condvar,
    patience: Patience,
    /// Answers what the enclave asks.
    parent: Arc<Parent>,
    /// Whether who dialled is the service whose keys the parent stores.
    admitted: AtomicBool,
    ended: AtomicBool,
}

/// Where the one request under way stands.
#[derive(Default)]
enum Exchange {
    #[default]
    Idle,
    Waiting {
        operation: u8,
        id: u64,
    },
    Answered(Box<Reply>),
    Ended,
}

/// Why a request has no reply. Either ends the connection: a reply that came later would fit no request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallError {
    /// Not in time.
    Deadline,
    /// The connection is at its end.
    Ended,
}

impl Link {
    /// A connection, and the half of it that [`Link::serve`] reads.
    pub(crate) fn new(stream: Stream, patience: Patience, parent: Arc<Parent>) -> std::io::Result<(Self, Stream)> {
        let reader = stream.try_clone()?;
        let link = Self {
            handle: stream.try_clone()?,
            writer: Shared::new(stream),
            turn: Shared::default(),
            under_way: Shared::default(),
            changed: Condvar::new(),
            patience,
            parent,
            admitted: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        };
        Ok((link, reader))
    }

    /// Asks the enclave, and waits for its reply.
    pub(crate) fn call(&self, request: &Request) -> Result<Reply, CallError> {
        self.call_when(request, || ())
    }

    /// The same; `begins` is called when it is this request's turn, so that no other is under way.
    pub(crate) fn call_when(&self, request: &Request, begins: impl FnOnce()) -> Result<Reply, CallError> {
        let turn = self.turn.lock();
        begins();
        self.exchange(turn, request, self.patience.with(request))
    }

    /// Asks who dialled where it stands. Somebody who says nothing useful is not waited for.
    pub(crate) fn introduce(&self) -> Result<Reply, CallError> {
        self.exchange(self.turn.lock(), &Request::Status, self.patience.introduction)
    }

    /// Whether the enclave still answers. A request under way has a deadline of its own, so until then it does.
    pub(crate) fn is_alive(&self) -> bool {
        let Some(turn) = self.turn.try_lock() else { return true };
        let reply = self.exchange(turn, &Request::Status, self.patience.alive);
        matches!(reply, Ok(Reply::Status(_)))
    }

    /// Lets it be heard: from now on its states are stored.
    pub(crate) fn admit(&self) {
        self.admitted.store(true, Ordering::SeqCst);
    }

    /// Whether it may change what the parent stores.
    pub(crate) fn is_in_force(&self) -> bool {
        self.admitted.load(Ordering::SeqCst) && !self.has_ended()
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    fn exchange(&self, mut turn: MutexGuard<'_, u64>, request: &Request, time: Duration) -> Result<Reply, CallError> {
        *turn = turn.wrapping_add(1);
        self.send(request, *turn)?;
        let reply = self.wait(time);
        if reply.is_err() {
            self.end();
        }
        reply
    }

    fn send(&self, request: &Request, id: u64) -> Result<(), CallError> {
        let mut writer = Writer::new();
        request.write(&mut writer, id);
        let operation = request.operation();
        match &mut *self.under_way.lock() {
            Exchange::Ended => return Err(CallError::Ended),
            free => *free = Exchange::Waiting { operation, id },
        }
        frames::send(&mut *self.writer.lock(), writer).map_err(|_| {
            self.end();
            CallError::Ended
        })
    }

    fn wait(&self, time: Duration) -> Result<Reply, CallError> {
        let deadline = Deadline::after(time);
        let mut exchange = self.under_way.lock();
        loop {
            match std::mem::take(&mut *exchange) {
                Exchange::Answered(reply) => return Ok(*reply),
                Exchange::Idle | Exchange::Ended => {
                    *exchange = Exchange::Ended;
                    return Err(CallError::Ended);
                }
                waiting @ Exchange::Waiting { .. } => *exchange = waiting,
            }
            let left = deadline.left().ok_or(CallError::Deadline)?;
            exchange = self.pause(exchange, left);
        }
    }

    fn pause<'a>(&self, exchange: MutexGuard<'a, Exchange>, time: Duration) -> MutexGuard<'a, Exchange> {
        self.changed
            .wait_timeout(exchange, time)
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }

    /// Reads what the enclave sends until the connection ends, and says why it did.
    pub(crate) fn serve(&self, mut reader: Stream) -> ReadError {
        let why = loop {
            match self.serve_one(&mut reader) {
                Ok(()) => {}
                // Whoever has a request to work on may be late with its heartbeat; the request has a deadline of its own.
                Err(ReadError::Idle) if matches!(*self.under_way.lock(), Exchange::Waiting { .. }) => {}
                Err(error) => break error,
            }
        };
        self.end();
        why
    }

    fn serve_one(&self, reader: &mut Stream) -> Result<(), ReadError> {
        let frame = frames::read(reader, limit::CONTROL, HEARTBEAT_WITHIN)?;
        if frame.header.is_reply() {
            return self.take_reply(&frame);
        }
        let request = EnclaveRequest::decode(&frame.header, &frame.body)?;
        let reply = self.parent.answer(request, || self.is_in_force());
        let mut writer = Writer::new();
        reply.write(&mut writer, frame.header.request_id);
        Ok(frames::send(&mut *self.writer.lock(), writer)?)
    }

    fn take_reply(&self, frame: &Frame) -> Result<(), ReadError> {
        let mut exchange = self.under_way.lock();
        let answers = |operation: u8| [operation | REPLY, ERROR].contains(&frame.header.operation);
        match *exchange {
            Exchange::Waiting { operation, id } if id == frame.header.request_id && answers(operation) => {
                *exchange = Exchange::Answered(Box::new(Reply::decode(&frame.header, &frame.body)?));
                self.changed.notify_all();
                Ok(())
            }
            // A reply to nothing, or to something else.
            _ => Err(FrameError::Body(DecodeError::Invalid).into()),
        }
    }

    /// Ends the connection; whoever waits for a reply learns it.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        *self.under_way.lock() = Exchange::Ended;
        self.changed.notify_all();
        self.handle.end();
    }
}

/// How long the enclave may take for its reply.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// To say who it is.
    pub(crate) introduction: Duration,
    /// To show that it is still there, when another service dials.
    pub(crate) alive: Duration,
    /// For most requests.
    pub(crate) usual: Duration,
    /// For making a key, and for what AWS has to answer first.
    pub(crate) long: Duration,
}

impl Patience {
    /// An RSA key of 8,192 bits took 27 s in a build without optimisation, and the time varies widely.
    pub(crate) const RELEASE: Self = Self {
        introduction: Duration::from_secs(5),
        alive: Duration::from_secs(1),
        usual: Duration::from_secs(30),
        long: Duration::from_secs(120),
    };

    fn with(self, request: &Request) -> Duration {
        match request {
            Request::Create(_) | Request::Import(_) | Request::Provision(_) | Request::Restore(_) => self.long,
            _ => self.usual,
        }
    }
}

/// The enclave pings each second and gives up after three; who is silent for longer is gone.
const HEARTBEAT_WITHIN: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use enclave_wire::KeyId;
    use std::os::unix::net::UnixStream;
    use std::sync::atomic::AtomicU64;

    const BRIEF: Patience = Patience {
        introduction: Duration::from_millis(500),
        alive: Duration::from_millis(500),
        usual: Duration::from_millis(500),
        long: Duration::from_millis(500),
    };

    /// Nothing is stored here, so its directory may go at once.
    fn parent() -> Parent {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::SeqCst);
        let path = std::env::temp_dir().join(format!("agent-link-{}-{number}", std::process::id()));
        let parent = crate::parent::tests::parent(&path);
        std::fs::remove_dir_all(path).unwrap();
        parent
    }

    fn pair() -> (Arc<Link>, std::thread::JoinHandle<ReadError>, UnixStream) {
        let (here, there) = UnixStream::pair().unwrap();
        let (link, reader) = Link::new(Stream::Unix(here), BRIEF, Arc::new(parent())).unwrap();
        let link = Arc::new(link);
        let serving = Arc::clone(&link);
        (link, std::thread::spawn(move || serving.serve(reader)), there)
    }

    fn answer(there: &mut UnixStream, reply: &Reply, id: u64) {
        let mut writer = Writer::new();
        reply.write(&mut writer, id);
        frames::send(there, writer).unwrap();
    }

    fn next(there: &mut UnixStream) -> Frame {
        frames::read(there, limit::CONTROL, Duration::from_secs(5))
            .ok()
            .unwrap()
    }

    #[test]
    fn every_operation_has_the_byte_that_the_wire_gives_it() {
        let requests = [
            Request::Ping,
            Request::Status,
            Request::Policy(None),
            Request::Ready,
            Request::Csr(KeyId([0; 32])),
            Request::List(0),
            Request::Supersede(KeyId([0; 32])),
            Request::Retire(KeyId([0; 32])),
            Request::Statistics,
        ];
        for request in requests {
            let mut writer = Writer::new();
            request.write(&mut writer, 0);
            assert_eq!(writer.into_bytes()[5], request.operation(), "{}", request.name());
        }
    }

    #[test]
    fn a_heartbeat_is_answered_while_a_request_waits() {
        let (link, reading, mut there) = pair();
        let calling = std::thread::spawn(move || link.call(&Request::Ready));
        let request = next(&mut there);
        let mut ping = Writer::new();
        EnclaveRequest::Ping.write(&mut ping, 99);
        frames::send(&mut there, ping).unwrap();
        let pong = next(&mut there);
        assert_eq!((pong.header.operation, pong.header.request_id), (0xc1, 99));
        answer(&mut there, &Reply::Serving, request.header.request_id);
        assert_eq!(calling.join().unwrap(), Ok(Reply::Serving));
        drop(there);
        assert!(matches!(reading.join().unwrap(), ReadError::Closed));
    }

    #[test]
    fn a_reply_to_nothing_or_to_another_request_ends_the_connection() {
        for (reply, id) in [(Reply::Serving, 2), (Reply::Pong, 1)] {
            let (link, reading, mut there) = pair();
            let calling = std::thread::spawn(move || link.call(&Request::Ready));
            next(&mut there);
            answer(&mut there, &reply, id);
            assert_eq!(calling.join().unwrap(), Err(CallError::Ended));
            assert!(matches!(reading.join().unwrap(), ReadError::Protocol(_)));
        }
        let (_link, reading, mut there) = pair();
        answer(&mut there, &Reply::Pong, 0);
        assert!(matches!(reading.join().unwrap(), ReadError::Protocol(_)));
    }

    #[test]
    fn a_reply_that_does_not_come_in_time_ends_the_connection() {
        let (link, reading, mut there) = pair();
        assert_eq!(link.call(&Request::Ready), Err(CallError::Deadline));
        next(&mut there);
        assert!(matches!(reading.join().unwrap(), ReadError::Closed));
        assert_eq!(link.call(&Request::Ready), Err(CallError::Ended));
    }

    #[test]
    fn a_call_on_a_connection_that_ended_fails_at_once() {
        let (link, _reading, there) = pair();
        link.end();
        assert_eq!(link.call(&Request::Ping), Err(CallError::Ended));
        drop(there);
    }
}
