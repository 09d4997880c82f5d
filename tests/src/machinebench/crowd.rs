//! Many connections at once, each with a request of full length that has begun to come: what the service keeps memory free for, so a full
//! guest must stand it too.
//!
//! How many are there at the same moment the service's deadline decides, which is one second: where emulation is slow the first have been
//! closed before the last has come, and a guest that stands it here may not stand it where all come in time.

use anyhow::{Context, Result};
use enclave_wire::control::KeyInfo;
use serde::Serialize;

use super::agent::Agent;
use super::client::{Client, Credential};
use super::guest::Guest;

/// What became of the guest.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Crowd {
    /// It had no key that could sign meanwhile.
    NotTried,
    /// It signed meanwhile and afterwards.
    Stood {
        /// How many connections there were.
        connections: usize,
        /// Bytes of the guest's memory that were in use before.
        used_before: u64,
        /// And with all of them.
        used: u64,
    },
    /// It ended or fell silent: a defect.
    Ended {
        /// What was said last.
        why: String,
    },
}

/// So many connections come; `client` signs while they are there, and when they have gone.
pub(super) fn come(
    connections: usize,
    guest: &mut Guest,
    agent: &mut Agent,
    client: &mut Client,
    key: &KeyInfo,
) -> Result<Crowd> {
    let used_before = guest.used()?;
    let mut others = Vec::new();
    for number in 0..connections.div_ceil(EACH) {
        let credential = Credential::new()?;
        agent.admit(&format!("crowd-{number}"), &credential)?;
        for _ in 0..EACH.min(connections - others.len()) {
            let other = guest
                .connect()
                .and_then(|stream| Client::authenticate(stream, &credential));
            others.push(other.with_context(|| format!("with {} connections", others.len()))?);
        }
    }
    for (number, other) in others.iter_mut().enumerate() {
        let begun = other.begin_only(key);
        begun.with_context(|| format!("with {number} requests begun"))?;
    }
    let used = guest.used()?;
    client.sign(key).context("with all requests begun")?;
    drop(others);
    client.sign(key).context("when all had gone")?;
    guest.must_run()?;
    Ok(Crowd::Stood {
        connections,
        used_before,
        used,
    })
}

/// A little less than the service takes of one credential.
const EACH: usize = 250;
