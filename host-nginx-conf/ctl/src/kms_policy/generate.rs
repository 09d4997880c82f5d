//! A KMS key policy that admits measured enclaves alone, and the IAM policy of their role.
//!
//! Allow statements do not close anything: grants and IAM policies allow beside them. So everything that matters is denied, and
//! the Allow statements only say what remains.

use serde::Serialize;
use serde_json::{Value, json};

use super::finding::Role;
use super::measured::Measured;

/// What the policy is to say.
pub(crate) struct Wanted {
    pub(crate) key_arn: String,
    /// The roles of the parent instances, whose credentials the enclave uses.
    pub(crate) roles: Vec<String>,
    pub(crate) measured: Vec<Measured>,
    pub(crate) role: Role,
    /// Whoever may change the policy.
    pub(crate) admins: Vec<String>,
    /// Whoever may encrypt bundles.
    pub(crate) sealers: Vec<String>,
    /// Nobody may ever change the policy.
    pub(crate) immutable: bool,
    /// The root of the key's account.
    pub(crate) account_root: String,
}

/// What comes out.
#[derive(Serialize)]
pub(crate) struct Generated {
    pub(crate) key_policy: Written,
    pub(crate) iam_policy: Written,
}

/// A policy, in the order in which people read it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Written {
    version: &'static str,
    statement: Vec<Statement>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Statement {
    sid: String,
    effect: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    principal: Option<Value>,
    action: &'static [&'static str],
    resource: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    condition: Option<Value>,
}

impl Wanted {
    pub(crate) fn generate(&self) -> Generated {
        let mut statements = self.denials();
        let enclaves = self.measured.iter().enumerate();
        statements.extend(enclaves.map(|(place, pair)| self.enclave(place, pair)));
        statements.extend(self.people());
        Generated {
            key_policy: Written::from(statements),
            iam_policy: Written::from(vec![Statement {
                principal: None,
                resource: self.key_arn.clone(),
                ..allow("UseKeyFromTheEnclave", &[], self.enclave_actions(), None)
            }]),
        }
    }

    fn denials(&self) -> Vec<Statement> {
        // One statement a register: within one, all conditions would have to hold, and one wrong register would pass. A negated
        // condition also holds where the request shows no document, or one of a NitroTPM.
        let others = |key: &str, values: Vec<String>| Some(json!({ "StringNotEqualsIgnoreCase": { key: values } }));
        let images = distinct(&self.measured, |pair| &pair.pcr0);
        let policies = distinct(&self.measured, |pair| &pair.pcr16);
        let mut denials = vec![
            deny("DenyOtherImages", ATTESTABLE, others(IMAGE, images)),
            deny("DenyOtherPolicies", ATTESTABLE, others(POLICY, policies)),
        ];
        denials.extend(self.crossed());
        denials.push(deny("DenyWhatNobodyNeeds", NOBODY, None));
        denials.push(if self.sealers.is_empty() {
            deny("DenyEncrypt", ENCRYPT, None)
        } else {
            let others = json!({ "ArnNotEquals": { "aws:PrincipalArn": self.sealers } });
            deny("DenyEncryptToAllButSealers", ENCRYPT, Some(others))
        });
        if self.immutable {
            denials.push(deny("DenyChanges", CHANGES, None));
        }
        denials
    }

    /// Where there are several policies, each image is held to its own: the lists above admit every combination of theirs.
    fn crossed(&self) -> Vec<Statement> {
        if distinct(&self.measured, |pair| &pair.pcr16).len() < 2 {
            return Vec::new();
        }
        let own = |image: &String| -> Vec<&String> {
            let pairs = self.measured.iter().filter(|pair| pair.pcr0 == *image);
            pairs.map(|pair| &pair.pcr16).collect()
        };
        let statement = |(place, image): (usize, &String)| {
            let condition = json!({
                "StringEqualsIgnoreCase": { IMAGE: image },
                "StringNotEqualsIgnoreCase": { POLICY: own(image) },
            });
            let sid = format!("DenyOtherPoliciesToImage{}", place.saturating_add(1));
            deny(&sid, ATTESTABLE, Some(condition))
        };
        let images = distinct(&self.measured, |pair| &pair.pcr0);
        images.iter().enumerate().map(statement).collect()
    }

    fn enclave(&self, place: usize, pair: &Measured) -> Statement {
        let condition = json!({ "StringEqualsIgnoreCase": { IMAGE: pair.pcr0, POLICY: pair.pcr16 } });
        let sid = format!("AllowEnclave{}", place.saturating_add(1));
        allow(&sid, &self.roles, self.enclave_actions(), Some(condition))
    }

    /// What people may do: look, administer, encrypt bundles.
    fn people(&self) -> Vec<Statement> {
        let root = std::slice::from_ref(&self.account_root);
        let mut statements = vec![allow("AllowToLook", root, LOOK, None)];
        if !self.admins.is_empty() {
            statements.push(allow("AllowToAdminister", &self.admins, ADMINISTER, None));
        }
        if !self.sealers.is_empty() {
            statements.push(allow("AllowToEncryptBundles", &self.sealers, ENCRYPT, None));
        }
        statements
    }

    fn enclave_actions(&self) -> &'static [&'static str] {
        match self.role {
            Role::Sealing => &["kms:Decrypt", "kms:GenerateDataKey"],
            Role::Bundles => &["kms:Decrypt"],
        }
    }
}

impl From<Vec<Statement>> for Written {
    fn from(statement: Vec<Statement>) -> Self {
        Self {
            version: "2012-10-17",
            statement,
        }
    }
}

fn deny(sid: &str, action: &'static [&'static str], condition: Option<Value>) -> Statement {
    Statement {
        effect: "Deny",
        principal: Some(json!("*")),
        ..allow(sid, &[], action, condition)
    }
}

fn allow(sid: &str, principals: &[String], action: &'static [&'static str], condition: Option<Value>) -> Statement {
    Statement {
        sid: sid.to_owned(),
        effect: "Allow",
        principal: Some(json!({ "AWS": principals })),
        action,
        resource: "*".to_owned(),
        condition,
    }
}

fn distinct(measured: &[Measured], register: impl Fn(&Measured) -> &String) -> Vec<String> {
    let mut values: Vec<String> = measured.iter().map(|pair| register(pair).clone()).collect();
    values.sort();
    values.dedup();
    values
}

/// What AWS takes as a key policy, in bytes.
pub(crate) const MAX_KEY_POLICY: usize = 32_768;
/// PCR0.
const IMAGE: &str = "kms:RecipientAttestation:ImageSha384";
const POLICY: &str = "kms:RecipientAttestation:PCR16";
/// Actions that give a plaintext, or make one that is known.
const ATTESTABLE: &[&str] = &[
    "kms:Decrypt",
    "kms:GenerateDataKey",
    "kms:GenerateDataKeyPair",
    "kms:DeriveSharedSecret",
];
/// Ways around the above, of which no enclave has need.
const NOBODY: &[&str] = &[
    "kms:ReEncrypt*",
    "kms:CreateGrant",
    "kms:ImportKeyMaterial",
    "kms:ReplicateKey",
    "kms:GenerateDataKeyWithoutPlaintext",
    "kms:GenerateDataKeyPairWithoutPlaintext",
];
const ENCRYPT: &[&str] = &["kms:Encrypt"];
/// What an immutable key refuses, so that it can be neither opened nor lost.
const CHANGES: &[&str] = &[
    "kms:PutKeyPolicy",
    "kms:ScheduleKeyDeletion",
    "kms:DisableKey",
    "kms:DeleteImportedKeyMaterial",
    "kms:UpdatePrimaryRegion",
];
const LOOK: &[&str] = &[
    "kms:DescribeKey",
    "kms:GetKeyPolicy",
    "kms:GetKeyRotationStatus",
    "kms:ListGrants",
    "kms:ListKeyPolicies",
    "kms:ListKeyRotations",
    "kms:ListResourceTags",
];
const ADMINISTER: &[&str] = &[
    "kms:PutKeyPolicy",
    "kms:EnableKey",
    "kms:DisableKey",
    "kms:EnableKeyRotation",
    "kms:DisableKeyRotation",
    "kms:RotateKeyOnDemand",
    "kms:ScheduleKeyDeletion",
    "kms:CancelKeyDeletion",
    "kms:RevokeGrant",
    "kms:TagResource",
    "kms:UntagResource",
    "kms:UpdateKeyDescription",
];
