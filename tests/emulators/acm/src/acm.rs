//! The service: from a request to an answer.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use emulator_aws::{Clock, Expected, Secret, Signed, http_date};
use hyper::http::request::Parts;
use serde::Serialize;
use serde_json::Value;

use crate::config::{Config, Principal};
use crate::error::AcmError;
use crate::operations::{Call, Operation};
use crate::store::{State, new_id};

/// All that one emulator knows.
pub(crate) struct Acm {
    pub(crate) config: Config,
    logins: BTreeMap<String, Principal>,
    clock: Clock,
    state: Mutex<State>,
    counters: Mutex<BTreeMap<String, Count>>,
}

/// How often an operation was asked for, and refused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// All requests of it.
    pub requests: u64,
    /// Those that were refused.
    pub refused: u64,
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    pub(crate) date: String,
    pub(crate) request_id: String,
}

impl Secret for Principal {
    fn secret(&self) -> &str {
        &self.secret_access_key
    }

    fn session_token(&self) -> Option<&str> {
        self.session_token.as_deref()
    }

    fn expires(&self) -> Option<i64> {
        None
    }
}

impl Acm {
    pub(crate) fn new(config: &Config) -> Self {
        let principals = config.principals.iter();
        let state = State {
            account_keys: config.account_keys.clone().map(Into::into),
            ..State::default()
        };
        Self {
            config: config.clone(),
            logins: principals.map(|one| (one.access_key_id.clone(), one.clone())).collect(),
            clock: Clock::new(0),
            state: Mutex::new(state),
            counters: Mutex::default(),
        }
    }

    pub(crate) fn answer(&self, head: &Parts, body: &[u8]) -> Answer {
        let operation = Operation::of(head);
        let name = operation.as_ref().map_or("unknown", |operation| operation.name);
        let expected = Expected {
            logins: &self.logins,
            region: &self.config.region,
            service: "acm",
            now: self.clock.now(),
        };
        let result = Signed { head, body }.verify(&expected).map_err(AcmError::from);
        let result = result.and_then(|caller| {
            let call = Call::new(self, caller, body);
            operation.as_ref().map_err(Clone::clone)?.perform(&call)
        });
        self.count(name, result.is_err());
        self.written(&result)
    }

    fn written(&self, result: &Result<Value, AcmError>) -> Answer {
        let (status, body) = match result {
            Ok(Value::Null) => (200, String::new()),
            Ok(value) => (200, value.to_string()),
            Err(error) => (error.status(), error.body().to_string()),
        };
        Answer {
            status,
            body: body.into_bytes(),
            date: http_date(self.clock.now()),
            // An empty one is no reason to fail.
            request_id: new_id().unwrap_or_default(),
        }
    }

    fn count(&self, name: &str, refused: bool) {
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counters.entry(name.to_owned()).or_default();
        count.requests = count.requests.saturating_add(1);
        count.refused = count.refused.saturating_add(u64::from(refused));
    }

    pub(crate) fn counters(&self) -> BTreeMap<String, Count> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> i64 {
        self.clock.now()
    }
}
