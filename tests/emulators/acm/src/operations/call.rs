//! One request while it is worked on.

use std::sync::MutexGuard;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Reply;
use crate::acm::Acm;
use crate::config::{Config, Principal};
use crate::error::AcmError;
use crate::store::State;

/// A request whose signature held.
pub(crate) struct Call<'a> {
    acm: &'a Acm,
    caller: &'a Principal,
    body: &'a [u8],
}

impl<'a> Call<'a> {
    pub(crate) fn new(acm: &'a Acm, caller: &'a Principal, body: &'a [u8]) -> Self {
        Self { acm, caller, body }
    }

    pub(super) fn authorize(&self, operation: &str) -> Result<(), AcmError> {
        let action = format!("acm:{operation}");
        match &self.caller.may {
            Some(may) if !may.contains(&action) => Err(AcmError::access_denied(&self.caller.arn, &action, "*")),
            _ => Ok(()),
        }
    }

    pub(super) fn config(&self) -> &'a Config {
        &self.acm.config
    }

    pub(super) fn state(&self) -> MutexGuard<'a, State> {
        self.acm.state()
    }

    pub(super) fn now(&self) -> i64 {
        self.acm.now()
    }

    /// The request's members. One that the model does not have is refused, though AWS would pass over it.
    pub(super) fn input<T: DeserializeOwned>(&self) -> Result<T, AcmError> {
        serde_json::from_slice(self.body).map_err(|error| AcmError::serialization(error.to_string()))
    }

    /// Does it once for each idempotency token: the same request again is answered as the first was, another one is refused.
    pub(super) fn once(
        &self,
        operation: &str,
        token: Option<String>,
        create: impl FnOnce(&mut State) -> Reply,
    ) -> Reply {
        let mut state = self.state();
        let Some(token) = token else { return create(&mut state) };
        let asked: Value = self.input()?;
        let key = (operation.to_owned(), token);
        if let Some((before, reply)) = state.tokens.get(&key) {
            if *before == asked {
                return Ok(reply.clone());
            }
            return Err(AcmError::conflict(
                "The idempotency token was used with other parameters.",
            ));
        }
        let reply = create(&mut state)?;
        state.tokens.insert(key, (asked, reply.clone()));
        Ok(reply)
    }
}
