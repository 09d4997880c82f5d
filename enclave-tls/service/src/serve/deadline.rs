//! A deadline that costs nothing to move further away.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep, sleep_until};

/// The time by which something must have happened.
///
/// A connection moves its deadline with every request. The runtime's timer is left where it is unless the deadline comes
/// nearer; when it fires too early, it is set again.
pub(super) struct Deadline {
    at: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Deadline {
    pub(super) fn new(at: Instant) -> Self {
        Self {
            at,
            timer: Box::pin(sleep_until(at)),
        }
    }

    pub(super) fn set(&mut self, at: Instant) {
        self.at = at;
        if at < self.timer.deadline() {
            self.timer.as_mut().reset(at);
        }
    }

    /// Ready once the deadline has passed.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.timer.as_mut().poll(cx).is_ready() {
            if self.timer.deadline() >= self.at {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(self.at);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_deadline_can_move_both_ways() {
        let begun = Instant::now();
        let mut deadline = Deadline::new(begun + Duration::from_secs(1));
        deadline.set(begun + Duration::from_secs(5));
        poll_fn(|cx| deadline.poll(cx)).await;
        assert_eq!(begun.elapsed().as_secs(), 5);
        deadline.set(begun + Duration::from_secs(600));
        deadline.set(begun + Duration::from_secs(6));
        poll_fn(|cx| deadline.poll(cx)).await;
        assert_eq!(begun.elapsed().as_secs(), 6);
    }
}
