//! The attributes of every object, as `C_GetAttributeValue` and find templates see them.

use std::borrow::Cow;

use cryptoki_sys as ck;
use cryptoki_sys::{CK_ATTRIBUTE_TYPE, CK_BBOOL, CK_MECHANISM_TYPE, CK_OBJECT_CLASS, CK_ULONG};
use enclave_wire::{KeyType, Mechanism};

use super::certificate::Certificate;
use super::mechanism;
use super::object::Object;
use super::public_key::{Key, PublicKey};

/// What an object says of one attribute.
#[derive(Debug, PartialEq, Eq)]
pub enum Attribute<'a> {
    /// Its value, in the form that Cryptoki gives it.
    Value(Cow<'a, [u8]>),
    /// It would be part of a private key.
    Sensitive,
    /// Objects of this class and type have no such attribute.
    Absent,
}

impl Object {
    /// The value of an attribute.
    #[must_use]
    pub fn attribute(&self, kind: CK_ATTRIBUTE_TYPE) -> Attribute<'_> {
        match kind {
            ck::CKA_CLASS => class(self.class()),
            ck::CKA_TOKEN => flag(true),
            // Nothing is hidden before a login that no one needs: GnuTLS would not show a private object without one.
            ck::CKA_PRIVATE => flag(false),
            ck::CKA_MODIFIABLE | ck::CKA_COPYABLE | ck::CKA_DESTROYABLE => flag(false),
            ck::CKA_ID => borrowed(&self.id().0),
            _ => match self {
                Self::PrivateKey(key) => private_key(key, kind),
                Self::PublicKey(key) => public_key(key, kind),
                Self::Certificate(certificate) => certificate_attribute(certificate, kind),
            },
        }
    }

    fn class(&self) -> CK_OBJECT_CLASS {
        match self {
            Self::PrivateKey(_) => ck::CKO_PRIVATE_KEY,
            Self::PublicKey(_) => ck::CKO_PUBLIC_KEY,
            Self::Certificate(_) => ck::CKO_CERTIFICATE,
        }
    }
}

/// Whether a certificate can match a template that names this attribute. What cannot is found without fetching a chain.
pub(super) fn applies_to_certificates(kind: CK_ATTRIBUTE_TYPE) -> bool {
    matches!(
        kind,
        ck::CKA_CLASS
            | ck::CKA_TOKEN
            | ck::CKA_PRIVATE
            | ck::CKA_MODIFIABLE
            | ck::CKA_COPYABLE
            | ck::CKA_DESTROYABLE
            | ck::CKA_ID
            | ck::CKA_LABEL
            | ck::CKA_CERTIFICATE_TYPE
            | ck::CKA_CERTIFICATE_CATEGORY
            | ck::CKA_TRUSTED
            | ck::CKA_SUBJECT
            | ck::CKA_ISSUER
            | ck::CKA_SERIAL_NUMBER
            | ck::CKA_VALUE
            | ck::CKA_PUBLIC_KEY_INFO
    )
}

fn private_key(key: &Key, kind: CK_ATTRIBUTE_TYPE) -> Attribute<'_> {
    match kind {
        ck::CKA_SENSITIVE | ck::CKA_SIGN => flag(true),
        // The signing plane does not say where a key was born, so nothing is claimed about its past.
        ck::CKA_ALWAYS_SENSITIVE | ck::CKA_NEVER_EXTRACTABLE => flag(false),
        ck::CKA_EXTRACTABLE
        | ck::CKA_DECRYPT
        | ck::CKA_UNWRAP
        | ck::CKA_SIGN_RECOVER
        | ck::CKA_WRAP_WITH_TRUSTED
        | ck::CKA_ALWAYS_AUTHENTICATE => flag(false),
        ck::CKA_MODULUS_BITS => Attribute::Absent,
        _ if is_secret(&key.public, kind) => Attribute::Sensitive,
        _ => either_key(key, kind),
    }
}

/// Whether a private key of this type has the attribute and does not show it. What only another type has is absent.
fn is_secret(public: &PublicKey, kind: CK_ATTRIBUTE_TYPE) -> bool {
    match public {
        PublicKey::Rsa { .. } => matches!(
            kind,
            ck::CKA_PRIVATE_EXPONENT
                | ck::CKA_PRIME_1
                | ck::CKA_PRIME_2
                | ck::CKA_EXPONENT_1
                | ck::CKA_EXPONENT_2
                | ck::CKA_COEFFICIENT
        ),
        PublicKey::Curve { .. } => kind == ck::CKA_VALUE,
    }
}

fn public_key(key: &Key, kind: CK_ATTRIBUTE_TYPE) -> Attribute<'_> {
    match kind {
        // Of the key, not of the token: a client verifies by itself.
        ck::CKA_VERIFY => flag(true),
        ck::CKA_ENCRYPT | ck::CKA_WRAP | ck::CKA_VERIFY_RECOVER | ck::CKA_TRUSTED => flag(false),
        _ => either_key(key, kind),
    }
}

fn either_key(key: &Key, kind: CK_ATTRIBUTE_TYPE) -> Attribute<'_> {
    match kind {
        ck::CKA_KEY_TYPE => number(match key.entry.key_type {
            KeyType::Rsa(_) => ck::CKK_RSA,
            KeyType::P256 | KeyType::P384 | KeyType::P521 => ck::CKK_EC,
            KeyType::Ed25519 => ck::CKK_EC_EDWARDS,
        }),
        ck::CKA_LABEL => owned(key.entry.label().as_str().as_bytes().to_vec()),
        ck::CKA_DERIVE | ck::CKA_LOCAL => flag(false),
        ck::CKA_KEY_GEN_MECHANISM => number(CK_ULONG::MAX),
        ck::CKA_SUBJECT | ck::CKA_START_DATE | ck::CKA_END_DATE => borrowed(&[]),
        ck::CKA_PUBLIC_KEY_INFO => borrowed(key.entry.spki.as_bytes()),
        ck::CKA_ALLOWED_MECHANISMS => allowed_mechanisms(key),
        _ => parameters(&key.public, kind),
    }
}

fn parameters(public: &PublicKey, kind: CK_ATTRIBUTE_TYPE) -> Attribute<'_> {
    match (public, kind) {
        (PublicKey::Rsa { modulus, .. }, ck::CKA_MODULUS) => borrowed(modulus),
        (PublicKey::Rsa { exponent, .. }, ck::CKA_PUBLIC_EXPONENT) => borrowed(exponent),
        (PublicKey::Rsa { modulus, .. }, ck::CKA_MODULUS_BITS) => {
            number(CK_ULONG::try_from(modulus.len().saturating_mul(8)).unwrap_or(CK_ULONG::MAX))
        }
        (PublicKey::Curve { params, .. }, ck::CKA_EC_PARAMS) => borrowed(params),
        (PublicKey::Curve { point, .. }, ck::CKA_EC_POINT) => borrowed(point),
        (PublicKey::Rsa { .. } | PublicKey::Curve { .. }, _) => Attribute::Absent,
    }
}

fn certificate_attribute(certificate: &Certificate, kind: CK_ATTRIBUTE_TYPE) -> Attribute<'_> {
    match kind {
        ck::CKA_CERTIFICATE_TYPE => number(ck::CKC_X_509),
        ck::CKA_CERTIFICATE_CATEGORY if certificate.is_leaf => number(ck::CK_CERTIFICATE_CATEGORY_TOKEN_USER),
        ck::CKA_CERTIFICATE_CATEGORY => number(ck::CK_CERTIFICATE_CATEGORY_AUTHORITY),
        ck::CKA_TRUSTED => flag(false),
        ck::CKA_LABEL => borrowed(certificate.label.as_bytes()),
        ck::CKA_SUBJECT => borrowed(&certificate.subject),
        ck::CKA_ISSUER => borrowed(&certificate.issuer),
        ck::CKA_SERIAL_NUMBER => borrowed(&certificate.serial),
        ck::CKA_VALUE => borrowed(&certificate.der),
        ck::CKA_PUBLIC_KEY_INFO => borrowed(&certificate.spki),
        _ => Attribute::Absent,
    }
}

/// True to the key's usage: a mechanism that is not here is refused at `C_SignInit`.
///
/// Absent where it would hold nothing but RSASSA-PSS, as for RSA of usage `tls-client`: pkcs11-provider takes such a key for one
/// of type RSASSA-PSS, whose SPKI is another, and cannot load it from a URI PEM. No list promises nothing, so it is not false.
fn allowed_mechanisms(key: &Key) -> Attribute<'static> {
    let mut kinds: Vec<CK_MECHANISM_TYPE> = Mechanism::ALL
        .iter()
        .filter(|mechanism| mechanism.allowed_for(key.entry.key_type, key.entry.usage))
        .map(|mechanism| mechanism::kind_of(*mechanism))
        .collect();
    kinds.dedup();
    let pss = [
        ck::CKM_SHA256_RSA_PKCS_PSS,
        ck::CKM_SHA384_RSA_PKCS_PSS,
        ck::CKM_SHA512_RSA_PKCS_PSS,
    ];
    if kinds.iter().all(|kind| pss.contains(kind)) {
        return Attribute::Absent;
    }
    owned(kinds.iter().flat_map(|kind| kind.to_ne_bytes()).collect())
}

fn class(class: CK_OBJECT_CLASS) -> Attribute<'static> {
    number(class)
}

fn number(number: CK_ULONG) -> Attribute<'static> {
    owned(number.to_ne_bytes().to_vec())
}

fn flag(flag: bool) -> Attribute<'static> {
    const TRUE: &[u8] = &[CK_TRUE];
    const FALSE: &[u8] = &[CK_FALSE];
    borrowed(if flag { TRUE } else { FALSE })
}

fn borrowed(bytes: &[u8]) -> Attribute<'_> {
    Attribute::Value(Cow::Borrowed(bytes))
}

fn owned(bytes: Vec<u8>) -> Attribute<'static> {
    Attribute::Value(Cow::Owned(bytes))
}

const CK_TRUE: CK_BBOOL = ck::CK_TRUE;
const CK_FALSE: CK_BBOOL = ck::CK_FALSE;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use enclave_wire::Usage;

    use super::super::memory::{certificate, ed25519, p256, rsa_2048};
    use super::*;

    fn private(mut entry: enclave_wire::signing::Entry, usage: Usage) -> Object {
        entry.usage = usage;
        Object::PrivateKey(Arc::new(Key::new(entry).unwrap()))
    }

    fn value(object: &Object, kind: CK_ATTRIBUTE_TYPE) -> Vec<u8> {
        match object.attribute(kind) {
            Attribute::Value(value) => value.into_owned(),
            other @ (Attribute::Sensitive | Attribute::Absent) => panic!("{kind:#x}: {other:?}"),
        }
    }

    #[test]
    fn allowed_mechanisms_follow_the_usage() {
        let kinds = |entry, usage| {
            value(&private(entry, usage), ck::CKA_ALLOWED_MECHANISMS)
                .chunks_exact(8)
                .map(|kind| CK_ULONG::from_ne_bytes(kind.try_into().unwrap()))
                .collect::<Vec<_>>()
        };
        let hashing = [ck::CKM_ECDSA_SHA256, ck::CKM_ECDSA_SHA384, ck::CKM_ECDSA_SHA512];
        assert_eq!(kinds(p256("a", 1), Usage::Tls), hashing);
        assert_eq!(
            kinds(p256("a", 1), Usage::Digest),
            [&[ck::CKM_ECDSA], &hashing[..]].concat()
        );
        assert_eq!(kinds(ed25519("a", 1), Usage::Tls), [ck::CKM_EDDSA]);
        let rsa = kinds(rsa_2048("a", 1), Usage::Digest);
        assert_eq!(
            rsa.iter().filter(|kind| **kind == ck::CKM_RSA_PKCS_PSS).count(),
            1,
            "listed once"
        );
        assert_eq!(rsa.len(), 8);
    }

    #[test]
    fn a_list_of_pss_alone_is_not_given() {
        let key = private(rsa_2048("a", 1), Usage::TlsClient);
        assert!(matches!(key.attribute(ck::CKA_ALLOWED_MECHANISMS), Attribute::Absent));
    }

    #[test]
    fn what_web_servers_read_is_there() {
        let key = private(p256("www", 1), Usage::Tls);
        assert_eq!(value(&key, ck::CKA_ALWAYS_AUTHENTICATE), [0]);
        assert_eq!(value(&key, ck::CKA_LABEL), b"www");
        assert_eq!(value(&key, ck::CKA_TOKEN), [1]);
        assert_eq!(value(&key, ck::CKA_COPYABLE), [0]);
        assert_eq!(value(&key, ck::CKA_EC_POINT).len(), 67);
        assert_eq!(key.attribute(ck::CKA_PARAMETER_SET), Attribute::Absent);
        assert_eq!(key.attribute(ck::CKA_MODULUS), Attribute::Absent);
        assert_eq!(key.attribute(ck::CKA_VALUE), Attribute::Sensitive);
        let rsa = private(rsa_2048("www", 1), Usage::Tls);
        assert_eq!(value(&rsa, ck::CKA_MODULUS).len(), 256);
        assert_eq!(rsa.attribute(ck::CKA_PRIVATE_EXPONENT), Attribute::Sensitive);
        assert_eq!(rsa.attribute(ck::CKA_VALUE), Attribute::Absent);
        assert_eq!(key.attribute(ck::CKA_PRIVATE_EXPONENT), Attribute::Absent);
    }

    #[test]
    fn certificates_have_what_a_chain_is_built_from_and_nothing_else() {
        let der = certificate(&p256("www", 1).spki, "leaf", "issuer");
        let leaf = Object::Certificate(Arc::new(Certificate::leaf(&der, "www").unwrap()));
        assert_eq!(value(&leaf, ck::CKA_VALUE), der);
        assert_eq!(value(&leaf, ck::CKA_LABEL), b"www");
        assert_eq!(value(&leaf, ck::CKA_ID), p256("www", 1).id.0);
        for kind in 0..0x700 {
            if leaf.attribute(kind) != Attribute::Absent {
                assert!(applies_to_certificates(kind), "{kind:#x}");
            }
        }
    }
}
