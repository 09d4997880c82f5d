//! A loop whose work never changes: when its time does, the machine did.

use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};

/// How long the loop takes now: the better of two, since a single interruption is not what it looks for.
pub(super) fn time() -> Duration {
    once().min(once())
}

/// Whether these times differ by more than a tenth.
pub(super) fn is_disturbed(times: &[Duration]) -> bool {
    let (Some(least), Some(most)) = (times.iter().min(), times.iter().max()) else {
        return false;
    };
    most.as_secs_f64() > least.as_secs_f64() * LIMIT
}

fn once() -> Duration {
    let block = [0x33; BLOCK];
    let begin = Instant::now();
    for _ in 0..BLOCKS {
        std::hint::black_box(digest(&SHA256, std::hint::black_box(&block)));
    }
    begin.elapsed()
}

const LIMIT: f64 = 1.10;
const BLOCK: usize = 4096;
/// Some milliseconds in all.
const BLOCKS: usize = 1500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_is_the_limit() {
        let ms = Duration::from_millis;
        assert!(!is_disturbed(&[]));
        assert!(!is_disturbed(&[ms(100), ms(109), ms(104)]));
        assert!(is_disturbed(&[ms(100), ms(112), ms(104)]));
    }
}
