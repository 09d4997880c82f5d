//! The newest lines, kept for whoever asks later.

use std::collections::{BTreeMap, VecDeque};

use enclave_tls_admin::report::Line;

use super::Event;

/// Lines in the order in which they came, and how often each event was among all that ever came.
pub(super) struct Ring {
    lines: VecDeque<Line>,
    bytes: usize,
    /// The number of the last line; the first is 1.
    last: u64,
    counts: BTreeMap<Event, (u64, i64)>,
}

/// Each event, how often it came, and when last.
pub(crate) type Counted = Vec<(Event, u64, Option<i64>)>;

impl Ring {
    pub(super) const fn new() -> Self {
        Self {
            lines: VecDeque::new(),
            bytes: 0,
            last: 0,
            counts: BTreeMap::new(),
        }
    }

    /// Takes a line and gives it its number.
    pub(super) fn push(&mut self, line: Line, event: Option<Event>) {
        if let Some(event) = event {
            let (count, last) = self.counts.entry(event).or_default();
            *count = count.saturating_add(1);
            *last = line.time;
        }
        self.last = self.last.saturating_add(1);
        self.bytes = self.bytes.saturating_add(line.text.len());
        self.lines.push_back(Line {
            number: self.last,
            ..line
        });
        while self.lines.len() > MAX_LINES || self.bytes > MAX_BYTES {
            let Some(oldest) = self.lines.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(oldest.text.len());
        }
    }

    /// The newest, the oldest of them first.
    pub(super) fn newest(&self, most: u32, after: u64) -> Vec<Line> {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let newest = self
            .lines
            .iter()
            .rev()
            .take_while(|line| line.number > after)
            .take(most);
        let mut lines: Vec<_> = newest.cloned().collect();
        lines.reverse();
        lines
    }

    pub(super) fn counted(&self) -> Counted {
        let count = |event: &Event| match self.counts.get(event) {
            Some((count, last)) => (*event, *count, Some(*last)),
            None => (*event, 0, None),
        };
        Event::ALL.iter().map(count).collect()
    }
}

const MAX_LINES: usize = 2_000;
/// Of texts. Lines are mostly short; a flood of long ones, of a hostile enclave, does not make the agent large.
const MAX_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line {
        Line {
            number: 0,
            time: 7,
            source: String::new(),
            level: String::new(),
            event: String::new(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn the_newest_stay_and_their_numbers_count_all() {
        let mut ring = Ring::new();
        for number in 1..=2_500 {
            ring.push(line(&number.to_string()), Some(Event::AgentReady));
        }
        let all = ring.newest(u32::MAX, 0);
        assert_eq!((all.len(), all[0].number, all[0].text.as_str()), (2_000, 501, "501"));
        let some: Vec<_> = ring.newest(3, 2_400).iter().map(|line| line.number).collect();
        assert_eq!(some, [2_498, 2_499, 2_500]);
        assert_eq!(ring.newest(10, 2_499).len(), 1);
        assert!(ring.newest(10, 2_500).is_empty() && ring.newest(0, 0).is_empty());
        assert_eq!(ring.counted()[0], (Event::AgentReady, 2_500, Some(7)));
        assert!(
            ring.counted()[1..]
                .iter()
                .all(|(_, count, last)| (*count, *last) == (0, None))
        );
    }

    #[test]
    fn threat_12_a_flood_of_long_lines_does_not_fill_the_memory() {
        let mut ring = Ring::new();
        let long = "x".repeat(6_000);
        (0..5_000).for_each(|_| ring.push(line(&long), None));
        assert!(ring.bytes <= MAX_BYTES && ring.lines.len() == MAX_BYTES / 6_000);
        assert_eq!(ring.bytes, ring.lines.iter().map(|line| line.text.len()).sum::<usize>());
    }
}
