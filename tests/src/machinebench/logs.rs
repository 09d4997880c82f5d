//! The guest's log plane: when the first record came, and what went wrong last.

use std::io::Read;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result};
use enclave_wire::Decode;
use enclave_wire::frame::{HEADER_LEN, Header, limit};
use enclave_wire::log::{Level, Record};

/// What the guest said so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Logs {
    seen: Arc<Mutex<Seen>>,
}

#[derive(Debug, Default)]
struct Seen {
    first: Option<Instant>,
    /// Of what went wrong: a guest that makes thousands of keys says so of each.
    last: Option<String>,
}

impl Logs {
    /// Takes the guest's log as it comes, in a thread of its own.
    pub(super) fn take(listener: UnixListener) -> Self {
        let logs = Self::default();
        let written = logs.clone();
        thread::spawn(move || {
            for stream in listener.incoming().filter_map(Result::ok) {
                // An end of the guest's is the end of its log.
                drop(written.read(stream));
            }
        });
        logs
    }

    /// When the first record came.
    pub(super) fn first(&self) -> Option<Instant> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).first
    }

    /// The last warning or error.
    pub(super) fn last(&self) -> Option<String> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.last.clone()
    }

    fn read(&self, mut stream: UnixStream) -> Result<()> {
        loop {
            let mut header = [0; HEADER_LEN];
            stream.read_exact(&mut header)?;
            let mut body = vec![0; Header::decode(&header, limit::LOG)?.body_len()];
            stream.read_exact(&mut body)?;
            let record = Record::decode_all(&body).ok().context("no record")?;
            self.note(&record, Instant::now());
        }
    }

    fn note(&self, record: &Record, now: Instant) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.first.get_or_insert(now);
        match record.level {
            Level::Error | Level::Warn => seen.last = Some(record.message.as_str().to_owned()),
            Level::Info | Level::Debug | Level::Trace => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use enclave_wire::log::Text;

    use super::*;

    #[test]
    fn the_first_record_counts_and_the_last_warning_is_kept() {
        let logs = Logs::default();
        assert!(logs.first().is_none());
        let begin = Instant::now();
        for number in 0..9 {
            let level = if number % 2 == 0 { Level::Info } else { Level::Warn };
            let record = Record {
                sequence: number,
                dropped: 0,
                uptime_us: number,
                level,
                target: Text::lossy("test"),
                message: Text::lossy(&number.to_string()),
            };
            logs.note(&record, begin + std::time::Duration::from_secs(number));
        }
        assert_eq!(logs.first(), Some(begin));
        assert_eq!(logs.last().as_deref(), Some("7"));
    }
}
