//! What the service writes to its standard error, as records.

use enclave_wire::log::Level;

/// Puts lines together from what a pipe gives.
#[derive(Debug, Default)]
pub struct Lines {
    begun: Vec<u8>,
}

impl Lines {
    /// Takes bytes and gives the lines that are whole now. A line longer than [`LONGEST`] is cut into several.
    pub fn take(&mut self, bytes: &[u8], mut each: impl FnMut(&Line)) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.begun.extend_from_slice(piece);
            if piece.ends_with(b"\n") || self.begun.len() > LONGEST {
                self.end(&mut each);
            }
        }
    }

    /// The pipe has ended, perhaps in the middle of a line.
    pub fn end(&mut self, mut each: impl FnMut(&Line)) {
        let text = String::from_utf8_lossy(&self.begun);
        let text = text.trim_end();
        if !text.is_empty() {
            each(&Line::read(text));
        }
        self.begun.clear();
    }
}

/// A line of the service's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// An event.
    Record {
        /// How much it matters.
        level: Level,
        /// Which part of the service speaks.
        target: String,
        /// What it says.
        message: String,
    },
    /// The pipe was full: so many lines are missing.
    Dropped(u32),
}

impl Line {
    /// Reads ` WARN target: message`. What is not of this form comes from where there is no log: the reason of an end, a runtime that
    /// aborts. So it counts as an error.
    fn read(text: &str) -> Self {
        if let Some(count) = enclave_tls::boot::dropped_lines(text) {
            return Self::Dropped(count);
        }
        let record = text.trim_start().split_once(' ').and_then(|(name, rest)| {
            let (target, message) = rest.split_once(": ")?;
            let level = level(name)?;
            (!target.contains(' ')).then(|| (level, target.to_owned(), message.to_owned()))
        });
        let (level, target, message) = record.unwrap_or_else(|| (Level::Error, SAID.to_owned(), text.to_owned()));
        Self::Record { level, target, message }
    }
}

fn level(name: &str) -> Option<Level> {
    Some(match name {
        "ERROR" => Level::Error,
        "WARN" => Level::Warn,
        "INFO" => Level::Info,
        "DEBUG" => Level::Debug,
        "TRACE" => Level::Trace,
        _ => return None,
    })
}

/// A record's message is cut at 4,096 bytes.
const LONGEST: usize = 4_096;
/// The target of what is no event.
const SAID: &str = "service";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(pieces: &[&[u8]]) -> Vec<Line> {
        let (mut lines, mut read) = (Lines::default(), Vec::new());
        for piece in pieces {
            lines.take(piece, |line| read.push(line.clone()));
        }
        lines.end(|line| read.push(line.clone()));
        read
    }

    fn record(level: Level, target: &str, message: &str) -> Line {
        Line::Record {
            level,
            target: target.to_owned(),
            message: message.to_owned(),
        }
    }

    #[test]
    fn lines_become_records() {
        let read = lines(&[
            b" WARN enclave_tls::clock: it ",
            b"jumped jump_ms=3: 4\n INFO a: b\nenclave-tls: /dev/nsm: no",
            b"t here\nDROPPED 7\n\n",
            b"memory allocation of 8 bytes failed",
        ]);
        assert_eq!(
            read,
            [
                record(Level::Warn, "enclave_tls::clock", "it jumped jump_ms=3: 4"),
                record(Level::Info, "a", "b"),
                record(Level::Error, "service", "enclave-tls: /dev/nsm: not here"),
                Line::Dropped(7),
                record(Level::Error, "service", "memory allocation of 8 bytes failed"),
            ]
        );
    }

    #[test]
    fn threat_12_a_line_without_end_is_cut() {
        let read = lines(&[&[b'x'; 4_000], &[b'x'; 4_000], &[b'x'; 4_000]]);
        assert_eq!(read.len(), 2);
    }

    proptest! {
        /// threat_12: no line that a service writes ends PID 1, and none is lost unseen.
        #[test]
        fn threat_12_any_bytes_are_lines(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let ends = bytes.split(|byte| *byte == b'\n').filter(|line| !String::from_utf8_lossy(line).trim_end().is_empty());
            prop_assert_eq!(lines(&[&bytes]).len(), ends.count());
        }
    }
}
