//! The service's answers, over a pool of sockets that belongs to this process alone.
//!
//! Blocking, without a thread: a web server forks, and no thread survives that. Every call ends by its deadline. What a fork leaves
//! behind is in `abi::process`.

mod breaker;
mod connect;
mod connection;
mod pool;
mod registry;
mod requests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use enclave_wire::signing::SignError;

use crate::config::{Credential, Settings};
use crate::token::backend::Unavailable;
use crate::token::deadline::Deadline;
use crate::token::lock::Lock;
use breaker::{Breaker, REST};
use connection::{Connection, ExchangeError};
use pool::{Place, Pool};
use registry::Registry;

/// A client of the service.
pub struct Client {
    settings: Lock<Settings>,
    pool: Pool,
    registry: Arc<Registry>,
    breaker: Breaker,
}

/// Why a call brought nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CallError {
    Unavailable(Unavailable),
    /// The call's time ended before the service had its own to answer: it says nothing of the service.
    OutOfTime,
    /// The service said no.
    Answer(SignError),
}

impl Client {
    /// A client that has connected to nothing yet. None where there is no credential to connect with.
    #[must_use]
    pub fn new(settings: Settings) -> Option<Self> {
        settings.credential()?;
        Some(Self {
            settings: Lock::new(settings),
            pool: Pool::default(),
            registry: Registry::new(),
            breaker: Breaker::new(REST),
        })
    }

    /// Makes a call, whose exchanges all go over one connection, within the deadline.
    fn call<T>(
        &self,
        deadline: Deadline,
        exchanges: impl FnMut(&mut Connection, Deadline) -> Result<T, ExchangeError>,
    ) -> Result<T, CallError> {
        // A search makes many calls by one deadline.
        deadline.remaining().ok_or(CallError::OutOfTime)?;
        let stalled = CallError::Unavailable(Unavailable::Stalled);
        let mut pass = self.breaker.enter().ok_or(stalled)?;
        let probed = match pass.ping(deadline) {
            Some(limit) => self.ping(limit).map(|()| pass.answered()),
            None => Ok(()),
        };
        let result = probed.and_then(|()| self.attempts(deadline, exchanges));
        match result {
            Err(CallError::Unavailable(Unavailable::Stalled | Unavailable::Busy)) => {
                if pass.missed() {
                    // Those of the same peer: a probe shall not meet them one by one.
                    self.pool.close_idle();
                    self.pool.wake_all();
                }
            }
            Ok(_) | Err(CallError::Answer(_)) => pass.heard(),
            Err(CallError::Unavailable(_)) => pass.met(),
            Err(CallError::OutOfTime) => drop(pass),
        }
        result
    }

    /// Whether the service is there at all. A ping is behind no signature of another's.
    fn ping(&self, deadline: Deadline) -> Result<(), CallError> {
        match self.attempts(deadline, requests::ping) {
            Err(CallError::OutOfTime) => Err(CallError::Unavailable(Unavailable::Stalled)),
            answer => answer,
        }
    }

    /// Tries until there is an answer, a failure that a retry does not mend, or no time.
    fn attempts<T>(
        &self,
        deadline: Deadline,
        mut exchanges: impl FnMut(&mut Connection, Deadline) -> Result<T, ExchangeError>,
    ) -> Result<T, CallError> {
        let first = Instant::now();
        let mut may_resend = true;
        let mut busy = 0;
        let mut exchanges = |connection: &mut Connection| {
            connection.begin();
            exchanges(connection, deadline)
        };
        // One that was busy until now is that, though the last try was cut short.
        let in_vain = |since, busy| match busy {
            0 => unanswered(since, Unavailable::Stalled),
            _ => unanswered(first, Unavailable::Busy),
        };
        loop {
            let mut place = self.pool.take(deadline, &self.breaker).ok_or(CallError::OutOfTime)?;
            let begun = Instant::now();
            let (outcome, was_idle) = match place.connection() {
                Some(connection) => (exchanges(connection), true),
                None => match self.connect(deadline) {
                    Ok(connection) => (exchanges(place.fill(connection)), false),
                    Err(Unavailable::Busy) => (Err(ExchangeError::Answer(SignError::Busy)), false),
                    Err(Unavailable::Stalled) => return Err(in_vain(begun, busy)),
                    Err(cause) => return Err(CallError::Unavailable(cause)),
                },
            };
            match outcome {
                Ok(answer) => {
                    place.give_back();
                    return Ok(answer);
                }
                Err(ExchangeError::Answer(SignError::Busy)) => {
                    drop(place);
                    let rested = rest(busy, deadline);
                    busy = busy.saturating_add(1);
                    rested.ok_or_else(|| in_vain(first, busy))?;
                }
                Err(ExchangeError::Closed { untouched: true }) if was_idle && may_resend => {
                    // The service let it go while it was idle, or was restarted. The others are no younger.
                    drop(place);
                    self.pool.close_idle();
                    may_resend = false;
                }
                Err(ExchangeError::Answer(error)) => return Err(answered(place, error)),
                Err(ExchangeError::Closed { .. }) => return Err(CallError::Unavailable(Unavailable::Unreachable)),
                Err(ExchangeError::Timeout) => {
                    // Not given back: the answer may come yet, and would be the next signer's.
                    let answered = place.connection().and_then(|connection| connection.answered());
                    return Err(in_vain(answered.unwrap_or(begun), busy));
                }
                Err(ExchangeError::NoMemory) => return Err(CallError::Unavailable(Unavailable::NoMemory)),
                Err(ExchangeError::Protocol) => return Err(CallError::Unavailable(Unavailable::Protocol)),
            }
        }
    }

    /// A new connection. A credential that was refused may have been replaced meanwhile: it is read again, once.
    fn connect(&self, deadline: Deadline) -> Result<Connection, Unavailable> {
        let settings = self.settings.lock().clone();
        let credential = settings.credential().ok_or(Unavailable::Refused)?;
        let connect =
            |credential: &Credential| connect::connect(settings.endpoints(), credential, &self.registry, deadline);
        match connect(credential) {
            Err(Unavailable::Refused) => match self.replacement(credential) {
                Some(replacement) => connect(&replacement),
                None => Err(Unavailable::Refused),
            },
            outcome => outcome,
        }
    }

    fn replacement(&self, refused: &Credential) -> Option<Arc<Credential>> {
        let mut settings = self.settings.lock();
        settings.read_credential_again();
        let credential = settings.credential()?;
        (!credential.same(refused)).then(|| credential.clone())
    }
}

/// An error that ends the connection, or one that it survives.
fn answered(place: Place<'_>, error: SignError) -> CallError {
    match error {
        SignError::Malformed | SignError::Version | SignError::AuthenticationFailed => {
            CallError::Unavailable(Unavailable::Protocol)
        }
        SignError::NoSuchKey
        | SignError::UsageRefused
        | SignError::InputLength
        | SignError::ListChanged
        | SignError::Busy
        | SignError::Failed => {
            place.give_back();
            CallError::Answer(error)
        }
    }
}

/// What it means that there was no answer since then. Only a service that had its time stalls, or is too busy.
fn unanswered(since: Instant, cause: Unavailable) -> CallError {
    if since.elapsed() >= PATIENCE {
        CallError::Unavailable(cause)
    } else {
        CallError::OutOfTime
    }
}

/// Waits a random time before the next try at a busy service, longer each time, so that many clients do not come back as one. None where
/// there is no time for one.
fn rest(tries: u32, deadline: Deadline) -> Option<()> {
    let longest = MAX_REST.min(MIN_REST.saturating_mul(1 << tries.min(8)));
    let share = getrandom::u32().unwrap_or(u32::MAX);
    let pause = MIN_REST.saturating_add(longest.mul_f64(f64::from(share) / f64::from(u32::MAX)));
    let left = deadline.remaining()?;
    std::thread::sleep(pause.min(left));
    deadline.remaining().map(|_| ())
}

/// How long a service must have had for an answer before calls fail at once for the lack of it: the better half of a call's time.
const PATIENCE: Duration = Duration::from_millis(500);

/// A signature or two later there may be room.
const MIN_REST: Duration = Duration::from_millis(1);
/// A few tries fit into a call's time.
const MAX_REST: Duration = Duration::from_millis(64);
