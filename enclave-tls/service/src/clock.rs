//! Wall time from the NSM, counted on by the monotonic clock. Nothing of the parent's is in it.

pub mod source;

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use enclave_attestation::{Bound, Document, Nsm, NsmError, SignedDocument, VerifyError, decode_unsigned};
use enclave_policy::NsmTrust;
use rustix::time::{ClockId, clock_gettime};

use crate::platform::Clock;

/// The time of an NSM's document, and what has passed since.
///
/// A document is signed, names its own time, and carries a nonce of this boot. Its chain is judged at that time: there is no other clock
/// to judge it by, and the NSM, whose root the measured policy names, is trusted to tell it. The parent's clock never is.
pub struct NsmClock {
    nsm: Arc<dyn Nsm>,
    root: Option<[u8; 32]>,
    counter: Counter,
    /// Wall time less the counter, in milliseconds. Signatures ask for the time, so it is read without a lock.
    offset_ms: AtomicI64,
    /// The latest time that was given.
    latest_ms: AtomicI64,
}

/// What has passed since some moment, at the pace of a clock that nobody sets.
type Counter = Box<dyn Fn() -> Duration + Send + Sync>;

impl NsmClock {
    /// Asks the NSM for the time, and from now on again each hour, for as long as the clock is held.
    ///
    /// Where no root is trusted, documents are taken as they are: nothing can be attested then, so nothing hangs on them but the time.
    pub fn start(nsm: Arc<dyn Nsm>, trust: Option<NsmTrust>) -> Result<Arc<Self>, ClockError> {
        let root = match trust {
            Some(NsmTrust::Root(root)) => Some(root),
            Some(NsmTrust::Unsigned) => {
                tracing::warn!(
                    "the policy takes documents of the NSM that nobody signed: what is attested here proves nothing"
                );
                None
            }
            None => {
                tracing::warn!(
                    "the policy trusts no NSM: nothing will be attested, and the time is what the NSM says without proof"
                );
                None
            }
        };
        Self::start_every(EVERY, nsm, root)
    }

    fn start_every(pause: Duration, nsm: Arc<dyn Nsm>, root: Option<[u8; 32]>) -> Result<Arc<Self>, ClockError> {
        let clock = Arc::new(Self::anchored(nsm, root, Box::new(since_boot))?);
        let weak = Arc::downgrade(&clock);
        let thread = std::thread::Builder::new().name("nsm-clock".to_owned());
        thread.spawn(move || keep(&weak, pause)).map_err(ClockError::Thread)?;
        Ok(clock)
    }

    fn anchored(nsm: Arc<dyn Nsm>, root: Option<[u8; 32]>, counter: Counter) -> Result<Self, ClockError> {
        let clock = Self {
            nsm,
            root,
            counter,
            offset_ms: AtomicI64::new(0),
            latest_ms: AtomicI64::new(0),
        };
        let (offset_ms, now_ms) = clock.ask()?;
        clock.offset_ms.store(offset_ms, Ordering::Relaxed);
        tracing::info!(unix_ms = now_ms, "the time is the NSM's");
        Ok(clock)
    }

    /// Takes the NSM's time again: clocks drift by seconds a week.
    fn anchor_again(&self) -> Result<(), ClockError> {
        let (offset_ms, now_ms) = self.ask()?;
        let before_ms = self.offset_ms.swap(offset_ms, Ordering::Relaxed);
        let jump_ms = offset_ms.saturating_sub(before_ms);
        if jump_ms.saturating_abs() > NO_DRIFT_MS {
            tracing::warn!(
                jump_ms,
                unix_ms = now_ms,
                "the NSM's time and the monotonic clock disagree; the NSM's is taken"
            );
        } else {
            tracing::debug!(jump_ms, "the time was set again");
        }
        Ok(())
    }

    /// The NSM's time less the counter, and that time, in milliseconds.
    fn ask(&self) -> Result<(i64, i64), ClockError> {
        let mut nonce = [0; 16];
        aws_lc_rs::rand::fill(&mut nonce).map_err(|_| ClockError::Random)?;
        // Before the question: the time is then ahead by what the answer takes, never behind, and nothing expired passes for valid.
        let counter_ms = milliseconds((self.counter)());
        let bytes = self.nsm.attest(&Bound {
            nonce: Some(&nonce),
            ..Bound::default()
        })?;
        let document = self.read(&bytes)?;
        if document.nonce.as_deref() != Some(&nonce) {
            return Err(ClockError::Replayed);
        }
        let now_ms = i64::try_from(document.timestamp_ms).unwrap_or(i64::MAX);
        Ok((now_ms.saturating_sub(counter_ms), now_ms))
    }

    fn read(&self, bytes: &[u8]) -> Result<Document, ClockError> {
        let Some(root) = self.root else {
            return Ok(decode_unsigned(bytes)?);
        };
        let signed = SignedDocument::decode(bytes)?;
        let at = Duration::from_millis(signed.unverified().timestamp_ms).as_secs();
        Ok(signed.verify(&root, at)?.document().clone())
    }
}

impl Clock for NsmClock {
    /// Never less than it was before: where the NSM's time turns out to be behind, this stands still until that has caught up.
    fn now_unix(&self) -> i64 {
        let counted_ms = milliseconds((self.counter)());
        let now_ms = self.offset_ms.load(Ordering::Relaxed).saturating_add(counted_ms);
        let latest_ms = self.latest_ms.fetch_max(now_ms, Ordering::Relaxed);
        now_ms.max(latest_ms).div_euclid(1_000)
    }
}

/// Asks again after each pause, until the clock is dropped.
fn keep(clock: &Weak<NsmClock>, every: Duration) {
    let mut pause = every;
    loop {
        std::thread::sleep(pause);
        let Some(clock) = clock.upgrade() else { return };
        pause = match clock.anchor_again() {
            Ok(()) => every,
            Err(error) => {
                tracing::warn!(%error, "the time was not set again; it is counted on");
                AFTER_FAILURE
            }
        };
    }
}

/// `CLOCK_BOOTTIME`: unlike `Instant`'s clock it goes on while the machine is suspended, when certificates expire too. Time that the
/// hypervisor takes from this machine passes in both; neither can be set, from inside or by the parent.
fn since_boot() -> Duration {
    // The kernel's time since boot is neither negative nor before its own zero.
    Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap_or_default()
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Why the NSM's time was not taken.
#[derive(Debug)]
pub enum ClockError {
    /// The NSM gave no document.
    Nsm(NsmError),
    /// Its document was refused.
    Document(VerifyError),
    /// Its document answers another question.
    Replayed,
    /// The system gave no random numbers.
    Random,
    /// The thread that asks again could not be started.
    Thread(std::io::Error),
}

impl From<NsmError> for ClockError {
    fn from(error: NsmError) -> Self {
        Self::Nsm(error)
    }
}

impl From<VerifyError> for ClockError {
    fn from(error: VerifyError) -> Self {
        Self::Document(error)
    }
}

impl std::fmt::Display for ClockError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nsm(error) => write!(f, "{error}"),
            Self::Document(error) => write!(f, "the NSM's document was refused: {error}"),
            Self::Replayed => f.write_str("the NSM's document answers another question"),
            Self::Random => f.write_str("the system gave no random numbers"),
            Self::Thread(error) => write!(f, "no thread for the clock: {error}"),
        }
    }
}

impl std::error::Error for ClockError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Nsm(error) => Some(error),
            Self::Document(error) => Some(error),
            Self::Thread(error) => Some(error),
            Self::Replayed | Self::Random => None,
        }
    }
}

/// An enclave's clock has been seen to drift by 6 s a week: 36 ms in this time.
const EVERY: Duration = Duration::from_secs(3_600);
const AFTER_FAILURE: Duration = Duration::from_secs(60);
/// More than a clock drifts between two answers, and than an answer takes.
const NO_DRIFT_MS: i64 = 2_000;

#[cfg(test)]
mod tests;
