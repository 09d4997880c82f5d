//! Keeps the configured enclave running: adopts one that runs, starts one where none does, and starts it again when it has ended.

mod backoff;
mod clock;
mod event;

use std::time::Duration;

use self::backoff::Backoff;
pub use self::clock::{Clock, SystemClock, Wake};
pub use self::event::{Event, notify_systemd};
use crate::adopt::{Adoption, Difference, Refusal, adopt};
use crate::cli::{Cli, RunOptions, Which};
use crate::enclave::{Description, Enclave, Flags};
use crate::error::NitroError;
use crate::image::{ImageError, image_measurements};

/// Keeps `wanted` running until the clock says stop, then ends it. Everything that happens is told.
///
/// It never ends an enclave that serves: one that differs from the configuration in what can wait is adopted, and said to differ.
pub fn supervise(
    cli: impl Cli,
    mut clock: impl Clock,
    wanted: &RunOptions,
    tell: impl FnMut(&Event<'_>),
) -> Result<(), NitroError> {
    let mut supervisor = Supervisor {
        cli,
        wanted,
        tell,
        held: None,
        refused: None,
        starts: Backoff::between(SHORTEST, LONGEST),
        looks: Backoff::between(LOOK, LONGEST),
        not_before: Duration::ZERO,
    };
    loop {
        let pause = supervisor.step(&mut clock);
        match clock.wait(pause) {
            Wake::Time => {}
            Wake::Stop => return supervisor.stop(),
        }
    }
}

struct Supervisor<'a, C, T> {
    cli: C,
    wanted: &'a RunOptions,
    tell: T,
    /// The enclave that ran at the last look.
    held: Option<Held>,
    /// Why what runs is not used, told once.
    refused: Option<Refusal>,
    starts: Backoff,
    looks: Backoff,
    /// When the next start may be tried, by the clock.
    not_before: Duration,
}

struct Held {
    id: String,
    since: Duration,
}

impl<C: Cli, T: FnMut(&Event<'_>)> Supervisor<'_, C, T> {
    /// Looks, and does at most one thing about what it sees. Answers how long nothing is to be done.
    fn step(&mut self, clock: &mut impl Clock) -> Duration {
        let description = match self.cli.describe() {
            Ok(description) => description,
            Err(error) => return self.blind(&error, clock),
        };
        if let Some(enclave) = description.named(&self.wanted.name)
            && self.held.as_ref().is_some_and(|held| held.id == enclave.id)
        {
            return self.still_there(clock);
        }
        let image = image_measurements(&self.wanted.image);
        match adopt(&description, self.wanted, image.as_ref().ok()) {
            Adoption::Absent => self.absent(description, clock),
            Adoption::Same(enclave) => self.hold(&enclave, &[], image.err(), clock),
            Adoption::Different(enclave, differences) => match differences.iter().any(Difference::is_out_of_reach) {
                true => self.replace(&enclave, &differences, clock),
                false => self.hold(&enclave, &differences, image.err(), clock),
            },
            Adoption::Refused(refusal) => self.refuse(refusal, clock),
        }
    }

    fn still_there(&mut self, clock: &mut impl Clock) -> Duration {
        self.looks.reset();
        let now = clock.now();
        if self
            .held
            .as_ref()
            .is_some_and(|held| now.saturating_sub(held.since) >= SETTLED)
        {
            self.starts.reset();
        }
        LOOK
    }

    /// Nothing of ours is listed.
    fn absent(&mut self, description: Description, clock: &mut impl Clock) -> Duration {
        // An enclave that did not answer may be ours: a second one would get its name with a number, and not its CID.
        if let Some(error) = description.incomplete {
            return self.blind(&error, clock);
        }
        self.looks.reset();
        self.refused = None;
        let now = clock.now();
        if let Some(held) = self.held.take() {
            let ran = now.saturating_sub(held.since);
            if ran >= SETTLED {
                self.starts.reset();
            }
            // Memory and CPUs of one that has just ended are not free at once.
            let again = self.again(clock);
            (self.tell)(&Event::Ended { ran, again });
            return again;
        }
        match self.not_before.saturating_sub(now) {
            Duration::ZERO => self.start(clock),
            left => left,
        }
    }

    fn start(&mut self, clock: &mut impl Clock) -> Duration {
        match self.cli.run(self.wanted) {
            Ok(enclave) => {
                self.held = Some(Held {
                    id: enclave.id.clone(),
                    since: clock.now(),
                });
                (self.tell)(&Event::Started { enclave: &enclave });
                LOOK
            }
            Err(error) => {
                let again = self.again(clock);
                (self.tell)(&Event::StartFailed { error: &error, again });
                again
            }
        }
    }

    /// It runs already: an earlier supervisor started it, or a start that had not answered in time.
    fn hold(
        &mut self,
        enclave: &Enclave,
        differences: &[Difference],
        unmeasured: Option<ImageError>,
        clock: &mut impl Clock,
    ) -> Duration {
        self.looks.reset();
        self.refused = None;
        self.held = Some(Held {
            id: enclave.id.clone(),
            since: clock.now(),
        });
        (self.tell)(&Event::Adopted {
            enclave,
            differences,
            unmeasured: unmeasured.as_ref(),
        });
        LOOK
    }

    /// Nobody reaches it: it serves as little as none.
    fn replace(&mut self, enclave: &Enclave, differences: &[Difference], clock: &mut impl Clock) -> Duration {
        self.held = None;
        (self.tell)(&Event::Replacing { enclave, differences });
        let done = self.cli.terminate(&Which::Id(enclave.id.clone()));
        let again = self.again(clock);
        if let Err(error) = done {
            (self.tell)(&Event::NotTerminated { error: &error });
        }
        again
    }

    fn refuse(&mut self, refusal: Refusal, clock: &mut impl Clock) -> Duration {
        self.looks.reset();
        self.held = None;
        if self.refused.as_ref() != Some(&refusal) {
            (self.tell)(&Event::Refused { refusal: &refusal });
            self.refused = Some(refusal);
        }
        // Once it is gone, ours starts without delay.
        self.not_before = clock.now();
        LOOK
    }

    /// It is not known what runs: nothing is started, nothing is ended.
    fn blind(&mut self, error: &NitroError, clock: &mut impl Clock) -> Duration {
        let again = self.looks.next(clock.random());
        (self.tell)(&Event::LookFailed { error, again });
        again
    }

    fn again(&mut self, clock: &mut impl Clock) -> Duration {
        let pause = self.starts.next(clock.random());
        self.not_before = clock.now().saturating_add(pause);
        pause
    }

    /// Ends what is ours: of its name, not refused.
    fn stop(mut self) -> Result<(), NitroError> {
        let id = match self.cli.describe() {
            Ok(description) => {
                let ours = description.named(&self.wanted.name);
                ours.filter(|enclave| enclave.flags == Flags::None)
                    .map(|enclave| enclave.id.clone())
            }
            Err(_) => self.held.as_ref().map(|held| held.id.clone()),
        };
        let Some(id) = id else {
            (self.tell)(&Event::Stopped { ended: false });
            return Ok(());
        };
        (self.tell)(&Event::Stopping);
        let done = self
            .cli
            .terminate(&Which::Id(id.clone()))
            .or_else(|_| self.cli.terminate(&Which::Id(id)));
        match &done {
            Ok(()) => (self.tell)(&Event::Stopped { ended: true }),
            Err(error) => (self.tell)(&Event::NotTerminated { error }),
        }
        done
    }
}

/// Between two looks at an enclave that runs.
const LOOK: Duration = Duration::from_secs(5);
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);
/// One that ran for so long did not fail at its start.
const SETTLED: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
