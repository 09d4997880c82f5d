//! Certificates of a lab that get new keys, as an administrator has it done: `enclave-tlsctl rotate`, and a CA's answer where it is asked
//! for by hand.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::plan::{KEYS, KeyPlan, Via};
use super::{Ctl, Lab, ca};
use crate::build::Binaries;
use crate::process;

/// What rotates the certificates of a lab.
pub(crate) struct Rotations<'a> {
    lab: &'a Lab,
    ctl: Ctl,
}

/// One that was begun.
pub(crate) struct Rotation {
    name: String,
    /// The new key's id, in hexadecimal.
    pub(crate) key: String,
}

impl<'a> Rotations<'a> {
    pub(crate) fn of(lab: &'a Lab, binaries: &Binaries) -> Self {
        Self {
            lab,
            ctl: Ctl::new(lab.place(), binaries),
        }
    }

    /// Tells the agent where servers listen, so that it looks at what clients see, and waits until it has seen these certificates.
    pub(crate) fn watch(&self, names: &[&str]) -> Result<()> {
        let file = self.lab.place().config();
        let text = fs::read_to_string(&file)?;
        fs::write(&file, with_listeners(self.lab, &text))?;
        let agent = self.lab.description().pids.get("agent").context("no agent")?;
        process::run(Command::new("kill").args(["-HUP", &agent.to_string()]))?;
        let is_seen = |name: &&str| {
            let outside = |one: &Value| one["outside"].as_str().map(str::to_owned);
            let said = self.certificate(name).ok().and_then(|one| outside(&one));
            said.is_some_and(|said| said.contains("clients see it at each listener"))
        };
        wait(&names.join(" and "), "be seen from outside", || {
            names.iter().all(is_seen)
        })
    }

    /// The id of the key that servers have for it, in hexadecimal.
    pub(crate) fn live(&self, name: &str) -> Result<String> {
        let its = self.certificate(name)?;
        let generations = its["generations"].as_array().context("no generations")?;
        let live = generations.iter().find(|one| one["is_live"] == true);
        let id = live.and_then(|live| live["id"].as_str());
        Ok(id.context("nothing is live")?.to_owned())
    }

    /// Has a new key made. The enclave gets its certificate itself, or the lab's CA signs its request here.
    pub(crate) fn begin(&self, name: &str) -> Result<Rotation> {
        let told = self.ctl.run(&["rotate", name, "--now"])?;
        let made = told.pointer("/certificates/0").context("no answer")?;
        let Some(key) = made["key"].as_str().map(str::to_owned) else {
            bail!("no new key: {made}");
        };
        if let Some(plan) = KEYS.iter().find(|plan| plan.name == name) {
            self.certify(plan, &key)?;
        }
        Ok(Rotation {
            name: name.to_owned(),
            key,
        })
    }

    /// Waits until this has happened to its new key: `deployed`, `looked-at`.
    pub(crate) fn wait(&self, rotation: &Rotation, what: &str) -> Result<()> {
        let name = &rotation.name;
        wait(name, &format!("be {what}"), || {
            self.has_happened(name, &rotation.key, what)
        })
    }

    /// Waits until no worker has an older key.
    pub(crate) fn wait_until_superseded(&self, name: &str, key: &str) -> Result<()> {
        wait(name, "have its older key superseded", || {
            self.has_happened(name, key, "superseded")
        })
    }

    /// Has the keys wiped that servers got before: a benchmark makes more in a minute than a certificate may have.
    pub(crate) fn retire_superseded(&self, name: &str) -> Result<()> {
        let its = self.certificate(name)?;
        let generations = its["generations"].as_array().context("no generations")?;
        for superseded in generations.iter().filter(|one| one["state"] == "superseded") {
            let id = superseded["id"].as_str().context("no id")?;
            self.ctl.run(&["retire", id, "--yes"])?;
        }
        Ok(())
    }

    fn has_happened(&self, name: &str, key: &str, what: &str) -> bool {
        // The agent alone is asked: that is none of the service's time.
        let told = self.ctl.run(&["history", name]).unwrap_or_default();
        let history = told["history"].as_array().into_iter().flatten();
        history.into_iter().any(|one| one["what"] == what && one["key"] == key)
    }

    fn certificate(&self, name: &str) -> Result<Value> {
        let told = self.ctl.told(&["status"])?;
        let all = told.pointer("/agent/certificates").and_then(Value::as_array);
        let mut all = all.into_iter().flatten();
        let its = all.find(|one| one["name"] == name);
        Ok(its.with_context(|| format!("no certificate {name}"))?.clone())
    }

    fn certify(&self, plan: &KeyPlan, id: &str) -> Result<()> {
        let place = self.lab.place();
        let [request, chain] = ["csr.pem", "chain.pem"].map(|end| place.public(&format!("{}-next", plan.name), end));
        self.ctl.run(&["csr", id, "--out", &request.display().to_string()])?;
        ca::issue(place, &request, &plan.hosts(), plan.purpose(), &chain)?;
        self.ctl.run(&["install", id, &chain.display().to_string()])?;
        fs::remove_file(&request)?;
        Ok(fs::remove_file(&chain)?)
    }
}

/// An order takes seconds, and in an emulated machine some more.
fn wait(name: &str, what: &str, mut condition: impl FnMut() -> bool) -> Result<()> {
    let end = Instant::now() + LIMIT;
    while !condition() {
        ensure!(Instant::now() < end, "{name} did not come to {what}");
        sleep(LOOK_EVERY);
    }
    Ok(())
}

/// The lab's configuration, with each server's listeners, and for each certificate those that show it.
fn with_listeners(lab: &Lab, text: &str) -> String {
    let description = lab.description();
    let ends = description.endpoints.iter().filter(|end| end.via != "file");
    let ends = ends.map(|end| (end.via.as_str(), end.key.as_str(), format!("{}:{}", end.host, end.port)));
    let ordered = description.acme.endpoints.iter();
    let ordered = ordered.map(|(name, port)| (Via::Provider.name(), name.as_str(), format!("127.0.0.1:{port}")));
    let all: Vec<_> = ends.chain(ordered).collect();
    let list = |is_its: &dyn Fn(&str, &str) -> bool| {
        let its = all.iter().filter(|(via, key, _)| is_its(via, key));
        let its: BTreeSet<_> = its.map(|(_, _, address)| format!("\"{address}\"")).collect();
        format!("listeners = [{}]\n", Vec::from_iter(its).join(", "))
    };
    let mut name = "";
    let mut written = String::new();
    for line in text.lines() {
        written.push_str(line);
        written.push('\n');
        if let Some(server) = line.strip_prefix("[servers.").and_then(|rest| rest.strip_suffix(']')) {
            written.push_str(&list(&|via, _| via == server));
        }
        if let Some(its) = line.strip_prefix("name = ") {
            name = its.trim_matches('"');
        }
        if line.starts_with("servers = [") {
            // Nobody shows some of them.
            written.push_str(&list(&|_, key| key == name));
        }
    }
    written
}

const LIMIT: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(200);
