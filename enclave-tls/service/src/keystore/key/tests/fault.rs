//! Threat 44: a fault in an RSA signature gives an error, and no bytes.
//!
//! Where the library checks: every private operation of RSA ends in `rsa_default_private_transform` (aws-lc,
//! `crypto/fipsmodule/rsa/rsa_impl.c`), which raises the result to the public exponent, compares it with what was to be signed, and
//! only then writes the signature. It skips this only for a key without a public exponent, which is refused at import. At load,
//! `RSA_check_key` has compared all numbers with one another (`import.rs` flips a bit in each of them).

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{KeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaKeyPair};
use enclave_wire::signing::SignError;
use enclave_wire::{KeyId, Mechanism, Spki, Usage};

use super::super::{KeyError, PrivateKey, SigningKey};
use super::vector;

/// A factor that is not prime passes all checks of the numbers, and yet the two halves of the result (modulo p and q) do not
/// combine to a signature: the same as a fault in one of them, which is what gives a factor away (Boneh, DeMillo, Lipton).
#[test]
fn threat_44_a_wrong_half_of_a_signature_never_comes_out() {
    let pair = RsaKeyPair::from_pkcs8(vector!("rsa-composite-factor")).unwrap();
    for round in 0u8..20 {
        let digest = digest(&SHA256, &[round]);
        for encoding in [&RSA_PKCS1_SHA256, &RSA_PSS_SHA256] {
            let mut signature = [0; 256];
            assert!(pair.sign_digest(encoding, &digest, &mut signature).is_err());
            assert_eq!(signature, [0; 256]);
        }
    }
}

#[test]
fn threat_44_a_faulty_key_answers_failed() {
    let pair = RsaKeyPair::from_pkcs8(vector!("rsa-composite-factor")).unwrap();
    let public = pair.public_key().as_ref().to_vec();
    let key = SigningKey {
        private: PrivateKey::Rsa(pair),
        key_type: "RSA-2048".parse().unwrap(),
        spki: Spki::try_from(public).unwrap(),
        id: KeyId([0; 32]),
    };
    for mechanism in [Mechanism::RsaPkcs1Sha256, Mechanism::RsaPssSha512] {
        assert_eq!(key.sign(Usage::Digest, mechanism, b"message"), Err(SignError::Failed));
    }
    assert_eq!(key.prove(), Err(KeyError::Inconsistent));
}
