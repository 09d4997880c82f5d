//! Records that wait for the parent.

use std::collections::VecDeque;
use std::time::Duration;

use enclave_wire::Encode as _;
use enclave_wire::frame;
use enclave_wire::log::{Level, RECORD, Record, Text};
use rustix::time::{ClockId, clock_gettime};

/// The frames of records, in order, and what is missing between them. When it is full, the newest are dropped: what led to a storm stands
/// at its beginning. The last [`RESERVED`] bytes are PID 1's, so that the reason of an
/// end has room whatever the service says.
#[derive(Debug, Default)]
pub(super) struct Queue {
    frames: VecDeque<Vec<u8>>,
    bytes: usize,
    next: u64,
    dropped: u32,
}

impl Queue {
    /// A record of the service's.
    pub(super) fn push(&mut self, level: Level, target: &str, message: &str) {
        self.push_within(MOST.saturating_sub(RESERVED), level, target, message);
    }

    /// A record of PID 1's.
    pub(super) fn push_own(&mut self, level: Level, target: &str, message: &str) {
        self.push_within(MOST, level, target, message);
    }

    fn push_within(&mut self, limit: usize, level: Level, target: &str, message: &str) {
        let record = Record {
            sequence: self.next,
            dropped: self.dropped,
            uptime_us: uptime_us(),
            level,
            target: Text::lossy(target),
            message: Text::lossy(message),
        };
        let frame = frame::encode_with(RECORD, 0, |body| record.encode(body)).into_bytes();
        let bytes = self.bytes.saturating_add(frame.len());
        if bytes > limit {
            self.drop_some(1);
            return;
        }
        self.bytes = bytes;
        self.frames.push_back(frame);
        self.next = self.next.saturating_add(1);
        self.dropped = 0;
    }

    /// Records that never came here, or find no room.
    pub(super) fn drop_some(&mut self, count: u32) {
        self.next = self.next.saturating_add(count.into());
        self.dropped = self.dropped.saturating_add(count);
    }

    pub(super) fn first(&self) -> Option<&[u8]> {
        self.frames.front().map(Vec::as_slice)
    }

    pub(super) fn remove_first(&mut self) {
        let removed = self.frames.pop_front().map_or(0, |frame| frame.len());
        self.bytes = self.bytes.saturating_sub(removed);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }
}

fn uptime_us() -> u64 {
    let since_boot = Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap_or_default();
    u64::try_from(since_boot.as_micros()).unwrap_or(u64::MAX)
}

/// Some 2,000 records of a line.
const MOST: usize = 262_144;
/// More than PID 1 says in a boot.
const RESERVED: usize = 16_384;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threat_12_the_reason_of_an_end_has_room_whatever_the_service_says() {
        let mut queue = Queue::default();
        for _ in 0..10_000 {
            queue.push(Level::Error, "service", &"x".repeat(100));
        }
        assert!(queue.dropped > 0);
        let (waiting, dropped) = (queue.frames.len(), queue.dropped);
        queue.push_own(Level::Error, "init", &"x".repeat(4_096));
        assert_eq!((queue.frames.len(), queue.dropped), (waiting.saturating_add(1), 0));
        assert_eq!(queue.next, 10_001, "{dropped} of which are missing");
        while queue.first().is_some() {
            queue.remove_first();
        }
        assert_eq!(queue.bytes, 0);
        queue.push(Level::Info, "service", "again");
        assert_eq!(queue.frames.len(), 1);
    }
}
