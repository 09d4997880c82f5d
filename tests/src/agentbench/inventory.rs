//! The agent's certificates, by its admin socket.

use std::collections::BTreeMap;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use enclave_tls_admin::client::Client;
use enclave_tls_admin::report::{Ask, Certificate, Told};
use enclave_wire::control::{InstallChain, KeyInfo, Reply, Request};
use enclave_wire::identity::{CertificateRequest, Chain};
use enclave_wire::{KeyId, State};

/// What an administrator asks.
pub(super) struct Inventory(Client);

impl Inventory {
    pub(super) fn new(socket: &Path) -> Self {
        Self(Client::new(socket))
    }

    /// Waits until so many keys are there.
    pub(super) fn born(&self, count: usize, patience: Duration) -> Result<()> {
        let mut there = Ok(0);
        wait(patience, BORN_EACH, || {
            // Not to be reached at first: the agent starts, then the enclave.
            there = self.total();
            matches!(there, Ok(found) if found >= count)
        })
        .with_context(|| format!("of {count} keys there are {there:?}"))
    }

    /// Waits until servers were given so many certificates.
    pub(super) fn served(&self, count: usize, patience: Duration) -> Result<()> {
        let mut states = BTreeMap::new();
        let mut note = None;
        let mut failed = None;
        wait(patience, SERVED_EACH, || match self.report() {
            Ok(all) => {
                note = all.iter().find_map(|one| one.note.clone());
                states = by_state(all);
                states.get("served") == Some(&count)
            }
            Err(error) => {
                failed = Some(error);
                true
            }
        })
        .with_context(|| format!("of {count} certificates: {states:?}, {note:?}"))?;
        failed.map_or(Ok(()), Err)
    }

    /// All live keys.
    pub(super) fn keys(&self) -> Result<Vec<KeyInfo>> {
        let mut keys = Vec::new();
        let mut cursor = Some(0);
        while let Some(from) = cursor {
            let Reply::Keys(page) = self.ask(Request::List(from))? else {
                bail!("no list of keys");
            };
            cursor = page.next;
            keys.extend(
                page.keys
                    .into_items()
                    .into_iter()
                    .filter(|key| key.state == State::Live),
            );
        }
        Ok(keys)
    }

    pub(super) fn request(&self, key: KeyId) -> Result<CertificateRequest> {
        match self.ask(Request::Csr(key))? {
            Reply::Csr(request) => Ok(request),
            other => bail!("no certificate request: {other:?}"),
        }
    }

    pub(super) fn install(&self, key: KeyId, chain: Chain) -> Result<()> {
        let reply = self.ask(Request::InstallChain(InstallChain { key, chain }))?;
        ensure!(matches!(reply, Reply::ChainInstalled(_)), "not installed: {reply:?}");
        Ok(())
    }

    fn total(&self) -> Result<usize> {
        // Far behind the last: only how many there are.
        match self.ask(Request::List(u32::MAX))? {
            Reply::Keys(page) => Ok(page.total.try_into()?),
            other => bail!("no list of keys: {other:?}"),
        }
    }

    fn report(&self) -> Result<Vec<Certificate>> {
        match self.0.agent(Ask::Report).map_err(words)? {
            Told::Report(report) => Ok(report.certificates),
            other => bail!("no report: {other:?}"),
        }
    }

    fn ask(&self, request: Request) -> Result<Reply> {
        Ok(self.0.ask(request).map_err(words)?.0)
    }
}

fn by_state(certificates: Vec<Certificate>) -> BTreeMap<String, usize> {
    let mut states = BTreeMap::new();
    for certificate in certificates {
        *states.entry(certificate.state).or_default() += 1;
    }
    states
}

fn words(error: enclave_tls_admin::client::ClientError) -> anyhow::Error {
    anyhow::anyhow!("{error}")
}

fn wait(patience: Duration, each: Duration, mut is_done: impl FnMut() -> bool) -> Result<()> {
    let begin = Instant::now();
    while !is_done() {
        ensure!(begin.elapsed() < patience, "not within {patience:?}");
        sleep(each);
    }
    Ok(())
}

/// An answer of some bytes.
const BORN_EACH: Duration = Duration::from_millis(20);
/// A report on a thousand certificates has some hundred kilobytes.
const SERVED_EACH: Duration = Duration::from_millis(100);
