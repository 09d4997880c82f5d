//! Which windows of a piece of memory are worth a closer look: every byte offset, unless the bytes repeat too much.

use std::ops::Range;

/// The starts of all windows of `len` bytes that have at least [`MIN_DISTINCT`] distinct bytes, as runs of consecutive
/// starts.
pub(super) fn runs(bytes: &[u8], len: usize) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    if len == 0 || bytes.len() < len {
        return runs;
    }
    let mut counter = Distinct::of(&bytes[..len]);
    for start in 0..=bytes.len() - len {
        if start > 0 {
            counter.slide(bytes[start - 1], bytes[start + len - 1]);
        }
        if counter.distinct < MIN_DISTINCT {
            continue;
        }
        match runs.last_mut() {
            Some(run) if run.end == start => run.end = start + 1,
            _ => runs.push(start..start + 1),
        }
    }
    runs
}

/// Joins runs that lie at most `gap` windows apart, for a search that pays more for a new run than for `gap` windows.
pub(super) fn join(runs: Vec<Range<usize>>, gap: usize) -> Vec<Range<usize>> {
    let mut joined: Vec<Range<usize>> = Vec::with_capacity(runs.len());
    for run in runs {
        match joined.last_mut() {
            Some(last) if run.start - last.end <= gap => last.end = run.end,
            _ => joined.push(run),
        }
    }
    joined
}

struct Distinct {
    counts: [usize; 256],
    distinct: usize,
}

impl Distinct {
    fn of(window: &[u8]) -> Self {
        let mut counter = Self {
            counts: [0; 256],
            distinct: 0,
        };
        window.iter().for_each(|byte| counter.add(*byte));
        counter
    }

    fn slide(&mut self, leaving: u8, entering: u8) {
        let count = &mut self.counts[usize::from(leaving)];
        *count -= 1;
        self.distinct -= usize::from(*count == 0);
        self.add(entering);
    }

    fn add(&mut self, byte: u8) {
        let count = &mut self.counts[usize::from(byte)];
        self.distinct += usize::from(*count == 0);
        *count += 1;
    }
}

/// 32 random bytes have fewer than 20 distinct values once in 7·10^9 keys; pointers, text and zeros nearly always do.
const MIN_DISTINCT: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_windows_with_twenty_distinct_bytes_count() {
        let mut bytes = vec![0; 100];
        for (value, byte) in (1..=19).zip(&mut bytes[40..59]) {
            *byte = value;
        }
        // 19 values and the zeros around them are 20: windows that hold all 19 and a zero.
        assert_eq!(
            runs(&bytes, 32).into_iter().flatten().collect::<Vec<_>>(),
            (27..41).collect::<Vec<_>>()
        );
        assert_eq!(runs(&[0; 100], 32), []);
        assert_eq!(runs(&bytes[..31], 32), []);
    }

    #[test]
    fn near_runs_are_joined() {
        assert_eq!(join(vec![0..4, 6..9, 20..21], 2), [0..9, 20..21]);
        assert_eq!(join(vec![], 2), []);
    }
}
