//! Records as lines: what is missing between them, where a boot begins, and how many are printed.

use std::time::Instant;

use enclave_wire::log::{self, Meter, Record};

use crate::log::{Event, Level};

/// The log so far.
pub(crate) struct Journal {
    /// The sequence number that follows, once there was a record.
    next: Option<u64>,
    /// Records that are missing, and of which no line says so yet.
    unsaid: u64,
    /// Whether a boot has begun, and no line says so yet.
    begun: bool,
    meter: Meter,
}

/// A line of the log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) level: Level,
    /// Where the agent says it of the enclave.
    pub(crate) event: Option<Event>,
    pub(crate) text: String,
}

/// What a record comes to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// To be printed; none where the meter lets nothing through.
    pub(crate) lines: Vec<Line>,
    /// How many more records are missing, this one too if it is not printed.
    pub(crate) dropped: u64,
}

impl Journal {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            next: None,
            unsaid: 0,
            begun: false,
            meter: Meter::new(now),
        }
    }

    pub(crate) fn take(&mut self, record: &Record, now: Instant) -> Entry {
        let missing = self.follow(record);
        self.unsaid = self.unsaid.saturating_add(missing);
        let mut lines = self.notes();
        lines.push(line(record));
        if self.meter.lets_through(lines.len(), now) {
            self.said();
            return Entry {
                lines,
                dropped: missing,
            };
        }
        self.unsaid = self.unsaid.saturating_add(1);
        Entry {
            lines: Vec::new(),
            dropped: missing.saturating_add(1),
        }
    }

    /// What no record came to be said with.
    pub(crate) fn unsaid(&mut self, now: Instant) -> Vec<Line> {
        let lines = self.notes();
        if self.meter.lets_through(lines.len(), now) {
            self.said();
            lines
        } else {
            Vec::new()
        }
    }

    /// How many records are missing before this one. The enclave counts those that it dropped; those that a connection lost on its way
    /// show in the sequence alone.
    fn follow(&mut self, record: &Record) -> u64 {
        let dropped = u64::from(record.dropped);
        let missing = match self.next.map(|next| record.sequence.checked_sub(next)) {
            Some(Some(missing)) => missing,
            // It counts anew, so this is another boot.
            Some(None) => {
                self.begun = true;
                record.sequence
            }
            // An earlier agent may have what came before.
            None => {
                self.begun = record.sequence == dropped;
                0
            }
        };
        self.next = Some(record.sequence.saturating_add(1));
        missing.max(dropped)
    }

    fn notes(&self) -> Vec<Line> {
        let note = |event: Event, text| Line {
            level: event.level(),
            event: Some(event),
            text,
        };
        let begun = self.begun.then(|| note(Event::LogsBoot, "a boot begins".to_owned()));
        let dropped = format!("{} records were dropped", self.unsaid);
        let dropped = (self.unsaid > 0).then(|| note(Event::LogsDropped, dropped));
        begun.into_iter().chain(dropped).collect()
    }

    fn said(&mut self) {
        self.begun = false;
        self.unsaid = 0;
    }
}

/// `12.345678 WARN init: the clock source is tsc`
fn line(record: &Record) -> Line {
    let (seconds, micros) = (
        record.uptime_us.div_euclid(1_000_000),
        record.uptime_us.rem_euclid(1_000_000),
    );
    let (level, word) = match record.level {
        log::Level::Error => (Level::Error, "ERROR"),
        log::Level::Warn => (Level::Warning, "WARN"),
        log::Level::Info => (Level::Info, "INFO"),
        log::Level::Debug => (Level::Info, "DEBUG"),
        log::Level::Trace => (Level::Info, "TRACE"),
    };
    let (target, message) = (record.target.as_str(), record.message.as_str());
    Line {
        level,
        event: None,
        text: format!("{seconds}.{micros:06} {word} {target}: {message}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use enclave_wire::log::Text;
    use std::time::Duration;

    fn record(sequence: u64, dropped: u32) -> Record {
        Record {
            sequence,
            dropped,
            uptime_us: 12_345_678,
            level: log::Level::Warn,
            target: Text::lossy("init"),
            message: Text::lossy(&format!("number {sequence}")),
        }
    }

    /// The notes that come with each of these records, and how many were dropped in all.
    fn notes(records: &[(u64, u32)]) -> (Vec<Vec<String>>, u64) {
        let now = Instant::now();
        let (mut journal, mut dropped) = (Journal::new(now), 0);
        let mut notes = Vec::new();
        for (sequence, missing) in records {
            let mut entry = journal.take(&record(*sequence, *missing), now);
            let last = entry.lines.pop().unwrap();
            assert_eq!(last.text, format!("12.345678 WARN init: number {sequence}"));
            assert_eq!((last.level, last.event), (Level::Warning, None));
            notes.push(entry.lines.into_iter().map(|line| line.text).collect());
            dropped += entry.dropped;
        }
        (notes, dropped)
    }

    #[test]
    fn what_is_missing_is_said_before_what_follows_it() {
        let (said, dropped) = notes(&[(0, 0), (1, 0), (19, 17), (20, 0), (24, 0), (30, 2)]);
        assert_eq!(said[0], ["a boot begins"]);
        assert_eq!(said[2], ["17 records were dropped"], "by the enclave");
        assert_eq!(said[4], ["3 records were dropped"], "by a connection");
        assert_eq!(said[5], ["5 records were dropped"], "by both");
        assert!(said[1].is_empty() && said[3].is_empty());
        assert_eq!(dropped, 25);
    }

    #[test]
    fn a_sequence_that_begins_again_is_another_boot() {
        let (said, dropped) = notes(&[(7, 2), (8, 0), (0, 0), (1, 0), (1, 1), (0, 0)]);
        assert_eq!(
            said[0],
            ["2 records were dropped"],
            "this boot began before the agent did"
        );
        assert_eq!(said[2], ["a boot begins"]);
        assert_eq!(said[4], ["a boot begins", "1 records were dropped"]);
        assert_eq!(said[5], ["a boot begins"]);
        assert_eq!(dropped, 3);
        let (said, _) = notes(&[(5, 5)]);
        assert_eq!(said[0], ["a boot begins", "5 records were dropped"]);
    }

    #[test]
    fn threat_12_a_flood_is_metered_whatever_it_says_of_itself() {
        let begin = Instant::now();
        let mut journal = Journal::new(begin);
        // Each is a boot of its own that dropped all it could.
        let hostile = Record {
            sequence: u64::MAX,
            ..record(0, u32::MAX)
        };
        let flood = |journal: &mut Journal, now| -> usize {
            (0..10_000)
                .flat_map(|number| {
                    let one = if number % 2 == 0 { &hostile } else { &record(3, 9) };
                    journal.take(one, now).lines
                })
                .count()
        };
        let first = flood(&mut journal, begin);
        assert!((1_998..=2_000).contains(&first), "{first}");
        assert_eq!(flood(&mut journal, begin), 0);
        let second = flood(&mut journal, begin + Duration::from_secs(1));
        assert!((98..=102).contains(&second), "{second}");
        let later = begin + Duration::from_secs(2);
        let said = journal.unsaid(later);
        assert_eq!(said.last().unwrap().text, format!("{} records were dropped", u64::MAX));
        assert!(journal.unsaid(later).is_empty(), "it is said once");
    }
}
