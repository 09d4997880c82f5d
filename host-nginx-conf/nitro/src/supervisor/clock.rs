//! Time, and the wish to end.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level::pipe;

/// Time as the supervisor needs it; a test lets days pass in a moment.
pub trait Clock {
    /// Since any moment; never goes back.
    fn now(&mut self) -> Duration;
    /// Returns after `pause`, or as soon as the end is asked for.
    fn wait(&mut self, pause: Duration) -> Wake;
    fn random(&mut self) -> u32;
}

/// Why a wait is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    Time,
    Stop,
}

/// The machine's clock, which does not step; SIGTERM and SIGINT ask for the end.
pub struct SystemClock {
    begun: Instant,
    signals: UnixStream,
}

impl SystemClock {
    /// From here on neither signal ends the process by itself.
    pub fn new() -> io::Result<Self> {
        let (signals, written) = UnixStream::pair()?;
        pipe::register(SIGTERM, written.try_clone()?)?;
        pipe::register(SIGINT, written)?;
        Ok(Self {
            begun: Instant::now(),
            signals,
        })
    }
}

impl Clock for SystemClock {
    fn now(&mut self) -> Duration {
        self.begun.elapsed()
    }

    fn wait(&mut self, pause: Duration) -> Wake {
        let end = self.now().saturating_add(pause);
        loop {
            let left = end.saturating_sub(self.now());
            // A pause of nothing still hears a signal that came before.
            let left = left.max(Duration::from_millis(1));
            let heard = self
                .signals
                .set_read_timeout(Some(left))
                .and_then(|()| self.signals.read(&mut [0]));
            match heard {
                Ok(_) => return Wake::Stop,
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                        if self.now() >= end {
                            return Wake::Time;
                        }
                    }
                    io::ErrorKind::Interrupted => {}
                    // Without it nobody could end us.
                    _ => return Wake::Stop,
                },
            }
        }
    }

    fn random(&mut self) -> u32 {
        getrandom::u32().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_in_time_and_by_a_signal() {
        let mut clock = SystemClock::new().unwrap();
        let begun = Instant::now();
        assert_eq!(clock.wait(Duration::from_millis(30)), Wake::Time);
        assert!(begun.elapsed() >= Duration::from_millis(30));
        signal_hook::low_level::raise(SIGTERM).unwrap();
        assert_eq!(clock.wait(Duration::ZERO), Wake::Stop);
        assert!(begun.elapsed() < Duration::from_secs(20));
    }
}
