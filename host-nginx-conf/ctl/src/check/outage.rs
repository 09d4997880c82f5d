//! What an outage of KMS together with a restart of the enclave would mean.

use std::collections::BTreeSet;

use enclave_tls_admin::outage::{AfterRestart, Regions};
use enclave_tls_config::Source;

use super::{Context, Finding};

pub(super) fn look(context: &Context<'_>) -> Vec<Finding> {
    let mut after = AfterRestart::default();
    for certificate in context.config.certificates.values() {
        let is_of_bundle = matches!(certificate.source, Source::Bundle { .. });
        after.add(certificate.name.as_str(), is_of_bundle, certificate.sealed.is_some());
    }
    let meaning = after.meaning(regions(context));
    if meaning.is_empty() {
        return vec![Finding::ok(
            AREA,
            "no certificate depends on KMS or on one run of the enclave",
        )];
    }
    let finding = |meaning: enclave_tls_admin::outage::Meaning| match meaning.next {
        Some(next) => Finding::warning(AREA, meaning.what, next),
        None => Finding::ok(AREA, meaning.what),
    };
    meaning.into_iter().map(finding).collect()
}

fn regions(context: &Context<'_>) -> Regions {
    let Some(policy) = context.policy else {
        return Regions::NotKnown;
    };
    let regions: BTreeSet<_> = policy.sealing_keys().iter().map(|key| key.region().as_str()).collect();
    Regions::Known(regions.len())
}

const AREA: &str = "KMS outage";
