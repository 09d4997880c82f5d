use std::io::Read as _;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use enclave_wire::frame::{HEADER_LEN, Header, limit};
use enclave_wire::log::{RECORD, Record};
use enclave_wire::{Decode as _, Reader};

use super::*;

/// A parent that takes records.
struct Parent {
    path: PathBuf,
    listener: UnixListener,
}

impl Parent {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("enclave-init-logs-{}-{test}", std::process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        Self { path, listener }
    }

    fn address(&self) -> Address {
        Address::UnixPath(self.path.to_str().unwrap().to_owned())
    }

    /// The records of one connection, to its end.
    fn records(&self) -> Vec<Record> {
        let mut stream = self.listener.accept().unwrap().0;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        read(&bytes)
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn read(mut bytes: &[u8]) -> Vec<Record> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let header = Header::decode(bytes.first_chunk().unwrap(), limit::LOG).unwrap();
        assert_eq!(header.operation, RECORD);
        let (frame, rest) = bytes.split_at(HEADER_LEN.saturating_add(header.body_len()));
        let mut reader = Reader::new(&frame[HEADER_LEN..]);
        records.push(Record::decode(&mut reader).unwrap());
        bytes = rest;
    }
    records
}

fn line(message: &str) -> Line {
    Line::Record {
        level: Level::Info,
        target: "a".to_owned(),
        message: message.to_owned(),
    }
}

fn assert_nothing_is_missing(records: &[Record]) {
    let mut next = 0_u64;
    for record in records {
        next = next.saturating_add(record.dropped.into());
        assert_eq!(record.sequence, next);
        next = next.saturating_add(1);
    }
}

#[test]
fn what_was_checked_goes_out_in_order() {
    let parent = Parent::new("order");
    let mut logs = Logs::new(Instant::now());
    logs.say(Level::Info, "first");
    logs.send_to(parent.address(), Instant::now());
    logs.pass_on(&line("second"), Instant::now());
    logs.say(Level::Error, "third\u{1b}[2J");
    logs.finish(Duration::from_secs(5));
    drop(logs);
    let records = parent.records();
    let said: Vec<_> = records
        .iter()
        .map(|r| (r.target.as_str(), r.message.as_str()))
        .collect();
    assert_eq!(said, [("init", "first"), ("a", "second"), ("init", "third?[2J")]);
    assert_nothing_is_missing(&records);
    assert!(records.is_sorted_by_key(|record| record.uptime_us));
}

#[test]
fn threat_12_a_storm_is_cut_and_what_is_missing_is_counted() {
    let parent = Parent::new("storm");
    let now = Instant::now();
    let mut logs = Logs::new(now);
    logs.pass_on(&Line::Dropped(5), now);
    for number in 0..100_000 {
        logs.pass_on(&line(&format!("{number} {}", "x".repeat(100))), now);
    }
    logs.say(Level::Error, "the end");
    logs.send_to(parent.address(), now);
    let reader = std::thread::spawn(move || parent.records());
    logs.finish(Duration::from_secs(5));
    drop(logs);
    let records = reader.join().unwrap();
    assert!(records.len() <= 2_001, "{}", records.len());
    assert_nothing_is_missing(&records);
    let last = records.last().unwrap();
    assert_eq!((last.message.as_str(), last.sequence), ("the end", 100_005));
    assert_eq!(records[0].dropped, 5);
}

/// threat_12: a parent that is away, or connects and does not read, costs a bounded amount of memory and no time.
#[test]
fn threat_12_a_parent_that_does_not_read_is_not_waited_for() {
    let parent = Parent::new("deaf");
    let mut now = Instant::now();
    let mut logs = Logs::new(now);
    logs.send_to(parent.address(), now);
    let mut stream = None;
    for number in 0..3_000_u32 {
        now += Duration::from_millis(10);
        logs.pass_on(&line(&format!("{number} {}", "x".repeat(1_000))), now);
        logs.advance(now);
        stream = stream.or_else(|| parent.listener.accept().ok());
    }
    assert!(logs.queue.first().is_some());
    drop(stream);
    let reader = std::thread::spawn(move || parent.records());
    logs.say(Level::Error, "the end");
    // Half a frame was sent to the one that went; the next gets it whole.
    for _ in 0..100 {
        now += Duration::from_millis(100);
        logs.advance(now);
    }
    logs.finish(Duration::from_secs(5));
    drop(logs);
    assert_eq!(reader.join().unwrap().last().unwrap().message.as_str(), "the end");
}

#[test]
fn a_parent_that_comes_late_is_found() {
    let mut logs = Logs::new(Instant::now());
    let parent = Parent::new("late");
    let address = parent.address();
    drop(parent);
    let mut now = Instant::now();
    logs.send_to(address, now);
    logs.say(Level::Info, "waits");
    logs.advance(now);
    assert!(!logs.queue.is_empty());
    let parent = Parent::new("late");
    now += Duration::from_millis(99);
    logs.advance(now);
    assert!(!logs.queue.is_empty(), "not yet");
    now += Duration::from_millis(1);
    logs.advance(now);
    assert!(logs.queue.is_empty());
    drop(logs);
    assert_eq!(parent.records().len(), 1);
}
