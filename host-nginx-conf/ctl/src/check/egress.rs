//! Whether the enclave may connect to the hosts that its certificates and its sealing keys need.
//!
//! The configuration's own reader sees to [aws] and to standard hosts of bundles; only the policy knows the sealing keys.

use std::collections::BTreeMap;

use enclave_policy::aws::{KeyArn, Region, Service, accepts_host, host};
use enclave_tls_config::{BundlePlace, Config, Source};
use enclave_wire::DnsName;

use super::finding::names;
use super::{Context, Finding};

pub(super) fn look(context: &Context<'_>) -> Vec<Finding> {
    let config = context.config;
    let mut needed: BTreeMap<DnsName, Vec<&str>> = BTreeMap::new();
    for certificate in config.certificates.values() {
        let name = certificate.name.as_str();
        if let Source::Bundle { from, kms_key } = &certificate.source {
            if let Ok(key) = kms_key.as_str().parse::<KeyArn>() {
                needed.entry(kms_host(config, &key)).or_default().push(name);
            }
            match from {
                BundlePlace::File(_) => {}
                BundlePlace::S3(object) => {
                    // A region that does not parse is no region of the policy's either, and said there.
                    if let Ok(region) = object.region.as_str().parse::<Region>() {
                        needed.entry(s3_host(config, &region)).or_default().push(name);
                    }
                }
            }
        }
        if certificate.sealed.is_some() {
            for key in context.policy.into_iter().flat_map(|policy| policy.sealing_keys()) {
                needed.entry(kms_host(config, key)).or_default().push(name);
            }
        }
    }
    let mut findings: Vec<_> = needed
        .iter()
        .filter(|(host, _)| !config.egress.allows(host, HTTPS))
        .map(|(host, whose)| {
            Finding::error(
                AREA,
                format!(
                    "{host}:{HTTPS} is not allowed, and {} cannot do without it",
                    names(whose.iter().copied())
                ),
                format!("add \"{host}:{HTTPS}\" to [egress] allow in config.toml"),
            )
        })
        .collect();
    if findings.is_empty() {
        findings.push(Finding::ok(
            AREA,
            format!("{} hosts are needed, all are allowed", needed.len()),
        ));
    }
    findings
}

/// The endpoint that the configuration names where it is one of that region, else the standard one.
fn kms_host(config: &Config, key: &KeyArn) -> DnsName {
    let own = config.aws.as_ref().and_then(|aws| aws.kms_host.clone());
    own.filter(|own| accepts_host(Service::Kms, key.region(), own))
        .unwrap_or_else(|| host(Service::Kms, key.region()))
}

fn s3_host(config: &Config, region: &Region) -> DnsName {
    let own = config.aws.as_ref().and_then(|aws| aws.s3_host.clone());
    own.filter(|own| accepts_host(Service::S3, region, own))
        .unwrap_or_else(|| host(Service::S3, region))
}

const AREA: &str = "egress";
const HTTPS: u16 = 443;
