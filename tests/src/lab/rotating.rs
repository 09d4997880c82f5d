//! A certificate of the lab's that gets new keys, is cut off at a step, and has its first key again at the end.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use enclave_tls_admin::report::{Ask, Change, Happening, Rollback, Rotate, Told};

use super::scratch::Scratch;
use super::server::{Tls, get};
use super::{Endpoint, Lab, agent, authority, process};

/// Where a rotation is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A key is made.
    Made,
    /// Its chain is installed.
    Installed,
    /// Its files are there.
    Staged,
    /// They are live.
    Flipped,
    /// Servers are told.
    Reloaded,
    /// Clients were seen to get it.
    LookedAt,
    /// The older key is superseded.
    Superseded,
}

impl Step {
    /// All of them, in their order.
    pub const ALL: [Self; 7] = [
        Self::Made,
        Self::Installed,
        Self::Staged,
        Self::Flipped,
        Self::Reloaded,
        Self::LookedAt,
        Self::Superseded,
    ];

    /// With `--full` all of them, else these.
    #[must_use]
    pub fn of(lab: &Lab, few: &[Self]) -> Vec<Self> {
        if lab.full { Self::ALL.into() } else { few.to_vec() }
    }
}

/// A certificate that is rotated. At its end servers get the key back that later tests expect.
pub struct Rotating<'a> {
    lab: &'a Lab,
    /// Its name.
    pub name: &'a str,
    first: u32,
    base: PathBuf,
    /// A key that nobody has certified yet.
    waits: Option<String>,
    /// Every key that it had since, in hexadecimal.
    pub keys: BTreeSet<String>,
    /// The newest happening that was there before the last rotation.
    seen: usize,
}

impl<'a> Rotating<'a> {
    /// What it has now is what it gets back.
    pub fn begin(lab: &'a Lab, name: &'a str) -> Result<Self> {
        let key = lab.key(name)?;
        let report = agent::report(lab)?;
        let mut certificates = report.certificates.iter();
        let its = certificates
            .find(|one| one.name == name)
            .context("no such certificate")?;
        let live = its
            .generations
            .iter()
            .find(|one| one.is_live)
            .context("nothing is live")?;
        Ok(Self {
            lab,
            name,
            first: live.generation,
            base: base(lab)?,
            waits: None,
            keys: [key.id.clone(), live.id.clone()].into(),
            seen: 0,
        })
    }

    /// The link to what servers read.
    pub fn live(&self) -> PathBuf {
        self.base.join("live").join(self.name)
    }

    /// A new key is made and certified; servers change over by themselves.
    pub fn rotate(&mut self) -> Result<()> {
        let id = self.make()?;
        self.certify(&id)
    }

    /// Has a key made. Its id.
    fn make(&mut self) -> Result<String> {
        self.seen = self.history()?.len();
        let ask = Ask::Rotate(Rotate {
            certificate: Some(self.name.to_owned()),
            ..Rotate::default()
        });
        let made = changed(agent::ask(self.lab, ask)?)?;
        let id = made
            .key
            .with_context(|| format!("no key: {}: {}", made.outcome, made.says))?;
        self.keys.insert(id.clone());
        Ok(id)
    }

    fn certify(&self, id: &str) -> Result<()> {
        let scratch = Scratch::new()?;
        let (request, chain) = (scratch.file("csr.pem"), scratch.file("chain.pem"));
        self.lab.ctl(&["csr", id, "--out", &request.display().to_string()])?;
        let hosts = authority::hosts_of(self.lab, self.name)?;
        authority::issue(self.lab, &request, &hosts.each_ref().map(String::as_str), &chain)?;
        self.lab.ctl(&["install", id, &chain.display().to_string()]).map(drop)
    }

    /// Rotates as far as a step, and does something to it there.
    pub fn cut(&mut self, step: Step, cut: impl FnOnce() -> Result<()>) -> Result<()> {
        let before = fs::read_link(self.live())?;
        let reloaded = self.base.join(".apply/reloaded.json");
        let told = fs::read(&reloaded)?;
        let generations = self.base.join("generations").join(self.name);
        let staged = fs::read_dir(&generations)?.count();
        let id = self.make()?;
        if step == Step::Made {
            self.waits = Some(id);
            return cut();
        }
        self.certify(&id)?;
        let what = format!("{step:?}");
        match step {
            Step::Made | Step::Installed => {}
            Step::Staged => process::wait_until(LIMIT, &what, || {
                fs::read_dir(&generations).is_ok_and(|entries| entries.count() > staged)
            })?,
            Step::Flipped => process::wait_until(LIMIT, &what, || {
                fs::read_link(self.live()).is_ok_and(|link| link != before)
            })?,
            Step::Reloaded => process::wait_until(LIMIT, &what, || fs::read(&reloaded).is_ok_and(|now| now != told))?,
            Step::LookedAt => self.wait_until("looked-at")?,
            Step::Superseded => self.wait_until("superseded")?,
        }
        cut()
    }

    /// What was cut off comes to its end: the newest key is what clients see, and the older is superseded.
    pub fn finishes(&mut self) -> Result<()> {
        agent::wait_for(self.lab, "the agent and the service to be there", |report| {
            report.enclave.connected_since.is_some()
        })?;
        if let Some(id) = self.waits.take() {
            process::wait_until(LIMIT, "the key to be there again", || self.certify(&id).is_ok())?;
        }
        let newest = self.newest_key()?;
        agent::wait_for(self.lab, "the newest key to be with servers", |report| {
            let mut certificates = report.certificates.iter();
            let its = certificates.find(|one| one.name == self.name);
            its.is_some_and(|one| {
                one.state == "served"
                    && one
                        .outside
                        .as_ref()
                        .is_some_and(|outside| outside.contains("clients see it"))
                    && one.generations.iter().all(|one| one.is_live == (one.id == newest))
                    && one
                        .generations
                        .iter()
                        .filter(|one| one.id != newest)
                        .all(|one| one.state == "superseded")
            })
        })?;
        for endpoint in self.lab.served().filter(|endpoint| endpoint.key == self.name) {
            let seen = self.seen_at(endpoint)?;
            ensure!(seen == newest, "{endpoint}: another key");
        }
        Ok(())
    }

    /// The key that an endpoint shows: chain, name and signature were verified.
    fn seen_at(&self, endpoint: &Endpoint) -> Result<String> {
        let spki = get(self.lab, endpoint, Tls::V13, &[])?.spki;
        let (_, der) = pem_rfc7468::decode_vec(spki.as_bytes()).map_err(|error| anyhow::anyhow!("no PEM: {error}"))?;
        Ok(hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &der)))
    }

    fn newest_key(&self) -> Result<String> {
        let listed = self.lab.ctl(&["list"])?;
        let keys = listed["keys"].as_array().context("no list of keys")?;
        let its = keys.iter().filter(|key| key["name"] == self.name);
        let newest = its.max_by_key(|key| key["generation"].as_u64()).context("no key")?;
        Ok(newest["id"].as_str().context("no id")?.to_owned())
    }

    /// The newest generation that anything happened to.
    pub fn newest(&self) -> Result<u32> {
        let history = self.history()?;
        history
            .iter()
            .filter_map(|one| one.generation)
            .max()
            .context("nothing has happened")
    }

    fn history(&self) -> Result<Vec<Happening>> {
        let ask = Ask::History {
            certificate: self.name.to_owned(),
        };
        match agent::ask(self.lab, ask)? {
            Told::History(history) => Ok(history),
            other => bail!("no history: {other:?}"),
        }
    }

    /// Waits until something has happened since the last rotation began.
    pub fn wait_until(&self, what: &str) -> Result<()> {
        let has = || {
            let history = self.history().unwrap_or_default();
            history.iter().skip(self.seen).any(|one| one.what == what)
        };
        process::wait_until(LIMIT, &format!("{} to be {what}", self.name), has).with_context(|| {
            format!(
                "{:?}\n{:?}",
                self.history(),
                agent::report(self.lab).map(|report| report.certificates)
            )
        })
    }

    /// Servers get this generation again, or the one before.
    pub fn roll_back(&mut self, to: Option<u32>) -> Result<Change> {
        self.seen = self.history()?.len();
        let ask = Ask::Rollback(Rollback {
            certificate: self.name.to_owned(),
            to,
            dry_run: false,
        });
        changed(agent::ask(self.lab, ask)?)
    }
}

impl Rotating<'_> {
    /// Tests that count keys come later.
    fn retire_others(&self) -> Result<()> {
        let first = &self.lab.key(self.name)?.id;
        for id in self.keys.iter().filter(|id| *id != first) {
            self.lab.ctl(&["retire", id, "--yes"])?;
        }
        Ok(())
    }
}

impl Drop for Rotating<'_> {
    fn drop(&mut self) {
        let back = self.roll_back(Some(self.first));
        let is_back = || {
            let report = agent::report(self.lab).unwrap_or_default();
            report.certificates.iter().any(|one| {
                let mut live = one.generations.iter().filter(|one| one.is_live);
                one.name == self.name && one.state == "served" && live.any(|one| one.generation == self.first)
            })
        };
        let outcome = back
            .and_then(|_| process::wait_until(LIMIT, "the first key to be back", is_back))
            .and_then(|()| self.retire_others());
        if let Err(error) = outcome {
            eprintln!("{} is not as it was: {error:#}", self.name);
        }
    }
}

/// While it lives the agent knows where servers listen.
pub struct Watched<'a> {
    lab: &'a Lab,
    text: String,
}

impl<'a> Watched<'a> {
    /// Tells it, and waits until it has seen these.
    pub fn begin(lab: &'a Lab, names: &[&str]) -> Result<Self> {
        let text = fs::read_to_string(&lab.config)?;
        fs::write(&lab.config, with_listeners(lab, &text))?;
        let watched = Self { lab, text };
        agent::reload(lab)?;
        agent::wait_for(lab, "the certificates to be seen from outside", |report| {
            let is_seen = |name: &&str| {
                let mut certificates = report.certificates.iter();
                let its = certificates.find(|one| one.name == **name && one.state == "served");
                its.and_then(|its| its.outside.as_ref())
                    .is_some_and(|outside| outside.contains("clients see it at each listener"))
            };
            report.configuration.refused.is_none() && names.iter().all(is_seen)
        })?;
        Ok(watched)
    }
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        let outcome = fs::write(&self.lab.config, &self.text).map_err(anyhow::Error::from);
        if let Err(error) = outcome.and_then(|()| agent::reload(self.lab)) {
            eprintln!("the lab's configuration is not as it was: {error:#}");
        }
    }
}

/// The lab's configuration, with each server's listeners, and for each certificate those that show it.
fn with_listeners(lab: &Lab, text: &str) -> String {
    let list = |is_its: &dyn Fn(&&Endpoint) -> bool| {
        let its: BTreeSet<_> = lab.endpoints.iter().filter(is_its).map(Endpoint::address).collect();
        let its: Vec<_> = its.iter().map(|address| format!("\"{address}\"")).collect();
        its.join(", ")
    };
    let mut name = String::new();
    let mut written = String::new();
    for line in text.lines() {
        written.push_str(line);
        written.push('\n');
        if let Some(server) = line.strip_prefix("[servers.").and_then(|rest| rest.strip_suffix(']')) {
            let its = list(&|endpoint| endpoint.via == server);
            if !its.is_empty() {
                written.push_str(&format!("listeners = [{its}]\n"));
            }
        }
        if let Some(its) = line.strip_prefix("name = ") {
            name = its.trim_matches('"').to_owned();
        }
        if line.starts_with("servers = [") {
            // Nobody shows some of them.
            let its = list(&|endpoint| endpoint.key == name && endpoint.via != "file");
            written.push_str(&format!("listeners = [{its}]\n"));
        }
    }
    written
}

fn changed(told: Told) -> Result<Change> {
    match told {
        Told::Changes(mut changes) => changes.pop().context("nothing is changed"),
        Told::Failed(why) => bail!("not done: {why}"),
        other => bail!("another answer: {other:?}"),
    }
}

/// Where the root helper writes.
pub(super) fn base(lab: &Lab) -> Result<PathBuf> {
    let words = lab.commands.get("apply").context("the lab has no root helper")?;
    let at = words.iter().position(|word| word == "--base").context("no base")?;
    Ok(PathBuf::from(words.get(at + 1).context("no base")?))
}

/// NGINX, httpd and HAProxy serve it, and a restart of the service gives it back.
pub const SEALED: &str = "lab-sealed-p256";
/// A rotation takes some seconds.
const LIMIT: Duration = Duration::from_secs(60);
