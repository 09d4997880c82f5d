//! What only others can tell: AWS, the instance's metadata service, the running agent.

use enclave_policy::Policy;
use enclave_policy::aws::KeyArn;
use enclave_tls_admin::hex;
use enclave_tls_config::{Config, Source};
use enclave_tls_nitro::image_measurements;

use super::{Finding, Level, Options, configuration, instance, policy, role};
use crate::aws::{self, AwsError};
use crate::commands::{Session, status_report};
use crate::kms_policy::{self, Measured, PolicyError, Role};
use crate::time;

pub(super) fn look(options: &Options, session: &Session) -> Vec<Finding> {
    let mut findings = vec![instance::look()];
    // What is wrong with the file is said already.
    if let (Some(config), _) = configuration::look(options) {
        let (policy, _) = policy::read(options, &config);
        findings.extend(of_aws(&config, policy.as_ref()));
        if config.aws.is_some() {
            findings.extend(role::look(options));
        }
    }
    findings.extend(agent(session));
    findings
}

fn of_aws(config: &Config, policy: Option<&Policy>) -> Vec<Finding> {
    let Some(own) = &config.aws else {
        return vec![Finding::ok(AWS, "there is no [aws], so nothing is asked of it")];
    };
    let mut findings = vec![match aws::credentials(own.profile.as_deref()) {
        Ok(None) => Finding::ok(AWS, "credentials are found, which do not end"),
        Ok(Some(end)) => Finding::ok(AWS, format!("credentials are found, until {}", time::utc(end))),
        Err(error @ AwsError::NotBuilt) => {
            return vec![Finding::warning(
                AWS,
                error.to_string(),
                "use a build with the feature aws",
            )];
        }
        Err(error) => {
            return vec![Finding::error(
                AWS,
                error.to_string(),
                "give the instance a role, or set profile under [aws] in config.toml",
            )];
        }
    }];
    let expected = policy
        .zip(image_measurements(&config.enclave.image).ok())
        .map(|(policy, image)| Measured {
            pcr0: image.pcr0.to_string(),
            pcr16: hex::encode(&policy.pcr16()),
        });
    for (key, role) in keys(config, policy) {
        findings.extend(of_key(&key, role, expected.clone()));
    }
    findings
}

/// The KMS keys of bundles and of sealed state, each once.
fn keys(config: &Config, policy: Option<&Policy>) -> Vec<(KeyArn, Role)> {
    let mut keys: Vec<(KeyArn, Role)> = Vec::new();
    let is_sealed = config
        .certificates
        .values()
        .any(|certificate| certificate.sealed.is_some());
    if is_sealed {
        let sealing = policy.into_iter().flat_map(|policy| policy.sealing_keys());
        keys.extend(sealing.map(|key| (key.clone(), Role::Sealing)));
    }
    for certificate in config.certificates.values() {
        if let Source::Bundle { kms_key, .. } = &certificate.source
            && let Ok(key) = kms_key.as_str().parse::<KeyArn>()
            && !keys.iter().any(|(known, _)| *known == key)
        {
            keys.push((key, Role::Bundles));
        }
    }
    keys
}

fn of_key(key: &KeyArn, role: Role, expected: Option<Measured>) -> Vec<Finding> {
    match kms_policy::lint_key(key, role, expected) {
        Ok(judged) if judged.is_empty() => vec![Finding::ok(KMS, format!("{key}: its policy keeps what is promised"))],
        Ok(judged) => judged
            .into_iter()
            .map(|one| Finding {
                area: KMS,
                level: if one.is_error { Level::Error } else { Level::Warning },
                found: format!("{key}: {}", one.found),
                todo: Some(one.advice.to_owned()),
            })
            .collect(),
        // The parent's role need not be able to read the policy: whoever may should look.
        Err(error @ PolicyError::Aws(_)) => vec![Finding::warning(
            KMS,
            format!("{key}: {error}"),
            format!("as somebody who may read its policy: enclave-tlsctl policy lint --key-arn {key}"),
        )],
        Err(error) => vec![Finding::error(
            KMS,
            format!("{key}: {error}"),
            format!("enclave-tlsctl policy lint --key-arn {key}"),
        )],
    }
}

/// Whether it answers, and what of its report needs attention.
fn agent(session: &Session) -> Vec<Finding> {
    match status_report(session) {
        Err(error) => vec![Finding::error(
            AGENT,
            error.to_string(),
            "systemctl enable --now enclave-tls-agent enclave-tls-enclave",
        )],
        Ok(status) => match status.needs() {
            [] => vec![Finding::ok(AGENT, "it answers, and all certificates are served")],
            needs => needs
                .iter()
                .map(|need| Finding::error(AGENT, format!("{}: {}", need.of, need.what), need.next.clone()))
                .collect(),
        },
    }
}

const AGENT: &str = "agent";
const AWS: &str = "AWS";
const KMS: &str = "KMS key";
