//! The enclave's log: records that its PID 1 sends, passed on with the agent's own, so that whoever keeps those keeps them too.
//!
//! Nothing in a record is trusted. Its text is printable ASCII by its type, and each line has the enclave for its source, so none can pass
//! for one of the agent. A hostile enclave does not decide how many are printed, nor how fast they are read: web servers run here.

mod journal;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use enclave_wire::frame::{FrameError, limit};
use enclave_wire::log::{Level, RECORD, Record, Text};
use enclave_wire::{Decode, DecodeError};

use super::Shared;
use super::sockets::{EnclaveListener, Stream};
use crate::log::{self, Event};
use enclave_tls_admin::frames::{self, Frame, ReadError};
use enclave_tls_admin::protocol;
use journal::{Entry, Journal, Line};

/// What came of the log, over all its connections.
pub(crate) struct Logs {
    /// Held while its lines are printed, which whoever reads them may delay.
    journal: Shared<Journal>,
    /// Apart from that, so that commands never wait for it.
    counts: Shared<protocol::Logs>,
}

impl Logs {
    pub(crate) fn new() -> Self {
        Self {
            journal: Shared::new(Journal::new(Instant::now())),
            counts: Shared::default(),
        }
    }

    /// What commands may know of this.
    pub(crate) fn report(&self) -> protocol::Logs {
        self.counts.lock().clone()
    }

    /// One connection, to its end.
    fn serve(&self, mut stream: Stream) {
        let why = loop {
            match next(&mut stream) {
                Ok(record) if self.take(&record) => {}
                // Who sends too much is read slowly, and then waits.
                Ok(_) => std::thread::sleep(AFTER_TOO_MUCH),
                Err(ReadError::Idle) => self.say_unsaid(),
                Err(error) => break error,
            }
        };
        stream.end();
        self.say_unsaid();
        match why {
            ReadError::Protocol(_) | ReadError::Stalled => self.malformed(&why),
            // A machine that ends, or PID 1 that dials again, may do so within a record.
            ReadError::Idle | ReadError::Closed | ReadError::Io(_) => {}
        }
    }

    /// Whether it was printed.
    fn take(&self, record: &Record) -> bool {
        let mut journal = self.journal.lock();
        let Entry { lines, dropped } = journal.take(record, Instant::now());
        {
            let mut counts = self.counts.lock();
            counts.dropped = counts.dropped.saturating_add(dropped);
            counts.records = counts.records.saturating_add(u64::from(!lines.is_empty()));
            // Why a boot ended is such a record. A storm of others does not hide it.
            if record.level == Level::Error {
                let (target, message) = (record.target.as_str(), record.message.as_str());
                counts.last_error = Some(Text::lossy(&format!("{target}: {message}")));
            }
        }
        say_all(&lines);
        !lines.is_empty()
    }

    /// Says what is missing while nothing follows that could be said with it.
    fn say_unsaid(&self) {
        let mut journal = self.journal.lock();
        say_all(&journal.unsaid(Instant::now()));
    }

    /// Said once: who dials again does it again.
    fn malformed(&self, why: &ReadError) {
        let mut counts = self.counts.lock();
        let is_first = counts.malformed == 0;
        counts.malformed = counts.malformed.saturating_add(1);
        drop(counts);
        if is_first {
            Event::LogsMalformed.say(format_args!("logs: a connection was closed: {why}"));
        }
    }
}

/// Takes the enclave's connections, for ever. PID 1 has one, and dials again only when it has lost that; so there is one at a time, and
/// a newer takes the place of the older.
pub(crate) fn accept(listener: &EnclaveListener, logs: &Arc<Logs>) {
    let mut current: Option<(Stream, JoinHandle<()>)> = None;
    loop {
        match listener.accept().and_then(|stream| Ok((stream.try_clone()?, stream))) {
            Ok((handle, stream)) => {
                if let Some((older, serving)) = current.take() {
                    older.end();
                    drop(serving.join()); // If it panicked, its connection has ended all the same.
                }
                let logs = Arc::clone(logs);
                current = Some((handle, std::thread::spawn(move || logs.serve(stream))));
            }
            Err(error) => Event::PlaneFailed.say(format_args!("logs: a connection failed: {error}")),
        }
        std::thread::sleep(BETWEEN_DIALS);
    }
}

fn next(stream: &mut Stream) -> Result<Record, ReadError> {
    let frame = frames::read_timed(stream, limit::LOG, SILENCE, WHOLE_RECORD)?;
    Ok(record(&frame)?)
}

fn record(frame: &Frame) -> Result<Record, FrameError> {
    match frame.header.operation {
        RECORD => Ok(Record::decode_all(&frame.body)?),
        _ => Err(DecodeError::UnknownTag.into()),
    }
}

fn say_all(lines: &[Line]) {
    for Line { level, event, text } in lines {
        log::say_of_enclave(*level, *event, text);
    }
}

/// PID 1 may have nothing to say for days. This is when it is said that what came last was not all.
const SILENCE: Duration = Duration::from_secs(5);
/// PID 1 writes a record at once.
const WHOLE_RECORD: Duration = Duration::from_secs(1);
/// So that a flood costs a small part of one core: a thousand records a second.
const AFTER_TOO_MUCH: Duration = Duration::from_millis(1);
/// As often as PID 1 dials. Neither a lack of file descriptors nor a storm of dials becomes a lack of CPU.
const BETWEEN_DIALS: Duration = Duration::from_millis(100);
