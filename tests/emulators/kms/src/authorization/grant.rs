//! Grants.

use std::collections::{BTreeMap, BTreeSet};

use super::Question;

/// Lets a principal use a key, whatever the policies allow; what they deny it does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) id: String,
    pub(crate) token: String,
    pub(crate) name: Option<String>,
    pub(crate) grantee: String,
    pub(crate) retiring: Option<String>,
    /// Names of [`GRANT_OPERATIONS`].
    pub(crate) operations: BTreeSet<String>,
    pub(crate) constraint: Option<Constraint>,
    pub(crate) issuing_account: String,
    pub(crate) created: i64,
}

/// On the encryption context, and on nothing else: a grant cannot ask for attestation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Constraint {
    Equals(BTreeMap<String, String>),
    Subset(BTreeMap<String, String>),
}

impl Grant {
    pub(crate) fn permits(&self, question: Question<'_>) -> bool {
        let operation = question.action.strip_prefix("kms:").unwrap_or_default();
        if !self.operations.contains(operation) || !question.caller.is_named(&self.grantee) {
            return false;
        }
        let context = question.facts.encryption_context();
        match &self.constraint {
            _ if !CONSTRAINED.contains(&operation) => true,
            None => true,
            Some(Constraint::Equals(wanted)) => wanted == context,
            Some(Constraint::Subset(wanted)) => wanted.iter().all(|(key, value)| context.get(key) == Some(value)),
        }
    }
}

/// What a grant can give.
pub(crate) const GRANT_OPERATIONS: [&str; 17] = [
    "CreateGrant",
    "Decrypt",
    "DeriveSharedSecret",
    "DescribeKey",
    "Encrypt",
    "GenerateDataKey",
    "GenerateDataKeyPair",
    "GenerateDataKeyPairWithoutPlaintext",
    "GenerateDataKeyWithoutPlaintext",
    "GenerateMac",
    "GetPublicKey",
    "ReEncryptFrom",
    "ReEncryptTo",
    "RetireGrant",
    "Sign",
    "Verify",
    "VerifyMac",
];
/// The operations that have an encryption context; the others are given without regard to a constraint.
const CONSTRAINED: [&str; 8] = [
    "Decrypt",
    "Encrypt",
    "GenerateDataKey",
    "GenerateDataKeyPair",
    "GenerateDataKeyPairWithoutPlaintext",
    "GenerateDataKeyWithoutPlaintext",
    "ReEncryptFrom",
    "ReEncryptTo",
];
