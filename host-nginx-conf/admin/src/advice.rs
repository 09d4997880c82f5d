//! What went wrong, and what to do next, in a sentence: for every error that the enclave or the agent may answer.

use enclave_wire::control::ControlError;

use crate::protocol::Unable;

/// One sentence for each rule of the control plane.
pub fn refused(error: ControlError) -> &'static str {
    match error {
        ControlError::Malformed => {
            "the service did not understand the request; install enclave-tlsctl and the service from the same release"
        }
        ControlError::Version => {
            "the service speaks another version of the protocol; install enclave-tlsctl and the service from the same release"
        }
        ControlError::PolicyFirst => {
            "the service still waits for its policy; look at the agent's log, correct it, and restart the agent"
        }
        ControlError::PolicyAlreadySet => {
            "the service has a policy since its start; to change it, edit policy.toml and restart the service"
        }
        ControlError::PolicyInvalid => {
            "the policy is not valid or has an unknown key; the service's log names the line: correct policy.toml and start \
             the agent again"
        }
        ControlError::NoSuchKey => "the service has no such key; `enclave-tlsctl list` shows those that it has",
        ControlError::KeyExists => {
            "the service already holds a key with this public key; use that one, or retire it first"
        }
        ControlError::LimitReached => {
            "the service holds as many keys, clients or generations as it may; retire keys that are no longer used"
        }
        ControlError::Failed => "the service failed; its log says why",
        ControlError::MemoryFull => {
            "the enclave has no memory for more keys, and those that it has go on signing; give it more (`memory_mib`, or --memory of \
             `nitro-cli run-enclave`), or retire keys that are no longer used"
        }
        ControlError::ClockSourceRefused => {
            "the policy asks for kvm-clock, and the enclave's kernel counts time by another source; only in a lab, set any_source = \
             true under [clock] and restart the service"
        }
        ControlError::NameRefused => {
            "no name pattern of the policy matches this name; choose another name, or add a pattern and restart the service"
        }
        ControlError::UsageRefused => {
            "the policy does not allow this usage for this name; choose a narrower usage, or change the policy and restart the \
             service"
        }
        ControlError::KeyTypeRefused => {
            "the policy does not allow this type or size of key; choose another, or change the policy and restart the service"
        }
        ControlError::ImportsRefused => {
            "the policy does not allow imports; create the key inside with `enclave-tlsctl create`, or change the policy and \
             restart the service"
        }
        ControlError::NotNarrower => {
            "a usage can only be narrowed, from digest to tls or tls-client; for another usage, create a new key"
        }
        ControlError::NoSuchClient => {
            "a client that was named has no credential; make one first with `enclave-tlsctl credential NAME --out FILE`"
        }
        ControlError::KeyInvalid => {
            "it is not a valid private key in PKCS#8; test it with `openssl pkey -in KEY.pem -check -noout`"
        }
        ControlError::SizeNotGenerated => {
            "the service creates RSA keys of 2048, 3072, 4096 or 8192 bits only; choose one of these"
        }
        ControlError::SealingRefused => {
            "the policy names no KMS key for sealed state; leave --sealed out, or name one under [sealing] and restart the service"
        }
        ControlError::KmsKeyRefused => {
            "the policy does not allow this KMS key, or its ARN is not one of the form arn:aws:kms:REGION:ACCOUNT:key/ID; name \
             one that the policy allows"
        }
        ControlError::ForeignBundleRefused => {
            "the bundle has no encryption context and the policy takes none such; make it with `enclave-tlsctl seal`, or set \
             foreign = true under [bundles]"
        }
        ControlError::RegionRefused => {
            "the policy does not allow S3 objects of this region; copy the object to one that it allows, or change the policy"
        }
        ControlError::SealedOtherwise => {
            "the generations of a name are sealed all or none, and in one group; give --sealed as `list` shows it for this name"
        }
        ControlError::CertificateInvalid => {
            "a certificate of the chain is not valid X.509; look at it with `openssl x509 -noout -text`"
        }
        ControlError::ChainKeyMismatch => {
            "the leaf certificate is for another key; put the leaf first, and use the one issued for this key's request"
        }
        ControlError::ChainOrder => {
            "a certificate's issuer is not the next certificate; order the chain leaf first, each followed by its issuer"
        }
        ControlError::ChainSignature => {
            "a certificate is not signed by the next one; use the issuer's certificate with the key that signed it"
        }
        ControlError::ChainAlgorithm => {
            "a certificate of the chain is signed by an algorithm that clients refuse, such as SHA-1; have it issued with SHA-256, SHA-384 \
             or SHA-512, by RSA, ECDSA or Ed25519"
        }
        ControlError::ChainIssuerKey => {
            "an issuer's key is too weak or of another kind; have the leaf issued under RSA of 2048 to 8192 bits, P-256, P-384, P-521 or \
             Ed25519"
        }
        ControlError::ChainNotCa => {
            "an issuer in the chain is not a CA or may not sign certificates; use the CA's own certificate"
        }
        ControlError::ChainPathLength => {
            "an issuer in the chain allows fewer CAs below it; have the certificate issued by a CA that may"
        }
        ControlError::ChainExtendedKeyUsage => {
            "the leaf's extended key usage does not fit the key's usage; have it issued for server authentication (for \
             tls-client: client authentication)"
        }
        ControlError::ChainNames => {
            "the leaf's DNS names are not those given with the key; have it issued for exactly these, or create a key with the \
             right --dns-name"
        }
        ControlError::ChainNotYetValid => {
            "a certificate of the chain is not valid yet; wait until it is, or correct the clock"
        }
        ControlError::ChainExpired => "a certificate of the chain has expired; have it issued again",
        ControlError::ChainIncomplete => {
            "the leaf comes without its issuer; append the issuer's certificate to the file"
        }
        ControlError::ChainCriticalExtension => {
            "a certificate has a critical extension that the service does not understand; have it issued without it"
        }
        ControlError::BundleInvalid => {
            "it is not a bundle, or the key in it does not fit its certificate; make it again with `enclave-tlsctl seal`"
        }
        ControlError::BundleName => {
            "the bundle was made for another name; provision it under that name, or make another bundle"
        }
        ControlError::StateInvalid => {
            "the sealed state is damaged or was sealed by something else; put back the file that the agent stored last, or \
             create the keys anew"
        }
        ControlError::StateRollback => {
            "the service has another state of this name, or a newer one; the file stays as it is, and no new state takes its place until \
             you move it out of the directory"
        }
        ControlError::StateNotStored => {
            "the agent did not store the sealed state, so nothing was changed; the agent's log says why"
        }
        ControlError::CredentialsMissing => {
            "the service has no AWS credentials, or they have ended; the agent finds some where its configuration has a section [aws] and \
             its role has some"
        }
        ControlError::AwsUnavailable => {
            "AWS did not answer; try again, and look at the `egress` lines of `enclave-tlsctl stats` if it stays so"
        }
        ControlError::AwsDenied => {
            "KMS or S3 refused; compare the key's policy with the service's PCRs (`enclave-tlsctl policy lint`), and look at the \
             role's permissions"
        }
        ControlError::EgressRefused => {
            "the service may not reach the AWS host; add it to `allow` under [egress] in the agent's configuration, and reload the agent"
        }
        ControlError::CiphertextInvalid => {
            "KMS cannot open this ciphertext; it was made under another KMS key, for another name, or was changed: make it again"
        }
        ControlError::AwsReplyInvalid => {
            "the answer is not what KMS gives to an attested request; find out who answers in its place"
        }
        ControlError::NoSuchObject => "S3 has no such object; look at its bucket, its key and its region",
        ControlError::AttestationFailed => {
            "the NSM did not attest, or the policy has no [attestation]; the service's log says which"
        }
        ControlError::DirectoryRefused => {
            "the policy in force does not allow this ACME directory; add it, with its roots, to [[acme]] of the policy"
        }
        ControlError::AccountKey => {
            "an ACME account's key and a certificate's key are not of one kind; name one of the kind that is asked for"
        }
        ControlError::ResolverRefused => "the policy names no resolver; add [dns] to it",
        ControlError::NoCertificate => "the key has no certificate yet; install one, or wait for its order",
    }
}

/// One sentence for each reason why the enclave did not answer.
pub fn unable(why: Unable) -> &'static str {
    match why {
        Unable::Malformed => "the agent did not understand the request; restart it with this version of enclave-tlsctl",
        Unable::Away => "the service is not connected to the agent; start it, or look at its log",
        Unable::Replaying => "the service has just started and the agent is still replaying its directory; try again",
        Unable::PolicyRefused => {
            "the service is not open, for the agent could not give it policy.toml; correct that file and restart the agent"
        }
        Unable::Busy => "the agent is busy with other commands; try again",
        Unable::Deadline => {
            "the service did not answer in time; it may have done what was asked: see `enclave-tlsctl list`"
        }
        Unable::Cut => {
            "the connection to the service ended before its answer; it may have done what was asked: see `enclave-tlsctl list`"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_error_has_a_sentence_of_its_own_that_says_what_to_do() {
        let sentences: Vec<_> = ControlError::ALL.iter().map(|error| refused(*error)).collect();
        for (sentence, error) in sentences.iter().zip(ControlError::ALL) {
            assert!(sentence.contains(';'), "{error:?}: what is wrong; what to do");
            assert!(
                !sentence.contains('\n') && !sentence.ends_with('.') && sentence.len() < 200,
                "{error:?}"
            );
        }
        assert_eq!(sentences.iter().collect::<HashSet<_>>().len(), ControlError::ALL.len());
    }
}
