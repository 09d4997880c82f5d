//! An account's key, as the enclave's key store would have it.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair as _,
};
use enclave_acme::{NoSignature, PublicKey, Signer};

pub(crate) struct Key {
    pair: EcdsaKeyPair,
    public: PublicKey,
}

impl Key {
    pub(crate) fn p256() -> Self {
        let pair = generated(&ECDSA_P256_SHA256_FIXED_SIGNING);
        let public = PublicKey::P256(pair.public_key().as_ref()[1..].try_into().unwrap());
        Self { pair, public }
    }

    pub(crate) fn p384() -> Self {
        let pair = generated(&ECDSA_P384_SHA384_FIXED_SIGNING);
        let public = PublicKey::P384(pair.public_key().as_ref()[1..].try_into().unwrap());
        Self { pair, public }
    }
}

impl Signer for Key {
    fn public(&self) -> PublicKey {
        self.public
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, NoSignature> {
        let signature = self.pair.sign(&SystemRandom::new(), message);
        signature
            .map(|signature| signature.as_ref().to_vec())
            .map_err(|_| NoSignature)
    }
}

fn generated(algorithm: &'static EcdsaSigningAlgorithm) -> EcdsaKeyPair {
    let document = EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new()).unwrap();
    EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref()).unwrap()
}
