//! Cryptoki's mechanisms and their parameters, and the service's.

use cryptoki_sys as ck;
use cryptoki_sys::{CK_FLAGS, CK_MECHANISM_INFO, CK_MECHANISM_TYPE, CK_ULONG};
use enclave_wire::mechanism::{Input, MAX_DIGEST, MAX_INPUT, Scheme};
use enclave_wire::{Hash, Mechanism};

use super::error::Error;

/// Every mechanism that the module offers. Providers fail RSA where the hashing forms are missing, and send a whole message only where
/// they are listed.
pub(super) const OFFERED: [CK_MECHANISM_TYPE; 13] = [
    ck::CKM_RSA_PKCS,
    ck::CKM_SHA256_RSA_PKCS,
    ck::CKM_SHA384_RSA_PKCS,
    ck::CKM_SHA512_RSA_PKCS,
    ck::CKM_RSA_PKCS_PSS,
    ck::CKM_SHA256_RSA_PKCS_PSS,
    ck::CKM_SHA384_RSA_PKCS_PSS,
    ck::CKM_SHA512_RSA_PKCS_PSS,
    ck::CKM_ECDSA,
    ck::CKM_ECDSA_SHA256,
    ck::CKM_ECDSA_SHA384,
    ck::CKM_ECDSA_SHA512,
    ck::CKM_EDDSA,
];

/// What `C_GetMechanismInfo` says.
pub(super) fn info(kind: CK_MECHANISM_TYPE) -> Result<CK_MECHANISM_INFO, Error> {
    const CURVE: CK_FLAGS = ck::CKF_EC_F_P | ck::CKF_EC_NAMEDCURVE | ck::CKF_EC_UNCOMPRESS;
    let (smallest, largest, flags) = match kind {
        _ if !OFFERED.contains(&kind) => return Err(Error::MechanismInvalid),
        ck::CKM_EDDSA => (255, 255, ck::CKF_SIGN | ck::CKF_EC_F_P | ck::CKF_EC_CURVENAME),
        ck::CKM_ECDSA | ck::CKM_ECDSA_SHA256 | ck::CKM_ECDSA_SHA384 | ck::CKM_ECDSA_SHA512 => {
            (256, 521, ck::CKF_SIGN | CURVE)
        }
        _ => (2048, 8192, ck::CKF_SIGN),
    };
    Ok(CK_MECHANISM_INFO {
        ulMinKeySize: smallest,
        ulMaxKeySize: largest,
        flags,
    })
}

/// The service's mechanism that a caller's stands for. The parameter is the bytes that the caller points at.
pub(super) fn select(kind: CK_MECHANISM_TYPE, parameter: &[u8]) -> Result<Mechanism, Error> {
    let mechanism = match kind {
        ck::CKM_RSA_PKCS_PSS => match pss_hash(parameter)? {
            Hash::Sha256 => Mechanism::RsaPssDigestSha256,
            Hash::Sha384 => Mechanism::RsaPssDigestSha384,
            Hash::Sha512 => Mechanism::RsaPssDigestSha512,
        },
        _ => *Mechanism::ALL
            .iter()
            .find(|mechanism| kind_of(**mechanism) == kind)
            .ok_or(Error::MechanismInvalid)?,
    };
    match (mechanism.scheme(), mechanism.input()) {
        (Scheme::RsaPss, Input::Message(hash)) if pss_hash(parameter)? != hash => Err(Error::MechanismParamInvalid),
        (Scheme::RsaPss, _) => Ok(mechanism),
        (Scheme::Ed25519, _) if is_pure(parameter) => Ok(mechanism),
        (Scheme::RsaPkcs1 | Scheme::Ecdsa, _) if parameter.is_empty() => Ok(mechanism),
        (Scheme::RsaPkcs1 | Scheme::Ecdsa | Scheme::Ed25519, _) => Err(Error::MechanismParamInvalid),
    }
}

/// The caller's mechanism that one of the service's stands for.
pub(super) const fn kind_of(mechanism: Mechanism) -> CK_MECHANISM_TYPE {
    match mechanism {
        Mechanism::RsaPkcs1 => ck::CKM_RSA_PKCS,
        Mechanism::RsaPkcs1Sha256 => ck::CKM_SHA256_RSA_PKCS,
        Mechanism::RsaPkcs1Sha384 => ck::CKM_SHA384_RSA_PKCS,
        Mechanism::RsaPkcs1Sha512 => ck::CKM_SHA512_RSA_PKCS,
        Mechanism::RsaPssDigestSha256 | Mechanism::RsaPssDigestSha384 | Mechanism::RsaPssDigestSha512 => {
            ck::CKM_RSA_PKCS_PSS
        }
        Mechanism::RsaPssSha256 => ck::CKM_SHA256_RSA_PKCS_PSS,
        Mechanism::RsaPssSha384 => ck::CKM_SHA384_RSA_PKCS_PSS,
        Mechanism::RsaPssSha512 => ck::CKM_SHA512_RSA_PKCS_PSS,
        Mechanism::Ecdsa => ck::CKM_ECDSA,
        Mechanism::EcdsaSha256 => ck::CKM_ECDSA_SHA256,
        Mechanism::EcdsaSha384 => ck::CKM_ECDSA_SHA384,
        Mechanism::EcdsaSha512 => ck::CKM_ECDSA_SHA512,
        Mechanism::Ed25519 => ck::CKM_EDDSA,
    }
}

/// Whether a mechanism takes an input of this length. Refused here, it costs no round trip.
pub(super) fn takes(mechanism: Mechanism, length: usize) -> bool {
    match mechanism.input() {
        Input::DigestInfo => Hash::ALL
            .iter()
            .any(|hash| length == hash.digest_info_prefix().len().saturating_add(hash.digest_len())),
        Input::Digest(hash) => length == hash.digest_len(),
        Input::AnyDigest => (1..=MAX_DIGEST).contains(&length),
        Input::Message(_) | Input::PureMessage => length <= MAX_INPUT,
    }
}

/// `CK_RSA_PKCS_PSS_PARAMS`: one hash for the message and for MGF1, and a salt as long as it.
fn pss_hash(parameter: &[u8]) -> Result<Hash, Error> {
    let [hash, mgf, salt_len] = words(parameter)?;
    Hash::ALL
        .iter()
        .copied()
        .find(|known| {
            let (message_hash, mask) = match known {
                Hash::Sha256 => (ck::CKM_SHA256, ck::CKG_MGF1_SHA256),
                Hash::Sha384 => (ck::CKM_SHA384, ck::CKG_MGF1_SHA384),
                Hash::Sha512 => (ck::CKM_SHA512, ck::CKG_MGF1_SHA512),
            };
            (hash, mgf) == (message_hash, mask) && usize::try_from(salt_len) == Ok(known.digest_len())
        })
        .ok_or(Error::MechanismParamInvalid)
}

/// No parameter, or a `CK_EDDSA_PARAMS` that asks for neither a prehash nor a context. Its flag is one byte, padded to a word.
fn is_pure(parameter: &[u8]) -> bool {
    match words(parameter) {
        Ok([_, context_len, _]) => parameter.first() == Some(&ck::CK_FALSE) && context_len == 0,
        Err(_) => parameter.is_empty(),
    }
}

/// Both structures are three words in a row.
fn words(parameter: &[u8]) -> Result<[CK_ULONG; 3], Error> {
    let (words, rest) = parameter.as_chunks::<8>();
    match (words, rest) {
        ([a, b, c], []) => Ok([a, b, c].map(|word| CK_ULONG::from_ne_bytes(*word))),
        _ => Err(Error::MechanismParamInvalid),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pss(hash: CK_MECHANISM_TYPE, mgf: CK_ULONG, salt: CK_ULONG) -> Vec<u8> {
        [hash, mgf, salt].iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    #[test]
    fn everything_the_service_signs_with_is_offered() {
        for mechanism in Mechanism::ALL {
            assert!(OFFERED.contains(&kind_of(*mechanism)));
        }
        assert!(OFFERED.iter().all(|kind| info(*kind).is_ok()));
        assert_eq!(info(ck::CKM_RSA_X_509).err(), Some(Error::MechanismInvalid));
        assert_eq!(select(ck::CKM_RSA_X_509, &[]), Err(Error::MechanismInvalid));
    }

    #[test]
    fn pss_takes_one_hash_and_a_salt_as_long() {
        let good = pss(ck::CKM_SHA384, ck::CKG_MGF1_SHA384, 48);
        assert_eq!(select(ck::CKM_RSA_PKCS_PSS, &good), Ok(Mechanism::RsaPssDigestSha384));
        assert_eq!(select(ck::CKM_SHA384_RSA_PKCS_PSS, &good), Ok(Mechanism::RsaPssSha384));
        for (kind, bad) in [
            (ck::CKM_RSA_PKCS_PSS, vec![]),
            (ck::CKM_SHA384_RSA_PKCS_PSS, vec![]),
            (ck::CKM_SHA256_RSA_PKCS_PSS, good.clone()),
            (ck::CKM_RSA_PKCS_PSS, good[..23].to_vec()),
            (ck::CKM_RSA_PKCS_PSS, pss(ck::CKM_SHA256, ck::CKG_MGF1_SHA384, 32)),
            (ck::CKM_RSA_PKCS_PSS, pss(ck::CKM_SHA256, ck::CKG_MGF1_SHA256, 20)),
            (ck::CKM_RSA_PKCS_PSS, pss(ck::CKM_SHA_1, ck::CKG_MGF1_SHA1, 20)),
            (ck::CKM_ECDSA_SHA256, vec![0]),
        ] {
            assert_eq!(
                select(kind, &bad),
                Err(Error::MechanismParamInvalid),
                "{kind:#x} {bad:?}"
            );
        }
    }

    #[test]
    fn eddsa_is_pure_and_without_context() {
        assert_eq!(select(ck::CKM_EDDSA, &[]), Ok(Mechanism::Ed25519));
        assert_eq!(select(ck::CKM_EDDSA, &pss(0, 0, 0)), Ok(Mechanism::Ed25519));
        for bad in [pss(1, 0, 0), pss(0, 3, 0), vec![0], vec![0; 32]] {
            assert_eq!(select(ck::CKM_EDDSA, &bad), Err(Error::MechanismParamInvalid));
        }
    }

    #[test]
    fn lengths_are_known_before_the_service_is_asked() {
        for (mechanism, good, bad) in [
            (Mechanism::Ecdsa, vec![1, 20, 32, 64], vec![0, 65]),
            (Mechanism::RsaPssDigestSha256, vec![32], vec![0, 31, 33, 64]),
            (Mechanism::RsaPkcs1, vec![51, 67, 83], vec![0, 32, 35, 36]),
            (Mechanism::EcdsaSha256, vec![0, 130, MAX_INPUT], vec![MAX_INPUT + 1]),
        ] {
            assert!(good.iter().all(|length| takes(mechanism, *length)));
            assert!(!bad.iter().any(|length| takes(mechanism, *length)));
        }
    }
}
