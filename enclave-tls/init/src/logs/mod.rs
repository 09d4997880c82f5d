//! The log plane: records to the parent, which nobody here waits for.
//!
//! PID 1 sends the service's records and its own as one sequence. The service writes lines to a pipe and never waits for it; what comes out
//! of the pipe is metered, so that a storm costs the parent no more than [`Meter`] lets through, and waits in a bounded queue
//! while the parent is away. What is dropped in any of these places is counted in the next record.

pub mod lines;
pub(crate) mod link;
mod queue;

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use enclave_wire::address::Address;
use enclave_wire::log::{Level, Meter};
use rustix::event::PollFlags;

use lines::Line;
use link::Link;
use queue::Queue;

/// The log of one boot.
pub struct Logs {
    queue: Queue,
    meter: Meter,
    link: Option<Link>,
}

impl Logs {
    /// Nothing is sent yet: who the parent is stands on the kernel's command line.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            queue: Queue::default(),
            meter: Meter::new(now),
            link: None,
        }
    }

    /// Where the parent is. It is dialled from now on, and again whenever it goes away.
    pub fn send_to(&mut self, address: Address, now: Instant) {
        self.link = Some(Link::new(address, now));
    }

    /// A record of PID 1's own. They are few, so they are not metered.
    pub fn say(&mut self, level: Level, message: &str) {
        self.queue.push_own(level, TARGET, message);
    }

    /// What the service wrote.
    pub fn pass_on(&mut self, line: &Line, now: Instant) {
        match line {
            Line::Dropped(count) => self.queue.drop_some(*count),
            Line::Record { level, target, message } if self.meter.lets_through(1, now) => {
                self.queue.push(*level, target, message);
            }
            Line::Record { .. } => self.queue.drop_some(1),
        }
    }

    /// Does what can be done without waiting.
    pub fn advance(&mut self, now: Instant) {
        if let Some(link) = &mut self.link {
            link.advance(&mut self.queue, now);
        }
    }

    /// What to wait for before it can go on.
    #[must_use]
    pub fn awaits(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        self.link.as_ref()?.awaits(self.queue.is_empty())
    }

    /// Sends what is left, for at most `patience`.
    pub fn finish(&mut self, patience: Duration) {
        let begun = Instant::now();
        while begun.elapsed() < patience && self.link.is_some() && !self.queue.is_empty() {
            self.advance(Instant::now());
            std::thread::sleep(PAUSE);
        }
    }
}

const TARGET: &str = "init";
const PAUSE: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests;
