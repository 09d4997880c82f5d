//! What an outage of KMS together with a restart of the enclave would mean.

use std::collections::BTreeSet;

use enclave_tls_config::{Certificate, Source};

use super::finding::names;
use super::{Context, Finding};

pub(super) fn look(context: &Context<'_>) -> Vec<Finding> {
    let its = |is: fn(&&Certificate) -> bool| {
        let its = context.config.certificates.values().filter(is);
        its.map(|certificate| certificate.name.as_str()).collect::<Vec<_>>()
    };
    let ends = its(|one| one.source.born().is_some() && one.sealed.is_none());
    let sealed = its(|one| one.sealed.is_some());
    let bundles = its(|one| matches!(one.source, Source::Bundle { .. }) && one.sealed.is_none());
    let mut findings = Vec::new();
    if !ends.is_empty() {
        findings.push(Finding::warning(
            AREA,
            format!(
                "each restart of the enclave ends the keys of {}, which are born and not sealed: new ones are made, and need new certificates",
                names(ends.iter().copied())
            ),
            "set sealed = \"default\" on them, and name a KMS key under [sealing] keys in the policy",
        ));
    }
    if !sealed.is_empty() {
        findings.push(sealed_in(context, &sealed));
    }
    if !bundles.is_empty() {
        findings.push(Finding::warning(
            AREA,
            format!(
                "while KMS is out, a restart of the enclave leaves {} unserved until it answers again; nothing is lost",
                names(bundles.iter().copied())
            ),
            "set sealed = \"default\" on them, with sealing keys in two regions; running enclaves go on without KMS",
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(
            AREA,
            "no certificate depends on KMS or on one run of the enclave",
        ));
    }
    findings
}

fn sealed_in(context: &Context<'_>, sealed: &[&str]) -> Finding {
    let keys = context.policy.map(|policy| policy.sealing_keys()).unwrap_or_default();
    let regions: BTreeSet<_> = keys.iter().map(|key| key.region().as_str()).collect();
    let whose = names(sealed.iter().copied());
    match regions.len() {
        0 | 1 => Finding::warning(
            AREA,
            format!(
                "while KMS is out, a restart of the enclave leaves {whose} unserved until it answers again; nothing is lost"
            ),
            "add a KMS key of a second region to [sealing] keys in the policy, and its host to [egress] allow; restart the enclave once, and its states open by either",
        ),
        count => Finding::ok(
            AREA,
            format!(
                "{whose} are sealed under keys of {count} regions: a restart is served while KMS answers in one of them"
            ),
        ),
    }
}

const AREA: &str = "KMS outage";
