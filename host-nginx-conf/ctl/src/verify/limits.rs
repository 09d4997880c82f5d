//! What a proof shows and what not, as `SECURITY.md` words it.

use std::collections::BTreeSet;

use enclave_attestation::{AttestedKey, Statement};

use super::checks::printable;
use super::expected::Expected;
use enclave_tls_admin::promise;

/// Who else may hold the keys, and what else stays open.
pub(crate) fn limits(
    statement: &Statement,
    keys: &[&AttestedKey],
    expected: &Expected,
    has_nonce: bool,
) -> Vec<String> {
    let origins: BTreeSet<&str> = keys.iter().map(|key| key.origin.as_str()).collect();
    let mut limits: Vec<String> = origins
        .into_iter()
        .map(|origin| format!("{}: {}", printable(origin), who_else(origin)))
        .collect();
    if keys.iter().any(|key| key.usage == "digest") {
        limits.push(
            "digest: such a key signs whatever the parent instance sends, certificate requests and client authentication too; tls keys \
             are stronger"
                .to_owned(),
        );
    }
    if keys.iter().any(|key| key.origin.ends_with("-sealed")) {
        limits.push(format!(
            "sealed state is as safe as the policies of {}: look at each with enclave-tlsctl policy lint --key-arn ARN --immutable",
            statement.sealed_to.iter().map(|arn| printable(arn)).collect::<Vec<_>>().join(", ")
        ));
    }
    if let Some(source) = &statement.clock_source {
        // A note, not a failed check: whether it may be so is for the policy, which is measured.
        limits.push(format!(
            "the enclave's clock source is {}, not kvm-clock: expiry is judged by a clock that may run wrong",
            printable(source)
        ));
    }
    if let Some(policy) = &expected.policy {
        if policy.allows_imports().is_ok() {
            limits.push("the policy allows imports: other names may hold keys that were made outside".to_owned());
        }
        if policy.allows_foreign_bundles().is_ok() {
            limits.push(
                "the policy allows bundles without an encryption context: nothing but the match of key and certificate binds \
                 such a bundle to its name"
                    .to_owned(),
            );
        }
    }
    if !has_nonce {
        limits.push(
            "whether the enclave still runs, or still holds these keys: the document is as old as it says".to_owned(),
        );
    }
    limits.push(
        "root on the parent instance can use the keys, within their usage, for as long as the enclave runs; it cannot have them"
            .to_owned(),
    );
    limits
}

/// Beside the enclave. Names of origins that this version does not know promise nothing.
fn who_else(origin: &str) -> &'static str {
    match promise::origin_of(origin) {
        Some((origin, sealed)) => promise::who_else(origin, sealed),
        None => "an origin that this version does not know; take it that others hold the key too",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_born_and_not_sealed_promises_without_a_condition() {
        assert!(who_else("born").starts_with("nobody else has it, ever"));
        for origin in [
            "born-sealed",
            "imported",
            "imported-sealed",
            "bundle",
            "bundle-sealed",
            "acm-export",
            "Born",
            "",
        ] {
            assert!(!who_else(origin).contains("ever;"), "{origin}");
        }
    }
}
