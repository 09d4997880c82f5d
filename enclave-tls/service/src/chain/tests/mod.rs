//! Chains that are taken, and one vector for each rule that a chain can break.

mod forge;
mod openssl;
mod refused;

use enclave_wire::control::ControlError;
use enclave_wire::identity::Certificate;
use enclave_wire::{Chain, DnsName, Hash, Spki, Usage};

use super::signature::{IssuerKey, Scheme, verification};
use super::{ValidChain, oid, validate};
use forge::{Draft, Signer, dns_names, purposes};

/// 2026-06-01 00:00:00 UTC: within the validity of what the forge makes.
const NOW: i64 = 1_780_272_000;

fn names() -> Vec<DnsName> {
    ["*.b.example", "a.example"].map(|name| name.parse().unwrap()).into()
}

fn chain(certificates: &[&[u8]]) -> Chain {
    let certificates = certificates
        .iter()
        .map(|der| Certificate::try_from(der.to_vec()).unwrap())
        .collect::<Vec<_>>();
    Chain::try_from(certificates).unwrap()
}

/// Looks at a chain as one for a `tls` key with the names of the forge's leaf.
fn validated(certificates: &[&[u8]], spki: &Spki) -> Result<ValidChain, ControlError> {
    validate(&chain(certificates), spki, Usage::Tls, &names(), NOW)
}

/// A leaf's key, an intermediate and a root, and their certificates.
struct Hierarchy {
    key: Signer,
    intermediate: Signer,
    root: Signer,
}

impl Hierarchy {
    fn new() -> Self {
        Self {
            key: Signer::p256(),
            intermediate: Signer::p256(),
            root: Signer::p256(),
        }
    }

    fn leaf(&self) -> Draft {
        Draft::leaf(self.key.spki(), "intermediate")
    }

    fn intermediate(&self) -> Draft {
        Draft::issuer("intermediate", "root", self.intermediate.spki())
    }

    fn root(&self) -> Draft {
        Draft::issuer("root", "root", self.root.spki())
    }

    /// Leaf, intermediate and root, signed as they should be.
    fn certificates(&self) -> [Vec<u8>; 3] {
        [
            self.leaf().signed_by(&self.intermediate),
            self.intermediate().signed_by(&self.root),
            self.root().signed_by(&self.root),
        ]
    }

    /// What becomes of the chain with another leaf.
    fn with_leaf(&self, leaf: &Draft, usage: Usage, names: &[DnsName]) -> Result<ValidChain, ControlError> {
        let [_, intermediate, _] = self.certificates();
        let chain = chain(&[&leaf.signed_by(&self.intermediate), &intermediate]);
        validate(&chain, &self.key.spki(), usage, names, NOW)
    }

    /// What becomes of the chain with another intermediate.
    fn with_intermediate(&self, intermediate: &Draft) -> Result<ValidChain, ControlError> {
        let [leaf, _, root] = self.certificates();
        validated(&[&leaf, &intermediate.signed_by(&self.root), &root], &self.key.spki())
    }
}

#[test]
fn a_root_may_end_a_chain_and_is_not_served() {
    let hierarchy = Hierarchy::new();
    let [leaf, intermediate, root] = hierarchy.certificates();
    let spki = hierarchy.key.spki();
    let served = validated(&[&leaf, &intermediate, &root], &spki).unwrap();
    assert_eq!(served.served, chain(&[&leaf, &intermediate]));
    assert_eq!(validated(&[&leaf, &intermediate], &spki), Ok(served));
}

#[test]
fn a_leaf_from_a_root_is_served_alone() {
    let hierarchy = Hierarchy::new();
    let leaf = Draft::leaf(hierarchy.key.spki(), "root").signed_by(&hierarchy.root);
    let root = hierarchy.root().signed_by(&hierarchy.root);
    let valid = validated(&[&leaf, &root], &hierarchy.key.spki()).unwrap();
    assert_eq!(valid.served, chain(&[&leaf]));
}

#[test]
fn the_validity_is_the_leafs() {
    let hierarchy = Hierarchy::new();
    let mut leaf = hierarchy.leaf();
    (leaf.not_before, leaf.not_after) = ("260531235959Z", "20500101000000Z");
    let valid = hierarchy.with_leaf(&leaf, Usage::Tls, &names()).unwrap().validity;
    assert_eq!((valid.not_before, valid.not_after), (NOW - 1, 2_524_608_000));
}

#[test]
fn every_algorithm_of_an_issuer_is_verified() {
    let mut signers = vec![Signer::p256(), Signer::p384(), Signer::p521(), Signer::ed25519()];
    for hash in Hash::ALL {
        signers.extend([Signer::rsa(*hash, false), Signer::rsa(*hash, true)]);
    }
    let key = Signer::p256();
    for signer in signers {
        let issuer = Draft::issuer("root", "root", signer.spki()).signed_by(&signer);
        let leaf = Draft::leaf(key.spki(), "root").signed_by(&signer);
        assert!(validated(&[&leaf, &issuer], &key.spki()).is_ok());
        let mut broken = leaf.clone();
        *broken.last_mut().unwrap() ^= 1;
        assert_eq!(
            validated(&[&broken, &issuer], &key.spki()),
            Err(ControlError::ChainSignature)
        );
    }
}

#[test]
fn a_curve_goes_with_any_hash_of_sha2_in_a_certificate() {
    let curves: [fn() -> Signer; 3] = [Signer::p256, Signer::p384, Signer::p521];
    for spki in curves.map(|make| make().spki()) {
        let key = IssuerKey::of(spki.as_bytes()).unwrap();
        for hash in Hash::ALL {
            assert!(verification(Scheme::Ecdsa(*hash), key).is_some(), "{key:?} {hash:?}");
        }
    }
}

#[test]
fn a_client_key_wants_client_auth_and_may_have_no_names() {
    let hierarchy = Hierarchy::new();
    let client = hierarchy
        .leaf()
        .with(oid::EXTENDED_KEY_USAGE, false, &purposes(&[oid::CLIENT_AUTH]))
        .without(oid::SUBJECT_ALT_NAME);
    assert!(hierarchy.with_leaf(&client, Usage::TlsClient, &[]).is_ok());
    assert!(hierarchy.with_leaf(&hierarchy.leaf(), Usage::Digest, &names()).is_ok());
    let both = hierarchy.leaf().with(
        oid::EXTENDED_KEY_USAGE,
        false,
        &purposes(&[oid::CLIENT_AUTH, oid::SERVER_AUTH]),
    );
    for usage in [Usage::Tls, Usage::TlsClient, Usage::Digest] {
        assert!(hierarchy.with_leaf(&both, usage, &names()).is_ok(), "{usage}");
    }
    let account = hierarchy.with_leaf(&both, Usage::AcmeAccount, &names());
    assert_eq!(account, Err(ControlError::AccountKey));
}

#[test]
fn names_are_compared_as_a_set_and_without_case() {
    let hierarchy = Hierarchy::new();
    let leaf = hierarchy.leaf().with(
        oid::SUBJECT_ALT_NAME,
        true,
        &dns_names(&["A.EXAMPLE", "*.b.example", "a.example"]),
    );
    assert!(hierarchy.with_leaf(&leaf, Usage::Tls, &names()).is_ok());
}

#[test]
fn path_length_counts_intermediates_but_not_those_issued_to_themselves() {
    let hierarchy = Hierarchy::new();
    let spki = hierarchy.key.spki();
    let [leaf, intermediate, _] = hierarchy.certificates();
    // The root allows one intermediate, and a second of the same name that it issued for a new key.
    let renewed = Signer::p384();
    let old = hierarchy.root().with(oid::BASIC_CONSTRAINTS, true, &forge::ca(Some(1)));
    let crossed = Draft::issuer("root", "root", renewed.spki()).signed_by(&hierarchy.root);
    let under_renewed = hierarchy.intermediate().signed_by(&renewed);
    let old = old.signed_by(&hierarchy.root);
    assert!(validated(&[&leaf, &intermediate, &old], &spki).is_ok());
    assert!(validated(&[&leaf, &under_renewed, &crossed, &old], &spki).is_ok());
}
