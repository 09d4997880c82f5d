//! What can be wrong with a key: a name that does not change, a sentence, advice.

/// What lint found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) name: Name,
    pub(crate) severity: Severity,
    /// Who, which statement or which grant.
    pub(crate) about: Vec<String>,
}

/// How bad it is. Anything above a note makes lint fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Severity {
    Note,
    Warning,
    Error,
}

/// What the key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Role {
    /// The enclave seals its own keys to it.
    Sealing,
    /// Bundles are encrypted under it.
    Bundles,
}

macro_rules! names {
    ($($variant:ident $text:literal $severity:ident $sentence:literal $advice:literal;)*) => {
        /// The name of a finding.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Name { $($variant),* }

        impl Name {
            /// Its text, which scripts may compare.
            pub(crate) fn text(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }

            pub(crate) fn severity(self) -> Severity {
                match self { $(Self::$variant => Severity::$severity),* }
            }

            pub(crate) fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $sentence),* }
            }

            pub(crate) fn advice(self) -> &'static str {
                match self { $(Self::$variant => $advice),* }
            }

            #[cfg(test)]
            pub(crate) const ALL: &'static [Self] = &[$(Self::$variant),*];
        }
    };
}

names! {
    UnattestedDecrypt "unattested-decrypt" Error
        "these may decrypt outside of an enclave, and so read every private key under this KMS key"
        "deny kms:Decrypt to everyone where kms:RecipientAttestation:ImageSha384 differs, and again for PCR16 (policy generate does)";
    UnattestedDeriveSharedSecret "unattested-derive-shared-secret" Error
        "these may derive shared secrets outside of an enclave"
        "deny kms:DeriveSharedSecret as kms:Decrypt is denied";
    ForgeByGenerateDataKey "forge-by-generate-data-key" Error
        "these may make a data key outside of an enclave, know it, and forge sealed state with it"
        "deny kms:GenerateDataKey as kms:Decrypt is denied";
    ForgeByGenerateDataKeyPair "forge-by-generate-data-key-pair" Error
        "these may make a key pair under this KMS key outside of an enclave, and know its private key"
        "deny kms:GenerateDataKeyPair as kms:Decrypt is denied";
    DebugAllowed "debug-allowed" Error
        "an enclave in debug mode may use the key, and its memory is no secret to the parent instance"
        "remove the PCR0 that is all zero";
    OtherImageAllowed "other-image-allowed" Error
        "an enclave of any other image may use the key"
        "deny where kms:RecipientAttestation:ImageSha384 is none of the images that you built";
    OtherPolicyAllowed "other-policy-allowed" Error
        "an enclave of the right image may use the key under any policy that its parent instance gives it"
        "deny where kms:RecipientAttestation:PCR16 is not that of the policy (policy pcr16)";
    CrossPairAllowed "cross-pair-allowed" Error
        "one image may use the key under the policy that was meant for another"
        "for each image, deny where PCR16 is not its own (policy generate --measured PCR0:PCR16 does)";
    EnclaveDenied "enclave-denied" Error
        "an enclave that is expected to use the key may not"
        "allow its role and its pair of PCR0 and PCR16; compare the digits with policy pcr16 and nitro-cli's Measurements";
    EncryptAllowed "encrypt-allowed" Error
        "these may encrypt under the key, and so forge what the enclave takes for its own sealed state"
        "deny kms:Encrypt to everyone: the enclave seals with data keys and never calls it";
    ReencryptFrom "reencrypt-from" Error
        "these may re-encrypt a ciphertext from this key to one of their own, and decrypt it there"
        "deny kms:ReEncrypt* to everyone";
    ReencryptTo "reencrypt-to" Error
        "these may re-encrypt what they know to this key, and so forge what the enclave opens"
        "deny kms:ReEncrypt* to everyone";
    GenerateWithoutPlaintext "generate-without-plaintext" Warning
        "these may have KMS make wrapped keys that no enclave asked for"
        "deny kms:GenerateDataKeyWithoutPlaintext and kms:GenerateDataKeyPairWithoutPlaintext to everyone";
    CreateGrantAllowed "create-grant-allowed" Warning
        "these may make grants, which no policy shows and whose constraints know no attestation"
        "deny kms:CreateGrant to everyone";
    ImportKeyMaterialAllowed "import-key-material-allowed" Error
        "these may import key material, of which they can keep a copy"
        "deny kms:ImportKeyMaterial to everyone";
    ReplicateAllowed "replicate-allowed" Error
        "these may replicate the key to another region, under a policy of their own"
        "deny kms:ReplicateKey to everyone, or use a key of a single region";
    PolicyCanBeChanged "policy-can-be-changed" Note
        "these may change the policy, and with it everything else that is said here"
        "as long as that is so, sealed keys are yours and theirs; policy generate --immutable ends it, and says at what price";
    ParentCanChangePolicy "parent-can-change-policy" Error
        "these ask for the enclave and may change the policy too: root on the parent instance is one of them"
        "let another role administer the key";
    GrantDecrypt "grant-decrypt" Error
        "a grant lets its grantee decrypt, or derive shared secrets, without attestation"
        "revoke it (aws kms revoke-grant), and deny un-attested kms:Decrypt, which beats grants";
    GrantForge "grant-forge" Error
        "a grant lets its grantee make data keys or encrypt without attestation, and so forge sealed state"
        "revoke it (aws kms revoke-grant), and deny these actions, which beats grants";
    GrantReencrypt "grant-reencrypt" Error
        "a grant lets its grantee re-encrypt from or to this key"
        "revoke it (aws kms revoke-grant), and deny kms:ReEncrypt*, which beats grants";
    GrantCreateGrant "grant-create-grant" Warning
        "a grant lets its grantee make further grants"
        "revoke it (aws kms revoke-grant), and deny kms:CreateGrant, which beats grants";
    NotPrincipal "not-principal" Warning
        "a statement allows everyone whom it does not name"
        "name whom it is for, with Principal";
    WildcardPrincipal "wildcard-principal" Warning
        "a statement allows everyone, of any account"
        "name whom it is for; conditions that are forgotten later are then no hole";
    NotAction "not-action" Warning
        "a statement allows every action that it does not name, those that AWS adds later too"
        "name the actions that it is for";
    IneffectiveStatement "ineffective-statement" Error
        "a statement has no Action or no Resource: KMS stores it, and it has no effect"
        "add \"Resource\": \"*\", or the actions";
    ImportedMaterial "imported-material" Error
        "the key's material was imported: whoever made it may have a copy"
        "use a key whose material KMS made (Origin AWS_KMS)";
    CustomKeyStore "custom-key-store" Warning
        "the key's material is in a key store outside of KMS, whose administrators are further people to trust"
        "use a key of KMS itself (Origin AWS_KMS)";
    MultiRegionReplica "multi-region-replica" Warning
        "the key is a multi-region key: each replica has a policy of its own, which this one does not bind"
        "use a key of a single region, or lint every replica";
    WrongKeySpec "wrong-key-spec" Error
        "the key is not a symmetric one: nothing can be sealed to it or bundled under it"
        "make one of KeySpec SYMMETRIC_DEFAULT";
    KeyNotEnabled "key-not-enabled" Warning
        "the key is not enabled"
        "enable it (aws kms enable-key, cancel-key-deletion)";
    AwsManaged "aws-managed" Error
        "AWS manages the key: its policy is AWS's, and cannot name your enclave"
        "make a customer managed key";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_finding_has_a_name_a_sentence_and_advice_of_its_own() {
        let texts: BTreeSet<_> = Name::ALL.iter().map(|name| name.text()).collect();
        let sentences: BTreeSet<_> = Name::ALL.iter().map(|name| name.sentence()).collect();
        assert_eq!((texts.len(), sentences.len()), (Name::ALL.len(), Name::ALL.len()));
        for name in Name::ALL {
            assert!(!name.advice().is_empty());
        }
    }
}
