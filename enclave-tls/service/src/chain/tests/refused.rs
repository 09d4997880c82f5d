//! One vector for each rule; the rest of each chain is as it should be, and signed again.

use der::Encode;
use der::asn1::ObjectIdentifier;
use enclave_wire::control::ControlError;
use enclave_wire::{DnsName, Hash, Usage};

use super::super::oid;
use super::forge::{
    DIGITAL_SIGNATURE, Draft, KEY_ENCIPHERMENT, Signer, ca, dns_names, extension, purposes, sequence, tlv,
};
use super::{Hierarchy, NOW, chain, names, validate, validated};

/// Asserts that the intermediate as `change` leaves it is refused so, and that nothing else was wrong.
#[track_caller]
fn intermediate_refused(error: ControlError, change: impl FnOnce(Draft) -> Draft) {
    let hierarchy = Hierarchy::new();
    assert!(hierarchy.with_intermediate(&hierarchy.intermediate()).is_ok());
    assert_eq!(
        hierarchy.with_intermediate(&change(hierarchy.intermediate())),
        Err(error)
    );
}

#[track_caller]
fn leaf_refused(error: ControlError, change: impl FnOnce(Draft) -> Draft) {
    let hierarchy = Hierarchy::new();
    assert!(hierarchy.with_leaf(&hierarchy.leaf(), Usage::Tls, &names()).is_ok());
    assert_eq!(
        hierarchy.with_leaf(&change(hierarchy.leaf()), Usage::Tls, &names()),
        Err(error)
    );
}

#[test]
fn a_leaf_without_its_issuer() {
    let hierarchy = Hierarchy::new();
    let [leaf, ..] = hierarchy.certificates();
    assert_eq!(
        validated(&[&leaf], &hierarchy.key.spki()),
        Err(ControlError::ChainIncomplete)
    );
    assert_eq!(
        validated(&[], &hierarchy.key.spki()),
        Err(ControlError::ChainIncomplete)
    );
}

#[test]
fn a_leaf_that_signed_itself() {
    let key = Signer::p256();
    let mut leaf = Draft::leaf(key.spki(), "leaf").with(oid::BASIC_CONSTRAINTS, true, &ca(None));
    leaf = leaf.without(oid::KEY_USAGE);
    let leaf = leaf.signed_by(&key);
    assert_eq!(validated(&[&leaf], &key.spki()), Err(ControlError::ChainIncomplete));
    assert_eq!(
        validated(&[&leaf, &leaf], &key.spki()),
        Err(ControlError::ChainIncomplete)
    );
}

#[test]
fn threat_34_a_leaf_of_another_key() {
    let hierarchy = Hierarchy::new();
    let [leaf, intermediate, _] = hierarchy.certificates();
    let other = Signer::p256().spki();
    assert_eq!(
        validated(&[&leaf, &intermediate], &other),
        Err(ControlError::ChainKeyMismatch)
    );
}

#[test]
fn certificates_out_of_order_or_missing() {
    let hierarchy = Hierarchy::new();
    let [leaf, intermediate, root] = hierarchy.certificates();
    for wrong in [
        &[&leaf[..], &root, &intermediate][..],
        &[&leaf, &root],
        &[&leaf, &leaf],
        &[&leaf, &intermediate, &intermediate],
        &[&leaf, &intermediate, &root, &leaf],
    ] {
        assert_eq!(validated(wrong, &hierarchy.key.spki()), Err(ControlError::ChainOrder));
    }
}

#[test]
fn a_leaf_signed_by_another_key_of_the_issuers_name() {
    let hierarchy = Hierarchy::new();
    let [_, intermediate, root] = hierarchy.certificates();
    let leaf = hierarchy.leaf().signed_by(&Signer::p256());
    let refused = validated(&[&leaf, &intermediate, &root], &hierarchy.key.spki());
    assert_eq!(refused, Err(ControlError::ChainSignature));
}

#[test]
fn an_intermediate_signed_by_another_key_of_the_roots_name() {
    let hierarchy = Hierarchy::new();
    let [leaf, _, root] = hierarchy.certificates();
    let intermediate = hierarchy.intermediate().signed_by(&Signer::p256());
    let refused = validated(&[&leaf, &intermediate, &root], &hierarchy.key.spki());
    assert_eq!(refused, Err(ControlError::ChainSignature));
}

/// RFC 4055: RSA's parameters are NULL, and never absent.
#[test]
fn an_rsa_signature_algorithm_without_parameters() {
    let key = Signer::p256();
    let Signer::Rsa(pair, encoding, _) = Signer::rsa(Hash::Sha256, false) else {
        unreachable!()
    };
    let signer = Signer::Rsa(pair, encoding, sequence(&[&oid::SHA256_WITH_RSA.to_der().unwrap()]));
    let issuer = Draft::issuer("root", "root", signer.spki()).signed_by(&signer);
    let leaf = Draft::leaf(key.spki(), "root").signed_by(&signer);
    assert_eq!(
        validated(&[&leaf, &issuer], &key.spki()),
        Err(ControlError::ChainAlgorithm)
    );
}

/// P-224, as a key that is whole but for its curve: an issuer that no client takes.
#[test]
fn an_issuer_on_another_curve() {
    let hierarchy = Hierarchy::new();
    let [leaf, ..] = hierarchy.certificates();
    let (p256, p224) = (oid::SECP256R1.to_der().unwrap(), [6, 5, 0x2b, 0x81, 4, 0, 0x21]);
    let spki = hierarchy.intermediate.spki();
    let at = spki
        .as_bytes()
        .windows(p256.len())
        .position(|part| part == p256)
        .unwrap();
    let point = &spki.as_bytes()[at + p256.len()..];
    let algorithm = sequence(&[&oid::EC_PUBLIC_KEY.to_der().unwrap(), &p224]);
    let other = enclave_wire::Spki::try_from(sequence(&[&algorithm, point])).unwrap();
    let intermediate = Draft::issuer("intermediate", "root", other).signed_by(&hierarchy.root);
    let refused = validated(&[&leaf, &intermediate], &hierarchy.key.spki());
    assert_eq!(refused, Err(ControlError::ChainIssuerKey));
}

/// An algorithm that is not of the issuer's kind of key is no signature of that key.
#[test]
fn a_signature_algorithm_of_another_kind_of_key() {
    let hierarchy = Hierarchy::new();
    let [leaf, ..] = hierarchy.certificates();
    for other in [Signer::ed25519(), Signer::p384(), Signer::rsa(Hash::Sha256, true)] {
        let intermediate = Draft::issuer("intermediate", "root", other.spki()).signed_by(&hierarchy.root);
        let refused = validated(&[&leaf, &intermediate], &hierarchy.key.spki());
        assert_eq!(refused, Err(ControlError::ChainSignature));
    }
}

#[test]
fn an_issuer_that_is_no_ca() {
    intermediate_refused(ControlError::ChainNotCa, |draft| {
        draft.with(oid::BASIC_CONSTRAINTS, true, &sequence(&[]))
    });
}

#[test]
fn an_issuer_without_basic_constraints() {
    intermediate_refused(ControlError::ChainNotCa, |draft| draft.without(oid::BASIC_CONSTRAINTS));
}

#[test]
fn an_issuer_that_may_not_sign_certificates() {
    intermediate_refused(ControlError::ChainNotCa, |draft| {
        draft.with(oid::KEY_USAGE, true, DIGITAL_SIGNATURE)
    });
}

#[test]
fn a_root_that_is_no_ca() {
    let hierarchy = Hierarchy::new();
    let [leaf, intermediate, _] = hierarchy.certificates();
    let root = hierarchy
        .root()
        .without(oid::BASIC_CONSTRAINTS)
        .signed_by(&hierarchy.root);
    let refused = validated(&[&leaf, &intermediate, &root], &hierarchy.key.spki());
    assert_eq!(refused, Err(ControlError::ChainNotCa));
}

#[test]
fn more_intermediates_than_an_issuer_allows() {
    let hierarchy = Hierarchy::new();
    let [leaf, intermediate, _] = hierarchy.certificates();
    let root = |length| {
        hierarchy
            .root()
            .with(oid::BASIC_CONSTRAINTS, true, &ca(Some(length)))
            .signed_by(&hierarchy.root)
    };
    let spki = hierarchy.key.spki();
    assert!(validated(&[&leaf, &intermediate, &root(1)], &spki).is_ok());
    assert_eq!(
        validated(&[&leaf, &intermediate, &root(0)], &spki),
        Err(ControlError::ChainPathLength)
    );
}

#[test]
fn a_leaf_that_has_expired() {
    leaf_refused(ControlError::ChainExpired, |draft| Draft {
        not_after: "260531235959Z",
        ..draft
    });
}

#[test]
fn a_leaf_that_is_not_valid_yet() {
    leaf_refused(ControlError::ChainNotYetValid, |draft| Draft {
        not_before: "260601000001Z",
        ..draft
    });
}

#[test]
fn an_intermediate_that_has_expired() {
    intermediate_refused(ControlError::ChainExpired, |draft| Draft {
        not_after: "260531235959Z",
        ..draft
    });
}

#[test]
fn an_intermediate_that_is_not_valid_yet() {
    intermediate_refused(ControlError::ChainNotYetValid, |draft| Draft {
        not_before: "260601000001Z",
        ..draft
    });
}

#[test]
fn the_first_and_the_last_second_are_valid() {
    let hierarchy = Hierarchy::new();
    let mut leaf = hierarchy.leaf();
    (leaf.not_before, leaf.not_after) = ("260601000000Z", "260601000000Z");
    assert!(hierarchy.with_leaf(&leaf, Usage::Tls, &names()).is_ok());
}

#[test]
fn a_leaf_that_may_not_serve() {
    leaf_refused(ControlError::ChainExtendedKeyUsage, |draft| {
        draft.with(oid::EXTENDED_KEY_USAGE, false, &purposes(&[oid::CLIENT_AUTH]))
    });
}

#[test]
fn a_leaf_that_does_not_say_what_it_may_do() {
    leaf_refused(ControlError::ChainExtendedKeyUsage, |draft| {
        draft.without(oid::EXTENDED_KEY_USAGE)
    });
    let any = ObjectIdentifier::new_unwrap("2.5.29.37.0");
    leaf_refused(ControlError::ChainExtendedKeyUsage, |draft| {
        draft.with(oid::EXTENDED_KEY_USAGE, false, &purposes(&[any]))
    });
}

#[test]
fn a_leaf_that_may_not_sign() {
    leaf_refused(ControlError::ChainExtendedKeyUsage, |draft| {
        draft.with(oid::KEY_USAGE, true, KEY_ENCIPHERMENT)
    });
}

#[test]
fn a_servers_leaf_for_a_client_key_and_a_clients_for_a_digest_key() {
    let hierarchy = Hierarchy::new();
    let client = hierarchy
        .leaf()
        .with(oid::EXTENDED_KEY_USAGE, false, &purposes(&[oid::CLIENT_AUTH]));
    let refused = Err(ControlError::ChainExtendedKeyUsage);
    assert_eq!(hierarchy.with_leaf(&hierarchy.leaf(), Usage::TlsClient, &[]), refused);
    assert_eq!(hierarchy.with_leaf(&client, Usage::Digest, &names()), refused);
}

#[test]
fn a_leaf_of_other_names() {
    for other in [
        &["a.example"][..],
        &["a.example", "*.b.example", "c.example"],
        &["a.example", "b.example"],
        &[],
    ] {
        let hierarchy = Hierarchy::new();
        let other = hierarchy.leaf().with(oid::SUBJECT_ALT_NAME, false, &dns_names(other));
        for usage in [Usage::Tls, Usage::Digest] {
            assert_eq!(
                hierarchy.with_leaf(&other, usage, &names()),
                Err(ControlError::ChainNames)
            );
        }
    }
    leaf_refused(ControlError::ChainNames, |draft| draft.without(oid::SUBJECT_ALT_NAME));
}

#[test]
fn names_where_none_were_given() {
    let hierarchy = Hierarchy::new();
    let none: &[DnsName] = &[];
    assert_eq!(
        hierarchy.with_leaf(&hierarchy.leaf(), Usage::Tls, none),
        Err(ControlError::ChainNames)
    );
    let client = hierarchy
        .leaf()
        .with(oid::EXTENDED_KEY_USAGE, false, &purposes(&[oid::CLIENT_AUTH]));
    assert!(hierarchy.with_leaf(&client, Usage::TlsClient, none).is_ok());
    let one = ["a.example".parse().unwrap()];
    assert_eq!(
        hierarchy.with_leaf(&client, Usage::TlsClient, &one),
        Err(ControlError::ChainNames)
    );
}

#[test]
fn critical_extensions_that_are_not_understood() {
    let unknown = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.32473.1");
    leaf_refused(ControlError::ChainCriticalExtension, |draft| {
        draft.with(unknown, true, &[5, 0])
    });
    intermediate_refused(ControlError::ChainCriticalExtension, |draft| {
        draft.with(unknown, true, &[5, 0])
    });
    let hierarchy = Hierarchy::new();
    assert!(
        hierarchy
            .with_leaf(&hierarchy.leaf().with(unknown, false, &[5, 0]), Usage::Tls, &names())
            .is_ok()
    );
}

/// Name constraints are not enforced here, so a CA under them is refused rather than believed.
#[test]
fn critical_name_constraints() {
    let name_constraints = ObjectIdentifier::new_unwrap("2.5.29.30");
    let permitted = sequence(&[&tlv(0xa0, &[&sequence(&[&tlv(0x82, &[b"example"])])])]);
    intermediate_refused(ControlError::ChainCriticalExtension, |draft| {
        draft.with(name_constraints, true, &permitted)
    });
}

#[test]
fn certificates_that_are_not_x509() {
    let hierarchy = Hierarchy::new();
    let [leaf, intermediate, _] = hierarchy.certificates();
    let spki = hierarchy.key.spki();
    let invalid = Err(ControlError::CertificateInvalid);
    let trailing = [&leaf[..], &[0]].concat();
    for wrong in [
        &[][..],
        &[0x30, 0],
        &leaf[..leaf.len() - 1],
        &trailing,
        b"-----BEGIN CERTIFICATE-----",
    ] {
        assert_eq!(validated(&[wrong, &intermediate], &spki), invalid);
        assert_eq!(validated(&[&leaf, wrong], &spki), invalid);
    }
}

#[test]
fn certificates_of_version_1() {
    leaf_refused(ControlError::CertificateInvalid, |draft| Draft {
        version: 0,
        extensions: vec![],
        ..draft
    });
    leaf_refused(ControlError::CertificateInvalid, |draft| Draft { version: 1, ..draft });
}

#[test]
fn an_extension_that_comes_twice() {
    leaf_refused(ControlError::CertificateInvalid, |mut draft| {
        draft
            .extensions
            .push(extension(oid::SUBJECT_ALT_NAME, false, &dns_names(&["evil.example"])));
        draft
    });
}

#[test]
fn extensions_that_cannot_be_read() {
    for name in [
        oid::BASIC_CONSTRAINTS,
        oid::KEY_USAGE,
        oid::EXTENDED_KEY_USAGE,
        oid::SUBJECT_ALT_NAME,
    ] {
        leaf_refused(ControlError::CertificateInvalid, |draft| {
            draft.with(name, false, &[0x30, 1])
        });
    }
}

#[test]
fn two_different_signature_algorithms() {
    let ed25519 = sequence(&[&oid::ED25519.to_der().unwrap()]);
    leaf_refused(ControlError::CertificateInvalid, |draft| Draft {
        inner_algorithm: Some(ed25519),
        ..draft
    });
}

/// Threat 49: no byte of a certificate brings the parser down, and none can change without notice.
#[test]
fn threat_49_every_byte_of_a_chain_counts() {
    let hierarchy = Hierarchy::new();
    let [leaf, intermediate, _] = hierarchy.certificates();
    for place in 0..leaf.len() {
        for bit in [1, 0x20, 0x80] {
            let mut changed = leaf.clone();
            changed[place] ^= bit;
            let refused = validate(
                &chain(&[&changed, &intermediate]),
                &hierarchy.key.spki(),
                Usage::Tls,
                &names(),
                NOW,
            );
            assert!(refused.is_err(), "byte {place}");
        }
    }
}
