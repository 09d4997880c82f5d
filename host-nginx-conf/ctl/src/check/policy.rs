//! The policy that will be in force, and whether it allows what the configuration asks for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use enclave_policy::Policy;
use enclave_policy::aws::KeyArn;
use enclave_tls_admin::{advice, hex};
use enclave_tls_config::{Acme, BundlePlace, Certificate, Config, Source};
use enclave_wire::control::ControlError;

use super::finding::names;
use super::{Context, Finding, Options};
use crate::kms_policy;

/// The image's policy, narrowed by the parent's.
pub(super) fn read(options: &Options, config: &Config) -> (Option<Policy>, Vec<Finding>) {
    let image = options.image_policy.clone().or_else(|| beside(&config.enclave.image));
    let own = config.enclave.policy.as_deref();
    let of_file = |path: &Path| {
        kms_policy::read_policy(path, None).map_err(|error| {
            Finding::error(
                AREA,
                error.to_string(),
                format!("correct {}, then: enclave-tlsctl check", path.display()),
            )
        })
    };
    let image_read = image.as_deref().map(of_file).transpose();
    let own_read = own.map(of_file).transpose();
    match (image_read, own_read) {
        (Ok(Some(image)), Ok(Some(own))) => described(image.intersect(&own), "the image's and the parent's"),
        (Ok(Some(image)), Ok(None)) => described(image, "the image's alone"),
        (Ok(None), Ok(Some(own))) => {
            let (policy, mut findings) = described(own, "the parent's alone, since the image's is not known");
            findings.push(unknown(config));
            (policy, findings)
        }
        (Ok(None), Ok(None)) => (None, vec![unknown(config)]),
        (image, own) => (None, [image.err(), own.err()].into_iter().flatten().collect()),
    }
}

fn described(policy: Policy, whose: &str) -> (Option<Policy>, Vec<Finding>) {
    let found = format!("{whose}: PCR16 {}", hex::encode(&policy.pcr16()));
    (Some(policy), vec![Finding::ok(AREA, found)])
}

fn unknown(config: &Config) -> Finding {
    Finding::warning(
        AREA,
        format!(
            "the image's policy is not beside it ({}), so what it allows is not known",
            packaged(&config.enclave.image).display()
        ),
        "enclave-tlsctl check --image-policy FILE, the policy that the image was made with",
    )
}

/// Whether each certificate's name, usage, key type and KMS key are allowed; a thousand of one mistake are one finding.
pub(super) fn look(context: &Context<'_>) -> Vec<Finding> {
    let Some(policy) = context.policy else {
        return Vec::new();
    };
    let mut refused: BTreeMap<&'static str, Vec<&str>> = BTreeMap::new();
    for certificate in context.config.certificates.values() {
        for error in refusals(policy, certificate) {
            refused.entry(error).or_default().push(certificate.name.as_str());
        }
    }
    if refused.is_empty() {
        let count = context.config.certificates.len();
        return vec![Finding::ok(AREA, format!("it allows all {count} certificates"))];
    }
    let finding = |(why, whose): (&&str, &Vec<&str>)| {
        let own = context.config.enclave.policy.as_deref();
        let own = own.map_or("a policy under [enclave]".to_owned(), |path| path.display().to_string());
        let todo = format!(
            "edit the certificates in config.toml; or allow it in {own}, as far as the image's policy does, which only another image \
             changes (cargo xtask image --policy FILE)"
        );
        Finding::error(AREA, format!("{}: {why}", names(whose.iter().copied())), todo)
    };
    refused.iter().map(finding).collect()
}

fn refusals(policy: &Policy, certificate: &Certificate) -> Vec<&'static str> {
    let mut refused = Vec::new();
    let mut judge = |outcome: Result<(), ControlError>| refused.extend(outcome.err().map(advice::refused));
    judge(policy.allows(&certificate.name, certificate.usage));
    match &certificate.source {
        Source::Csr { key_type } | Source::Acme(Acme { key_type, .. }) => judge(policy.allows_key(*key_type)),
        Source::Bundle { from, kms_key } => {
            if let Ok(arn) = kms_key.as_str().parse::<KeyArn>() {
                judge(policy.bundle_key(&arn));
            }
            match from {
                BundlePlace::File(_) => {}
                BundlePlace::S3(object) => {
                    if let Ok(region) = object.region.as_str().parse() {
                        judge(policy.allows_region(&region));
                    }
                }
            }
        }
    }
    if certificate.sealed.is_some() && policy.sealing_keys().is_empty() {
        refused.push(
            "the policy names no KMS key to seal under: add [sealing] keys = [\"arn:aws:kms:…\"], or remove `sealed`",
        );
    }
    if needs_kms(certificate) && policy.attestation().is_none() {
        refused.push("the policy has no [attestation], so KMS opens nothing for the enclave: take that section over from the image's");
    }
    refused
}

/// Whether KMS must answer before it can be served after a restart.
fn needs_kms(certificate: &Certificate) -> bool {
    certificate.sealed.is_some() || matches!(certificate.source, Source::Bundle { .. })
}

fn beside(image: &Path) -> Option<PathBuf> {
    Some(packaged(image)).filter(|path| path.exists())
}

/// Where packages put it.
fn packaged(image: &Path) -> PathBuf {
    image.with_file_name("policy.toml")
}

const AREA: &str = "policy";
