//! What to do next about a certificate: one sentence, for `status` and `certificates`.

use enclave_tls_admin::report::{Certificate, Generation};

use crate::time;

/// The state as people read it.
pub(super) fn in_words(state: &str) -> &str {
    match state {
        "served" => "served",
        "served-with-a-problem" => "served, and has a problem",
        "being-deployed" => "being given to its servers",
        "being-made" => "being made",
        "waiting-for-certificate" => "waits for its certificate",
        "waiting-for-enclave" => "the enclave is away",
        "waiting-for-kms" => "waits for KMS",
        "failed" => "failed",
        // A later agent's word.
        other => other,
    }
}

/// Whether somebody has to look at it.
pub(super) fn needs_attention(certificate: &Certificate, now: i64) -> bool {
    certificate.state != "served" || ends_soon(certificate, now)
}

/// Whether it ends soon, and nobody renews it before.
fn ends_soon(certificate: &Certificate, now: i64) -> bool {
    let is_renewed = certificate
        .renewal
        .as_ref()
        .is_some_and(|renewal| renewal.failures == 0);
    let soon = if is_renewed { 0 } else { SOON };
    ends_within(certificate, now).is_some_and(|days| days < soon)
}

/// The days that the live generation's certificate has left; less than none: it has ended.
pub(super) fn ends_within(certificate: &Certificate, now: i64) -> Option<i64> {
    Some(time::days(now, live(certificate)?.not_after?))
}

/// The generation that servers have.
pub(super) fn live(certificate: &Certificate) -> Option<&Generation> {
    certificate.generations.iter().find(|generation| generation.is_live)
}

/// What to do. Nothing where all is well.
pub(super) fn next(certificate: &Certificate, now: i64) -> Option<String> {
    let name = &certificate.name;
    let renewal = || match ends_within(certificate, now) {
        Some(days) if days < 0 => Some(format!(
            "it has ended, and its key signs no more: {}",
            renew(certificate)
        )),
        Some(days) if ends_soon(certificate, now) => Some(format!("it ends in {days} days: {}", renew(certificate))),
        Some(_) | None => None,
    };
    match certificate.state.as_str() {
        "served" => renewal(),
        "waiting-for-certificate" if certificate.renewal.is_some() => Some(format!(
            "wait: the enclave orders it; `enclave-tlsctl certificates {name}` says how far it is"
        )),
        "waiting-for-certificate" => Some(sign(
            pending(certificate).map_or(name.as_str(), |generation| generation.id.as_str()),
            name,
        )),
        "waiting-for-enclave" => Some(
            "servers keep what they have; see why the enclave is away: `systemctl status enclave-tls-enclave`, `enclave-tlsctl logs`"
                .to_owned(),
        ),
        "waiting-for-kms" => Some(
            "its key is stored and KMS has not opened it; look at `enclave-tlsctl status` for AWS credentials and egress, and at the key's \
             policy: `enclave-tlsctl policy lint --key-arn ARN`"
                .to_owned(),
        ),
        "being-deployed" | "being-made" => Some("wait a minute, then look again; if it stays: `enclave-tlsctl logs`".to_owned()),
        "failed" | "served-with-a-problem" => Some(
            awaited(certificate).map(|next| sign(&next.id, name)).or_else(renewal).unwrap_or_else(|| "correct what the note says; the agent tries again by itself (`enclave-tlsctl logs`)".to_owned()),
        ),
        _ => Some("look at `enclave-tlsctl logs`".to_owned()),
    }
}

/// The last error. What the agent notes of a certificate that is waited for is the next step, which is said as such.
pub(super) fn note(certificate: &Certificate) -> Option<&str> {
    let note = certificate.note.as_deref();
    let is_next = |note: &&str| {
        certificate.state == "waiting-for-certificate" || note.starts_with(SIGN) && awaited(certificate).is_some()
    };
    note.filter(|note| !is_next(note))
}

/// The generation that is to follow the one that servers have, where nothing else is wrong: the agent's note is of it.
fn awaited(certificate: &Certificate) -> Option<&Generation> {
    let note = certificate.note.as_deref()?;
    pending(certificate).filter(|next| note.contains(&next.id))
}

/// The newest generation that has no certificate.
fn pending(certificate: &Certificate) -> Option<&Generation> {
    let pending = certificate
        .generations
        .iter()
        .filter(|generation| generation.state == "pending");
    pending.max_by_key(|generation| generation.generation)
}

fn sign(key: &str, name: &str) -> String {
    format!("{SIGN} (`enclave-tlsctl csr {key} --out {name}.csr`), then `enclave-tlsctl install {key} CHAIN.pem`")
}

fn renew(certificate: &Certificate) -> String {
    let name = &certificate.name;
    match certificate.source.as_str() {
        "acme" => format!(
            "the enclave orders another by itself; `enclave-tlsctl certificates {name}` says why it has not come"
        ),
        "bundle" => "put a bundle with a newer certificate in its place; the agent takes it up".to_owned(),
        _ => {
            let key = live(certificate).map_or(name.as_str(), |generation| generation.id.as_str());
            format!(
                "have a CA sign its request again (`enclave-tlsctl csr {key} --out {name}.csr`), then `enclave-tlsctl install {key} CHAIN.pem`"
            )
        }
    }
}

/// How the step begins, the agent's words and ours.
const SIGN: &str = "have a CA sign its request";
/// Days. A CA and a person need some of them.
const SOON: i64 = 14;

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn certificate(state: &str, not_after: i64) -> Certificate {
        Certificate {
            name: "www".to_owned(),
            source: "csr".to_owned(),
            sealed: false,
            usage: "tls".to_owned(),
            state: state.to_owned(),
            promise: "nobody else has it".to_owned(),
            servers: vec!["main".to_owned()],
            generations: vec![Generation {
                generation: 1,
                id: "ab".repeat(32),
                state: "live".to_owned(),
                not_before: Some(0),
                not_after: Some(not_after),
                is_live: true,
            }],
            note: None,
            ..Certificate::default()
        }
    }

    #[test]
    fn a_certificate_that_ends_soon_is_named_with_what_to_do() {
        let day = 86_400;
        assert_eq!(next(&certificate("served", 100 * day), 0), None);
        assert!(!needs_attention(&certificate("served", 100 * day), 0));
        let soon = certificate("served", 5 * day);
        let said = next(&soon, 0).unwrap();
        assert!(
            said.starts_with("it ends in 5 days: ") && said.contains("enclave-tlsctl csr abab"),
            "{said}"
        );
        assert!(needs_attention(&soon, 0));
        let ended = next(&certificate("served", 5 * day), 6 * day).unwrap();
        assert!(ended.starts_with("it has ended"), "{ended}");
        let bundle = Certificate {
            source: "bundle".to_owned(),
            ..certificate("served", 0)
        };
        assert!(
            next(&bundle, day)
                .unwrap()
                .contains("a bundle with a newer certificate")
        );
    }

    #[test]
    fn what_is_served_while_its_next_key_waits_says_how_that_gets_its_certificate() {
        let (mut waits, next_key) = (certificate("served-with-a-problem", i64::MAX), "cd".repeat(32));
        waits.generations.push(Generation {
            generation: 2,
            id: next_key.clone(),
            state: "pending".to_owned(),
            ..Generation::default()
        });
        waits.note = Some(format!("have a CA sign its request (`enclave-tlsctl csr {next_key}`)"));
        let said = next(&waits, 0).unwrap();
        assert!(
            said.contains(&format!("enclave-tlsctl csr {next_key} --out www.csr"))
                && said.contains(&format!("enclave-tlsctl install {next_key} ")),
            "{said}"
        );
        assert_eq!(note(&waits), None, "once is enough");
        let emergency =
            format!("generation 1 is still served: have a CA sign its request (`enclave-tlsctl csr {next_key}`)");
        waits.note = Some(emergency.clone());
        assert_eq!(note(&waits), Some(emergency.as_str()), "why it matters is said too");
        assert!(next(&waits, 0).unwrap().starts_with("have a CA sign its request"));
        waits.note = Some("main: nginx: [emerg]".to_owned());
        assert!(next(&waits, 0).unwrap().starts_with("correct what the note says"));
        assert_eq!(note(&waits), Some("main: nginx: [emerg]"));
    }

    #[test]
    fn every_state_but_served_says_what_to_do() {
        for state in [
            "served-with-a-problem",
            "being-deployed",
            "being-made",
            "waiting-for-certificate",
            "waiting-for-enclave",
            "waiting-for-kms",
            "failed",
            "a-later-word",
        ] {
            let certificate = certificate(state, i64::MAX);
            assert!(
                next(&certificate, 0).is_some_and(|said| said.contains('`') || said.contains("note")),
                "{state}"
            );
            assert!(needs_attention(&certificate, 0), "{state}");
        }
    }
}
