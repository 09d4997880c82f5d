//! What certificates need of this machine: files of bundles, and what servers read of them.

use enclave_tls_config::{BundlePlace, Certificate, Source};
use serde::Deserialize;

use super::finding::names;
use super::{Context, Finding, rights};
use enclave_tls_admin::files;

pub(super) fn look(context: &Context<'_>) -> Vec<Finding> {
    let all = || context.config.certificates.values();
    let mut findings: Vec<_> = all().filter_map(bundle).collect();
    let not_live: Vec<_> = all()
        .map(|certificate| certificate.name.as_str())
        .filter(|name| !context.options.base.join("live").join(name).exists())
        .collect();
    let count = context.config.certificates.len();
    findings.push(match not_live.is_empty() {
        true => Finding::ok(
            AREA,
            format!(
                "all {count} are live in {}",
                context.options.base.join("live").display()
            ),
        ),
        false => Finding::warning(
            AREA,
            format!(
                "{} of {count} are not live yet ({}); a server that names one of them does not start before",
                not_live.len(),
                names(not_live.iter().copied())
            ),
            "start the agent, then `enclave-tlsctl certificates` says what each waits for",
        ),
    });
    findings
}

/// What is wrong with the file of a bundle.
fn bundle(certificate: &Certificate) -> Option<Finding> {
    let path = match &certificate.source {
        Source::Csr { .. } | Source::Acme(_) => return None,
        Source::Bundle { from, .. } => match from {
            BundlePlace::S3(_) => return None,
            BundlePlace::File(path) => path,
        },
    };
    // Said among the rights.
    if rights::is_denied(path) {
        return None;
    }
    let name = &certificate.name;
    let why = match files::read_public(path, MAX_BUNDLE) {
        Err(error) => error.to_string(),
        Ok(bytes) => serde_json::from_slice::<Bundle>(&bytes).err()?.to_string(),
    };
    Some(Finding::error(
        AREA,
        format!("{name}: {}: {why}", path.display()),
        format!("enclave-tlsctl seal --help; write its output to {}", path.display()),
    ))
}

/// What a bundle must have. Whether it opens is between the enclave and KMS.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "read to see that they are there")]
struct Bundle {
    certificate: String,
    encrypted_private_key: String,
}

const AREA: &str = "certificates";
/// What the protocol carries of a bundle.
const MAX_BUNDLE: usize = 65_536;
