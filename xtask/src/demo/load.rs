//! Clients that make handshakes in the background: each a new connection and a full handshake, with chain, name and signature verified.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;
use serde::Deserialize;

use crate::process::{Identity, text};

/// What they ask.
pub(super) struct Target<'a> {
    pub(super) address: String,
    pub(super) name: String,
    pub(super) ca: &'a Path,
    /// As `tlsload --sig` takes it: where a server has keys of two types, it shows this one.
    pub(super) signature: &'static str,
}

/// Clients of one target, until they are told to end.
pub(super) struct Load(Option<Child>);

/// What they saw.
#[derive(Deserialize)]
pub(super) struct Seen {
    pub(super) ok: u64,
    pub(super) failed: u64,
    endpoints: Vec<SeenThere>,
}

#[derive(Deserialize)]
struct SeenThere {
    /// Handshakes that went well, by the id of the key.
    keys: BTreeMap<String, u64>,
    failures: Vec<Failure>,
}

#[derive(Deserialize)]
struct Failure {
    text: String,
}

impl Load {
    pub(super) fn start(program: &Path, target: &Target<'_>) -> Result<Self> {
        let mut command = Command::new(program);
        command.args([
            "--connect",
            &target.address,
            "--name",
            &target.name,
            "--sig",
            target.signature,
        ]);
        command.arg("--ca").arg(target.ca);
        command.args([
            "--rate",
            RATE,
            "--seconds",
            AT_MOST,
            "--timeout",
            "5",
            "--http",
            "/",
            "--json",
        ]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        Ok(Self(Some(
            child.with_context(|| format!("cannot start {}", program.display()))?,
        )))
    }

    /// Ends it: what has begun comes to its end.
    pub(super) fn finish(mut self) -> Result<Seen> {
        let child = self.0.take().context("it has ended")?;
        if let Some(identity) = Identity::of(child.id()) {
            identity.signal(Signal::TERM)?;
        }
        let output = child.wait_with_output()?;
        serde_json::from_slice(&output.stdout).with_context(|| format!("tlsload: {}", text(&output.stdout)))
    }
}

/// Where something else has failed.
impl Drop for Load {
    fn drop(&mut self) {
        if let Some(identity) = self.0.as_ref().and_then(|child| Identity::of(child.id())) {
            drop(identity.end(Duration::from_secs(5)));
        }
    }
}

impl Seen {
    /// How many went well with a key.
    pub(super) fn with(&self, key: &str) -> u64 {
        let there = self.endpoints.iter();
        there.filter_map(|one| one.keys.get(key)).sum()
    }

    /// Why the first of them failed.
    pub(super) fn why(&self) -> Option<&str> {
        let mut failures = self.endpoints.iter().flat_map(|one| &one.failures);
        failures.next().map(|failure| failure.text.as_str())
    }
}

/// Handshakes a second at each target: so that there always are some while a worker goes.
const RATE: &str = "25";
/// Seconds: a demo that was killed leaves no clients behind.
const AT_MOST: &str = "300";
