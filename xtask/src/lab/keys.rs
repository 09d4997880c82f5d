//! The lab's keys, each with a certificate of the lab's CA.

use std::fs;

use anyhow::{Context, Result};

use super::aws::{Aws, BUCKET, BUNDLE_KEY, REGION};
use super::ca;
use super::nginx::UPSTREAM;
use super::place::{Place, WORKERS};
use super::plan::{KEYS, KeyPlan, Kind, Origin};
use super::service::Ctl;
use super::state::Key;

/// Makes all keys of the plan and has their certificates installed.
pub(super) fn make(place: &Place, ctl: &Ctl, aws: &Aws) -> Result<Vec<Key>> {
    ca::create(place)?;
    for_upstream(place)?;
    KEYS.iter()
        .map(|plan| make_one(place, ctl, aws, plan).with_context(|| format!("no key {}", plan.name)))
        .collect()
}

fn make_one(place: &Place, ctl: &Ctl, aws: &Aws, plan: &KeyPlan) -> Result<Key> {
    let chain = place.public(plan.name, "chain.pem");
    let id = match plan.origin {
        Origin::Born | Origin::Sealed => born(place, ctl, plan)?,
        Origin::Imported => imported(place, ctl, plan)?,
        Origin::Bundle | Origin::BundleSealed => bundle(place, ctl, aws, plan)?,
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

/// Born in the service: only its request comes out.
fn born(place: &Place, ctl: &Ctl, plan: &KeyPlan) -> Result<String> {
    let kind = ["--type", plan.kind.argument()];
    let host = plan.host();
    let sealed: &[&str] = if plan.origin == Origin::Sealed { &[SEALED] } else { &[] };
    let made = ctl.run(&[&["create", plan.name][..], &kind, &whose(plan, &host), sealed].concat())?;
    let id = id_of(&made)?;
    let request = place.public(plan.name, "csr.pem");
    let chain = place.public(plan.name, "chain.pem");
    ctl.run(&["csr", &id, "--out", &request.display().to_string()])?;
    ca::issue(place, &request, &host, plan.purpose(), &chain)?;
    ctl.run(&["install", &id, &chain.display().to_string()])?;
    Ok(id)
}

/// Made here, and given to the service.
fn imported(place: &Place, ctl: &Ctl, plan: &KeyPlan) -> Result<String> {
    let key = place.private(plan.name);
    let chain = place.public(plan.name, "chain.pem");
    certified_file(place, plan.kind, plan.name, &plan.host())?;
    ca::to_der(&key, &place.private_der(plan.name))?;
    let file = key.display().to_string();
    let chain = chain.display().to_string();
    let host = plan.host();
    id_of(
        &ctl.run(
            &[
                &["import", plan.name, &file, "--keep", "--chain", &chain][..],
                &whose(plan, &host),
            ]
            .concat(),
        )?,
    )
}

/// Made here, encrypted under a KMS key, and opened by the service: from a file, or from S3 and then sealed.
fn bundle(place: &Place, ctl: &Ctl, aws: &Aws, plan: &KeyPlan) -> Result<String> {
    let key = place.private(plan.name);
    let chain = place.public(plan.name, "chain.pem");
    certified_file(place, plan.kind, plan.name, &plan.host())?;
    ca::to_der(&key, &place.private_der(plan.name))?;
    let file = place.aws(&format!("{}.json", plan.name));
    let [key, chain, out] = [&key, &chain, &file].map(|path| path.display().to_string());
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
    let object = format!("s3://{BUCKET}/{}", plan.name);
    let source: &[&str] = match plan.origin {
        Origin::BundleSealed => {
            aws.upload(&file, plan.name)?;
            &["--s3", &object, "--region", REGION, SEALED]
        }
        _ => &["--bundle", &out],
    };
    let host = plan.host();
    let provision = ["provision", plan.name, "--kms-key", BUNDLE_KEY];
    id_of(&ctl.run(&[&provision, source, &whose(plan, &host)].concat())?)
}

/// The key of the server behind the proxy: not one of the service.
fn for_upstream(place: &Place) -> Result<()> {
    certified_file(place, Kind::P256, UPSTREAM, UPSTREAM)
}

fn certified_file(place: &Place, kind: Kind, name: &str, host: &str) -> Result<()> {
    let key = place.private(name);
    let request = place.public(name, "csr.pem");
    ca::new_key(kind, &key)?;
    ca::request(&key, host, &request)?;
    ca::issue(place, &request, host, "serverAuth", &place.public(name, "chain.pem"))?;
    Ok(fs::remove_file(&request)?)
}

/// What the service is told of a key: its usage, the names in its certificate, who may use it.
fn whose<'a>(plan: &'a KeyPlan, host: &'a str) -> [&'a str; 6] {
    ["--usage", plan.usage, "--dns-name", host, "--client", WORKERS]
}

fn id_of(answer: &serde_json::Value) -> Result<String> {
    Ok(answer
        .get("id")
        .and_then(|id| id.as_str())
        .context("enclave-tlsctl named no id")?
        .to_owned())
}

/// All of the lab's sealed names are one group: one KMS call opens them.
const SEALED: &str = "--sealed=lab";
