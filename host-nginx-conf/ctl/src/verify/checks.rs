//! The checks, each with its outcome. What depends on a check that failed is not made.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_lc_rs::digest::{self, SHA384};
use enclave_attestation::{
    AttestedKey, ChainError, Document, Expectations, Mismatch, Purpose, SignedDocument, Statement, Verified,
    VerifyError,
};
use enclave_wire::Usage;

use super::expected::Expected;
use super::host::{Handshake, Outcome};
use enclave_tls_admin::hex;

use crate::time;

/// One check.
pub(crate) struct Check {
    pub(crate) name: String,
    pub(crate) passed: bool,
    /// What was seen, or what is wrong and what to do.
    pub(crate) detail: String,
}

/// The checks so far.
#[derive(Default)]
pub(crate) struct Checks(pub(crate) Vec<Check>);

/// How a document's freshness is judged.
#[derive(Clone, Copy)]
pub(crate) struct Freshness<'a> {
    pub(crate) nonce: Option<&'a [u8]>,
    pub(crate) max_age: Option<Duration>,
    /// Milliseconds since 1970, UTC.
    pub(crate) now_ms: u64,
}

impl Freshness<'_> {
    /// The time at which the chain must hold, in seconds. An answer to a nonce was made now. Another document is judged at the time
    /// that the NSM signed into it, since its leaf lives three hours only; how long ago that may be is then `max_age`'s to say.
    fn judged_at(self, document: &Document) -> u64 {
        let at_ms = match self.nonce {
            Some(_) => self.now_ms,
            None => document.timestamp_ms,
        };
        at_ms.checked_div(1_000).unwrap_or_default()
    }
}

impl Checks {
    pub(crate) fn is_proof(&self) -> bool {
        self.0.iter().all(|check| check.passed)
    }

    fn pass(&mut self, name: &str, detail: impl Into<String>) {
        self.add(name, true, detail.into());
    }

    fn fail(&mut self, name: &str, detail: impl Into<String>) {
        self.add(name, false, detail.into());
    }

    fn add(&mut self, name: &str, passed: bool, detail: String) {
        self.0.push(Check {
            name: name.to_owned(),
            passed,
            detail,
        });
    }

    /// Signed under the root, and not by an enclave in debug mode. Only then does anything in the document mean something.
    pub(crate) fn document(&mut self, bytes: &[u8], expected: &Expected, freshness: Freshness<'_>) -> Option<Verified> {
        let signed = match SignedDocument::decode(bytes) {
            Ok(signed) => signed,
            Err(error) => {
                self.fail("document", error.to_string());
                return None;
            }
        };
        let at = freshness.judged_at(signed.unverified());
        let verified = match signed.verify(&expected.root_sha256, at) {
            Ok(verified) => verified,
            Err(error) => {
                self.fail("signature", signature_advice(error, expected, freshness));
                return None;
            }
        };
        let made = verified.document().timestamp_ms;
        let by = &verified.document().module_id;
        self.pass("document", format!("made {} by {}", utc(made), printable(by)));
        self.pass(
            "signature",
            format!("under {} as of {}", root_name(expected), utc(at.saturating_mul(1_000))),
        );
        if let Err(error @ Mismatch::Debug) = Expectations::default().check(&verified, freshness.now_ms) {
            self.fail(
                "mode",
                format!("{error}; whoever runs it reads its memory, so it proves nothing"),
            );
            return None;
        }
        self.pass("mode", "not a debug enclave");
        Some(verified)
    }

    pub(crate) fn freshness(&mut self, verified: &Verified, freshness: Freshness<'_>) {
        let expectations = Expectations {
            nonce: freshness.nonce.map(<[u8]>::to_vec),
            max_age_ms: freshness
                .max_age
                .map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
            ..Expectations::default()
        };
        match (freshness.nonce, freshness.max_age, expectations.check(verified, freshness.now_ms)) {
            (None, None, _) => self.fail(
                "freshness",
                "cannot be proven: draw a nonce (openssl rand -hex 32), have it attested (enclave-tlsctl attest --nonce HEX) and give \
                 --nonce; or bound the age of this document with --max-age",
            ),
            (_, _, Err(error)) => self.fail("freshness", error.to_string()),
            (Some(_), _, Ok(())) => self.pass("freshness", "it answers your nonce"),
            (None, Some(_), Ok(())) => self.pass(
                "freshness",
                "bounded by --max-age, not proven: without a nonce this may be a copy of an earlier answer",
            ),
        }
    }

    pub(crate) fn pcrs(&mut self, verified: &Verified, expected: &Expected) {
        for (needed, advice) in [
            (
                0,
                "nothing says which image is expected: give --measurements FILE (what nitro-cli build-enclave printed) or --pcr 0=HEX",
            ),
            (
                16,
                "nothing says which policy is expected, and it decides what the code may do: give --policy FILE or --pcr 16=HEX",
            ),
        ] {
            if !expected.pcrs.contains_key(&needed) {
                self.fail(&format!("PCR{needed}"), advice);
            }
        }
        for (index, value) in &expected.pcrs {
            let name = format!("PCR{index}");
            match verified.document().pcrs.get(index) {
                Some(found) if found == value => self.pass(&name, hex::encode(found)),
                Some(found) => self.fail(
                    &name,
                    format!("is {}, expected was {}", hex::encode(found), hex::encode(value)),
                ),
                None => self.fail(&name, "is not in the document: the enclave has not locked it"),
            }
        }
    }

    /// The statement is what the document binds, and its policy is what the enclave measured.
    pub(crate) fn statement(&mut self, bytes: &[u8], verified: &Verified, nonce: Option<&[u8]>) -> Option<Statement> {
        // Without a nonce of ours, the document's own must still be the statement's.
        let nonce = nonce.or(verified.document().nonce.as_deref()).unwrap_or_default();
        let statement = match Statement::bound_to(verified, bytes, Purpose::Keys, nonce) {
            Ok(statement) => statement,
            Err(error) => {
                self.fail("statement", error.to_string());
                return None;
            }
        };
        match statement.keys.len() {
            0 => self.fail("keys", "the statement lists no key, so nothing is proven of any"),
            keys => self.pass("statement", format!("bound by the document; it lists {keys} key(s)")),
        }
        Some(statement)
    }

    pub(crate) fn policy(&mut self, statement: &Statement, verified: &Verified, expected: &Expected) {
        let stated = hex::encode(&statement.policy_sha384);
        if verified.document().pcrs.get(&16) != Some(&measured(&statement.policy_sha384)) {
            let why = format!("the statement names the policy {stated}, which is not what PCR16 measures");
            self.fail("policy", why);
            return;
        }
        match &expected.policy {
            Some(policy) if policy.sha384() != statement.policy_sha384 => {
                self.fail(
                    "policy",
                    format!("the statement names the policy {stated}, not the one that is given"),
                );
            }
            Some(_) | None => self.pass("policy", stated),
        }
    }

    pub(crate) fn sealed_to(&mut self, statement: &Statement, expected: &Expected) {
        let stated: BTreeSet<&str> = statement.sealed_to.iter().map(String::as_str).collect();
        let list = stated.iter().map(|arn| printable(arn)).collect::<Vec<_>>().join(", ");
        match &expected.sealed_to {
            Some(wanted) if wanted.iter().map(String::as_str).eq(stated.iter().copied()) => {
                self.pass("sealed to", if list.is_empty() { "nothing".to_owned() } else { list });
            }
            Some(wanted) => {
                let wanted = wanted.iter().cloned().collect::<Vec<_>>().join(", ");
                self.fail("sealed to", format!("the statement says \"{list}\", expected was \"{wanted}\""));
            }
            None if stated.is_empty() => self.pass("sealed to", "nothing"),
            None => self.fail(
                "sealed to",
                format!(
                    "{list}: whoever can change the policy of such a key can have what is sealed. Give --policy, or each with \
                     --sealed-to once you know whose it is (enclave-tlsctl policy lint --key-arn ARN --immutable)"
                ),
            ),
        }
    }

    /// Every one of these keys has the usage.
    pub(crate) fn usage(&mut self, keys: &[&AttestedKey], required: Usage) {
        let required = required.to_string();
        match keys.iter().find(|key| key.usage != required) {
            Some(key) => self.fail(
                "usage",
                format!(
                    "key {} has usage {}, required is {required}",
                    hex::encode(&key.spki_sha256),
                    printable(&key.usage)
                ),
            ),
            None if keys.is_empty() => self.fail("usage", "there is no key of which it could be required"),
            None => self.pass("usage", format!("{required} only")),
        }
    }

    /// Every leaf that the server presents is of the statement's; gives the keys that were shown.
    pub(crate) fn host<'s>(&mut self, shakes: &[Handshake], statement: &'s Statement) -> Vec<&'s AttestedKey> {
        let mut shown: Vec<&AttestedKey> = Vec::new();
        let mut presented = false;
        for shake in shakes {
            let name = format!("host, {}", shake.offer);
            match &shake.outcome {
                Outcome::Refused(_) => {}
                Outcome::Failed(why) => self.fail(&name, why.clone()),
                Outcome::Proven { spki_sha256 } => {
                    presented = true;
                    let id = hex::encode(spki_sha256);
                    let found: Vec<_> = statement
                        .keys
                        .iter()
                        .filter(|key| key.spki_sha256 == *spki_sha256)
                        .collect();
                    if found.is_empty() {
                        self.fail(&name, format!("presents key {id}, which is not in the statement"));
                    } else {
                        self.pass(&name, format!("presents and has key {id}, which is in the statement"));
                    }
                    shown.extend(found);
                }
            }
        }
        if !presented {
            let why: Vec<String> = shakes.iter().filter_map(Handshake::refusal).collect();
            self.fail("host", format!("presents no certificate ({})", why.join("; ")));
        }
        // A key shows in several handshakes.
        statement.keys.iter().filter(|key| shown.contains(key)).collect()
    }
}

/// What a register becomes when a policy of this SHA-384 is extended into it for the first time.
fn measured(policy_sha384: &[u8; 48]) -> [u8; 48] {
    let mut context = digest::Context::new(&SHA384);
    context.update(&[0; 48]);
    context.update(policy_sha384);
    let mut register = [0; 48];
    register.copy_from_slice(context.finish().as_ref());
    register
}

fn signature_advice(error: VerifyError, expected: &Expected, freshness: Freshness<'_>) -> String {
    match error {
        VerifyError::Chain(ChainError::Root) if expected.trusts_aws() => {
            format!("{error}: it is not AWS's, so this is no Nitro enclave")
        }
        VerifyError::Chain(ChainError::Expired) if freshness.nonce.is_some() => format!(
            "{error}: an answer to a nonce is verified as of now, and a document holds for three hours; ask for another one"
        ),
        VerifyError::Chain(ChainError::NotYetValid) if freshness.nonce.is_some() => {
            format!("{error}; compare this machine's clock")
        }
        VerifyError::Chain(_)
        | VerifyError::Cose
        | VerifyError::Header
        | VerifyError::Document(_)
        | VerifyError::Signature => error.to_string(),
    }
}

fn root_name(expected: &Expected) -> String {
    if expected.trusts_aws() {
        "AWS's Nitro Enclaves root".to_owned()
    } else {
        format!("the root {}, which is NOT AWS's,", hex::encode(&expected.root_sha256))
    }
}

/// Milliseconds as a date.
pub(crate) fn utc(ms: u64) -> String {
    let seconds = ms.checked_div(1_000).unwrap_or_default();
    time::utc(i64::try_from(seconds).unwrap_or(i64::MAX))
}

/// What another wrote, for a terminal: no control characters.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|character| if character.is_control() { '\u{fffd}' } else { character })
        .collect()
}
