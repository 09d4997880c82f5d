//! The service: from a request to an answer.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_lc_rs::rand;
use emulator_aws::{Clock, Expected, Secret, Signed, http_date};
use hyper::http::request::Parts;
use serde_json::Value;

use crate::arn::Caller;
use crate::authorization::Policy;
use crate::blob::hex;
use crate::config::Config;
use crate::counters::{Counters, Outcome};
use crate::error::{Kind, KmsError};
use crate::faults::{Close, ErrorFault, FaultSwitches, Faults};
use crate::operations::{Call, Operation};
use crate::recipient::Judge;
use crate::store::State;

/// Who may sign, by access key id.
pub(crate) type Logins = BTreeMap<String, Login>;

/// Somebody with a secret access key.
pub(crate) struct Login {
    pub(crate) caller: Caller,
    pub(crate) secret: String,
    pub(crate) session_token: Option<String>,
    pub(crate) expires: Option<i64>,
    pub(crate) policy: Option<Policy>,
}

impl Secret for Login {
    fn secret(&self) -> &str {
        &self.secret
    }

    fn session_token(&self) -> Option<&str> {
        self.session_token.as_deref()
    }

    fn expires(&self) -> Option<i64> {
        self.expires
    }
}

/// All that one emulator knows.
pub(crate) struct Kms {
    pub(crate) region: String,
    pub(crate) partition: &'static str,
    pub(crate) tls: bool,
    root_sha256: Option<[u8; 32]>,
    allow_unsigned: bool,
    clock: Clock,
    logins: Logins,
    state: Mutex<State>,
    counters: Mutex<Counters>,
    pub(crate) faults: FaultSwitches,
    turns: AtomicUsize,
}

/// An answer, and how it is to be sent.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    pub(crate) body: Vec<u8>,
    pub(crate) date: String,
    pub(crate) request_id: String,
    pub(crate) delay_ms: u64,
    pub(crate) close: Option<Close>,
}

impl Kms {
    pub(crate) fn new(config: &Config, root_sha256: Option<[u8; 32]>, logins: Logins, state: State) -> Self {
        Self {
            region: config.region.clone(),
            partition: config.partition(),
            tls: config.tls.is_some(),
            root_sha256,
            allow_unsigned: config.allow_unsigned_documents,
            clock: Clock::new(config.now_offset_seconds),
            logins,
            state: Mutex::new(state),
            counters: Mutex::default(),
            faults: FaultSwitches::default(),
            turns: AtomicUsize::new(0),
        }
    }

    pub(crate) fn answer(&self, head: &Parts, body: &[u8]) -> Answer {
        let operation = Operation::of(head);
        let name = operation.as_ref().map_or("unknown", Operation::name);
        let faults = self.faults.of_request(name);
        let now = self.clock.now().saturating_add(faults.clock_offset_seconds);
        let (logins, region) = (&self.logins, &self.region);
        let expected = Expected {
            logins,
            region,
            service: "kms",
            now,
        };
        let login = Signed { head, body }.verify(&expected).map_err(KmsError::from);
        let caller = login.as_ref().ok().map(|login| login.caller.arn.clone());
        let mut attested = false;
        let result = login.and_then(|login| {
            let call = Call::new(self, login, &faults, body);
            let known = operation.as_ref().map_err(Clone::clone);
            let result = forced(&faults).and_then(|()| known?.perform(&call));
            attested = call.was_attested();
            result
        });
        self.counters().add(name, caller.as_deref(), attested, outcome(&result));
        Answer::new(&result, &faults, now)
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn counters(&self) -> MutexGuard<'_, Counters> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn judge(&self) -> Judge {
        Judge {
            root_sha256: self.root_sha256,
            allow_unsigned: self.allow_unsigned,
            now_ms: self.clock.now_ms(),
        }
    }

    pub(crate) fn now(&self) -> i64 {
        self.clock.now()
    }

    /// Counts replies to recipients, whose forms take turns.
    pub(crate) fn next_turn(&self) -> usize {
        self.turns.fetch_add(1, Ordering::Relaxed)
    }
}

impl Answer {
    fn new(result: &Result<Value, KmsError>, faults: &Faults, now: i64) -> Self {
        let (status, body) = match result {
            Ok(value) => (200, value.to_string()),
            Err(error) => (error.status(), error.body().to_string()),
        };
        let mut answer = Self {
            status,
            content_type: "application/x-amz-json-1.1",
            body: body.into_bytes(),
            date: http_date(now),
            request_id: request_id(),
            delay_ms: faults.delay_ms,
            close: faults.close,
        };
        if faults.error == Some(ErrorFault::BadGateway) {
            answer.status = 502;
            answer.content_type = "text/html";
            answer.body = b"<html><body>502 Bad Gateway</body></html>".to_vec();
        }
        answer
    }
}

/// The error that a fault asks for. It comes after the signature was verified: a client that signs wrongly hides behind no fault.
fn forced(faults: &Faults) -> Result<(), KmsError> {
    let (kind, message) = match faults.error {
        None => return Ok(()),
        Some(ErrorFault::Internal) => (Kind::KmsInternal, ""),
        Some(ErrorFault::BadGateway) => (Kind::InternalFailure, ""),
        Some(ErrorFault::Unavailable) => (Kind::ServiceUnavailable, ""),
        Some(ErrorFault::Throttling) => (Kind::Throttling, "Rate exceeded"),
        Some(ErrorFault::ExpiredToken) => (
            Kind::ExpiredToken,
            "The security token included in the request is expired",
        ),
    };
    Err(KmsError::new(kind, message))
}

fn outcome(result: &Result<Value, KmsError>) -> Outcome {
    match result {
        Ok(_) => Outcome::Succeeded,
        Err(error) if error.kind == Kind::AccessDenied => Outcome::Denied,
        Err(_) => Outcome::Failed,
    }
}

/// An empty one is no reason to fail.
fn request_id() -> String {
    let mut bytes = [0; 16];
    let filled = rand::fill(&mut bytes);
    filled.map(|()| hex(&bytes)).unwrap_or_default()
}
