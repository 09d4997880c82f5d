//! Keys that come through KMS, and states that leave sealed under its keys.
//!
//! What the policy refuses is refused before AWS is asked. Each function here runs on a thread that may block, one at a time.

#![deny(
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm
)]

mod aws;
mod behind;
pub(crate) mod binding;
mod bundle;
mod data_keys;
mod kms_keys;
mod restore;
mod sealing;
mod source;

use enclave_policy::Policy;

use crate::keystore::KeyStore;
use crate::platform::Clock;
use crate::serve::Agent;

pub(crate) use aws::{Aws, Calls, NoAws};
pub(crate) use data_keys::DataKeys;
pub(crate) use sealing::sealing_keys;

/// What one request works with.
#[derive(Clone, Copy)]
pub(crate) struct Provisioner<'a> {
    pub(crate) policy: &'a Policy,
    pub(crate) keys: &'a KeyStore,
    pub(crate) aws: Calls<'a>,
    pub(crate) data_keys: &'a DataKeys,
    pub(crate) agent: &'a Agent,
    pub(crate) clock: &'a dyn Clock,
}
