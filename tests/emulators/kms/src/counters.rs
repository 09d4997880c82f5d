//! What was asked, so that a test can say how often.

use std::collections::BTreeMap;

use serde::Serialize;

/// Requests so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// By the operation's name, `Decrypt`; what is none stands under `unknown`.
    pub operations: BTreeMap<String, Count>,
    /// By the caller's ARN; requests whose signature did not hold are not here.
    pub principals: BTreeMap<String, Count>,
    /// Requests whose signature did not hold.
    pub unauthenticated: u64,
}

/// How requests ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// All of them.
    pub requests: u64,
    /// Those that KMS did.
    pub succeeded: u64,
    /// Those that a policy refused.
    pub denied: u64,
    /// Those refused for another reason, a fault included.
    pub failed: u64,
    /// Those, however they ended, whose attestation document was verified.
    pub attested: u64,
}

/// How one request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Succeeded,
    Denied,
    Failed,
}

impl Counters {
    /// The requests of one operation.
    #[must_use]
    pub fn operation(&self, name: &str) -> Count {
        self.operations.get(name).copied().unwrap_or_default()
    }

    pub(crate) fn add(&mut self, operation: &str, caller: Option<&str>, attested: bool, outcome: Outcome) {
        self.operations
            .entry(operation.to_owned())
            .or_default()
            .add(attested, outcome);
        match caller {
            Some(arn) => self
                .principals
                .entry(arn.to_owned())
                .or_default()
                .add(attested, outcome),
            None => self.unauthenticated += 1,
        }
    }
}

impl Count {
    fn add(&mut self, attested: bool, outcome: Outcome) {
        self.requests += 1;
        self.attested += u64::from(attested);
        match outcome {
            Outcome::Succeeded => self.succeeded += 1,
            Outcome::Denied => self.denied += 1,
            Outcome::Failed => self.failed += 1,
        }
    }
}
