//! A certificate authority that breaks any one rule on request. It writes DER by itself, so that it can write what the parser's own
//! types would not.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512,
    RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
};
use der::Encode;
use der::asn1::ObjectIdentifier;
use enclave_wire::{Hash, Spki};

use super::super::{oid, signature::pss_parameters};

/// A key that signs certificates, with the algorithm that it signs by.
pub(super) enum Signer {
    Ecdsa(EcdsaKeyPair, ObjectIdentifier),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair, &'static dyn RsaEncoding, Vec<u8>),
}

impl Signer {
    pub(super) fn p256() -> Self {
        Self::ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING, oid::ECDSA_WITH_SHA256)
    }

    pub(super) fn p384() -> Self {
        Self::ecdsa(&ECDSA_P384_SHA384_ASN1_SIGNING, oid::ECDSA_WITH_SHA384)
    }

    pub(super) fn p521() -> Self {
        Self::ecdsa(&ECDSA_P521_SHA512_ASN1_SIGNING, oid::ECDSA_WITH_SHA512)
    }

    fn ecdsa(algorithm: &'static EcdsaSigningAlgorithm, name: ObjectIdentifier) -> Self {
        Self::Ecdsa(EcdsaKeyPair::generate(algorithm).unwrap(), name)
    }

    pub(super) fn ed25519() -> Self {
        Self::Ed25519(Ed25519KeyPair::generate().unwrap())
    }

    pub(super) fn rsa(hash: Hash, pss: bool) -> Self {
        let (name, encoding): (_, &'static dyn RsaEncoding) = match (hash, pss) {
            (Hash::Sha256, true) => (oid::RSASSA_PSS, &RSA_PSS_SHA256),
            (Hash::Sha384, true) => (oid::RSASSA_PSS, &RSA_PSS_SHA384),
            (Hash::Sha512, true) => (oid::RSASSA_PSS, &RSA_PSS_SHA512),
            (Hash::Sha256, false) => (oid::SHA256_WITH_RSA, &RSA_PKCS1_SHA256),
            (Hash::Sha384, false) => (oid::SHA384_WITH_RSA, &RSA_PKCS1_SHA384),
            (Hash::Sha512, false) => (oid::SHA512_WITH_RSA, &RSA_PKCS1_SHA512),
        };
        let parameters = if pss { pss_parameters(hash).to_vec() } else { vec![5, 0] };
        let pkcs8 = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/keys/rsa-2048.der"));
        Self::Rsa(
            RsaKeyPair::from_pkcs8(pkcs8).unwrap(),
            encoding,
            sequence(&[&name.to_der().unwrap(), &parameters]),
        )
    }

    pub(super) fn spki(&self) -> Spki {
        let der: PublicKeyX509Der<'_> = match self {
            Self::Ecdsa(pair, _) => pair.public_key().as_der(),
            Self::Ed25519(pair) => pair.public_key().as_der(),
            Self::Rsa(pair, ..) => pair.public_key().as_der(),
        }
        .unwrap();
        Spki::try_from(der.as_ref().to_vec()).unwrap()
    }

    fn algorithm(&self) -> Vec<u8> {
        match self {
            Self::Ecdsa(_, name) => sequence(&[&name.to_der().unwrap()]),
            Self::Ed25519(_) => sequence(&[&oid::ED25519.to_der().unwrap()]),
            Self::Rsa(_, _, algorithm) => algorithm.clone(),
        }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Ecdsa(pair, _) => pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec(),
            Self::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
            Self::Rsa(pair, encoding, _) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(*encoding, &SystemRandom::new(), message, &mut signature)
                    .unwrap();
                signature
            }
        }
    }
}

/// A certificate to be: every field as it should be, until a test changes it.
pub(super) struct Draft {
    pub(super) version: u8,
    pub(super) subject: &'static str,
    pub(super) issuer: &'static str,
    pub(super) spki: Spki,
    pub(super) not_before: &'static str,
    pub(super) not_after: &'static str,
    pub(super) extensions: Vec<Vec<u8>>,
    /// The algorithm that the signed part names, where it differs from the signature's.
    pub(super) inner_algorithm: Option<Vec<u8>>,
}

impl Draft {
    pub(super) fn leaf(spki: Spki, issuer: &'static str) -> Self {
        let extensions = vec![
            extension(oid::BASIC_CONSTRAINTS, true, &sequence(&[])),
            extension(oid::KEY_USAGE, true, DIGITAL_SIGNATURE),
            extension(oid::EXTENDED_KEY_USAGE, false, &purposes(&[oid::SERVER_AUTH])),
            extension(oid::SUBJECT_ALT_NAME, false, &dns_names(&["a.example", "*.b.example"])),
        ];
        Self::new("leaf", issuer, spki, extensions)
    }

    pub(super) fn issuer(subject: &'static str, issuer: &'static str, spki: Spki) -> Self {
        let extensions = vec![
            extension(oid::BASIC_CONSTRAINTS, true, &ca(None)),
            extension(oid::KEY_USAGE, true, KEY_CERT_SIGN),
        ];
        Self::new(subject, issuer, spki, extensions)
    }

    fn new(subject: &'static str, issuer: &'static str, spki: Spki, extensions: Vec<Vec<u8>>) -> Self {
        Self {
            version: 2,
            subject,
            issuer,
            spki,
            not_before: "260101000000Z",
            not_after: "271231235959Z",
            extensions,
            inner_algorithm: None,
        }
    }

    /// Replaces the extension of this name, or adds it.
    pub(super) fn with(mut self, name: ObjectIdentifier, critical: bool, value: &[u8]) -> Self {
        self = self.without(name);
        self.extensions.push(extension(name, critical, value));
        self
    }

    pub(super) fn without(mut self, name: ObjectIdentifier) -> Self {
        let name = name.to_der().unwrap();
        self.extensions.retain(|extension| !extension[2..].starts_with(&name));
        self
    }

    pub(super) fn signed_by(&self, signer: &Signer) -> Vec<u8> {
        let algorithm = signer.algorithm();
        let inner = self.inner_algorithm.as_ref().unwrap_or(&algorithm);
        let tbs = self.signed_part(inner);
        sequence(&[&tbs, &algorithm, &bit_string(&signer.sign(&tbs))])
    }

    fn signed_part(&self, algorithm: &[u8]) -> Vec<u8> {
        let version = if self.version == 0 {
            vec![]
        } else {
            tlv(0xa0, &[&[2, 1, self.version]])
        };
        let extensions = if self.extensions.is_empty() {
            vec![]
        } else {
            tlv(
                0xa3,
                &[&sequence(
                    &self.extensions.iter().map(Vec::as_slice).collect::<Vec<_>>(),
                )],
            )
        };
        sequence(&[
            &version,
            &[2, 1, 7],
            algorithm,
            &name(self.issuer),
            &sequence(&[&time(self.not_before), &time(self.not_after)]),
            &name(self.subject),
            self.spki.as_bytes(),
            &extensions,
        ])
    }
}

pub(super) fn extension(name: ObjectIdentifier, critical: bool, value: &[u8]) -> Vec<u8> {
    let critical: &[u8] = if critical { &[1, 1, 0xff] } else { &[] };
    sequence(&[&name.to_der().unwrap(), critical, &tlv(4, &[value])])
}

pub(super) fn ca(path_length: Option<u8>) -> Vec<u8> {
    let length = path_length.map_or(vec![], |length| vec![2, 1, length]);
    sequence(&[&[1, 1, 0xff], &length])
}

pub(super) fn purposes(names: &[ObjectIdentifier]) -> Vec<u8> {
    sequence(&[&names.iter().flat_map(|name| name.to_der().unwrap()).collect::<Vec<_>>()])
}

pub(super) fn dns_names(names: &[&str]) -> Vec<u8> {
    sequence(&[&names
        .iter()
        .flat_map(|name| tlv(0x82, &[name.as_bytes()]))
        .collect::<Vec<_>>()])
}

fn name(common_name: &str) -> Vec<u8> {
    let attribute = sequence(&[&oid::COMMON_NAME.to_der().unwrap(), &tlv(12, &[common_name.as_bytes()])]);
    sequence(&[&tlv(0x31, &[&attribute])])
}

/// UTCTime, or GeneralizedTime where the text is longer.
fn time(text: &str) -> Vec<u8> {
    tlv(if text.len() == 13 { 0x17 } else { 0x18 }, &[text.as_bytes()])
}

fn bit_string(bytes: &[u8]) -> Vec<u8> {
    tlv(3, &[&[0], bytes])
}

pub(super) fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    tlv(0x30, parts)
}

pub(super) fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let length = u16::try_from(body.len()).unwrap();
    let [high, low] = length.to_be_bytes();
    let header = match length {
        0..=127 => vec![tag, low],
        128..=255 => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    [header, body].concat()
}

pub(super) const DIGITAL_SIGNATURE: &[u8] = &[3, 2, 7, 0x80];
pub(super) const KEY_ENCIPHERMENT: &[u8] = &[3, 2, 5, 0x20];
pub(super) const KEY_CERT_SIGN: &[u8] = &[3, 2, 1, 0x06];
