//! The lab's keys, each with a certificate of the lab's CA.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

use super::aws::{Aws, BUNDLE_KEY};
use super::nginx::UPSTREAM;
use super::place::{Place, WORKERS};
use super::plan::{KEYS, KeyPlan, Kind, Origin};
use super::service::Ctl;
use super::state::Key;
use super::{Lab, ca};
use crate::build::Binaries;
use crate::process;

/// Makes what is made outside of the service: the CA, keys to import, and bundles.
pub(super) fn prepare(place: &Place, ctl: &Ctl, aws: &Aws) -> Result<()> {
    ca::create(place)?;
    for_upstream(place)?;
    for plan in KEYS.iter().filter(|plan| plan.origin.has_file()) {
        certified_file(place, plan.kind, plan.name, &plan.hosts())?;
        ca::to_der(&place.private(plan.name), &place.private_der(plan.name))?;
        if plan.is_in_inventory() {
            seal(place, ctl, aws, plan).with_context(|| format!("no bundle {}", plan.name))?;
        }
    }
    Ok(())
}

/// Brings in what an administrator brings in: certificates for the keys that were born, and keys by hand. All keys, with their
/// certificates.
pub(super) fn complete(place: &Place, ctl: &Ctl) -> Result<Vec<Key>> {
    KEYS.iter()
        .map(|plan| complete_one(place, ctl, plan).with_context(|| format!("no key {}", plan.name)))
        .collect()
}

fn complete_one(place: &Place, ctl: &Ctl, plan: &KeyPlan) -> Result<Key> {
    let chain = place.public(plan.name, "chain.pem");
    let id = match plan.origin {
        Origin::Born | Origin::Sealed => certify(place, ctl, plan)?,
        Origin::Imported => imported(place, ctl, plan)?,
        Origin::Bundle | Origin::BundleSealed => made(ctl, plan)?,
    };
    let public_key = place.public(plan.name, "pub");
    ca::public_key(&chain, &public_key)?;
    Ok(Key {
        label: plan.name.into(),
        kind: plan.kind.to_string(),
        id,
        usage: plan.usage.into(),
        origin: plan.origin.name().into(),
        name: plan.host(),
        public_key,
        chain,
        private_key: plan.origin.has_file().then(|| place.private(plan.name)),
    })
}

/// Waits until the agent has had a key made. Its id.
fn made(ctl: &Ctl, plan: &KeyPlan) -> Result<String> {
    let mut id = None;
    process::wait_until(Duration::from_secs(60), || {
        let keys = ctl.run(&["list"]).ok();
        let keys = keys.as_ref().and_then(|listed| listed.get("keys")?.as_array());
        let mut named = keys
            .into_iter()
            .flatten()
            .filter(|key| key.get("name").and_then(serde_json::Value::as_str) == Some(plan.name));
        id = named.next().and_then(|key| id_of(key).ok());
        id.is_some()
    });
    id.context("the agent has none made")
}

/// Born in the service: only its request comes out.
fn certify(place: &Place, ctl: &Ctl, plan: &KeyPlan) -> Result<String> {
    let id = made(ctl, plan)?;
    let request = place.public(plan.name, "csr.pem");
    let chain = place.public(plan.name, "chain.pem");
    ctl.run(&["csr", &id, "--out", &request.display().to_string()])?;
    ca::issue(place, &request, &plan.hosts(), plan.purpose(), &chain)?;
    ctl.run(&["install", &id, &chain.display().to_string()])?;
    Ok(id)
}

/// Made here, and given to the service by hand.
fn imported(place: &Place, ctl: &Ctl, plan: &KeyPlan) -> Result<String> {
    let file = place.private(plan.name).display().to_string();
    let chain = place.public(plan.name, "chain.pem").display().to_string();
    let (hosts, clients) = (plan.hosts().join(","), Vec::from_iter(plan.clients()).join(","));
    let import = ["import", plan.name, &file, "--keep", "--chain", &chain];
    let whose = ["--usage", plan.usage, "--dns-name", &hosts, "--client", &clients];
    id_of(&ctl.run(&[&import[..], &whose].concat())?)
}

/// A key to measure with, beside those of the plan: made here and given to the service by hand, for web servers' own user.
pub(crate) fn to_measure(lab: &Lab, binaries: &Binaries, kind: Kind, usage: &str) -> Result<Key> {
    let (place, ctl) = (&lab.place, Ctl::new(&lab.place, binaries));
    let name = format!("lab-bench-{}", kind.argument());
    let host = format!("{name}.lab.test");
    certified_file(place, kind, &name, std::slice::from_ref(&host))?;
    let (private_key, chain) = (place.private(&name), place.public(&name, "chain.pem"));
    let [key, certificates] = [&private_key, &chain].map(|path| path.display().to_string());
    let import = ["import", &name, &key, "--chain", &certificates, "--usage", usage];
    let whose = ["--dns-name", &host, "--client", WORKERS];
    let id = id_of(&ctl.run(&[&import[..], &whose].concat())?)?;
    let public_key = place.public(&name, "pub");
    ca::public_key(&chain, &public_key)?;
    Ok(Key {
        label: name,
        kind: kind.to_string(),
        id,
        usage: usage.to_owned(),
        origin: Origin::Imported.name().into(),
        name: host,
        public_key,
        chain,
        private_key: Some(private_key),
    })
}

/// Encrypts a key under a KMS key, into a file and, where the plan says so, into S3.
fn seal(place: &Place, ctl: &Ctl, aws: &Aws, plan: &KeyPlan) -> Result<()> {
    let file = place.aws(&format!("{}.json", plan.name));
    let [key, chain, out] = [&place.private(plan.name), &place.public(plan.name, "chain.pem"), &file]
        .map(|path| path.display().to_string());
    let seal = [
        "seal",
        plan.name,
        &key,
        "--chain",
        &chain,
        "--key-arn",
        BUNDLE_KEY,
        "--out",
        &out,
    ];
    ctl.run_as(&seal, &aws.administrator())?;
    match plan.origin {
        Origin::BundleSealed => aws.upload(&file, plan.name),
        Origin::Born | Origin::Sealed | Origin::Imported | Origin::Bundle => Ok(()),
    }
}

/// The key of the server behind the proxy: not one of the service.
fn for_upstream(place: &Place) -> Result<()> {
    certified_file(place, Kind::P256, UPSTREAM, &[UPSTREAM.to_owned()])
}

fn certified_file(place: &Place, kind: Kind, name: &str, hosts: &[String]) -> Result<()> {
    let key = place.private(name);
    let request = place.public(name, "csr.pem");
    ca::new_key(kind, &key)?;
    ca::request(&key, name, &request)?;
    ca::issue(place, &request, hosts, "serverAuth", &place.public(name, "chain.pem"))?;
    Ok(fs::remove_file(&request)?)
}

fn id_of(answer: &serde_json::Value) -> Result<String> {
    Ok(answer
        .get("id")
        .and_then(|id| id.as_str())
        .context("enclave-tlsctl named no id")?
        .to_owned())
}
