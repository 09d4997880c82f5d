//! Many connections at once, as many as the service takes; each with a request of full length that has begun to come, and then each with as
//! many whole ones as there is room for, of which no reply is read. The service keeps memory free for both, so a full guest must stand them.
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
    let mut others = gather("begun", connections, guest, agent)?;
    for (number, other) in others.iter_mut().enumerate() {
        let begun = other.begin_only(key);
        begun.with_context(|| format!("with {number} requests begun"))?;
    }
    let used = guest.used()?;
    client.sign(key).context("with all requests begun")?;
    let admitted = others.len();
    drop(others);
    client.sign(key).context("when all had gone")?;
    let mut others = gather("pressed", admitted, guest, agent)?;
    for other in &mut others {
        // One that the service has closed meanwhile is as good.
        let _closed = other.press(key).is_err();
    }
    client.sign(key).context("with requests waiting")?;
    drop(others);
    client.sign(key).context("when these had gone")?;
    guest.must_run()?;
    Ok(Crowd::Stood {
        connections: admitted,
        used_before,
        used,
    })
}

/// So many connections, or as many as the service takes.
fn gather(what: &str, connections: usize, guest: &mut Guest, agent: &mut Agent) -> Result<Vec<Client>> {
    let mut others = Vec::new();
    for number in 0..connections.div_ceil(EACH) {
        let credential = Credential::new()?;
        agent.admit(&format!("crowd-{what}-{number}"), &credential)?;
        for _ in 0..EACH.min(connections - others.len()) {
            let other = guest.connect().and_then(|stream| Client::admitted(stream, &credential));
            match other.with_context(|| format!("with {} connections", others.len()))? {
                Some(other) => others.push(other),
                None => return Ok(others),
            }
        }
    }
    Ok(others)
}

/// A little less than the service takes of one credential.
const EACH: usize = 250;
