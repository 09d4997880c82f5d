//! The key of an account at an ACME server: it signs this service's own requests to a CA, and nothing that anybody brings.

use std::sync::Arc;

use enclave_wire::control::ControlError;
use enclave_wire::{KeyType, Mechanism, Usage};

use super::{Key, KeyError};

/// An account's key, which is P-256.
#[derive(Clone)]
pub(crate) struct AccountKey {
    key: Arc<Key>,
    /// `x ‖ y`.
    point: [u8; 64],
}

impl AccountKey {
    /// This key, if it is an account's.
    pub(crate) fn of(key: Arc<Key>) -> Result<Self, ControlError> {
        if key.usage() != Usage::AcmeAccount || key.entry().key_type != KeyType::P256 {
            return Err(ControlError::AccountKey);
        }
        // RFC 5480: the point ends the SubjectPublicKeyInfo.
        let spki = key.signing().spki().as_bytes();
        let point = *spki.last_chunk().ok_or(ControlError::Failed)?;
        Ok(Self { key, point })
    }

    /// Its point on the curve, `x ‖ y`.
    pub(crate) fn point(&self) -> [u8; 64] {
        self.point
    }

    /// An ES256 signature (RFC 7518, section 3.4), `r ‖ s`.
    pub(crate) fn es256(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let signing = self.key.signing();
        let signature = signing.sign_unrestricted(Mechanism::EcdsaSha256, message);
        signature.map_err(|_| KeyError::Library)
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
    use enclave_wire::control::Origin;

    use super::super::{Change, KeyStore, NewKey, SigningKey};
    use super::*;

    fn key(usage: Usage, key_type: KeyType) -> Arc<Key> {
        let store = KeyStore::default();
        let planned = store.plan(Change::Insert(Box::new(NewKey {
            signing: SigningKey::generate(key_type).unwrap(),
            name: "an-account".parse().unwrap(),
            usage,
            origin: Origin::Born,
            dns_names: Vec::new().try_into().unwrap(),
            clients: Vec::new().try_into().unwrap(),
            chain: None,
            sealed: None,
        })));
        store.commit(planned.unwrap()).unwrap()
    }

    #[test]
    fn it_signs_for_its_own_point() {
        let account = AccountKey::of(key(Usage::AcmeAccount, KeyType::P256)).unwrap();
        let signature = account.es256(b"protected.payload").unwrap();
        assert_eq!(signature.len(), 64);
        let point = [&[4], account.point().as_slice()].concat();
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
        public.verify(b"protected.payload", &signature).unwrap();
    }

    #[test]
    fn no_other_key_is_an_accounts() {
        for (usage, key_type) in [
            (Usage::Tls, KeyType::P256),
            (Usage::Digest, KeyType::P256),
            (Usage::AcmeAccount, KeyType::P384),
        ] {
            let refused = AccountKey::of(key(usage, key_type)).map(|_| ());
            assert_eq!(refused, Err(ControlError::AccountKey), "{usage} {key_type}");
        }
    }

    /// threat_40: no mechanism, so no client could make it sign even if it had one.
    #[test]
    fn threat_40_an_accounts_key_signs_nothing_that_is_asked_for() {
        let key = key(Usage::AcmeAccount, KeyType::P256);
        for mechanism in Mechanism::ALL {
            for input in [vec![0; 32], b"protected.payload".to_vec()] {
                let refused = key.signing().sign(key.usage(), *mechanism, &input);
                assert!(refused.is_err(), "{mechanism:?}");
            }
        }
    }
}
